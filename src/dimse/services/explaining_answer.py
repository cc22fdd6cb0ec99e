"""What answers an A-ASSOCIATE-RQ: an archive, or something else."""

from __future__ import annotations

from contextlib import AsyncExitStack
from dataclasses import replace
from typing import Any, Final

from dimse.network.banners import is_tls
from dimse.network.probing import Answer, Answered, Line, line
from dimse.services.explaining_association import Asked, Asker, in_words
from dimse.services.explaining_tls import facts_of, look, plain_to_tls, trouble_of
from dimse.services.explanation import (
    ExplainAdvice,
    ExplainStep,
    ExplainStepName,
    ExplainVerdict,
    here,
    in_between,
    on_archive,
)
from dimse.upper_layer.negotiation import acceptance_oddities, acceptance_refusal, acceptance_violations
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ

MAXIMUM_PARALLEL: Final = 3
"""Associations at once that are tried, to see whether the archive takes more than one."""

_HELLO: Final = b"\r\n\r\n"
"""Makes a server answer that waits for lines of text."""

_HELLO_TIME: Final = 2.0
"""Seconds to wait for that answer."""

_TRIED: Final = "A-ASSOCIATE-RQ with C-ECHO"
_NO_TLS: Final = ExplainStep(ExplainStepName.TLS, ExplainVerdict.OK, "not used", facts=facts_of(None, used=False))

IMPLEMENTATIONS: Final = (
    ("2.25.168498331071940418906211307480346240529", "dimse"),
    ("1.2.276.0.7230010.3.", "DCMTK, or software made with it, such as Orthanc"),
    ("1.2.826.0.1.3680043.9.3811.", "pynetdicom"),
    ("1.2.826.0.1.3680043.2.1143.", "GDCM"),
    ("1.2.826.0.1.3680043.9.5560.", "odil"),
    ("1.2.40.0.13.1.", "dcm4che"),
    ("1.3.6.1.4.1.30071.", "fo-dicom"),
)
"""Beginnings of Implementation Class UIDs, and whose they are."""


async def tls(asker: Asker) -> ExplainStep:
    """Try the handshake, if TLS is wanted."""
    context, name, seconds = asker.context, asker.server_name, asker.seconds
    if context is None:
        return _NO_TLS
    try:
        async with line(asker.endpoint, seconds, context, name) as made:
            negotiated = made.tls
            cipher = None if negotiated is None else negotiated.cipher()
            version = "" if negotiated is None else negotiated.version() or ""
    except OSError as error:
        return await _handshake_failed(asker, error)
    seen = await look(asker.endpoint, name, seconds)
    seen = replace(seen, version=version, cipher=cipher[0] if cipher else "") if seen else None
    words = f"{version}, {cipher[0] if cipher else 'no cipher'}"
    if seen is not None and seen.certificate is not None:
        words += f", certificate valid until {seen.certificate['not_after'][:10]}"
    return ExplainStep(ExplainStepName.TLS, ExplainVerdict.OK, words, "a handshake", facts=facts_of(seen, used=True))


async def _handshake_failed(asker: Asker, error: OSError) -> ExplainStep:
    seen = await look(asker.endpoint, asker.server_name, asker.seconds)
    if seen is None:
        without = await _without_tls(asker)
        if without is not None:
            advice = (here("leave --tls out, or use the archive's TLS port"),)
            words = f"this port does not speak TLS: without TLS, {without}"
            return ExplainStep(
                ExplainStepName.TLS, ExplainVerdict.FAILED, words, "a handshake", advice, facts_of(None, used=True)
            )
    trouble = trouble_of(error, asker.server_name, seen)
    facts = facts_of(seen, used=True) | {"error": str(error)}
    return ExplainStep(ExplainStepName.TLS, ExplainVerdict.FAILED, trouble.words, "a handshake", trouble.advice, facts)


async def _without_tls(asker: Asker) -> str | None:
    """What a request without TLS and without the user's identity brings; None for nothing that tells something."""
    request = asker.request()
    request = replace(request, user_information=replace(request.user_information, user_identity=None))
    try:
        async with line(asker.endpoint, asker.seconds) as plain:
            answer = await _or_banner(plain, await plain.associate(request, asker.seconds), asker.seconds)
            if isinstance(answer.pdu, A_ASSOCIATE_AC):
                await plain.release(asker.seconds)
    except OSError:
        return None
    return in_words(answer) if answer.pdu is not None or answer.kind is Answered.OTHER else None


