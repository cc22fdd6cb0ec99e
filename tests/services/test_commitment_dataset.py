"""The data sets of storage commitment: what is written is read, and what peers get wrong has one safe reading."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.sequence import Sequence

from dimse import CommitmentFailure, DatasetError, InstanceReference, uids
from dimse.dataset.codec import decode, encode
from dimse.services.commitment_dataset import (
    Committed,
    ReadReport,
    read_report,
    read_request,
    reason_in_words,
    report_dataset,
    request_dataset,
)

CT = "1.2.840.10008.5.1.4.1.1.2"
UIDS = st.integers(0, 10**20).map(lambda number: f"1.2.{number}")
REFERENCES = st.builds(InstanceReference, UIDS, UIDS)
SYNTAXES = st.sampled_from(uids.LITTLE_ENDIAN)


def through(dataset: Dataset, syntax: str) -> Dataset:
    """As the peer gets it."""
    return decode(encode(dataset, syntax), syntax)


@settings(max_examples=30)
@given(UIDS, st.lists(REFERENCES, min_size=1, max_size=5), SYNTAXES)
def test_a_request_is_read_as_it_was_written(transaction: str, instances: list[InstanceReference], syntax: str) -> None:
    read = read_request(through(request_dataset(transaction, instances), syntax))
    assert (read.transaction_uid, list(read.instances)) == (transaction, list(dict.fromkeys(instances)))


@settings(max_examples=30)
@given(
    UIDS,
    st.dictionaries(REFERENCES, st.none() | st.sampled_from(CommitmentFailure), min_size=1, max_size=5),
    st.none() | st.just("ARCHIVE"),
    SYNTAXES,
)
def test_a_report_is_read_as_it_was_written(
    transaction: str, outcomes: dict[InstanceReference, int | None], title: str | None, syntax: str
) -> None:
    event, dataset = report_dataset(transaction, outcomes, title)
    report = read_report(through(dataset, syntax))
    failed = {each.sop_instance_uid: reason for each, reason in outcomes.items() if reason is not None}
    committed = {
        each.sop_instance_uid: Committed(each.sop_class_uid, title)
        for each, reason in outcomes.items()
        if reason is None and each.sop_instance_uid not in failed
    }
    assert report == ReadReport(transaction, committed, failed)
    assert event == (2 if failed else 1)


def reference(instance: str = "1.2.3", sop_class: str = CT) -> Dataset:
    item = Dataset()
    item.add(odd(0x00081150, sop_class))
    item.add(odd(0x00081155, instance))
    return item


def odd(tag: int, value: str) -> DataElement:
    """A UID as no peer should send it."""
    return DataElement(tag, "UI", value, validation_mode=IGNORE)


def asked(transaction: str = "1.2", **changes: object) -> Dataset:
    dataset = Dataset()
    dataset.add(odd(0x00081195, transaction))
    dataset.ReferencedSOPSequence = [reference()]
    for name, value in changes.items():
        setattr(dataset, name, value)
    return dataset


def without(keyword: str) -> Dataset:
    dataset = asked()
    delattr(dataset, keyword)
    return dataset


def of_texts() -> Dataset:
    dataset = without("ReferencedSOPSequence")
    dataset.add(DataElement(0x00081199, "LO", "not a sequence"))
    return dataset


@pytest.mark.parametrize(
    ("make", "tag"),
    [
        (lambda: without("TransactionUID"), r"\(0008,1195\)"),
        (lambda: asked(""), r"\(0008,1195\)"),
        (lambda: asked("1.2x"), r"\(0008,1195\)"),
        (lambda: without("ReferencedSOPSequence"), r"\(0008,1199\) has no items"),
        (lambda: asked(ReferencedSOPSequence=[]), r"\(0008,1199\) has no items"),
        (of_texts, r"\(0008,1199\) is not a sequence"),
        (lambda: asked(ReferencedSOPSequence=[Dataset()]), r"\(0008,1150\) is missing"),
        (lambda: asked(ReferencedSOPSequence=[reference(""), reference()]), r"\(0008,1155\) is missing"),
    ],
)
def test_a_request_that_cannot_be_answered_names_the_tag(make: Callable[[], Dataset], tag: str) -> None:
    with pytest.raises(DatasetError, match=tag):
        read_request(make())


def test_padding_is_no_part_of_a_uid() -> None:
    dataset = asked("1.2\0", ReferencedSOPSequence=[reference("1.2.3 ", CT + "\0")])
    assert read_request(dataset).instances == (InstanceReference(CT, "1.2.3"),)


def test_an_instance_that_is_listed_twice_has_failed() -> None:
    dataset = asked(FailedSOPSequence=[reference()])
    assert read_report(dataset) == ReadReport("1.2", {}, {"1.2.3": None})


def test_a_reason_of_another_vr_is_read_if_it_is_a_number_of_16_bits() -> None:
    def reason(text: str) -> Dataset:
        item = reference()
        item.add_new(0x00081197, "UT", text)
        return asked(FailedSOPSequence=[item])

    assert read_report(reason("274")).failed == {"1.2.3": 0x0112}
    assert read_report(reason("9" * 5000)).failed == {"1.2.3": None}


def test_items_without_an_instance_say_nothing() -> None:
    dataset = asked(ReferencedSOPSequence=Sequence([Dataset(), reference()]))
    assert "1.2.3" in read_report(dataset).committed


def test_a_reason_is_told_in_words() -> None:
    assert reason_in_words(0x0131) == "0x0131 the Transaction UID is in use already"
    assert reason_in_words(0xBEEF).startswith("0xBEEF")
    assert all(reason_in_words(each) != reason_in_words(0xBEEF)[6:] for each in CommitmentFailure)
