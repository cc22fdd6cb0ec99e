"""`dimse send --commit`: asks the peer whether it keeps what it has stored (Storage Commitment)."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from collections.abc import Iterable
from dataclasses import dataclass, replace

import dimse
from dimse.address import Address
from dimse.cli import commit, runtime
from dimse.cli.commit_report import CommittingReport
from dimse.cli.output import reason_of_end
from dimse.dataset.edits import Edits
from dimse.dataset.sources import DatasetSource
from dimse.errors import DimseError
from dimse.options import ClientOptions
from dimse.services.collecting import SendResult
from dimse.services.commitment_scu import CommitmentResult
from dimse.services.journal import opened


def add_arguments(parser: ArgumentParser) -> None:
    """Define the arguments about storage commitment."""
    parser.add_argument(
        "--commit",
        action="store_true",
        help="Afterwards ask the peer whether it keeps what it has stored, and fail if it does not say so.",
    )
    commit.add_report_arguments(parser)


@dataclass(frozen=True)
class Commitment:
    """How the peer is asked after a send."""

    address: Address
    options: ClientOptions
    wait: float
    receiver: Address | None
    journal: str | None
    """The journal of the send: what it has as committed is not asked for again."""
    edits: Edits | None

    async def ask(self, sources: Iterable[DatasetSource], stored: Iterable[SendResult], *, json: bool) -> int:
        """Ask for the `stored` ones of the `sources`, and report each. Returns the exit code."""
        classes = {source.sop_instance_uid: source.sop_class_uid for source in sources}
        names = {result.sop_instance_uid: result.name for result in stored if result.sop_instance_uid in classes}
        report = CommittingReport(self.address, json=json, events=("commitment", "commitment_summary"))
        try:
            async with opened(self.journal, self.address, self.edits) as journal:
                wanted = list[tuple[str, str]]()

                def add(result: CommitmentResult) -> None:
                    if journal is not None and result.committed:
                        journal.note_committed(result.sop_instance_uid)
                    report.add(replace(result, name=names[result.sop_instance_uid]))

                for uid in filter(None, names):
                    if journal is not None and journal.is_committed(uid):
                        report.add(CommitmentResult(classes[uid], uid, name=names[uid]))
                    else:
                        wanted.append((classes[uid], uid))
                with runtime.cancelled_by_closed_pipe(add) as on_result:
                    done = await dimse.commit(
                        self.address,
                        wanted,
                        options=self.options,
                        wait=self.wait,
                        receiver=self.receiver,
                        on_result=on_result,
                        raise_failures=False,
                    )
        except (DimseError, OSError, asyncio.CancelledError) as error:
            report.finish(error=reason_of_end(error))
            raise
        report.finish(done.transactions)
        return report.exit_code
