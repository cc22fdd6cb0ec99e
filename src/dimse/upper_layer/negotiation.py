"""Negotiation: proposed x supported -> accepted (PS3.8 9.3.2, 9.3.3; PS3.7 D.3.3). Pure functions.

A received A-ASSOCIATE-RQ is judged by one function for each class of `deviations`: `oddities` are harmless,
`violations` are malformed, a `refusal` leaves no way to go on. For A-ASSOCIATE-AC they are `acceptance_oddities`,
`acceptance_violations` and `acceptance_refusal`. `normalize` removes the padding, once it is judged.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple

from dimse.errors import RemoteProtocolError
from dimse.records import record
from dimse.uids import APPLICATION_CONTEXT, STORAGE_SERVICE_CLASS, is_uid
from dimse.upper_layer.deviations import invalid
from dimse.upper_layer.extended import QueryFeatures, StorageFeatures, exceeds
from dimse.upper_layer.items import (
    AsynchronousOperationsWindow,
    ContextResult,
    ItemType,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserInformation,
)
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

MAXIMUM_CONTEXTS: Final = 128
"""Presentation Context IDs are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""

DEFAULT_MAXIMUM_LENGTH: Final = 16 * 1024
"""The maximum length to send to a peer that announced none."""

_MESSAGE_IDS: Final = 0xFFFF
"""Message IDs have 16 bits, so no more operations can be outstanding."""

MINIMUM_MAXIMUM_LENGTH: Final = 8
"""Six bytes of PDV header and the shortest even fragment."""

_PADDING = " \0"


@record()
class AcceptedContext:
    """An accepted presentation context, and the roles of the requestor on it."""

    presentation_context_id: int
    abstract_syntax: str
    transfer_syntax: str
    requestor_is_scu: bool = True
    requestor_is_scp: bool = False


class ProposedContext(NamedTuple):
    """A presentation context to propose. With `as_scp` the requestor proposes to be SCP on it, as C-GET requires.

    `features` are proposed for its SOP class (PS3.7 D.3.3.5): `QueryFeatures` for a query or a retrieval,
    `StorageFeatures` for a storage class. `general` declares it to be a storage class, which an acceptor that does not
    know it may then accept, and has the UIDs of its related general SOP classes, if any (PS3.7 D.3.3.6).

    >>> features = QueryFeatures(relational=True)
    >>> ProposedContext("1.2.840.10008.5.1.4.1.2.2.1", ["1.2.840.10008.1.2"], features=features).features
    <QueryFeatures relational>
    """

    abstract_syntax: str
    transfer_syntaxes: Sequence[str]
    as_scp: bool = False
    features: QueryFeatures | StorageFeatures | None = None
    general: Sequence[str] | None = None


def propose(
    contexts: Iterable[tuple[str, Sequence[str]] | ProposedContext],
) -> tuple[tuple[PresentationContextRQ, ...], tuple[RoleSelection, ...]]:
    """The numbered contexts of an A-ASSOCIATE-RQ, and the role selections that they need.

    Role selection applies to a whole SOP class, so SCU is proposed too if another of its contexts needs it
    (PS3.7 D.3.3.4).
    """
    given: list[Any] = list(contexts)
    if any(isinstance(each, str) or not 2 <= len(each) <= 5 or isinstance(each[1], str) for each in given):
        raise TypeError("contexts must be pairs of an abstract syntax and a sequence of transfer syntaxes")
    if not 1 <= len(given) <= MAXIMUM_CONTEXTS:
        raise ValueError(f"contexts must hold 1 to {MAXIMUM_CONTEXTS} presentation contexts, not {len(given)}")
    proposed = [ProposedContext(*each) for each in given]
    as_scu = {context.abstract_syntax for context in proposed if not context.as_scp}
    as_scp = dict.fromkeys(context.abstract_syntax for context in proposed if context.as_scp)
    return (
        tuple(
            PresentationContextRQ(2 * index + 1, context.abstract_syntax, tuple(context.transfer_syntaxes))
            for index, context in enumerate(proposed)
        ),
        tuple(RoleSelection(uid, uid in as_scu, True) for uid in as_scp),
    )


