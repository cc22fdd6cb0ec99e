"""What OpenSSL reports, in words; `test_handshake.py` has those that real handshakes end with."""

from __future__ import annotations

import ssl
from contextlib import suppress

from dimse.network.tls_errors import handshake_failure


def failure(answer: bytes) -> str:
    """What a requestor says if this answers its first message."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    requestor = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with suppress(ssl.SSLWantReadError):
        requestor.do_handshake()
    incoming.write(answer)
    if not answer:
        incoming.write_eof()
    try:
        requestor.do_handshake()
    except ssl.SSLError as error:
        return handshake_failure(error)
    return "no failure"


def test_each_alert_has_its_words() -> None:
    """RFC 8446 6.2."""
    expected = {
        40: "the peer accepts no cipher suite that we offer, or requires a certificate of ours",
        42: "the peer does not accept our certificate",
        43: "the peer does not accept a certificate of this kind (key type or Extended Key Usage)",
        44: "the peer says that our certificate was revoked",
        45: "the peer says that our certificate has expired",
        46: "the peer does not accept our certificate",
        48: "the peer does not trust the CA of our certificate",
        49: "the peer does not permit our certificate",
        51: "the peer cannot verify our signature",
        70: "the peer supports neither TLS 1.2 nor TLS 1.3",
        71: "the peer demands stronger cipher suites",
        80: "the peer has an internal error",
        112: "the peer does not know the name that we ask for",
        116: "the peer requires a certificate of ours, and we gave none",
        120: "the peer demands another application protocol",
    }
    said = {alert: failure(bytes([0x15, 3, 3, 0, 2, 2, alert])) for alert in expected}
    assert said == expected


def test_what_does_not_speak_tls() -> None:
    answers = [
        b"\x07\0\0\0\0\4\0\0\2\1",
        b"\x03\0\0\0\0\4\0\1\1\1",
        b"HTTP/1.1 400 Bad Request\r\n\r\n",
        b"SSH-2.0-x\r\n",
    ]
    assert {failure(answer) for answer in answers} == {"the peer does not speak TLS on this port"}
    assert failure(b"").startswith("the peer closed the connection; it may not speak TLS")


def test_what_has_no_words_of_ours_has_those_of_openssl() -> None:
    assert failure(bytes([0x15, 3, 3, 0, 2, 2, 109])) == "tlsv13 alert missing extension"


def test_errors_of_the_operating_system() -> None:
    assert handshake_failure(ConnectionResetError()).startswith("the peer closed the connection")
    assert handshake_failure(ConnectionAbortedError()) == "the peer did not complete it in time"
