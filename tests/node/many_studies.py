"""Studies with one series each, as rows that are made in bulk: for what depends on how many there are."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, insert

from dimse import uids
from dimse.node.attributes import encode_element
from dimse.node.keys import describe, uid_hash
from dimse.node.schema import instance, name_word, request, series, storage, study, uid

CT = "1.2.840.10008.5.1.4.1.1.2"
INSTANCE = {
    "sop_class": 1,
    "transfer_syntax": 2,
    "storage": 1,
    "bytes": 1000,
    "offset": 400,
    "digest": bytes(16),
    "received_at": 0.0,
}
NAMES = ("Smith", "Jones", "Taylor", "Brown", "Williams", "Wilson", "Johnson", "Davies", "Patel", "Wright")


def header(number: int, **texts: str) -> bytes:
    """The encoded header of the only instance of a study."""
    elements = {
        (0x00080016, "UI"): CT,
        (0x00080018, "UI"): f"1.2.{number}.1.1",
        (0x00080020, "DA"): f"{2000 + number % 24}{number % 12 + 1:02}{number % 28 + 1:02}",
        (0x00080030, "TM"): f"{number % 24:02}3000",
        (0x00080050, "SH"): f"A{number}",
        (0x00080060, "CS"): "CT" if number % 3 else "MR",
        (0x00080090, "PN"): "Ref^Erring",
        (0x00081030, "LO"): f"Examination {number % 40}",
        (0x0008103E, "LO"): "Axial",
        (0x00100010, "PN"): f"{NAMES[number % 10]}^{NAMES[number // 10 % 10]}{number}",
        (0x00100020, "LO"): f"P{number // 2}",
        (0x00100030, "DA"): f"19{number % 80 + 10}0101",
        (0x00100040, "CS"): "F" if number % 2 else "M",
        (0x0020000D, "UI"): f"1.2.{number}",
        (0x0020000E, "UI"): f"1.2.{number}.1",
        (0x00200010, "SH"): f"S{number}",
        (0x00200011, "IS"): "1",
    }
    named = {"PatientID": (0x00100020, "LO"), "StudyDate": (0x00080020, "DA"), "PatientName": (0x00100010, "PN")}
    elements |= {named[keyword]: value for keyword, value in texts.items()}
    return b"".join(encode_element(tag, vr, value.encode()) for (tag, vr), value in sorted(elements.items()))


def fill(connection: Connection, numbers: range, texts: Any = None) -> None:
    """Insert a study with a series and an instance for each number; `texts` gives other values of one, by keyword."""
    studies, serieses, words, requests, instances = [], [], [], [], []
    if not numbers.start:
        connection.execute(insert(uid), [{"id": 1, "uid": CT}, {"id": 2, "uid": uids.EXPLICIT_VR_LITTLE_ENDIAN}])
        connection.execute(insert(storage), {"id": 1, "url": ""})
    for number in numbers:
        given = texts(number) if texts is not None else {}
        about = describe(header(number, **given), uids.EXPLICIT_VR_LITTLE_ENDIAN)
        of_study, of_series = about.study(), about.series()
        counted = {"instance_count": 1, "bytes": 1000}
        known = {"created_at": 0.0, "changed_at": 0.0, "key_version": 1, "series_count": 1, "modalities": "\\CT\\"}
        studies.append(
            {"id": number + 1, "uid": about.study_uid, "attributes": of_study.attributes}
            | (of_study.columns | known | counted | {"sop_classes": f"\\{about.sop_class_uid}\\"})
        )
        serieses.append(
            {"id": number + 1, "study_id": number + 1, "uid": about.series_uid, "attributes": of_series.attributes}
            | (of_series.columns | counted)
        )
        words += [{"study_id": number + 1, "word": word} for word in sorted(about.name_words())]
        requests.append(
            {"series_id": number + 1, "scheduled_step_id": f"STEP{number}", "requested_procedure_id": f"R{number}"}
        )
        instances.append(
            {"id": number + 1, "series_id": number + 1, "uid": about.uid, "uid_hash": uid_hash(about.uid)} | INSTANCE
        )
    for table, rows in (
        (study, studies),
        (series, serieses),
        (name_word, words),
        (request, requests),
        (instance, instances),
    ):
        connection.execute(insert(table), rows)
