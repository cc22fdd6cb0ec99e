"""What A-ASSOCIATE-RQ and -AC carry: presentation contexts and user information (PS3.8 9.3.2, PS3.7 D.3.3).

Decoding keeps text as it came, padding included, so that `negotiation` can judge it by how strict it
was told to be. What cannot be decoded without guessing raises `RemoteProtocolError` with the A-ABORT
reason to send.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Self

from dimse.upper_layer.deviations import invalid

_ITEM_HEADER = struct.Struct(">BxH")
_UINT16 = struct.Struct(">H")


def encode_item(item_type: int, body: bytes) -> bytes:
    """One item or sub-item: type, reserved byte, 16-bit length, body."""
    if len(body) > 0xFFFF:
        raise ValueError(f"item {item_type:02X}H would be {len(body)} bytes; its length field holds 65535")
    return _ITEM_HEADER.pack(item_type, len(body)) + body


def decode_items(data: bytes, within: str) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each item in `data`; an item that leaves its container is an error."""
    position = 0
    while position < len(data):
        if len(data) - position < _ITEM_HEADER.size:
            raise invalid(f"{within}: {len(data) - position} stray bytes after the last item")
        item_type, length = _ITEM_HEADER.unpack_from(data, position)
        position += _ITEM_HEADER.size
        if length > len(data) - position:
            raise invalid(f"{within}: item {item_type:02X}H of {length} bytes leaves its container")
        yield item_type, data[position : position + length]
        position += length


def decode_text(data: bytes) -> str:
    """Text of ISO 646; other bytes are kept as Latin-1, so that they can be shown and compared."""
    return data.decode("latin-1")


