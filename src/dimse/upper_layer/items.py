"""Items of A-ASSOCIATE-RQ and -AC: presentation contexts and user information (PS3.8 9.3.2, PS3.7 D.3.3).

Decoding keeps text as it was received, padding included: `negotiation` judges it. An item that cannot be decoded
without guessing raises `RemoteProtocolError` with the A-ABORT reason to send.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Collection, Iterator
from dataclasses import field
from enum import IntEnum
from typing import Final, Self, TypeVar

from dimse.records import record
from dimse.upper_layer.deviations import invalid

_ITEM_HEADER = struct.Struct(">BxH")
_UINT16 = struct.Struct(">H")

MAXIMUM_IDENTITY: Final = 48 * 1024
"""Bytes of a user identity to send: with 128 contexts, the user information must stay below its 64 KiB."""

T = TypeVar("T")


class ItemType(IntEnum):
    """Types of items and sub-items (PS3.8 9.3.2, 9.3.3, D.1; PS3.7 D.3.3)."""

    APPLICATION_CONTEXT = 0x10
    PRESENTATION_CONTEXT_RQ = 0x20
    PRESENTATION_CONTEXT_AC = 0x21
    ABSTRACT_SYNTAX = 0x30
    TRANSFER_SYNTAX = 0x40
    USER_INFORMATION = 0x50
    MAXIMUM_LENGTH = 0x51
    IMPLEMENTATION_CLASS_UID = 0x52
    ASYNCHRONOUS_OPERATIONS_WINDOW = 0x53
    ROLE_SELECTION = 0x54
    IMPLEMENTATION_VERSION_NAME = 0x55
    SOP_CLASS_EXTENDED_NEGOTIATION = 0x56
    SOP_CLASS_COMMON_EXTENDED_NEGOTIATION = 0x57
    USER_IDENTITY_RQ = 0x58
    USER_IDENTITY_AC = 0x59


REQUEST_ONLY: Final = (ItemType.SOP_CLASS_COMMON_EXTENDED_NEGOTIATION, ItemType.USER_IDENTITY_RQ)
"""Sub-items that have no meaning in an A-ASSOCIATE-AC (PS3.7 D.3.3.6, D.3.3.7)."""

ACCEPTANCE_ONLY: Final = (ItemType.USER_IDENTITY_AC,)
"""Sub-items that have no meaning in an A-ASSOCIATE-RQ (PS3.7 D.3.3.7)."""


def encode_item(item_type: int, body: bytes) -> bytes:
    """One item or sub-item: type, reserved byte, 16-bit length, body."""
    if len(body) > 0xFFFF:
        raise ValueError(f"item {item_type:02X}H must be at most 65535 bytes, not {len(body)}")
    return _ITEM_HEADER.pack(item_type, len(body)) + body


def encode_text_item(item_type: ItemType, text: str) -> bytes:
    """An item whose body is a UID or a name."""
    return encode_item(item_type, text.encode("latin-1"))


def decode_items(data: bytes, container: str) -> Iterator[tuple[int, bytes]]:
    """(type, body) of each item in `data`, of unknown types too. An item that exceeds its container is an error."""
    position = 0
    while position < len(data):
        if len(data) - position < _ITEM_HEADER.size:
            raise invalid(f"{container}: {len(data) - position} stray bytes after the last item")
        item_type, length = _ITEM_HEADER.unpack_from(data, position)
        position += _ITEM_HEADER.size
        if length > len(data) - position:
            raise invalid(f"{container}: item {item_type:02X}H of {length} bytes exceeds its container")
        yield item_type, data[position : position + length]
        position += length


def decode_text(data: bytes) -> str:
    """Text of ISO 646. Other bytes are decoded as Latin-1, so that they can be shown and compared."""
    return data.decode("latin-1")


class _Fields:
    """Takes fixed and counted fields from the front of a sub-item, each checked against the remaining bytes."""

    def __init__(self, data: bytes, item: str) -> None:
        self._data = data
        self._position = 0
        self._item = item

    def take(self, length: int) -> bytes:
        end = self._position + length
        if end > len(self._data):
            raise invalid(f"{self._item}: a field of {length} bytes exceeds the item of {len(self._data)}")
        value = self._data[self._position : end]
        self._position = end
        return value

    def uint8(self) -> int:
        return self.take(1)[0]

    def uint16(self) -> int:
        return int(_UINT16.unpack(self.take(2))[0])

    def counted(self) -> bytes:
        return self.take(self.uint16())

    def rest(self) -> bytes:
        return self.take(self.remaining)

    @property
    def remaining(self) -> int:
        return len(self._data) - self._position


def _counted(data: bytes) -> bytes:
    if len(data) > 0xFFFF:
        raise ValueError(f"a field must be at most 65535 bytes, not {len(data)}")
    return _UINT16.pack(len(data)) + data


class ContextResult(IntEnum):
    """Result/Reason of a presentation context (PS3.8 Table 9-18)."""

    ACCEPTANCE = 0
    USER_REJECTION = 1
    NO_REASON = 2
    ABSTRACT_SYNTAX_NOT_SUPPORTED = 3
    TRANSFER_SYNTAXES_NOT_SUPPORTED = 4


@record()
class PresentationContextRQ:
    """A proposed presentation context (PS3.8 9.3.2.2)."""

    presentation_context_id: int
    abstract_syntax: str
    transfer_syntaxes: tuple[str, ...]

    def encode(self) -> bytes:
        head = bytes((self.presentation_context_id, 0, 0, 0))
        abstract_syntax = encode_text_item(ItemType.ABSTRACT_SYNTAX, self.abstract_syntax)
        transfer_syntaxes = [encode_text_item(ItemType.TRANSFER_SYNTAX, uid) for uid in self.transfer_syntaxes]
        return encode_item(ItemType.PRESENTATION_CONTEXT_RQ, b"".join((head, abstract_syntax, *transfer_syntaxes)))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "presentation context")
        context_id = fields.take(4)[0]
        abstract_syntaxes, transfer_syntaxes = [], []
        for item_type, value in decode_items(fields.rest(), f"presentation context {context_id}"):
            if item_type == ItemType.ABSTRACT_SYNTAX:
                abstract_syntaxes.append(decode_text(value))
            elif item_type == ItemType.TRANSFER_SYNTAX:
                transfer_syntaxes.append(decode_text(value))
        # Without an abstract syntax, or with two that differ, the context is useless.
        abstract_syntax = abstract_syntaxes[0] if len(set(abstract_syntaxes)) == 1 else ""
        return cls(context_id, abstract_syntax, tuple(transfer_syntaxes))


@record()
class PresentationContextAC:
    """The result of a proposed presentation context (PS3.8 9.3.3.2).

    `transfer_syntax` has a meaning only if `result` is `ACCEPTANCE`; otherwise it is not tested when received.
    """

    presentation_context_id: int
    result: int
    transfer_syntax: str
    """Empty if the acceptor accepts with no transfer syntax, or with two that differ."""
    is_repeated: bool = field(default=False, compare=False)
    """Whether the transfer syntax was received more than once."""

    def encode(self) -> bytes:
        head = bytes((self.presentation_context_id, 0, self.result, 0))
        transfer_syntax = encode_text_item(ItemType.TRANSFER_SYNTAX, self.transfer_syntax)
        return encode_item(ItemType.PRESENTATION_CONTEXT_AC, head + transfer_syntax)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "presentation context result")
        context_id, _, result, _ = fields.take(4)
        if result != ContextResult.ACCEPTANCE:
            return cls(context_id, result, "")  # PS3.8 9.3.3.2: "its value shall not be tested when received"
        syntaxes = [
            decode_text(value)
            for item_type, value in decode_items(fields.rest(), f"presentation context {context_id}")
            if item_type == ItemType.TRANSFER_SYNTAX
        ]
        is_unique = len({syntax.strip(" \0") for syntax in syntaxes}) == 1
        return cls(context_id, result, syntaxes[0] if is_unique else "", len(syntaxes) > 1)


@record()
class AsynchronousOperationsWindow:
    """How many operations may be outstanding at once; 0 means no limit (PS3.7 D.3.3.3)."""

    maximum_number_operations_invoked: int = 1
    maximum_number_operations_performed: int = 1

    def encode(self) -> bytes:
        numbers = (self.maximum_number_operations_invoked, self.maximum_number_operations_performed)
        return encode_item(ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW, struct.pack(">HH", *numbers))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "asynchronous operations window")
        return cls(fields.uint16(), fields.uint16())


@record()
class RoleSelection:
    """SCP/SCU Role Selection for one SOP class (PS3.7 D.3.3.4). The roles are the requestor's."""

    sop_class_uid: str
    scu_role: bool
    scp_role: bool

    def encode(self) -> bytes:
        uid = self.sop_class_uid.encode("latin-1")
        return encode_item(ItemType.ROLE_SELECTION, _counted(uid) + bytes((self.scu_role, self.scp_role)))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "role selection")
        return cls(decode_text(fields.counted()), fields.uint8() == 1, fields.uint8() == 1)


