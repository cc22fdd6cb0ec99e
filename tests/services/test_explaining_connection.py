"""Names and connections that fail, and the side that has to change."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest
from tests.ports import free_port
from tests.services.answering import answering, silent

from dimse import Address, ExplainSide, ExplainVerdict
from dimse.network.probing import Endpoint
from dimse.services import explaining_connection
from dimse.services.explaining_connection import connection, name

ADDRESS = Address("ARCHIVE", "archive", 104)


def endpoint(port: int, host: str = "127.0.0.1") -> Endpoint:
    return Endpoint(socket.AF_INET, (host, port))


async def test_names(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = [
        (socket.gaierror(socket.EAI_NONAME, "unknown"), "the name is not known (unknown)", ExplainSide.HERE),
        (socket.gaierror(socket.EAI_AGAIN, "later"), "the name server gave no answer (later)", ExplainSide.NETWORK),
        (UnicodeError("label too long"), "this is not a host name", ExplainSide.HERE),
        (TimeoutError(), "no answer from the name server in 3 s", ExplainSide.NETWORK),
    ]
    for error, words, side in cases:

        async def fail(*_: object, error: Exception = error) -> list[Endpoint]:
            raise error

        monkeypatch.setattr(explaining_connection, "resolve", fail)
        step, found = await name(ADDRESS, 3)
        assert (step.result, step.advice[0].side, found) == (words, side, [])


async def test_connections_that_fail(monkeypatch: pytest.MonkeyPatch) -> None:
    cases: list[tuple[list[OSError], str, ExplainSide]] = [
        ([OSError(errno.ECONNREFUSED, "")], "refuses connections: nothing listens there", ExplainSide.ARCHIVE),
        ([TimeoutError(), TimeoutError()], "no answer from port 104 of archive in 3 s", ExplainSide.NETWORK),
        ([OSError(errno.EHOSTUNREACH, ""), TimeoutError()], "no route to host, no answer", ExplainSide.NETWORK),
    ]
    for errors, words, side in cases:
        left = iter(errors)

        async def fail(*_: object, left: Iterator[OSError] = left) -> socket.socket:
            raise next(left)

        monkeypatch.setattr(explaining_connection, "reach", fail)
        step, found = await connection(ADDRESS, [endpoint(104)] * len(errors), 3)
        assert words in step.result
        assert (step.verdict, step.advice[0].side, found) == (ExplainVerdict.FAILED, side, None)


async def test_the_first_address_that_can_be_reached_is_used() -> None:
    async with answering(silent) as port:
        step, found = await connection(ADDRESS, [endpoint(free_port()), endpoint(port)], 10)
        await asyncio.sleep(0)
    assert step.verdict is ExplainVerdict.NOTE
    assert "1 of 2 addresses cannot be reached" in step.result
    assert found is not None
    assert found.endpoint == endpoint(port)
    assert [each["connected"] for each in step.facts["tried"]] == [False, True]
