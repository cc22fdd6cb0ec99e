"""A data set put together from what is before its bulk data, the bulk data, and what is behind it."""

from __future__ import annotations

import pytest
from pydicom import Dataset
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from dimse.dataset.assembling import assemble
from dimse.dataset.codec import encode
from dimse.dataset.scanner import BulkHeader, ElementScanner
from dimse.errors import DatasetError

PIXELS = bytes(range(64))


def parts(dataset: Dataset, transfer_syntax_uid: str) -> tuple[bytes, BulkHeader, bytes, bytes]:
    """What `assemble` takes, of an encoded data set."""
    encoded = encode(dataset, transfer_syntax_uid)
    scanner = ElementScanner(transfer_syntax_uid, wanted=())
    scanner.feed(encoded)
    scanner.finish()
    assert scanner.bulk is not None
    assert scanner.bulk.length is not None
    value, behind = scanner.bulk.value_offset, scanner.bulk.value_offset + scanner.bulk.length
    return encoded[: scanner.bulk.header_offset], scanner.bulk, encoded[value:behind], encoded[behind:]


@pytest.fixture
def image() -> Dataset:
    dataset = Dataset()
    dataset.PatientName = "Doe^Jane"
    dataset.BitsAllocated = 16
    dataset.BitsStored = 12
    dataset.PixelRepresentation = 0
    dataset.Rows, dataset.Columns = 4, 8
    dataset.add_new("PixelData", "OW", PIXELS)
    return dataset


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian])
def test_the_parts_of_a_data_set_make_it_again(image: Dataset, syntax: str) -> None:
    image.DataSetTrailingPadding = b"\0\0"
    head, bulk, value, tail = parts(image, syntax)
    assembled = assemble(head, bulk, value, tail, syntax)
    assert [element.tag for element in assembled] == [element.tag for element in image]
    assert encode(assembled, syntax) == encode(image, syntax)
    assert assembled.Rows == 4


def test_nothing_need_be_behind_the_bulk_data(image: Dataset) -> None:
    head, bulk, value, tail = parts(image, ExplicitVRLittleEndian)
    assert not tail
    assert assemble(head, bulk, value, tail, ExplicitVRLittleEndian) == image


def test_bulk_data_of_undefined_length_keep_it(image: Dataset) -> None:
    head, bulk, value, tail = parts(image, ExplicitVRLittleEndian)
    bulk = BulkHeader(bulk.tag, "OB", None, bulk.header_offset, bulk.value_offset)
    assembled = assemble(head, bulk, value, tail, JPEGBaseline8Bit)
    assert assembled["PixelData"].is_undefined_length
    assert assembled.PixelData == PIXELS


def test_what_is_behind_may_not_be_truncated(image: Dataset) -> None:
    image.DataSetTrailingPadding = b"\0\0"
    head, bulk, value, tail = parts(image, ExplicitVRLittleEndian)
    with pytest.raises(DatasetError):
        assemble(head, bulk, value, tail[:-1], ExplicitVRLittleEndian)
