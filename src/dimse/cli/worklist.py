"""`dimse worklist`: queries a Modality Worklist."""

from __future__ import annotations

import re
from argparse import ArgumentParser
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

from dimse.address import Address
from dimse.cli import arguments, find, query_options, requestor, runtime
from dimse.cli.match_output import Column, FormattedMatches, Matches, TableMatches
from dimse.dataset.pydicom_names import Dataset
from dimse.dataset.texts import Texts
from dimse.services.finding import find as find_all
from dimse.services.worklist import STEP, Worklist, worklist_key

EXIT_CODES: Final = (
    "0 all matches were shown, even if there are none; 1 the worklist refused or failed, with the reason; "
    "2 wrong usage; 3 no association, or it was lost; 130 interrupted."
)

_OPTIONS: Final = (
    ("--station", "station_ae_title", "TITLE", "AE title of the modality for which steps are scheduled."),
    ("--station-name", "station_name", "NAME", "Name of that modality."),
    (
        "--date",
        "date",
        "DATE",
        "Day on which a step starts: today, 2024-01-31, 2024-01-01..2024-01-31, -7d, or as DICOM.",
    ),
    ("--time", "time", "TIME", "Time at which a step starts, e.g. 08:00-12:00."),
    ("--modality", "modality", "CODE", "Modality, e.g. CT. Separate several with commas."),
    ("--physician", "performing_physician", "NAME", "Physician who is to perform the step."),
    ("--patient", "patient_name", "NAME", "Name of the patient, e.g. 'Smith*'."),
    ("--patient-id", "patient_id", "ID", "ID of the patient."),
    ("--accession", "accession_number", "NUMBER", "Accession number of the order."),
    ("--procedure-id", "requested_procedure_id", "ID", "ID of the requested procedure."),
)

_COLUMNS: Final = (
    "ScheduledProcedureStepStartDate",
    "ScheduledProcedureStepStartTime",
    "ScheduledStationAETitle",
    "Modality",
    "PatientName",
    "PatientID",
    "AccessionNumber",
    "RequestedProcedureDescription",
    "ScheduledProcedureStepDescription",
    "RequestedProcedureID",
    "ScheduledProcedureStepID",
    "StudyInstanceUID",
)
"""The columns of CSV."""


class _Scheduled(Column):
    """The date and the time at which a step starts."""

    def __init__(self) -> None:
        super().__init__(f"{STEP}.ScheduledProcedureStepStartDate", "Scheduled")
        self._time = Column(f"{STEP}.ScheduledProcedureStepStartTime")

    def text(self, match: Dataset, texts: Texts, most: int | None = None) -> str:
        """As 2024-01-31 08:30; what is not in the form of DICOM as it is."""
        day = re.sub(r"^(\d{4})(\d\d)(\d\d)$", r"\1-\2-\3", super().text(match, texts, most))
        time = re.sub(r"^(\d\d)(\d\d)(\d\d(\.\d+)?)?$", r"\1:\2", self._time.text(match, texts, most))
        return f"{day} {time}".strip()


def _table() -> list[Column]:
    """The columns of the table."""
    return [
        _Scheduled(),
        Column(f"{STEP}.ScheduledStationAETitle", "Station"),
        Column(f"{STEP}.Modality", "Modality"),
        Column("PatientName", "Patient"),
        Column("PatientID", "ID"),
        Column("AccessionNumber", "Accession"),
        Column("RequestedProcedureDescription", "Procedure"),
    ]


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Worklist to query")
    for option, name, metavar, text in _OPTIONS:
        parser.add_argument(option, dest=name, metavar=metavar, help=text)
    parser.add_argument(
        "-k",
        "--key",
        dest="keys",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="Further key to match, e.g. ScheduledProcedureStepStatus=SCHEDULED. Without a value, a key to return. "
        "Repeat the option for several keys.",
    )
    requestor.add_arguments(parser)
    query_options.add_timeout(parser, "10 for a match")
    find.add_output(parser, "the usual ones")


def worklist(
    *,
    address: Address,
    keys: Sequence[str],
    limit: int | None,
    columns: list[str] | None,
    format: str | None,  # noqa: A002 - the option's name
    **more: Any,
) -> int:
    """Query a Modality Worklist: what is scheduled (C-FIND).

    Prints the scheduled procedure steps as a table. An option that is not given matches everything. Ctrl-C cancels the
    query (C-CANCEL) and shows the matches received so far.
    """
    output = find.take_output(more)
    more["keys"] = {name.strip(): value for name, _, value in (key.partition("=") for key in keys)}
    with arguments.usage():
        worklists = list(_each_modality(arguments.take(more, Worklist)))
        matches = _matches(output, columns, format)
        returned = [column.key for column in matches.columns]
        queries = [each.query().returning(*returned) for each in worklists]
        options = requestor.options(**more)
        found = find_all(address, queries, limit=limit, options=options, raise_failures=False)
    return runtime.run(find.show(found, matches))


def _each_modality(worklist: Worklist) -> Iterator[Worklist]:
    """A query for each modality: few worklists match several in one."""
    for modality in dict.fromkeys((worklist.modality or "").split(",")):
        yield replace(worklist, modality=modality.strip() or None)


def _matches(output: type[Matches], columns: list[str] | None, form: str | None) -> Matches:
    if form is not None:
        return FormattedMatches(form, _column)
    if output is TableMatches and columns is None:
        return output(_table())
    matches = output([_column(name) for name in columns or _COLUMNS])
    if columns:
        matches.chosen = frozenset(column.tag for column in matches.columns)
    return matches


def _column(name: str) -> Column:
    """A column by the name that the user gives it, which needs no sequence for a key of the step."""
    return Column(worklist_key(name), name)
