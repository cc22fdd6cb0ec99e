"""What find, get, move and retrieve have in common: options, and the query that they make."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, Final

import typer

from dimse.ae import ClientOptions, Timeouts
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel


class Model(StrEnum):
    """The root of the information model, as it is typed."""

    PATIENT = "patient"
    STUDY = "study"


Archive = Annotated[str, typer.Argument(metavar="ARCHIVE@HOST:PORT", help="Whom to ask. Port 11112 if left out.")]
FindKeys = Annotated[
    list[str] | None,
    typer.Option(
        "--key",
        "-k",
        metavar="KEY[=VALUE]",
        help="What has to match: PatientName=Smith*, 0010,0020=4711, StudyDate=20240101-, "
        "ProcedureCodeSequence.CodeValue=24627-2. Without a value: what to show. Any number of them.",
    ),
]
UniqueKeys = Annotated[
    list[str],
    typer.Option(
        "--key",
        "-k",
        metavar="KEY=VALUE",
        help="Which: StudyInstanceUID=1.2.3, and what of it with --level SERIES or IMAGE. A backslash is between UIDs.",
    ),
]
Level = Annotated[
    QueryRetrieveLevel,
    typer.Option(metavar="|".join(QueryRetrieveLevel), case_sensitive=False, help="The Query/Retrieve Level."),
]
Root = Annotated[
    Model | None,
    typer.Option(
        "--model",
        case_sensitive=False,
        show_default=False,
        help="The root of the information model. Without: patient at the PATIENT level, else study.",
    ),
]
Calling = Annotated[str, typer.Option(metavar="TITLE", help="Our own AE title.")]
Timeout = Annotated[
    float | None,
    typer.Option(
        metavar="SECONDS",
        show_default=False,
        help="Give up where nothing comes for so long. Without: 30 to connect, 10 for a match, 120 for an instance.",
    ),
]

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


def parse(level: QueryRetrieveLevel, keys: Sequence[str], model: Model | None) -> Query:
    """The query that was typed. Raises `ValueError`."""
    names = [key.partition("=")[0].strip() for key in keys]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise ValueError(f"{twice} is given twice; a backslash goes between several values of a key")
    return Query.parse(level, keys, None if model is None else QueryRetrieveModel[f"{model.name}_ROOT"])


def columns(query: Query, keys: Sequence[str]) -> list[str]:
    """What to show: the keys asked for. Where all of them only choose, also what there is to know of the level."""
    typed = [key.partition("=") for key in keys]
    asked = [key.strip() for key, _, _ in typed]
    if all(value for _, _, value in typed):
        asked = [*(key for key in DEFAULT_COLUMNS[query.level] if _may_ask(query, key)), *asked]
    return list(dict.fromkeys(asked))


def _may_ask(query: Query, key: str) -> bool:
    """Patient Root has the keys of the patient at the PATIENT level only (PS3.4 C.6.1)."""
    is_below = query.model is QueryRetrieveModel.PATIENT_ROOT and query.level is not QueryRetrieveLevel.PATIENT
    return key != "PatientName" or not is_below


def options(calling: str, timeout: float | None) -> ClientOptions:
    """How we behave. Raises `ValueError`."""
    if timeout is None:
        return ClientOptions(calling_ae_title=calling)
    timers = ("connect", "association", "store", "find", "get", "move")
    return ClientOptions(calling_ae_title=calling, timeouts=Timeouts(**dict.fromkeys(timers, timeout)))
