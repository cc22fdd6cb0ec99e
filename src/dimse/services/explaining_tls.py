"""Why a TLS handshake fails: on which side, because of which certificate."""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Final

from dimse.network.probing import Endpoint, line
from dimse.services.explanation import ExplainAdvice, ExplainStep, ExplainStepName, ExplainVerdict, here, on_archive

_NO_CHECK_TIME: Final = ssl.VerifyFlags(0x200000)
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL, which Python does not name."""

MAXIMUM_NAMES: Final = 20
"""Names of a certificate that are reported."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a handshake failed, and what to change."""

    words: str
    advice: tuple[ExplainAdvice, ...]


_EXPIRED = Trouble(
    "the archive's certificate has expired",
    (
        on_archive("install a new certificate"),
        here("if the certificate is valid, the clock of this machine is wrong"),
    ),
)
_UNKNOWN_CA = (
    here(
        "give the certificate of the archive's CA, or the archive's own if it is self-signed: --tls-ca FILE",
    ),
)
_VERIFICATIONS: Final = {
    9: Trouble(
        "the archive's certificate is not valid yet",
        (
            here("check the clock of this machine"),
            on_archive("check the dates of its certificate"),
        ),
    ),
    10: _EXPIRED,
    18: Trouble("the archive's certificate is self-signed, and not among the trusted ones", _UNKNOWN_CA),
    19: Trouble("the archive's certificates end at a CA that is not trusted here", _UNKNOWN_CA),
    20: Trouble("the archive's certificate was issued by a CA that is not trusted here", _UNKNOWN_CA),
    21: Trouble("the archive's certificate was issued by a CA that is not trusted here", _UNKNOWN_CA),
    23: Trouble("the archive's certificate was revoked", (on_archive("install a new certificate"),)),
    3: Trouble(
        "there is no certificate revocation list (CRL) of the CA of the archive's certificate",
        (here("give the CRL of that CA"),),
    ),
    12: Trouble(
        "the certificate revocation list (CRL) has expired",
        (here("get a new CRL from the CA"),),
    ),
}
"""X509_V_ERR codes of OpenSSL."""

_WRONG_NAMES: Final = frozenset({62, 64})

_CLIENT_CERTIFICATE = Trouble(
    "the archive asks for a certificate of ours",
    (
        here("give a certificate and its key: --tls-cert FILE --tls-key FILE"),
        on_archive("trust the CA of that certificate"),
    ),
)
_OURS_REFUSED = Trouble(
    "the archive does not accept our certificate",
    (
        on_archive("trust the CA of our certificate"),
        here("or use a certificate that the archive trusts: --tls-cert FILE --tls-key FILE"),
    ),
)
_NO_COMMON = Trouble(
    "the archive and this program have no TLS version or cipher in common, or it asks for a certificate of ours",
    (
        on_archive("enable TLS 1.2 or 1.3 with ECDHE and AES-GCM (BCP 195)"),
        here("if the archive asks for a certificate, give one: --tls-cert FILE --tls-key FILE"),
    ),
)
_ALERTS: Final = {
    "CERTIFICATE_REQUIRED": _CLIENT_CERTIFICATE,
    "UNKNOWN_CA": _OURS_REFUSED,
    "BAD_CERTIFICATE": _OURS_REFUSED,
    "UNSUPPORTED_CERTIFICATE": _OURS_REFUSED,
    "CERTIFICATE_EXPIRED": _OURS_REFUSED,
    "CERTIFICATE_REVOKED": _OURS_REFUSED,
    "CERTIFICATE_UNKNOWN": _OURS_REFUSED,
    "ACCESS_DENIED": _OURS_REFUSED,
    "HANDSHAKE_FAILURE": _NO_COMMON,
    "PROTOCOL_VERSION": _NO_COMMON,
    "INSUFFICIENT_SECURITY": _NO_COMMON,
    "UNSUPPORTED_PROTOCOL": _NO_COMMON,
    "UNRECOGNIZED_NAME": Trouble(
        "the archive has no certificate for this host name",
        (here("use the name that the archive's certificate is for"),),
    ),
}
"""The ends of OpenSSL's reasons for an alert that the archive has sent, or for a version that it offers."""


def trouble_of(error: Exception, host: str, certificate: Mapping[str, Any] | None = None) -> Trouble:
    """Why a handshake with `host` ended with `error`; `certificate` is the archive's, as far as it is known."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return _verification(error, host, certificate or {})
    if isinstance(error, TimeoutError):
        return Trouble(
            "the TLS handshake got no answer in time",
            (on_archive("see whether this is its TLS port"),),
        )
    reason = getattr(error, "reason", None) or ""
    for end, trouble in _ALERTS.items():
        if reason.endswith(end):
            return trouble
    words = reason.replace("_", " ").lower() if reason else str(error) or "the connection was closed"
    return Trouble(f"the TLS handshake failed: {words}", (on_archive("its log says why"),))


def _verification(error: ssl.SSLCertVerificationError, host: str, certificate: Mapping[str, Any]) -> Trouble:
    if error.verify_code in _WRONG_NAMES:
        names = ", ".join(certificate.get("names", ())) or "another name"
        return Trouble(
            f"the archive's certificate is for {names}, not for {host}",
            (
                here(f"use the name that the certificate is for in the address: {names}"),
                on_archive(f"or install a certificate for {host}"),
            ),
        )
    known = _VERIFICATIONS.get(error.verify_code)
    if known is None:
        return Trouble(
            f"the archive's certificate is not accepted: {error.verify_message}",
            (on_archive("install a certificate that can be verified"),),
        )
    if known is _EXPIRED and certificate:
        return Trouble(f"{known.words} on {certificate['not_after']}", known.advice)
    return known


@dataclass(frozen=True, slots=True)
class Seen:
    """What a TLS port shows to anyone."""

    version: str
    cipher: str
    certificate: Mapping[str, Any] | None


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


def certificate_facts(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """A decoded certificate (`ssl.SSLSocket.getpeercert`) as `explain` reports it."""
    names = [value for kind, value in found.get("subjectAltName", ()) if kind in ("DNS", "IP Address")]
    return {
        "subject": _distinguished(found.get("subject", ())),
        "issuer": _distinguished(found.get("issuer", ())),
        "not_before": found.get("notBefore", ""),
        "not_after": found.get("notAfter", ""),
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