def propose_extended(
    contexts: Iterable[tuple[str, Sequence[str]] | ProposedContext],
) -> tuple[tuple[SOPClassExtendedNegotiation, ...], tuple[SOPClassCommonExtendedNegotiation, ...]]:
    """The extended negotiation that the contexts of an A-ASSOCIATE-RQ ask for, one item for each SOP class."""
    proposed = [ProposedContext(*each) for each in contexts]
    information: dict[str, bytes] = {}
    for uid, features in ((each.abstract_syntax, each.features) for each in proposed if each.features):
        encoded = features.encode() if isinstance(features, StorageFeatures) else features.encode(uid)
        if information.setdefault(uid, encoded) != encoded:
            raise ValueError(f"the contexts of {uid} must have the same features")
    general = {each.abstract_syntax: tuple(each.general) for each in proposed if each.general is not None}
    return (
        tuple(SOPClassExtendedNegotiation(uid, encoded) for uid, encoded in information.items()),
        tuple(
            SOPClassCommonExtendedNegotiation(uid, STORAGE_SERVICE_CLASS, classes) for uid, classes in general.items()
        ),
    )


# Acceptor


def oddities(request: A_ASSOCIATE_RQ) -> Iterator[str]:
    """The harmless deviations of a received `request`."""
    contexts, information = request.presentation_contexts, request.user_information
    if _are_padded(request, *(uid for each in contexts for uid in (each.abstract_syntax, *each.transfer_syntaxes))):
        yield "UIDs are padded"
    if any(len(set(context.transfer_syntaxes)) < len(context.transfer_syntaxes) for context in contexts):
        yield "a presentation context repeats a transfer syntax"
    proposed = {context.abstract_syntax.strip(_PADDING) for context in contexts}
    if any(role.sop_class_uid.strip(_PADDING) not in proposed for role in information.role_selections):
        yield "role selections name SOP classes that are not proposed"
    yield from _information_oddities(information)


def violations(request: A_ASSOCIATE_RQ) -> Iterator[A_ASSOCIATE_RJ | RemoteProtocolError]:
    """The response of a strict acceptor to each malformed part of a received `request`."""
    for title, reason in ((request.calling_ae_title, 3), (request.called_ae_title, 7)):
        if title != title.strip(_PADDING) or not (title.isascii() and title.isprintable()):
            yield A_ASSOCIATE_RJ(result=1, source=1, reason=reason)
    if not request.presentation_contexts or _disordered(request, ItemType.PRESENTATION_CONTEXT_RQ):
        yield invalid("A-ASSOCIATE-RQ items are missing or out of order")
    seen: set[int] = set()
    for context in request.presentation_contexts:
        context_id = context.presentation_context_id
        if context_id % 2 == 0 or context_id in seen:
            yield invalid(f"presentation context ID {context_id} is even, zero or repeated")
        seen.add(context_id)
        yield from _context_violations(context)


def _context_violations(context: PresentationContextRQ) -> Iterator[RemoteProtocolError]:
    context_id = context.presentation_context_id
    if not context.transfer_syntaxes:
        yield invalid(f"presentation context {context_id} has no transfer syntax")
    for uid in (context.abstract_syntax, *context.transfer_syntaxes):
        if not is_uid(uid.strip(_PADDING)):
            yield invalid(f"presentation context {context_id} has an invalid UID")


def _disordered(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, context_item: ItemType) -> bool:
    """Whether items of a received PDU are missing or out of order (PS3.8 9.3.2, 9.3.3). Unknown ones are ignored."""
    required = (ItemType.APPLICATION_CONTEXT, context_item, ItemType.USER_INFORMATION)
    contexts = [context_item] * len(pdu.presentation_contexts)
    expected = [ItemType.APPLICATION_CONTEXT, *contexts, ItemType.USER_INFORMATION]
    return bool(pdu.item_order) and [each for each in pdu.item_order if each in required] != expected


def _are_padded(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, *uids: str) -> bool:
    """Whether one of `uids`, or of the UIDs that both PDUs have, is padded."""
    information = pdu.user_information
    roles = (role.sop_class_uid for role in information.role_selections)
    all_uids = (pdu.application_context_name, information.implementation_class_uid or "", *roles, *uids)
    return any(uid != uid.strip(_PADDING) for uid in all_uids)


def _information_oddities(information: UserInformation) -> Iterator[str]:
    """The implementation only identifies the software; nothing depends on it (PS3.7 D.3.3.2)."""
    if not is_uid((information.implementation_class_uid or "").strip(_PADDING)):
        yield "the implementation class UID is missing or invalid"
    if len(information.implementation_version_name or "") > 16:
        yield "the implementation version name has more than 16 characters"


