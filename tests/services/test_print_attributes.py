"""Attributes that a print server receives."""

from __future__ import annotations

import pytest
from pydicom.dataset import Dataset

from dimse import StatusError
from dimse.dataset.codec import decode
from dimse.services.print_attributes import merged_film, merged_image, merged_session, position_of, referenced
from dimse.uids import IMPLICIT_VR_LITTLE_ENDIAN


def test_what_is_not_known_is_left_out_and_what_was_there_stays() -> None:
    present, given = Dataset(), Dataset()
    present.FilmSizeID, present.BorderDensity = "A4", "BLACK"
    given.BorderDensity, given.MaxDensity, given.PatientName = "WHITE", 320, "SECRET"
    merged, status = merged_film(given, present)
    assert (merged.FilmSizeID, merged.BorderDensity, merged.MaxDensity, status) == ("A4", "WHITE", 320, 0)
    assert "PatientName" not in merged
    assert present.BorderDensity == "BLACK"


def session_of(copies: bytes) -> Dataset:
    """As it arrives, since pydicom would refuse to make it."""
    return decode(b"\x00\x20\x10\x00" + len(copies).to_bytes(4, "little") + copies, IMPLICIT_VR_LITTLE_ENDIAN)


@pytest.mark.parametrize("copies", [b"many", b"1.5 "])
def test_values_that_cannot_be_read_are_refused(copies: bytes) -> None:
    with pytest.raises(StatusError, match="NumberOfCopies cannot be read"):
        merged_session(session_of(copies), Dataset())


@pytest.mark.parametrize("copies", [b"0 ", b"-1", b"1000"])
def test_copies_that_are_not_a_number_of_copies_are_one(copies: bytes) -> None:
    merged, status = merged_session(session_of(copies), Dataset())
    assert (int(merged.NumberOfCopies), status) == (1, 0x0116)


def test_values_of_image_boxes() -> None:
    given = Dataset()
    given.Polarity, given.RequestedImageSize = "REVERSE", "100.5"
    assert merged_image(given, Dataset())[1] == 0
    given.RequestedDecimateCropBehavior = "DECIMATE"
    assert merged_image(given, Dataset())[1] == 0
    given.RequestedDecimateCropBehavior = "CROP"
    merged, status = merged_image(given, Dataset())
    assert (merged.RequestedDecimateCropBehavior, status) == ("DECIMATE", 0x0116)
    given.RequestedImageSize = "0"
    merged, status = merged_image(given, Dataset())
    assert (merged.RequestedImageSize, status) == (None, 0x0116)


@pytest.mark.parametrize(("position", "expected"), [(None, 2), (3, 3), (4, None), (0, None)])
def test_positions(position: int | None, expected: int | None) -> None:
    given = Dataset()
    if position is not None:
        given.ImageBoxPosition = position
    if expected is None:
        with pytest.raises(StatusError, match="ImageBoxPosition must be 1 to 3"):
            position_of(given, "ImageBoxPosition", 2, 3)
    else:
        assert position_of(given, "ImageBoxPosition", 2, 3) == expected


def test_references() -> None:
    keyword, given, item = "ReferencedFilmSessionSequence", Dataset(), Dataset()
    item.ReferencedSOPInstanceUID = "1.2"
    with pytest.raises(StatusError, match="is missing"):
        referenced(given, keyword)
    for items, uid in (([], ""), ([item], "1.2"), ([item, item], "")):
        given.ReferencedFilmSessionSequence = items
        assert referenced(given, keyword) == uid
