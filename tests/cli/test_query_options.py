"""The queries made of the options, and their columns."""

from __future__ import annotations

from pathlib import Path

import pytest

from dimse import Query, QueryRetrieveLevel, QueryRetrieveModel
from dimse.cli import query_options

STUDY, SERIES = QueryRetrieveLevel.STUDY, QueryRetrieveLevel.SERIES


def queries(*keys: str, level: QueryRetrieveLevel | None = None, table: Path | None = None) -> list[Query]:
    return query_options.Keys(keys).queries(level, None, None if table is None else str(table))


def columns(*keys: str, model: QueryRetrieveModel | None = None, level: QueryRetrieveLevel | None = None) -> list[str]:
    given = query_options.Keys(keys)
    return given.columns(given.queries(level, model, None)[0])


def written(folder: Path, text: str) -> Path:
    path = folder / "studies.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_key_given_twice_makes_one_query_for_each_value() -> None:
    found = queries("PatientID=1", "0010,0020=2", "StudyDescription", "PatientID=1")
    one = Query.studies(StudyDescription=None)
    assert found == [one.patient_id("1"), one.patient_id("2")]


def test_several_keys_given_twice_make_each_combination() -> None:
    found = queries("PatientID=1", "PatientID=2", "StudyDate=20240101", "StudyDate=20240102")
    assert len(found) == 4


def test_codes_are_separated_by_commas(capsys: pytest.CaptureFixture[str]) -> None:
    assert queries("ModalitiesInStudy=CT,MR") == [Query.studies().modality("CT"), Query.studies().modality("MR")]
    assert capsys.readouterr().err == "dimse: ModalitiesInStudy: 2 values, one query for each\n"
    assert queries("PatientName=Doe,Jane") == [Query.studies(PatientName="Doe,Jane")]
    assert queries("StudyInstanceUID=1.2,1.3") == [Query.studies().study_instance_uid("1.2", "1.3")]


def test_keys_from_a_file(tmp_path: Path) -> None:
    keys = written(tmp_path, "\ufeff# two patients\nPatientID=1\r\nPatientID=2\n\nStudyDescription\n")
    assert queries(f"@{keys}") == queries("PatientID=1", "PatientID=2", "StudyDescription")


@pytest.mark.parametrize("separator", [",", ";", "\t"])
def test_a_query_for_each_row_of_a_table(separator: str, tmp_path: Path) -> None:
    table = written(tmp_path, "PatientID,StudyDate\n1,2024-01-31\n\n2,\n".replace(",", separator))
    found = queries("StudyDescription=Head", table=table)
    one = Query.studies(StudyDescription="Head")
    assert found == [one.where(PatientID="1", StudyDate="20240131"), one.patient_id("2")]


def test_uids_in_a_table_say_alone_what_is_wanted(tmp_path: Path) -> None:
    table = written(tmp_path, "PatientName,ModalitiesInStudy,StudyInstanceUID,Group\nDoe^J,CT\\SR,1.2,a\nX,,1.3,b\n")
    assert queries(table=table) == [Query.studies(StudyInstanceUID="1.2"), Query.studies(StudyInstanceUID="1.3")]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "first line must name keys"),
        ("PatientID\n", "has no rows"),
        ("PatientID,StudyDate\n1,\n,\n", None),
        ('PatientID,PatientName\n ,X\n"",""\nY, \n', None),
        ('PatientID\n1\n\n\n""\n2\n', None),
        ("PatientID,Group\n1,a\n", "line 2: unknown keyword 'Group'"),
        ("PatientID,StudyDate\n1,20240101\n2,2024-13\n", "line 3: StudyDate"),
        ("Group,PatientID\n,\n ,1\n", None),
        ("StudyDescription\nHead\n", "line 2: StudyDescription is also given with -k"),
        ("PatientID\n\xa01\xa0\n", None),
    ],
)
def test_tables_that_are_wrong(text: str, reason: str | None, tmp_path: Path) -> None:
    table = written(tmp_path, text)
    if reason is None:
        assert queries(table=table)
        return
    with pytest.raises(ValueError, match=reason):
        queries("StudyDescription=Thorax", table=table)


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file"):
        queries(table=tmp_path / "none.csv")
    path = tmp_path / "keys.txt"
    path.write_bytes(b"PatientName=M\xfcller\n")
    with pytest.raises(ValueError, match="must be UTF-8"):
        queries(f"@{path}")


def test_the_level_by_option_or_by_key() -> None:
    assert queries("QueryRetrieveLevel=series", "Modality=CT") == [Query.series(Modality="CT")]
    assert queries("0008,0052=SERIES", level=SERIES) == [Query.series()]
    with pytest.raises(ValueError, match="two levels are given: SERIES, STUDY"):
        queries("QueryRetrieveLevel=SERIES", level=STUDY)
    with pytest.raises(ValueError, match="QueryRetrieveLevel must be one of PATIENT, STUDY"):
        queries("QueryRetrieveLevel=WORKLIST")


def test_something_must_be_given() -> None:
    with pytest.raises(ValueError, match="give the keys to match"):
        query_options.queries(None, None, [], None)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        (["PatientID=1", "StudyDate"], ["PatientID", "StudyDate"]),
        (["PatientID=1"], list(query_options.DEFAULT_COLUMNS[STUDY])),
        (["0010,0020=1"], list(query_options.DEFAULT_COLUMNS[STUDY])),
        (["AccessionNumber=1", "AccessionNumber=2"], [*query_options.DEFAULT_COLUMNS[STUDY], "AccessionNumber"]),
        (["QueryRetrieveLevel=STUDY"], list(query_options.DEFAULT_COLUMNS[STUDY])),
    ],
)
def test_columns_are_the_keys_and_with_values_only_the_usual_ones(keys: list[str], expected: list[str]) -> None:
    assert columns(*keys) == expected


def test_patient_root_has_the_name_of_the_patient_at_its_level_only() -> None:
    model = QueryRetrieveModel.PATIENT_ROOT
    assert "PatientName" not in columns("PatientID=1", model=model)
    assert "PatientName" in columns("PatientID=1", model=model, level=QueryRetrieveLevel.PATIENT)
