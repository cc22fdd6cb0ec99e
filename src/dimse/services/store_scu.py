"""The SCU of the Storage service class (PS3.4 Annex B): C-STORE, sent as a stream."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, cast

from dimse import uids
from dimse.address import check_ae_title
from dimse.callbacks import Callback
from dimse.dataset.edited_source import EditedSource
from dimse.dataset.sources import DatasetSource, Part10Source
from dimse.errors import DatasetError, PresentationContextError, StatusError
from dimse.messages.message import C_STORE_RQ, C_STORE_RSP
from dimse.network.association import Association, exchange_of
from dimse.network.exchange import Exchange
from dimse.network.invoking import invoke
from dimse.options import RetryPolicy
from dimse.services.audited_source import AuditedSource
from dimse.services.given import InMemory, Source, as_source, each, of_memory
from dimse.services.transfer_progress import ObjectProgress, ProgressCallback, ProgressReporter
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS, AcceptedContext

if TYPE_CHECKING:
    from dimse.dataset.pydicom_source import EncapsulatedFrames, NativePixels

logger = logging.getLogger("dimse.storage")


async def fit(
    exchange: Exchange, source: DatasetSource, *, allow_decompression: bool = False
) -> tuple[AcceptedContext, DatasetSource]:
    """Choose the accepted context for `source`; returns it, and the source in that context's transfer syntax.

    The source is sent as it is if the peer accepted its syntax. Otherwise it is re-encoded in a little endian syntax,
    deflated if the peer accepts nothing else, or decompressed if that is allowed. Raises `PresentationContextError`,
    which names the proposed and the accepted syntaxes.
    """
    if isinstance(source, EditedSource):
        source = await exchange.sender.while_open(source.edited(), source.name)
    syntax = source.transfer_syntax_uid
    if len(source.sop_instance_uid) > 64:
        raise DatasetError(f"{source.name}: the SOP Instance UID has more than 64 characters (PS3.5 9.1)")
    try:
        context = exchange.context_for(source.sop_class_uid, [syntax])
    except PresentationContextError as error:
        try:
            context = exchange.context_for(source.sop_class_uid, uids.NATIVE_LITTLE_ENDIAN)
        except PresentationContextError:
            raise error from None
        converting = _convert(source, context.transfer_syntax, error, allow_decompression)
        return context, await exchange.sender.while_open(converting, source.name)
    if _needs_mending(source):
        from dimse.dataset.transcode import mend  # imports pydicom

        source = await exchange.sender.while_open(mend(source), source.name)
    return context, source


def _needs_mending(source: DatasetSource) -> bool:
    """Whether it cannot be sent as it is; fragments of a stream are checked while they are read."""
    if source.length is None:
        compressed_stream = isinstance(source, Part10Source) and uids.is_compressed(source.transfer_syntax_uid)
        return source.is_mislabeled or compressed_stream
    return source.is_mislabeled or source.length % 2 == 1


async def _convert(
    source: DatasetSource, transfer_syntax_uid: str, error: PresentationContextError, allow_decompression: bool
) -> DatasetSource:
    from dimse.dataset.decompression import can_decompress, decompress  # imports pydicom
    from dimse.dataset.transcode import reencode

    if uids.is_compressed(source.transfer_syntax_uid):
        # If decompression is allowed, `decompress` raises an error that names the missing plugin.
        if not can_decompress(source.transfer_syntax_uid, installed=not allow_decompression):
            raise error
        if not allow_decompression:
            raise PresentationContextError(
                f"{error.text}; it would fit decompressed, which was not allowed (allow_decompression, or --decompress)"
            ).at(error.address) from None
        source = await decompress(source)
    if source.transfer_syntax_uid == transfer_syntax_uid:
        return source
    return await reencode(source, transfer_syntax_uid)


class Attempts:
    """The attempts at one object, and which of them use up its retries."""

    __slots__ = ("_excused", "_retry", "made")

    def __init__(self, retry: RetryPolicy) -> None:
        self.made = 0
        self._excused = 0
        self._retry = retry

    def begin(self) -> None:
        """Another attempt begins."""
        self.made += 1

    def withdraw(self) -> None:
        """Do not count the last attempt: nothing was sent."""
        self.made -= 1

    def excuse(self) -> None:
        """The last attempt uses up no retry: something else may have ended it."""
        self._excused += 1

    @property
    def pause(self) -> float | None:
        """Seconds to wait before the next attempt; None if the retries are used up."""
        return self._retry.pause(self.made - self._excused)


class ObjectSender:
    """Sends objects over one association, with progress and attempts that may span several associations."""

    def __init__(self, association: Association, *, allow_decompression: bool) -> None:
        self._exchange = exchange_of(association)
        self._allow_decompression = allow_decompression

    async def fit(self, source: DatasetSource) -> tuple[AcceptedContext, DatasetSource]:
        """Choose the context for a source, and convert the source to it; see the function `fit`."""
        return await fit(self._exchange, source, allow_decompression=self._allow_decompression)

    async def send(
        self,
        context: AcceptedContext,
        source: DatasetSource,
        progress: ObjectProgress,
        attempts: Attempts,
        move_originator: tuple[str, int] | None,
    ) -> C_STORE_RSP:
        """Send until the object is stored, or has failed in a way that retrying on this association cannot fix."""
        audit = self._exchange.audit
        if audit is None:
            return await self._send(context, source, progress, attempts, move_originator)
        audited, is_stored = AuditedSource(source), False
        try:
            response = await self._send(context, audited, progress, attempts, move_originator)
            is_stored = True
            return response
        finally:
            study, patient = audited.study_instance_uid, audited.patient_id
            by_requestor = self._exchange.is_requestor
            audit.transferred(source.sop_class_uid, study, patient, is_stored=is_stored, by_requestor=by_requestor)

    async def _send(
        self,
        context: AcceptedContext,
        source: DatasetSource,
        progress: ObjectProgress,
        attempts: Attempts,
        move_originator: tuple[str, int] | None,
    ) -> C_STORE_RSP:
        title, message_id = move_originator or (None, None)
        title = None if title is None else check_ae_title(title)

        def request(number: int) -> C_STORE_RQ:
            return C_STORE_RQ(
                message_id=number,
                priority=self._exchange.priority,
                affected_sop_class_uid=source.sop_class_uid,
                affected_sop_instance_uid=source.sop_instance_uid,
                move_originator_application_entity_title=title,
                move_originator_message_id=message_id,
            )

        doing = f"C-STORE of {source.name}"
        progress.expect(source.length)
        while True:
            with progress:
                response = await invoke(
                    self._exchange, context, request, C_STORE_RSP, doing=doing, source=source, progress=progress
                )
            if response.status.is_done:
                return response
            pause = attempts.pause if response.status.is_out_of_resources else None
            if pause is None or not source.repeatable:
                error = StatusError(response.status, doing, response.error_comment, response.offending_element or ())
                if pause is not None:
                    error.add_note("not retried: its source can be read only once")
                raise error.at(self._exchange.address)
            logger.info(
                "%s: %s; attempt %d in %g s",
                source.name,
                response.status,
                attempts.made + 1,
                pause,
                extra=self._exchange.telling.fields,
            )
            await asyncio.sleep(pause)
            attempts.begin()


class CStoreSCU:
    """Sends SOP instances over an association (PS3.4 B.2).

    `retry` applies if the peer is out of resources (0xA7xx). `allow_decompression` allows compressed pixel data to be
    decompressed for a peer that does not accept it compressed.
    """

    def __init__(
        self, association: Association, *, retry: RetryPolicy | None = None, allow_decompression: bool = False
    ) -> None:
        self._sender = ObjectSender(association, allow_decompression=allow_decompression)
        self._retry = retry or RetryPolicy()

    async def send(
        self,
        source: Source,
        progress: ProgressCallback | None = None,
        *,
        pixels: NativePixels | EncapsulatedFrames | None = None,
        move_originator: tuple[str, int] | None = None,
    ) -> C_STORE_RSP:
        """Send one SOP instance and wait for the response. Returns it: Success or a warning.

        A file or stream is sent in slices and is never whole in memory. `pixels` is the pixel data of a `Dataset` that
        has none. `move_originator` is the AE title and the Message ID of the C-MOVE to which this C-STORE belongs.

        Raises `StatusError` for a failure status, after the retries; `DatasetError`, `OSError` or
        `PresentationContextError` if the instance could not be sent; `AssociationError` if the association ended. If
        sending fails or is cancelled halfway, the association is aborted: a C-STORE cannot be cancelled.

        >>> async def main(association):
        ...     response = await CStoreSCU(association).send("ct.dcm", progress=print)
        ...     assert response.status == 0x0000
        """
        Callback("progress", progress, logger)  # refused before anything is read
        context, fitted = await self._sender.fit(await as_source(source, pixels))
        reporter, attempts = ProgressReporter(progress, fitted.length), Attempts(self._retry)
        attempts.begin()
        object_progress = ObjectProgress(reporter, fitted.length)
        response = await self._sender.send(context, fitted, object_progress, attempts, move_originator)
        reporter.final()
        return response


def presentation_contexts(
    sources: Iterable[InMemory] | InMemory,
    transfer_syntaxes: Sequence[str] | None = None,
) -> list[tuple[str, tuple[str]]]:
    """The contexts to propose for these sources: one per SOP class and transfer syntax, then the fallbacks.

    Each SOP class is also proposed in the uncompressed little endian syntaxes (PS3.5 10.1), for sources that have to be
    re-encoded; or only in `transfer_syntaxes`, if given. Every context has one syntax, so that the acceptor cannot
    choose between several.
    """
    wanted: dict[tuple[str, str], None] = {}
    for given in each(sources):
        source = of_memory(cast("InMemory", given))
        wanted[source.sop_class_uid, source.transfer_syntax_uid] = None
    syntaxes = transfer_syntaxes or uids.LITTLE_ENDIAN
    fallbacks = {(sop_class, syntax): None for sop_class, _ in wanted for syntax in syntaxes}
    return [(sop_class, (syntax,)) for sop_class, syntax in (fallbacks if transfer_syntaxes else wanted | fallbacks)]


Contexts = list[tuple[str, tuple[str]]]


def in_groups(
    sources: Sequence[DatasetSource], transfer_syntaxes: Sequence[str] | None
) -> list[tuple[Contexts, list[DatasetSource]]]:
    """Split sources so that no group needs more than 128 contexts: by SOP class, and by syntax if a class has too many.

    The order is kept within a group.
    """
    by_class: dict[str, list[DatasetSource]] = {}
    for source in sources:
        by_class.setdefault(source.sop_class_uid, []).append(source)
    groups: list[tuple[Contexts, list[DatasetSource]]] = []
    for of_class in by_class.values():
        for contexts, members in _by_syntax(of_class, transfer_syntaxes):
            if groups and len(groups[-1][0]) + len(contexts) <= MAXIMUM_CONTEXTS:
                groups[-1][0].extend(contexts)
                groups[-1][1].extend(members)
            else:
                groups.append((contexts, members))
    return groups


def _by_syntax(
    members: list[DatasetSource], transfer_syntaxes: Sequence[str] | None
) -> Iterator[tuple[Contexts, list[DatasetSource]]]:
    """Halve the sources of one SOP class by transfer syntax until their contexts fit into one association."""
    contexts = presentation_contexts(members, transfer_syntaxes)
    syntaxes = list(dict.fromkeys(source.transfer_syntax_uid for source in members))
    if len(contexts) <= MAXIMUM_CONTEXTS or len(syntaxes) == 1:
        yield contexts, members
        return
    first = set(syntaxes[: len(syntaxes) // 2])
    yield from _by_syntax([each for each in members if each.transfer_syntax_uid in first], transfer_syntaxes)
    yield from _by_syntax([each for each in members if each.transfer_syntax_uid not in first], transfer_syntaxes)
