"""What is reported of instances that did not arrive."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from dimse import RetrieveMethod, RetrieveResult, Status, SubOperationFailed
from dimse.callbacks import Callback
from dimse.services.bringing_record import Record
from dimse.services.listing import Instance, Listing

CT = "1.2.840.10008.5.1.4.1.1.2"
JPEG, RLE = "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"


NOTHING = Callback[Any]("unused", None, logging.getLogger("dimse"))


class Retrieval:
    def __init__(
        self,
        *uids: str,
        offers: RetrieveMethod = RetrieveMethod.GET,
        failures: tuple[tuple[str, Exception], ...] = (),
    ) -> None:
        instances = {uid: Instance(uid, CT, (("StudyInstanceUID", "1.1"),)) for uid in uids}
        listing = Listing(instances, failures=list(failures), offers=frozenset({offers}))
        self.reported: list[RetrieveResult] = []
        reported = Callback("on_result", self.reported.append, logging.getLogger("dimse"))
        self.record = Record(listing, Path("unused"), "{SOPInstanceUID}", reported, NOTHING)

    def errors(self) -> dict[str, str]:
        self.record.give_up()
        return {result.sop_instance_uid: str(result.error) for result in self.reported}


def test_a_failed_listing_is_reported_at_once() -> None:
    error = OSError("broken")
    assert Retrieval(failures=(("1.1", error),)).reported == [RetrieveResult("1.1", error=error)]


def test_without_any_reason_the_method_is_named() -> None:
    for method in RetrieveMethod:
        retrieval = Retrieval("1.1.1", offers=method)
        assert retrieval.errors() == {"1.1.1": f"1.1.1: did not arrive by {method}"}
        assert retrieval.reported[0].method is method


def test_our_refusal_says_more_than_the_report_of_the_archive() -> None:
    retrieval = Retrieval("1.1.1", "1.1.2")
    for uid in ("1.1.1", "1.1.2"):
        retrieval.record.errors[uid] = SubOperationFailed(uid, "not retrieved; the peer does not say why")
    retrieval.record.note_refusal("1.1.1", Status.OUT_OF_RESOURCES, "disk full")
    retrieval.record.note_refusal("1.1.1", Status.CANNOT_UNDERSTAND, "later")
    errors = retrieval.errors()
    assert errors["1.1.1"].endswith(": disk full")
    assert errors["1.1.2"] == "1.1.2: not retrieved; the peer does not say why"


def test_the_error_of_the_last_method_is_added() -> None:
    retrieval = Retrieval("1.1.1")
    last = OSError("no route")
    retrieval.record.errors |= {"1.1.1": SubOperationFailed("1.1.1", "not retrieved"), None: last}
    assert retrieval.errors() == {"1.1.1": "1.1.1: not retrieved; no route"}
    error = retrieval.reported[0].error
    assert error is not None
    assert error.__cause__ is last


def test_a_uid_that_cannot_be_requested() -> None:
    assert "its UID is not a single value" in Retrieval("1.1*").errors()["1.1*"]


def test_the_syntaxes_that_the_archive_names() -> None:
    listing = Listing(
        {"1": Instance("1", CT, (), (JPEG,)), "2": Instance("2", CT, (), (RLE, JPEG)), "3": Instance("3", None, ())}
    )
    record = Record(listing, Path("unused"), "", NOTHING, NOTHING)
    assert record.known_syntaxes() == {CT: [JPEG, RLE]}
