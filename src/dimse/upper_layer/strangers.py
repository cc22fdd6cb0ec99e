"""Other protocols that speak to a DICOM port, by their first bytes."""

from __future__ import annotations

from typing import Final

HTTP_METHODS: Final = (
    b"GET ",
    b"HEAD ",
    b"POST ",
    b"PUT ",
    b"OPTIONS ",
    b"DELETE ",
    b"CONNECT ",
    b"TRACE ",
    b"PATCH ",
    b"PRI * HTTP/2",
)
"""How an HTTP request begins (RFC 9110 9, RFC 9113 3.4)."""

_HTTP: Final = "the peer speaks HTTP, not DICOM"
_TLS: Final = "the peer speaks TLS on this port"

_BEGINNINGS: Final = {
    b"HTTP/": _HTTP,
    **dict.fromkeys(HTTP_METHODS, _HTTP),
    b"\x16\x03": _TLS,  # a handshake message (RFC 8446 5.1)
    b"\x15\x03": _TLS,  # an alert
    b"\x80\x2e\x01": _TLS,  # the ClientHello of SSL 2
    b"SSH-": "the peer speaks SSH, not DICOM",
    b"EHLO ": "the peer speaks SMTP, not DICOM",
    b"HELO ": "the peer speaks SMTP, not DICOM",
    b"\x0bMSH|": "the peer speaks HL7 (MLLP), not DICOM",
    b"PROXY ": "a PROXY header, and the peer is not a trusted proxy",
    b"\r\n\r\n\0\r\nQUIT\n": "a PROXY header, and the peer is not a trusted proxy",
}


def stranger(header: bytes) -> str:
    """The words that name the protocol of a PDU header, six bytes, that is not DICOM; empty if it is not known."""
    for beginning, words in _BEGINNINGS.items():
        if header.startswith(beginning[: len(header)]):
            return words
    return ""


def may_become_http(first: bytes) -> bool:
    """Whether the first bytes of a connection are those of an HTTP request, as far as they go."""
    return any(first[: len(method)] == method[: len(first)] for method in HTTP_METHODS)


def is_http(first: bytes) -> bool:
    """Whether they are, for certain."""
    return first.startswith(HTTP_METHODS)
