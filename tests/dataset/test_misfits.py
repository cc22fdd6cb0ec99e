"""In Implicit VR a receiver takes the VR from the dictionary: nothing goes out that it would misread."""

from __future__ import annotations

import struct
from collections.abc import Callable

import pytest
from pydicom import Dataset
from pydicom.uid import UID

from dimse.dataset.codec import decode, encode
from dimse.dataset.pydicom_source import NativePixels, PixelSource, from_dataset
from dimse.dataset.reencoding import rewrite
from dimse.dataset.sources import DatasetSource
from dimse.errors import DatasetError
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN, IMPLICIT_VR_LITTLE_ENDIAN

_LONG = ("OB", "OW", "UN", "UC", "UT", "UR", "SQ", "OD", "OF", "OL", "SV", "UV")


def explicit(tag: int, vr: str, value: bytes) -> bytes:
    layout = "<HH2sxxL" if vr in _LONG else "<HH2sH"
    return struct.pack(layout, tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value


def implicit(tag: int, value: bytes) -> bytes:
    return struct.pack("<HHL", tag >> 16, tag & 0xFFFF, len(value)) + value


ITEM = b"\xfe\xff\0\xe0" + bytes(4)
CREATOR = explicit(0x00190010, "LO", b"SIEMENS MR HEADER ")

SQ, LT, FD, UL, AT, US, SL, OB = (
    0x00120064,
    0x00104000,
    0x00189073,
    0x00081161,
    0x00720026,
    0x00186012,
    0x00186020,
    0x00420011,
)
"""Tags to which the dictionary gives these VRs."""

MISFITS = [
    *((SQ, vr, value) for vr, value in (("LO", b"text"), ("UN", b"text"), ("OB", b"\1\2"), ("US", b"\1\2"))),
    *((LT, vr, value) for vr, value in (("SQ", ITEM), ("US", b"\1\0"), ("FD", bytes(8)), ("OB", b"\1\2"))),
    *((FD, vr, value) for vr, value in (("FL", bytes(4)), ("DS", b"1.5 "), ("OF", bytes(8)), ("SQ", ITEM))),
    *((UL, vr, value) for vr, value in (("US", b"\1\0"), ("IS", b"12"), ("AT", bytes(4)), ("SL", b"\0\0\0\x80"))),
    *((US, vr, value) for vr, value in (("UL", bytes(4)), ("SS", b"\1\0\xff\xff"), ("CS", b"1 "))),
    *((OB, vr, value) for vr, value in (("LT", b"text"), ("US", b"\1\0"), ("SQ", ITEM))),
    (AT, "UL", bytes(4)),
    (0x0019100A, "LO", b"four"),  # US, as the private creator has it
]
FITS = [
    *((SQ, vr, value) for vr, value in (("LO", b""), ("UN", ITEM))),
    *(
        (LT, vr, value)
        for vr, value in (("LO", b"text"), ("UN", b"text"), ("UI", b"1.2\0"), ("UC", b"text"), ("OW", b""))
    ),
    *((SL, vr, value) for vr, value in (("UL", b"\1\0\0\0"), ("SL", b"\xff\xff\xff\xff"), ("UN", bytes(4)))),
    *((OB, vr, value) for vr, value in (("OW", b"\1\2"), ("UN", b"\1\2"))),
    (0x00281201, "US", b"\xff\xff"),  # OW
    (0x00280106, "OW", b"\xff\xff"),  # US or SS
    (FD, "OD", bytes(8)),
    (UL, "OL", bytes(4)),
    (0x00280106, "US", b"\xff\xff"),
    (0x00280106, "SS", b"\xff\xff"),
    (0x60003000, "OB", b"\1\2"),
    (0x0019100A, "US", b"\1\0"),
    (0x001910F0, "LO", b"text"),
    (0x001110FF, "LO", b"text"),
    (0x00109999, "LO", b"text"),
]


def rewritten(*elements: bytes) -> bytes:
    return rewrite(b"".join(elements), implicit=False, to_implicit=True, name="it")


def messages(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "dimse.storage"]


@pytest.mark.parametrize(("tag", "vr", "value"), MISFITS)
def test_what_would_be_misread_is_left_out(tag: int, vr: str, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    creator = [CREATOR] if tag >> 16 == 0x0019 else []
    assert rewritten(*creator, explicit(tag, vr, value)) == rewritten(*creator)
    (message,) = messages(caplog)
    assert message.startswith(
        f"it: omitted in Implicit VR: ({tag >> 16:04X},{tag & 0xFFFF:04X}) is {vr} and would be read as"
    )
    assert "text" not in message


@pytest.mark.parametrize(("tag", "vr", "value"), FITS)
def test_what_reads_the_same_goes(tag: int, vr: str, value: bytes, caplog: pytest.LogCaptureFixture) -> None:
    creator = [CREATOR] if tag >> 16 == 0x0019 else []
    assert rewritten(*creator, explicit(tag, vr, value)) == rewritten(*creator) + implicit(tag, value)
    assert not messages(caplog)


def test_within_a_sequence_too(caplog: pytest.LogCaptureFixture) -> None:
    item = explicit(SQ, "LO", b"text")
    data = explicit(0x00081140, "SQ", ITEM[:4] + struct.pack("<L", len(item)) + item)
    assert rewritten(data) == implicit(0x00081140, ITEM)
    assert messages(caplog) == ["it: omitted in Implicit VR: (0012,0064) is LO and would be read as SQ"]


@pytest.mark.parametrize(
    ("tag", "vr", "value"),
    [(0x00280010, "UL", bytes(4)), (0x0020000D, "US", b"\1\0")],
)
def test_without_some_the_rest_cannot_be_read(tag: int, vr: str, value: bytes) -> None:
    name = f"{tag >> 16:04X},{tag & 0xFFFF:04X}"
    with pytest.raises(DatasetError, match=rf"cannot be sent in Implicit VR: \({name}\) is {vr} and would be read as"):
        rewritten(explicit(tag, vr, value))


def dataset(**pixels: bytes) -> Dataset:
    made = Dataset()
    made.SOPClassUID, made.SOPInstanceUID = UID("1.2"), UID("1.2.3")
    made.add_new(SQ, "LO", "text")
    made.PatientName = "A"
    for keyword, value in pixels.items():
        made.add_new(keyword, "OW", value)
    return made


@pytest.mark.parametrize(
    "source",
    [
        lambda: from_dataset(dataset(), IMPLICIT_VR_LITTLE_ENDIAN),
        lambda: from_dataset(dataset(PixelData=b"12"), IMPLICIT_VR_LITTLE_ENDIAN),
        lambda: from_dataset(
            decode(encode(dataset(), EXPLICIT_VR_LITTLE_ENDIAN), EXPLICIT_VR_LITTLE_ENDIAN), IMPLICIT_VR_LITTLE_ENDIAN
        ),
        lambda: PixelSource(dataset(), NativePixels([b"12"], 2), IMPLICIT_VR_LITTLE_ENDIAN),
    ],
    ids=["made", "made, with pixel data", "read", "with pixels"],
)
async def test_a_data_set_in_memory(source: Callable[[], DatasetSource], caplog: pytest.LogCaptureFixture) -> None:
    reader, buffer = source().open(), bytearray(1000)
    data = buffer[: await reader.read_into(memoryview(buffer))]
    sent = decode(data, IMPLICIT_VR_LITTLE_ENDIAN)
    assert "PatientName" in sent
    assert SQ not in sent
    assert messages(caplog) == ["1.2.3: omitted in Implicit VR: (0012,0064) is LO and would be read as SQ"]
