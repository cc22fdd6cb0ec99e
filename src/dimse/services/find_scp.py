"""C-FIND as SCP (PS3.4 C.4.1)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing
from dataclasses import dataclass
from itertools import count
from typing import Final, cast

from dimse import uids
from dimse.dataset.codec import encode
from dimse.dataset.fast_codec import encode_plain
from dimse.dataset.pydicom_names import Dataset
from dimse.messages.message import Response
from dimse.network.incoming_request import Answer, IncomingRequest
from dimse.services.query import raw_identifier
from dimse.services.query_models import QueryRetrieveLevel
from dimse.services.query_request import ModelHandlers, QueryRequest, failure, read_query
from dimse.status import Status

logger = logging.getLogger("dimse.query_retrieve")

_END: Final = object()
_TURN: Final = 64
"""Matches in a row before other tasks run, as neither the handler nor the socket need ever wait."""


@dataclass(frozen=True, slots=True)
class Match:
    """A match of a C-FIND, for a handler that has more to say of it than its data set.

    `dataset` may be encoded already, in `QueryRequest.transfer_syntax_uid`: it is sent as it is.
    With `unsupported_keys` it is sent as Pending (0xFF01): some optional keys of the request were not supported, that
    is, not matched as they would be if they were (PS3.4 C.4.1.1.4). A data set alone is sent as Pending (0xFF00).
    """

    dataset: Dataset | bytes
    unsupported_keys: bool = False


FindHandler = Callable[[QueryRequest], AsyncIterator[Dataset | Match]]
"""Answers C-FIND; see `Server.on_c_find`."""


class FindService:
    """Answers C-FIND with the matches that a handler yields, each at once."""

    def __init__(self, handlers: ModelHandlers[FindHandler]) -> None:
        self._handlers = handlers

    def supports(self, abstract_syntax: str) -> bool:
        return self._handlers.supports(abstract_syntax)

    def sends(self, abstract_syntax: str) -> bool:  # noqa: ARG002 - as `Service` has it
        return False

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        model, handler = self._handlers.of(request)
        try:
            await self._send_matches(request, await read_query(request, model), handler)
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            return failure(request, error)
        return request.response(Status.SUCCESS)

    async def _send_matches(self, request: IncomingRequest, query: QueryRequest, handler: FindHandler) -> None:
        pending = request.response(Status.PENDING, identifier=b"").message
        unsupported = request.response(Status.PENDING_KEYS_NOT_SUPPORTED, identifier=b"").message
        # An async generator, as `Server.on_c_find` has checked.
        async with aclosing(cast("AsyncGenerator[Dataset | Match]", handler(query))) as matches:
            for number in count(1):
                if number % _TURN == 0:
                    await asyncio.sleep(0)
                with request.cancellation.interrupts():
                    match = await anext(matches, _END)
                if match is _END:
                    break
                message = pending
                if isinstance(match, Match):
                    message, match = unsupported if match.unsupported_keys else pending, match.dataset
                    if isinstance(match, bytes):
                        await request.send(Answer(message, match))
                        continue
                await request.send(Answer(message, _encoded(match, query.level, query.transfer_syntax_uid)))


def _encoded(match: object, level: QueryRetrieveLevel | None, transfer_syntax_uid: str) -> bytes:
    """Encode a match as an identifier with its level, and with its character set if a text needs one."""
    if not isinstance(match, Dataset):
        raise TypeError(f"the C-FIND handler yielded {type(match).__name__}, not a Dataset or a Match")
    if transfer_syntax_uid in uids.LITTLE_ENDIAN:
        plain = encode_plain(match, implicit=transfer_syntax_uid == uids.IMPLICIT_VR_LITTLE_ENDIAN, level=level)
        if plain is not None:
            return plain
    return encode(raw_identifier(level, match), transfer_syntax_uid)
