"""C-GET as SCP (PS3.4 C.4.3): the instances are sent on the association of the request."""

from __future__ import annotations

import asyncio
import logging

from dimse import uids
from dimse.dataset.bulkless import WithoutBulkData
from dimse.dataset.sources import DatasetSource
from dimse.errors import AssociationError, RemoteProtocolError, StatusError
from dimse.messages.message import Response
from dimse.network.incoming_request import Answer, CancelRequested, IncomingRequest
from dimse.options import RetryPolicy, SendOptions
from dimse.services.collecting import SendResult
from dimse.services.query_models import QueryRetrieveModel
from dimse.services.query_request import ModelHandlers, failure, read_query
from dimse.services.retrieve_scp import PENDING_PACE, Account, RetrieveHandler
from dimse.services.store_scu import CStoreSCU

logger = logging.getLogger("dimse.query_retrieve")


class GetService:
    """Answers C-GET by sending the instances that a handler yields, on the same association."""

    def __init__(self, handlers: ModelHandlers[RetrieveHandler], options: SendOptions) -> None:
        self._handlers = handlers
        self._options = options

    def supports(self, abstract_syntax: str) -> bool:
        return self._handlers.supports(abstract_syntax)

    def sends(self, abstract_syntax: str) -> bool:
        return uids.is_storage(abstract_syntax)

    async def serve(self, request: IncomingRequest) -> Answer[Response]:
        account = Account(request)
        model, handler = self._handlers.of(request)
        try:
            query = await read_query(request, model)
            with request.cancellation.interrupts():
                await account.look_at(query, handler)
            if request.sop_class_uid == QueryRetrieveModel.WITHOUT_BULK_DATA.get:
                account.sources = list(map(WithoutBulkData, account.sources))
            return await self._send(request, account)
        except CancelRequested:
            return account.cancelled()
        except Exception as error:  # noqa: BLE001 - a handler may raise anything
            return failure(request, error)

    async def _send(self, request: IncomingRequest, account: Account) -> Answer[Response]:
        clock, reported = asyncio.get_running_loop().time, 0.0
        allow_decompression = self._options.allow_decompression
        scu = CStoreSCU(request.association, retry=RetryPolicy(retries=0), allow_decompression=allow_decompression)
        for source in account.sources:
            if clock() - reported >= PENDING_PACE:
                reported = clock()
                await request.send(account.pending())
            if request.cancellation.requested:
                # Between two instances: a C-STORE can only be cut off by aborting the association.
                return account.cancelled()
            result = await _sent(scu, source)
            account.note(result)
            if result.error is not None:
                await asyncio.sleep(0)  # it may have failed at once, as thousands after it
            request.exchange.check_open()
        return account.final()


async def _sent(scu: CStoreSCU, source: DatasetSource) -> SendResult:
    try:
        response = await scu.send(source)
    except (AssociationError, RemoteProtocolError):
        raise
    except Exception as error:  # noqa: BLE001 - a source may raise anything; only its instance fails
        status = error.status if isinstance(error, StatusError) else None
        return SendResult(source.name, source.sop_instance_uid, status, error)
    return SendResult(source.name, source.sop_instance_uid, response.status)