@record()
class SOPClassExtendedNegotiation:
    """The application information for one SOP class, not interpreted here (PS3.7 D.3.3.5)."""

    sop_class_uid: str
    service_class_application_information: bytes

    def encode(self) -> bytes:
        uid = self.sop_class_uid.encode("latin-1")
        body = _counted(uid) + self.service_class_application_information
        return encode_item(ItemType.SOP_CLASS_EXTENDED_NEGOTIATION, body)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "SOP class extended negotiation")
        return cls(decode_text(fields.counted()), fields.rest())


@record()
class SOPClassCommonExtendedNegotiation:
    """The service class and the related general SOP classes of one SOP class (PS3.7 D.3.3.6)."""

    sop_class_uid: str
    service_class_uid: str
    related_general_sop_class_uids: tuple[str, ...] = ()

    def encode(self) -> bytes:
        related = b"".join(_counted(uid.encode("latin-1")) for uid in self.related_general_sop_class_uids)
        return encode_item(
            ItemType.SOP_CLASS_COMMON_EXTENDED_NEGOTIATION,
            _counted(self.sop_class_uid.encode("latin-1"))
            + _counted(self.service_class_uid.encode("latin-1"))
            + _counted(related),
        )

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "SOP class common extended negotiation")
        sop_class, service_class = decode_text(fields.counted()), decode_text(fields.counted())
        related_fields, related = _Fields(fields.counted(), "related general SOP classes"), []
        while related_fields.remaining:
            related.append(decode_text(related_fields.counted()))
        return cls(sop_class, service_class, tuple(related))


