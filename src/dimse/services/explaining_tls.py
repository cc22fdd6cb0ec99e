"""Why a TLS handshake fails: on which side, because of which certificate; and what a TLS port shows to anyone."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from dimse.network.probing import Endpoint, line
from dimse.network.tls_errors import handshake_failure, is_wrong_name
from dimse.services.explanation import ExplainAdvice, ExplainStep, ExplainStepName, ExplainVerdict, here, on_archive

_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name."""

MAXIMUM_NAMES: Final = 20
"""Names of a certificate that are reported."""

_UNKNOWN_CA: Final = (
    here("trust the CA of the archive's certificate, or the certificate itself if it is self-signed: --tls-ca FILE"),
)
_NEW_CERTIFICATE: Final = (on_archive("install a new certificate"),)
_NEW_LIST: Final = (here("give the current revocation list of each CA in the archive's chain: --tls-crl FILE"),)

_VERIFICATIONS: Final[dict[int, tuple[ExplainAdvice, ...]]] = {
    **dict.fromkeys((2, 18, 19, 20, 21), _UNKNOWN_CA),
    **dict.fromkeys((3, 11, 12, 33), _NEW_LIST),
    9: (here("check the clock of this machine"), on_archive("check from when on its certificate is valid")),
    10: (*_NEW_CERTIFICATE, here("if the certificate is still valid, correct the clock of this machine")),
}
"""What to change, by OpenSSL's number of what is wrong with the archive's certificate."""

_VERSIONS: Final = ("TLSv1.2", "TLSv1.3")
"""What is used."""