def normalize(request: A_ASSOCIATE_RQ) -> A_ASSOCIATE_RQ:
    """A received `request` without the padding that devices add to AE titles and UIDs."""
    return dataclasses.replace(
        request,
        called_ae_title=request.called_ae_title.strip(_PADDING),
        calling_ae_title=request.calling_ae_title.strip(_PADDING),
        application_context_name=request.application_context_name.strip(_PADDING),
        presentation_contexts=tuple(
            dataclasses.replace(
                context,
                abstract_syntax=context.abstract_syntax.strip(_PADDING),
                transfer_syntaxes=tuple(uid.strip(_PADDING) for uid in context.transfer_syntaxes),
            )
            for context in request.presentation_contexts
        ),
        user_information=dataclasses.replace(
            request.user_information,
            role_selections=tuple(
                dataclasses.replace(role, sop_class_uid=role.sop_class_uid.strip(_PADDING))
                for role in request.user_information.role_selections
            ),
            sop_class_common_extended=tuple(
                SOPClassCommonExtendedNegotiation(
                    item.sop_class_uid.strip(_PADDING),
                    item.service_class_uid.strip(_PADDING),
                    tuple(uid.strip(_PADDING) for uid in item.related_general_sop_class_uids),
                )
                for item in request.user_information.sop_class_common_extended
            ),
        ),
    )


def refusal(request: A_ASSOCIATE_RQ) -> A_ASSOCIATE_RJ | RemoteProtocolError | None:
    """Why not even a lenient acceptor can accept a normalized `request`; None if it can."""
    if request.application_context_name != APPLICATION_CONTEXT:
        return A_ASSOCIATE_RJ(result=1, source=1, reason=2)
    if not request.calling_ae_title:
        return A_ASSOCIATE_RJ(result=1, source=1, reason=3)
    if not request.called_ae_title:
        return A_ASSOCIATE_RJ(result=1, source=1, reason=7)
    if len(request.presentation_contexts) > MAXIMUM_CONTEXTS:
        count = len(request.presentation_contexts)
        return invalid(f"A-ASSOCIATE-RQ must have at most {MAXIMUM_CONTEXTS} presentation contexts, not {count}")
    return _no_room(request.user_information)


def _no_room(information: UserInformation) -> RemoteProtocolError | None:
    """Why the peer's maximum length is too small to send anything; None if it is not."""
    if 0 < (information.maximum_length or 0) < MINIMUM_MAXIMUM_LENGTH:
        minimum, announced = MINIMUM_MAXIMUM_LENGTH, information.maximum_length
        return invalid(
            f"the maximum length must be 0 or at least {minimum}, not {announced}: there is no room for data"
        )
    return None


def accept_contexts(
    request: A_ASSOCIATE_RQ,
    supported: Mapping[str, Sequence[str] | None],
    prefer: Sequence[str] = (),
) -> tuple[PresentationContextAC, ...]:
    """The result of every proposed context, once each (PS3.8 7.1.1.14, 9.3.3.2).

    `supported` maps an abstract syntax to the transfer syntaxes in which it is accepted, best first. None accepts any;
    then the requestor's order decides. Those to `prefer` come before either order. A context with an invalid ID is
    rejected; of contexts with the same ID, the first wins.
    """
    results: list[PresentationContextAC] = []
    seen: set[int] = set()
    for context in request.presentation_contexts:
        context_id = context.presentation_context_id
        if context_id in seen:
            continue
        seen.add(context_id)
        results.append(_context_result(context, supported, prefer))
    return tuple(results)


def _context_result(
    context: PresentationContextRQ, supported: Mapping[str, Sequence[str] | None], prefer: Sequence[str]
) -> PresentationContextAC:
    proposed = [uid for uid in context.transfer_syntaxes if is_uid(uid)]
    # The transfer syntax of a rejected context has no meaning, but the sub-item must be present.
    placeholder = proposed[0] if proposed else ""
    context_id = context.presentation_context_id
    if context_id % 2 == 0 or not is_uid(context.abstract_syntax):
        return PresentationContextAC(context_id, ContextResult.NO_REASON, placeholder)
    if context.abstract_syntax not in supported:
        return PresentationContextAC(context_id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, placeholder)
    accepted = supported[context.abstract_syntax]
    in_order = proposed if accepted is None else [uid for uid in accepted if uid in proposed]
    chosen = next((uid for uid in (*prefer, *in_order) if uid in in_order), None)
    if chosen is None:
        return PresentationContextAC(context_id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, placeholder)
    return PresentationContextAC(context_id, ContextResult.ACCEPTANCE, chosen)


