"""Text with code extensions: the examples of PS3.5 H and I, and what devices make of them."""

from __future__ import annotations

import struct

import pytest

from dimse.dataset.character_sets import can_encode, decode_text
from dimse.dataset.codec import decode_identifier, encode_elements
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

KANJI, MORE, HANGUL, HANZI = (f"ISO 2022 IR {number}" for number in (87, 159, 149, 58))
KATAKANA = "ISO 2022 IR 13"

YAMADA = b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
HONG = b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
ZHANG = b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab="


@pytest.mark.parametrize(
    ("value", "terms", "text"),
    [
        (YAMADA, ["", KANJI], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (YAMADA, [KANJI], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (YAMADA, [], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (YAMADA.replace(b"(B", b"(J"), [KATAKANA, KANJI], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J", [KATAKANA, KANJI], "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎"),
        (b"\x1b$B;3ED\x1b(B^\x1b$(D\x30\x21\x1b(B", ["", KANJI, MORE], "山田^丂"),
        (HONG, ["", HANGUL], "Hong^Gildong=洪^吉洞=홍^길동"),
        (HONG.replace(b"^\x1b$)C", b"^"), ["", HANGUL], "Hong^Gildong=洪^吉洞=홍^길동"),
        (HONG.replace(b"\x1b$)C", b""), ["", HANGUL], "Hong^Gildong=洪^吉洞=홍^길동"),
        (ZHANG, ["", HANZI], "Zhang^XiaoDong=张^小东="),
        (b"\x1b$)C\xc8\xab\x1b(B \xb1\xe6", ["", HANGUL], "홍 길"),
        (b"\x1b-L\xb4\xd1\x1b$B;3\x1b(B\xb4", ["ISO 2022 IR 100", "ISO 2022 IR 144", KANJI], "Дб山Д"),
        (b"\x1b-L\xb4^\xe9", ["ISO 2022 IR 100", "ISO 2022 IR 144"], "Д^é"),
        (b"\x1b-L\xb4\r\n\xe9", ["ISO 2022 IR 100", "ISO 2022 IR 144"], "Д\r\né"),
        (b"\x1b$B;3ED^\x1b$BB@O:\x1b(B", ["", KANJI], "山田^太郎"),
    ],
)
def test_names(value: bytes, terms: list[str], text: str) -> None:
    assert decode_text(value, terms, "PN") == text


def test_a_backslash_ends_an_extension_only_where_it_separates() -> None:
    terms = ["ISO 2022 IR 100", "ISO 2022 IR 144"]
    assert decode_text(b"\x1b-L\xb4\\\xe9", terms, "LO") == "Д\\é"
    assert decode_text(b"\x1b-L\xb4\\\xe9", terms, "LT") == "Д\\щ"
    assert decode_text(b"\x1b-L\xb4^\xe9", terms, "LO") == "Д^щ"
    assert decode_text(b"\x1b$B\x5c\x21\x1b(B\\x", ["", KANJI], "LO") == "棔\\x", (
        "a byte of a character is no separator"
    )


@pytest.mark.parametrize(
    ("value", "terms", "text"),
    [
        (b"M\xfcller", ["ISO_IR 192"], "M\ufffdller"),
        (b"M\xfcller", ["ISO_IR 100"], "Müller"),
        (b"M\xfcller", ["ISO-IR 100"], "Müller"),
        (b"M\xfcller", [], "Müller"),
        (b"\xcd\xf5", ["GB18030"], "王"),
        (b"M\xfcller", ["", KANJI], "M\ufffdller"),
        (b"\x1b$B;3\x7e\x7e\x1b(B", ["", KANJI], "山\ufffd"),
        (b"\x1b$)C\xc8\xab\xff\xff\xc8", ["", HANGUL], "홍\ufffd\ufffd"),
        (b"a\x1b[31m", ["", KANJI], "a\x1b[31m"),
    ],
)
def test_what_is_not_in_its_character_set(value: bytes, terms: list[str], text: str) -> None:
    assert decode_text(value, terms) == text


@pytest.mark.parametrize("syntax", [IMPLICIT_VR_LITTLE_ENDIAN, EXPLICIT_VR_LITTLE_ENDIAN])
async def test_identifiers(syntax: str) -> None:
    """As pydicom then has them, in items too, whose character set is that around them."""

    def element(tag: int, vr: bytes, value: bytes) -> bytes:
        value += b" " * (len(value) % 2)
        if syntax == IMPLICIT_VR_LITTLE_ENDIAN:
            return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value
        length = struct.pack("<xxL" if vr == b"SQ" else "<H", len(value))
        return struct.pack("<HH", tag >> 16, tag & 0xFFFF) + vr + length + value

    hanja = b"Hong\\\x1b$)C\xfb\xf3 "
    item = element(0x00080104, b"LO", hanja)
    data = b"".join(
        [
            element(0x00080005, b"CS", b"\\ISO 2022 IR 149\\ISO 2022 IR 87"),
            element(0x00081030, b"LO", b"\x1b$B;3ED\x1b(B"),
            element(0x00081032, b"SQ", struct.pack("<HHL", 0xFFFE, 0xE000, len(item)) + item),
            element(0x00100010, b"PN", HONG + b"\\" + YAMADA),
            element(0x00104000, b"LT", b"\x1b$B;3ED\x1b(B\\ x"),
        ]
    )
    for given in (data, data + element(0x00204000, b"LT", b"." * 10_000)):
        match = await decode_identifier(given, syntax)
        assert match.StudyDescription == "山田"
        assert match.PatientComments == "山田\\ x"
        hong, yamada = match.PatientName
        assert (str(hong), str(yamada)) == ("Hong^Gildong=洪^吉洞=홍^길동", "Yamada^Tarou=山田^太郎=やまだ^たろう")
        assert (hong.ideographic, yamada.phonetic, yamada.family_name) == ("洪^吉洞", "やまだ^たろう", "Yamada")
        assert match.ProcedureCodeSequence[0].CodeMeaning == ["Hong", "洪"]
        again = await decode_identifier(encode_elements(match, syntax), syntax)
        assert str(again.PatientName[1]) == str(yamada)


@pytest.mark.parametrize(
    ("text", "terms", "can"),
    [
        ("Smith", ["ISO_IR 100"], True),
        ("Smith", [], True),
        ("Müller", ["ISO_IR 100"], True),
        ("Müller", [], False),
        ("Müller", [""], False),
        ("Müller", ["ISO_IR 144"], False),
        ("Люксембург", ["ISO_IR 144"], True),
        ("山田", ["", KANJI], True),
        ("Müller", ["", KANJI], False),
        ("Müller^山田", ["ISO 2022 IR 100", KANJI], True),
        ("洪", ["", HANGUL], True),
        ("山田", ["ISO_IR 192"], True),
        ("王", ["GB18030"], True),
        ("山田", ["ISO_IR 192", KANJI], False),  # of terms that must not be together
        ("山田", ["ISO_IR 999"], False),
    ],
)
def test_whether_a_text_can_be_encoded(text: str, terms: list[str], can: bool) -> None:
    assert can_encode(text, terms) is can