async def answer(asker: Asker, asked: Asked) -> tuple[ExplainStep, ExplainStep | None]:
    """What answered the first request. If that is a TLS port, the second step says so."""
    facts = _facts(asked)
    if isinstance(asked.answer.pdu, A_ASSOCIATE_AC):
        return accepted(asked, asked.answer.pdu), None
    if isinstance(asked.answer.pdu, A_ASSOCIATE_RJ):
        return ExplainStep(
            ExplainStepName.ANSWER, ExplainVerdict.OK, "DICOM answers, with a rejection", _TRIED, facts=facts
        ), None
    if isinstance(asked.answer.pdu, A_ABORT):
        advice = (
            on_archive(
                f"its log says why; see whether it lets this host and the title {asker.calling_ae_title} in",
            ),
        )
        return ExplainStep(ExplainStepName.ANSWER, ExplainVerdict.FAILED, asked.words, _TRIED, advice, facts), None
    seen = await look(asker.endpoint, asker.server_name, asker.seconds) if asker.options.tls is None else None
    if seen is not None or is_tls(asked.answer.data):
        return ExplainStep(
            ExplainStepName.ANSWER, ExplainVerdict.FAILED, asked.words, _TRIED, facts=facts
        ), plain_to_tls(seen)
    words, changes = await _not_dicom(asker, asked)
    return ExplainStep(ExplainStepName.ANSWER, ExplainVerdict.FAILED, words, _TRIED, changes, facts), None


def accepted(asked: Asked, acceptance: A_ASSOCIATE_AC) -> ExplainStep:
    """An archive has answered with `acceptance`."""
    facts = _facts(asked)
    information = acceptance.user_information
    software = implementation(information.implementation_class_uid or "")
    named = information.implementation_version_name or information.implementation_class_uid or "without a name"
    words = f"DICOM: {named}" + (f" ({software})" if software else "")
    words += f", PDUs of at most {_length(information.maximum_length)}"
    problems = [str(each) for each in acceptance_violations(acceptance, asked.request)]
    refusal = acceptance_refusal(acceptance)
    facts["violations"] = problems
    facts["deviations"] = [*problems, *acceptance_oddities(acceptance, asked.request)]
    if refusal is not None:
        advice: tuple[ExplainAdvice, ...] = (on_archive("announce a larger maximum PDU length"),)
        return ExplainStep(ExplainStepName.ANSWER, ExplainVerdict.FAILED, f"{words}; {refusal}", _TRIED, advice, facts)
    if problems:
        advice = (here("use --lenient: otherwise such an answer ends the association"),)
        return ExplainStep(
            ExplainStepName.ANSWER, ExplainVerdict.NOTE, f"{words}; but {'; '.join(problems)}", _TRIED, advice, facts
        )
    return ExplainStep(ExplainStepName.ANSWER, ExplainVerdict.OK, words, _TRIED, facts=facts)


def unsteady(asked: Asked) -> ExplainStep:
    """An archive has accepted a request, and then not the same request again."""
    words = f"the archive accepted an association, and the same one again not: {asked.words}"
    advice = (on_archive("see whether it is at its limit of associations, starting or stopping"),)
    return ExplainStep(ExplainStepName.ANSWER, ExplainVerdict.FAILED, words, _TRIED, advice, _facts(asked))


def _length(announced: int | None) -> str:
    return {None: "16384 bytes (not announced)", 0: "any length"}.get(announced, f"{announced} bytes")


