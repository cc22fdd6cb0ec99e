"""An archive to look at: rows and files as storing makes them, and a web server over them."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path
from typing import Any

from pydicom import Dataset, dcmread
from sqlalchemy import Connection, func, insert, select, update

from dimse.dataset.codec import encode
from dimse.node.index import Index
from dimse.node.keys import uid_hash
from dimse.node.options import WebOptions
from dimse.node.schema import instance, name_word, series, storage, study, uid
from dimse.node.web.app import WebServer
from dimse.services.server import Server
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN


def add(index: Index, data: Path, *files: Path) -> None:
    """Store files in the archive."""
    with index.writing() as connection:
        for file in files:
            _add(connection, data, file)


def _add(connection: Connection, data: Path, file: Path) -> None:
    header = dcmread(file, stop_before_pixels=True)
    ids = header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID
    place = data / "studies" / ids[0] / ids[1] / f"{ids[2]}.dcm"
    place.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, place)
    study_id = _row(connection, study, {"uid": ids[0]}, study_columns(header))
    in_series = {"study_id": study_id, "uid": ids[1]}
    series_id = _row(connection, series, in_series, series_columns(header))
    for word in str(header.get("PatientName", "")).casefold().replace("^", " ").split():
        if not connection.execute(select(name_word).filter_by(study_id=study_id, word=word)).first():
            connection.execute(insert(name_word).values(study_id=study_id, word=word))
    size = place.stat().st_size
    made = {
        "series_id": series_id,
        "uid": ids[2],
        "uid_hash": uid_hash(ids[2]),
        "sop_class": _row(connection, uid, {"uid": header.SOPClassUID}, {}),
        "transfer_syntax": _row(connection, uid, {"uid": header.file_meta.TransferSyntaxUID}, {}),
        "number": header.get("InstanceNumber"),
        "frames": header.get("NumberOfFrames"),
        "rows": header.get("Rows"),
        "columns": header.get("Columns"),
        "bytes": size,
        "offset": 0,
        "digest": blake2b(place.read_bytes(), digest_size=16).digest(),
        "storage": _row(connection, storage, {"url": ""}, {}),
        "received_at": 0.0,
    }
    connection.execute(insert(instance).values(made))
    for table, number in ((study, study_id), (series, series_id)):
        counted = {"instance_count": table.c.instance_count + 1, "bytes": table.c.bytes + size}
        connection.execute(update(table).where(table.c.id == number).values(counted))


def _row(connection: Connection, table: Any, key: Mapping[str, Any], columns: Mapping[str, Any]) -> int:
    found = connection.execute(select(table.c.id).filter_by(**key)).scalar()
    if found is not None:
        return int(found)
    if table is series:
        counted = {"series_count": study.c.series_count + 1}
        connection.execute(update(study).where(study.c.id == key["study_id"]).values(counted))
    number: int = connection.execute(select(func.coalesce(func.max(table.c.id), 0) + 1)).scalar_one()
    connection.execute(insert(table).values(id=number, **key, **columns))
    return number


def study_columns(header: Dataset) -> dict[str, Any]:
    """The columns of a study."""
    date = str(header.get("StudyDate") or "")
    attributes = Dataset()
    attributes.PatientName = header.get("PatientName")
    return {
        "patient_id": header.get("PatientID"),
        "name_key": str(header.get("PatientName") or "").casefold(),
        "date": int(date) if date else None,
        "accession_number": header.get("AccessionNumber"),
        "description": header.get("StudyDescription"),
        "modalities": f"\\{header.Modality}\\",
        "created_at": 0.0,
        "changed_at": 0.0,
        "key_version": 1,
        "attributes": encode(attributes, EXPLICIT_VR_LITTLE_ENDIAN),
    }


def series_columns(header: Dataset) -> dict[str, Any]:
    """The columns of a series."""
    return {
        "modality": header.get("Modality"),
        "number": header.get("SeriesNumber"),
        "description": header.get("SeriesDescription"),
        "attributes": b"",
    }


@dataclass(frozen=True)
class Answer:
    """What the server answered."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    web: WebServer, path: str, body: Any = None, *, method: str | None = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """GET `path`, or POST `body` as JSON."""

    def exchange() -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", web.port, timeout=30)
        try:
            sent = None if body is None else json.dumps(body)
            kind = {} if body is None else {"Content-Type": "application/json"}
            how = method or ("GET" if body is None else "POST")
            connection.request(how, path, sent, {**kind, "Connection": "close", **(headers or {})})
            response = connection.getresponse()
            received = {name.lower(): value for name, value in response.getheaders()}
            return Answer(response.status, received, response.read())
        finally:
            connection.close()

    return await asyncio.to_thread(exchange)


@asynccontextmanager
async def serving(
    index: Index, data: Path, options: WebOptions | None = None, **parts: Any
) -> AsyncIterator[WebServer]:
    """A web server, and a DICOM server beside it."""
    async with (
        Server("NODE", port=0) as server,
        WebServer(options or WebOptions(port=0), index=index, server=server, data=data, **parts) as web,
    ):
        yield web
