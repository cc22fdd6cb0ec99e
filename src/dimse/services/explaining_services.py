"""What an archive accepts: SOP classes, transfer syntaxes, roles, the operations window and extended negotiation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import reduce
from operator import or_
from typing import Any, Final

from dimse import uids
from dimse.services.explaining_association import Asked, Asker
from dimse.services.explanation import ExplainAdvice, ExplainStep, ExplainStepName, ExplainVerdict, here, on_archive
from dimse.upper_layer.extended import QueryFeatures, query_features
from dimse.upper_layer.items import (
    AsynchronousOperationsWindow,
    ContextResult,
    RoleSelection,
    SOPClassExtendedNegotiation,
    UserInformation,
)
from dimse.upper_layer.negotiation import MAXIMUM_CONTEXTS, accepted_contexts, operations_window
from dimse.upper_layer.pdu import A_ASSOCIATE_AC

Context = tuple[str, Sequence[str]]


class ExplainPurpose(StrEnum):
    """What the archive is wanted for."""

    ECHO = "echo"
    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"


SERVICES: Final = {
    uids.VERIFICATION: "C-ECHO",
    uids.PATIENT_ROOT_FIND: "C-FIND, patient root",
    uids.STUDY_ROOT_FIND: "C-FIND, study root",
    uids.PATIENT_ROOT_GET: "C-GET, patient root",
    uids.STUDY_ROOT_GET: "C-GET, study root",
    uids.PATIENT_ROOT_MOVE: "C-MOVE, patient root",
    uids.STUDY_ROOT_MOVE: "C-MOVE, study root",
    "1.2.840.10008.5.1.4.31": "C-FIND, modality worklist",
    "1.2.840.10008.3.1.2.3.3": "modality performed procedure step",
    "1.2.840.10008.1.20.1": "storage commitment",
}
"""The services that are asked for besides storage, by abstract syntax."""

_NEEDED: Final = {
    ExplainPurpose.ECHO: (uids.VERIFICATION,),
    ExplainPurpose.FIND: (uids.STUDY_ROOT_FIND, uids.PATIENT_ROOT_FIND),
    ExplainPurpose.GET: (uids.STUDY_ROOT_GET, uids.PATIENT_ROOT_GET),
    ExplainPurpose.MOVE: (uids.STUDY_ROOT_MOVE, uids.PATIENT_ROOT_MOVE),
}
"""Each purpose needs one of these."""

COMPRESSED: Final = (
    uids.DEFLATED_EXPLICIT_VR_LITTLE_ENDIAN,
    uids.EXPLICIT_VR_BIG_ENDIAN,
    *(
        f"1.2.840.10008.1.2.4.{tail}"
        for tail in ("50", "51", "70", "80", "81", "90", "91", "102", "107", "110", "112", "201", "203")
    ),
    uids.RLE_LOSSLESS,
)
"""The transfer syntaxes that are asked for besides the two of `uids.LITTLE_ENDIAN`."""

_TYPICAL: Final = tuple(f"1.2.840.10008.5.1.4.1.1.{tail}" for tail in ("2", "4", "1", "1.1", "6.1", "7"))
"""Storage SOP classes whose transfer syntaxes are asked for, if none are given: CT, MR, CR, DX, US, SC."""

_WINDOW: Final = AsynchronousOperationsWindow(16, 1)

_FEATURES: Final = QueryFeatures(
    relational=True,
    combined_date_time=True,
    fuzzy_names=True,
    timezone=True,
    enhanced_multiframe=True,
    empty_values=True,
    multiple_values=True,
)
"""All that C-FIND has (PS3.4 C.5.1.1.1)."""

_MAXIMUM_ROLES: Final = 10
"""Storage SOP classes whose roles for C-GET are asked for."""

REASONS: Final = {
    ContextResult.USER_REJECTION: "refused by the archive",
    ContextResult.NO_REASON: "refused without a reason",
    ContextResult.ABSTRACT_SYNTAX_NOT_SUPPORTED: "SOP class not supported",
    ContextResult.TRANSFER_SYNTAXES_NOT_SUPPORTED: "transfer syntax not supported",
}
"""Result/Reason of a presentation context in words (PS3.8 Table 9-18)."""


@dataclass(frozen=True, slots=True)
class Offered:
    """A proposed presentation context and its result."""

    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]
    accepted: str | None
    """The transfer syntax, if the context was accepted."""
    reason: str | None
    """Why it was not."""


def results(asked: Asked) -> list[Offered]:
    """The result of each context of a request; if the whole request was refused, the reason is that of the request."""
    acceptance = asked.acceptance
    if acceptance is None:
        return [
            Offered(each.abstract_syntax, each.transfer_syntaxes, None, asked.words)
            for each in asked.request.presentation_contexts
        ]
    accepted = accepted_contexts(asked.request, acceptance)
    answers = {each.presentation_context_id: each.result for each in reversed(acceptance.presentation_contexts)}
    found = []
    for context in asked.request.presentation_contexts:
        number = context.presentation_context_id
        syntax = accepted[number].transfer_syntax if number in accepted else None
        reason = None if syntax is not None else _reason(answers.get(number))
        found.append(Offered(context.abstract_syntax, context.transfer_syntaxes, syntax, reason))
    return found


def _reason(result: int | None) -> str:
    if result is None:
        return "not answered"
    if result == ContextResult.ACCEPTANCE:
        return "accepted in a transfer syntax that was not proposed"
    return next((words for number, words in REASONS.items() if number == result), f"refused with reason {result}")


async def offer(asker: Asker, contexts: Sequence[Context]) -> list[Offered]:
    """Propose any number of contexts. A request that is refused as a whole is repeated in halves."""
    batches = [contexts[start : start + MAXIMUM_CONTEXTS] for start in range(0, len(contexts), MAXIMUM_CONTEXTS)]
    found: list[Offered] = []
    while batches and asker.may_ask:
        batch = batches.pop(0)
        asked = await asker.ask_again(asker.request(batch))
        if asked.acceptance is None and len(batch) > 1:
            middle = len(batch) // 2
            batches[:0] = [batch[:middle], batch[middle:]]
        else:
            found += results(asked)
    found += [Offered(uid, tuple(syntaxes), None, "not asked") for batch in batches for uid, syntaxes in batch]
    return found


@dataclass(frozen=True, slots=True)
class Extras:
    """What was negotiated besides contexts."""

    words: str
    is_refused: bool = True
    window: int | None = None
    """The operations window; None if it was not answered."""
    roles: Sequence[tuple[str, bool]] = ()
    """Storage SOP classes, and whether we may be their SCP, as C-GET needs it."""
    features: QueryFeatures | None = None
    """What the archive supports of extended negotiation of C-FIND; None if it did not answer."""

    @property
    def lacks_roles(self) -> bool:
        """Whether C-GET is accepted, but no role that it needs."""
        return bool(self.roles) and not any(is_scp for _, is_scp in self.roles)


async def ask_extras(asker: Asker, accepted: Sequence[str]) -> Extras:
    """Propose the window, the roles for C-GET and extended negotiation, where the services are accepted."""
    services = [uid for uid in accepted if uid in SERVICES]
    storage = [uid for uid in accepted if uids.is_storage(uid)][:_MAXIMUM_ROLES]
    with_roles = storage if set(services) & set(_NEEDED[ExplainPurpose.GET]) else []
    finds = set(services) & set(_NEEDED[ExplainPurpose.FIND])
    information = UserInformation(
        asynchronous_operations_window=_WINDOW,
        role_selections=tuple(RoleSelection(uid, True, True) for uid in with_roles),
        sop_class_extended=tuple(SOPClassExtendedNegotiation(uid, _FEATURES.encode(uid)) for uid in sorted(finds)),
    )
    contexts = [(uid, uids.LITTLE_ENDIAN) for uid in (*services, *storage)]
    asked = await asker.ask_again(asker.request(contexts, information))
    return Extras(asked.words) if asked.acceptance is None else _extras(asked, asked.acceptance, with_roles)


def _extras(asked: Asked, acceptance: A_ASSOCIATE_AC, with_roles: Sequence[str]) -> Extras:
    answered = acceptance.user_information
    contexts = accepted_contexts(asked.request, acceptance).values()
    as_scp = {each.abstract_syntax for each in contexts if each.requestor_is_scp}
    asked_for = asked.request.user_information
    found = [query_features(asked_for, answered, each.sop_class_uid) for each in asked_for.sop_class_extended]
    return Extras(
        asked.words,
        False,
        operations_window(asked.request, acceptance) if answered.asynchronous_operations_window is not None else None,
        [(uid, uid in as_scp) for uid in with_roles],
        reduce(or_, found) if found and answered.sop_class_extended else None,
    )


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is asked for."""

    purposes: frozenset[ExplainPurpose]
    sop_classes: tuple[str, ...] = ()
    """Storage SOP classes; without any, the common ones."""
    transfer_syntaxes: tuple[str, ...] = ()
    """Transfer syntaxes; without any, all that PS3.5 has for images and video."""


