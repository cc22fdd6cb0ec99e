"""What errors say."""

from __future__ import annotations

from typing import Any

import pytest

from dimse import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    ConnectionLost,
    DatasetError,
    LocalProtocolError,
    NothingRetrieved,
    OperationCancelled,
    OperationTimeout,
    PresentationContextError,
    RemoteProtocolError,
    Status,
    StatusError,
    SubOperationFailed,
)
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


PEER = "ARCHIVE@pacs:104"
REGISTER = "register it there, or use another calling AE title"


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (
            AssociationRejected(1, 1, 7, called_ae_title="WRONG"),
            "ARCHIVE@pacs:104 rejected the association: it does not know the called AE title 'WRONG'; check the title",
        ),
        (
            AssociationRejected(1, 1, 3, calling_ae_title="ME"),
            f"{PEER} rejected the association: it does not know the calling AE title 'ME'; {REGISTER}",
        ),
        (AssociationRejected(9, 8, 7), "ARCHIVE@pacs:104 rejected the association: result 9, source 8, reason 7"),
        (AssociationAborted(0, 0), "ARCHIVE@pacs:104 aborted the association"),
        (
            AssociationAborted(2, 2, doing="C-FIND"),
            "ARCHIVE@pacs:104 aborted the association during C-FIND: unexpected PDU",
        ),
        (
            AssociationTimeout("store", 30, "C-STORE of x"),
            "ARCHIVE@pacs:104: C-STORE of x: no progress for 30 s (Timeouts.store)",
        ),
        (ConnectionLost(f"cannot connect to {PEER}: refused"), "cannot connect to ARCHIVE@pacs:104: refused"),
        (ConnectionLost("the peer closed the connection"), "ARCHIVE@pacs:104 closed the connection"),
        (RemoteProtocolError("P-DATA-TF has no PDV"), "ARCHIVE@pacs:104: P-DATA-TF has no PDV"),
        (LocalProtocolError("the association has been released"), f"{PEER}: the association has been released"),
        (PresentationContextError("the peer has no C-GET"), "ARCHIVE@pacs:104 has no C-GET"),
        (StatusError(0xA700, "C-FIND", "no disk"), "ARCHIVE@pacs:104: C-FIND: 0xA700 Out of resources (no disk)"),
        (SubOperationFailed("1.2", "refused"), "ARCHIVE@pacs:104: 1.2: refused"),
        (NothingRetrieved("C-GET: nothing"), "ARCHIVE@pacs:104: C-GET: nothing"),
        (OperationTimeout("C-FIND", 3), "ARCHIVE@pacs:104: C-FIND: not finished after 3 s; it was cancelled"),
        (
            OperationCancelled("C-FIND"),
            "ARCHIVE@pacs:104: C-FIND: cancelled before its end; responses are missing",
        ),
        (DatasetError("a match cannot be read"), "ARCHIVE@pacs:104: a match cannot be read"),
    ],
)
def test_an_error_of_an_association_names_the_peer_once(error: DimseError, said: str) -> None:
    without, doing = error.text, error.doing
    assert str(error) == without
    assert error.at(PEER, "C-ECHO") is error
    assert (str(error), error.address, error.doing) == (said, PEER, doing or "C-ECHO")
    assert error.text == without
    assert error.at("OTHER@ris:104", "C-MOVE").address == PEER  # the first word is that of its own association


def test_frames_are_dropped_from_an_error_that_is_among_its_own_causes() -> None:
    first, second = ValueError(), DimseError()
    first.__context__, second.__context__ = second, first
    assert without_frames(first) is first
