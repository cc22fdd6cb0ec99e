"""`dimse ups`: lists, creates, performs, cancels and watches Unified Procedure Steps."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import count
from typing import Any, Final, NamedTuple

from dimse.address import Address
from dimse.cli import arguments, exit_codes, find, query_options, requestor, runtime
from dimse.cli.match_output import Column, FormattedMatches, Matches
from dimse.cli.output import counted, print_error, print_failure, print_json, print_line
from dimse.cli.parser import UsageError
from dimse.dataset.json_model import json_model
from dimse.dataset.texts import Texts
from dimse.errors import StatusError
from dimse.network.application_entity import ApplicationEntity
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveModel
from dimse.services.server import Server
from dimse.services.ups_datasets import IMAGE_PROCESSING, with_progress
from dimse.services.ups_events import UPSEvent
from dimse.services.ups_keys import RETURNED
from dimse.services.ups_performing import LOST, in_order
from dimse.services.ups_scu import UPS
from dimse.services.ups_states import UPSState

EXIT_CODES: Final = (
    "0 it was done, also if nothing matches; 1 the peer refused or failed, with the reason, or claim found no step; "
    "2 wrong usage; 3 no association, or it was lost; 130 interrupted."
)

_COLUMNS: Final = (
    "ProcedureStepState",
    "ScheduledProcedureStepPriority",
    "ScheduledProcedureStepStartDateTime",
    "ProcedureStepLabel",
    "PatientName",
    "PatientID",
    "SOPInstanceUID",
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    actions = "|".join(_ACTIONS)
    parser.usage = "dimse ups ACTION [options] TITLE@HOST:PORT [UID]"
    one_action = arguments.one_of({action: action for action in _ACTIONS})
    parser.add_argument("action", metavar=actions, type=one_action, help="What to do.")
    arguments.add_address(parser, "Worklist manager")
    parser.add_argument(
        "uid",
        metavar="UID",
        nargs="?",
        default="",
        help="SOP Instance UID of the step; claim takes the most urgent without one.",
    )
    parser.add_argument(
        "-k",
        "--key",
        dest="keys",
        metavar="KEY[=VALUE]",
        action="append",
        default=[],
        help="list, claim, watch: key to match, e.g. ProcedureStepState=SCHEDULED or ProcedureStepLabel=Lung*. create: "
        "attribute of the step. Repeat the option for several.",
    )
    group = parser.add_argument_group("create, progress, complete and cancel")
    group.add_argument("--label", metavar="TEXT", default="", help="create: what is to be done.")
    group.add_argument(
        "--workitem",
        metavar="CODE,SCHEME,MEANING",
        type=arguments.checked(_code),
        help="create: what is to be done, as a code; complete: what was done. [default of complete: Image Processing]",
    )
    group.add_argument("--transaction", metavar="UID", default="", help="Transaction UID, which claim prints.")
    group.add_argument("--percent", metavar="N", type=float, help="progress: per cent done.")
    group.add_argument("--text", metavar="TEXT", help="Description of the progress or the result; reason to cancel.")
    requestor.add_arguments(parser)
    query_options.add_timeout(parser, "60 for a response")
    parser.add_argument(
        "--receiver",
        metavar="TITLE@HOST:PORT",
        type=arguments.checked(Address.parse),
        help="watch: our address for events on a new association, which the peer must know; HOST :: means every "
        "interface. [default: only on the association with the peer]",
    )
    find.add_output(parser, "the usual columns of steps")


def _code(text: str) -> tuple[str, str, str]:
    value, scheme, meaning = ([part.strip() for part in text.split(",", 2)] + ["", ""])[:3]
    if not (value and scheme and meaning):
        raise ValueError(f"must be a code, a coding scheme and a meaning, such as 110004,DCM,CAD, not {text!r}")
    return value, scheme, meaning


@dataclass(frozen=True, slots=True, kw_only=True)
class _Job:
    """The arguments of an action."""

    uid: str
    keys: Query
    """Those of -k, and the columns to show."""
    label: str
    workitem: tuple[str, str, str] | None
    transaction: str
    percent: float | None
    text: str | None
    limit: int | None
    matches: Matches
    json: bool


def ups(
    action: str,
    address: Address,
    *,
    uid: str,
    keys: Sequence[str],
    label: str,
    workitem: tuple[str, str, str] | None,
    transaction: str,
    percent: float | None,
    text: str | None,
    receiver: Address | None,
    limit: int | None,
    timeout: float | None,
    columns: list[str] | None,
    format: str | None,  # noqa: A002 - the option's name
    **more: Any,
) -> int:
    """List, create, perform, cancel or watch Unified Procedure Steps.

    list prints the steps that match -k; show all that a step has. create makes one that is SCHEDULED, and prints its
    UID. claim makes it IN PROGRESS, and prints its UID and Transaction UID: with that, progress tells how far it is,
    and complete or cancel ends it. cancel without a Transaction UID asks the performer to cancel. watch prints the
    events of a step, or of all that match -k, until Ctrl-C.
    """
    _check(action, keys, {"uid": uid, "label": label, "transaction": transaction})
    json = bool(more["json"])
    output = find.take_output(more)
    with arguments.usage():
        options = requestor.options(timeout=timeout, **more)
        query = Query.parse(None, keys, QueryRetrieveModel.UPS_PULL)
        shown = [Column(key) for key in columns or _COLUMNS]
        matches = output(shown) if format is None else FormattedMatches(format)
        if action == "list":
            query = query.returning(*(column.key for column in matches.columns))
    job = _Job(
        uid=uid,
        keys=query,
        label=label,
        workitem=workitem,
        transaction=transaction,
        percent=percent,
        text=text,
        limit=limit,
        matches=matches,
        json=json,
    )
    return runtime.run(_run(_ACTIONS[action].work, ApplicationEntity(address, options), job, receiver))


def _check(action: str, keys: Sequence[str], given: Mapping[str, str]) -> None:
    missing = next((name for name in _ACTIONS[action].needs if not given[name]), None)
    if missing is not None:
        raise UsageError(f"ups {action} needs {_GIVEN_BY[missing]}")
    if action == "watch" and given["uid"] and keys:
        raise UsageError("ups watch takes the UID of a step, or keys")


_Work = Callable[[UPS, _Job], Coroutine[Any, Any, int]]


async def _run(work: _Work, entity: ApplicationEntity, job: _Job, receiver: Address | None) -> int:
    async with AsyncExitStack() as stack:
        server = None
        if receiver is not None:
            server = Server(receiver.ae_title, host=receiver.host, port=receiver.port)
            await stack.enter_async_context(server)
        client = await stack.enter_async_context(UPS(entity, server=server))
        return await work(client, job)


async def _list(client: UPS, job: _Job) -> int:
    async def add_all() -> None:
        async for match in client.find(job.keys):
            job.matches.add(match)
            if job.matches.count == job.limit:
                print_error(f"dimse: ended by --limit {job.limit}; there may be more matches")
                break

    with job.matches.shown():
        interrupted = await runtime.run_interruptibly(add_all())
    if interrupted:
        why = f"cancelled after {counted(job.matches.count, 'match', 'matches')}"
        print_failure(why, exit_codes.INTERRUPTED, json=job.json)
    return exit_codes.INTERRUPTED if interrupted else exit_codes.OK


async def _show(client: UPS, job: _Job) -> int:
    step = await client.get(job.uid)
    if job.json:
        print_json(**json_model(step, Texts()))
    else:
        for line in str(step).splitlines():
            print_line(line)
    return exit_codes.OK


async def _create(client: UPS, job: _Job) -> int:
    uid = await client.create(
        job.label, workitem=job.workitem, attributes=job.keys.find_identifier(), sop_instance_uid=job.uid or None
    )
    _say(job, {"sop_instance_uid": uid}, uid)
    return exit_codes.OK


async def _claim(client: UPS, job: _Job) -> int:
    scheduled = job.keys.where(ProcedureStepState=UPSState.SCHEDULED.value)
    found = [job.uid] if job.uid else await in_order(client.find(scheduled.returning(*RETURNED)))
    for uid in found:
        try:
            step = await client.start(uid)
        except StatusError as error:
            if job.uid or error.status not in LOST:
                raise
            continue
        step.hand_over()
        names = {"sop_instance_uid": uid, "transaction_uid": step.transaction_uid}
        _say(job, names, " ".join(names.values()))
        return exit_codes.OK
    print_failure("no step could be claimed: others were faster, or none matches", exit_codes.FAILED, json=job.json)
    return exit_codes.FAILED


async def _progress(client: UPS, job: _Job) -> int:
    await client.set(job.uid, with_progress(job.percent, job.text), job.transaction)
    _say(job, {"sop_instance_uid": job.uid}, None)
    return exit_codes.OK


async def _complete(client: UPS, job: _Job) -> int:
    step = await client.start(job.uid, transaction_uid=job.transaction, workitem=job.workitem or IMAGE_PROCESSING)
    step.hand_over()
    await step.complete(job.text)
    _say(job, {"sop_instance_uid": job.uid, "state": step.state}, f"{job.uid} is {step.state}")
    return exit_codes.OK


async def _cancel(client: UPS, job: _Job) -> int:
    if not job.transaction:
        status = await client.request_cancel(job.uid, job.text)
        _say(job, {"sop_instance_uid": job.uid, "status": int(status)}, f"the request was accepted: {status}")
        return exit_codes.OK
    step = await client.start(job.uid, transaction_uid=job.transaction)
    step.hand_over()
    await step.cancel(job.text)
    _say(job, {"sop_instance_uid": job.uid, "state": step.state}, f"{job.uid} is {step.state}")
    return exit_codes.OK


async def _watch(client: UPS, job: _Job) -> int:
    uid, events = job.uid or None, client.events()
    await client.subscribe(uid, keys=job.keys if len(job.keys.find_identifier()) else None)

    async def show_all() -> None:
        for number in count(1):
            _show_event(await anext(events), job)
            if number == job.limit:
                break

    interrupted = await runtime.run_interruptibly(show_all())
    await client.unsubscribe(uid)
    return exit_codes.INTERRUPTED if interrupted else exit_codes.OK


def _show_event(event: UPSEvent, job: _Job) -> None:
    kind = event.type.name.lower()
    state, progress = event.state, event.progress
    fields = {"event": kind, "sop_instance_uid": event.sop_instance_uid, "state": state, "progress": progress}
    words = [event.sop_instance_uid, state or kind.replace("_", " ")]
    words += [f"{progress:g} %"] if progress is not None else []
    words += [event.text] if event.text else []
    _say(job, {**fields, "text": event.text}, " ".join(words))


def _say(job: _Job, fields: Mapping[str, object], text: str | None) -> None:
    if job.json:
        print_json(**fields)
    elif text is not None:
        print_line(text)


class _Action(NamedTuple):
    """An action, and what it needs."""

    work: _Work
    needs: tuple[str, ...] = ()


_ACTIONS: Final = {
    "list": _Action(_list),
    "show": _Action(_show, ("uid",)),
    "create": _Action(_create, ("label",)),
    "claim": _Action(_claim),
    "progress": _Action(_progress, ("uid", "transaction")),
    "complete": _Action(_complete, ("uid", "transaction")),
    "cancel": _Action(_cancel, ("uid",)),
    "watch": _Action(_watch),
}

_GIVEN_BY: Final = {
    "uid": "UID: the SOP Instance UID of the step",
    "label": "--label TEXT: what is to be done",
    "transaction": "--transaction UID, which ups claim prints",
}
