"""Options of find, get, move and retrieve, and the query made of them."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from typing import Final

from dimse.cli import arguments
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel

LEVELS: Final = {level.value: level for level in QueryRetrieveLevel}
MODELS: Final = {"patient": QueryRetrieveModel.PATIENT_ROOT, "study": QueryRetrieveModel.STUDY_ROOT}

DEFAULT_COLUMNS: Final = {
    QueryRetrieveLevel.PATIENT: ("PatientName", "PatientID", "PatientBirthDate", "PatientSex"),
    QueryRetrieveLevel.STUDY: (
        "PatientName",
        "PatientID",
        "StudyDate",
        "ModalitiesInStudy",
        "StudyDescription",
        "StudyInstanceUID",
    ),
    QueryRetrieveLevel.SERIES: (
        "Modality",
        "SeriesNumber",
        "SeriesDescription",
        "NumberOfSeriesRelatedInstances",
        "SeriesInstanceUID",
    ),
    QueryRetrieveLevel.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}


def add_find_keys(parser: ArgumentParser, *, required: bool = False) -> None:
    """Matching keys and keys to return."""
    text = (
        "Key to match, e.g. PatientName=Smith*, 0010,0020=4711, StudyDate=20240101-, or "
        "ProcedureCodeSequence.CodeValue=24627-2. Without a value, a key to return. Repeat the option for several keys."
    )
    _add_keys(parser, "KEY[=VALUE]", text, required=required)


def add_unique_keys(parser: ArgumentParser) -> None:
    """Unique keys of the entities to retrieve."""
    text = (
        "Unique key, e.g. StudyInstanceUID=1.2.3; add SeriesInstanceUID and SOPInstanceUID with --level SERIES or "
        "IMAGE. Separate several UIDs with a backslash. Repeat the option for several keys."
    )
    _add_keys(parser, "KEY=VALUE", text, required=True)


def _add_keys(parser: ArgumentParser, metavar: str, text: str, *, required: bool) -> None:
    parser.add_argument(
        "-k", "--key", dest="keys", metavar=metavar, action="append", default=[], required=required, help=text
    )


def add_level_and_model(parser: ArgumentParser) -> None:
    """The Query/Retrieve Level and the information model."""
    parser.add_argument(
        "--level",
        metavar="|".join(LEVELS),
        type=arguments.one_of(LEVELS),
        default=QueryRetrieveLevel.STUDY,
        help="Query/Retrieve Level.",
    )
    parser.add_argument(
        "--model",
        metavar="|".join(MODELS),
        type=arguments.one_of(MODELS),
        help="Information model: Patient Root or Study Root. [default: patient at the PATIENT level, else study]",
    )


def add_timeout(parser: ArgumentParser, default: str) -> None:
    """The timeout. Without it, each step has a default of its own."""
    text = "Abort after this many seconds without progress."
    arguments.add_timeout(parser, f"{text} [default: 30 to connect, {default}]")


def parse(level: QueryRetrieveLevel, keys: Sequence[str], model: QueryRetrieveModel | None) -> Query:
    """The query made of the options. Raises `ValueError`."""
    names = [key.partition("=")[0].strip() for key in keys]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice; separate several values of a key with a backslash")
    return Query.parse(level, keys, model)


def columns(query: Query, keys: Sequence[str]) -> list[str]:
    """The columns to show: the given keys and, if all of them have values, the usual ones of the level."""
    parts = [key.partition("=") for key in keys]
    names = [name.strip() for name, _, _ in parts]
    if all(value for _, _, value in parts):
        names = [*(key for key in DEFAULT_COLUMNS[query.level] if _is_allowed(query, key)), *names]
    return list(dict.fromkeys(names))


def _is_allowed(query: Query, key: str) -> bool:
    """Patient Root has the patient's keys only at the PATIENT level (PS3.4 C.6.1)."""
    is_below = query.model is QueryRetrieveModel.PATIENT_ROOT and query.level is not QueryRetrieveLevel.PATIENT
    return key != "PatientName" or not is_below