_GIVE_OURS: Final = (
    here("give a certificate and its key: --tls-cert FILE --tls-key FILE"),
    on_archive("trust the CA of that certificate"),
)
_OURS_REFUSED: Final = (
    on_archive("trust the CA of our certificate, and see in its log what it does not accept"),
    here("or use a certificate that the archive accepts: --tls-cert FILE --tls-key FILE"),
)
_NOTHING_IN_COMMON: Final = (
    on_archive("enable TLS 1.2 or 1.3 with ECDHE and AES-GCM (BCP 195)"),
    here("if the archive asks for a certificate, give one: --tls-cert FILE --tls-key FILE"),
)
_NO_ADVICE: Final = (on_archive("its log says why; see whether this is its TLS port"),)
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": _GIVE_OURS,
    "UNKNOWN_CA": _OURS_REFUSED,
    "BAD_CERTIFICATE": _OURS_REFUSED,
    "UNSUPPORTED_CERTIFICATE": _OURS_REFUSED,
    "CERTIFICATE_EXPIRED": _OURS_REFUSED,
    "CERTIFICATE_REVOKED": _OURS_REFUSED,
    "CERTIFICATE_UNKNOWN": _OURS_REFUSED,
    "ACCESS_DENIED": _OURS_REFUSED,
    "HANDSHAKE_FAILURE": _NOTHING_IN_COMMON,
    "PROTOCOL_VERSION": _NOTHING_IN_COMMON,
    "INSUFFICIENT_SECURITY": _NOTHING_IN_COMMON,
    "UNSUPPORTED_PROTOCOL": _NOTHING_IN_COMMON,
    "VERSION_TOO_LOW": _NOTHING_IN_COMMON,
    "UNRECOGNIZED_NAME": (here("use the host name that the archive's certificate is for"),),
}
"""What to change, by the end of OpenSSL's name for an alert of the archive, or for what this side does not accept."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why TLS failed, and what to change."""

    words: str
    advice: tuple[ExplainAdvice, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a TLS port shows to anyone."""

    version: str
    cipher: str
    certificate: Mapping[str, Any] | None


def trouble_of(error: OSError, host: str, seen: Seen | None = None) -> Trouble:
    """Why TLS with `host` ended with `error`; `seen` is what the port shows to anyone."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error, host, None if seen is None else seen.certificate)
    if seen is not None and seen.version not in _VERSIONS:
        return Trouble(f"the peer supports neither TLS 1.2 nor TLS 1.3, but {seen.version}", _NOTHING_IN_COMMON)
    if isinstance(error, TimeoutError):
        return Trouble("the TLS handshake was not completed in time", (on_archive("see whether this is its TLS port"),))
    words, reason = handshake_failure(error), (getattr(error, "reason", None) or "").upper()
    advice = next((advice for end, advice in _ALERTS.items() if reason.endswith(end)), _NO_ADVICE)
    if advice is _NOTHING_IN_COMMON and seen is not None:
        words += f"; it would accept {seen.version} with {seen.cipher}"
    return Trouble(words, advice)


def _verification(error: ssl.SSLCertVerificationError, host: str, certificate: Mapping[str, Any] | None) -> Trouble:
    if is_wrong_name(error):
        names = "another name" if certificate is None else ", ".join(certificate["names"]) or certificate["subject"]
        advice = (
            here(f"use a name of the certificate in the address: {names}"),
            on_archive(f"or install one for {host}"),
        )
        return Trouble(f"the peer's certificate is for {names}, not for {host}", advice)
    words = handshake_failure(error) + ("" if certificate is None else f" ({_described(certificate)})")
    return Trouble(words, _VERIFICATIONS.get(error.verify_code, _NEW_CERTIFICATE))


def _described(certificate: Mapping[str, Any]) -> str:
    return f"{certificate['subject']}; issued by {certificate['issuer']}; valid until {certificate['not_after'][:10]}"


async def look(endpoint: Endpoint, host: str, seconds: float) -> Seen | None:
    """What a port shows that speaks TLS, without any verification; None if it does not complete a handshake.

    Nothing is sent on these connections but the handshake.
    """
    context = _any_tls()
    try:
        async with line(endpoint, seconds, context, host) as first:
            found = first.tls
            if found is None:
                return None
            encoded = found.getpeercert(binary_form=True)
            cipher = found.cipher()
            version, name = found.version() or "", cipher[0] if cipher else ""
        return Seen(version, name, None if encoded is None else await _decoded(endpoint, host, seconds, encoded))
    except OSError:
        return None


def _any_tls() -> ssl.SSLContext:
    """A context that takes old versions and ciphers too, in order to see them. It verifies nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.MINIMUM_SUPPORTED
    with suppress(ssl.SSLError):
        context.set_ciphers("ALL:@SECLEVEL=0")
    return context


async def _decoded(endpoint: Endpoint, host: str, seconds: float, encoded: bytes) -> Mapping[str, Any] | None:
    """The fields of the certificate. Python decodes only what it has verified, so the certificate itself is the CA."""
    context = _any_tls()
    context.verify_mode = ssl.CERT_REQUIRED
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
    try:
        context.load_verify_locations(cadata=encoded)
        async with line(endpoint, seconds, context, host) as second:
            found = None if second.tls is None else second.tls.getpeercert()
    except OSError:
        return None
    return None if not found else certificate_facts(found)


def _date(text: str | None) -> str:
    """A time as `ssl` shows it ("Nov 29 14:01:28 2027 GMT") in ISO 8601; "" if there is none."""
    return "" if text is None else datetime.fromtimestamp(ssl.cert_time_to_seconds(text), UTC).isoformat()


def certificate_facts(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """A decoded certificate (`ssl.SSLSocket.getpeercert`) as `explain` reports it."""
    names = [value for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    return {
        "subject": _distinguished(found.get("subject", ())),
        "issuer": _distinguished(found.get("issuer", ())),
        "not_before": _date(found.get("notBefore")),
        "not_after": _date(found.get("notAfter")),
        "names": names[:MAXIMUM_NAMES],
    }


def _distinguished(name: Any) -> str:
    return ", ".join(f"{key}={value}" for part in name for key, value in part)


def plain_to_tls(seen: Seen | None) -> ExplainStep:
    """The port speaks TLS, and the archive was asked without."""
    return ExplainStep(
        ExplainStepName.TLS,
        ExplainVerdict.FAILED,
        f"this is a TLS port{'' if seen is None else f' ({seen.version})'}, and it was asked without TLS",
        "a TLS handshake, since there was no DICOM without it",
        (here("use --tls, with --tls-ca FILE if the archive's CA is not a public one"),),
        facts_of(seen, used=False),
    )


def facts_of(seen: Seen | None, *, used: bool) -> dict[str, Any]:
    """The facts of the step."""
    return {
        "used": used,
        "version": seen and seen.version,
        "cipher": seen and seen.cipher,
        "certificate": seen and seen.certificate,
    }
