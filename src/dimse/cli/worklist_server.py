"""`dimse worklist-server`: a Modality Worklist that is a folder of files."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from pathlib import Path
from time import perf_counter, strftime
from typing import Any, Final

from dimse.cli import acceptor, arguments, exit_codes, runtime
from dimse.cli.output import counted, duration
from dimse.cli.parser import UsageError
from dimse.cli.report import Report
from dimse.cli.serving import address_of, listens, stop, until_signals
from dimse.cli.unread import never_waiting
from dimse.services.find_scp import FindHandler, Match
from dimse.services.query_models import QueryRetrieveModel
from dimse.services.query_request import QueryRequest
from dimse.services.server import Server
from dimse.services.worklist_folder import WorklistFolder

EXIT_CODES: Final = (
    "0 ended by Ctrl-C or SIGTERM, after open associations had ended; 1 the port cannot be used; 2 wrong usage; "
    "130 ended by a second Ctrl-C, which aborts open associations."
)


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=Path,
        help="Folder of worklist files: DICOM files DIR/*.wl, and DIR/TITLE/*.wl for peers that call TITLE.",
    )
    acceptor.add_arguments(parser)
    arguments.add_json(parser, "Print one JSON object per line.")
    parser.add_argument("--quiet", action="store_true", help="Print no lines about queries.")


def worklist_server(
    *, folder: Path, port: int, host: str, title: str | None, json: bool, quiet: bool, **association: Any
) -> int:
    """Answer queries of a Modality Worklist from a folder of files (C-FIND SCP).

    Each query looks at the files again, so that files may come, change and go while the server runs.
    """
    if not folder.is_dir():
        raise UsageError(f"{folder}: not a folder")
    report = _Report(json=json, quiet=quiet)
    with arguments.usage():
        options = acceptor.options(title=title, **association)
        server = Server(title or "DIMSE", host=host, port=port, options=options)
    server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST)(_reported(WorklistFolder(folder), report))
    with never_waiting():
        return runtime.run(_serve(server, folder, report))


def _reported(worklist: WorklistFolder, report: _Report) -> FindHandler:
    async def find(request: QueryRequest) -> AsyncIterator[Match]:
        began, count = perf_counter(), 0
        try:
            async with aclosing(worklist.find(request)) as matches:
                async for match in matches:
                    count += 1
                    yield match
        finally:
            report.answered(request, count, perf_counter() - began)

    return find


async def _serve(server: Server, folder: Path, report: _Report) -> int:
    with until_signals() as (stopping, aborting):
        if not await listens(server, json=report.is_json):
            return exit_codes.FAILED
        report.listening(server, folder)
        await stopping.wait()
        await stop(server, aborting)
    report.finish()
    return exit_codes.INTERRUPTED if aborting.is_set() else exit_codes.OK


class _Report(Report):
    """Counts `queries` and `matches`."""

    def __init__(self, *, json: bool, quiet: bool) -> None:
        super().__init__(json=json)
        self._quiet = quiet

    def listening(self, server: Server, folder: Path) -> None:
        """Write the first line: where the server listens."""
        fields = {"host": server.host, "port": server.port, "title": server.ae_title, "folder": str(folder)}
        query = "dimse worklist" if server.options.tls is None else "dimse worklist --tls"
        text = f"Serving the worklist in {folder}; query it with: {query} {address_of(server)}"
        self.write("listening", fields, text)

    def answered(self, request: QueryRequest, count: int, seconds: float) -> None:
        """Count a query, and write its line."""
        self.counts["queries"] += 1
        self.counts["matches"] += count
        association = request.association
        fields = {
            "calling_ae_title": association.calling_ae_title,
            "called_ae_title": association.called_ae_title,
            "peer": association.peer_name,
            "matches": count,
            "seconds": round(seconds, 3),
        }
        text = f"{strftime('%H:%M:%S')}  {association.calling_ae_title} at {association.peer_name}: "
        text += f"{counted(count, 'match', 'matches')} in {duration(seconds)}"
        if not self._quiet:
            with suppress(OSError):
                self.write("query", fields, text)

    def finish(self) -> None:
        """Write the summary."""
        fields = {"queries": self.counts["queries"], "matches": self.counts["matches"]}
        queries = counted(self.counts["queries"], "query", "queries")
        self.write("summary", fields, f"{queries} answered, {counted(self.counts['matches'], 'match', 'matches')}")
