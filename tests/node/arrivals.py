"""Arrivals for tests of the index: instances that say what they are told to; and what they did to it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from sqlalchemy import Table, select

from dimse import uids
from dimse.node.arrival import Arrival, OnDuplicate, Placed
from dimse.node.index import Index
from dimse.node.keys import Claims, Columns
from dimse.node.placing import place
from dimse.node.recount import recount
from dimse.node.schema import event
from dimse.node.shared_texts import SharedTexts

CT = "1.2.840.10008.5.1.4.1.1.2"
MR = "1.2.840.10008.5.1.4.1.1.4"

_STUDY = (
    *("patient_id", "issuer", "name_key", "name_ideographic_key", "name_phonetic_key", "birth_date", "sex", "date"),
    *("time", "accession_number", "dicom_study_id", "description", "referring_key"),
)
_SERIES = (
    *("modality", "number", "description", "body_part", "laterality", "step_date", "step_time", "station"),
    *("institution", "performing_key"),
)


@dataclass(frozen=True)
class Said:
    """What an instance says of itself."""

    study_uid: str
    series_uid: str
    uid: str
    sop_class_uid: str = CT
    modality: str = "CT"
    patient_id: str | None = "4711"
    issuer: str | None = None
    announced: int | None = None

    def claims(self) -> Claims:
        return Claims(self.patient_id, self.issuer, self.announced)

    def study(self) -> Columns:
        columns = {**dict.fromkeys(_STUDY), **self.claims()._asdict()}
        return Columns(columns, b"study of " + self.uid.encode())

    def series(self) -> Columns:
        return Columns({**dict.fromkeys(_SERIES), "modality": self.modality or None}, b"series of " + self.uid.encode())

    def requests(self) -> list[dict[str, str | None]]:
        return [{"accession_number": "A1", "requested_procedure_id": None, "scheduled_step_id": "S1"}]

    def name_words(self) -> frozenset[str]:
        return frozenset({"doe", "jane"})

    def instance(self) -> dict[str, Any]:
        return {"number": 1, "frames": None, "rows": 512, "columns": 512, "bits": 16}


def arrival(said: Said, content: str = "first", *, size: int = 1000, in_place: Path | None = None) -> Arrival:
    """An arrival of an instance with some content."""
    return Arrival(
        description=said,
        transfer_syntax_uid=uids.EXPLICIT_VR_LITTLE_ENDIAN,
        path=str(in_place or f"/data/incoming/1/{said.uid}.dcm"),
        is_in_place=in_place is not None,
        size=size,
        offset=400,
        digest=sha256(content.encode()).digest(),
        source="CT1@10.0.0.7",
        received_at=1_700_000_000.0,
    )


ONE = Said("1.1", "1.1.1", "1.1.1.1")


def put(
    index: Index, *arrivals: Arrival, on_duplicate: OnDuplicate = OnDuplicate.KEEP, cache: SharedTexts | None = None
) -> list[Placed]:
    """Place a batch; the index agrees with a recount after it."""
    with index.writing() as connection:
        placed = place(connection, arrivals, on_duplicate, cache or SharedTexts())
    with index.reading() as connection:
        assert recount(connection) == []
    return placed


def rows(index: Index, table: Table) -> Sequence[Any]:
    with index.reading() as connection:
        return connection.execute(select(table).order_by(table.c[0])).all()


def events(index: Index) -> list[tuple[str, str | None, str | None]]:
    return [(row.kind, row.series_uid, row.instance_uid) for row in rows(index, event)]
