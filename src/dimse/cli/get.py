"""`dimse get`: retrieves instances from an archive into a folder, on one association."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from dimse import uids
from dimse.address import Address
from dimse.cli import arguments, query_options, requestor, runtime
from dimse.cli.output import print_error
from dimse.cli.retrieve_report import RetrievingReport
from dimse.errors import PresentationContextError, SubOperationFailed
from dimse.network.client import connect
from dimse.options import ClientOptions, Duplicates, StoreOptions, Strictness
from dimse.services.contexts import RETRIEVED, retrieval_contexts
from dimse.services.get_scu import CancelBehavior, CGetSCU, GetResults
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel
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
    query_options.add_level_and_model(parser)
    parser.add_argument(
        "--on-cancel",
        metavar="|".join(ON_CANCEL),
        type=arguments.one_of(ON_CANCEL),
        default="reject",
        help="What to do with an instance in flight when interrupted.",
    )
    arguments.add_classes(parser, "Propose only these storage SOP classes, not all common ones.")
    arguments.add_syntaxes(parser, "Propose only these transfer syntaxes.")
    requestor.add_arguments(parser, Strictness.LENIENT)
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
        query = query_options.only(level, model, keys, table)
        query.retrieve_identifier()
        contexts = retrieval_contexts(classes or uids.COMMON_STORAGE, syntaxes or RETRIEVED)
    arguments.make_folder(into)
    report = RetrievingReport(address, f"retrieved from {address} into {into}", json=json)
    return runtime.run(report.follow(_get(query, address, options, contexts, into, duplicates, on_cancel, report)))


async def _get(
    query: Query,
    address: Address,
    options: ClientOptions,
    contexts: Sequence[ProposedContext],
    into: Path,
    duplicates: Duplicates,
    on_cancel: CancelBehavior,
    report: RetrievingReport,
) -> bool:
    async with connect(address, contexts=contexts, options=options) as association:
        try:
            scu = CGetSCU(association, store=StoreOptions(duplicates=duplicates))
            results = scu.get(query, into=into, on_cancel=on_cancel, raise_failures=False)
        except PresentationContextError:
            storage = {context.abstract_syntax for context in contexts if context.as_scp}
            if not any(context.abstract_syntax in storage for context in association.contexts.values()):
                print_error(_advice(contexts))
            raise
        try:
            return await runtime.run_interruptibly(_add_all(results, report))
        finally:
            for instance in results.completed_in_flight:
                report.add(instance.sop_instance_uid, instance.path)
            report.add_failures(results.failures, results.suboperations.failed)
            if _archive_failed(results):
                print_error(_advice(contexts))


def _archive_failed(results: GetResults) -> bool:
    """Whether the archive failed to send instances. The usual reason is that no context for them was proposed."""
    failed = [failure for failure in results.failures if isinstance(failure, SubOperationFailed)]
    return any(failure.sop_instance_uid not in results.refusals for failure in failed)


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


async def _add_all(results: GetResults, report: RetrievingReport) -> None:
    async with results:
        async for instance in results:
            report.add(instance.sop_instance_uid, instance.path, results.suboperations.total)
