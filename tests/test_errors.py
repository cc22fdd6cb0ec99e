"""What errors say."""

from __future__ import annotations

from typing import Any

import pytest

from dimse import AssociationAborted, AssociationRejected, AssociationTimeout, Status, StatusError
from dimse.errors import DimseError, without_frames


def test_what_a_status_error_says() -> None:
    said = StatusError(Status(0xA700), "no disk")
    assert (said.comment, str(said)) == ("no disk", "0xA700 Out of resources (no disk)")
    said = StatusError(Status(0xA700), "C-STORE", None)
    assert (said.comment, str(said)) == (None, "C-STORE: 0xA700 Out of resources")
    said = StatusError(Status(0xA700), comment="no disk")
    assert said.comment == "no disk"
    assert StatusError(Status(0xA700)).comment is None


def test_a_status_error_takes_a_number() -> None:
    said = StatusError(0xA700, "no disk")
    assert (said.status.is_out_of_resources, str(said)) == (True, "0xA700 Out of resources (no disk)")
    wrong: list[Any] = ["no disk", True, None]
    for status in wrong:
        with pytest.raises(TypeError, match=f"status must be a Status or an int, not {type(status).__name__}"):
            StatusError(status)


def test_a_status_error_names_the_offending_elements() -> None:
    said = StatusError(Status(0xA900), "C-STORE", "not ours", (0x00100020, 0x0020000D))
    assert said.offending == (0x00100020, 0x0020000D)
    assert str(said).endswith("(not ours; offending element (0010,0020) (0020,000D))")
    said = StatusError(Status(0xA900).with_comment(None, 0x00100020))
    assert str(said).endswith("(offending element (0010,0020))")


def test_a_rejection_names_the_peer_and_what_to_do() -> None:
    said = AssociationRejected(1, 1, 7, "ARCHIVE@pacs:104")
    assert str(said) == (
        "ARCHIVE@pacs:104 rejected the association permanently: called AE title not recognized; "
        "check the AE title in the address"
    )
    said = AssociationRejected(1, 1, 3, "ARCHIVE@pacs:104", "ME")
    assert str(said).endswith("not recognized; register our AE title 'ME' there, or set another calling AE title")
    assert str(AssociationRejected(9, 8, 7)) == "the peer rejected the association with result 9: source 8, reason 7"


def test_an_abort_names_the_peer_and_the_reason() -> None:
    assert str(AssociationAborted(0, 0, peer="A@pacs:104")) == "A@pacs:104 aborted the association"
    assert str(AssociationAborted(2, 2)) == "the peer aborted the association: unexpected PDU"


def test_a_timeout_names_its_option() -> None:
    assert str(AssociationTimeout("store", 30, "C-STORE of x")) == "C-STORE of x: no progress for 30 s (Timeouts.store)"


def test_frames_are_dropped_from_an_error_that_is_among_its_own_causes() -> None:
    first, second = ValueError(), DimseError()
    first.__context__, second.__context__ = second, first
    assert without_frames(first) is first
