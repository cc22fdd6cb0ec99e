"""The audited events of an association, and of the server that accepts it (PS3.15 A.5.3)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

from dimse import audit
from dimse.audit import AuditLog, Event, EventType, Outcome, Participant, Role
from dimse.network.connection import Connection
from dimse.upper_layer.agreement import Agreement
from dimse.upper_layer.items import UserIdentityRQ, UserIdentityType
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

MAXIMUM_STUDIES: Final = 100
"""Studies of an association that are counted before their messages are written."""

_PERMANENT: Final = 1


def user_of(identity: UserIdentityRQ | None) -> str | None:
    """The name of a user; None without one. Tickets, assertions and tokens are secrets."""
    if identity is None or identity.user_identity_type not in (
        UserIdentityType.USERNAME,
        UserIdentityType.USERNAME_AND_PASSCODE,
    ):
        return None
    return identity.primary_field.decode("utf-8", "backslashreplace")


class AssociationAudit:
    """The audited events of one association: transfers are counted by study, and written when it ends."""

    def __init__(self, log: AuditLog, connection: Connection, agreement: Agreement, user: str | None) -> None:
        own = audit.process(agreement.own_ae_title, connection.own_host)
        peer = Participant(agreement.peer_ae_title, agreement.peer_ae_title, connection.peer_host)
        self._log = log
        self._requestor, self._acceptor = (own, peer) if agreement.is_requestor else (peer, own)
        self._users: Sequence[Participant] = () if user is None else (Participant(user, is_requestor=True),)
        self._transfers: dict[tuple[bool, str, str, Outcome], Counter[str]] = {}
        self._is_open = True

    def _participants(self, requestor: Role, acceptor: Role) -> Iterable[Participant]:
        yield replace(self._requestor, role=requestor, is_requestor=not self._users)
        yield replace(self._acceptor, role=acceptor)
        yield from self._users

    def queried(self, sop_class_uid: str, identifier: bytes, transfer_syntax_uid: str) -> None:
        """The requestor sent a C-FIND."""
        participants = self._participants(Role.SOURCE, Role.DESTINATION)
        objects = [audit.query(sop_class_uid, identifier, transfer_syntax_uid)]
        audit.write(self._log, Event.QUERY, Outcome.SUCCESS, participants, objects)

    def transferred(
        self, sop_class_uid: str, study_uid: str, patient_id: str, *, is_stored: bool, by_requestor: bool
    ) -> None:
        """An instance was sent, by the requestor or to it, and stored or refused."""
        outcome = Outcome.SUCCESS if is_stored else Outcome.MINOR_FAILURE
        key = (by_requestor, audit.shortened(study_uid), audit.shortened(patient_id), outcome)
        self._transfers.setdefault(key, Counter())[sop_class_uid] += 1
        if not self._is_open or len(self._transfers) > MAXIMUM_STUDIES:
            self._write_transfers()

    def end(self) -> None:
        """The association has ended."""
        self._is_open = False
        self._write_transfers()

    def _write_transfers(self) -> None:
        transfers, self._transfers = self._transfers, {}
        for (by_requestor, study_uid, patient_id, outcome), counts in transfers.items():
            roles = (Role.SOURCE, Role.DESTINATION) if by_requestor else (Role.DESTINATION, Role.SOURCE)
            objects = [audit.study(study_uid, counts), audit.patient(patient_id)]
            audit.write(self._log, Event.INSTANCES_TRANSFERRED, outcome, self._participants(*roles), objects)


class ServerAudit:
    """The audited events of a server that belong to no association. Without a log, nothing is written."""

    def __init__(self, log: AuditLog | None, ae_title: str) -> None:
        self._log = log
        self._ae_title = ae_title

    def started(self) -> None:
        """The server listens."""
        self._application(EventType.APPLICATION_START)

    def stopped(self) -> None:
        """The server listens no longer."""
        self._application(EventType.APPLICATION_STOP)

    def _application(self, kind: EventType) -> None:
        if self._log is not None:
            own = [audit.process(self._ae_title, role=Role.APPLICATION)]
            audit.write(self._log, Event.APPLICATION_ACTIVITY, Outcome.SUCCESS, own, event_type=kind)

    def admitted(self, request: A_ASSOCIATE_RQ, connection: Connection, user: str | None) -> None:
        """A peer was admitted, as this verified user if it is not None."""
        if user is not None:
            self._login(request, connection, user, Outcome.SUCCESS)

    def rejected(self, request: A_ASSOCIATE_RQ, connection: Connection, response: A_ASSOCIATE_RJ, why: str) -> None:
        """A peer was rejected. That is an alert, unless it may simply try again."""
        if self._log is None or response.result != _PERMANENT:
            return
        user = user_of(request.user_information.user_identity)
        if request.user_information.user_identity is not None:
            self._login(request, connection, user or "unknown", Outcome.MINOR_FAILURE)
        peer = Participant(request.calling_ae_title, request.calling_ae_title, connection.peer_host, is_requestor=True)
        self._alert(peer, connection.peer_name, f"association rejected: {why}")

    def not_authenticated(self, host: str, why: str) -> None:
        """A TLS handshake failed."""
        self._alert(Participant(host, None, host, is_requestor=True), host, f"TLS handshake failed: {why}")

    def _login(self, request: A_ASSOCIATE_RQ, connection: Connection, user: str, outcome: Outcome) -> None:
        if self._log is not None:
            title = request.calling_ae_title
            participants = [Participant(user, title, connection.peer_host, is_requestor=True), self._own()]
            audit.write(self._log, Event.USER_AUTHENTICATION, outcome, participants, event_type=EventType.LOGIN)

    def _alert(self, peer: Participant, address: str, why: str) -> None:
        if self._log is not None:
            objects = [audit.node(address, why)]
            participants, kind = [self._own(), peer], EventType.NODE_AUTHENTICATION
            audit.write(self._log, Event.SECURITY_ALERT, Outcome.MINOR_FAILURE, participants, objects, kind)

    def _own(self) -> Participant:
        return audit.process(self._ae_title)
