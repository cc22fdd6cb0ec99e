"""The conditions of keys: what is rewritten for a database."""

from __future__ import annotations

from itertools import product
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import Connection, insert, literal, select
from tests.node.archived import finder, found, keys, put, search
from tests.node.rows import member
from tests.sample_objects import EXPLICIT
from tests.services.naive_matching import glob

from dimse import Matcher, QueryFeatures
from dimse.dataset.codec import decode
from dimse.node.attributes import encode_element
from dimse.node.index import Index
from dimse.node.schema import uid
from dimse.node.terms import MAX_STARS, MAX_VALUES, begins, days, like, pattern, term, texts
from dimse.services.matching import Keys
from dimse.services.query_keys import tag_of
from dimse.services.query_models import QueryRetrieveLevel

ALPHABET = "aB*?%_!\\[]山\u00e9 "


def is_true(index: Index, condition: object) -> bool:
    with index.reading() as connection:
        return bool(connection.execute(select(literal(1)).where(condition)).all())  # type: ignore[arg-type]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    wanted=st.text(ALPHABET, min_size=1, max_size=6),
    value=st.text(ALPHABET.replace("*", "").replace("?", ""), max_size=6),
)
def test_wild_cards_leave_out_nothing_that_matches(index: Index, wanted: str, value: str) -> None:
    narrowed = is_true(index, texts(literal(value), [wanted]))
    if glob(wanted, value):
        assert narrowed
    elif glob(wanted.casefold(), value.casefold()) is False and wanted.count("*") <= MAX_STARS:
        assert not narrowed


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=4), max_size=8))
def test_a_beginning_is_a_range_by_code_points(index: Index, stored: list[str]) -> None:
    stored = sorted({*stored, "\ud7ff", "\ue000", "\U0010ffff", "\U0010ffffa", "a", "ab", "b"})
    with index.writing() as connection:
        _fill(connection, stored)
        for prefix in stored:
            if prefix:
                asked = select(uid.c.uid).where(begins(uid.c.uid, prefix))
                assert {*connection.scalars(asked)} == {each for each in stored if each.startswith(prefix)}
        connection.rollback()


def _fill(connection: Connection, stored: list[str]) -> None:
    connection.execute(insert(uid), [{"id": number, "uid": text} for number, text in enumerate(stored, 1)])


def test_many_stars_take_no_longer_than_a_few() -> None:
    assert pattern("*a" * 30) == "%a%a%"
    assert "LIKE" not in str(like(uid.c.uid, "begins*"))


@pytest.mark.parametrize(
    ("value", "span"),
    [
        ("20240229", (20240229, 20240229)),
        ("2024", (20240101, 20241231)),
        ("2024-", (20240101, 99991231)),
        ("-202402", (10101, 20240229)),
        ("20240230", None),
        ("-", None),
    ],
)
def test_days(value: str, span: tuple[int, int] | None) -> None:
    assert days(value) == span


GROUPS = ("", "*", "s*", "?*", "山*", "や?ま", "smith^*", "山田^*^*")
NAMES = ("Smith^Ada", "Smith^^", "Smith=山田=やまま", "=山田", "==やまま", "山田=s", "")


async def test_component_groups(index: Index, tmp_path: Path) -> None:
    """Each pair and triple of groups; a name need not have the group that a "*" is for."""
    archive = [member(f"1.{n}", "1", 1, PatientName=n_) for n, n_ in enumerate(NAMES)]
    for each in archive:
        each.SpecificCharacterSet = "ISO_IR 192"
    put(index, tmp_path, archive)
    for groups in (*product(GROUPS, repeat=2), *product(GROUPS, repeat=3)):
        name = "=".join(groups)
        matches = await found(finder(index, tmp_path), "STUDY", PatientName=name, unknown_matches=False)
        identifier = keys("STUDY", PatientName=name, StudyInstanceUID="")
        expected = Matcher(identifier, unknown_matches=False).find(archive)
        assert sorted(str(each.PatientName) for each in matches) == sorted(
            str(each.PatientName) for each in expected
        ), name


def test_what_a_column_cannot_say_has_no_condition() -> None:
    def of(keyword: str, value: object) -> object:
        identifier = keys("STUDY", **{keyword: value})
        made = Keys(identifier, (), 0, QueryFeatures()).add(identifier)
        (tag,) = made.tests
        return term(made, tag)

    assert of("PatientID", "1") is not None
    assert of("PatientComments", "1") is None
    assert of("PatientID", [f"{number}*" for number in range(MAX_VALUES + 1)]) is None
    assert of("PatientID", [str(number) for number in range(2 * MAX_VALUES)]) is not None


@pytest.mark.parametrize("value", ["1e999999999", "-1e9999999", "NaN", "Infinity", "1e-999999999", "9" * 300])
async def test_numbers_that_no_column_has(index: Index, tmp_path: Path, value: str) -> None:
    put(index, tmp_path, [member("1.1", "1", 1)])
    for keyword in ("NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries"):
        encoded = encode_element(tag_of(keyword), "IS", value.encode())
        assert not await search(finder(index, tmp_path), decode(encoded, EXPLICIT), QueryRetrieveLevel.STUDY, limit=9)


@pytest.mark.parametrize("value", ["P\0X", "\0*"])
async def test_a_nul_is_in_no_column(index: Index, tmp_path: Path, value: str) -> None:
    """PostgreSQL has no such texts, nor takes them."""
    put(index, tmp_path, [member("1.1", "1", 1, PatientID="P", PatientName="P")])
    for keyword in ("PatientID", "PatientName", "ReferringPhysicianName", "ModalitiesInStudy", "StudyInstanceUID"):
        asked = {"StudyInstanceUID": "", keyword: value}
        assert not await found(finder(index, tmp_path), "STUDY", unknown_matches=False, **asked)
