"""The agreement of both sides of an association (PS3.8 7.1.1; PS3.7 D.3.3)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final

from dimse.errors import PresentationContextError
from dimse.records import record
from dimse.uids import (
    PATIENT_ROOT_FIND,
    PATIENT_ROOT_GET,
    PATIENT_ROOT_MOVE,
    QUERY_RETRIEVE,
    STUDY_ROOT_FIND,
    STUDY_ROOT_GET,
    STUDY_ROOT_MOVE,
    name_of,
)
from dimse.upper_layer.extended import (
    QueryFeatures,
    StorageFeatures,
    declared_storage,
    query_features,
    storage_features,
)
from dimse.upper_layer.negotiation import (
    AcceptedContext,
    accepted_contexts,
    maximum_length_to_send,
    operations_window,
)
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

_SERVICES: Final = {
    "is no query archive": (PATIENT_ROOT_FIND, STUDY_ROOT_FIND),
    "has no C-GET": (PATIENT_ROOT_GET, STUDY_ROOT_GET),
    "has no C-MOVE": (PATIENT_ROOT_MOVE, STUDY_ROOT_MOVE),
}
"""What a peer lacks that accepts neither of two SOP classes."""


@record()
class Agreement:
    """The facts of one association; they do not change while it lasts."""

    request: A_ASSOCIATE_RQ
    acceptance: A_ASSOCIATE_AC
    contexts: Mapping[int, AcceptedContext]
    """The accepted presentation contexts by Presentation Context ID."""
    operations_window: int
    """How many operations of the requestor may be outstanding at once."""
    maximum_length_to_send: int
    """The maximum PDU-length of each P-DATA-TF that this side sends."""
    is_requestor: bool
    """Whether this side requested the association."""

    @property
    def called_ae_title(self) -> str:
        """The AE title that the requestor called."""
        return self.request.called_ae_title

    @property
    def calling_ae_title(self) -> str:
        """The AE title of the requestor."""
        return self.request.calling_ae_title

    @property
    def peer_ae_title(self) -> str:
        """The AE title of the peer."""
        return self.called_ae_title if self.is_requestor else self.calling_ae_title

    @property
    def own_ae_title(self) -> str:
        """The AE title of this side."""
        return self.calling_ae_title if self.is_requestor else self.called_ae_title

    @property
    def own_operations_window(self) -> int:
        """How many operations of this side may be outstanding at once: one for an acceptor (see `accept_window`)."""
        return self.operations_window if self.is_requestor else 1

    def context_for(self, abstract_syntax: str, transfer_syntaxes: Iterable[str] | None = None) -> AcceptedContext:
        """The accepted context for a SOP class on which this side is SCU.

        With `transfer_syntaxes` it is in the first of them that was accepted. Raises `PresentationContextError`, which
        names the transfer syntaxes that were proposed and accepted.
        """
        usable = [
            context
            for context in self.contexts.values()
            if context.abstract_syntax == abstract_syntax
            and (context.requestor_is_scu if self.is_requestor else context.requestor_is_scp)
        ]
        if transfer_syntaxes is None:
            if usable:
                return usable[0]
            raise self._no_context(abstract_syntax, None)
        wanted = list(transfer_syntaxes)
        for syntax in wanted:
            for context in usable:
                if context.transfer_syntax == syntax:
                    return context
        raise self._no_context(abstract_syntax, wanted[0] if wanted else None)

    def context_to_report(self, abstract_syntax: str) -> AcceptedContext:
        """The accepted context for a SOP class on which this side reports events, as its SCP (PS3.7 10.1.1).

        A peer that accepts the context and does not answer the proposed role takes event reports as well. Raises
        `PresentationContextError`.
        """
        accepted = [each for each in self.contexts.values() if each.abstract_syntax == abstract_syntax]
        if not accepted:
            raise PresentationContextError(self._proposed_in_vain(abstract_syntax, None))
        as_scp = (each for each in accepted if (each.requestor_is_scp if self.is_requestor else each.requestor_is_scu))
        return next(as_scp, accepted[0])

    def proposes(self, abstract_syntax: str) -> bool:
        """Whether the requestor proposed a context for a SOP class."""
        return any(each.abstract_syntax == abstract_syntax for each in self.request.presentation_contexts)

    def accepts(self, abstract_syntax: str) -> bool:
        """Whether a SOP class was accepted on any context, in any role."""
        return any(context.abstract_syntax == abstract_syntax for context in self.contexts.values())

    def proposes_scp(self, sop_class_uid: str) -> bool:
        """Whether the requestor proposed to be SCP of a SOP class (PS3.7 D.3.3.4)."""
        roles = self.request.user_information.role_selections
        return any(role.sop_class_uid == sop_class_uid and role.scp_role for role in roles)

    def query_features(self, sop_class_uid: str) -> QueryFeatures:
        """What both sides agreed on for a query or retrieval class (PS3.4 C.5)."""
        return query_features(self.request.user_information, self.acceptance.user_information, sop_class_uid)

    def storage_features(self, sop_class_uid: str) -> StorageFeatures | None:
        """What the peer said of itself as SCP of a storage class (PS3.4 B.3.1); None if it said nothing."""
        peer = self.acceptance if self.is_requestor else self.request
        return storage_features(peer.user_information, sop_class_uid)

    def is_declared_storage(self, sop_class_uid: str) -> bool:
        """Whether the requestor declared an unknown SOP class to be a storage class (PS3.7 D.3.3.6)."""
        return sop_class_uid in declared_storage(self.request.user_information)

    def _no_context(self, abstract_syntax: str, wanted: str | None) -> PresentationContextError:
        if not self.is_requestor and self.accepts(abstract_syntax) and not self.proposes_scp(abstract_syntax):
            return PresentationContextError(f"the requestor proposed no SCP role for {name_of(abstract_syntax)}")
        if self.is_requestor and abstract_syntax in QUERY_RETRIEVE and self._is_refused(abstract_syntax):
            return PresentationContextError(self._no_service(abstract_syntax))
        return PresentationContextError(self._proposed_in_vain(abstract_syntax, wanted))

    def _proposed_in_vain(self, abstract_syntax: str, wanted: str | None) -> str:
        """What was proposed for a SOP class, and what of it was accepted."""
        proposed = [
            name_of(syntax)
            for context in self.request.presentation_contexts
            if context.abstract_syntax == abstract_syntax
            for syntax in context.transfer_syntaxes
        ]
        accepted = [
            name_of(context.transfer_syntax)
            for context in self.contexts.values()
            if context.abstract_syntax == abstract_syntax
        ]
        if proposed:
            detail = f"proposed: {', '.join(dict.fromkeys(proposed))}; accepted: {', '.join(accepted) or 'none'}"
        else:
            detail = "this SOP class was not proposed when the association was made"
        syntax = f" in {name_of(wanted)}" if wanted is not None else ""
        return f"no presentation context for {name_of(abstract_syntax)}{syntax}; {detail}"

    def _is_refused(self, abstract_syntax: str) -> bool:
        """Whether it was proposed, and accepted on no context."""
        return self.proposes(abstract_syntax) and not self.accepts(abstract_syntax)

    def _no_service(self, abstract_syntax: str) -> str:
        """What it means that a class of Query/Retrieve is refused."""
        service, classes = next((name, uids) for name, uids in _SERVICES.items() if abstract_syntax in uids)
        lacks = f"the peer {service}"
        if all(map(self._is_refused, classes)):
            return f"{lacks}: it accepted neither {' nor '.join(map(name_of, classes))}"
        return f"{lacks}, or not with this information model: it did not accept {name_of(abstract_syntax)}"


def agree(
    request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC, *, is_requestor: bool, maximum_length_limit: int
) -> Agreement:
    """The agreement that follows from a request and its acceptance.

    This side sends PDUs of the length that the peer announced, and none longer than `maximum_length_limit`.
    """
    peer = acceptance if is_requestor else request
    return Agreement(
        request,
        acceptance,
        accepted_contexts(request, acceptance),
        operations_window(request, acceptance),
        maximum_length_to_send(peer.user_information.maximum_length, maximum_length_limit),
        is_requestor,
    )
