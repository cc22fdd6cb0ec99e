"""Accepting or rejecting an association: the rules of access, the limits, and the contexts that services support."""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections.abc import Awaitable, Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import ip_address
from typing import Final, Protocol

from dimse import uids
from dimse.access import AssociationRequest, Operation, Peer, VerifiedUser
from dimse.errors import RejectAssociation, escaped
from dimse.messages.message import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_DELETE_RQ,
    N_EVENT_REPORT_RQ,
    N_GET_RQ,
    N_SET_RQ,
    Request,
)
from dimse.network.auditing import ServerAudit
from dimse.network.connection import Connection
from dimse.network.incoming_request import Service
from dimse.network.tally import Tally
from dimse.network.throttle import ServerLimits
from dimse.options import ServerOptions, StoreMode
from dimse.tls import context_of
from dimse.upper_layer.extended import Features, QueryFeatures, accept_extended, declared_storage
from dimse.upper_layer.items import UserIdentityAC, UserInformation
from dimse.upper_layer.negotiation import ProposedContext, accept_contexts, accept_roles, accept_window
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

logger = logging.getLogger("dimse.network")

TEMPORARY_CONGESTION: Final = A_ASSOCIATE_RJ(result=2, source=3, reason=1)
_LOCAL_LIMIT_EXCEEDED: Final = A_ASSOCIATE_RJ(result=2, source=3, reason=2)
_CALLED_TITLE_NOT_RECOGNIZED: Final = A_ASSOCIATE_RJ(result=1, source=1, reason=7)
_CALLING_TITLE_NOT_RECOGNIZED: Final = A_ASSOCIATE_RJ(result=1, source=1, reason=3)

_OPERATION_OF: Final[dict[type[Request], Operation]] = {
    C_ECHO_RQ: Operation.ECHO,
    C_STORE_RQ: Operation.STORE,
    C_FIND_RQ: Operation.FIND,
    C_GET_RQ: Operation.GET,
    C_MOVE_RQ: Operation.MOVE,
    N_ACTION_RQ: Operation.NORMALIZED,
    N_CREATE_RQ: Operation.NORMALIZED,
    N_DELETE_RQ: Operation.NORMALIZED,
    N_EVENT_REPORT_RQ: Operation.NORMALIZED,
    N_GET_RQ: Operation.NORMALIZED,
    N_SET_RQ: Operation.NORMALIZED,
}


User = VerifiedUser | None

AssociationHandler = Callable[[AssociationRequest], Awaitable[VerifiedUser | None]]
"""Decides about associations; see `Server.on_association`."""


@dataclass(frozen=True, slots=True)
class Rejected:
    """An association that is rejected, and why, in words for the log: the peer gets `response` alone."""

    response: A_ASSOCIATE_RJ
    why: str


@dataclass(frozen=True, slots=True, eq=False)
class Slot:
    """The place of one association among those that the limits allow, and the rule that admitted it."""

    calling_ae_title: str
    host: str
    rule: Peer


class Tenant(Protocol):
    """An association that has a slot."""

    used: float
    """When it was last of use, by the clock of the event loop."""

    @property
    def is_busy(self) -> bool:
        """Whether it is of use now."""

    def give_way(self) -> None:
        """End the association now, which leaves the slot."""


def permits(rule: Peer, request: type[Request]) -> bool:
    """Whether a rule permits to request this."""
    operation = _OPERATION_OF.get(request)
    return operation is None or operation in rule.operations


def _described(request: A_ASSOCIATE_RQ, peer: Connection) -> AssociationRequest:
    as_scp = {role.sop_class_uid for role in request.user_information.role_selections if role.scp_role}
    return AssociationRequest(
        called_ae_title=request.called_ae_title,
        calling_ae_title=request.calling_ae_title,
        host=peer.peer_host,
        certificate_names=peer.certificate_names,
        user_identity=request.user_information.user_identity,
        contexts=tuple(
            ProposedContext(each.abstract_syntax, each.transfer_syntaxes, each.abstract_syntax in as_scp)
            for each in request.presentation_contexts
        ),
    )


