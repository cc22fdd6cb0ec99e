"""What else speaks to a DICOM port, by its first bytes."""

from __future__ import annotations

import pytest

from dimse.upper_layer.pdu import PDU_TYPES
from dimse.upper_layer.strangers import is_http, may_become_http, stranger


@pytest.mark.parametrize(
    ("first", "name"),
    [
        (b"GET / HTTP/1.1\r\n", "HTTP"),
        (b"OPTIONS * HTTP/1.1\r\n", "HTTP"),
        (b"HTTP/1.1 400 Bad Request\r\n", "HTTP"),
        (b"PRI * HTTP/2.0\r\n", "HTTP"),
        (bytes.fromhex("16 03 01 02 00 01"), "TLS"),
        (b"SSH-2.0-OpenSSH_9.6\r\n", "SSH"),
        (b"EHLO mail\r\n", "SMTP"),
        (b"\x0bMSH|^~\\&|", "HL7"),
        (b"PROXY TCP4 10.0.0.1", "not a trusted proxy"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11", "not a trusted proxy"),
    ],
)
def test_what_speaks_is_named(first: bytes, name: str) -> None:
    assert name in stranger(first[:6])


def test_nothing_is_named_that_may_be_anything() -> None:
    for first in (b"\xff" * 6, b"\0" * 6, b"hello ", b"GETTIN"):
        assert stranger(first) == ""
    for kind in PDU_TYPES:
        assert stranger(bytes([kind, 0, 0, 0, 0, 4])) == ""
        assert not may_become_http(bytes([kind]))


def test_an_http_request_shows_byte_by_byte() -> None:
    request = b"OPTIONS / HTTP/1.0\r\n"
    assert all(may_become_http(request[:count]) for count in range(20))
    assert [is_http(request[:count]) for count in (7, 8, 9)] == [False, True, True]
    assert not may_become_http(b"OPTIMUS")
    assert not may_become_http(b"GET\r\n")
