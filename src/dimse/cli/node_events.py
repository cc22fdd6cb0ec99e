"""`dimse node events`: prints what has happened in an archive, and what happens."""

from __future__ import annotations

import asyncio
from argparse import ArgumentParser
from contextlib import aclosing
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from dimse.cli import arguments, exit_codes, node_archive, node_options, runtime
from dimse.cli.output import print_json, print_line
from dimse.cli.serving import until_signals

if TYPE_CHECKING:
    from dimse.node.events import Event
    from dimse.node.index import Index

EXIT_CODES: Final = (
    "0 success, also when --follow is ended by Ctrl-C or SIGTERM; 1 the index cannot be read; 2 wrong usage or a wrong "
    "configuration; 130 interrupted."
)

LATEST: Final = 100
"""Events that are printed without --since."""


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    node_options.add_arguments(parser)
    parser.add_argument(
        "--since",
        metavar="N",
        type=arguments.integer_from(0),
        help=f"Print the events after number N. [default: the latest {LATEST}]",
    )
    parser.add_argument(
        "--follow", action="store_true", help="Also print each new event when it happens, until Ctrl-C."
    )
    arguments.add_json(parser, "Print one JSON object per line.")


def node_events(*, data: Path | None, config: Path | None, since: int | None, follow: bool, json: bool) -> int:
    """Print the events of an archive: what has happened, or with --follow, what happens.

    These are new, settled and deleted studies, duplicates, conflicts, missing files, and jobs that were given up. A
    node may serve meanwhile. Each line begins with the number of the event.
    """
    with node_archive.opened(data, config) as (index, _):
        from dimse.node import events

        with index.reading() as connection:
            last = events.before_latest(connection, LATEST) if since is None else since
        if follow:
            return runtime.run(_follow(index, last, json=json))
        while True:
            with index.reading() as connection:
                found = events.since(connection, last)
            for each in found:
                _print(each, json=json)
                last = each.id
            if not found:
                return exit_codes.OK


async def _follow(index: Index, last: int, *, json: bool) -> int:
    with until_signals() as (stopping, _):
        printing = asyncio.ensure_future(_print_all(index, last, json=json))
        stopped = asyncio.ensure_future(stopping.wait())
        await asyncio.wait([printing, stopped], return_when=asyncio.FIRST_COMPLETED)
        for task in (printing, stopped):
            task.cancel()
        await asyncio.wait([printing, stopped])
        if not printing.cancelled():
            printing.result()
    return exit_codes.OK


async def _print_all(index: Index, last: int, *, json: bool) -> None:
    from dimse.node.events import follow

    async with aclosing(follow(index, last)) as found:
        async for each in found:
            _print(each, json=json)


def _print(each: Event, *, json: bool) -> None:
    from dimse.node.events import as_json

    if json:
        print_json(**as_json(each))
        return
    moment = datetime.fromtimestamp(each.at).astimezone().isoformat(" ", "seconds")
    about = each.instance_uid or each.series_uid or each.study_uid or "-"
    print_line(f"{each.id:6} {moment} {each.kind.value:14} {about}  {_text(each.detail)}".rstrip())


def _text(detail: Any) -> str:
    return ", ".join(f"{name.replace('_', ' ')}: {_value(value)}" for name, value in detail.items())


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{count} {name}" for name, count in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
