"""What an exchange of messages needs from the side that performs the requests of the peer."""

from __future__ import annotations

from typing import Protocol

from dimse.messages.fragments import CommandReceived
from dimse.network.incoming_data import Receiver
from dimse.upper_layer.negotiation import AcceptedContext
from dimse.upper_layer.pdu import A_ASSOCIATE_RQ


class Provider(Protocol):
    """Serves the peer's requests on an association. Called from the event loop; must not block."""

    @property
    def doing(self) -> str | None:
        """The operation of the request that waits for its response, if there is one."""

    def associate(self, request: A_ASSOCIATE_RQ) -> None:
        """The peer requests the association."""

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """The peer requests an operation. Returns the receiver of its data set, if one follows."""

    def cancel(self, message_id: int) -> bool:
        """The peer cancels an operation. Returns whether it is under way."""

    def release(self) -> None:
        """The peer requests the release."""

    async def before_release(self) -> None:
        """Wait until this side may request the release: not before the peer's requests are answered.

        Raises `LocalProtocolError` if the caller delays that itself, as a handler does.
        """

    def ended(self) -> None:
        """The association has ended."""


class Performing(Protocol):
    """Performs what the peer requests."""

    def request(self, context: AcceptedContext, command: CommandReceived) -> Receiver:
        """The peer requests an operation. Returns the receiver of its data set."""
