"""An association as its users see it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from types import TracebackType
from typing import Self

from dimse.access import VerifiedUser
from dimse.network.exchange import Exchange, Phase
from dimse.upper_layer.extended import QueryFeatures, StorageFeatures
from dimse.upper_layer.items import UserIdentityRQ
from dimse.upper_layer.negotiation import AcceptedContext


class Association:
    """An association with a peer, in either role.

    As a context manager it is released on leaving, or aborted when left by an exception. The service classes use it:
    `CEchoSCU(association)`, `CStoreSCU(association)`.
    """

    def __init__(self, exchange: Exchange) -> None:
        self._exchange = exchange

    @property
    def called_ae_title(self) -> str:
        """The AE title that the requestor called."""
        return self._exchange.agreement.called_ae_title

    @property
    def calling_ae_title(self) -> str:
        """The AE title of the requestor."""
        return self._exchange.agreement.calling_ae_title

    @property
    def peer_ae_title(self) -> str:
        """The AE title of the peer."""
        return self._exchange.agreement.peer_ae_title

    @property
    def own_ae_title(self) -> str:
        """The AE title of this side."""
        return self._exchange.agreement.own_ae_title

    @property
    def user_identity(self) -> UserIdentityRQ | None:
        """The user that the requestor named (PS3.7 D.3.3.7); only `user` is verified."""
        return self._exchange.agreement.request.user_information.user_identity

    @property
    def user(self) -> VerifiedUser | None:
        """The requestor's user, as the handler of associations of this server has verified it."""
        return self._exchange.user

    @property
    def user_identity_response(self) -> bytes | None:
        """The acceptor's response to the user identity (PS3.7 D.3.3.7.2), often empty.

        None if none was requested, or if the acceptor did not confirm the identity: it may not have looked at it.
        """
        response = self._exchange.agreement.acceptance.user_information.user_identity_response
        return None if response is None else response.server_response

    @property
    def peer_name(self) -> str:
        """The peer's host and port."""
        return self._exchange.peer_name

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts by Presentation Context ID."""
        return self._exchange.agreement.contexts

    @property
    def operations_window(self) -> int:
        """How many operations of the requestor may be outstanding at once."""
        return self._exchange.agreement.operations_window

    @property
    def is_open(self) -> bool:
        """Whether the association has not ended."""
        return self._exchange.is_open

    @property
    def error(self) -> Exception | None:
        """Why the association ended; None while it lasts, and after a release."""
        return self._exchange.error

    def context_for(self, abstract_syntax: str, transfer_syntaxes: Iterable[str] | None = None) -> AcceptedContext:
        """The accepted context for a SOP class on which this side is SCU.

        With `transfer_syntaxes` it is in the first of them that was accepted. Raises `PresentationContextError`, which
        names the transfer syntaxes that were proposed and accepted.
        """
        return self._exchange.context_for(abstract_syntax, transfer_syntaxes)

    def query_features(self, sop_class_uid: str) -> QueryFeatures:
        """What both sides agreed on for a SOP class of C-FIND, C-GET or C-MOVE (PS3.4 C.5).

        A requestor proposes it with the `features` of a `ProposedContext`, or of a `Query`.

        >>> async def main(context):
        ...     async with connect("ARCHIVE@localhost:11112", contexts=[context]) as association:
        ...         print(association.query_features(uids.STUDY_ROOT_FIND).relational)
        """
        return self._exchange.agreement.query_features(sop_class_uid)

    def storage_features(self, sop_class_uid: str) -> StorageFeatures | None:
        """What the peer said of itself as SCP of a storage class (PS3.4 B.3.1); None if it said nothing."""
        return self._exchange.agreement.storage_features(sop_class_uid)

    async def release(self) -> None:
        """End the association in order (PS3.8 7.2). Does nothing if it has ended already.

        An operation that is under way is cancelled first. Raises `AssociationTimeout` if the peer does not answer, and
        `LocalProtocolError` in a handler: its request must be answered first.
        """
        await self._exchange.release()

    def abort(self) -> None:
        """End the association at once with an A-ABORT (PS3.8 7.3). Tasks that wait get `AssociationAborted`."""
        self._exchange.abort()

    def __repr__(self) -> str:
        exchange = self._exchange
        if exchange.phase is Phase.NEW:
            return f"<Association with {exchange.peer_name}, not established>"
        state = "open" if exchange.is_open else "ended"
        return f"<Association {self.calling_ae_title} -> {self.called_ae_title} at {exchange.peer_name}, {state}>"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is None:
            try:
                await self._exchange.release()
            finally:
                await self._exchange.closed()
        else:
            self._exchange.abort()
            await self._exchange.closed()


def exchange_of(association: Association) -> Exchange:
    """The machinery of an association, which the services use and users do not."""
    return association._exchange
