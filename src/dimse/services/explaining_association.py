"""The associations by which `explain` asks: what is requested, and what came back in words."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from dimse import uids
from dimse.address import Address
from dimse.errors import AssociationAborted, rejection_in_words
from dimse.network.banners import speaker_of
from dimse.network.probing import Answer, Answered, Endpoint, Line, line
from dimse.network.tls_errors import refusal
from dimse.options import ClientOptions
from dimse.tls import TLSOptions, context_of
from dimse.upper_layer.items import PresentationContextRQ, UserInformation
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, PDU

MAXIMUM_ASKED: Final = 24
"""Associations that `explain` requests in all."""

PAUSE: Final = 0.1
"""Seconds between two associations."""

_FACTORS: Final = (1, 3, 9)
"""How many times `PAUSE` there is before each request, as long as the rejections are transient."""

_RELEASE_TIME: Final = 1.0
"""Seconds to wait for the response to an A-RELEASE-RQ."""

_SHOWN: Final = 60
"""Characters of an answer that is not DICOM, in words."""

VERIFICATION: Final = ((uids.VERIFICATION, uids.LITTLE_ENDIAN),)
"""The contexts to propose where only the association itself is asked for."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A requested association and what came back."""

    request: A_ASSOCIATE_RQ
    answer: Answer
    line: Line | None = None
    """The connection; None if there is none."""

    @property
    def acceptance(self) -> A_ASSOCIATE_AC | None:
        """The A-ASSOCIATE-AC, if that is what came back."""
        return self.answer.pdu if isinstance(self.answer.pdu, A_ASSOCIATE_AC) else None

    @property
    def rejection(self) -> A_ASSOCIATE_RJ | None:
        """The A-ASSOCIATE-RJ, if that is what came back."""
        return self.answer.pdu if isinstance(self.answer.pdu, A_ASSOCIATE_RJ) else None

    @property
    def is_transient(self) -> bool:
        """Whether the same request may be accepted later."""
        return self.rejection is not None and self.rejection.result == 2

    @property
    def words(self) -> str:
        """What came back."""
        return in_words(self.answer)


def in_words(answer: Answer) -> str:
    """What came back, as a sentence without its end."""
    if answer.pdu is not None:
        return _pdu_in_words(answer.pdu)
    if answer.kind is Answered.OTHER:
        return f"{speaker_of(answer.data)} answered: {_shown(answer.data)}"
    if answer.kind is Answered.MALFORMED:
        return f"the answer is not valid DICOM: {answer.error}"
    if isinstance(answer.error, ssl.SSLError):
        return f"TLS ended: {refusal(answer.error)}"
    return {
        Answered.PART: f"only {len(answer.data)} bytes of an answer came in {answer.seconds:.1f} s",
        Answered.SILENCE: f"no answer in {answer.seconds:.0f} s",
        Answered.CLOSED: "the connection was closed without an answer",
        Answered.TLS: "TLS ended",
        Answered.RESET: f"the connection was lost without an answer ({_reason(answer.error)})",
    }[answer.kind]


def _reason(error: Exception | None) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)


def _pdu_in_words(pdu: PDU) -> str:
    if isinstance(pdu, A_ASSOCIATE_AC):
        return "the association was accepted"
    if isinstance(pdu, A_ASSOCIATE_RJ):
        numbers = f"result {pdu.result}, source {pdu.source}, reason {pdu.reason}"
        return f"the association was rejected {rejection_in_words(pdu.result, pdu.source, pdu.reason)} ({numbers})"
    if isinstance(pdu, A_ABORT):
        words = AssociationAborted(pdu.source, pdu.reason).at("the archive")
        return f"{words} (source {pdu.source}, reason {pdu.reason})"
    return f"an unexpected {pdu.name} came"


def _shown(data: bytes) -> str:
    """The first line of text, or the first bytes as they are."""
    text = data.decode("latin-1")
    first = text.splitlines()[0] if text.splitlines() else ""
    shown = first if first and first.isprintable() else repr(data)[2:-1]
    return f"'{shown[:_SHOWN]}'"


class Asker:
    """Requests associations, one after the other, with one archive; it counts them."""

    def __init__(self, address: Address, endpoint: Endpoint, options: ClientOptions, seconds: float) -> None:
        self.address = address
        self.endpoint = endpoint
        self.options = options
        self.seconds = seconds
        """For each connection, handshake and answer."""
        self.called_ae_title = address.ae_title
        self.calling_ae_title = options.calling_ae_title
        self.user_identity = options.user_identity
        self.asked = 0

    @property
    def context(self) -> ssl.SSLContext | None:
        """The TLS context for the next handshake; None for plain connections."""
        tls = self.options.tls
        return None if tls is None else context_of(tls, server_side=False)

    @property
    def server_name(self) -> str:
        """The name that the archive's certificate must have."""
        tls = self.options.tls
        return (isinstance(tls, TLSOptions) and tls.server_name) or self.address.host.partition("%")[0]

    @property
    def may_ask(self) -> bool:
        """Whether it has requested less than `MAXIMUM_ASKED` associations."""
        return self.asked < MAXIMUM_ASKED

    def request(
        self,
        contexts: Sequence[tuple[str, Sequence[str]]] = VERIFICATION,
        information: UserInformation = UserInformation(),  # noqa: B008 - it is frozen
    ) -> A_ASSOCIATE_RQ:
        """The request for `contexts`; the titles are those that the archive accepts, as far as that is known.

        `information` has what is to be negotiated beyond the usual.
        """
        return A_ASSOCIATE_RQ(
            called_ae_title=self.called_ae_title,
            calling_ae_title=self.calling_ae_title,
            presentation_contexts=tuple(
                PresentationContextRQ(2 * index + 1, abstract_syntax, tuple(syntaxes))
                for index, (abstract_syntax, syntaxes) in enumerate(contexts)
            ),
            user_information=replace(
                information,
                maximum_length=self.options.maximum_length,
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                user_identity=self.user_identity,
            ),
        )

    @asynccontextmanager
    async def ask(self, request: A_ASSOCIATE_RQ) -> AsyncIterator[Asked]:
        """Request an association, which is released at the end of the block if it was accepted."""
        self.asked += 1
        async with AsyncExitStack() as stack:
            try:
                opened = await stack.enter_async_context(
                    line(self.endpoint, self.seconds, self.context, self.server_name)
                )
            except TimeoutError:
                yield Asked(request, Answer(Answered.SILENCE, self.seconds))
                return
            except OSError as error:
                kind = Answered.TLS if isinstance(error, ssl.SSLError) else Answered.RESET
                yield Asked(request, Answer(kind, 0, error=error))
                return
            asked = Asked(request, await opened.associate(request, self.seconds), opened)
            yield asked
            if asked.acceptance is not None:
                await opened.release(min(self.seconds, _RELEASE_TIME))

    async def ask_again(self, request: A_ASSOCIATE_RQ) -> Asked:
        """Request an association, release it, and return what came back; after a pause.

        A transient rejection is not the answer yet: the archive may not have noticed the end of the last association.
        """
        for factor in _FACTORS:
            await asyncio.sleep(PAUSE * factor)
            async with self.ask(request) as asked:
                pass
            if not (asked.is_transient and self.may_ask):
                break
        return asked
