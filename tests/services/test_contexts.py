"""Which presentation contexts a retrieval proposes."""

from __future__ import annotations

import pytest

from dimse.services.contexts import COMPRESSED, NATIVE, by_association, every_syntax, native_first, retrieval_contexts
from dimse.uids import COMMON_STORAGE, LITTLE_ENDIAN, QUERY_RETRIEVE
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS

CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
RLE, JPEG, PRIVATE = "1.2.840.10008.1.2.5", COMPRESSED[0], "1.2.3.4"
EXPLICIT, IMPLICIT = LITTLE_ENDIAN


def test_one_native_context_for_each_class_behind_what_is_known() -> None:
    plan = native_first([CT, MR], {CT: [NATIVE[0], RLE, PRIVATE]})
    syntaxes = {uid: [each.transfer_syntaxes for each in contexts] for uid, contexts in plan.items()}
    assert syntaxes == {CT: [(RLE,), (PRIVATE,), NATIVE], MR: [NATIVE]}
    assert all(each.as_scp for contexts in plan.values() for each in contexts)


def test_each_syntax_in_a_context_of_its_own_the_known_ones_first() -> None:
    (contexts,) = every_syntax([CT], {CT: [PRIVATE, RLE]}).values()
    syntaxes = [each.transfer_syntaxes for each in contexts]
    assert syntaxes[:3] == [(PRIVATE,), (RLE,), (COMPRESSED[0],)]
    assert {syntax for each in syntaxes for syntax in each} == {PRIVATE, *COMPRESSED, *NATIVE}
    assert len(syntaxes) == len(set(syntaxes))
    assert syntaxes[-1] == (NATIVE[0],)


@pytest.mark.parametrize("turn", [0, 1, len(COMPRESSED), 2 * len(COMPRESSED) + 3])
def test_another_syntax_comes_first_at_each_turn(turn: int) -> None:
    (contexts,) = every_syntax([CT], {}, turn=turn).values()
    assert contexts[0].transfer_syntaxes == (COMPRESSED[turn % len(COMPRESSED)],)
    assert len(contexts) == len(COMPRESSED) + len(NATIVE)


@pytest.mark.parametrize("hints", [0, 500])
def test_no_association_has_too_many_and_no_class_is_left_out(hints: int) -> None:
    known = {uid: [f"1.2.{number}" for number in range(hints)] for uid in COMMON_STORAGE}
    for plan in (native_first(COMMON_STORAGE, known), every_syntax(COMMON_STORAGE, known)):
        covered: list[str] = []
        for classes, contexts in by_association(plan):
            assert [each.abstract_syntax for each in contexts[: len(QUERY_RETRIEVE)]] == list(QUERY_RETRIEVE)
            assert len(contexts) <= MAXIMUM_CONTEXTS
            for uid in classes:
                of_class = [each.transfer_syntaxes for each in contexts if each.abstract_syntax == uid]
                assert NATIVE[0] in of_class[-1]
            covered += classes
        assert covered == list(COMMON_STORAGE)


@pytest.mark.parametrize(
    ("syntaxes", "prefer", "expected"),
    [
        ((IMPLICIT, EXPLICIT, RLE), (), [(IMPLICIT, EXPLICIT), (RLE,)]),
        ((IMPLICIT, EXPLICIT, RLE), (EXPLICIT,), [(EXPLICIT, IMPLICIT), (RLE,)]),
        ((IMPLICIT, EXPLICIT, RLE), (JPEG, RLE), [(JPEG,), (RLE,), (IMPLICIT, EXPLICIT)]),
        ((RLE,), (JPEG,), [(JPEG,), (RLE,)]),
    ],
)
def test_the_preferred_syntaxes_come_first(
    syntaxes: tuple[str, ...], prefer: tuple[str, ...], expected: list[tuple[str, ...]]
) -> None:
    contexts = retrieval_contexts([CT, MR], syntaxes, prefer)[len(QUERY_RETRIEVE) :]
    assert [each.transfer_syntaxes for each in contexts if each.abstract_syntax == CT] == expected
    assert len(contexts) == 2 * len(expected)


@pytest.mark.parametrize(
    ("prefer", "expected"),
    [
        ((RLE, JPEG), [(RLE,), (JPEG,), NATIVE]),
        ((IMPLICIT,), [(IMPLICIT, EXPLICIT, *NATIVE[2:])]),
        ((EXPLICIT, IMPLICIT), [NATIVE]),
        ((IMPLICIT, RLE), [(IMPLICIT, EXPLICIT, *NATIVE[2:]), (RLE,)]),
    ],
)
def test_what_a_retrieval_prefers(prefer: tuple[str, ...], expected: list[tuple[str, ...]]) -> None:
    (contexts,) = native_first([CT], {CT: [PRIVATE]}, prefer).values()
    assert [each.transfer_syntaxes for each in contexts] == expected
    (contexts,) = every_syntax([CT], {CT: [PRIVATE]}, prefer).values()
    assert [each.transfer_syntaxes for each in contexts][: len(prefer) + 1] == [*((uid,) for uid in prefer), (PRIVATE,)]
