"""`dimse echo --all`: tests the connections to all peers of the configuration at once."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import dimse
from dimse.cli import arguments, exit_codes, peer_state, requestor
from dimse.cli.output import print_json, reason
from dimse.cli.parser import ConfigurationError, UsageError
from dimse.cli.peers import print_peer
from dimse.configuration import KnownPeer, configuration_path
from dimse.errors import DimseError

AT_ONCE: Final = 64
"""Peers that are asked at once."""


@dataclass(frozen=True, slots=True)
class _Answer:
    """How a peer has answered."""

    peer: KnownPeer
    code: int
    milliseconds: float | None = None
    reason: str | None = None


async def echo_all(given: Mapping[str, Any], *, json: bool) -> int:
    """Ask all peers, and print a line for each as it answers. `given` are the options of the command line.

    Returns the exit code. Raises `UsageError`.
    """
    peers = list(arguments.configuration().peers.values())
    if not peers:
        raise UsageError(f"no peers in {configuration_path()}; dimse explain TITLE@HOST:PORT --save NAME adds one")
    widths = tuple(max(len(text) for text in column) for column in zip(*map(_columns, peers), strict=True))
    turns, codes = asyncio.Semaphore(AT_ONCE), []
    for next_answer in asyncio.as_completed([_ask(peer, given, turns) for peer in peers]):
        answer = await next_answer
        codes.append(answer.code)
        peer_state.remember(answer.peer, "echo", answer.code, answer.reason)
        _print(answer, widths, json=json)
    return max(codes)


async def _ask(peer: KnownPeer, given: Mapping[str, Any], turns: asyncio.Semaphore) -> _Answer:
    async with turns:
        try:
            report = await dimse.echo(peer.address, options=requestor.options(**{**given, "peer": peer}))
        except ConfigurationError as error:
            return _Answer(peer, exit_codes.USAGE, reason=str(error))
        except DimseError as error:
            return _Answer(peer, exit_codes.code_of(error), reason=reason(error))
        return _Answer(peer, exit_codes.OK, report.seconds * 1000)


def _columns(peer: KnownPeer) -> tuple[str, str]:
    return str(peer.name), str(peer.address)


def _print(answer: _Answer, widths: tuple[int, ...], *, json: bool) -> None:
    state = peer_state.STATES.get(answer.code, "cannot be used")
    name, address = _columns(answer.peer)
    if json:
        milliseconds = None if answer.milliseconds is None else round(answer.milliseconds, 3)
        print_json(name=name, address=address, state=state, round_trip_ms=milliseconds, reason=answer.reason)
        return
    time = "" if answer.milliseconds is None else f", {answer.milliseconds:.1f} ms"
    print_peer(name, address, widths, f"{state}{time}", answer.reason)