class Admission:
    """Decides on the associations that a server is asked for, and counts those that it has."""

    def __init__(self, options: ServerOptions, services: Mapping[type[Request], Service], audit: ServerAudit) -> None:
        self.is_closed = False
        """Whether the server is stopping, and admits no peer."""
        self._options = options
        self._services = services
        self._slots: dict[Slot, Tenant] = {}
        """The slots that are taken, the oldest first."""
        self.rate_limits = ServerLimits(options)
        """The limits on bytes per second of new associations."""
        self.audit: Final = audit
        """Where the decisions are audited."""
        self.tally: Final = Tally()
        """Where they are counted."""
        self.features: dict[str, QueryFeatures] = {}
        """What the handlers of queries and retrievals support, by SOP class."""
        self.handler: AssociationHandler | None = None
        """Decides, after the rules and the limits, about each association."""

    def reconfigure(self, options: ServerOptions) -> None:
        """Decide by these options from now on. Associations that are open count as before."""
        self._options = options
        self.rate_limits = ServerLimits(options)

    def warn_if_open(self, name: str, hosts: Iterable[str]) -> None:
        """Log a warning if every peer may associate that reaches one of the addresses that the server listens on."""
        exposed = [host for host in hosts if not ip_address(host).is_loopback]
        tls = self._options.tls
        if (
            exposed
            and self.handler is None
            and self._options.access.admits_everyone
            and (tls is None or context_of(tls, server_side=True).verify_mode is not ssl.CERT_REQUIRED)
        ):
            logger.warning(
                "%s listens on %s, and every peer that reaches it may associate: set rules of access (ServerOptions."
                "access, --allow), require certificates of clients, or register a handler of associations",
                name,
                " and ".join(exposed),
            )

    def enter(self, request: A_ASSOCIATE_RQ, connection: Connection, tenant: Tenant) -> Slot | Rejected:
        """Admit the peer of a normalized request, and count its association from now until `leave`.

        At a limit, the oldest tenant of no use gives way, of those that this limit counts. Whether the called
        AE title is one of ours is told only to a peer that a rule fits.
        """
        if self.is_closed:
            return Rejected(TEMPORARY_CONGESTION, "the server is stopping")
        access, host, title = self._options.access, connection.peer_host, request.calling_ae_title
        rule = access.rule_for(title, host, connection.certificate_names)
        if isinstance(rule, str):
            return Rejected(_CALLING_TITLE_NOT_RECOGNIZED, rule)
        if access.called_ae_titles is not None and request.called_ae_title not in access.called_ae_titles:
            return Rejected(_CALLED_TITLE_NOT_RECOGNIZED, "its called AE title is not one of ours")
        slot = Slot(title, host, rule)
        while (exceeded := self._exceeded(slot)) is not None:
            why, slots = exceeded
            expendable = self._expendable(slots)
            if expendable is None:
                return Rejected(_LOCAL_LIMIT_EXCEEDED, why)
            expendable.give_way()
        self._slots[slot] = tenant
        return slot

    def _expendable(self, slots: Iterable[Slot]) -> Tenant | None:
        """The first whose slot has been of no use for longer than an association may be idle."""
        seconds = self._options.timeouts.idle
        if seconds is None:
            return None
        limit = asyncio.get_running_loop().time() - seconds
        unused = [tenant for each in slots if (tenant := self._slots[each]).used < limit]  # fast: it is done for each
        return next((tenant for tenant in unused if not tenant.is_busy), None)

    async def ask(self, handler: AssociationHandler, request: A_ASSOCIATE_RQ, peer: Connection) -> User | Rejected:
        """What a handler says to a normalized request. An exception other than its rejection passes through."""
        try:
            user = await handler(_described(request, peer))
        except RejectAssociation as rejection:
            why = f"the handler of associations: {escaped(rejection.why)}"  # it may quote the peer
            return Rejected(A_ASSOCIATE_RJ(*rejection.rejection.value), why)
        if user is not None and not isinstance(user, VerifiedUser):
            raise TypeError(f"a handler of associations must return a VerifiedUser or None, not {type(user).__name__}")
        if user is not None:
            VerifiedUser.__post_init__(user)  # a subclass may not have called it
        return user

    def leave(self, slot: Slot) -> None:
        """An association has ended."""
        self._slots.pop(slot, None)

    def _exceeded(self, new: Slot) -> tuple[str, list[Slot]] | None:
        """The limit that one more association would exceed, in words, and the slots that it counts."""
        for slots, most, words in self._limits(new):
            if most is not None and len(slots) >= most:
                return words, slots
        return None

    def _limits(self, new: Slot) -> Iterator[tuple[list[Slot], int | None, str]]:
        options, rule = self._options, new.rule
        most: int | None = options.maximum_associations
        yield list(self._slots), most, f"there are {most} already (maximum_associations)"
        most = rule.maximum_associations
        if most is not None:
            same = [slot for slot in self._slots if slot.rule is rule]
            yield same, most, f"rule {rule} has {most} already (maximum_associations)"
            return
        others = [slot for slot in self._slots if slot.rule.maximum_associations is None]
        same = [slot for slot in others if slot.host == new.host]
        most = options.maximum_associations_per_host
        yield same, most, f"its host has {most} already (maximum_associations_per_host)"
        same = [slot for slot in others if slot.calling_ae_title == new.calling_ae_title]
        most = options.maximum_associations_per_title
        yield same, most, f"its calling AE title has {most} already (maximum_associations_per_title)"

    @property
    def _operations_window(self) -> int:
        """1 if data sets are buffered, since each may take all the memory of its association."""
        return 1 if self._options.store.mode is StoreMode.BUFFERED else self._options.operations_window

    def _taken(self, request: A_ASSOCIATE_RQ, proposed: Collection[str], rule: Peer) -> tuple[set[str], set[str]]:
        """The SOP classes that the peer may send or request, and those of them to store.

        A private class is one to store unless it has another service. An unknown class that the requestor declares to
        be a storage class is one (PS3.7 D.3.3.6).
        """
        services = {kind: service for kind, service in self._services.items() if permits(rule, kind)}
        store = services.pop(C_STORE_RQ, None)
        requested = {uid for uid in proposed if any(service.supports(uid) for service in services.values())}
        stored = set[str]()
        if store is not None:
            declared = declared_storage(request.user_information).intersection(proposed)
            stored = {uid for uid in proposed if store.supports(uid)}.union(declared) - requested
        return requested | stored, stored

    def _offered(self, taken: Iterable[str], stored: Collection[str]) -> dict[str, Features]:
        """What is answered to extended negotiation of the SOP classes that the peer may send or request."""
        storage = self._options.storage_features
        found = {uid: self.features.get(uid, storage if uid in stored else None) for uid in taken}
        return {uid: features for uid, features in found.items() if features is not None}

    def acceptance(self, request: A_ASSOCIATE_RQ, slot: Slot, user: User) -> A_ASSOCIATE_AC:
        """Accept a normalized request, as far as the services go that the peer may use.

        An identity is confirmed only if it was verified (PS3.7 D.3.3.7).
        """
        proposed = {context.abstract_syntax for context in request.presentation_contexts}
        services = [service for kind, service in self._services.items() if permits(slot.rule, kind)]
        sent = {uid for uid in proposed if any(service.sends(uid) for service in services)}
        as_scp = {role.sop_class_uid for role in request.user_information.role_selections if role.scp_role} & sent
        taken, stored = self._taken(request, proposed, slot.rule)
        supported = dict.fromkeys(as_scp) | dict.fromkeys(taken)
        supported |= dict.fromkeys(stored, self._options.transfer_syntaxes)
        identity = request.user_information.user_identity
        return A_ASSOCIATE_AC(
            called_ae_title=request.called_ae_title[:16],
            calling_ae_title=request.calling_ae_title[:16],
            presentation_contexts=accept_contexts(request, supported, self._options.prefer),
            user_information=UserInformation(
                maximum_length=self._options.maximum_length,
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                asynchronous_operations_window=accept_window(request, self._operations_window),
                role_selections=accept_roles(request, scu_classes=taken, scp_classes=as_scp),
                sop_class_extended=accept_extended(request.user_information, self._offered(taken, stored)),
                user_identity_response=UserIdentityAC(user.server_response)
                if user is not None and identity is not None and identity.positive_response_requested
                else None,
            ),
        )