async def ask(asker: Asker, wanted: Wanted) -> ExplainStep:
    """Ask for all services and return the result."""
    classes = wanted.sop_classes or uids.COMMON_STORAGE
    offered = await offer(asker, [(uid, uids.LITTLE_ENDIAN) for uid in (*SERVICES, *classes)])
    accepted = [each.abstract_syntax for each in offered if each.accepted is not None]
    syntaxes = wanted.transfer_syntaxes or (*uids.LITTLE_ENDIAN, *COMPRESSED)
    detailed = wanted.sop_classes or _examples(accepted)
    in_detail = await offer(asker, [(uid, [syntax]) for uid in detailed for syntax in syntaxes])
    extras = await ask_extras(asker, accepted) if accepted and asker.may_ask else None
    return step(wanted, offered, in_detail, extras)


def _examples(accepted: Sequence[str]) -> Sequence[str]:
    """The Storage SOP classes whose transfer syntaxes are asked for."""
    storage = [uid for uid in accepted if uid not in SERVICES]
    return [uid for uid in _TYPICAL if uid in storage] or storage[: len(_TYPICAL)]


def step(
    wanted: Wanted, offered: Sequence[Offered], in_detail: Sequence[Offered], extras: Extras | None
) -> ExplainStep:
    """The result of all that was asked for."""
    accepted = {each.abstract_syntax for each in (*offered, *in_detail) if each.accepted is not None}
    missing = [
        *_missing(wanted, accepted, offered),
        *_missing_syntaxes(wanted, in_detail),
        *_missing_roles(wanted, extras),
    ]
    in_words = _in_words(offered, accepted, extras)
    words = (
        f"the archive refuses {', '.join(name for name, _ in missing)}"
        if missing
        else f"accepted: {'; '.join(in_words)}"
    )
    advice = [each for _, some in missing for each in some]
    verdict = ExplainVerdict.FAILED if missing else ExplainVerdict.OK
    if ExplainPurpose.MOVE in wanted.purposes:
        advice.append(_DESTINATION)
    if extras is not None and extras.is_refused:
        words += f"; with an operations window, roles or extended negotiation: {extras.words}"
        advice.append(here("propose no operations window (--window 1), and retrieve by C-MOVE instead of C-GET"))
        verdict = ExplainVerdict.FAILED if missing else ExplainVerdict.NOTE
    tried = f"{len(offered) + len(in_detail)} presentation contexts"
    unique = tuple(dict.fromkeys(advice))
    facts = {"accepted": in_words, **_facts(offered, in_detail, extras)}
    return ExplainStep(ExplainStepName.SERVICES, verdict, words, tried, unique, facts)


