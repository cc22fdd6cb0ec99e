"""What two sides agree on: proposed x supported -> accepted (PS3.8 9.3.2, 9.3.3; PS3.7 D.3.3). Pure functions.

What a peer does against the standard has a function for each class of `deviations`: `oddities` are harmless,
`violations` are malformed, `refusal` is why nobody can go on; the same with `answer_` for A-ASSOCIATE-AC.
`normalize` is what the harmless and the malformed are taken to mean.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from dimse.errors import RemoteProtocolError
from dimse.uids import APPLICATION_CONTEXT, is_uid
from dimse.upper_layer.deviations import invalid
from dimse.upper_layer.items import (
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    UserInformation,
)
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

MAXIMUM_CONTEXTS: Final = 128
"""Presentation context IDs are the odd numbers from 1 to 255 (PS3.8 9.3.2.2)."""

DEFAULT_MAXIMUM_LENGTH: Final = 16 * 1024
"""What to send to a peer that announced no maximum length."""

_MESSAGE_IDS: Final = 0xFFFF

MINIMUM_MAXIMUM_LENGTH: Final = 8
"""Six bytes of PDV header and the shortest even fragment."""

_PADDING = " \0"


@dataclass(frozen=True, slots=True)
class AcceptedContext:
    """A presentation context that both sides agreed on, and the roles on it."""

    presentation_context_id: int
    abstract_syntax: str
    transfer_syntax: str
    requestor_is_scu: bool = True
    requestor_is_scp: bool = False


class ProposedContext(NamedTuple):
    """A presentation context to propose. With `as_scp` the requestor wants to be SCP on it, as C-GET needs."""

    abstract_syntax: str
    transfer_syntaxes: Sequence[str]
    as_scp: bool = False


def propose(
    contexts: Iterable[tuple[str, Sequence[str]] | ProposedContext],
) -> tuple[tuple[PresentationContextRQ, ...], tuple[RoleSelection, ...]]:
    """The numbered contexts of an A-ASSOCIATE-RQ, 128 at most, and the role selections that go with them.

    A role selection is of a SOP class: it proposes SCU too where another context of the class needs that
    (PS3.7 D.3.3.4).
    """
    given: list[Any] = list(contexts)
    if any(isinstance(each, str) or len(each) not in (2, 3) or isinstance(each[1], str) for each in given):
        raise TypeError("contexts are pairs of an abstract syntax and a sequence of transfer syntaxes")
    if not 1 <= len(given) <= MAXIMUM_CONTEXTS:
        raise ValueError(f"an association has 1 to {MAXIMUM_CONTEXTS} presentation contexts, not {len(given)}")
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


# The acceptor's side


def oddities(request: A_ASSOCIATE_RQ) -> Iterator[str]:
    """What is harmless in a received `request`."""
    contexts, information = request.presentation_contexts, request.user_information
    if _are_padded(request, *(uid for each in contexts for uid in (each.abstract_syntax, *each.transfer_syntaxes))):
        yield "UIDs are padded"
    if any(len(set(context.transfer_syntaxes)) < len(context.transfer_syntaxes) for context in contexts):
        yield "a presentation context has a transfer syntax twice"
    proposed = {context.abstract_syntax.strip(_PADDING) for context in contexts}
    if any(role.sop_class_uid.strip(_PADDING) not in proposed for role in information.role_selections):
        yield "roles are selected for SOP classes that are not proposed"
    yield from _information_oddities(information)


def violations(request: A_ASSOCIATE_RQ) -> Iterator[A_ASSOCIATE_RJ | RemoteProtocolError]:
    """What is malformed in a received `request`, each with the answer that a strict acceptor gives to it."""
    for title, reason in ((request.calling_ae_title, 3), (request.called_ae_title, 7)):
        if title != title.strip(_PADDING) or not (title.isascii() and title.isprintable()):
            yield A_ASSOCIATE_RJ(result=1, source=1, reason=reason)
    if not request.presentation_contexts or _disordered(request, 0x20):
        yield invalid("A-ASSOCIATE-RQ items are missing or out of order")
    seen: set[int] = set()
    for context in request.presentation_contexts:
        context_id = context.presentation_context_id
        if context_id % 2 == 0 or context_id in seen:
            yield invalid(f"presentation context ID {context_id} is even, zero or repeated")
        seen.add(context_id)
        if not context.transfer_syntaxes:
            yield invalid(f"presentation context {context_id} has no transfer syntax")
        for uid in (context.abstract_syntax, *context.transfer_syntaxes):
            if not is_uid(uid.strip(_PADDING)):
                yield invalid(f"presentation context {context_id} has an invalid UID")


def _disordered(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, context_item: int) -> bool:
    """Whether a received PDU's items are not those of PS3.8 9.3.2 or 9.3.3, in order; unknown ones don't count."""
    known = [kind for kind in pdu.item_order if kind in (0x10, context_item, 0x50)]
    contexts = len(pdu.presentation_contexts)
    return bool(pdu.item_order) and known != [0x10, *([context_item] * contexts), 0x50]


def _are_padded(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, *uids: str) -> bool:
    """Whether one of these, or of the UIDs that both PDUs have, is longer than it has to be."""
    information = pdu.user_information
    roles = (role.sop_class_uid for role in information.role_selections)
    all_uids = (pdu.application_context_name, information.implementation_class_uid or "", *roles, *uids)
    return any(uid != uid.strip(_PADDING) for uid in all_uids)


def _information_oddities(information: UserInformation) -> Iterator[str]:
    """It says which software the peer is, and nothing depends on it (PS3.7 D.3.3.2)."""
    if not is_uid((information.implementation_class_uid or "").strip(_PADDING)):
        yield "the implementation class UID is missing, or no UID"
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
        ),
    )


def refusal(request: A_ASSOCIATE_RQ) -> A_ASSOCIATE_RJ | RemoteProtocolError | None:
    """Why a normalized `request` cannot be served by anyone, however lenient; None if it can."""
    if request.application_context_name != APPLICATION_CONTEXT:
        return A_ASSOCIATE_RJ(result=1, source=1, reason=2)
    if not request.calling_ae_title:
        return A_ASSOCIATE_RJ(result=1, source=1, reason=3)
    if not request.called_ae_title:
        return A_ASSOCIATE_RJ(result=1, source=1, reason=7)
    if len(request.presentation_contexts) > MAXIMUM_CONTEXTS:
        return invalid(f"{len(request.presentation_contexts)} presentation contexts; there are {MAXIMUM_CONTEXTS} IDs")
    return _no_room(request.user_information)


def _no_room(information: UserInformation) -> RemoteProtocolError | None:
    if 0 < (information.maximum_length or 0) < MINIMUM_MAXIMUM_LENGTH:
        return invalid(f"a maximum length of {information.maximum_length} leaves no room for data")
    return None


def accept_contexts(
    request: A_ASSOCIATE_RQ,
    supported: Mapping[str, Sequence[str] | None],
) -> tuple[PresentationContextAC, ...]:
    """Answer every proposed context, once each (PS3.8 7.1.1.14, 9.3.3.2).

    `supported` maps an abstract syntax to the transfer syntaxes it is taken in, best first, or None for
    any. With None the proposer's own order decides. A context with an invalid or repeated ID is refused;
    the first of a pair lives.
    """
    answers: list[PresentationContextAC] = []
    seen: set[int] = set()
    for context in request.presentation_contexts:
        context_id = context.presentation_context_id
        if context_id in seen:
            continue
        seen.add(context_id)
        answers.append(_answer(context, supported))
    return tuple(answers)


def _answer(context: PresentationContextRQ, supported: Mapping[str, Sequence[str] | None]) -> PresentationContextAC:
    proposed = [uid for uid in context.transfer_syntaxes if is_uid(uid)]
    # The transfer syntax of a refused context means nothing, but the sub-item must be there.
    placeholder = proposed[0] if proposed else ""
    context_id = context.presentation_context_id
    if context_id % 2 == 0 or not is_uid(context.abstract_syntax):
        return PresentationContextAC(context_id, ContextResult.NO_REASON, placeholder)
    if context.abstract_syntax not in supported:
        return PresentationContextAC(context_id, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, placeholder)
    preferred = supported[context.abstract_syntax]
    chosen = next((uid for uid in (proposed if preferred is None else preferred) if uid in proposed), None)
    if chosen is None:
        return PresentationContextAC(context_id, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, placeholder)
    return PresentationContextAC(context_id, ContextResult.ACCEPTANCE, chosen)


def accept_roles(
    request: A_ASSOCIATE_RQ, *, scu_classes: Collection[str], scp_classes: Collection[str]
) -> tuple[RoleSelection, ...]:
    """Answer the role selections: what the requestor may be of which class, and nothing that was not asked for."""
    return tuple(
        RoleSelection(
            role.sop_class_uid,
            role.scu_role and role.sop_class_uid in scu_classes,
            role.scp_role and role.sop_class_uid in scp_classes,
        )
        for role in request.user_information.role_selections
    )


def accept_window(request: A_ASSOCIATE_RQ, most: int) -> AsynchronousOperationsWindow | None:
    """Answer the asynchronous operations window: `most` operations of the requestor's, and none of ours but one.

    None where none was proposed, which is the same as 1 and 1 (PS3.7 D.3.3.3.2).
    """
    proposed = request.user_information.asynchronous_operations_window
    if proposed is None:
        return None
    return AsynchronousOperationsWindow(min(proposed.maximum_number_operations_invoked or most, most), 1)


# Both sides, once there is an answer


def acceptance_oddities(answer: A_ASSOCIATE_AC, request: A_ASSOCIATE_RQ) -> Iterator[str]:
    """What is harmless in a received `answer` to our `request`."""
    if _are_padded(answer, *(context.transfer_syntax for context in answer.presentation_contexts)):
        yield "UIDs are padded"
    if any(context.is_repeated and context.transfer_syntax for context in answer.presentation_contexts):
        yield "a presentation context is accepted with its transfer syntax twice"
    answered = {context.presentation_context_id for context in answer.presentation_contexts}
    if any(context.presentation_context_id not in answered for context in request.presentation_contexts):
        yield "presentation contexts without an answer count as rejected"
    asked = {role.sop_class_uid: role for role in request.user_information.role_selections}
    for given in answer.user_information.role_selections:
        role = asked.get(given.sop_class_uid.strip(_PADDING), RoleSelection("", scu_role=False, scp_role=False))
        if given.scu_role > role.scu_role or given.scp_role > role.scp_role:
            yield "roles are granted that were not asked for, and ignored"
    if _grants_too_much(request, answer):
        yield "the operations window exceeds the proposed one"
    titles = answer.called_ae_title.strip(_PADDING), answer.calling_ae_title.strip(_PADDING)
    if titles != (request.called_ae_title, request.calling_ae_title):
        yield "the AE titles are not those of the request"  # PS3.8 Table 9-17: not to be tested
    yield from _information_oddities(answer.user_information)


def _grants_too_much(request: A_ASSOCIATE_RQ, answer: A_ASSOCIATE_AC) -> bool:
    """Whether the acceptor did more than reduce the window (PS3.7 D.3.3.3.2); 0 is no limit."""
    window = answer.user_information.asynchronous_operations_window
    proposed = request.user_information.asynchronous_operations_window or AsynchronousOperationsWindow()
    if window is None:
        return False
    granted = window.maximum_number_operations_invoked, window.maximum_number_operations_performed
    most = proposed.maximum_number_operations_invoked, proposed.maximum_number_operations_performed
    return any(limit and not 0 < count <= limit for count, limit in zip(granted, most, strict=True))


def acceptance_violations(answer: A_ASSOCIATE_AC, request: A_ASSOCIATE_RQ) -> Iterator[RemoteProtocolError]:
    """What is malformed in a received `answer` to our `request`."""
    proposed = {context.presentation_context_id: context for context in request.presentation_contexts}
    seen: set[int] = set()
    for context in answer.presentation_contexts:
        context_id = context.presentation_context_id
        if context_id not in proposed or context_id in seen:
            yield invalid(f"presentation context {context_id} is answered but was not proposed, or is answered twice")
        elif (
            context.result == ContextResult.ACCEPTANCE
            and context.transfer_syntax.strip(_PADDING) not in proposed[context_id].transfer_syntaxes
        ):
            yield invalid(f"presentation context {context_id} is accepted with no transfer syntax that was proposed")
        seen.add(context_id)
    if answer.application_context_name.strip(_PADDING) != APPLICATION_CONTEXT:
        yield invalid("A-ASSOCIATE-AC has another application context name")
    if _disordered(answer, 0x21):
        yield invalid("A-ASSOCIATE-AC items are missing or out of order")


def acceptance_refusal(answer: A_ASSOCIATE_AC) -> RemoteProtocolError | None:
    """Why no requestor can use `answer`, however lenient; None if it can."""
    return _no_room(answer.user_information)


def accepted_contexts(request: A_ASSOCIATE_RQ, answer: A_ASSOCIATE_AC) -> dict[int, AcceptedContext]:
    """The usable contexts by ID. One accepted with a syntax that was not proposed is not usable."""
    # Of a pair with the same ID the first one lives.
    proposed = {context.presentation_context_id: context for context in reversed(request.presentation_contexts)}
    requested_roles = {role.sop_class_uid: role for role in request.user_information.role_selections}
    answered_roles = {role.sop_class_uid.strip(_PADDING): role for role in answer.user_information.role_selections}
    accepted: dict[int, AcceptedContext] = {}
    for context in answer.presentation_contexts:
        context_id, syntax = context.presentation_context_id, context.transfer_syntax.strip(_PADDING)
        offer = proposed.get(context_id)
        if offer is None or context_id in accepted or context.result != ContextResult.ACCEPTANCE:
            continue
        if syntax not in offer.transfer_syntaxes:
            continue
        uid = offer.abstract_syntax
        asked, given = requested_roles.get(uid), answered_roles.get(uid)
        scu, scp = True, False
        if asked is not None and given is not None:
            # The acceptor may only reduce (PS3.7 D.3.3.4).
            scu, scp = asked.scu_role and given.scu_role, asked.scp_role and given.scp_role
        accepted[context_id] = AcceptedContext(context_id, uid, syntax, scu, scp)
    return accepted


def operations_window(request: A_ASSOCIATE_RQ, answer: A_ASSOCIATE_AC) -> int:
    """How many operations of the requestor's may be outstanding at once: what was agreed on, at least 1."""
    proposed = request.user_information.asynchronous_operations_window
    answered = answer.user_information.asynchronous_operations_window
    if proposed is None or answered is None:
        return 1
    # The acceptor may only reduce; 0 is no limit (PS3.7 D.3.3.3.2), of which there is no more than there are IDs.
    most = proposed.maximum_number_operations_invoked or _MESSAGE_IDS
    return min(answered.maximum_number_operations_invoked or most, most)


def maximum_length_to_send(announced: int | None, own_limit: int) -> int:
    """The P-DATA-TF PDU-length to send at most: the peer's maximum, or ours where it has none or a larger one."""
    if announced is None:
        return min(DEFAULT_MAXIMUM_LENGTH, own_limit)
    return own_limit if announced == 0 else min(announced, own_limit)