class _Fields:
    """Takes fixed and counted fields off the front of a sub-item, each checked against what is left."""

    def __init__(self, data: bytes, what: str) -> None:
        self._data = data
        self._position = 0
        self._what = what

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise invalid(f"{self._what}: a field of {length} bytes leaves the item of {len(self._data)}")
        field = self._data[self._position : end]
        self._position = end
        return field

    def uint8(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int(_UINT16.unpack(self.take(2))[0])

    def counted(self) -> bytes:
        return self.take(self.uint16())

    def rest(self) -> bytes:
        return self.take(len(self._data) - self._position)

    @property
    def left(self) -> int:
        return len(self._data) - self._position


def _counted(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise ValueError(f"a field would be {len(data)} bytes; its length field holds 65535")
    return _UINT16.pack(len(data)) + data


class ContextResult(IntEnum):
    """Result/Reason of a presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@dataclass(frozen=True, slots=True)
class PresentationContextRQ:
    """A proposed presentation context (PS3.8 9.3.2.2)."""

    presentation_context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def encode(self) -> bytes:
        subitems = encode_item(0x30, self.abstract_syntax.encode("latin-1")) + b"".join(
            encode_item(0x40, syntax.encode("latin-1")) for syntax in self.transfer_syntaxes
        )
        return encode_item(0x20, bytes((self.presentation_context_id, 0, 0, 0)) + subitems)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "presentation context")
        context_id = fields.take(4)[0]
        abstract_syntaxes, transfer_syntaxes = [], []
        for item_type, value in decode_items(fields.rest(), f"presentation context {context_id}"):
            if item_type == 0x30:
                abstract_syntaxes.append(decode_text(value))
            elif item_type == 0x40:
                transfer_syntaxes.append(decode_text(value))
        # Without one, or with two that differ, it is a context for nothing.
        abstract_syntax = abstract_syntaxes[0] if len(set(abstract_syntaxes)) == 1 else ""
        return cls(context_id, abstract_syntax, tuple(transfer_syntaxes))


@dataclass(frozen=True, slots=True)
class PresentationContextAC:
    """The answer to a proposed presentation context (PS3.8 9.3.3.2).

    `transfer_syntax` means nothing unless `result` is `ACCEPTANCE`: it is not even looked at when received.
    """

    presentation_context_id: int
    result: int
    transfer_syntax: str
    """Empty where an acceptance came with none, or with two that differ."""
    is_repeated: bool = field(default=False, compare=False)
    """Whether the transfer syntax was received more than once."""

    def encode(self) -> bytes:
        head = bytes((self.presentation_context_id, 0, self.result, 0))
        return encode_item(0x21, head + encode_item(0x40, self.transfer_syntax.encode("latin-1")))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "presentation context result")
        context_id, _, result, _ = fields.take(4)
        if result != ContextResult.ACCEPTANCE:
            return cls(context_id, result, "")  # "its value shall not be tested when received"
        syntaxes = [
            decode_text(value)
            for item_type, value in decode_items(fields.rest(), f"presentation context {context_id}")
            if item_type == 0x40
        ]
        is_one = len({syntax.strip(" \0") for syntax in syntaxes}) == 1
        return cls(context_id, result, syntaxes[0] if is_one else "", len(syntaxes) > 1)


@dataclass(frozen=True, slots=True)
class AsynchronousOperationsWindow:
    """How many operations may be outstanding at once; 0 is no limit (PS3.7 D.3.3.3)."""

    maximum_number_operations_invoked: int = 1
    maximum_number_operations_performed: int = 1

    def encode(self) -> bytes:
        return encode_item(
            0x53,
            struct.pack(">HH", self.maximum_number_operations_invoked, self.maximum_number_operations_performed),
        )

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "asynchronous operations window")
        return cls(fields.uint16(), fields.uint16())


@dataclass(frozen=True, slots=True)
class RoleSelection:
    """SCP/SCU Role Selection for one SOP class (PS3.7 D.3.3.4). The roles are the requestor's."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool

    def encode(self) -> bytes:
        uid = self.sop_class_uid.encode("latin-1")
        return encode_item(0x54, _counted(uid) + bytes((self.scu_role, self.scp_role)))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "role selection")
        return cls(decode_text(fields.counted()), fields.uint8() == 1, fields.uint8() == 1)


@dataclass(frozen=True, slots=True)
class SOPClassExtendedNegotiation:
    """Application information of one SOP class, opaque here (PS3.7 D.3.3.5)."""

    sop_class_uid: str
    service_class_application_information: bytes

    def encode(self) -> bytes:
        uid = self.sop_class_uid.encode("latin-1")
        return encode_item(0x56, _counted(uid) + self.service_class_application_information)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "SOP class extended negotiation")
        return cls(decode_text(fields.counted()), fields.rest())


@dataclass(frozen=True, slots=True)
class SOPClassCommonExtendedNegotiation:
    """The service class and the related general SOP classes of one SOP class (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_class_uids: tuple[str, ...] = ()

    def encode(self) -> bytes:
        related = b"".join(_counted(uid.encode("latin-1")) for uid in self.related_general_sop_class_uids)
        return encode_item(
            0x57,
            _counted(self.sop_class_uid.encode("latin-1"))
            + _counted(self.service_class_uid.encode("latin-1"))
            + _counted(related),
        )

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "SOP class common extended negotiation")
        sop_class, service_class = decode_text(fields.counted()), decode_text(fields.counted())
        related_fields, related = _Fields(fields.counted(), "related general SOP classes"), []
        while related_fields.left:
            related.append(decode_text(related_fields.counted()))
        return cls(sop_class, service_class, tuple(related))


class UserIdentityType(IntEnum):
    """What a user identity is (PS3.7 Table D.3-14)."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@dataclass(frozen=True, slots=True)
class UserIdentityRQ:
    """Who the user is (PS3.7 D.3.3.7.1). The fields are kept out of `repr`: they are secrets."""

    user_identity_type: int
    primary_field: bytes
    secondary_field: bytes = b""
    positive_response_requested: bool = False

    def __repr__(self) -> str:
        return f"UserIdentityRQ(user_identity_type={self.user_identity_type})"

    def encode(self) -> bytes:
        head = bytes((self.user_identity_type, self.positive_response_requested))
        return encode_item(0x58, head + _counted(self.primary_field) + _counted(self.secondary_field))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "user identity")
        identity_type, response_requested = fields.uint8(), fields.uint8() == 1
        return cls(identity_type, fields.counted(), fields.counted(), response_requested)


