"""The DIMSE-N services as SCU (PS3.7 10.1), for any SOP class."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeVar

from dimse import uids
from dimse.dataset.codec import decode_attributes, encode
from dimse.dataset.pydicom_names import Dataset
from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError, PresentationContextError, StatusError
from dimse.messages.message import (
    N_ACTION_RQ,
    N_ACTION_RSP,
    N_CREATE_RQ,
    N_CREATE_RSP,
    N_DELETE_RQ,
    N_DELETE_RSP,
    N_EVENT_REPORT_RQ,
    N_EVENT_REPORT_RSP,
    N_GET_RQ,
    N_GET_RSP,
    N_SET_RQ,
    N_SET_RSP,
    NormalizedResponse,
    Request,
)
from dimse.network.association import Association, exchange_of
from dimse.network.invoking import invoke_for_reply
from dimse.services.query_keys import tag_of
from dimse.status import Status
from dimse.upper_layer.negotiation import AcceptedContext

logger = logging.getLogger("dimse.network")

R = TypeVar("R", bound=NormalizedResponse)


@dataclass(frozen=True, slots=True)
class NormalizedResult:
    """The outcome of a DIMSE-N operation that did not fail."""

    status: Status
    """Success, or a warning."""
    dataset: Dataset | None
    """The Attribute List, Action Reply or Event Reply of the response; None if it has none."""
    sop_instance_uid: str | None
    """The SOP instance that the operation was about: after `create` without a UID, the one that the peer made."""


class NormalizedSCU:
    """Requests the DIMSE-N operations (PS3.7 10.1) on an association, for SOP classes of the standard and private ones.

    A request is sent on the context of its SOP class, or else on one of a class that it belongs to: that of a Meta SOP
    Class, or of Unified Procedure Step (`uids.RELATED`). `context` is the abstract syntax of the only one to use.

    Each method raises `PresentationContextError` if the peer accepted none of those, and `StatusError` for a failure
    status, with the tags of the attributes that the peer names (`offending`), and its Error ID (`error_id`) and data
    set (`dataset`) if it sent them. `Timeouts.store` limits how long to wait for the peer.

    >>> async def main(association):
    ...     scu = NormalizedSCU(association)
    ...     printer = await scu.get(uids.PRINTER, uids.PRINTER_INSTANCE, ["PrinterStatus"])
    ...     print(printer.dataset.PrinterStatus)
    """

    def __init__(self, association: Association, *, context: str | None = None) -> None:
        self._association = association
        self._only = context

    async def create(
        self, sop_class_uid: str, dataset: Dataset | None = None, *, sop_instance_uid: str | None = None
    ) -> NormalizedResult:
        """N-CREATE: make a SOP instance with these attributes. Without a UID the peer makes one."""

        def request(number: int) -> Request:
            return N_CREATE_RQ(
                message_id=number,
                affected_sop_class_uid=sop_class_uid,
                affected_sop_instance_uid=sop_instance_uid,
                dataset_follows=dataset is not None,
            )

        return await self._invoke(self._context(sop_class_uid), request, N_CREATE_RSP, dataset, sop_instance_uid)

    async def set(self, sop_class_uid: str, sop_instance_uid: str, dataset: Dataset) -> NormalizedResult:
        """N-SET: change these attributes of a SOP instance."""

        def request(number: int) -> Request:
            return N_SET_RQ(
                message_id=number,
                requested_sop_class_uid=sop_class_uid,
                requested_sop_instance_uid=sop_instance_uid,
            )

        return await self._invoke(self._context(sop_class_uid), request, N_SET_RSP, dataset, sop_instance_uid)

    async def get(
        self, sop_class_uid: str, sop_instance_uid: str, attributes: Iterable[int | str] = ()
    ) -> NormalizedResult:
        """N-GET: the attributes with these tags or keywords; all of them if none are given.

        Raises `ValueError` for a keyword that is not in the dictionary.
        """
        tags = tuple(each if isinstance(each, int) else tag_of(each) for each in attributes)

        def request(number: int) -> Request:
            return N_GET_RQ(
                message_id=number,
                requested_sop_class_uid=sop_class_uid,
                requested_sop_instance_uid=sop_instance_uid,
                attribute_identifier_list=tags or None,
            )

        return await self._invoke(self._context(sop_class_uid), request, N_GET_RSP, None, sop_instance_uid)

    async def action(
        self, sop_class_uid: str, sop_instance_uid: str, action_type_id: int, dataset: Dataset | None = None
    ) -> NormalizedResult:
        """N-ACTION: let a SOP instance do the action of this type, with this Action Information."""

        def request(number: int) -> Request:
            return N_ACTION_RQ(
                message_id=number,
                requested_sop_class_uid=sop_class_uid,
                requested_sop_instance_uid=sop_instance_uid,
                action_type_id=action_type_id,
                dataset_follows=dataset is not None,
            )

        return await self._invoke(self._context(sop_class_uid), request, N_ACTION_RSP, dataset, sop_instance_uid)

    async def delete(self, sop_class_uid: str, sop_instance_uid: str) -> NormalizedResult:
        """N-DELETE: delete a SOP instance."""

        def request(number: int) -> Request:
            return N_DELETE_RQ(
                message_id=number,
                requested_sop_class_uid=sop_class_uid,
                requested_sop_instance_uid=sop_instance_uid,
            )

        return await self._invoke(self._context(sop_class_uid), request, N_DELETE_RSP, None, sop_instance_uid)

    async def event_report(
        self, sop_class_uid: str, sop_instance_uid: str, event_type_id: int, dataset: Dataset | None = None
    ) -> NormalizedResult:
        """N-EVENT-REPORT: report an event of this type about a SOP instance, with this Event Information."""

        def request(number: int) -> Request:
            return N_EVENT_REPORT_RQ(
                message_id=number,
                affected_sop_class_uid=sop_class_uid,
                affected_sop_instance_uid=sop_instance_uid,
                event_type_id=event_type_id,
                dataset_follows=dataset is not None,
            )

        context = self._context(sop_class_uid, to_report=True)
        return await self._invoke(context, request, N_EVENT_REPORT_RSP, dataset, sop_instance_uid)

    async def _invoke(
        self,
        context: AcceptedContext,
        request: Callable[[int], Request],
        response_type: type[R],
        dataset: Dataset | None,
        sop_instance_uid: str | None,
    ) -> NormalizedResult:
        doing = response_type.name.removesuffix("-RSP")
        encoded = None
        if dataset is not None:  # it may have thousands of items
            encoded = await beside_the_loop(lambda: encode(dataset, context.transfer_syntax))
        exchange = exchange_of(self._association)
        message, reply = await invoke_for_reply(exchange, context, request, response_type, doing=doing, dataset=encoded)
        return await self._result(message, reply, context, doing, sop_instance_uid)

    def _context(self, sop_class_uid: str, *, to_report: bool = False) -> AcceptedContext:
        """The context of the class, or of one that it is related to. Raises the refusal of what was proposed."""
        exchange = exchange_of(self._association)
        agreement = exchange.agreement
        candidates = uids.contexts_of(sop_class_uid) if self._only is None else (self._only,)
        proposed = next(filter(agreement.proposes, candidates), candidates[0])
        chosen = next(filter(agreement.accepts, candidates), proposed)
        try:
            return agreement.context_to_report(chosen) if to_report else agreement.context_for(chosen)
        except PresentationContextError as error:
            raise error.at(exchange.address) from None

    async def _result(
        self, message: R, reply: bytes | None, context: AcceptedContext, doing: str, sop_instance_uid: str | None
    ) -> NormalizedResult:
        exchange = exchange_of(self._association)
        try:
            dataset = await decode_attributes(reply, context.transfer_syntax) if reply else None
        except DatasetError as error:
            if message.status.is_done:
                raise DatasetError(f"{doing}: the data set of the response cannot be read: {error}") from None
            dataset = None
        if not message.status.is_done:
            offending = message.attribute_identifier_list or message.offending_element or ()
            refused = StatusError(message.status, doing, message.error_comment, offending)
            refused.error_id, refused.dataset = message.error_id, dataset
            raise refused.at(exchange.address)
        return NormalizedResult(message.status, dataset, message.affected_sop_instance_uid or sop_instance_uid)
