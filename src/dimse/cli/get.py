"""`dimse get`: retrieves instances from an archive into a folder, on one association."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import dimse
from dimse import uids
from dimse.address import Address
from dimse.cli import arguments, query_options, requestor, runtime
from dimse.cli.output import print_error
from dimse.cli.retrieve_report import RetrievingReport
from dimse.errors import SubOperationFailed
from dimse.options import Duplicates, StoreOptions, Strictness
from dimse.services.bringing_record import RetrieveResult
from dimse.services.get_scu import CancelBehavior
from dimse.services.getting import GetReport, contexts_to_get
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel
from dimse.upper_layer.negotiation import ProposedContext

EXIT_CODES: Final = (
    "0 everything was retrieved; 1 at least one failure, each reported, or nothing matches; 2 wrong usage; "
    "3 no association, or it was lost; 130 interrupted."
)

_NAMED: Final = 5
"""If there are more SOP classes or transfer syntaxes than this, only their number is printed."""

ON_CANCEL: Final = {behavior.value: behavior for behavior in CancelBehavior}


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Archive to retrieve from")
    query_options.add_unique_keys(parser)
    arguments.add_into(parser)
    arguments.add_duplicates(parser)
    query_options.add_level_and_model(parser, "get")
    parser.add_argument(
        "--on-cancel",
        metavar="|".join(ON_CANCEL),
        type=arguments.one_of(ON_CANCEL),
        default="reject",
        help="What to do with an instance in flight when interrupted.",
    )
    arguments.add_classes(parser, "Propose only these storage SOP classes, not all common ones.")
    arguments.add_syntaxes(parser, "Propose only these transfer syntaxes.")
    arguments.add_preference(parser, "Propose these transfer syntaxes first.")
    requestor.add_arguments(parser, Strictness.LENIENT)
    arguments.add_maximum_rate(parser, "Receive")
    query_options.add_timeout(parser, "120 for an instance")
    arguments.add_json(parser)


def get(
    address: Address,
    *,
    keys: Sequence[str],
    into: Path,
    duplicates: Duplicates,
    table: str | None,
    level: QueryRetrieveLevel | None,
    model: QueryRetrieveModel | None,
    on_cancel: CancelBehavior,
    classes: list[str],
    syntaxes: list[str],
    prefer: list[str],
    timeout: float | None,
    json: bool,
    **association: Any,
) -> int:
    """Retrieve instances from an archive into a folder (C-GET).

    Files are named {Study}/{Series}/{Instance}.dcm. Ctrl-C cancels the operation (C-CANCEL); files retrieved so far
    stay.
    """
    with arguments.usage():
        options = requestor.options(timeout=timeout, **association)
        queries = query_options.to_retrieve(query_options.queries(level, model, keys, table))
        contexts = contexts_to_get(queries, classes, syntaxes, prefer)
    arguments.make_folder(into)
    report = RetrievingReport(address, f"retrieved from {address} into {into}", json=json)
    job = partial(
        dimse.get,
        address,
        queries,
        into=into,
        sop_classes=classes,
        transfer_syntaxes=syntaxes,
        prefer=prefer,
        options=options,
        store=StoreOptions(duplicates=duplicates),
        on_cancel=on_cancel,
        raise_failures=False,
    )
    return runtime.run(report.follow(_get(job, contexts, report)))


async def _get(
    job: Callable[..., Coroutine[Any, Any, GetReport]], contexts: Sequence[ProposedContext], report: RetrievingReport
) -> bool:
    failed_there = False

    def add(result: RetrieveResult) -> None:
        nonlocal failed_there
        # The usual reason why an archive fails to send an instance is that no context for it was proposed.
        failed_there |= isinstance(result.error, SubOperationFailed) and not result.refused
        report.add_result(result)

    async def work() -> None:
        with runtime.cancelled_by_closed_pipe(add) as on_result:
            await job(progress=report.expect, on_result=on_result)

    try:
        return await runtime.run_interruptibly(work())
    finally:
        if failed_there:
            print_error(_advice(contexts))


def _advice(contexts: Sequence[ProposedContext]) -> str:
    return f"dimse: proposed {_proposed(contexts)}; if the archive needs others, add them with --class and --syntax"


def _proposed(contexts: Sequence[ProposedContext]) -> str:
    """The proposed transfer syntaxes, and for which storage SOP classes."""
    classes: dict[str, list[str]] = {}
    for context in contexts:
        if context.as_scp:
            for syntax in context.transfer_syntaxes:
                classes.setdefault(syntax, []).append(context.abstract_syntax)
    syntaxes: dict[tuple[str, ...], list[str]] = {}
    for syntax, members in classes.items():
        syntaxes.setdefault(tuple(members), []).append(uids.name_of(syntax))
    return "; ".join(
        f"{_names(names, 'transfer syntaxes')} for {_names([*map(uids.name_of, members)], 'storage SOP classes')}"
        for members, names in syntaxes.items()
    )


def _names(names: Sequence[str], plural: str) -> str:
    return ", ".join(names) if len(names) <= _NAMED else f"{len(names)} {plural}"
