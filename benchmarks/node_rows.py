"""Fills the index of an archive with studies that are described like received ones, but have no files.

`python node_rows.py DATA STUDIES SERIES INSTANCES`: so many studies, of so many series, of so many instances.
"""

from __future__ import annotations

import struct
import sys
from collections.abc import Iterator
from hashlib import sha256
from itertools import islice, product
from pathlib import Path
from typing import Final

from dimse import uids
from dimse.node.arrival import Arrival, OnDuplicate
from dimse.node.batches import MAXIMUM_BATCH
from dimse.node.index import Index
from dimse.node.keys import describe
from dimse.node.placing import place
from dimse.node.shared_texts import SharedTexts

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
ROOT: Final = "1.2.826.0.1.3680043.8.498.10000000000000000000"
"""UIDs have some 55 characters, as those of devices have."""

FAMILY: Final = ("Smith", "Meyer", "Okafor", "Tanaka", "Rossi", "Novak", "Silva", "Kowalska", "Haddad", "Lindqvist")
GIVEN: Final = ("Ada", "Bela", "Chidi", "Dora", "Emil", "Fumiko", "Gita", "Hugo", "Ines", "Jan")


def study_uid(study: int) -> str:
    """The UID of a study by its number."""
    return f"{ROOT}.{study}"


def keys_of(study: int) -> dict[str, str]:
    """What a study can be found by."""
    family = f"{FAMILY[study % 10]}{study // 100}"
    return {
        "PatientID": f"P{study // 2:08}",
        "PatientName": f"{family}^{GIVEN[study // 10 % 10]}",
        "AccessionNumber": f"A{study:010}",
        "StudyID": f"S{study % 100_000}",
        "StudyDate": f"{2000 + study % 25}{1 + study // 25 % 12:02}{1 + study // 300 % 28:02}",
        "PatientBirthDate": f"{1930 + study % 90}{1 + study % 12:02}{1 + study % 28:02}",
    }


def header(study: int, series: int, instance: int) -> bytes:
    """The encoded data set before its pixel data, in Explicit VR Little Endian."""
    keys = keys_of(study)
    modality = ("CT", "MR", "DX", "US")[study % 4]
    elements = [
        (0x00080016, "UI", CT),
        (0x00080018, "UI", f"{study_uid(study)}.{series}.{instance}"),
        (0x00080020, "DA", keys["StudyDate"]),
        (0x00080030, "TM", "101500"),
        (0x00080050, "SH", keys["AccessionNumber"]),
        (0x00080060, "CS", modality),
        (0x00080090, "PN", "Referring^Doctor"),
        (0x00081030, "LO", "Chest with contrast"),
        (0x0008103E, "LO", "Axial 1 mm"),
        (0x00100010, "PN", keys["PatientName"]),
        (0x00100020, "LO", keys["PatientID"]),
        (0x00100030, "DA", keys["PatientBirthDate"]),
        (0x00100040, "CS", "MF"[study % 2]),
        (0x0020000D, "UI", study_uid(study)),
        (0x0020000E, "UI", f"{study_uid(study)}.{series}"),
        (0x00200010, "SH", keys["StudyID"]),
        (0x00200011, "IS", str(series + 1)),
        (0x00200013, "IS", str(instance + 1)),
    ]
    data = b""
    for tag, vr, text in elements:
        value = text.encode() + (b"\0" if vr == "UI" else b" ") * (len(text) % 2)
        data += struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr.encode(), len(value)) + value
    for tag in (0x00280010, 0x00280011):
        data += struct.pack("<HH2sHH", tag >> 16, tag & 0xFFFF, b"US", 2, 512)
    return data


def arrivals(studies: int, series: int, instances: int) -> Iterator[Arrival]:
    """All instances, in the order in which a modality would send them."""
    for one in product(range(studies), range(series), range(instances)):
        encoded = header(*one)
        yield Arrival(
            description=describe(encoded, uids.EXPLICIT_VR_LITTLE_ENDIAN),
            transfer_syntax_uid=uids.EXPLICIT_VR_LITTLE_ENDIAN,
            path="none",
            is_in_place=False,
            size=525_000,
            offset=400,
            digest=sha256(encoded).digest(),
            source="CT1@10.0.0.7",
            received_at=1_700_000_000.0,
        )


def fill(data: Path, studies: int, series: int, instances: int) -> None:
    """Put them all into the index of the data folder."""
    index, texts, rest = (
        Index.at(data / "index.sqlite", fsync=False),
        SharedTexts(),
        arrivals(studies, series, instances),
    )
    while batch := list(islice(rest, MAXIMUM_BATCH)):
        with index.writing() as connection:
            place(connection, batch, OnDuplicate.KEEP, texts)
    index.close()


if __name__ == "__main__":
    fill(Path(sys.argv[1]), *map(int, sys.argv[2:]))
