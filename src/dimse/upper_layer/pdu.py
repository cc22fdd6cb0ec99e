"""The seven PDUs and the PDV (PS3.8 9.3), one class each.

`encode()` returns the whole PDU; `decode(body)` expects what follows the six bytes of type and length. `P_DATA_TF` and
`PDV` are encoded and decoded by scripted peers only: the machine reads and writes P-DATA-TF fragment by fragment.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable
from dataclasses import field, replace
from typing import ClassVar, Final, Self

from dimse.records import record
from dimse.uids import APPLICATION_CONTEXT
from dimse.upper_layer.deviations import invalid
from dimse.upper_layer.items import (
    ACCEPTANCE_ONLY,
    REQUEST_ONLY,
    ItemType,
    PresentationContextAC,
    PresentationContextRQ,
    UserInformation,
    decode_items,
    decode_text,
    encode_text_item,
)

PDU_HEADER: Final = struct.Struct(">BxI")
"""PDU-type, reserved, PDU-length: the length counts what follows these six bytes."""

PDV_HEADER: Final = struct.Struct(">IBB")
"""PDV length (which includes the next two bytes), Presentation Context ID, message control header."""

P_DATA_HEADER: Final = struct.Struct(">BxIIBB")
"""PDU_HEADER and PDV_HEADER: the 12 bytes before the fragment of a P-DATA-TF with one PDV."""

COMMAND: Final = 0b01
"""Message control header bit: the fragment is of a command, not of a data set (PS3.8 E.2)."""

LAST: Final = 0b10
"""Message control header bit: the fragment is the last of its command or data set (PS3.8 E.2)."""

_ASSOCIATE_HEAD = struct.Struct(">HH16s16s32s")


def encode_ae_title(title: str) -> bytes:
    """Sixteen bytes, padded with spaces (PS3.8 Table 9-11)."""
    encoded = title.encode("latin-1")
    if len(encoded) > 16:
        raise ValueError(f"an AE title must have at most 16 characters: {title!r}")
    return encoded.ljust(16)


@record()
class _Associate:
    """A-ASSOCIATE-RQ or A-ASSOCIATE-AC without its presentation contexts, which are all that differs."""

    pdu_type: ClassVar[int]
    name: ClassVar[str]
    context_item: ClassVar[ItemType]
    skipped_items: ClassVar[tuple[ItemType, ...]]
    """User items of the other of the two PDUs."""

    called_ae_title: str
    calling_ae_title: str
    user_information: UserInformation
    application_context_name: str = APPLICATION_CONTEXT
    protocol_version: int = 1
    item_order: tuple[int, ...] = field(default=(), compare=False, repr=False)
    """Item types in the order received; empty if this side made the PDU."""

    def _encode(self, contexts: Iterable[bytes]) -> bytes:
        titles = encode_ae_title(self.called_ae_title), encode_ae_title(self.calling_ae_title)
        body = (
            _ASSOCIATE_HEAD.pack(self.protocol_version, 0, *titles, b"")
            + encode_text_item(ItemType.APPLICATION_CONTEXT, self.application_context_name)
            + b"".join(contexts)
            + self.user_information.encode()
        )
        return PDU_HEADER.pack(self.pdu_type, len(body)) + body

    @classmethod
    def _decode(cls, body: bytes) -> tuple[Self, list[bytes]]:
        """The PDU without presentation contexts, and the bodies of their items."""
        if len(body) < _ASSOCIATE_HEAD.size:
            raise invalid(f"{cls.name} of {len(body)} bytes is shorter than its fixed fields")
        version, _, called, calling, _ = _ASSOCIATE_HEAD.unpack_from(body)
        items = list(decode_items(body[_ASSOCIATE_HEAD.size :], cls.name))
        first = dict(reversed(items))
        information = first.get(ItemType.USER_INFORMATION)
        pdu = cls(
            called_ae_title=decode_text(called).rstrip(" "),
            calling_ae_title=decode_text(calling).rstrip(" "),
            user_information=UserInformation.decode(information or b"", cls.skipped_items),
            application_context_name=decode_text(first.get(ItemType.APPLICATION_CONTEXT, b"")),
            protocol_version=version,
            item_order=tuple(item_type for item_type, _ in items),
        )
        return pdu, [value for item_type, value in items if item_type == cls.context_item]


@record()
class A_ASSOCIATE_RQ(_Associate):
    """A-ASSOCIATE-RQ (PS3.8 9.3.2)."""

    pdu_type: ClassVar[int] = 0x01
    name: ClassVar[str] = "A-ASSOCIATE-RQ"
    context_item: ClassVar[ItemType] = ItemType.PRESENTATION_CONTEXT_RQ
    skipped_items: ClassVar[tuple[ItemType, ...]] = ACCEPTANCE_ONLY

    presentation_contexts: tuple[PresentationContextRQ, ...] = ()

    def encode(self) -> bytes:
        return self._encode(context.encode() for context in self.presentation_contexts)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        pdu, contexts = cls._decode(body)
        return replace(pdu, presentation_contexts=tuple(map(PresentationContextRQ.decode, contexts)))


@record()
class A_ASSOCIATE_AC(_Associate):
    """A-ASSOCIATE-AC (PS3.8 9.3.3). Its AE titles repeat those of the request and are not tested."""

    pdu_type: ClassVar[int] = 0x02
    name: ClassVar[str] = "A-ASSOCIATE-AC"
    context_item: ClassVar[ItemType] = ItemType.PRESENTATION_CONTEXT_AC
    skipped_items: ClassVar[tuple[ItemType, ...]] = REQUEST_ONLY

    presentation_contexts: tuple[PresentationContextAC, ...] = ()

    def encode(self) -> bytes:
        return self._encode(context.encode() for context in self.presentation_contexts)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        pdu, contexts = cls._decode(body)
        return replace(pdu, presentation_contexts=tuple(map(PresentationContextAC.decode, contexts)))


def _four_bytes(body: bytes, name: str) -> bytes:
    if len(body) != 4:
        raise invalid(f"{name} must have 4 bytes, not {len(body)}")
    return body


@record()
class A_ASSOCIATE_RJ:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""

    pdu_type: ClassVar[int] = 0x03
    name: ClassVar[str] = "A-ASSOCIATE-RJ"

    result: int
    source: int
    reason: int

    def encode(self) -> bytes:
        return PDU_HEADER.pack(self.pdu_type, 4) + bytes((0, self.result, self.source, self.reason))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        return cls(*_four_bytes(body, cls.name)[1:])


@record()
class PDV:
    """A presentation data value: one fragment of a command or of a data set (PS3.8 9.3.5.1, E.2)."""

    presentation_context_id: int
    is_command: bool
    is_last: bool
    fragment: bytes

    def encode(self) -> bytes:
        control = (COMMAND if self.is_command else 0) | (LAST if self.is_last else 0)
        return PDV_HEADER.pack(len(self.fragment) + 2, self.presentation_context_id, control) + self.fragment


@record()
class P_DATA_TF:
    """P-DATA-TF (PS3.8 9.3.5), complete."""

    pdu_type: ClassVar[int] = 0x04
    name: ClassVar[str] = "P-DATA-TF"

    presentation_data_values: tuple[PDV, ...]

    def encode(self) -> bytes:
        body = b"".join(value.encode() for value in self.presentation_data_values)
        return PDU_HEADER.pack(self.pdu_type, len(body)) + body

    @classmethod
    def decode(cls, body: bytes) -> Self:
        values, position = [], 0
        while position < len(body):
            if len(body) - position < PDV_HEADER.size:
                raise invalid("P-DATA-TF ends inside a PDV header")
            length, context_id, control = PDV_HEADER.unpack_from(body, position)
            end = position + 4 + length
            if length < 2 or end > len(body):
                raise invalid(f"PDV of {length} bytes does not fit its P-DATA-TF")
            fragment = body[position + PDV_HEADER.size : end]
            values.append(PDV(context_id, bool(control & COMMAND), bool(control & LAST), fragment))
            position = end
        return cls(tuple(values))


@record()
class _Release:
    """A-RELEASE-RQ or A-RELEASE-RP: four reserved bytes."""

    pdu_type: ClassVar[int]
    name: ClassVar[str]

    def encode(self) -> bytes:
        return PDU_HEADER.pack(self.pdu_type, 4) + bytes(4)

    @classmethod
    def decode(cls, body: bytes) -> Self:
        _four_bytes(body, cls.name)
        return cls()


@record()
class A_RELEASE_RQ(_Release):
    """A-RELEASE-RQ (PS3.8 9.3.6)."""

    pdu_type: ClassVar[int] = 0x05
    name: ClassVar[str] = "A-RELEASE-RQ"


@record()
class A_RELEASE_RP(_Release):
    """A-RELEASE-RP (PS3.8 9.3.7)."""

    pdu_type: ClassVar[int] = 0x06
    name: ClassVar[str] = "A-RELEASE-RP"


@record()
class A_ABORT:
    """A-ABORT (PS3.8 9.3.8). `source` 0 is the service user, 2 the service provider."""

    pdu_type: ClassVar[int] = 0x07
    name: ClassVar[str] = "A-ABORT"

    source: int
    reason: int

    def encode(self) -> bytes:
        return PDU_HEADER.pack(self.pdu_type, 4) + bytes((0, 0, self.source, self.reason))

    @classmethod
    def decode(cls, body: bytes) -> Self:
        return cls(*_four_bytes(body, cls.name)[2:])


PDU = A_ASSOCIATE_RQ | A_ASSOCIATE_AC | A_ASSOCIATE_RJ | P_DATA_TF | A_RELEASE_RQ | A_RELEASE_RP | A_ABORT

PDU_TYPES: Final[dict[int, type[PDU]]] = {
    kind.pdu_type: kind
    for kind in (
        A_ASSOCIATE_RQ,
        A_ASSOCIATE_AC,
        A_ASSOCIATE_RJ,
        P_DATA_TF,
        A_RELEASE_RQ,
        A_RELEASE_RP,
        A_ABORT,
    )
}
"""PDU-type -> PDU."""