class UserIdentityType(IntEnum):
    """The kinds of user identity (PS3.7 Table D.3-14)."""

    USERNAME = 1
    USERNAME_AND_PASSCODE = 2
    KERBEROS = 3
    SAML = 4
    JWT = 5


@record()
class UserIdentityRQ:
    """The identity of the user (PS3.7 D.3.3.7.1). `repr` leaves the fields out, since they are secrets.

    A requestor makes it with `username`, `username_and_passcode`, `kerberos`, `saml` or `jwt`. They raise `ValueError`
    for an identity that is empty or too long, `TypeError` for one of another type. They request a positive response:
    an acceptor that supports user identity negotiation then confirms the identity, and one that does not ignores both.
    Only TLS keeps an identity secret.
    """

    user_identity_type: int
    primary_field: bytes
    secondary_field: bytes = b""
    positive_response_requested: bool = False

    @classmethod
    def username(cls, name: str, *, positive_response_requested: bool = True) -> Self:
        """A user without proof."""
        primary = _identity_field("username", _utf_8("username", name))
        return cls(UserIdentityType.USERNAME, primary, b"", positive_response_requested)

    @classmethod
    def username_and_passcode(
        cls, name: str, passcode: str | bytes, *, positive_response_requested: bool = True
    ) -> Self:
        """A user and a password; text is encoded in UTF-8."""
        primary = _identity_field("username", _utf_8("username", name))
        encoded = _utf_8("passcode", passcode) if isinstance(passcode, str) else passcode
        secondary = _identity_field("passcode", encoded, len(primary))
        return cls(UserIdentityType.USERNAME_AND_PASSCODE, primary, secondary, positive_response_requested)

    @classmethod
    def kerberos(cls, service_ticket: bytes, *, positive_response_requested: bool = True) -> Self:
        """A Kerberos service ticket. The response is the server's ticket."""
        primary = _identity_field("Kerberos service ticket", service_ticket)
        return cls(UserIdentityType.KERBEROS, primary, b"", positive_response_requested)

    @classmethod
    def saml(cls, assertion: bytes, *, positive_response_requested: bool = True) -> Self:
        """A SAML assertion, in XML. The response is the SAML response."""
        primary = _identity_field("SAML assertion", assertion)
        return cls(UserIdentityType.SAML, primary, b"", positive_response_requested)

    @classmethod
    def jwt(cls, token: bytes, *, positive_response_requested: bool = True) -> Self:
        """A JSON Web Token. The response is the JSON response."""
        primary = _identity_field("JSON Web Token", token)
        return cls(UserIdentityType.JWT, primary, b"", positive_response_requested)

    def __repr__(self) -> str:
        return f"UserIdentityRQ(user_identity_type={int(self.user_identity_type)})"

    def encode(self) -> bytes:
        head = bytes((self.user_identity_type, self.positive_response_requested))
        body = head + _counted(self.primary_field) + _counted(self.secondary_field)
        return encode_item(ItemType.USER_IDENTITY_RQ, body)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        fields = _Fields(body, "user identity")
        identity_type, response_requested = fields.uint8(), fields.uint8() == 1
        return cls(identity_type, fields.counted(), fields.counted(), response_requested)