def _facts(asked: Asked) -> dict[str, Any]:
    facts: dict[str, Any] = {
        "answer": asked.answer.kind.name.lower(),
        "seconds": round(asked.answer.seconds, 3),
        "first_bytes": asked.answer.data[:32].hex(),
        "maximum_length": None,
        "implementation_class_uid": None,
        "implementation_version_name": None,
        "implementation": None,
        "user_identity_answered": None,
        "violations": [],
        "deviations": [],
    }
    if asked.acceptance is not None:
        information = asked.acceptance.user_information
        facts |= {
            "maximum_length": information.maximum_length,
            "implementation_class_uid": information.implementation_class_uid,
            "implementation_version_name": information.implementation_version_name,
            "implementation": implementation(information.implementation_class_uid or "") or None,
        }
        if asked.request.user_information.user_identity is not None:
            facts["user_identity_answered"] = information.user_identity_response is not None
    return facts


def implementation(class_uid: str) -> str:
    """Whose Implementation Class UID this is; empty if that is not known."""
    return next((name for beginning, name in IMPLEMENTATIONS if class_uid.startswith(beginning)), "")


async def _or_banner(line: Line, found: Answer, seconds: float) -> Answer:
    """What came back; after silence, what comes after two empty lines, if that is something."""
    if found.kind is not Answered.SILENCE:
        return found
    line.send(_HELLO)
    more = await line.receive(min(seconds, _HELLO_TIME))
    return more if more.kind is Answered.OTHER else found


async def _or_alert(asker: Asker, found: Answer) -> Answer:
    """What came back; or the alert of TLS 1.3 that was lost when our request met a closed connection.

    It comes after the handshake, for instance if the archive requires a certificate. Here nothing is sent but that.
    """
    try:
        async with line(asker.endpoint, asker.seconds, asker.context, asker.server_name) as quiet:
            said = await quiet.receive(asker.seconds)
    except OSError:
        return found
    return said if said.kind is Answered.TLS else found


async def _not_dicom(asker: Asker, asked: Asked) -> tuple[str, tuple[ExplainAdvice, ...]]:
    """What is there instead, and what to change."""
    found = asked.answer
    if asked.line is not None:
        found = await _or_banner(asked.line, found, asker.seconds)
    if asker.context is not None and found.kind in (Answered.CLOSED, Answered.RESET):
        found = await _or_alert(asker, found)
    words = in_words(found)
    port = asker.address.port
    if found.kind is Answered.OTHER:
        return f"this is not a DICOM port: {words}", (
            here(f"check the port: {port} is not the archive's DICOM port"),
            on_archive("look up the port of its DICOM service"),
        )
    if found.kind is Answered.SILENCE:
        return f"the connection is open, but {words}", (
            on_archive(
                "see whether it hangs, or serves one association at a time and is busy; its log shows what arrived",
            ),
            here(f"check that {port} is its DICOM port"),
        )
    if found.kind in (Answered.CLOSED, Answered.RESET):
        return words, (
            on_archive(
                "see whether its access list has this host's address, and whether its limit of connections is reached",
            ),
            in_between(
                "a load balancer, proxy or firewall in between does this too if the archive behind it is down",
            ),
        )
    if found.kind is Answered.TLS and isinstance(found.error, OSError):
        trouble = trouble_of(found.error, asker.server_name)
        return f"after the handshake: {trouble.words}", trouble.advice
    return words, (on_archive(f"its log says why; check that {port} is its DICOM port"),)


async def parallel(asker: Asker) -> ExplainStep:
    """Request more associations while one is open."""
    opened, words = 1, ""
    async with AsyncExitStack() as stack:
        while opened < MAXIMUM_PARALLEL:
            asked = await stack.enter_async_context(asker.ask(asker.request()))
            if asked.acceptance is None:
                words = asked.words
                break
            opened += 1
    facts = {"opened": opened, "tried": MAXIMUM_PARALLEL}
    tried = f"{MAXIMUM_PARALLEL} associations at once, not more"
    if opened == MAXIMUM_PARALLEL:
        return ExplainStep(
            ExplainStepName.PARALLEL, ExplainVerdict.OK, f"{opened} associations at once", tried, facts=facts
        )
    advice = (
        on_archive("allow more associations at once: while it serves one, others wait or fail"),
        here(
            f"use at most {opened} (--associations {opened}), and see that no other device uses the archive now",
        ),
    )
    words = f"{opened} at once; the next: {words}"
    return ExplainStep(ExplainStepName.PARALLEL, ExplainVerdict.NOTE, words, tried, advice, facts)
