"""`dimse get`."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncIterator, Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID
from tests.acceptances import change_acceptances

from dimse import Association, QueryRequest, QueryRetrieveModel, Server, Status, StatusError, uids
from dimse.dataset.sources import FileSource
from dimse.network.association import exchange_of
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

Beside = Callable[..., Any]
CT, MR = "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"
STUDY = ("-k", "StudyInstanceUID=1.2.3")


class Archive:
    """Gives the same to everyone."""

    def __init__(self, *paths: Path, failure: Exception | None = None) -> None:
        self.server = Server("ARCHIVE", port=0)
        self.requests: list[QueryRequest] = []

        @self.server.on_c_get
        async def get(request: QueryRequest) -> AsyncIterator[Path]:
            self.requests.append(request)
            for path in paths:
                yield path
            if failure is not None:
                raise failure

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.server.port}"


def uid(path: Path) -> str:
    return str(pydicom.dcmread(path, stop_before_pixels=True).SOPInstanceUID)


def files(folder: Path) -> dict[str, bytes]:
    """The data sets below a folder, by SOP Instance UID."""
    return {uid(path): dataset_bytes(path) for path in folder.rglob("*") if path.is_file()}


def dataset_bytes(path: Path) -> bytes:
    return path.read_bytes()[-FileSource(path).length :]


async def test_into_a_folder(beside: Beside, ct: Path, mr: Path, tmp_path: Path) -> None:
    archive, into = Archive(ct, mr), tmp_path / "new" / "folder"
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, "--into", into)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"2 instances retrieved from {archive.address} into {into}: ")
    assert files(into) == {uid(path): dataset_bytes(path) for path in (ct, mr)}
    (request,) = archive.requests
    assert (request.level, request.model) == ("STUDY", QueryRetrieveModel.STUDY_ROOT)
    assert request.identifier.StudyInstanceUID == "1.2.3"


async def test_json_has_a_line_per_instance_and_a_summary(beside: Beside, ct: Path, tmp_path: Path) -> None:
    archive = Archive(ct)
    keys = ("--level", "series", "-k", "SeriesInstanceUID=1.2.3\\1.2.4", "-k", "PatientID=4", "--model", "patient")
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, *keys, "--into", tmp_path, "--json", "--on-cancel=complete")
    assert (done.code, done.err) == (0, "")
    result, summary = done.lines
    assert (result["event"], result["outcome"], result["sop_instance_uid"]) == ("result", "retrieved", uid(ct))
    assert result["bytes"] == await asyncio.to_thread(os.path.getsize, result["path"])
    assert (summary["event"], summary["retrieved"], summary["failed"]) == ("summary", 1, 0)
    (request,) = archive.requests
    assert (request.level, request.model) == ("SERIES", QueryRetrieveModel.PATIENT_ROOT)
    assert list(request.identifier.SeriesInstanceUID) == ["1.2.3", "1.2.4"]


@pytest.fixture
def cut(mr: Path, tmp_path: Path) -> Path:
    """A file that ends too early."""
    path = tmp_path / "cut.dcm"
    path.write_bytes(mr.read_bytes()[:5000])
    return path


async def test_each_that_failed_is_named_and_the_others_are_there(
    beside: Beside, ct: Path, mr: Path, cut: Path, tmp_path: Path
) -> None:
    archive, into = Archive(ct, cut), tmp_path / "into"
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, "--into", into)
        lines = (await beside("get", archive.address, *STUDY, "--into", into, "--json")).lines
    assert done.code == 1
    line, advice = done.err.splitlines()
    assert line.startswith(f"failed: {uid(mr)}: ")
    assert advice.startswith("dimse: proposed ")
    assert done.out.startswith("1 instance retrieved from ")
    assert ", 1 failed: " in done.out
    assert files(into) == {uid(ct): dataset_bytes(ct)}
    outcomes = {line["sop_instance_uid"]: line["outcome"] for line in lines[:-1]}
    assert outcomes == {uid(ct): "retrieved", uid(mr): "failed"}
    assert (lines[-1]["retrieved"], lines[-1]["failed"]) == (1, 1)


async def test_those_that_the_peer_does_not_name_are_counted(beside: Beside, ct: Path, tmp_path: Path) -> None:
    archive = Archive(ct, tmp_path / "missing-1", tmp_path / "missing-2")
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, "--into", tmp_path / "into")
    assert done.code == 1
    line, advice = done.err.splitlines()
    assert line == "failed: an instance: 2 failed that the peer does not name"
    assert advice.startswith("dimse: proposed ")
    assert ", 2 failed: " in done.out


async def test_what_cannot_be_written_is_told_with_its_cause(beside: Beside, ct: Path, tmp_path: Path) -> None:
    study = pydicom.dcmread(ct, stop_before_pixels=True).StudyInstanceUID
    (tmp_path / study).write_text("a file where a folder should go")
    archive = Archive(ct)
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, "--into", tmp_path)
    assert done.code == 1
    failed, status = done.err.splitlines()
    assert failed.startswith(f"failed: {uid(ct)}: refused with 0x")
    assert str(tmp_path) in failed
    assert status.startswith(f"dimse: {archive.address}: C-GET: 0xA702 ")


async def test_nothing_there_is_no_success(beside: Beside, tmp_path: Path) -> None:
    archive = Archive()
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, "--into", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err == f"dimse: nothing retrieved: no matching instances at {archive.address}\n"


async def test_a_failed_status(beside: Beside, tmp_path: Path) -> None:
    archive = Archive(failure=StatusError(Status(0xA701), "C-GET", "no tape"))
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, "--into", tmp_path)
    assert (done.code, done.out) == (1, "")
    assert done.err.startswith(f"dimse: {archive.address}: C-GET: 0xA701 ")
    assert done.err.endswith("(no tape)\n")


def test_no_association(dimse: Beside, closed_port: int, refused: str, tmp_path: Path) -> None:
    for option in ("--timeout=9", "--json"):
        done = dimse("get", f"A@127.0.0.1:{closed_port}", *STUDY, "--into", tmp_path, option)
        assert done.code == 3
        assert done.err == refused
    assert "Connection refused" in done.lines[-1]["error"]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(dimse: Beside, closed_port: int, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = dimse("get", f"A@127.0.0.1:{closed_port}", *STUDY, "--into", tmp_path)
    tmp_path.chmod(0o700)
    assert (done.code, done.err) == (1, f"dimse: {tmp_path}: cannot write to this folder\n")


@pytest.mark.parametrize("on_cancel", ["reject", "complete"])
async def test_ctrl_c_cancels_and_says_what_had_come(start: Beside, mr: Path, tmp_path: Path, on_cancel: str) -> None:
    server, total = Server("ARCHIVE", port=0), 2000
    associations: list[Association] = []

    @server.on_c_get
    async def get(request: QueryRequest) -> AsyncIterator[Path]:
        associations.append(request.association)
        for _ in range(total):
            yield mr

    async with server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        process = await start("get", address, *STUDY, "--into", tmp_path, "--json", "--on-cancel", on_cancel)
        first = await process.stdout.readline()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        await exchange_of(associations[0]).closed()
    assert associations[0].error is None, "it was released"
    assert process.returncode == 130
    assert err.decode().startswith("dimse: interrupted; ")
    *results, summary = map(json.loads, (first + out).splitlines())
    retrieved = [result for result in results if result["outcome"] == "retrieved"]
    assert summary["error"] == "interrupted"
    assert summary["retrieved"] == len(retrieved) < total
    assert files(tmp_path) == {uid(mr): dataset_bytes(mr)}


def proposed(server: Server) -> list[list[tuple[str, tuple[str, ...]]]]:
    """The contexts that each association requests in addition to Query/Retrieve."""
    asked: list[list[tuple[str, tuple[str, ...]]]] = []

    def noting(request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> A_ASSOCIATE_AC:
        contexts = [(each.abstract_syntax, each.transfer_syntaxes) for each in request.presentation_contexts]
        asked.append([each for each in contexts if each[0] not in uids.QUERY_RETRIEVE])
        return acceptance

    change_acceptances(server, noting)
    return asked


async def test_the_classes_and_syntaxes_that_are_proposed(beside: Beside, ct: Path, tmp_path: Path) -> None:
    archive = Archive(ct)
    asked = proposed(archive.server)
    classes = ("--class", "CT,MR Image Storage", "--class=1.2.840.10008.5.1.4.1.1.104.1,mrimagestorage")
    syntaxes = ("--syntax", "implicit,explicit", "--syntax", "rle")
    async with archive.server:
        done = await beside("get", archive.address, *STUDY, "--into", tmp_path, *classes, *syntaxes)
    assert done.code == 0
    wanted = [CT, MR, "1.2.840.10008.5.1.4.1.1.104.1"]
    native = (uids.IMPLICIT_VR_LITTLE_ENDIAN, uids.EXPLICIT_VR_LITTLE_ENDIAN)
    (contexts,) = asked
    assert contexts == [*((uid, native) for uid in wanted), *((uid, ("1.2.840.10008.1.2.5",)) for uid in wanted)]


def test_a_class_that_is_none(dimse: Beside, closed_port: int, tmp_path: Path) -> None:
    for name in ("CTT", "VerificationSOPClass", ""):
        done = dimse("get", f"A@127.0.0.1:{closed_port}", *STUDY, "--into", tmp_path, "--class", name)
        assert done.code == 2
        assert "is not a storage SOP class; it must be a UID or a name" in done.err


async def test_what_was_proposed_is_said_where_a_context_is_missing(beside: Beside, ct: Path, tmp_path: Path) -> None:
    archive = Archive(ct)
    async with archive.server:
        arguments = ("get", archive.address, *STUDY, "--into", tmp_path, "--class", "MR", "--syntax", "rle,implicit")
        done = await beside(*arguments)
    assert done.code == 1
    assert done.err.splitlines()[-1] == (
        "dimse: proposed Implicit VR Little Endian, RLE Lossless for MR Image Storage; "
        "if the archive needs others, add them with --class and --syntax"
    )


async def test_a_model_without_levels(beside: Beside, ct: Path, tmp_path: Path) -> None:
    archive, asked = Archive(), list[QueryRequest]()

    @archive.server.on_c_get(QueryRetrieveModel.COLOR_PALETTE)
    async def get(request: QueryRequest) -> AsyncIterator[bytes]:
        asked.append(request)
        yield palette(ct)

    async with archive.server:
        done = await beside(
            "get", archive.address, "--model", "color-palette", "-k", "SOPInstanceUID=1.2.3", "-o", tmp_path / "in"
        )
        unnamed = await beside("get", archive.address, "--model", "color-palette", "-o", tmp_path / "in")
    assert (done.code, unnamed.code) == (0, 2)
    assert "-k KEY=VALUE" in unnamed.err
    assert [(request.level, request.identifier.SOPInstanceUID) for request in asked] == [(None, "1.2.3")]
    assert list(files(tmp_path / "in")) == ["1.2.3"]


def palette(path: Path) -> bytes:
    """A file of the storage class of color palettes."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = UID(QueryRetrieveModel.COLOR_PALETTE.stored[0])
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    file = BytesIO()
    dataset.save_as(file)
    return file.getvalue()