def _utf_8(what: str, text: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"the {what} must be a str, not {type(text).__name__}")
    try:
        return text.encode()
    except UnicodeEncodeError:  # which quotes the text
        raise ValueError(f"the {what} cannot be encoded in UTF-8") from None


def _identity_field(what: str, value: bytes, before: int = 0) -> bytes:
    """`value`, if it has a place in the item behind `before` bytes. The error does not contain it."""
    if not isinstance(value, bytes):
        raise TypeError(f"the {what} must be bytes, not {type(value).__name__}")
    if not value:
        raise ValueError(f"the {what} must not be empty")
    if len(value) > MAXIMUM_IDENTITY - before:
        raise ValueError(f"the {what} must be at most {MAXIMUM_IDENTITY - before} bytes, not {len(value)}")
    return value


@record()
class UserIdentityAC:
    """The acceptor's response to a user identity that requested one (PS3.7 D.3.3.7.2). `repr` leaves it out."""

    server_response: bytes = b""
    """Empty for a username; the server's ticket (Kerberos), or response (SAML, JWT), otherwise."""

    def __repr__(self) -> str:
        return "UserIdentityAC()"

    def encode(self) -> bytes:
        return encode_item(ItemType.USER_IDENTITY_AC, _counted(self.server_response))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        return cls(_Fields(body, "user identity response").counted())


@record()
class UserInformation:
    """The User Information item and all its sub-items (PS3.8 9.3.2.3, 9.3.3.3, D.1; PS3.7 D.3.3).

    `maximum_length` is the largest P-DATA-TF PDU-length that the sender of the item is willing to receive, in bytes;
    0 means no limit. A field is None if its sub-item is absent.
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
            parts.append(encode_item(ItemType.MAXIMUM_LENGTH, struct.pack(">I", self.maximum_length)))
        if self.implementation_class_uid is not None:
            parts.append(encode_text_item(ItemType.IMPLEMENTATION_CLASS_UID, self.implementation_class_uid))
        if self.asynchronous_operations_window is not None:
            parts.append(self.asynchronous_operations_window.encode())
        parts.extend(role.encode() for role in self.role_selections)
        if self.implementation_version_name is not None:
            parts.append(encode_text_item(ItemType.IMPLEMENTATION_VERSION_NAME, self.implementation_version_name))
        parts.extend(item.encode() for item in self.sop_class_extended)
        parts.extend(item.encode() for item in self.sop_class_common_extended)
        if self.user_identity is not None:
            parts.append(self.user_identity.encode())
        if self.user_identity_response is not None:
            parts.append(self.user_identity_response.encode())
        return encode_item(ItemType.USER_INFORMATION, b"".join(parts))

    @classmethod
    def decode(cls, body: bytes, skipped: Collection[ItemType] = ()) -> Self:
        """Unknown sub-items and those in `skipped` are skipped (PS3.8 9.3.1).

        Of a sub-item that must be single, the first counts.
        """
        found: dict[int, list[bytes]] = {}
        for item_type, value in decode_items(body, "user information"):
            if item_type not in skipped:
                found.setdefault(item_type, []).append(value)

        def first(item_type: ItemType, decode: Callable[[bytes], T]) -> T | None:
            return decode(found[item_type][0]) if item_type in found else None

        def every(item_type: ItemType, decode: Callable[[bytes], T]) -> tuple[T, ...]:
            return tuple(map(decode, found.get(item_type, ())))

        return cls(
            maximum_length=first(ItemType.MAXIMUM_LENGTH, _decode_maximum_length),
            implementation_class_uid=first(ItemType.IMPLEMENTATION_CLASS_UID, decode_text),
            implementation_version_name=first(ItemType.IMPLEMENTATION_VERSION_NAME, decode_text),
            asynchronous_operations_window=first(
                ItemType.ASYNCHRONOUS_OPERATIONS_WINDOW, AsynchronousOperationsWindow.decode
            ),
            role_selections=every(ItemType.ROLE_SELECTION, RoleSelection.decode),
            sop_class_extended=every(ItemType.SOP_CLASS_EXTENDED_NEGOTIATION, SOPClassExtendedNegotiation.decode),
            sop_class_common_extended=every(
                ItemType.SOP_CLASS_COMMON_EXTENDED_NEGOTIATION, SOPClassCommonExtendedNegotiation.decode
            ),
            user_identity=first(ItemType.USER_IDENTITY_RQ, UserIdentityRQ.decode),
            user_identity_response=first(ItemType.USER_IDENTITY_AC, UserIdentityAC.decode),
        )


def _decode_maximum_length(body: bytes) -> int:
    if len(body) != 4:
        raise invalid(f"the maximum length sub-item must have 4 bytes, not {len(body)}")
    return int.from_bytes(body, "big")
