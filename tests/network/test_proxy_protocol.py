"""Headers of the PROXY protocol, whole, byte by byte, and malformed."""

from __future__ import annotations

import struct
from ipaddress import ip_address

import pytest

from dimse.network.proxy_protocol import MAXIMUM_BINARY, MAXIMUM_LINE, read_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def binary(command: int, family: int, body: bytes) -> bytes:
    return SIGNATURE + struct.pack("!BBH", command, family, len(body)) + body


def addresses(source: str, destination: str, port: int) -> bytes:
    return ip_address(source).packed + ip_address(destination).packed + struct.pack("!HH", port, 104)


TCP4 = binary(0x21, 0x11, addresses("192.0.2.7", "192.0.2.1", 40000))
TCP6 = binary(0x21, 0x21, addresses("2001:db8::7", "2001:db8::1", 40000))


@pytest.mark.parametrize(
    ("header", "peer"),
    [
        (b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 104\r\n", ("192.0.2.7", 40000)),
        (b"PROXY TCP6 2001:db8:0::7 2001:db8::1 65535 0\r\n", ("2001:db8::7", 65535)),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::ffff:192.0.2.1 40000 104\r\n", ("192.0.2.7", 40000)),
        (binary(0x21, 0x21, addresses("::ffff:192.0.2.7", "::1", 40000)), ("192.0.2.7", 40000)),
        (b"PROXY UNKNOWN\r\n", None),
        (b"PROXY UNKNOWN ffff:f::f ffff::f 65535 65535\r\n", None),
        (TCP4, ("192.0.2.7", 40000)),
        (TCP6, ("2001:db8::7", 40000)),
        (
            binary(0x21, 0x11, addresses("192.0.2.7", "192.0.2.1", 40000) + b"\x04\x00\x03abc"),
            ("192.0.2.7", 40000),
        ),
        (binary(0x21, 0x21, addresses("2001:db8::7", "2001:db8::1", 1) + bytes(1000)), ("2001:db8::7", 1)),
        (binary(0x20, 0x00, b""), None),
        (binary(0x20, 0x11, addresses("192.0.2.7", "192.0.2.1", 40000)), None),
        (binary(0x21, 0x00, bytes(7)), None),
        (binary(0x21, 0x31, bytes(216)), None),
        (binary(0x21, 0x12, addresses("192.0.2.7", "192.0.2.1", 40000)), None),
    ],
)
def test_a_header_is_read_to_its_end_and_no_further(header: bytes, peer: tuple[str, int] | None) -> None:
    for rest in (b"", b"\x01\x00", header):
        assert read_header(header + rest) == (len(header), peer)
    for count in range(len(header)):
        assert read_header(header[:count]) is None


@pytest.mark.parametrize(
    "data",
    [
        b"\x01\0\0\0\0\0",
        b"PROXy ",
        b"PROXY\r\n",
        b"PROXY \r\n",
        b"PROXY TCP4\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 40000\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 104 \r\n",
        b"PROXY TCP4  192.0.2.7 192.0.2.1 40000 104\r\n",
        b"PROXY TCP4 2001:db8::7 2001:db8::1 40000 104\r\n",
        b"PROXY TCP6 192.0.2.7 192.0.2.1 40000 104\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 65536 104\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 -1 104\r\n",
        b"PROXY TCP4 192.0.2.7 192.0.2.1 4000\xb2 104\r\n",
        b"PROXY TCP4 192.0.2.999 192.0.2.1 40000 104\r\n",
        b"PROXY UDP4 192.0.2.7 192.0.2.1 40000 104\r\n",
        b"PROXY UNKNOWN " + b"x" * MAXIMUM_LINE,
        b"PROXY UNKNOWN " + b"x" * (MAXIMUM_LINE - 15) + b"\r\n",
        b"PROXY TCP4 \x1b]0;evil\x07 192.0.2.1 40000 104\r\n",
        b"PROXY TCP6 fe80::1%\x1b]0;evil\x07 fe80::2 40000 104\r\n",
        b"\r\n\r\n\0\r\nQUIX",
        binary(0x22, 0x11, bytes(12)),
        binary(0x11, 0x11, bytes(12)),
        binary(0x21, 0x11, bytes(11)),
        binary(0x21, 0x21, bytes(35)),
        SIGNATURE + struct.pack("!BBH", 0x21, 0x11, MAXIMUM_BINARY),
    ],
)
def test_a_malformed_header_is_refused_without_its_text(data: bytes) -> None:
    with pytest.raises(ValueError, match="PROXY header") as raised:
        read_header(data)
    assert "evil" not in str(raised.value)
    assert raised.value.__suppress_context__ or raised.value.__context__ is None
