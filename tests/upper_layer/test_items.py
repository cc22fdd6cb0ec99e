"""Items and sub-items: round trips, vectors typed from the standard, and everything a peer can get wrong."""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse.errors import RemoteProtocolError
from dimse.upper_layer.items import (
    MAXIMUM_IDENTITY,
    AsynchronousOperationsWindow,
    ContextResult,
    PresentationContextAC,
    PresentationContextRQ,
    RoleSelection,
    SOPClassCommonExtendedNegotiation,
    SOPClassExtendedNegotiation,
    UserIdentityAC,
    UserIdentityRQ,
    UserIdentityType,
    UserInformation,
    decode_items,
    encode_item,
)

Item = (
    PresentationContextRQ
    | PresentationContextAC
    | AsynchronousOperationsWindow
    | RoleSelection
    | SOPClassExtendedNegotiation
    | SOPClassCommonExtendedNegotiation
    | UserIdentityRQ
    | UserIdentityAC
    | UserInformation
)

# What is on the wire is kept as it came, so any Latin-1 text has to survive, not only UIDs.
texts = st.text(st.characters(max_codepoint=255), max_size=70)
uint8, uint16 = st.integers(0, 0xFF), st.integers(0, 0xFFFF)
some_bytes = st.binary(max_size=40)
text_tuples = st.lists(texts, max_size=4).map(tuple)


def tuples_of(items: st.SearchStrategy[Item]) -> st.SearchStrategy[tuple[Item, ...]]:
    return st.lists(items, max_size=3).map(tuple)


contexts_rq = st.builds(PresentationContextRQ, uint8, texts, text_tuples)
contexts_ac = st.builds(PresentationContextAC, uint8, st.just(0), texts) | st.builds(
    PresentationContextAC, uint8, st.integers(1, 255), st.just("")
)
windows = st.builds(AsynchronousOperationsWindow, uint16, uint16)
roles = st.builds(RoleSelection, texts, st.booleans(), st.booleans())
extended = st.builds(SOPClassExtendedNegotiation, texts, some_bytes)
common_extended = st.builds(SOPClassCommonExtendedNegotiation, texts, texts, text_tuples)
identities = st.builds(UserIdentityRQ, st.sampled_from(UserIdentityType), some_bytes, some_bytes, st.booleans())
identity_responses = st.builds(UserIdentityAC, some_bytes)
user_information = st.builds(
    UserInformation,
    maximum_length=st.none() | st.integers(0, 0xFFFFFFFF),
    implementation_class_uid=st.none() | texts,
    implementation_version_name=st.none() | texts,
    asynchronous_operations_window=st.none() | windows,
    role_selections=tuples_of(roles),
    sop_class_extended=tuples_of(extended),
    sop_class_common_extended=tuples_of(common_extended),
    user_identity=st.none() | identities,
    user_identity_response=st.none() | identity_responses,
)
every_item = st.one_of(
    contexts_rq,
    contexts_ac,
    windows,
    roles,
    extended,
    common_extended,
    identities,
    identity_responses,
    user_information,
)

