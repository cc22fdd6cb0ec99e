"""`dimse step`: reports a performed procedure step, message by message."""

from __future__ import annotations

import json as json_module
import sys
from argparse import ArgumentParser
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimse.address import Address
from dimse.cli import arguments, exit_codes, requestor, runtime
from dimse.cli.output import counted, print_error, print_json, print_line
from dimse.cli.parser import UsageError
from dimse.network.application_entity import ApplicationEntity
from dimse.uids import is_uid

if TYPE_CHECKING:
    from pydicom import Dataset

    from dimse.services.procedure_step_scu import PerformedStep

EXIT_CODES: Final = (
    "0 the peer has confirmed it; 1 the peer refused it; 2 wrong usage; 3 no association, or it was lost; "
    "130 interrupted."
)

_START, _UPDATE, _COMPLETE, _DISCONTINUE = _ACTIONS = ("start", "update", "complete", "discontinue")
_DONE: Final = {_UPDATE: "updated", _COMPLETE: "completed", _DISCONTINUE: "discontinued"}
_REASONS: Final = {
    "110500": "Doctor canceled procedure",
    "110501": "Equipment failure",
    "110502": "Incorrect procedure ordered",
    "110503": "Patient allergic to media/contrast",
    "110504": "Patient died",
    "110505": "Patient refused to continue procedure",
    "110506": "Patient taken for treatment or surgery",
    "110507": "Patient did not arrive",
    "110508": "Patient pregnant",
    "110513": "Discontinued for unspecified reason",
    "110514": "Incorrect worklist entry selected",
    "110515": "Patient condition prevented continuing",
    "110516": "Equipment change",
}
"""Codes of PS3.16 CID 9300, coding scheme DCM."""


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.usage = "dimse step ACTION [options] TITLE@HOST:PORT [UID]"
    parser.add_argument(
        "action",
        metavar="ACTION",
        type=arguments.one_of({action: action for action in _ACTIONS}),
        help="What to report: start a step, update it, complete it, or discontinue it before it is done.",
    )
    arguments.add_address(parser, "Peer to report to")
    parser.add_argument(
        "uid", metavar="UID", nargs="?", help="SOP Instance UID of the step, as start has printed it. Not for start."
    )
    parser.add_argument(
        "-k",
        "--key",
        dest="keys",
        metavar="KEY=VALUE",
        action="append",
        default=[],
        help="Attribute of the step or of what was scheduled, by keyword or tag, e.g. Modality=CT, "
        "PerformedStationAETitle=CT1, AccessionNumber=4711. Repeat the option for several.",
    )
    parser.add_argument(
        "--worklist",
        metavar="FILE",
        help="With start: the worklist matches to perform, one per line in the DICOM JSON Model (- is standard input).",
    )
    parser.add_argument(
        "--series",
        metavar="PATH",
        nargs="+",
        type=Path,
        default=[],
        help="Files and folders of the instances that the step has made so far. Not with start.",
    )
    parser.add_argument(
        "--reason",
        metavar="CODE",
        type=arguments.one_of({code: code for code in _REASONS}),
        default="110513",
        help="With discontinue: why, as a code of PS3.16 CID 9300: "
        + "; ".join(f"{code} {meaning}" for code, meaning in _REASONS.items())
        + ".",
    )
    requestor.add_arguments(parser)
    arguments.add_timeout(parser, "Abort after this many seconds without a response.", default=10)
    arguments.add_json(parser, "Print one JSON object.")


def step(
    address: Address,
    *,
    action: str,
    uid: str | None,
    keys: Sequence[str],
    worklist: str | None,
    series: Sequence[Path],
    reason: str,
    timeout: float | None,
    json: bool,
    **association: Any,
) -> int:
    """Report a performed procedure step (MPPS), message by message.

    start prints the SOP Instance UID of the new step, which the others take. A step that is started stays in progress
    at the peer until it is completed or discontinued: if the peer cannot be reached then, it is tried again for 30 s.
    """
    _check(action, uid, worklist, series)
    from dimse.services.procedure_step import started_step  # imports pydicom
    from dimse.services.procedure_step_scu import PerformedStep

    with arguments.usage():
        options = requestor.options(timeout=timeout, **association)
        values = _values(keys)
        dataset = started_step(*_matches(worklist), **values) if action == _START else None
    performed = PerformedStep(ApplicationEntity(address, options), uid)
    code = (reason, "DCM", _REASONS[reason])
    runtime.run(_report(performed, action, dataset, values, series, code), fast=False)
    status = performed.status.value
    if json:
        print_json(address=str(address), sop_instance_uid=performed.sop_instance_uid, status=status)
    elif action == _START:
        print_line(performed.sop_instance_uid)
    else:
        instances = f" with {counted(len(performed.series), 'instance')}" if series else ""
        print_error(f"dimse: {_DONE[action]}{instances} at {address}")
    return exit_codes.OK


def _check(action: str, uid: str | None, worklist: str | None, series: Sequence[Path]) -> None:
    if action == _START and (uid is not None or series):
        raise UsageError("start makes a new step: leave UID and --series out")
    if action != _START and uid is None:
        raise UsageError(f"{action} needs the UID that start has printed: dimse step {action} TITLE@HOST:PORT UID")
    if action != _START and worklist is not None:
        raise UsageError("--worklist is for start")
    if uid is not None and not is_uid(uid):
        raise UsageError(f"{uid!r} is not a UID; it must be the one that start has printed")


async def _report(
    performed: PerformedStep,
    action: str,
    dataset: Dataset | None,
    values: dict[str, object],
    series: Sequence[Path],
    reason: tuple[str, str, str],
) -> None:
    await performed.add_files(series)
    if dataset is not None:
        await performed.start(dataset)
    elif action == _UPDATE:
        await performed.update(**values)
    elif action == _COMPLETE:
        await performed.complete(**values)
    else:
        await performed.discontinue(reason, **values)


def _values(keys: Iterable[str]) -> dict[str, object]:
    """The attributes of `-k`. Raises `ValueError`."""
    from dimse.services.query_keys import name_of, path_of, vr_of_key

    values: dict[str, object] = {}
    for key in keys:
        name, is_given, value = key.partition("=")
        path = path_of(name.strip())
        if len(path) > 1 or not is_given or vr_of_key(path) == "SQ":
            raise ValueError(f"-k {name}: must be KEY=VALUE with a keyword or a tag; sequences come from --worklist")
        values[name_of(*path)] = value.strip()
    return values


def _matches(worklist: str | None) -> list[Dataset]:
    """The worklist matches in a file. Raises `ValueError`."""
    if worklist is None:
        return []
    from pydicom import Dataset

    try:
        text = sys.stdin.read() if worklist == "-" else Path(worklist).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--worklist {worklist}: {getattr(error, 'strerror', None) or 'must be UTF-8 text'}") from None
    matches = []
    for number, line in enumerate(text.splitlines(), 1):
        try:
            matches += [Dataset.from_json(json_module.loads(line))] if line.strip() else []
        except Exception:  # noqa: BLE001 - pydicom raises anything for JSON that is not its model
            why = f"line {number} must be a match in the DICOM JSON Model, as of worklist --json"
            raise ValueError(f"--worklist {worklist}: {why}") from None
    return matches
