"""Identifiers of responses: what was asked for, in the transfer syntax and character set of the request."""

from __future__ import annotations

from typing import Any

import pytest
from pydicom import Dataset

from dimse import QueryFeatures, uids
from dimse.dataset.codec import decode, encode
from dimse.node.answers import Answers
from dimse.node.attributes import parse
from dimse.services.matching import Keys

EXPLICIT = uids.EXPLICIT_VR_LITTLE_ENDIAN
SYNTAXES = [EXPLICIT, uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN]


def dataset(**given: Any) -> Dataset:
    made = Dataset()
    for keyword, value in given.items():
        setattr(made, keyword, value)
    return made


def answered(asked: Dataset, stored: Dataset, terms: str = "", syntax: str = EXPLICIT) -> Dataset:
    """The answer to `asked`, without what all answers have."""
    keys = Keys(asked, (), 0, QueryFeatures()).add(asked)
    stored.SpecificCharacterSet = "ISO_IR 192"
    elements = parse(encode(stored, EXPLICIT))
    del elements[0x00080005]
    found = decode(Answers(keys, terms.split("\\") if terms else [], syntax).encoded(elements), syntax)
    for keyword in ("QueryRetrieveLevel", "RetrieveAETitle", "InstanceAvailability"):
        del found[keyword]
    return found


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_what_was_asked_for_and_nothing_else(syntax: str) -> None:
    asked = dataset(PatientID=None, PatientName="*", Rows=None, StudyDescription=None, PatientComments=None)
    asked.ReferencedStudySequence, asked.EncapsulatedDocument = [], None
    stored = dataset(PatientID="1", PatientName="Doe", Rows=300, PatientAge="030Y", PatientComments="c")
    expected = dataset(PatientID="1", PatientName="Doe", Rows=300, StudyDescription="", PatientComments="c")
    expected.ReferencedStudySequence, expected.EncapsulatedDocument = [], None
    assert answered(asked, stored, syntax=syntax) == expected


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_items_that_match_and_what_was_asked_of_them(syntax: str) -> None:
    codes = [dataset(CodeValue="1", CodeMeaning="a"), dataset(CodeValue="2", CodeMeaning="b")]
    deeper = dataset(CodeValue="3", EquivalentCodeSequence=[dataset(CodeValue="4", CodeMeaning="Müller")])
    stored = dataset(ProcedureCodeSequence=[*codes, deeper])
    found = answered(
        dataset(ProcedureCodeSequence=[dataset(CodeValue="2", CodingSchemeDesignator=None)]), stored, syntax=syntax
    )
    assert found == dataset(ProcedureCodeSequence=[dataset(CodeValue="2", CodingSchemeDesignator="")])
    for item in ([], [Dataset()]):
        whole = answered(dataset(ProcedureCodeSequence=item), stored, syntax=syntax)
        assert whole.ProcedureCodeSequence == stored.ProcedureCodeSequence
        assert whole.SpecificCharacterSet == "ISO_IR 192"


@pytest.mark.parametrize(
    ("terms", "name", "answer"),
    [
        ("ISO_IR 100", "Doe^Jane", None),
        ("", "Müller", "ISO_IR 192"),
        ("ISO_IR 100", "Müller", "ISO_IR 100"),
        ("ISO_IR 192", "Müller", "ISO_IR 192"),
        ("ISO_IR 100", "Люксембург", "ISO_IR 192"),
        ("ISO_IR 144", "Люксембург", "ISO_IR 144"),
        ("ISO_IR 126", "Διονύσιος", "ISO_IR 126"),
        ("GB18030", "Wang^XiaoDong=王^小东", "GB18030"),
        ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", ["", "ISO 2022 IR 87"]),
        ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", ["", "ISO 2022 IR 149"]),
        ("\\ISO 2022 IR 87", "Hong^Gildong=洪^吉洞=홍^길동", "ISO_IR 192"),
        ("ISO_IR 13", "ﾔﾏﾀﾞ^ﾀﾛｳ", "ISO_IR 13"),
        ("nonsense", "Müller", "ISO_IR 192"),
    ],
)
def test_character_sets(terms: str, name: str, answer: str | list[str] | None) -> None:
    asked = dataset(PatientName=None, RequestAttributesSequence=[dataset(ScheduledProcedureStepDescription=None)])
    stored = dataset(PatientName=name, RequestAttributesSequence=[dataset(ScheduledProcedureStepDescription=name)])
    found = answered(asked, stored, terms)
    assert found.get("SpecificCharacterSet") == answer
    assert found.PatientName == name
    assert found.RequestAttributesSequence[0].ScheduledProcedureStepDescription == name


def test_a_private_creator_comes_back() -> None:
    asked = Dataset()
    asked.add_new(0x00090010, "LO", "ACME")
    asked.add_new(0x00091001, "LO", "")
    assert answered(asked, Dataset()) == asked