Missing = tuple[str, tuple[ExplainAdvice, ...]]
"""What is refused, and what to change."""

_DESTINATION: Final = on_archive("for C-MOVE, register the destination's AE title with its host and port")
_NO_ROLES: Final[Missing] = (
    "the SCP role for C-GET",
    (on_archive("enable C-GET with role selection"), here("or retrieve by C-MOVE")),
)


def _missing(wanted: Wanted, accepted: set[str], offered: Sequence[Offered]) -> list[Missing]:
    """The wanted services and SOP classes that are not accepted."""
    found: list[Missing] = []
    reasons = {each.abstract_syntax: each.reason for each in offered}
    for purpose, needed in _NEEDED.items():
        if purpose in wanted.purposes and not accepted & set(needed):
            name, reason = f"C-{purpose.upper()}", reasons.get(needed[0])
            found.append((f"{name} ({reason})", (on_archive(f"enable {name} for this calling title"),)))
    for uid in wanted.sop_classes:
        if uid not in accepted:
            advice = on_archive(f"enable the SOP class {uid}")
            found.append((f"{uids.name_of(uid)} ({reasons.get(uid)})", (advice,)))
    if ExplainPurpose.STORE in wanted.purposes and not wanted.sop_classes and not any(map(uids.is_storage, accepted)):
        found.append(("storage", (on_archive("enable the storage SOP classes for this calling title"),)))
    return found


