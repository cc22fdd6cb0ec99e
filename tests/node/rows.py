"""An archive made by hand: files in their places, and the rows of them, for tests of what reads the index."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from sqlalchemy import Connection, Table, func, insert, select
from tests.sample_objects import EXPLICIT, dataset_bytes, instance, save

from dimse import Server, ServerOptions
from dimse.node import schema
from dimse.node.index import Index
from dimse.node.keys import uid_hash
from dimse.node.places import place
from dimse.node.placing import FOLDER
from dimse.node.retrieving import Retriever


def member(study: str, series: str, number: int, **attributes: Any) -> Dataset:
    """A small CT instance, of a study and series, whose UID says so."""
    dataset = instance(f"{study}.{series}.{number}")
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, f"{study}.{series}"
    dataset.SeriesNumber, dataset.InstanceNumber, dataset.Modality = series, number, "CT"
    for keyword, value in attributes.items():
        setattr(dataset, keyword, value)
    return dataset


def put(index: Index, data: Path, *given: Dataset | Path, syntax: str = EXPLICIT) -> list[Path]:
    """Put data sets, or files as they are, into their places and into the index; returns the files."""
    with index.writing() as connection:
        return [_put(connection, data, each, syntax) for each in given]


def _put(connection: Connection, data: Path, given: Dataset | Path, syntax: str) -> Path:
    dataset = dcmread(given) if isinstance(given, Path) else given
    path = place(data, dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.SOPInstanceUID)
    path.parent.mkdir(parents=True, exist_ok=True)
    if isinstance(given, Path):
        shutil.copyfile(given, path)
        syntax = str(dataset.file_meta.TransferSyntaxUID)
    else:
        save(dataset, path, syntax)
    encoded, size = dataset_bytes(path), path.stat().st_size
    found = {
        "uid": dataset.SOPInstanceUID,
        "uid_hash": uid_hash(dataset.SOPInstanceUID),
        "sop_class": _id(connection, schema.uid, uid=str(dataset.SOPClassUID)),
        "transfer_syntax": _id(connection, schema.uid, uid=syntax),
        "number": dataset.get("InstanceNumber"),
        "bytes": size,
        "offset": size - len(encoded),
        "digest": sha256(encoded).digest(),
        "storage": _id(connection, schema.storage, url=FOLDER),
        "received_at": 0.0,
    }
    connection.execute(insert(schema.instance).values(series_id=_series(connection, dataset), **found))
    return path


def _series(connection: Connection, dataset: Dataset) -> int:
    study = _id(
        connection,
        schema.study,
        uid=dataset.StudyInstanceUID,
        given={
            "patient_id": dataset.get("PatientID") or None,
            "issuer": dataset.get("IssuerOfPatientID") or None,
            "created_at": 0.0,
            "changed_at": 0.0,
            "key_version": 1,
            "attributes": b"",
        },
    )
    given = {"modality": "CT", "number": dataset.get("SeriesNumber"), "attributes": b""}
    return _id(connection, schema.series, study_id=study, uid=dataset.SeriesInstanceUID, given=given)


def _id(connection: Connection, table: Table, *, given: dict[str, Any] | None = None, **values: Any) -> int:
    """The number of the row with these values, which is made if it is missing."""
    found = connection.execute(select(table.c.id).filter_by(**values)).scalar()
    if found is None:
        if table in (schema.uid, schema.storage):  # SQLite numbers rows by itself only in an INTEGER
            values["id"] = connection.execute(select(func.coalesce(func.max(table.c.id), 0) + 1)).scalar_one()
        found = connection.execute(insert(table).values(**values, **(given or {})).returning(table.c.id)).scalar_one()
    return int(found)


@asynccontextmanager
async def serving(
    index: Index, data: Path, options: ServerOptions | None = None, destinations: Any = None, port: int = 0
) -> AsyncIterator[Server]:
    """A server that answers retrievals from an index."""
    server = Server("DIMSE", host="127.0.0.1", port=port, options=options, destinations=destinations)
    Retriever(index, data).register(server)
    async with server:
        yield server


def uids_of(datasets: Sequence[Dataset]) -> list[str]:
    """Their SOP Instance UIDs."""
    return [str(dataset.SOPInstanceUID) for dataset in datasets]
