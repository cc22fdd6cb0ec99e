"""`dimse commit`: asks a peer whether it keeps files, and waits for its reports (Storage Commitment)."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import dimse
from dimse.address import Address
from dimse.cli import arguments, requestor, runtime
from dimse.cli.commit_report import CommittingReport
from dimse.cli.output import reason_of_end
from dimse.configuration import KnownPeer
from dimse.errors import DimseError
from dimse.services.commitment import REPORT_WAIT, CommitmentReport

EXIT_CODES: Final = (
    "0 the peer is committed to store everything; 1 it is not for at least one object, each reported, or there is "
    "nothing to ask for; 2 wrong usage; 3 no association; 130 interrupted."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    arguments.add_address(parser, "Peer that has stored the files")
    parser.add_argument(
        "paths", metavar="PATH", nargs="+", help="File, folder, DICOMDIR or zip archive; only the UIDs are sent."
    )
    add_report_arguments(parser)
    requestor.add_arguments(parser)
    arguments.add_timeout(parser, "Abort after this many seconds without progress.", default=30)
    arguments.add_json(parser)


def add_report_arguments(parser: ArgumentParser) -> None:
    """Define how the reports of the peer are received."""
    parser.add_argument(
        "--wait",
        metavar="SECONDS",
        type=arguments.seconds,
        default=REPORT_WAIT,
        help="Wait this long for each report of the peer on storage commitment.",
    )
    parser.add_argument(
        "--receiver",
        metavar="TITLE@HOST:PORT",
        type=arguments.checked(Address.parse),
        help="Our address for reports on a new association, which the peer must know; HOST :: means every interface. "
        "[default: the --calling title, the address by which the peer is reached, port 11112]",
    )


def commit(
    address: Address,
    paths: Sequence[str],
    *,
    peer: KnownPeer,
    wait: float,
    receiver: Address | None,
    timeout: float | None,
    json: bool,
    **association: Any,
) -> int:
    """Ask a peer whether it keeps files, so that they may be deleted here (Storage Commitment).

    The peer answers with reports, on the same association or on a new one to this side, which listens meanwhile. What
    no report mentions is not committed. What is not committed goes to standard error.
    """
    with arguments.usage():
        options = requestor.options(peer=peer, timeout=timeout, **association)
    job = partial(
        dimse.commit,
        address,
        [Path(path) for path in paths],
        options=options,
        wait=wait,
        receiver=receiver,
        raise_failures=False,
    )
    return runtime.run(_commit(job, CommittingReport(address, json=json)))


async def _commit(job: Callable[..., Coroutine[Any, Any, CommitmentReport]], report: CommittingReport) -> int:
    report.begin()
    try:
        with runtime.cancelled_by_closed_pipe(report.add) as on_result:
            done = await job(on_result=on_result)
    except (DimseError, OSError, asyncio.CancelledError) as error:
        report.finish(error=reason_of_end(error))
        raise
    report.finish(done.transactions)
    return report.exit_code
