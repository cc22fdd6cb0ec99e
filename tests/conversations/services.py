"""The services of the side under test: handlers of its server, and the operations of its client."""

from __future__ import annotations

import asyncio
import json
import struct
from collections.abc import AsyncIterator, Callable, Coroutine
from pathlib import Path
from typing import Any, Final

from pydicom import Dataset
from tests.conversations import seeds
from tests.conversations.cases import ASK_FOREVER, Case, Service, State
from tests.conversations.octets import command_pdu

from dimse import (
    CEchoSCU,
    CFindSCU,
    CGetSCU,
    CMoveSCU,
    CStoreSCU,
    DimseError,
    Matcher,
    Query,
    QueryRequest,
    RetryPolicy,
    Server,
)
from dimse.dataset.codec import decode
from dimse.dataset.json_model import json_model
from dimse.dataset.sources import DatasetSource
from dimse.dataset.texts import Texts
from dimse.network.association import Association
from dimse.services.contexts import retrieval_contexts
from dimse.uids import LITTLE_ENDIAN, VERIFICATION
from dimse.upper_layer.negotiation import ProposedContext

INSTANCE: Final = decode(seeds.DATA_SET, seeds.EXPLICIT)
"""What the server finds."""

DESTINATION: Final = "WS"


_NOTHING: Final[tuple[DatasetSource, ...]] = ()


def serve(server: Server) -> None:
    """Register handlers for queries. The request ASK_FOREVER is served until it is cancelled."""

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        matcher = Matcher(request.identifier)
        for match in matcher.find([INSTANCE]):
            yield match
        if request.command.message_id == ASK_FOREVER:
            await asyncio.get_running_loop().create_future()

    @server.on_c_get
    async def get(request: QueryRequest) -> AsyncIterator[DatasetSource]:
        Matcher(request.identifier)
        for source in _NOTHING:
            yield source

    @server.on_c_move
    async def move(request: QueryRequest) -> AsyncIterator[DatasetSource]:
        Matcher(request.identifier)
        for source in _NOTHING:
            yield source


def contexts_of(case: Case) -> list[ProposedContext]:
    """What our client proposes."""
    if case.state is Service.GETTING:
        found = retrieval_contexts([seeds.CT], [seeds.EXPLICIT])
        return [each for each in found if each.abstract_syntax in (seeds.GET, seeds.CT)]
    if isinstance(case.state, State):
        return [ProposedContext(VERIFICATION, LITTLE_ENDIAN)]
    return [ProposedContext(_FIELDS[case.state][1], (seeds.EXPLICIT,))]


_STUDY: Final = Query.studies(StudyInstanceUID="1.2.3")


async def _find(association: Association, folder: Path) -> None:
    async with CFindSCU(association).find(_STUDY) as matches:
        async for match in matches:
            json.dumps(json_model(match, Texts()))


async def _get(association: Association, folder: Path) -> None:
    async with CGetSCU(association).get(_STUDY, into=folder) as instances:
        async for _ in instances:
            pass


async def _move(association: Association, folder: Path) -> None:
    async with CMoveSCU(association).move(_STUDY, DESTINATION) as counters:
        async for _ in counters:
            pass


async def _store(association: Association, folder: Path) -> None:
    await CStoreSCU(association, retry=RetryPolicy(retries=0)).send(INSTANCE)


_OPERATIONS: Final[dict[Service, Callable[[Association, Path], Coroutine[Any, Any, None]]]] = {
    Service.FINDING: _find,
    Service.GETTING: _get,
    Service.MOVING: _move,
    Service.SENDING: _store,
}


async def error_of(association: Association, case: Case, folder: Path) -> Exception | None:
    """Have our client do what the case needs; what the operation raised, after which the association goes on."""
    if isinstance(case.state, State):
        await CEchoSCU(association).echo()
        return None
    try:
        await _OPERATIONS[case.state](association, folder)
    except DimseError as error:
        return error
    except ExceptionGroup as group:
        if group.split(DimseError)[1] is not None:
            raise
        return group
    return None


def response(state: State | Service, status: int = 0, message_id: int = 1, *, data: bool = False) -> bytes:
    """A response to the operation of our client."""
    field, uid = _FIELDS.get(state, (0x8030, seeds.VERIFICATION))
    elements = (0x0002, uid), (0x0100, field), (0x0120, message_id), (0x0800, 1 if data else 0x0101), (0x0900, status)
    return command_pdu(1, *elements).data


_FIELDS: Final[dict[State | Service, tuple[int, str]]] = {
    Service.FINDING: (0x8020, seeds.FIND),
    Service.GETTING: (0x8010, seeds.GET),
    Service.MOVING: (0x8021, seeds.MOVE),
    Service.SENDING: (0x8001, seeds.CT),
}


def text(tag: int, value: str, vr: str = "UI") -> bytes:
    """An element of an identifier, in Explicit VR Little Endian."""
    encoded = value.encode("latin-1")
    encoded += (b"\0" if vr == "UI" else b" ") * (len(encoded) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(encoded)) + encoded


IDENTIFIER: Final = text(0x00080052, "STUDY", "CS") + text(0x0020000D, "1.2.3")
"""The identifier of a query, which has one match."""
