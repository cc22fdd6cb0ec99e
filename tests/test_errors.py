"""What errors say."""

from __future__ import annotations

from dimse import Status, StatusError


def test_what_a_status_error_says() -> None:
    said = StatusError(Status(0xA700), "no disk")
    assert (said.comment, str(said)) == ("no disk", "0xA700 Out of resources (no disk)")
    said = StatusError(Status(0xA700), "C-STORE", None)
    assert (said.comment, str(said)) == (None, "C-STORE: 0xA700 Out of resources")
    said = StatusError(Status(0xA700), comment="no disk")
    assert said.comment == "no disk"
    assert StatusError(Status(0xA700)).comment is None
