"""Status codes: an int with a category and a meaning (PS3.7 Annex C)."""

from __future__ import annotations

import pickle

import pytest

from dimse.status import Status, StatusCategory


@pytest.mark.parametrize("tag", [-1, 0x1_0000_0000])
def test_what_is_no_tag(tag: int) -> None:
    """It could not be sent, which would end the association."""
    with pytest.raises(ValueError, match="a tag must be"):
        Status(0xA900).with_comment("no patient", 0x00100010, tag)


@pytest.mark.parametrize(
    ("code", "category"),
    [
        (0x0000, StatusCategory.SUCCESS),
        (0xFF00, StatusCategory.PENDING),
        (0xFF01, StatusCategory.PENDING),  # a result too
        (0xFE00, StatusCategory.CANCEL),
        (0x0001, StatusCategory.WARNING),
        (0x0107, StatusCategory.WARNING),
        (0x0116, StatusCategory.WARNING),
        (0xB000, StatusCategory.WARNING),
        (0xB007, StatusCategory.WARNING),
        (0xBFFF, StatusCategory.WARNING),
        (0x0002, StatusCategory.FAILURE),
        (0x0110, StatusCategory.FAILURE),
        (0x0111, StatusCategory.FAILURE),
        (0xA700, StatusCategory.FAILURE),
        (0xAFFF, StatusCategory.FAILURE),
        (0xC000, StatusCategory.FAILURE),
        (0xFF02, StatusCategory.FAILURE),
        (0xFE01, StatusCategory.FAILURE),
    ],
)
def test_category(code: int, category: StatusCategory) -> None:
    assert Status(code).category is category


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (0x0000, "Success"),
        (0xA700, "Out of resources"),
        (0xA7FE, "Out of resources"),
        (0xA702, "Out of resources: unable to perform sub-operations"),
        (0xA9AB, "Data set does not match SOP class"),
        (0xC123, "Cannot understand"),
        (0x0111, "Duplicate SOP instance"),
        (0x4321, "Failure"),
        (0xBABE, "Warning"),
    ],
)
def test_meaning(code: int, meaning: str) -> None:
    assert Status(code).meaning == meaning
    assert str(Status(code)) == f"0x{code:04X} {meaning}"
    assert repr(Status(code)) == f"Status(0x{code:04X})"


def test_it_is_an_int() -> None:
    assert Status.SUCCESS == 0x0000
    assert Status(0xA700) == 0xA700
    assert hash(Status(0xA700)) == hash(0xA700)
    assert pickle.loads(pickle.dumps(Status(0xB000))) == Status.__new__(Status, 0xB000)  # noqa: S301 - our own bytes


def test_out_of_resources_is_the_whole_range() -> None:
    assert [code for code in range(0x10000) if Status(code).is_out_of_resources] == list(range(0xA700, 0xA800))


def test_every_code_has_a_category_and_a_meaning() -> None:
    for code in range(0x10000):
        assert Status(code).category in StatusCategory
        assert Status(code).meaning