def accept_roles(
    request: A_ASSOCIATE_RQ, *, scu_classes: Collection[str], scp_classes: Collection[str]
) -> tuple[RoleSelection, ...]:
    """The accepted role selections: `scu_classes` and `scp_classes` as far as the requestor proposed them.

    Each class is answered once. Those without an accepted context are not answered at all, so that the answer is
    bounded, however many the requestor sent.
    """
    return tuple(
        RoleSelection(
            role.sop_class_uid,
            role.scu_role and role.sop_class_uid in scu_classes,
            role.scp_role and role.sop_class_uid in scp_classes,
        )
        for role in {role.sop_class_uid: role for role in request.user_information.role_selections}.values()
        if role.sop_class_uid in scu_classes or role.sop_class_uid in scp_classes
    )


def accept_window(request: A_ASSOCIATE_RQ, most: int) -> AsynchronousOperationsWindow | None:
    """The accepted window: up to `most` operations invoked by the requestor, and one performed.

    None if the requestor proposed no window, which means 1 and 1 (PS3.7 D.3.3.3.2).
    """
    proposed = request.user_information.asynchronous_operations_window
    if proposed is None:
        return None
    return AsynchronousOperationsWindow(min(proposed.maximum_number_operations_invoked or most, most), 1)


# Requestor, and both once there is an acceptance


def acceptance_oddities(acceptance: A_ASSOCIATE_AC, request: A_ASSOCIATE_RQ) -> Iterator[str]:
    """The harmless deviations of a received `acceptance` of our `request`."""
    if _are_padded(acceptance, *(context.transfer_syntax for context in acceptance.presentation_contexts)):
        yield "UIDs are padded"
    if any(context.is_repeated and context.transfer_syntax for context in acceptance.presentation_contexts):
        yield "an accepted presentation context repeats its transfer syntax"
    answered = {context.presentation_context_id for context in acceptance.presentation_contexts}
    if any(context.presentation_context_id not in answered for context in request.presentation_contexts):
        yield "presentation contexts without an answer count as rejected"
    yield from _excesses(request, acceptance)
    titles = acceptance.called_ae_title.strip(_PADDING), acceptance.calling_ae_title.strip(_PADDING)
    if titles != (request.called_ae_title, request.calling_ae_title):
        yield "the AE titles are not those of the request"  # PS3.8 Table 9-17: not to be tested
    yield from _identity_oddities(acceptance, request)
    yield from _information_oddities(acceptance.user_information)


def _identity_oddities(acceptance: A_ASSOCIATE_AC, request: A_ASSOCIATE_RQ) -> Iterator[str]:
    """An acceptor that knows no user identities ignores them; then the requestor decides (PS3.7 D.3.3.7)."""
    identity = request.user_information.user_identity
    is_requested = identity is not None and identity.positive_response_requested
    is_answered = acceptance.user_information.user_identity_response is not None
    if is_requested and not is_answered:
        yield "the user identity is not confirmed: the peer may not have looked at it"
    if is_answered and not is_requested:
        yield "a response to a user identity was not requested; ignored"


