"""The PDUs that the generated cases begin with."""

from __future__ import annotations

import struct
from typing import Final

from tests.conversations.octets import (
    Octets,
    associate,
    command,
    command_pdu,
    context_ac,
    context_rq,
    field,
    item,
    join,
    p_data,
    pdu,
    pdv,
    spare,
)

APPLICATION_CONTEXT: Final = "1.2.840.10008.3.1.1.1"
VERIFICATION: Final = "1.2.840.10008.1.1"
CT: Final = "1.2.840.10008.5.1.4.1.1.2"
IMPLICIT: Final = "1.2.840.10008.1.2"
EXPLICIT: Final = "1.2.840.10008.1.2.1"
DEFLATED: Final = "1.2.840.10008.1.2.1.99"
INSTANCE: Final = "1.2.3.4"

# A-ASSOCIATE

APPLICATION: Final = item(0x10, APPLICATION_CONTEXT.encode())
CONTEXTS: Final = (context_rq(1, VERIFICATION, IMPLICIT), context_rq(3, CT, EXPLICIT))
MAXIMUM: Final = item(0x51, struct.pack(">I", 16384))
INFORMATION: Final = item(0x50, MAXIMUM, item(0x52, b"1.2.3"), item(0x55, b"PEER"))

WINDOW: Final = item(0x53, struct.pack(">HH", 2, 1))
ROLE: Final = item(0x54, field("role's SOP class UID", CT.encode()), b"\1\0")
EXTENDED: Final = item(0x56, field("extended negotiation's SOP class UID", CT.encode()), b"\1\1")
COMMON: Final = item(
    0x57,
    field("common extended negotiation's SOP class UID", CT.encode()),
    field("service class UID", b"1.2.840.10008.4.2"),
    field("related general SOP classes", b"\x00\x051.2.3"),
)
IDENTITY: Final = item(0x58, b"\2\1", field("primary field", b"user"), field("secondary field", b"secret"))
IDENTITY_ANSWER: Final = item(0x59, field("server response", b""))
ALL_INFORMATION: Final = item(
    0x50, MAXIMUM, item(0x52, b"1.2.3"), WINDOW, ROLE, item(0x55, b"PEER"), EXTENDED, COMMON, IDENTITY
)

ASSOCIATE_RQ: Final = associate(0x01, APPLICATION, *CONTEXTS, INFORMATION)
ASSOCIATE_RQ_FULL: Final = associate(0x01, APPLICATION, *CONTEXTS, ALL_INFORMATION)
ASSOCIATE_AC: Final = associate(0x02, APPLICATION, context_ac(1, 0, EXPLICIT), INFORMATION)
ASSOCIATE_AC_FULL: Final = associate(
    0x02,
    APPLICATION,
    context_ac(1, 0, EXPLICIT),
    item(0x50, MAXIMUM, item(0x52, b"1.2.3"), WINDOW, ROLE, item(0x55, b"PEER"), EXTENDED, IDENTITY_ANSWER),
)
ROLE_OF_SCP: Final = item(0x54, field("role's SOP class UID", CT.encode()), b"\0\1")
FIND: Final = "1.2.840.10008.5.1.4.1.2.2.1"
MOVE: Final = "1.2.840.10008.5.1.4.1.2.2.2"
GET: Final = "1.2.840.10008.5.1.4.1.2.2.3"
ASSOCIATE_RQ_SERVICES: Final = associate(
    0x01,
    APPLICATION,
    *CONTEXTS,
    *(context_rq(number, uid, EXPLICIT) for number, uid in ((5, FIND), (7, GET), (9, MOVE))),
    context_rq(11, CT, DEFLATED),
    item(0x50, MAXIMUM, item(0x52, b"1.2.3"), ROLE_OF_SCP, item(0x55, b"PEER")),
)
"""For queries too, with the SCP role of CT Image Storage."""
ASSOCIATE_AC_GET: Final = associate(
    0x02,
    APPLICATION,
    context_ac(1, 0, EXPLICIT),
    context_ac(3, 0, EXPLICIT),
    item(0x50, MAXIMUM, item(0x52, b"1.2.3"), ROLE_OF_SCP, item(0x55, b"PEER")),
)
ASSOCIATE_RJ: Final = pdu(0x03, spare(1), b"\1\1\7")

# P-DATA: messages of an associated peer. Verification is context 1, CT Image Storage is context 3.


def echo_rq(message_id: int = 1) -> Octets:
    """A C-ECHO-RQ."""
    return command_pdu(1, (0x0002, VERIFICATION), (0x0100, 0x0030), (0x0110, message_id), (0x0800, 0x0101))


def echo_rsp(message_id: int = 1, status: int = 0) -> Octets:
    """A C-ECHO-RSP."""
    elements = (0x0002, VERIFICATION), (0x0100, 0x8030), (0x0120, message_id), (0x0800, 0x0101), (0x0900, status)
    return command_pdu(1, *elements)


def store_command(instance: str = INSTANCE, message_id: int = 1) -> bytes:
    """The Command Set of a C-STORE-RQ."""
    elements = (0x0002, CT), (0x0100, 0x0001), (0x0110, message_id), (0x0700, 0), (0x0800, 1), (0x1000, instance)
    return command(*elements)


def explicit(tag: int, vr: str, value: bytes) -> bytes:
    """A data element with a 16-bit length, in Explicit VR Little Endian."""
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


DATA_SET: Final = (
    explicit(0x00080016, "UI", CT.encode() + b"\0")
    + explicit(0x00080018, "UI", INSTANCE.encode() + b"\0")
    + explicit(0x00100010, "PN", b"CANARY^PATIENT")
    + explicit(0x0020000D, "UI", b"1.2.3\0")
    + explicit(0x0020000E, "UI", b"1.2.3\0")
)
"""A CT image without pixel data, in Explicit VR Little Endian."""

ECHO_RQ: Final = echo_rq()
ECHO_RSP: Final = echo_rsp()
STORE_RQ: Final = p_data(pdv(3, 0x03, store_command()))
DATA: Final = p_data(pdv(3, 0x02, DATA_SET))
STORE_IN_ONE: Final = p_data(
    pdv(3, 0x01, store_command()[:20]),
    pdv(3, 0x03, store_command()[20:]),
    pdv(3, 0x00, DATA_SET[:50]),
    pdv(3, 0x02, DATA_SET[50:]),
)
"""A whole C-STORE: four PDVs in one P-DATA-TF."""
STORE: Final = join(STORE_RQ, DATA)

RELEASE_RQ: Final = pdu(0x05, spare(4))
RELEASE_RP: Final = pdu(0x06, spare(4))
ABORT_USER: Final = pdu(0x07, spare(2), b"\0\0")
ABORT_PROVIDER: Final = pdu(0x07, spare(2), b"\2\6")
