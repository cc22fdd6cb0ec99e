"""PDUs and command sets as octets, written by the standard's tables and not by our own encoders.

`Octets` know where their length fields and reserved bytes are, so that generators can damage each of them.
"""

from __future__ import annotations

import struct
from typing import NamedTuple


class Length(NamedTuple):
    """A length field: where it is, how many bytes it has, and whose it is."""

    position: int
    size: int
    name: str


class Octets(NamedTuple):
    """Bytes, with the positions of their length fields and of their reserved bytes."""

    data: bytes
    lengths: tuple[Length, ...] = ()
    reserved: tuple[int, ...] = ()

    def with_length(self, field: Length, value: int) -> bytes:
        """The bytes with another value in a length field."""
        changed = bytearray(self.data)
        changed[field.position : field.position + field.size] = value.to_bytes(field.size, "big")
        return bytes(changed)

    def length(self, field: Length) -> int:
        """The value of a length field."""
        return int.from_bytes(self.data[field.position : field.position + field.size], "big")


def join(*parts: Octets | bytes) -> Octets:
    """Parts in a row."""
    data, lengths, reserved, at = list[bytes](), list[Length](), list[int](), 0
    for part in parts:
        octets = part if isinstance(part, Octets) else Octets(part)
        lengths += [field._replace(position=field.position + at) for field in octets.lengths]
        reserved += [position + at for position in octets.reserved]
        data.append(octets.data)
        at += len(octets.data)
    return Octets(b"".join(data), tuple(lengths), tuple(reserved))


def spare(count: int) -> Octets:
    """Reserved bytes."""
    return Octets(bytes(count), reserved=tuple(range(count)))


def _measured(name: str, size: int, body: Octets) -> Octets:
    field = Octets(len(body.data).to_bytes(size, "big"), (Length(0, size, name),))
    return join(field, body)


def pdu(number: int, *parts: Octets | bytes) -> Octets:
    """A PDU (PS3.8 9.3.1): type, reserved byte, 32-bit length, body."""
    return join(bytes([number]), spare(1), _measured(f"PDU {number:02X}H", 4, join(*parts)))


def item(number: int, *parts: Octets | bytes) -> Octets:
    """An item or sub-item (PS3.8 9.3.2): type, reserved byte, 16-bit length, body."""
    return join(bytes([number]), spare(1), _measured(f"item {number:02X}H", 2, join(*parts)))


def field(name: str, value: bytes) -> Octets:
    """A field within a sub-item, after its 16-bit length (PS3.7 D.3.3)."""
    return _measured(name, 2, Octets(value))


def pdv(context_id: int, control: int, fragment: bytes) -> Octets:
    """A PDV (PS3.8 9.3.5.1): 32-bit length, Presentation Context ID, message control header, fragment."""
    return _measured("PDV", 4, Octets(bytes([context_id, control]) + fragment))


def p_data(*pdvs: Octets) -> Octets:
    """A P-DATA-TF."""
    return pdu(0x04, *pdvs)


def context_rq(context_id: int, abstract_syntax: str, *transfer_syntaxes: str) -> Octets:
    """A proposed presentation context (PS3.8 9.3.2.2)."""
    syntaxes = (item(0x40, uid.encode("latin-1")) for uid in transfer_syntaxes)
    return item(0x20, bytes([context_id]), spare(3), item(0x30, abstract_syntax.encode("latin-1")), *syntaxes)


def context_ac(context_id: int, result: int, *transfer_syntaxes: str) -> Octets:
    """The result of a proposed presentation context (PS3.8 9.3.3.2)."""
    syntaxes = (item(0x40, uid.encode("latin-1")) for uid in transfer_syntaxes)
    return item(0x21, bytes([context_id]), spare(1), bytes([result]), spare(1), *syntaxes)


def associate(
    number: int,
    *items: Octets | bytes,
    called: bytes = b"ARCHIVE",
    calling: bytes = b"PEER",
    version: int = 1,
) -> Octets:
    """An A-ASSOCIATE-RQ or -AC (PS3.8 9.3.2, 9.3.3). The AE titles of an -AC are reserved: not to be tested."""
    head = version.to_bytes(2, "big"), spare(2), called.ljust(16), calling.ljust(16), spare(32)
    return pdu(number, *head, *items)


def element(number: int, value: bytes | str | int) -> bytes:
    """An element of group 0000 (PS3.7 6.3.1): a UID, an AE title or text as `str`, US as `int`."""
    if isinstance(value, int):
        value = struct.pack("<H", value)
    if isinstance(value, str):
        value = value.encode("latin-1")
        value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def command(*elements: tuple[int, bytes | str | int]) -> bytes:
    """A Command Set, with its group length."""
    body = b"".join(element(number, value) for number, value in elements)
    return element(0x0000, struct.pack("<I", len(body))) + body


def command_pdu(context_id: int, *elements: tuple[int, bytes | str | int]) -> Octets:
    """A Command Set as one PDV in one P-DATA-TF."""
    return p_data(pdv(context_id, 0x03, command(*elements)))