def _missing_syntaxes(wanted: Wanted, in_detail: Sequence[Offered]) -> list[Missing]:
    """The wanted transfer syntaxes that are not accepted for a SOP class that is."""
    found: dict[str, Missing] = {}
    usable = {each.abstract_syntax for each in in_detail if each.accepted is not None}
    for each in in_detail if wanted.transfer_syntaxes else ():
        if each.accepted is None and (each.abstract_syntax in usable or not usable):
            name = uids.name_of(each.transfer_syntaxes[0])
            advice = (
                on_archive(f"accept {name}"),
                here("or send in a transfer syntax that it accepts (send --decompress)"),
            )
            found.setdefault(name, (f"{name} for {uids.name_of(each.abstract_syntax)} ({each.reason})", advice))
    return list(found.values())


def _missing_roles(wanted: Wanted, extras: Extras | None) -> list[Missing]:
    is_missing = ExplainPurpose.GET in wanted.purposes and extras is not None and extras.lacks_roles
    return [_NO_ROLES] if is_missing else []


def _in_words(offered: Sequence[Offered], accepted: set[str], extras: Extras | None) -> list[str]:
    """What is accepted."""
    storage = [each.abstract_syntax for each in offered if each.abstract_syntax not in SERVICES]
    words = [name for uid, name in SERVICES.items() if uid in accepted]
    words.append(f"storage of {sum(uid in accepted for uid in storage)} of {len(storage)} SOP classes")
    if extras is not None and any(is_scp for _, is_scp in extras.roles):
        words.append("the SCP role for C-GET")
    if extras is not None and extras.window is not None:
        words.append(f"an operations window of {extras.window}")
    if extras is not None and extras.features:
        words.append(f"queries with {', '.join(extras.features.names)}")
    return words


def _facts(offered: Sequence[Offered], in_detail: Sequence[Offered], extras: Extras | None) -> dict[str, Any]:
    return {
        "contexts": [
            {
                "abstract_syntax": each.abstract_syntax,
                "name": SERVICES.get(each.abstract_syntax) or uids.name_of(each.abstract_syntax),
                "proposed": list(each.transfer_syntaxes),
                "accepted": each.accepted,
                "reason": each.reason,
            }
            for each in (*offered, *in_detail)
        ],
        "operations_window": extras and extras.window,
        "scp_roles": None if extras is None else dict(extras.roles),
        "extended_negotiation": None if extras is None or extras.features is None else list(extras.features.names),
    }
