"""Statuses of Print Management."""

from __future__ import annotations

from dimse import StatusCategory, StatusError
from dimse.services.print_statuses import PrintStatus


def test_codes_mean_what_they_mean_in_printing() -> None:
    assert str(PrintStatus(0xC602)) == "0xC602 The print queue is full"
    assert str(PrintStatus(0x0106)) == "0x0106 Invalid attribute value"
    assert PrintStatus(0xB604).category is StatusCategory.WARNING
    assert "too little memory" in str(StatusError(PrintStatus(0xC605), "N-SET of film 1, image 2", None))