def _excesses(request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> Iterator[str]:
    """The parts of an acceptance that go beyond the request, and are ignored."""
    proposed = {role.sop_class_uid: role for role in request.user_information.role_selections}
    for accepted in acceptance.user_information.role_selections:
        if _exceeds_role(proposed.get(accepted.sop_class_uid.strip(_PADDING)), accepted):
            yield "roles that were not proposed are accepted; ignored"
    if _exceeds_window(request, acceptance):
        yield "the operations window exceeds the proposed one"
    if exceeds(request.user_information, acceptance.user_information):
        yield "extended negotiation that was not proposed is answered; ignored"


def _exceeds_role(proposed: RoleSelection | None, accepted: RoleSelection) -> bool:
    """Whether the acceptor accepted a role that was not proposed (PS3.7 D.3.3.4)."""
    if proposed is None:
        return accepted.scu_role or accepted.scp_role
    return accepted.scu_role > proposed.scu_role or accepted.scp_role > proposed.scp_role


def _exceeds_window(request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> bool:
    """Whether the acceptor enlarged the window, which it may only reduce (PS3.7 D.3.3.3.2); 0 means no limit."""
    window = acceptance.user_information.asynchronous_operations_window
    proposed = request.user_information.asynchronous_operations_window or AsynchronousOperationsWindow()
    if window is None:
        return False
    accepted = (window.maximum_number_operations_invoked, window.maximum_number_operations_performed)
    limits = (proposed.maximum_number_operations_invoked, proposed.maximum_number_operations_performed)
    return any(limit and not 0 < count <= limit for count, limit in zip(accepted, limits, strict=True))


def acceptance_violations(acceptance: A_ASSOCIATE_AC, request: A_ASSOCIATE_RQ) -> Iterator[RemoteProtocolError]:
    """The error for each malformed part of a received `acceptance` of our `request`."""
    proposed = {context.presentation_context_id: context for context in request.presentation_contexts}
    seen: set[int] = set()
    for context in acceptance.presentation_contexts:
        context_id = context.presentation_context_id
        if context_id not in proposed or context_id in seen:
            yield invalid(f"presentation context {context_id} was not proposed, or has two results")
        elif (
            context.result == ContextResult.ACCEPTANCE
            and context.transfer_syntax.strip(_PADDING) not in proposed[context_id].transfer_syntaxes
        ):
            yield invalid(f"presentation context {context_id} is accepted with a transfer syntax that was not proposed")
        seen.add(context_id)
    if acceptance.application_context_name.strip(_PADDING) != APPLICATION_CONTEXT:
        yield invalid("A-ASSOCIATE-AC has a different application context name")
    if _disordered(acceptance, ItemType.PRESENTATION_CONTEXT_AC):
        yield invalid("A-ASSOCIATE-AC items are missing or out of order")


def acceptance_refusal(acceptance: A_ASSOCIATE_AC) -> RemoteProtocolError | None:
    """Why not even a lenient requestor can use `acceptance`; None if it can."""
    return _no_room(acceptance.user_information)


def accepted_contexts(request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> dict[int, AcceptedContext]:
    """The usable contexts by ID. A context accepted with a syntax that was not proposed is not usable."""
    # Of contexts with the same ID, the first wins.
    proposed = {context.presentation_context_id: context for context in reversed(request.presentation_contexts)}
    proposed_roles = {role.sop_class_uid: role for role in request.user_information.role_selections}
    accepted_roles = {role.sop_class_uid.strip(_PADDING): role for role in acceptance.user_information.role_selections}
    accepted: dict[int, AcceptedContext] = {}
    for context in acceptance.presentation_contexts:
        context_id, syntax = context.presentation_context_id, context.transfer_syntax.strip(_PADDING)
        proposal = proposed.get(context_id)
        if proposal is None or context_id in accepted or context.result != ContextResult.ACCEPTANCE:
            continue
        if syntax in proposal.transfer_syntaxes:
            uid = proposal.abstract_syntax
            is_scu, is_scp = _roles(proposed_roles.get(uid), accepted_roles.get(uid))
            accepted[context_id] = AcceptedContext(context_id, uid, syntax, is_scu, is_scp)
    return accepted


def _roles(proposed: RoleSelection | None, accepted: RoleSelection | None) -> tuple[bool, bool]:
    """Whether the requestor is SCU, and whether it is SCP. The acceptor may only reduce the roles (PS3.7 D.3.3.4)."""
    if proposed is None or accepted is None:
        return True, False
    return proposed.scu_role and accepted.scu_role, proposed.scp_role and accepted.scp_role


def operations_window(request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> int:
    """How many operations the requestor may have outstanding: at least 1."""
    proposed = request.user_information.asynchronous_operations_window
    accepted = acceptance.user_information.asynchronous_operations_window
    if proposed is None or accepted is None:
        return 1
    # The acceptor may only reduce the window; 0 means no limit (PS3.7 D.3.3.3.2), which the Message IDs then set.
    most = proposed.maximum_number_operations_invoked or _MESSAGE_IDS
    return min(accepted.maximum_number_operations_invoked or most, most)


def maximum_length_to_send(announced: int | None, own_limit: int) -> int:
    """The longest P-DATA-TF to send: the peer's maximum, or our own limit if that is smaller."""
    if announced is None:
        return min(DEFAULT_MAXIMUM_LENGTH, own_limit)
    return own_limit if announced == 0 else min(announced, own_limit)
