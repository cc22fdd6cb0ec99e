"""The query made of the options, and its columns."""

from __future__ import annotations

import pytest

from dimse import QueryRetrieveLevel, QueryRetrieveModel
from dimse.cli import query_options


def test_a_key_is_given_once() -> None:
    with pytest.raises(ValueError, match="PatientID is given twice"):
        query_options.parse(QueryRetrieveLevel.STUDY, ["PatientID=1", "PatientID=2"], None)


@pytest.mark.parametrize(
    ("keys", "columns"),
    [
        (["PatientID=1", "StudyDate"], ["PatientID", "StudyDate"]),
        (["PatientID=1"], list(query_options.DEFAULT_COLUMNS[QueryRetrieveLevel.STUDY])),
    ],
)
def test_columns_are_the_keys_and_with_values_only_the_usual_ones(keys: list[str], columns: list[str]) -> None:
    query = query_options.parse(QueryRetrieveLevel.STUDY, keys, None)
    assert query_options.columns(query, keys) == columns


def test_patient_root_has_the_name_of_the_patient_at_its_level_only() -> None:
    model = QueryRetrieveModel.PATIENT_ROOT
    study = query_options.parse(QueryRetrieveLevel.STUDY, ["PatientID=1"], model)
    patient = query_options.parse(QueryRetrieveLevel.PATIENT, ["PatientID=1"], model)
    assert "PatientName" not in query_options.columns(study, ["PatientID=1"])
    assert "PatientName" in query_options.columns(patient, ["PatientID=1"])
