"""What find, get, move and retrieve share: options, and the query made of them."""

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
        *("PatientName", "PatientID", "StudyDate", "ModalitiesInStudy", "StudyDescription"),
        "StudyInstanceUID",
    ),
    QueryRetrieveLevel.SERIES: (
        *("Modality", "SeriesNumber", "SeriesDescription", "NumberOfSeriesRelatedInstances"),
        "SeriesInstanceUID",
    ),
    QueryRetrieveLevel.IMAGE: ("InstanceNumber", "SOPClassUID", "SOPInstanceUID"),
}


def add_find_keys(parser: ArgumentParser, *, required: bool = False) -> None:
    """Keys that match and keys to show."""
    text = (
        "A key to match: PatientName=Smith*, 0010,0020=4711, StudyDate=20240101-, "
        "ProcedureCodeSequence.CodeValue=24627-2. Without a value, a key to show. Repeat the option for more."
    )
    _add_keys(parser, "KEY[=VALUE]", text, required=required)


def add_unique_keys(parser: ArgumentParser) -> None:
    """Keys that name what to retrieve."""
    text = (
        "What to retrieve: StudyInstanceUID=1.2.3; with --level SERIES or IMAGE also the lower UIDs. "
        "Separate several UIDs by a backslash."
    )
    _add_keys(parser, "KEY=VALUE", text, required=True)


def _add_keys(parser: ArgumentParser, metavar: str, text: str, *, required: bool) -> None:
    parser.add_argument(
        "-k", "--key", dest="keys", metavar=metavar, action="append", default=[], required=required, help=text
    )


def add_level_and_model(parser: ArgumentParser) -> None:
    """Which entities, and in which information model."""
    parser.add_argument(
        "--level",
        metavar="|".join(LEVELS),
        type=arguments.one_of(LEVELS),
        default=QueryRetrieveLevel.STUDY,
        help="The Query/Retrieve Level.",
    )
    parser.add_argument(
        "--model",
        metavar="|".join(MODELS),
        type=arguments.one_of(MODELS),
        help="The root of the information model. Without it, patient at the PATIENT level, else study.",
    )


def add_timeout(parser: ArgumentParser) -> None:
    """The timeout, whose default differs between services."""
    arguments.add_timeout(
        parser,
        "Give up after this long without progress. Without it, 30 to connect, 10 for a match, 120 for an instance.",
    )


def parse(level: QueryRetrieveLevel, keys: Sequence[str], model: QueryRetrieveModel | None) -> Query:
    """The query that was typed. Raises `ValueError`."""
    names = [key.partition("=")[0].strip() for key in keys]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice; separate several values of a key by a backslash")
    return Query.parse(level, keys, model)


def columns(query: Query, keys: Sequence[str]) -> list[str]:
    """The columns to show: the given keys and, if all of them have values, the usual ones of the level."""
    typed = [key.partition("=") for key in keys]
    asked = [key.strip() for key, _, _ in typed]
    if all(value for _, _, value in typed):
        asked = [*(key for key in DEFAULT_COLUMNS[query.level] if _may_ask(query, key)), *asked]
    return list(dict.fromkeys(asked))


def _may_ask(query: Query, key: str) -> bool:
    """Patient Root has the keys of the patient at the PATIENT level only (PS3.4 C.6.1)."""
    is_below = query.model is QueryRetrieveModel.PATIENT_ROOT and query.level is not QueryRetrieveLevel.PATIENT
    return key != "PatientName" or not is_below
