"""Which presentation contexts a retrieval proposes for what is to come (PS3.4 C.5.3, PS3.5 10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from dimse import uids
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS, ProposedContext

COMPRESSED: Final = tuple(
    f"1.2.840.10008.1.2.{tail}"
    for tail in (
        *("4.50", "4.90", "4.70", "5", "4.80", "4.91", "4.51", "4.57", "4.81", "4.201", "4.202", "4.203"),
        *("4.100", "4.101", "4.102", "4.103", "4.104", "4.105", "4.106", "4.107", "4.108", "4.92", "4.93"),
    )
)
"""The compressed transfer syntaxes of stored instances, the frequent ones first (PS3.5 A.4)."""

NATIVE: Final = (*uids.LITTLE_ENDIAN, uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN)
"""The syntaxes in which pixel data is not compressed (PS3.5 A.1 to A.3, A.5)."""

RETRIEVED: Final = (*uids.LITTLE_ENDIAN, *COMPRESSED, *NATIVE[2:])
"""What is proposed for each class by default."""

_ROOM: Final = MAXIMUM_CONTEXTS - len(uids.QUERY_RETRIEVE)
"""Contexts for storage classes in an association that retrieves."""


def retrieval_contexts(
    sop_classes: Sequence[str] = uids.COMMON_STORAGE,
    transfer_syntaxes: Sequence[str] = RETRIEVED,
) -> list[ProposedContext]:
    """The contexts for a C-GET of instances of these storage classes, of which the requestor will be SCP.

    Query/Retrieve first; then each class uncompressed; then, as far as 128 contexts go, each class in each
    other syntax. Every context of those has one syntax, as the provider may not re-encode. Some providers look
    at the first context of a class only: give them the one of the `transfer_syntaxes` that they have. Raises
    `ValueError` for more classes than there are contexts.
    """
    contexts = query_retrieve_contexts()
    classes = list(dict.fromkeys(sop_classes))
    if len(classes) > _ROOM:
        raise ValueError(f"{len(classes)} SOP classes; one association has contexts for {_ROOM}: retrieve in parts")
    uncompressed = tuple(syntax for syntax in transfer_syntaxes if syntax in uids.LITTLE_ENDIAN)
    if uncompressed:
        contexts += [ProposedContext(uid, uncompressed, as_scp=True) for uid in classes]
    others = [syntax for syntax in transfer_syntaxes if syntax not in uids.LITTLE_ENDIAN]
    contexts += [ProposedContext(uid, (syntax,), as_scp=True) for syntax in others for uid in classes]
    return contexts[:MAXIMUM_CONTEXTS]


def query_retrieve_contexts() -> list[ProposedContext]:
    """The contexts for the requests themselves."""
    return [ProposedContext(uid, uids.LITTLE_ENDIAN) for uid in uids.QUERY_RETRIEVE]


Plan = Mapping[str, Sequence[ProposedContext]]
"""By SOP class: the contexts to propose for it."""


def native_first(sop_classes: Iterable[str], known: Mapping[str, Sequence[str]]) -> Plan:
    """One native context for each class, after one for each other syntax that the archive says it has.

    Some archives send native data sets on whatever context of the class was accepted, so few are proposed.
    """
    return {
        uid: [
            *(
                ProposedContext(uid, (syntax,), as_scp=True)
                for syntax in known.get(uid, ())[: len(COMPRESSED)]
                if syntax not in NATIVE
            ),
            ProposedContext(uid, NATIVE, as_scp=True),
        ]
        for uid in sop_classes
    }


def every_syntax(sop_classes: Iterable[str], known: Mapping[str, Sequence[str]], turn: int) -> Plan:
    """A context for each class and syntax: first those that the archive has, then the compressed ones.

    Some archives look only at the first context: each `turn` puts another one first.
    """
    turn %= len(COMPRESSED)
    compressed = (*COMPRESSED[turn:], *COMPRESSED[:turn], *reversed(NATIVE))
    return {
        uid: [
            ProposedContext(uid, (syntax,), as_scp=True)
            for syntax in dict.fromkeys((*known.get(uid, ())[: len(COMPRESSED)], *compressed))
        ]
        for uid in sop_classes
    }


def by_association(plan: Plan) -> Iterator[tuple[list[str], list[ProposedContext]]]:
    """Groups of classes that fit into one association, each with all its contexts."""
    classes: list[str] = []
    contexts = query_retrieve_contexts()
    for uid, wanted in plan.items():
        if classes and len(contexts) + len(wanted) > MAXIMUM_CONTEXTS:
            yield classes, contexts
            classes, contexts = [], query_retrieve_contexts()
        classes.append(uid)
        contexts += wanted[: MAXIMUM_CONTEXTS - len(contexts)]
    if classes:
        yield classes, contexts
