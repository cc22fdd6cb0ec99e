"""The five services over lines that are slow, and over lines that end at any point."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.faults.line import End, Line, Way
from tests.faults.services import SERVICES, Archive, Service, broken_files, echo, ended, move, store, timeouts

from dimse import ClientOptions, DimseError

SECONDS = 0.4
"""Every timer, where a line stops."""
POSITIONS = 12
"""Points of each way at which a line ends."""
UNHARMFUL = {
    "byte by byte": Way(piece=1),
    "delayed": Way(piece=600, delay=0.002),
    "slow": Way(piece=50, delay=0.0001),
}
by_name = pytest.mark.parametrize("service", SERVICES, ids=lambda service: service.__name__)


@pytest.fixture
async def archive(tmp_path: Path) -> AsyncIterator[Archive]:
    async with Archive(tmp_path / "archive") as server:
        yield server


@by_name
@pytest.mark.parametrize("way", UNHARMFUL)
async def test_a_slow_line_changes_nothing(service: Service, way: str, archive: Archive, tmp_path: Path) -> None:
    async with Line(archive.port, there=UNHARMFUL[way], back=UNHARMFUL[way]) as line:
        result = await service(f"ARCHIVE@127.0.0.1:{line.port}", ClientOptions(), tmp_path)
    assert result == SERVICES[service]
    assert broken_files(tmp_path) == []


async def lengths(archive: Archive, service: Service, into: Path) -> tuple[int, int]:
    """The bytes that go each way when nothing goes wrong."""
    async with Line(archive.port) as line:
        await service(f"ARCHIVE@127.0.0.1:{line.port}", ClientOptions(), into)
        await line.quiet()
    return line.carried


def ways(there: int, back: int) -> list[tuple[Way, Way]]:
    """Lines that end at points of either way, in each manner."""
    ends = []
    for end in End:
        ends += [(Way(after=there * at // POSITIONS, end=end), Way()) for at in range(POSITIONS)]
        ends += [(Way(), Way(after=back * at // POSITIONS, end=end)) for at in range(POSITIONS)]
    return ends


@by_name
async def test_a_line_that_ends_is_said_and_leaves_nothing(service: Service, tmp_path: Path) -> None:
    async with Archive(tmp_path / "archive", SECONDS) as archive:
        there, back = await lengths(archive, service, tmp_path / "whole")
        wrong: list[str] = []
        options = ClientOptions(timeouts=timeouts(SECONDS))

        async def attempt(number: int, there: Way, back: Way) -> None:
            into = tmp_path / f"into-{number}"
            async with Line(archive.port, there=there, back=back) as line:
                outcome = await outcome_of(service, f"ARCHIVE@127.0.0.1:{line.port}", options, into)
            if outcome is not None:
                wrong.append(f"{there}, {back}: {outcome}")
            wrong.extend(f"{there}, {back}: {name}" for name in broken_files(into))

        await asyncio.gather(*(attempt(number, *way) for number, way in enumerate(ways(there, back))))
        await ended(archive)
        await echo(f"ARCHIVE@127.0.0.1:{archive.port}", ClientOptions(), tmp_path)
    assert wrong == []
    assert broken_files(tmp_path) == []


def leaves(error: Exception) -> list[Exception]:
    """The errors in a group, and in the groups in it."""
    if not isinstance(error, ExceptionGroup):
        return [error]
    return [leaf for each in error.exceptions for leaf in leaves(each)]


async def outcome_of(service: Service, address: str, options: ClientOptions, into: Path) -> str | None:
    """What is wrong with the outcome: it must be the right one, or errors of the library that say something."""
    try:
        result = await asyncio.wait_for(service(address, options, into), 20)
    except TimeoutError as error:
        return None if isinstance(error, DimseError) else "hangs"
    except (DimseError, ExceptionGroup) as error:
        mute = [each for each in leaves(error) if not isinstance(each, DimseError) or not str(each)]
        return f"{mute!r}" if mute else None
    return None if result == SERVICES[service] else f"succeeds with {result!r}"


async def test_the_line_to_the_destination_of_a_move_ends(tmp_path: Path) -> None:
    """The requestor is told how many instances did not arrive, and the association stays usable."""
    async with Archive(tmp_path / "whole") as archive:
        there, back = await lengths(archive, store, tmp_path)
    wrong: list[str] = []
    options = ClientOptions(timeouts=timeouts(10))

    async def attempt(number: int, there: Way, back: Way) -> None:
        into = tmp_path / f"archive-{number}"
        async with Archive(into, SECONDS) as archive, Line(archive.port, there=there, back=back) as line:
            archive.receiving_port = line.port
            outcome = await outcome_of(move, f"ARCHIVE@127.0.0.1:{archive.port}", options, into)
            await echo(f"ARCHIVE@127.0.0.1:{archive.port}", options, into)
        stored = len(list(into.rglob("*.dcm")))
        if outcome is not None or broken_files(into):
            wrong.append(f"{there}, {back}: {outcome}, {stored} stored, {broken_files(into)}")

    await asyncio.gather(*(attempt(number, *way) for number, way in enumerate(ways(there, back))))
    assert wrong == []