@dataclass(frozen=True, slots=True)
class UserIdentityAC:
    """The acceptor's answer to a user identity that asked for one (PS3.7 D.3.3.7.2)."""

    server_response: bytes = b""

    def __repr__(self) -> str:
        return "UserIdentityAC()"

    def encode(self) -> bytes:
        return encode_item(0x59, _counted(self.server_response))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        return cls(_Fields(body, "user identity response").counted())


@dataclass(frozen=True, slots=True)
class UserInformation:
    """The User Information item and all its sub-items (PS3.8 9.3.2.3, 9.3.3.3, D.1; PS3.7 D.3.3).

    `maximum_length` bounds the P-DATA-TF PDU-length field that its sender wants to receive, in bytes;
    0 is no limit, None is a sub-item that was not there.
    """

    maximum_length: int | None = None
    implementation_class_uid: str | None = None
    implementation_version_name: str | None = None
    asynchronous_operations_window: AsynchronousOperationsWindow | None = None
    role_selections: tuple[RoleSelection, ...] = ()
    sop_class_extended: tuple[SOPClassExtendedNegotiation, ...] = ()
    sop_class_common_extended: tuple[SOPClassCommonExtendedNegotiation, ...] = ()
    user_identity: UserIdentityRQ | None = None
    user_identity_response: UserIdentityAC | None = None

    def encode(self) -> bytes:
        parts = []
        if self.maximum_length is not None:
            parts.append(encode_item(0x51, struct.pack(">I", self.maximum_length)))
        if self.implementation_class_uid is not None:
            parts.append(encode_item(0x52, self.implementation_class_uid.encode("latin-1")))
        if self.asynchronous_operations_window is not None:
            parts.append(self.asynchronous_operations_window.encode())
        parts.extend(role.encode() for role in self.role_selections)
        if self.implementation_version_name is not None:
            parts.append(encode_item(0x55, self.implementation_version_name.encode("latin-1")))
        parts.extend(item.encode() for item in self.sop_class_extended)
        parts.extend(item.encode() for item in self.sop_class_common_extended)
        if self.user_identity is not None:
            parts.append(self.user_identity.encode())
        if self.user_identity_response is not None:
            parts.append(self.user_identity_response.encode())
        return encode_item(0x50, b"".join(parts))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        """Sub-items of other types are skipped (PS3.8 9.3.1)."""
        found: dict[int, list[bytes]] = {}
        for item_type, value in decode_items(body, "user information"):
            found.setdefault(item_type, []).append(value)

        def single(item_type: int) -> bytes | None:
            return found[item_type][0] if item_type in found else None

        maximum_length = single(0x51)
        if maximum_length is not None and len(maximum_length) != 4:
            raise invalid(f"maximum length sub-item has {len(maximum_length)} bytes, not 4")
        class_uid, version_name, window = single(0x52), single(0x55), single(0x53)
        identity, identity_response = single(0x58), single(0x59)
        return cls(
            maximum_length=None if maximum_length is None else int.from_bytes(maximum_length, "big"),
            implementation_class_uid=None if class_uid is None else decode_text(class_uid),
            implementation_version_name=None if version_name is None else decode_text(version_name),
            asynchronous_operations_window=None if window is None else AsynchronousOperationsWindow.decode(window),
            role_selections=tuple(map(RoleSelection.decode, found.get(0x54, ()))),
            sop_class_extended=tuple(map(SOPClassExtendedNegotiation.decode, found.get(0x56, ()))),
            sop_class_common_extended=tuple(map(SOPClassCommonExtendedNegotiation.decode, found.get(0x57, ()))),
            user_identity=None if identity is None else UserIdentityRQ.decode(identity),
            user_identity_response=None if identity_response is None else UserIdentityAC.decode(identity_response),
        )
