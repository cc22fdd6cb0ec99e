"""The presentation contexts that a retrieval proposes for the instances (PS3.4 C.5.3, PS3.5 10)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final

from dimse import uids
from dimse.services.query_models import DEFAULT_MODELS, QueryRetrieveModel
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS, ProposedContext

COMPRESSED: Final = (
    "1.2.840.10008.1.2.4.50",  # JPEG Baseline (Process 1)
    "1.2.840.10008.1.2.4.90",  # JPEG 2000 (Lossless Only)
    "1.2.840.10008.1.2.4.70",  # JPEG Lossless, Non-Hierarchical, First-Order Prediction (Process 14, SV1)
    "1.2.840.10008.1.2.5",  # RLE Lossless
    "1.2.840.10008.1.2.4.80",  # JPEG-LS Lossless
    "1.2.840.10008.1.2.4.91",  # JPEG 2000
    "1.2.840.10008.1.2.4.51",  # JPEG Extended (Process 2 and 4)
    "1.2.840.10008.1.2.4.57",  # JPEG Lossless, Non-Hierarchical (Process 14)
    "1.2.840.10008.1.2.4.81",  # JPEG-LS Lossy (Near-Lossless)
    "1.2.840.10008.1.2.4.201",  # High-Throughput JPEG 2000 (Lossless Only)
    "1.2.840.10008.1.2.4.202",  # High-Throughput JPEG 2000 with RPCL Options (Lossless Only)
    "1.2.840.10008.1.2.4.203",  # High-Throughput JPEG 2000
    "1.2.840.10008.1.2.4.100",  # MPEG2 Main Profile / Main Level
    "1.2.840.10008.1.2.4.101",  # MPEG2 Main Profile / High Level
    "1.2.840.10008.1.2.4.102",  # MPEG-4 AVC/H.264 High Profile / Level 4.1
    "1.2.840.10008.1.2.4.103",  # MPEG-4 AVC/H.264 BD-compatible High Profile / Level 4.1
    "1.2.840.10008.1.2.4.104",  # MPEG-4 AVC/H.264 High Profile / Level 4.2 For 2D Video
    "1.2.840.10008.1.2.4.105",  # MPEG-4 AVC/H.264 High Profile / Level 4.2 For 3D Video
    "1.2.840.10008.1.2.4.106",  # MPEG-4 AVC/H.264 Stereo High Profile / Level 4.2
    "1.2.840.10008.1.2.4.107",  # HEVC/H.265 Main Profile / Level 5.1
    "1.2.840.10008.1.2.4.108",  # HEVC/H.265 Main 10 Profile / Level 5.1
    "1.2.840.10008.1.2.4.92",  # JPEG 2000 Part 2 Multi-component (Lossless Only)
    "1.2.840.10008.1.2.4.93",  # JPEG 2000 Part 2 Multi-component
)
"""Compressed transfer syntaxes of stored instances, the most frequent first (PS3.5 A.4)."""

NATIVE: Final = (*uids.LITTLE_ENDIAN, uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_BIG_ENDIAN)
"""Transfer syntaxes without compressed pixel data (PS3.5 A.1 to A.3, A.5)."""

RETRIEVED: Final = (*uids.LITTLE_ENDIAN, *COMPRESSED, *NATIVE[2:])
"""The transfer syntaxes that are proposed for each SOP class by default."""


def retrieval_contexts(
    sop_classes: Sequence[str] = uids.COMMON_STORAGE,
    transfer_syntaxes: Sequence[str] = RETRIEVED,
    prefer: Sequence[str] = (),
    *,
    models: Sequence[QueryRetrieveModel] = DEFAULT_MODELS,
) -> list[ProposedContext]:
    """The contexts for a C-GET of instances of these storage classes, with the SCP role for the requestor.

    C-FIND, C-MOVE and C-GET of the `models` first; then each class in each of the transfer syntaxes to `prefer`, which
    need not be among the others; then each class uncompressed; then, up to 128 contexts, each class in each other
    syntax. Contexts of compressed syntaxes have one syntax each, as the peer may be unable to re-encode. Some peers use
    only the first context of a class: prefer their syntax. Raises `ValueError` for more classes than fit.
    """
    contexts = query_retrieve_contexts(models)
    classes = list(dict.fromkeys(sop_classes))
    maximum = MAXIMUM_CONTEXTS - len(contexts)
    if len(classes) > maximum:
        raise ValueError(f"sop_classes must hold at most {maximum} SOP classes, not {len(classes)}; retrieve in parts")
    syntaxes = tuple(dict.fromkeys((*prefer, *transfer_syntaxes)))
    uncompressed = tuple(syntax for syntax in syntaxes if syntax in uids.LITTLE_ENDIAN)
    groups = dict.fromkeys(uncompressed if each in uncompressed else (each,) for each in prefer)
    groups |= dict.fromkeys([uncompressed] if uncompressed else [])
    groups |= dict.fromkeys((syntax,) for syntax in syntaxes if syntax not in uncompressed)
    contexts += [ProposedContext(uid, group, as_scp=True) for group in groups for uid in classes]
    return contexts[:MAXIMUM_CONTEXTS]


def query_retrieve_contexts(models: Iterable[QueryRetrieveModel] = DEFAULT_MODELS) -> list[ProposedContext]:
    """The contexts of the C-FIND, C-MOVE and C-GET requests, as far as the models have them."""
    wanted = dict.fromkeys(uid for model in models for uid in (model.find, model.move, model.get) if uid is not None)
    return [ProposedContext(uid, uids.LITTLE_ENDIAN) for uid in wanted]


Plan = Mapping[str, Sequence[ProposedContext]]
"""The contexts to propose, by SOP class."""


def native_first(sop_classes: Iterable[str], known: Mapping[str, Sequence[str]], prefer: Sequence[str] = ()) -> Plan:
    """One native context for each class, after one for each other syntax in which the archive says it has instances.

    Some archives send native data sets on any accepted context of the class, so few contexts are proposed. With
    syntaxes to `prefer`, these come first, in place of those in which the archive says it has instances.
    """
    native = tuple(dict.fromkeys((*(uid for uid in prefer if uid in NATIVE), *NATIVE)))

    def of_class(uid: str) -> Iterator[tuple[str, ...]]:
        for syntax in prefer or known.get(uid, ())[: len(COMPRESSED)]:
            if syntax not in NATIVE:
                yield (syntax,)
            elif prefer:
                yield native
        yield native

    return {
        uid: [ProposedContext(uid, syntaxes, as_scp=True) for syntaxes in dict.fromkeys(of_class(uid))]
        for uid in sop_classes
    }


def every_syntax(
    sop_classes: Iterable[str], known: Mapping[str, Sequence[str]], prefer: Sequence[str] = (), turn: int = 0
) -> Plan:
    """A context for each class and syntax: first those to `prefer`, then those of the archive's instances, then others.

    Some archives use only the first context: each `turn` puts another one first, of those that are not preferred.
    """
    turn %= len(COMPRESSED)
    compressed = (*COMPRESSED[turn:], *COMPRESSED[:turn], *reversed(NATIVE))
    return {
        uid: [
            ProposedContext(uid, (syntax,), as_scp=True)
            for syntax in dict.fromkeys((*prefer, *known.get(uid, ())[: len(COMPRESSED)], *compressed))
        ]
        for uid in sop_classes
    }


def by_association(plan: Plan) -> Iterator[tuple[list[str], list[ProposedContext]]]:
    """Split a plan into groups of classes that fit into one association, with all their contexts."""
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
