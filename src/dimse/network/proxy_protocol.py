"""The header of the PROXY protocol, in which a proxy names the peer that it connects for; versions 1 and 2.

The specification is HAProxy's proxy-protocol.txt, of which the sections are cited.
"""

from __future__ import annotations

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import Final, NamedTuple

MAXIMUM_LINE: Final = 107
"""The longest header of version 1 with its CRLF (2.1)."""

MAXIMUM_BINARY: Final = 2048
"""The longest header of version 2; addresses take 52 bytes, the rest is additional information, which is skipped."""

_LINE: Final = b"PROXY "
_SIGNATURE: Final = b"\r\n\r\n\0\r\nQUIT\n"
_BINARY: Final = struct.Struct("!12sBBH")
"""Signature, version and command, family and transport, length of what follows (2.2)."""

_LOCAL: Final = 0x20
_PROXY: Final = 0x21
_TCP4: Final = 0x11
_TCP6: Final = 0x21
_HIGHEST_PORT: Final = 65535


class ProxyHeader(NamedTuple):
    """A whole header: how long it was, and the peer's host and port; None where it speaks of none, as of a probe."""

    length: int
    peer: tuple[str, int] | None


def read_header(data: bytes) -> ProxyHeader | None:
    """The header that `data` begins with; None if there is more to come. Raises `ValueError` if it is malformed."""
    if data.startswith(_LINE[: len(data)]):
        return _read_line(data)
    if data.startswith(_SIGNATURE[: len(data)]):
        return _read_binary(data)
    raise ValueError("it does not begin with a PROXY header")


def _read_line(data: bytes) -> ProxyHeader | None:
    line, end, _ = data[:MAXIMUM_LINE].partition(b"\r\n")
    if not end:
        if len(data) >= MAXIMUM_LINE:
            raise ValueError(f"its PROXY header has more than {MAXIMUM_LINE} bytes")
        return None
    _, family, *rest = line.decode("latin-1").split(" ")
    length = len(line) + len(end)
    if family == "UNKNOWN":
        return ProxyHeader(length, None)
    if family not in ("TCP4", "TCP6") or len(rest) != 4:
        raise ValueError("its PROXY header is malformed")
    source, _ = (_address(text, family) for text in rest[:2])
    port, _ = (_port(text) for text in rest[2:])
    return ProxyHeader(length, (source, port))


def _host(address: IPv4Address | IPv6Address) -> str:
    """The address as a socket reports it: IPv4 written as IPv6 (::ffff:192.0.2.7) is the same host, with its limits."""
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return str(mapped or address)


def _address(text: str, family: str) -> str:
    try:
        address = IPv4Address(text) if family == "TCP4" else IPv6Address(text)
    except ValueError:  # its message has the text
        raise ValueError("an address of its PROXY header is malformed") from None
    if "%" in text:  # a zone has no place in it, and may be any text
        raise ValueError("an address of its PROXY header has a zone")
    return _host(address)


def _port(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or len(text) > 5 or int(text) > _HIGHEST_PORT:
        raise ValueError("a port of its PROXY header is not a number up to 65535")
    return int(text)


def _read_binary(data: bytes) -> ProxyHeader | None:
    if len(data) < _BINARY.size:
        return None
    _, command, family, following = _BINARY.unpack_from(data)
    length = _BINARY.size + following
    if command not in (_LOCAL, _PROXY):
        raise ValueError(f"its PROXY header has version and command {command:02X}H, which are not known")
    if length > MAXIMUM_BINARY:
        raise ValueError(f"its PROXY header has more than {MAXIMUM_BINARY} bytes")
    if len(data) < length:
        return None
    if command == _LOCAL or family not in (_TCP4, _TCP6):
        return ProxyHeader(length, None)
    size = 4 if family == _TCP4 else 16
    if following < 2 * size + 4:
        raise ValueError("its PROXY header is shorter than the addresses in it")
    source = data[_BINARY.size : _BINARY.size + size]
    host = _host(IPv4Address(source) if family == _TCP4 else IPv6Address(source))
    [port] = struct.unpack_from("!H", data, _BINARY.size + 2 * size)
    return ProxyHeader(length, (host, port))
