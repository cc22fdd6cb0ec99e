"""A data set with a marker in every element that may name a patient, and damaged versions of it."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from pydicom import Dataset
from tests.sample_objects import instance

MARKERS = ("QXZ7", "7770707", "19770707", "070707.77")
"""Of text, numbers, dates and times; nothing else has them."""


def marked(uid: str = "1.2.3.4") -> Dataset:
    """An instance whose text, names, IDs, numbers, dates, times and bytes are markers, except UIDs."""
    dataset = instance(uid, pixels=0)
    private = dataset.private_block(0x0099, "QXZ7 CREATOR", create=True)
    for offset, vr in enumerate(("AE", "CS", "LO", "LT", "PN", "SH", "ST", "UC", "UR", "UT")):
        private.add_new(offset, vr, f"QXZ7{vr}")
    values = {"DA": "19770707", "TM": "070707.77", "DT": "19770707070707.77", "IS": "7770707", "DS": "7770707.7"}
    for offset, (vr, value) in enumerate([*values.items(), *((vr, b"QXZ7") for vr in ("OB", "UN", "OW"))], 0x20):
        private.add_new(offset, vr, value)
    dataset.PatientName, dataset.PatientID, dataset.PatientComments = "QXZ7^PN", "QXZ7ID", "QXZ7 LT"
    dataset.PatientBirthDate, dataset.PatientWeight, dataset.StudyTime = "19770707", "7770707.7", "070707.77"
    dataset.StudyDate, dataset.AccessionNumber, dataset.StudyDescription = "19770707", "QXZ7ACC", "QXZ7 DESC"
    nested = Dataset()
    nested.PatientName, nested.PatientID = "QXZ7^NESTED", "QXZ7"
    dataset.OtherPatientIDsSequence = [nested]
    dataset.PixelData = b"QXZ7" * 128
    dataset["PixelData"].VR = "OW"
    return dataset


def damaged(encoded: bytes, *, cuts: int, flips: int) -> Iterator[bytes]:
    """Versions of it that end early or have other bytes in a few places, the same in each run."""
    chance = random.Random(7)
    yield from (encoded[:length] for length in range(8, len(encoded), max(1, len(encoded) // cuts)))
    for _ in range(flips):
        changed = bytearray(encoded)
        for _ in range(chance.choice((1, 2, 5))):
            changed[chance.randrange(len(changed))] = chance.choice((0, 0xFF, 0x1B, 0x5C, chance.randrange(256)))
        yield bytes(changed)


def hits(texts: Iterable[str]) -> list[str]:
    """The texts with a marker in them."""
    return [text for text in texts if any(marker in text for marker in MARKERS)]
