"""`dimse node stats`: prints the figures of an archive."""

from __future__ import annotations

from argparse import ArgumentParser
from collections.abc import Iterator
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.cli import arguments, exit_codes, node_archive, node_options
from dimse.cli.output import print_json, print_line, size

if TYPE_CHECKING:
    from dimse.node.statistics import Statistics

EXIT_CODES: Final = "0 success; 1 the index cannot be read; 2 wrong usage or a wrong configuration; 130 interrupted."


def add_arguments(parser: ArgumentParser) -> None:
    """Define the command's arguments."""
    node_options.add_arguments(parser)
    arguments.add_json(parser, "Print one JSON object.")


def node_stats(*, data: Path | None, config: Path | None, json: bool) -> int:
    """Print how much an archive has, and how much work waits."""
    with node_archive.opened(data, config) as (index, _):
        from dimse.node.statistics import statistics

        with index.reading() as connection:
            found = statistics(connection)
    if json:
        print_json(event="statistics", **asdict(found), index_bytes_per_instance=found.index_bytes_per_instance)
    else:
        for name, value in _lines(found):
            print_line(f"{name + ':':18}{value}")
    return exit_codes.OK


def _lines(found: Statistics) -> Iterator[tuple[str, str]]:
    yield "studies", f"{found.studies}"
    yield "series", f"{found.series}"
    yield "instances", f"{found.instances}, {size(found.bytes)}"
    per_instance = found.index_bytes_per_instance
    yield "index", size(found.index_bytes) + ("" if per_instance is None else f", {per_instance:.0f} bytes an instance")
    yield "set aside", f"{found.set_aside}"
    yield "unsettled", f"{found.unsettled}"
    yield "jobs waiting", f"{found.jobs}"
    for each in found.failing:
        yield "failing", f"{each.queue}: {each.waiting} waiting, tried {each.attempts} times: {each.problem}"
    if found.oldest is not None and found.newest is not None:
        yield "first stored", _moment(found.oldest)
        yield "last stored", _moment(found.newest)


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).astimezone().isoformat(" ", "seconds")
