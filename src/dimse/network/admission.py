"""Accepting or rejecting an association: its titles, the limits, and the contexts that the services support."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final

from dimse import uids
from dimse.messages.message import Request
from dimse.network.connection import Connection
from dimse.network.session import Service, Session
from dimse.options import ServerOptions, StoreMode
from dimse.upper_layer.items import UserIdentityAC, UserInformation
from dimse.upper_layer.negotiation import accept_contexts, accept_roles, accept_window
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

TEMPORARY_CONGESTION: Final = A_ASSOCIATE_RJ(result=2, source=3, reason=1)
_LOCAL_LIMIT_EXCEEDED: Final = A_ASSOCIATE_RJ(result=2, source=3, reason=2)
_CALLED_TITLE_NOT_RECOGNIZED: Final = A_ASSOCIATE_RJ(result=1, source=1, reason=7)
_CALLING_TITLE_NOT_RECOGNIZED: Final = A_ASSOCIATE_RJ(result=1, source=1, reason=3)


class Admission:
    """Decides on the associations that a server is asked for; `sessions` are those that it has."""

    def __init__(
        self,
        ae_title: str,
        options: ServerOptions,
        services: Mapping[type[Request], Service],
        sessions: Collection[Session],
    ) -> None:
        self._ae_title = ae_title
        self._options = options
        self._services = services
        self._sessions = sessions

    def rejection(self, request: A_ASSOCIATE_RQ, connection: Connection) -> A_ASSOCIATE_RJ | None:
        """Why a normalized request is rejected; None if it is not."""
        options = self._options
        if options.require_called_ae_title and request.called_ae_title != self._ae_title:
            return _CALLED_TITLE_NOT_RECOGNIZED
        if options.calling_ae_titles is not None and request.calling_ae_title not in options.calling_ae_titles:
            return _CALLING_TITLE_NOT_RECOGNIZED
        others = [other for other in self._sessions if other.association.is_open]
        host, title = connection.peer_host, request.calling_ae_title
        for limit, count in (
            (options.maximum_associations, len(others)),
            (options.maximum_associations_per_host, sum(o.connection.peer_host == host for o in others)),
            (options.maximum_associations_per_title, sum(o.association.calling_ae_title == title for o in others)),
        ):
            if limit is not None and count >= limit:
                return _LOCAL_LIMIT_EXCEEDED
        return None

    @property
    def _operations_window(self) -> int:
        """1 if data sets are buffered, since each may take all the memory of its association."""
        return 1 if self._options.store.mode is StoreMode.BUFFERED else self._options.operations_window

    def acceptance(self, request: A_ASSOCIATE_RQ) -> A_ASSOCIATE_AC:
        """Accept a normalized request, as far as the services go."""
        services = self._services.values()
        proposed = {context.abstract_syntax for context in request.presentation_contexts}
        sent = {uid for uid in proposed if any(service.sends(uid) for service in services)}
        as_scp = {role.sop_class_uid for role in request.user_information.role_selections if role.scp_role} & sent
        taken = {uid for uid in proposed if any(service.supports(uid) for service in services)}
        identity = request.user_information.user_identity
        return A_ASSOCIATE_AC(
            called_ae_title=request.called_ae_title[:16],
            calling_ae_title=request.calling_ae_title[:16],
            presentation_contexts=accept_contexts(request, dict.fromkeys(taken | as_scp)),
            user_information=UserInformation(
                maximum_length=self._options.maximum_length,
                implementation_class_uid=uids.IMPLEMENTATION_CLASS_UID,
                implementation_version_name=uids.IMPLEMENTATION_VERSION_NAME,
                asynchronous_operations_window=accept_window(request, self._operations_window),
                role_selections=accept_roles(request, scu_classes=taken, scp_classes=as_scp),
                user_identity_response=UserIdentityAC()
                if identity is not None and identity.positive_response_requested
                else None,
            ),
        )
