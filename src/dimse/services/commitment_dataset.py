"""The data sets of Storage Commitment: its request and its report (PS3.4 J.3.2, J.3.3; PS3.3 C.14)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from dimse.dataset.codec import PYDICOM_ERRORS, text_of
from dimse.dataset.encoding import tag_name
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import DatasetError
from dimse.records import record
from dimse.uids import is_uid

TRANSACTION_UID: Final = 0x00081195
REFERENCED_SOP_SEQUENCE: Final = 0x00081199
FAILED_SOP_SEQUENCE: Final = 0x00081198
_SOP_CLASS_UID: Final = 0x00081150
_SOP_INSTANCE_UID: Final = 0x00081155
_FAILURE_REASON: Final = 0x00081197
_RETRIEVE_AE_TITLE: Final = 0x00080054

REQUEST_COMMITMENT: Final = 1
"""The Action Type ID (PS3.4 J.3.2.1)."""
ALL_COMMITTED: Final = 1
"""The Event Type ID of a report without failures (PS3.4 J.3.3.1)."""
FAILURES_EXIST: Final = 2
"""The Event Type ID of a report with failures (PS3.4 J.3.3.1)."""


class CommitmentFailure(IntEnum):
    """Why an instance is not committed: Failure Reason (0008,1197) (PS3.3 C.14.1.1)."""

    PROCESSING_FAILURE = 0x0110
    NO_SUCH_INSTANCE = 0x0112
    CLASS_INSTANCE_CONFLICT = 0x0119
    SOP_CLASS_NOT_SUPPORTED = 0x0122
    DUPLICATE_TRANSACTION_UID = 0x0131
    RESOURCE_LIMITATION = 0x0213


_WORDS: Final = {
    CommitmentFailure.PROCESSING_FAILURE: "processing failure",
    CommitmentFailure.NO_SUCH_INSTANCE: "the peer does not have the instance",
    CommitmentFailure.CLASS_INSTANCE_CONFLICT: "the peer has the instance with another SOP class",
    CommitmentFailure.SOP_CLASS_NOT_SUPPORTED: "the peer does not support its SOP class",
    CommitmentFailure.DUPLICATE_TRANSACTION_UID: "the Transaction UID is in use already",
    CommitmentFailure.RESOURCE_LIMITATION: "the peer has not enough resources to store it",
}


def reason_in_words(reason: int | None) -> str:
    """A Failure Reason in words, with its number.

    >>> print(reason_in_words(0x0112))
    0x0112 the peer does not have the instance
    """
    if reason is None:
        return "the peer gives no reason"
    known = {int(each): words for each, words in _WORDS.items()}
    return f"0x{reason:04X} {known.get(reason, 'a reason that the standard does not define')}"


class InstanceReference(NamedTuple):
    """A SOP instance by its UIDs (PS3.3 Table 10-11)."""

    sop_class_uid: str
    sop_instance_uid: str


@record()
class ReadRequest:
    """A received request."""

    transaction_uid: str
    instances: tuple[InstanceReference, ...]
    """Each once, in their order."""


@record()
class Committed:
    """What a report says about an instance that the peer has committed to."""

    sop_class_uid: str
    """Empty if the report does not have it."""
    retrieve_ae_title: str | None
    """From where it may be retrieved, if the peer says so."""


@record()
class ReadReport:
    """A received report."""

    transaction_uid: str
    committed: Mapping[str, Committed]
    """By SOP Instance UID; without those that `failed` has too."""
    failed: Mapping[str, int | None]
    """The Failure Reasons by SOP Instance UID; None if the report has no reason."""


def request_dataset(transaction_uid: str, instances: Iterable[InstanceReference]) -> Dataset:
    """The Action Information of a request."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    dataset.ReferencedSOPSequence = [_item(each) for each in instances]
    return dataset


def report_dataset(
    transaction_uid: str, outcomes: Mapping[InstanceReference, int | None], retrieve_ae_title: str | None = None
) -> tuple[int, Dataset]:
    """Event Type ID and Event Information of a report. An outcome is a Failure Reason, or None for a committed one."""
    dataset = Dataset()
    dataset.TransactionUID = transaction_uid
    committed = [_item(each) for each, reason in outcomes.items() if reason is None]
    failed = [_item(each, reason) for each, reason in outcomes.items() if reason is not None]
    if committed:
        dataset.ReferencedSOPSequence = committed
        if retrieve_ae_title:
            dataset.RetrieveAETitle = retrieve_ae_title
    if failed:
        dataset.FailedSOPSequence = failed
    return (FAILURES_EXIST if failed else ALL_COMMITTED), dataset


def _item(reference: InstanceReference, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = reference
    if reason is not None:
        item.FailureReason = reason
    return item


def read_request(dataset: Dataset) -> ReadRequest:
    """Read the Action Information of a request. Raises `DatasetError`, which names the tag, if it is not valid."""
    transaction_uid = _transaction_uid(dataset)
    instances = dict.fromkeys(_reference(item) for item in _items(dataset, REFERENCED_SOP_SEQUENCE))
    if not instances:
        raise DatasetError(f"{tag_name(REFERENCED_SOP_SEQUENCE)} has no items")
    return ReadRequest(transaction_uid, tuple(instances))


def read_report(dataset: Dataset) -> ReadReport:
    """Read the Event Information of a report. Raises `DatasetError`, which names the tag, if it cannot be read.

    The Event Type ID is not needed: an instance is committed if the report lists it as such and not as failed.
    """
    transaction_uid, title = _transaction_uid(dataset), text_of(dataset, _RETRIEVE_AE_TITLE).strip()
    failed = {_uid(item, _SOP_INSTANCE_UID): _reason(item) for item in _items(dataset, FAILED_SOP_SEQUENCE)}
    committed = dict[str, Committed]()
    for item in _items(dataset, REFERENCED_SOP_SEQUENCE):
        uid, own_title = _uid(item, _SOP_INSTANCE_UID), text_of(item, _RETRIEVE_AE_TITLE).strip()
        if uid not in failed:
            committed[uid] = Committed(_uid(item, _SOP_CLASS_UID), own_title or title or None)
    return ReadReport(transaction_uid, committed, failed)


def _transaction_uid(dataset: Dataset) -> str:
    uid = _uid(dataset, TRANSACTION_UID)
    if not is_uid(uid):
        raise DatasetError(f"{tag_name(TRANSACTION_UID)} is missing, or is not a UID")
    return uid


def _items(dataset: Dataset, tag: int) -> Iterator[Dataset]:
    if tag not in dataset:
        return
    try:
        items = list(dataset[tag].value or ())
    except PYDICOM_ERRORS:
        items = [None]
    for item in items:
        if not isinstance(item, Dataset):
            raise DatasetError(f"{tag_name(tag)} is not a sequence")
        yield item


def _reference(item: Dataset) -> InstanceReference:
    reference = InstanceReference(_uid(item, _SOP_CLASS_UID), _uid(item, _SOP_INSTANCE_UID))
    for tag, uid in zip((_SOP_CLASS_UID, _SOP_INSTANCE_UID), reference, strict=True):
        if not is_uid(uid):
            raise DatasetError(f"{tag_name(tag)} is missing in an item, or is not a UID")
    return reference


def _uid(dataset: Dataset, tag: int) -> str:
    return text_of(dataset, tag).strip(" \0")


def _reason(item: Dataset) -> int | None:
    text = text_of(item, _FAILURE_REASON)
    return int(text) if text.isdecimal() and len(text) <= 5 else None  # US; a peer may write another VR