CT = b"1.2.840.10008.5.1.4.1.1.2"  # 25 bytes
VECTORS: list[tuple[Item, bytes]] = [
    (
        PresentationContextRQ(1, "1.2.840.10008.1.1", ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1")),  # Table 9-13
        bytes.fromhex("20 00 0045 01 00 00 00")
        + bytes.fromhex("30 00 0011")
        + b"1.2.840.10008.1.1"
        + bytes.fromhex("40 00 0011")
        + b"1.2.840.10008.1.2"
        + bytes.fromhex("40 00 0013")
        + b"1.2.840.10008.1.2.1",
    ),
    (
        PresentationContextAC(5, ContextResult.ACCEPTANCE, "1.2.840.10008.1.2"),  # Table 9-18
        bytes.fromhex("21 00 0019 05 00 00 00") + bytes.fromhex("40 00 0011") + b"1.2.840.10008.1.2",
    ),
    (PresentationContextAC(255, 3, ""), bytes.fromhex("21 00 0008 FF 00 03 00") + bytes.fromhex("40 00 0000")),
    (AsynchronousOperationsWindow(0, 258), bytes.fromhex("53 00 0004 0000 0102")),  # Table D.3-7
    (RoleSelection(CT.decode(), False, True), bytes.fromhex("54 00 001D 0019") + CT + b"\0\1"),  # Table D.3-9
    (
        SOPClassExtendedNegotiation(CT.decode(), b"\1\0\1"),  # Table D.3-11
        bytes.fromhex("56 00 001E 0019") + CT + b"\1\0\1",
    ),
    (
        SOPClassCommonExtendedNegotiation("1.2", "1.2.840.10008.4.2", ("1.3", "1.45")),  # Tables D.3-12, D.3-13
        bytes.fromhex("57 00 0025 0003")
        + b"1.2"
        + bytes.fromhex("0011")
        + b"1.2.840.10008.4.2"
        + bytes.fromhex("000B 0003")
        + b"1.3"
        + bytes.fromhex("0004")
        + b"1.45",
    ),
    (SOPClassCommonExtendedNegotiation("1.2", "1.3"), bytes.fromhex("57 00 000C 0003 312E32 0003 312E33 0000")),
    (
        UserIdentityRQ(UserIdentityType.USERNAME, b"me"),
        bytes.fromhex("58 00 0008 01 00 0002 6D65 0000"),
    ),  # Table D.3-14
    (
        UserIdentityRQ(UserIdentityType.USERNAME_AND_PASSCODE, b"me", b"pw!", positive_response_requested=True),
        bytes.fromhex("58 00 000B 02 01 0002 6D65 0003 707721"),
    ),
    (UserIdentityRQ(UserIdentityType.KERBEROS, b"\xff\0"), bytes.fromhex("58 00 0008 03 00 0002 FF00 0000")),
    (UserIdentityRQ(UserIdentityType.SAML, b"<a/>"), bytes.fromhex("58 00 000A 04 00 0004 3C612F3E 0000")),
    (UserIdentityRQ(UserIdentityType.JWT, b"a.b.c"), bytes.fromhex("58 00 000B 05 00 0005 612E622E63 0000")),
    (UserIdentityAC(b"ok"), bytes.fromhex("59 00 0004 0002 6F6B")),  # Table D.3-15
    (UserIdentityAC(), bytes.fromhex("59 00 0002 0000")),
    (
        UserInformation(  # Table 9-16, PS3.8 Table D.1-1, PS3.7 Tables D.3-1 and D.3-3
            maximum_length=16384,
            implementation_class_uid="1.2.3",
            implementation_version_name="DIMSE",
            asynchronous_operations_window=AsynchronousOperationsWindow(1, 1),
        ),
        bytes.fromhex("50 00 0022")
        + bytes.fromhex("51 00 0004 00004000")
        + bytes.fromhex("52 00 0005 312E322E33")
        + bytes.fromhex("53 00 0004 0001 0001")
        + bytes.fromhex("55 00 0005 44494D5345"),
    ),
    (UserInformation(), bytes.fromhex("50 00 0000")),
]

IDS = [f"{number}-{type(item).__name__}" for number, (item, _) in enumerate(VECTORS)]


def body_of(encoded: bytes) -> bytes:
    assert struct.unpack_from(">H", encoded, 2)[0] == len(encoded) - 4
    return encoded[4:]


def decode(decoder: Callable[[bytes], object], data: bytes) -> object:
    """Only `RemoteProtocolError` may come out of a decoder, and it says (2, 6)."""
    try:
        return decoder(data)
    except RemoteProtocolError as error:
        answer = (error.source, error.reason)
    assert answer == (2, 6)
    return None


@given(every_item)
def test_round_trip(item: Item) -> None:
    assert type(item).decode(body_of(item.encode())) == item


@pytest.mark.parametrize(("item", "encoded"), VECTORS, ids=IDS)
def test_vector(item: Item, encoded: bytes) -> None:
    assert item.encode() == encoded
    assert type(item).decode(encoded[4:]) == item


@pytest.mark.parametrize(("item", "encoded"), VECTORS, ids=IDS)
def test_cut_at_every_byte_and_with_trailing_bytes(item: Item, encoded: bytes) -> None:
    body = body_of(encoded)
    for end in range(len(body)):
        assert decode(type(item).decode, body[:end]) != item or isinstance(item, PresentationContextAC)
    for tail in (b"\0", b"\xff" * 3, b"\xff" * 9, encoded):
        decode(type(item).decode, body + tail)


@given(st.sampled_from([type(item) for item, _ in VECTORS]), st.binary(max_size=80))
def test_random_bytes(kind: type[Item], data: bytes) -> None:
    decode(kind.decode, data)


@given(st.sampled_from(VECTORS), st.data())
def test_a_changed_byte(vector: tuple[Item, bytes], data: st.DataObject) -> None:
    item, encoded = vector
    body = bytearray(encoded[4:])
    if body:
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(uint8)
    decode(type(item).decode, bytes(body))


def test_unknown_sub_items_are_skipped() -> None:
    information = UserInformation(maximum_length=8, role_selections=(RoleSelection("1.2", True, False),))
    unknown = encode_item(0x5F, b"what is this")
    assert UserInformation.decode(unknown + information.encode()[4:] + unknown) == information
    context = PresentationContextRQ(1, "1.2", ("1.3",))
    assert PresentationContextRQ.decode(context.encode()[4:] + unknown) == context
    answer = PresentationContextAC(1, 0, "1.3")
    assert PresentationContextAC.decode(answer.encode()[4:] + unknown) == answer


def test_reserved_bytes_are_not_tested() -> None:
    context = bytes((1, 0xAA, 0xBB, 0xCC)) + b"\x30\xdd\0\3" + b"1.2" + b"\x40\xee\0\3" + b"1.3"
    assert PresentationContextRQ.decode(context) == PresentationContextRQ(1, "1.2", ("1.3",))
    answer = bytes((1, 0xAA, 0, 0xCC)) + b"\x40\xee\0\3" + b"1.3"
    assert PresentationContextAC.decode(answer) == PresentationContextAC(1, 0, "1.3")


@pytest.mark.parametrize("rest", [b"", b"\x40", b"\x40\0\xff\xff", encode_item(0x40, b"1.2")])
def test_the_transfer_syntax_of_a_refused_context_is_not_tested(rest: bytes) -> None:
    assert PresentationContextAC.decode(b"\1\0\4\0" + rest) == PresentationContextAC(1, 4, "")


@pytest.mark.parametrize(
    ("uids", "meant"), [([], ""), ([b"1.2"], "1.2"), ([b"1.2", b"1.2"], "1.2"), ([b"1.2", b"1.3"], "")]
)
def test_a_context_has_one_abstract_syntax_and_is_accepted_with_one_transfer_syntax(
    uids: list[bytes], meant: str
) -> None:
    proposed = PresentationContextRQ.decode(b"\1\0\0\0" + b"".join(encode_item(0x30, uid) for uid in uids))
    assert proposed == PresentationContextRQ(1, meant, ())
    answered = PresentationContextAC.decode(b"\1\0\0\0" + b"".join(encode_item(0x40, uid) for uid in uids))
    assert answered == PresentationContextAC(1, 0, meant)
    assert answered.is_repeated == (len(uids) > 1)


@pytest.mark.parametrize("length", [0, 3, 5])
def test_maximum_length_has_four_bytes(length: int) -> None:
    with pytest.raises(RemoteProtocolError, match="maximum length"):
        UserInformation.decode(encode_item(0x51, bytes(length)))


def test_an_item_may_not_leave_its_container() -> None:
    with pytest.raises(RemoteProtocolError, match="exceeds its container"):
        list(decode_items(b"\x40\0\0\4abc", "here"))
    with pytest.raises(RemoteProtocolError, match="3 stray bytes"):
        list(decode_items(b"\x40\0\0\0abc", "here"))


@pytest.mark.parametrize(
    "item",
    [
        UserIdentityRQ(UserIdentityType.SAML, bytes(65536)),
        UserIdentityRQ(UserIdentityType.SAML, bytes(65535)),
        SOPClassExtendedNegotiation("1.2", bytes(65535)),
    ],
)
def test_what_does_not_fit_its_length_field_is_a_value_error(item: Item) -> None:
    with pytest.raises(ValueError, match="65535"):
        item.encode()


def test_identities_of_all_types_request_a_response_and_are_decoded_as_they_were_made() -> None:
    made = [
        UserIdentityRQ.username("Zoë"),
        UserIdentityRQ.username_and_passcode("Zoë", "pässword"),
        UserIdentityRQ.username_and_passcode("Zoë", b"\xff\0"),
        UserIdentityRQ.kerberos(b"\xff\0"),
        UserIdentityRQ.saml(b"<a/>"),
        UserIdentityRQ.jwt(b"a.b.c"),
    ]
    fields = [(each.user_identity_type, each.primary_field, each.secondary_field) for each in made]
    assert fields == [
        (1, "Zoë".encode(), b""),
        (2, "Zoë".encode(), "pässword".encode()),
        (2, "Zoë".encode(), b"\xff\0"),
        (3, b"\xff\0", b""),
        (4, b"<a/>", b""),
        (5, b"a.b.c", b""),
    ]
    assert all(each.positive_response_requested for each in made)
    assert not UserIdentityRQ.saml(b"x", positive_response_requested=False).positive_response_requested
    later = UserIdentityRQ(255, b"of a later edition")
    for identity in (*made, later):
        assert UserInformation.decode(UserInformation(user_identity=identity).encode()[4:]).user_identity == identity


def test_identities_that_cannot_be_sent_are_refused_without_being_quoted() -> None:
    assert len(UserIdentityRQ.saml(bytes(MAXIMUM_IDENTITY)).encode()) < 0xFFFF
    too_long = "S" * (MAXIMUM_IDENTITY + 1)
    makers: list[tuple[Callable[[], object], str]] = [
        (lambda: UserIdentityRQ.username(""), "the username must not be empty"),
        (lambda: UserIdentityRQ.username(too_long), "the username must be at most 49152 bytes, not 49153"),
        (lambda: UserIdentityRQ.username("\udc53"), "the username cannot be encoded in UTF-8"),
        (lambda: UserIdentityRQ.username_and_passcode("me", ""), "the passcode must not be empty"),
        (lambda: UserIdentityRQ.username_and_passcode("me", "\udc53"), "the passcode cannot be encoded in UTF-8"),
        (
            lambda: UserIdentityRQ.username_and_passcode("me", too_long[1:]),
            "the passcode must be at most 49150 bytes, not 49152",
        ),
        (lambda: UserIdentityRQ.kerberos(b""), "the Kerberos service ticket must not be empty"),
        (lambda: UserIdentityRQ.saml(b""), "the SAML assertion must not be empty"),
        (lambda: UserIdentityRQ.jwt(b""), "the JSON Web Token must not be empty"),
    ]
    for make, said in makers:
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$"):
            make()


def test_identities_of_another_type_are_refused_without_being_quoted() -> None:
    wrong: list[tuple[Callable[[Any], object], object, str]] = [
        (UserIdentityRQ.username, b"SECRET", "the username must be a str, not bytes"),
        (lambda passcode: UserIdentityRQ.username_and_passcode("me", passcode), 4711, "the passcode must be bytes"),
        (UserIdentityRQ.kerberos, "SECRET", "the Kerberos service ticket must be bytes, not str"),
        (UserIdentityRQ.saml, "SECRET", "the SAML assertion must be bytes, not str"),
        (UserIdentityRQ.jwt, "SECRET", "the JSON Web Token must be bytes, not str"),
    ]
    for make, value, said in wrong:
        with pytest.raises(TypeError, match=f"^{re.escape(said)}"):
            make(value)


def test_identities_are_kept_out_of_repr() -> None:
    identity = UserIdentityRQ(2, b"SECRET", b"SECRET")
    assert "SECRET" not in repr(UserInformation(user_identity=identity)) + str(identity)
    assert "SECRET" not in repr(UserIdentityAC(b"SECRET"))
