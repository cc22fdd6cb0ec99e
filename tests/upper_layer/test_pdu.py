"""The seven PDUs: round trips, vectors typed from the standard, and everything a peer can get wrong."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse.errors import RemoteProtocolError
from dimse.upper_layer.items import PresentationContextAC, PresentationContextRQ, UserInformation, encode_item
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
    PDU,
    PDU_HEADER,
    PDU_TYPES,
    PDV,
    encode_ae_title,
)

uint8, uint16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
titles = st.text(st.characters(max_codepoint=255), max_size=16).map(lambda title: title.rstrip(" "))
texts = st.text(st.characters(max_codepoint=255), max_size=64)
information = st.builds(UserInformation, maximum_length=st.integers(0, 0xFFFFFFFF), implementation_class_uid=texts)
requests = st.builds(
    A_ASSOCIATE_RQ,
    titles,
    titles,
    information,
    application_context_name=texts,
    protocol_version=uint16,
    presentation_contexts=st.lists(
        st.builds(PresentationContextRQ, uint8, texts, st.lists(texts, max_size=3).map(tuple)), max_size=5
    ).map(tuple),
)
answers = st.builds(
    A_ASSOCIATE_AC,
    titles,
    titles,
    information,
    application_context_name=texts,
    protocol_version=uint16,
    presentation_contexts=st.lists(st.builds(PresentationContextAC, uint8, st.just(0), texts), max_size=5).map(tuple),
)
p_data = st.builds(
    P_DATA_TF,
    st.lists(st.builds(PDV, uint8, st.booleans(), st.booleans(), st.binary(max_size=40)), max_size=5).map(tuple),
)
every_pdu = st.one_of(
    requests,
    answers,
    st.builds(A_ASSOCIATE_RJ, uint8, uint8, uint8),
    p_data,
    st.just(A_RELEASE_RQ()),
    st.just(A_RELEASE_RP()),
    st.builds(A_ABORT, uint8, uint8),
)

APPLICATION_CONTEXT_ITEM = bytes.fromhex("10 00 0015") + b"1.2.840.10008.3.1.1.1"
USER_INFORMATION_ITEM = bytes.fromhex("50 00 000F 51 00 0004 00004000 52 00 0003 312E32")
TITLES = b"ARCHIVE         " + b"ME              " + bytes(32)
VECTORS: list[tuple[PDU, bytes]] = [
    (
        A_ASSOCIATE_RQ(  # Table 9-11
            "ARCHIVE",
            "ME",
            UserInformation(maximum_length=16384, implementation_class_uid="1.2"),
            presentation_contexts=(PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2",)),),
        ),
        bytes.fromhex("01 00 000000A2 0001 0000")
        + TITLES
        + APPLICATION_CONTEXT_ITEM
        + bytes.fromhex("20 00 002E 01 00 00 00 30 00 0011")
        + b"1.2.840.10008.1.1"
        + bytes.fromhex("40 00 0011")
        + b"1.2.840.10008.1.2"
        + USER_INFORMATION_ITEM,
    ),
    (
        A_ASSOCIATE_AC(  # Table 9-17
            "ARCHIVE",
            "ME",
            UserInformation(maximum_length=16384, implementation_class_uid="1.2"),
            presentation_contexts=(PresentationContextAC(1, 0, "1.2.840.10008.1.2"),),
        ),
        bytes.fromhex("02 00 0000008D 0001 0000")
        + TITLES
        + APPLICATION_CONTEXT_ITEM
        + bytes.fromhex("21 00 0019 01 00 00 00 40 00 0011")
        + b"1.2.840.10008.1.2"
        + USER_INFORMATION_ITEM,
    ),
    (A_ASSOCIATE_RJ(result=1, source=2, reason=7), bytes.fromhex("03 00 00000004 00 01 02 07")),  # Table 9-21
    (
        P_DATA_TF(  # Tables 9-22 and 9-23, E.2: bit 0 command, bit 1 last
            (PDV(1, True, True, b"cmd!"), PDV(3, False, False, b""), PDV(255, False, True, b"\0\1"))
        ),
        bytes.fromhex("04 00 00000018 00000006 01 03 636D6421 00000002 03 00 00000004 FF 02 0001"),
    ),
    (A_RELEASE_RQ(), bytes.fromhex("05 00 00000004 00000000")),  # Table 9-24
    (A_RELEASE_RP(), bytes.fromhex("06 00 00000004 00000000")),  # Table 9-25
    (A_ABORT(source=2, reason=6), bytes.fromhex("07 00 00000004 00 00 02 06")),  # Table 9-26
]

PDU_NAMES = [type(pdu).__name__ for pdu, _ in VECTORS]


def decode(kind: type[PDU], body: bytes) -> PDU | None:
    """Only `RemoteProtocolError` may come out of a decoder, and it says (2, 6)."""
    try:
        return kind.decode(body)
    except RemoteProtocolError as error:
        answer = (error.source, error.reason)
    assert answer == (2, 6)
    return None


def test_the_seven_types() -> None:
    assert {kind: PDU_TYPES[kind].__name__ for kind in PDU_TYPES} == {
        1: "A_ASSOCIATE_RQ",
        2: "A_ASSOCIATE_AC",
        3: "A_ASSOCIATE_RJ",
        4: "P_DATA_TF",
        5: "A_RELEASE_RQ",
        6: "A_RELEASE_RP",
        7: "A_ABORT",
    }


@given(every_pdu)
def test_round_trip(pdu: PDU) -> None:
    encoded = pdu.encode()
    assert PDU_HEADER.unpack_from(encoded) == (pdu.pdu_type, len(encoded) - 6)
    assert PDU_TYPES[pdu.pdu_type].decode(encoded[6:]) == pdu


@pytest.mark.parametrize(("pdu", "encoded"), VECTORS, ids=PDU_NAMES)
def test_vector(pdu: PDU, encoded: bytes) -> None:
    assert pdu.encode() == encoded
    assert type(pdu).decode(encoded[6:]) == pdu


@pytest.mark.parametrize(("pdu", "encoded"), VECTORS, ids=PDU_NAMES)
def test_cut_at_every_byte_and_with_trailing_bytes(pdu: PDU, encoded: bytes) -> None:
    body = encoded[6:]
    for end in range(len(body)):
        assert decode(type(pdu), body[:end]) != pdu
    for tail in (b"\0", b"\xff" * 3, b"\xff" * 9):
        assert decode(type(pdu), body + tail) is None


@given(st.sampled_from(sorted(PDU_TYPES)), st.binary(max_size=200))
def test_random_bytes(pdu_type: int, body: bytes) -> None:
    decode(PDU_TYPES[pdu_type], body)


@given(st.sampled_from([A_ASSOCIATE_RQ, A_ASSOCIATE_AC]), st.binary(max_size=100))
def test_random_items(kind: type[PDU], items: bytes) -> None:
    decode(kind, bytes(68) + items)


@given(st.sampled_from(VECTORS), st.data())
def test_a_changed_byte(vector: tuple[PDU, bytes], data: st.DataObject) -> None:
    pdu, encoded = vector
    body = bytearray(encoded[6:])
    body[data.draw(st.integers(0, len(body) - 1))] = data.draw(uint8)
    decode(type(pdu), bytes(body))


@pytest.mark.parametrize(("pdu", "encoded"), VECTORS[:2], ids=PDU_NAMES[:2])
def test_unknown_items_are_skipped(pdu: PDU, encoded: bytes) -> None:
    unknown = encode_item(0x0F, b"what is this")
    body = encoded[6:]
    assert type(pdu).decode(body[:68] + unknown + body[68:] + unknown) == pdu


def test_reserved_bytes_are_not_tested() -> None:
    request, encoded = VECTORS[0]
    body = bytearray(encoded[6:])
    body[2:4] = b"\xff" * 2
    body[36:68] = b"\xff" * 32
    assert A_ASSOCIATE_RQ.decode(bytes(body)) == request
    assert A_ASSOCIATE_RJ.decode(b"\xff\1\2\3") == A_ASSOCIATE_RJ(1, 2, 3)
    assert A_RELEASE_RQ.decode(b"\xff" * 4) == A_RELEASE_RQ()
    assert A_RELEASE_RP.decode(b"\xff" * 4) == A_RELEASE_RP()
    assert A_ABORT.decode(b"\xff\xff\2\6") == A_ABORT(2, 6)


def test_only_two_bits_of_the_message_control_header_count() -> None:
    assert P_DATA_TF.decode(bytes.fromhex("00000002 01 FE")) == P_DATA_TF((PDV(1, False, True, b""),))


@pytest.mark.parametrize("body", ["00000001 01", "00000007 01 03 636D6421", "00000002 01", "00"])
def test_a_pdv_that_does_not_fit(body: str) -> None:
    with pytest.raises(RemoteProtocolError, match="PDV"):
        P_DATA_TF.decode(bytes.fromhex(body))


def test_the_order_of_items_is_kept_but_not_compared() -> None:
    request, encoded = VECTORS[0]
    received = A_ASSOCIATE_RQ.decode(encoded[6:])
    assert received.item_order == (0x10, 0x20, 0x50)
    assert received == request == dataclasses.replace(received, item_order=(0x50, 0x10))


def test_ae_titles() -> None:
    assert encode_ae_title("SIXTEEN-CHARS-16") == b"SIXTEEN-CHARS-16"
    with pytest.raises(ValueError, match="at most 16"):
        encode_ae_title("SEVENTEEN-CHARS-X")
    with pytest.raises(ValueError, match="latin-1"):
        encode_ae_title("アーカイブ")
    received = A_ASSOCIATE_RQ.decode(
        bytes.fromhex("0001 0000") + b"  ARCHIVE\0\0     " + b"M\xfcnchen         " + bytes(32)
    )
    # Trailing spaces go; what else a device pads with is for `negotiation` to judge.
    assert (received.called_ae_title, received.calling_ae_title) == ("  ARCHIVE\0\0", "München")


def test_user_items_of_the_other_pdu_are_skipped() -> None:
    information = UserInformation(maximum_length=8)
    request, acceptance = A_ASSOCIATE_RQ("B", "A", information), A_ASSOCIATE_AC("B", "A", information)
    kinds: list[tuple[type[A_ASSOCIATE_RQ | A_ASSOCIATE_AC], A_ASSOCIATE_RQ | A_ASSOCIATE_AC, int]] = [
        (A_ASSOCIATE_RQ, request, 0x59),
        (A_ASSOCIATE_AC, acceptance, 0x57),
        (A_ASSOCIATE_AC, acceptance, 0x58),
    ]
    for kind, pdu, number in kinds:
        item = encode_item(0x50, information.encode()[4:] + encode_item(number, b"\xff"))
        assert kind.decode(pdu.encode()[6 : -len(information.encode())] + item) == pdu
