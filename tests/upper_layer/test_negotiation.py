"""Negotiation: what two well-behaved sides agree on, and each thing that devices get wrong, strict and lenient."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse.errors import RemoteProtocolError
from dimse.uids import VERIFICATION, is_uid
from dimse.upper_layer.items import (
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
    UserInformation,
    encode_item,
)
from dimse.upper_layer.negotiation import (
    AcceptedContext,
    ProposedContext,
    accept_contexts,
    accept_roles,
    accept_window,
    acceptance_oddities,
    acceptance_refusal,
    acceptance_violations,
    accepted_contexts,
    maximum_length_to_send,
    normalize,
    oddities,
    operations_window,
    propose,
    refusal,
    violations,
)
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

IMPLICIT, EXPLICIT, JPEG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.4.50"
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
INFORMATION = UserInformation(maximum_length=16384, implementation_class_uid="1.2", implementation_version_name="X")
ABORT = (2, 6)  # A-ABORT source and reason
Answer = A_ASSOCIATE_RJ | RemoteProtocolError | None
Context = PresentationContextRQ


def request(*contexts: Context, called: str = "B", calling: str = "A", **information: object) -> A_ASSOCIATE_RQ:
    return A_ASSOCIATE_RQ(
        called,
        calling,
        dataclasses.replace(INFORMATION, **information),  # type: ignore[arg-type]
        presentation_contexts=contexts or (Context(1, CT, (EXPLICIT, IMPLICIT)),),
    )


def answer(*contexts: PresentationContextAC, **information: object) -> A_ASSOCIATE_AC:
    return A_ASSOCIATE_AC(
        "B",
        "A",
        dataclasses.replace(INFORMATION, **information),  # type: ignore[arg-type]
        presentation_contexts=contexts or (PresentationContextAC(1, 0, EXPLICIT),),
    )


def received(pdu: A_ASSOCIATE_RQ) -> A_ASSOCIATE_RQ:
    return A_ASSOCIATE_RQ.decode(pdu.encode()[6:])


def with_items(pdu: A_ASSOCIATE_RQ | A_ASSOCIATE_AC, order: Iterable[int | bytes]) -> bytes:
    """The body of `pdu` with its items in another order, more than once or missing; bytes are put in as they are."""
    body = pdu.encode()[6:]
    items: dict[int, bytes] = {}
    position = 68
    while position < len(body):
        end = position + 4 + int.from_bytes(body[position + 2 : position + 4], "big")
        items[body[position]] = body[position:end]
        position = end
    return body[:68] + b"".join(items[item] if isinstance(item, int) else item for item in order)


def earned(objection: Answer) -> tuple[int, ...] | None:
    """The numbers of an answer: (result, source, reason) of a rejection, (source, reason) of an abort."""
    if objection is None:
        return None
    if isinstance(objection, A_ASSOCIATE_RJ):
        return (objection.result, objection.source, objection.reason)
    return (objection.source, objection.reason)


def strict(pdu: A_ASSOCIATE_RQ) -> set[tuple[int, ...] | None]:
    return {earned(objection) for objection in violations(pdu)}


def lenient(pdu: A_ASSOCIATE_RQ) -> tuple[int, ...] | None:
    return earned(refusal(normalize(pdu)))


def results(pdu: A_ASSOCIATE_RQ) -> list[tuple[int, int]]:
    contexts = accept_contexts(normalize(pdu), {CT: None, MR: None})
    return [(context.presentation_context_id, context.result) for context in contexts]


def test_what_we_send_has_no_violations() -> None:
    ours = request(*propose([(CT, (EXPLICIT, IMPLICIT)), (MR, (IMPLICIT,))])[0])
    assert strict(ours) == strict(received(ours)) == set()
    assert not list(oddities(received(ours)))
    assert lenient(received(ours)) is None
    theirs = A_ASSOCIATE_AC("B", "A", INFORMATION, presentation_contexts=accept_contexts(ours, {CT: None}))
    theirs = A_ASSOCIATE_AC.decode(theirs.encode()[6:])
    assert not list(acceptance_violations(theirs, ours))
    assert not list(acceptance_oddities(theirs, ours))
    assert acceptance_refusal(theirs) is None


def test_propose() -> None:
    contexts, _ = propose([(CT, [EXPLICIT])] * 128)
    assert [context.presentation_context_id for context in contexts] == list(range(1, 256, 2))
    assert propose([(CT, [EXPLICIT])]) == ((Context(1, CT, (EXPLICIT,)),), ())
    for count in (0, 129):
        with pytest.raises(ValueError, match=f"not {count}"):
            propose([(CT, [EXPLICIT])] * count)


def test_propose_to_be_scp() -> None:
    contexts, roles = propose(
        [ProposedContext(CT, [EXPLICIT], as_scp=True), (CT, [IMPLICIT]), ProposedContext(MR, [EXPLICIT], as_scp=True)]
    )
    assert [context.abstract_syntax for context in contexts] == [CT, CT, MR]
    assert roles == (RoleSelection(CT, scu_role=True, scp_role=True), RoleSelection(MR, scu_role=False, scp_role=True))


# What devices get wrong, row by row


@pytest.mark.parametrize("title", ["A\0\0\0", "A\0 \0", " A", "\0 A"])
def test_padded_ae_titles(title: str) -> None:
    assert strict(received(request(calling=title))) == {(1, 1, 3)}
    assert strict(received(request(called=title))) == {(1, 1, 7)}
    assert lenient(received(request(calling=title, called=title))) is None
    normal = normalize(received(request(calling=title, called=title)))
    assert (normal.calling_ae_title, normal.called_ae_title) == ("A", "A")


@pytest.mark.parametrize("title", ["Röntgen", "A\nB", "A\x7f"])
def test_ae_titles_of_other_characters(title: str) -> None:
    assert strict(received(request(calling=title))) == {(1, 1, 3)}
    assert strict(received(request(called=title))) == {(1, 1, 7)}
    assert lenient(received(request(calling=title))) is None
    assert normalize(received(request(calling=title))).calling_ae_title == title


def test_trailing_spaces_of_ae_titles_do_not_count() -> None:
    assert strict(received(request(calling="A   ", called="B "))) == set()


@pytest.mark.parametrize("blank", ["", " " * 16, "\0" * 16, " \0 "])
def test_blank_ae_titles(blank: str) -> None:
    assert lenient(received(request(calling=blank))) == (1, 1, 3)
    assert lenient(received(request(called=blank))) == (1, 1, 7)


@pytest.mark.parametrize("padding", ["\0", " ", " \0"])
def test_padded_uids(padding: str) -> None:
    padded = received(request(Context(1, CT + padding, (EXPLICIT + padding,))))
    assert strict(padded) == set()
    assert list(oddities(padded)) == ["UIDs are padded"]
    assert results(padded) == [(1, 0)]
    assert accept_contexts(normalize(padded), {CT: None})[0].transfer_syntax == EXPLICIT
    role = RoleSelection(CT + padding, True, True)
    assert accept_roles(normalize(request(role_selections=(role,))), scu_classes=[CT], scp_classes=[CT]) == (
        RoleSelection(CT, True, True),
    )
    item = SOPClassCommonExtendedNegotiation(CT + padding, MR + padding, (CT + padding,))
    assert normalize(request(sop_class_common_extended=(item,))).user_information.sop_class_common_extended == (
        SOPClassCommonExtendedNegotiation(CT, MR, (CT,)),
    )
    name = dataclasses.replace(request(), application_context_name="1.2.840.10008.3.1.1.1" + padding)
    assert lenient(name) is None
    assert list(oddities(request(implementation_class_uid="1.2" + padding))) == ["UIDs are padded"]
    assert list(acceptance_oddities(answer(PresentationContextAC(1, 0, EXPLICIT + padding)), request())) == [
        "UIDs are padded"
    ]


@pytest.mark.parametrize("uid", ["1." * 32 + "1", "1.2.three", "1.02", "", "1..2"])
def test_an_invalid_uid_costs_its_context_only(uid: str) -> None:
    contexts = (Context(1, uid, (EXPLICIT,)), Context(3, CT, (uid,)), Context(5, CT, (uid, EXPLICIT)))
    pdu = received(request(*contexts, Context(7, MR, (EXPLICIT,))))
    assert strict(pdu) == {ABORT}
    assert lenient(pdu) is None
    assert results(pdu) == [
        (1, ContextResult.NO_REASON),
        (3, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED),
        (5, ContextResult.ACCEPTANCE),
        (7, ContextResult.ACCEPTANCE),
    ]


@pytest.mark.parametrize("text", ["1.2.three", "1.2 ", " 1.2", "1.2\n"])
def test_is_uid(text: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not is_uid(text)


def test_unknown_items_are_no_violation() -> None:
    unknown = encode_item(0x33, b"what is this")
    pdu = A_ASSOCIATE_RQ.decode(with_items(request(), [unknown, 0x10, unknown, 0x20, 0x50, unknown]))
    assert strict(pdu) == set()
    assert pdu == request()
    theirs = A_ASSOCIATE_AC.decode(with_items(answer(), [0x10, unknown, 0x21, 0x50]))
    assert not list(acceptance_violations(theirs, request()))


@pytest.mark.parametrize("order", [[0x50, 0x20, 0x10], [0x20, 0x10, 0x50], [0x10, 0x20], [0x10, 0x20, 0x50, 0x50]])
def test_items_out_of_order_or_missing(order: list[int]) -> None:
    pdu = A_ASSOCIATE_RQ.decode(with_items(request(), order))
    assert strict(pdu) == {ABORT}
    assert lenient(pdu) is None
    assert results(pdu) == [(1, 0)]
    theirs = A_ASSOCIATE_AC.decode(with_items(answer(), [kind + (kind == 0x20) for kind in order]))
    assert {earned(objection) for objection in acceptance_violations(theirs, request())} == {ABORT}
    assert accepted_contexts(request(), theirs)


def test_no_presentation_context_at_all() -> None:
    assert strict(A_ASSOCIATE_RQ.decode(with_items(request(), [0x10, 0x50]))) == {ABORT}


def test_a_context_without_a_transfer_syntax() -> None:
    pdu = received(request(Context(1, CT, ()), Context(3, CT, (EXPLICIT,))))
    assert strict(pdu) == {ABORT}
    assert results(pdu) == [(1, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED), (3, 0)]


def test_more_protocol_versions() -> None:
    pdu = dataclasses.replace(request(), protocol_version=3)
    assert strict(pdu) == set()
    assert lenient(pdu) is None


@pytest.mark.parametrize("name", ["1.2.840.10008.3.1.1.2", ""])
def test_application_context(name: str) -> None:
    assert lenient(dataclasses.replace(request(), application_context_name=name)) == (1, 1, 2)
    assert lenient(A_ASSOCIATE_RQ.decode(with_items(request(), [0x20, 0x50]))) == (1, 1, 2)
    theirs = dataclasses.replace(answer(), application_context_name=name)
    assert [earned(objection) for objection in acceptance_violations(theirs, request())] == [ABORT]


@pytest.mark.parametrize("context_id", [0, 2, 254])
def test_even_context_ids(context_id: int) -> None:
    pdu = received(request(Context(context_id, CT, (EXPLICIT,)), Context(1, CT, (EXPLICIT,))))
    assert strict(pdu) == {ABORT}
    assert results(pdu) == [(context_id, ContextResult.NO_REASON), (1, 0)]


def test_repeated_context_ids() -> None:
    pdu = received(request(Context(1, CT, (EXPLICIT,)), Context(1, MR, (IMPLICIT,)), Context(3, MR, (EXPLICIT,))))
    assert strict(pdu) == {ABORT}
    assert lenient(pdu) is None
    # The first of a pair wins, and an ID is answered once.
    assert accept_contexts(pdu, {CT: None, MR: None}) == (
        PresentationContextAC(1, 0, EXPLICIT),
        PresentationContextAC(3, 0, EXPLICIT),
    )


def test_too_many_contexts() -> None:
    contexts, _ = propose([(CT, (EXPLICIT,))] * 128)
    assert lenient(request(*contexts)) is None
    assert lenient(request(*contexts, Context(1, CT, (EXPLICIT,)))) == ABORT


@pytest.mark.parametrize(
    ("information", "told"),
    [
        ({"implementation_version_name": "X" * 17}, "the implementation version name has more than 16 characters"),
        ({"implementation_class_uid": None}, "the implementation class UID is missing or invalid"),
        ({"implementation_class_uid": ""}, "the implementation class UID is missing or invalid"),
        ({"implementation_class_uid": "dcm4che"}, "the implementation class UID is missing or invalid"),
    ],
)
def test_implementation_identification_is_harmless(information: dict[str, object], told: str) -> None:
    odd = dataclasses.replace(request(), user_information=answer(**information).user_information)
    assert strict(odd) == set()
    assert lenient(odd) is None
    assert list(oddities(odd)) == [told]
    assert list(acceptance_oddities(answer(**information), request())) == [told]
    assert not list(acceptance_violations(answer(**information), request()))


def test_what_is_proposed_twice_or_for_nothing_is_harmless() -> None:
    odd = request(Context(1, CT, (EXPLICIT, EXPLICIT)), role_selections=(RoleSelection(MR, True, True),))
    assert strict(odd) == set()
    assert list(oddities(odd)) == [
        "a presentation context repeats a transfer syntax",
        "role selections name SOP classes that are not proposed",
    ]
    assert accept_contexts(odd, {CT: None}) == (PresentationContextAC(1, 0, EXPLICIT),)


@pytest.mark.parametrize(
    ("announced", "refused", "to_send"),
    [
        (None, None, 16384),
        (0, None, 65536),
        (1, ABORT, None),
        (7, ABORT, None),
        (8, None, 8),
        (16383, None, 16383),
        (0xFFFFFFFF, None, 65536),
    ],
)
def test_maximum_length(announced: int | None, refused: tuple[int, int] | None, to_send: int | None) -> None:
    assert strict(request(maximum_length=announced)) == set()
    assert lenient(request(maximum_length=announced)) == refused
    assert earned(acceptance_refusal(answer(maximum_length=announced))) == refused
    if to_send is not None:
        assert maximum_length_to_send(announced, 65536) == to_send


def test_our_own_limit_bounds_what_we_send() -> None:
    assert [maximum_length_to_send(announced, 4096) for announced in (None, 0, 8192, 1024)] == [4096, 4096, 4096, 1024]


# The acceptor


def test_results_of_contexts() -> None:
    pdu = request(
        Context(1, CT, (JPEG, EXPLICIT, IMPLICIT)),
        Context(3, MR, (JPEG, EXPLICIT, IMPLICIT)),
        Context(5, CT, (JPEG,)),
        Context(7, VERIFICATION, (IMPLICIT,)),
    )
    assert accept_contexts(pdu, {CT: (IMPLICIT, EXPLICIT), MR: None}) == (
        PresentationContextAC(1, ContextResult.ACCEPTANCE, IMPLICIT),  # our order decides,
        PresentationContextAC(3, ContextResult.ACCEPTANCE, JPEG),  # or theirs where we take any
        PresentationContextAC(5, ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED, JPEG),
        PresentationContextAC(7, ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED, IMPLICIT),
    )


syntaxes = st.sampled_from([IMPLICIT, EXPLICIT, JPEG])
offers = st.lists(
    st.builds(
        Context,
        st.integers(0, 255),
        st.sampled_from([CT, MR]),
        st.lists(syntaxes, max_size=3, unique=True).map(tuple),
    ),
    min_size=1,
    max_size=12,
)
preferences = st.dictionaries(st.sampled_from([CT, MR]), st.none() | st.lists(syntaxes, max_size=3))


@given(offers, preferences)
def test_every_context_is_answered_once_and_both_sides_agree(
    contexts: list[Context], supported: dict[str, list[str] | None]
) -> None:
    pdu = request(*contexts)
    answered = accept_contexts(pdu, supported)
    assert [context.presentation_context_id for context in answered] == list(
        dict.fromkeys(context.presentation_context_id for context in contexts)
    )
    if len(answered) < len(contexts):
        return  # a pair: its proposer is wrong, and what it makes of the answer is its own affair
    assert not list(acceptance_violations(answer(*answered), pdu))
    taken = accepted_contexts(pdu, answer(*answered))
    assert set(taken) == {context.presentation_context_id for context in answered if context.result == 0}
    for context_id, context in taken.items():
        assert context_id % 2
        assert context.transfer_syntax in (supported[context.abstract_syntax] or (IMPLICIT, EXPLICIT, JPEG))


@pytest.mark.parametrize("scu", [True, False])
@pytest.mark.parametrize("scp", [True, False])
def test_roles_are_only_reduced(scu: bool, scp: bool) -> None:
    pdu = request(role_selections=(RoleSelection(CT, scu, scp), RoleSelection(MR, scu, scp)))
    assert accept_roles(pdu, scu_classes=[CT, MR], scp_classes=[CT]) == (
        RoleSelection(CT, scu, scp),
        RoleSelection(MR, scu, False),
    )
    assert accept_roles(pdu, scu_classes=[], scp_classes=[CT, MR]) == (
        RoleSelection(CT, False, scp),
        RoleSelection(MR, False, scp),
    )
    assert accept_roles(pdu, scu_classes=[MR], scp_classes=[]) == (RoleSelection(MR, scu, False),)


def test_no_more_roles_are_answered_than_there_are_classes() -> None:
    """A requestor may repeat them until the answer would not fit its item of 64 KiB."""
    roles = tuple(RoleSelection(CT, True, True) for _ in range(2000))
    assert accept_roles(request(role_selections=roles), scu_classes=[CT], scp_classes=[CT]) == roles[:1]


# The requestor


@pytest.mark.parametrize(
    ("contexts", "usable"),
    [
        pytest.param([(1, 0, EXPLICIT), (99, 0, EXPLICIT)], {1: EXPLICIT}, id="never proposed"),
        pytest.param([(1, 0, EXPLICIT), (1, 0, IMPLICIT)], {1: EXPLICIT}, id="twice"),
        pytest.param([(1, 0, JPEG)], {}, id="syntax not proposed"),
        pytest.param([(1, 0, "")], {}, id="no syntax"),
    ],
)
def test_wrong_answers(contexts: list[tuple[int, int, str]], usable: dict[int, str]) -> None:
    pdu = request(Context(1, CT, (EXPLICIT, IMPLICIT)))
    theirs = answer(*(PresentationContextAC(*context) for context in contexts))
    assert [earned(objection) for objection in acceptance_violations(theirs, pdu)] == [ABORT]
    taken = accepted_contexts(pdu, theirs)
    assert {context_id: context.transfer_syntax for context_id, context in taken.items()} == usable


def test_a_context_that_is_not_answered_is_refused() -> None:
    pdu = request(Context(1, CT, (EXPLICIT,)), Context(3, CT, (EXPLICIT,)))
    theirs = answer(PresentationContextAC(3, 0, EXPLICIT))
    assert not list(acceptance_violations(theirs, pdu))
    assert list(acceptance_oddities(theirs, pdu)) == ["presentation contexts without an answer count as rejected"]
    assert set(accepted_contexts(pdu, theirs)) == {3}


def test_where_no_context_is_answered_all_are_refused() -> None:
    theirs = A_ASSOCIATE_AC.decode(with_items(answer(), [0x10, 0x50]))
    assert not list(acceptance_violations(theirs, request()))
    assert list(acceptance_oddities(theirs, request())) == ["presentation contexts without an answer count as rejected"]
    assert not accepted_contexts(request(), theirs)


@pytest.mark.parametrize("padding", ["", "\0"])
def test_a_transfer_syntax_that_is_accepted_twice_is_one(padding: str) -> None:
    twice = b"".join(encode_item(0x40, syntax.encode()) for syntax in (EXPLICIT, EXPLICIT + padding))
    theirs = A_ASSOCIATE_AC.decode(with_items(answer(), [0x10, encode_item(0x21, b"\1\0\0\0" + twice), 0x50]))
    assert not list(acceptance_violations(theirs, request()))
    assert list(acceptance_oddities(theirs, request())) == [
        "an accepted presentation context repeats its transfer syntax"
    ]
    assert accepted_contexts(request(), theirs)[1].transfer_syntax == EXPLICIT


def test_titles_in_an_answer_are_not_tested() -> None:
    swapped = dataclasses.replace(answer(), called_ae_title="A", calling_ae_title="B")
    assert not list(acceptance_violations(swapped, request()))
    assert list(acceptance_oddities(swapped, request())) == ["the AE titles are not those of the request"]


def test_an_identity_that_is_not_confirmed_is_told_and_so_is_a_response_nobody_requested() -> None:
    requested = request(user_identity=UserIdentityRQ.username("me"))
    silent = request(user_identity=UserIdentityRQ.username("me", positive_response_requested=False))
    confirmation = answer(user_identity_response=UserIdentityAC())
    not_confirmed = ["the user identity is not confirmed: the peer may not have looked at it"]
    not_requested = ["a response to a user identity was not requested; ignored"]
    for ours, theirs, told in (
        (requested, confirmation, []),
        (requested, answer(), not_confirmed),
        (silent, answer(), []),
        (silent, confirmation, not_requested),
        (request(), confirmation, not_requested),
    ):
        assert list(acceptance_oddities(theirs, ours)) == told
        assert not list(acceptance_violations(theirs, ours))


def test_a_refused_context_is_not_usable() -> None:
    refused = answer(PresentationContextAC(1, 4, EXPLICIT))
    assert accepted_contexts(request(), refused) == {}
    assert not list(acceptance_violations(refused, request()))


@pytest.mark.parametrize(
    ("asked", "given_back", "roles"),
    [
        (None, None, (True, False)),  # the default
        ((True, True), None, (True, False)),  # not returned: the default
        ((True, True), (True, True), (True, True)),
        ((True, True), (True, False), (True, False)),
        ((False, True), (False, True), (False, True)),
        ((False, True), (True, True), (False, True)),  # what was not proposed is ignored
        ((True, False), (True, True), (True, False)),
        (None, (True, True), (True, False)),
        ((True, True), (False, False), (False, False)),
    ],
)
def test_roles_of_accepted_contexts(
    asked: tuple[bool, bool] | None, given_back: tuple[bool, bool] | None, roles: tuple[bool, bool]
) -> None:
    pdu = request(role_selections=(RoleSelection(CT, *asked),) if asked else ())
    theirs = answer(role_selections=(RoleSelection(CT + "\0", *given_back),) if given_back else ())
    assert accepted_contexts(pdu, theirs) == {1: AcceptedContext(1, CT, EXPLICIT, *roles)}
    assert AcceptedContext(1, CT, EXPLICIT) == AcceptedContext(1, CT, EXPLICIT, True, False)
    assert not list(acceptance_violations(theirs, pdu))
    asked = asked or (False, False)
    ignored = given_back is not None and any(given > want for given, want in zip(given_back, asked, strict=True))
    assert ("roles that were not proposed are accepted; ignored" in acceptance_oddities(theirs, pdu)) == ignored


# The asynchronous operations window (PS3.7 D.3.3.3)

Window = AsynchronousOperationsWindow


@pytest.mark.parametrize(
    ("proposed", "most", "answered"),
    [
        (None, 16, None),  # what was not proposed is not answered: one by one
        (Window(8, 1), 16, Window(8, 1)),
        (Window(16, 16), 8, Window(8, 1)),
        (Window(0, 0), 8, Window(8, 1)),  # no limit
        (Window(1, 1), 8, Window(1, 1)),
        (Window(8, 8), 1, Window(1, 1)),
        (Window(0xFFFF, 1), 0xFFFF, Window(0xFFFF, 1)),
    ],
)
def test_the_window_that_is_granted(proposed: Window | None, most: int, answered: Window | None) -> None:
    assert accept_window(request(asynchronous_operations_window=proposed), most) == answered


@pytest.mark.parametrize(
    ("proposed", "answered", "window", "too_much"),
    [
        (None, None, 1, False),
        (None, Window(5, 1), 1, True),  # an answer to nothing
        (Window(5, 1), None, 1, False),
        (Window(5, 1), Window(5, 1), 5, False),
        (Window(5, 1), Window(3, 1), 3, False),
        (Window(5, 1), Window(3, 0), 3, True),
        (Window(5, 1), Window(1, 1), 1, False),
        (Window(5, 1), Window(9, 9), 5, True),  # the acceptor may only reduce
        (Window(5, 1), Window(0, 0), 5, True),  # no limit is no more than was proposed
        (Window(0, 1), Window(5, 1), 5, False),
        (Window(0, 1), Window(0, 1), 65535, False),
    ],
)
def test_the_window_that_was_agreed_on(
    proposed: Window | None, answered: Window | None, window: int, too_much: bool
) -> None:
    asked, theirs = request(asynchronous_operations_window=proposed), answer(asynchronous_operations_window=answered)
    assert operations_window(asked, theirs) == window
    assert not list(acceptance_violations(theirs, asked))
    assert list(acceptance_oddities(theirs, asked)) == ["the operations window exceeds the proposed one"] * too_much


counts = st.integers(0, 0xFFFF)


@given(proposed=st.none() | st.builds(Window, counts, counts), most=st.integers(1, 0xFFFF))
def test_a_grant_is_never_none_of_ours_and_never_more_than_proposed(proposed: Window | None, most: int) -> None:
    asked = request(asynchronous_operations_window=proposed)
    granted = accept_window(asked, most)
    if proposed is not None and granted is not None:
        assert 1 <= granted.maximum_number_operations_invoked <= (proposed.maximum_number_operations_invoked or most)
        assert granted.maximum_number_operations_invoked <= most
    assert 1 <= operations_window(asked, answer(asynchronous_operations_window=granted)) <= most


JPEG, PRIVATE = "1.2.840.10008.1.2.4.50", "1.2.3.4"


@pytest.mark.parametrize(
    ("accepted", "prefer", "chosen"),
    [
        (None, (), JPEG),
        (None, (PRIVATE, IMPLICIT), IMPLICIT),
        ((EXPLICIT, IMPLICIT), (), EXPLICIT),
        ((EXPLICIT, IMPLICIT), (IMPLICIT,), IMPLICIT),
        ((EXPLICIT, IMPLICIT), (JPEG,), EXPLICIT),
        ((PRIVATE,), (JPEG,), None),
    ],
)
def test_which_transfer_syntax_is_chosen(
    accepted: tuple[str, ...] | None, prefer: tuple[str, ...], chosen: str | None
) -> None:
    pdu = request(Context(1, CT, (JPEG, IMPLICIT, EXPLICIT)))
    (context,) = accept_contexts(pdu, {CT: accepted}, prefer)
    assert context.result == (0 if chosen else 4)
    assert chosen is None or context.transfer_syntax == chosen
