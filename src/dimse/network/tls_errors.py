"""Failures of TLS in words: what is wrong, on which side, and what to do."""

from __future__ import annotations

import ssl
from typing import Final

_UNKNOWN_CA: Final = "is not issued by a CA that we trust, or lacks an intermediate CA"
_NO_CRL: Final = "cannot be checked: there is no revocation list of a CA in its chain"

_THEIR_CERTIFICATE: Final = {
    2: _UNKNOWN_CA,
    3: _NO_CRL,
    9: "is not valid yet; check the clocks",
    10: "has expired",
    11: "cannot be checked: the revocation list of its CA is not valid yet",
    12: "cannot be checked: the revocation list of its CA has expired; get the new one",
    18: "is self-signed and not among the CAs that we trust",
    19: _UNKNOWN_CA,
    20: _UNKNOWN_CA,
    21: _UNKNOWN_CA,
    23: "was revoked by its CA",
    24: "is issued by a certificate that is not one of a CA",
    26: "is not meant for this use (Extended Key Usage)",
    33: _NO_CRL,
    66: "has a key that is too short",
    67: "is issued by a CA whose key is too short",
    68: "has a signature that is too weak",
}
"""What is wrong with the peer's certificate, by OpenSSL's number."""

_WRONG_NAME: Final = (62, 63, 64)
"""OpenSSL's numbers for a certificate without the name, mail address or IP address that was expected."""

_PEER_REFUSES: Final = {
    "HANDSHAKE_FAILURE": "the peer accepts no cipher suite that we offer, or requires a certificate of ours",
    "BAD_CERTIFICATE": "the peer does not accept our certificate",
    "UNSUPPORTED_CERTIFICATE": "the peer does not accept a certificate of this kind (key type or Extended Key Usage)",
    "CERTIFICATE_REVOKED": "the peer says that our certificate was revoked",
    "CERTIFICATE_EXPIRED": "the peer says that our certificate has expired",
    "CERTIFICATE_UNKNOWN": "the peer does not accept our certificate",
    "UNKNOWN_CA": "the peer does not trust the CA of our certificate",
    "ACCESS_DENIED": "the peer does not permit our certificate",
    "DECRYPT_ERROR": "the peer cannot verify our signature",
    "PROTOCOL_VERSION": "the peer supports neither TLS 1.2 nor TLS 1.3",
    "INSUFFICIENT_SECURITY": "the peer demands stronger cipher suites",
    "INTERNAL_ERROR": "the peer has an internal error",
    "UNRECOGNIZED_NAME": "the peer does not know the name that we ask for",
    "CERTIFICATE_REQUIRED": "the peer requires a certificate of ours, and we gave none",
    "NO_APPLICATION_PROTOCOL": "the peer demands another application protocol",
}
"""The alerts of RFC 8446 6.2, by the end of OpenSSL's name."""

_CLOSED: Final = "the peer closed the connection; it may not speak TLS on this port, or not accept our certificate"
_NOT_TLS: Final = "the peer does not speak TLS on this port"

_WE_REFUSE: Final = {
    "WRONG_VERSION_NUMBER": _NOT_TLS,
    "PACKET_LENGTH_TOO_LONG": _NOT_TLS,
    "HTTP_REQUEST": "the peer speaks HTTP without TLS",
    "HTTPS_PROXY_REQUEST": "the peer speaks HTTP without TLS",
    "UNSUPPORTED_PROTOCOL": "the peer supports neither TLS 1.2 nor TLS 1.3",
    "VERSION_TOO_LOW": "the peer supports neither TLS 1.2 nor TLS 1.3",
    "NO_SHARED_CIPHER": "the peer offers no cipher suite that we accept, or none that fits our key",
    "NO_SUITABLE_SIGNATURE_ALGORITHM": "the peer accepts no signature that our key can make",
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "the peer gave no certificate, and we require one",
    "EE_KEY_TOO_SMALL": "the peer's certificate has a key that is too short",
    "UNEXPECTED_EOF_WHILE_READING": _CLOSED,
}
"""What ends a handshake on this side, by OpenSSL's name."""


def is_wrong_name(error: BaseException | None) -> bool:
    """Whether the peer's certificate is good but for its names."""
    return isinstance(error, ssl.SSLCertVerificationError) and error.verify_code in _WRONG_NAME


def handshake_failure(error: OSError) -> str:
    """Why a handshake failed."""
    if isinstance(error, ssl.SSLCertVerificationError):
        if is_wrong_name(error):
            return "the peer's certificate is for another name"
        problem = _THEIR_CERTIFICATE.get(error.verify_code, f"cannot be verified: {error.verify_message}")
        return f"the peer's certificate {problem}"
    if isinstance(error, ssl.SSLError):
        return refusal(error)
    if isinstance(error, ConnectionAbortedError):  # as asyncio and uvloop call it
        return "the peer did not complete it in time"
    return _CLOSED


def refusal(error: ssl.SSLError) -> str:
    """Why TLS ended, which TLS 1.3 may tell a requestor only after its handshake."""
    # Reasons without a name have their text alone.
    reason = (error.reason or str(error).rpartition("] ")[2].partition(" (")[0].replace(" ", "_")).upper()
    if reason in _WE_REFUSE:
        return _WE_REFUSE[reason]
    _, is_alert, alert = reason.partition("_ALERT_")
    known = _PEER_REFUSES.get(alert if is_alert else reason.removeprefix("TLSV1_"))
    if known is not None:
        return known
    return reason.replace("_", " ").lower()
