"""A pydicom data set made from the parts of a received one, without copying its bulk data."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydicom.dataelem import RawDataElement
from pydicom.tag import BaseTag

from dimse.dataset.codec import decode
from dimse.dataset.encoding import UNDEFINED_LENGTH, Encoding

if TYPE_CHECKING:
    from pydicom import Dataset

    from dimse.dataset.encoding import Buffer
    from dimse.dataset.scanner import BulkHeader


def assemble(head: Buffer, bulk: BulkHeader, value: bytes, tail: Buffer, encoding: str) -> Dataset:
    """The data set with the elements of `head`, the bulk data with `value`, and the elements of `tail`.

    `encoding` is the transfer syntax of head and tail. Raises `DatasetError`.
    """
    dataset = decode(head, encoding)
    length = UNDEFINED_LENGTH if bulk.length is None else len(value)
    dataset[bulk.tag] = RawDataElement(
        BaseTag(bulk.tag), bulk.vr, length, value, 0, bulk.vr is None, not Encoding.of(encoding).big_endian
    )
    if tail:
        behind = decode(tail, encoding)
        for tag in behind.keys():  # noqa: SIM118 - iterating a data set decodes each element
            dataset[tag] = behind.get_item(tag)
    return dataset
