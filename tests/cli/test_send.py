"""`dimse send`."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest

from dimse import Server, Status, StoreRequest
from dimse.dataset.sources import FileSource

Dimse = Callable[..., Any]


def dataset_bytes(path: Path) -> bytes:
    return path.read_bytes()[-FileSource(path).length :]


def arrived(receiver: Any, path: Path) -> Path:
    """Where the receiver put what `path` is."""
    dataset = pydicom.dcmread(path, stop_before_pixels=True)
    name = f"{dataset.StudyInstanceUID}/{dataset.SeriesInstanceUID}/{dataset.SOPInstanceUID}.dcm"
    return Path(receiver.folder, name)


def test_a_file_arrives_as_it_is(dimse: Dimse, receiver: Any, ct: Path) -> None:
    done = dimse("send", receiver.address, ct)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"1 object stored at {receiver.address}: 38.9 KB in ")
    assert dataset_bytes(arrived(receiver, ct)) == dataset_bytes(ct)


def test_a_folder_is_searched_and_what_is_not_dicom_is_skipped(
    dimse: Dimse, receiver: Any, ct: Path, mr: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "study"
    (folder / "deep" / "er").mkdir(parents=True)
    shutil.copy(ct, folder / "a")
    shutil.copy(mr, folder / "deep" / "er" / "b.dcm")
    (folder / "notes.txt").write_text("not DICOM")
    done = dimse("send", receiver.address, folder, "--associations", 2, "--max-pdu", 4096)
    assert done.code == 0
    assert done.out.startswith("2 objects stored at ")
    assert ", 1 skipped: " in done.out
    assert done.out.rstrip().endswith("up to 16 at once")
    assert done.err == f"skipped: {folder / 'notes.txt'}: not a DICOM file (no DICM at byte 128)\n"
    assert dataset_bytes(arrived(receiver, mr)) == dataset_bytes(mr)


def test_options_stand_anywhere(dimse: Dimse, receiver: Any, ct: Path, mr: Path) -> None:
    done = dimse("-v", "send", "--retries", 1, receiver.address, ct, "--json", mr, "--calling", "ME")
    assert done.code == 0
    assert [line["name"] for line in done.lines[:-1]] == [str(ct), str(mr)]


@pytest.mark.parametrize(
    ("uid", "options", "expected"),
    [
        ("1.2.1", ["--syntax", "Implicit"], "1.2.840.10008.1.2"),
        ("1.2.2", ["--syntax", "1.2.840.10008.1.2"], "1.2.840.10008.1.2"),
        ("1.2.3", ["--syntax", "jpeg-baseline,deflated"], "1.2.840.10008.1.2.1.99"),
        ("1.2.4", ["--syntax", "jpeg-baseline", "--syntax", "deflated"], "1.2.840.10008.1.2.1.99"),
    ],
)
def test_the_syntax_is_as_asked_for(
    dimse: Dimse, receiver: Any, ct: Path, tmp_path: Path, uid: str, options: list[str], expected: str
) -> None:
    """Each time of another instance: the receiver keeps the content that it has."""
    dataset = pydicom.dcmread(ct)
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.UID(uid)
    path = tmp_path / "ct.dcm"
    dataset.save_as(path)
    done = dimse("send", receiver.address, path, *options)
    assert (done.code, done.err) == (0, "")
    assert pydicom.dcmread(arrived(receiver, path)).file_meta.TransferSyntaxUID == expected


def test_a_syntax_that_does_not_fit_is_said(dimse: Dimse, receiver: Any, ct: Path) -> None:
    done = dimse("send", receiver.address, ct, "--syntax", "jpeg-baseline")
    assert done.code == 1
    assert "proposed: JPEG Baseline (Process 1)" in done.err
    done = dimse("send", receiver.address, ct, "--syntax", "jpeg")
    assert done.code == 2
    assert "'jpeg' is not a transfer syntax; it must be a UID or one of uncompressed, j2k, implicit" in done.err


def test_a_zip_archive(dimse: Dimse, receiver: Any, ct: Path, tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as zipped:
        zipped.write(ct, "folder/ct.dcm")
        zipped.writestr("readme.txt", "hello")
    done = dimse("send", receiver.address, archive, "--json", "--max-pdu", 0)
    assert (done.code, done.err) == (0, "")
    outcomes = {(line["name"], line["outcome"]) for line in done.lines[:-1]}
    assert outcomes == {(f"{archive}!folder/ct.dcm", "stored"), (f"{archive}!readme.txt", "skipped")}
    assert dataset_bytes(arrived(receiver, ct)) == dataset_bytes(ct)


def test_a_dicomdir_stands_for_its_files(dimse: Dimse, receiver: Any, dicomdir: Path) -> None:
    done = dimse("send", receiver.address, dicomdir)
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith("50 objects stored at ")


@pytest.mark.parametrize("seekable", [True, False])
def test_standard_input(dimse: Dimse, receiver: Any, mr: Path, seekable: bool) -> None:
    if seekable:
        command = [sys.executable, "-m", "dimse", "send", receiver.address, "-", "--json"]
        with mr.open("rb") as file:
            done = subprocess.run(  # noqa: S603 - our own
                command, stdin=file, capture_output=True, text=True, timeout=50, check=False
            )
        assert (done.returncode, done.stderr) == (0, "")
        assert '"name": "standard input"' in done.stdout
    else:
        piped = dimse("send", receiver.address, "-", "--json", stdin=mr.read_bytes())
        assert (piped.code, piped.err) == (0, "")
        assert piped.lines[0]["name"] == "standard input"
        assert piped.lines[0]["outcome"] == "stored"
    assert dataset_bytes(arrived(receiver, mr)) == dataset_bytes(mr)


def test_json_has_a_line_per_result_and_a_summary(
    dimse: Dimse, receiver: Any, ct: Path, mr: Path, tmp_path: Path
) -> None:
    missing = tmp_path / "missing.dcm"
    done = dimse("send", receiver.address, ct, missing, mr, "--json")
    assert (done.code, done.err) == (1, "")
    *results, summary = done.lines
    assert {(line["name"], line["outcome"]) for line in results} == {
        (str(ct), "stored"),
        (str(mr), "stored"),
        (str(missing), "failed"),
    }
    stored = next(line for line in results if line["name"] == str(ct))
    assert stored["event"] == "result"
    assert stored["sop_instance_uid"] == pydicom.dcmread(ct, stop_before_pixels=True).SOPInstanceUID
    assert (stored["status"], stored["meaning"], stored["error"]) == ("0x0000", "Success", None)
    assert (stored["attempts"], stored["bytes"]) == (1, 38870)
    assert summary["event"] == "summary"
    assert 1 <= summary["associations"] <= 8
    assert summary["operations_window"] == 16
    assert (summary["stored"], summary["failed"], summary["skipped"], summary["warnings"]) == (2, 1, 0, 0)
    assert summary["bytes"] == 38870 + 9496


def test_every_bad_file_is_named_with_its_reason_and_the_good_one_is_sent(
    dimse: Dimse, receiver: Any, ct: Path, tmp_path: Path
) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("not DICOM")
    cut_in_meta, cut_in_pixels = tmp_path / "meta.dcm", tmp_path / "pixels.dcm"
    cut_in_meta.write_bytes(ct.read_bytes()[:200])
    cut_in_pixels.write_bytes(ct.read_bytes()[:20000])
    nameless = tmp_path / "nameless.dcm"
    dataset = pydicom.dcmread(ct)
    del dataset.SOPInstanceUID
    del dataset.file_meta.MediaStorageSOPInstanceUID
    dataset.save_as(nameless)
    missing = tmp_path / "missing.dcm"
    bad = [text, cut_in_meta, cut_in_pixels, nameless, missing]
    done = dimse("send", receiver.address, *bad, ct)
    assert done.code == 1
    assert done.out.startswith("1 object stored at ")
    assert ", 5 failed: " in done.out
    lines = done.err.splitlines()
    assert len(lines) == 5
    for path in bad:
        (line,) = [line for line in lines if line.startswith("failed: ") and str(path) in line]
        assert line.count(str(path)) == 1
    assert "not a DICOM file" in done.err
    assert "truncated" in done.err
    assert "SOP Instance UID" in done.err
    assert "No such file" in done.err


def test_nothing_to_send_is_no_success(dimse: Dimse, closed_port: int, tmp_path: Path) -> None:
    done = dimse("send", f"A@127.0.0.1:{closed_port}", tmp_path)
    assert done.code == 1
    assert done.err == "dimse: nothing to send: no DICOM files found\n"


def test_standard_input_that_is_not_dicom(dimse: Dimse, closed_port: int) -> None:
    done = dimse("send", f"A@127.0.0.1:{closed_port}", "-", stdin=b"hello")
    assert done.code == 1
    assert done.err.startswith("failed: standard input: ")


def test_port_closed(dimse: Dimse, closed_port: int, refused: str, ct: Path) -> None:
    done = dimse("send", f"A@127.0.0.1:{closed_port}", ct)
    assert (done.code, done.out) == (3, "")
    assert done.err == refused
    done = dimse("send", f"A@127.0.0.1:{closed_port}", ct, "--json")
    assert done.code == 3
    summary, error = done.lines[-2:]
    assert (summary["event"], error["event"]) == ("summary", "error")
    assert summary["error"] == error["error"] == f"cannot connect to {error['address']}: Connection refused"
    assert (error["address"], error["doing"], error["exit_code"]) == (f"A@127.0.0.1:{closed_port}", "connecting", 3)


def test_a_rejected_association(dimse: Dimse, receive: Callable[..., Any], ct: Path) -> None:
    receiver = receive("--title", "OTHER")
    done = dimse("send", f"ARCHIVE@127.0.0.1:{receiver.port}", ct)
    assert (done.code, done.out) == (3, "")
    assert done.err == (
        f"dimse: ARCHIVE@127.0.0.1:{receiver.port} rejected the association: it does not know the called "
        f"AE title 'ARCHIVE'; check the title (see dimse explain ARCHIVE@127.0.0.1:{receiver.port})\n"
    )
    assert dimse("send", f"OTHER@127.0.0.1:{receiver.port}", ct).code == 0
    assert len(receiver.files()) == 1


@pytest.mark.parametrize(
    ("status", "code", "outcome"), [(0xB000, 0, "warning"), (0x0124, 1, "failed"), (0xC001, 1, "failed")]
)
async def test_what_the_peer_answers_is_told(ct: Path, status: int, code: int, outcome: str) -> None:
    server = Server(port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status(status)

    async with server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dimse", "send", f"ANY@127.0.0.1:{server.port}", str(ct)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        _, err = await process.communicate()
    (line,) = err.decode().splitlines()
    assert line.startswith(f"{outcome}: ")
    assert str(ct) in line
    assert f"0x{status:04X}" in line
    assert process.returncode == code


async def test_ctrl_c_ends_a_send_at_once(ct: Path) -> None:
    server, began, ended = Server(port=0), asyncio.Event(), asyncio.Event()

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        began.set()
        await ended.wait()
        return Status.SUCCESS

    async with server:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "dimse", "send", f"ANY@127.0.0.1:{server.port}", str(ct)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        await began.wait()
        process.send_signal(signal.SIGINT)
        out, err = await process.communicate()
        ended.set()
    assert (process.returncode, out, err) == (130, b"", b"dimse: interrupted\n")


async def test_ctrl_c_ends_a_send_that_waits_for_standard_input(closed_port: int) -> None:
    read, write = os.pipe()
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "dimse", "send", f"ANY@127.0.0.1:{closed_port}", "/nowhere", "-"),
        stdin=read,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stderr is not None
    assert (await process.stderr.readline()).startswith(b"failed: /nowhere: ")
    process.send_signal(signal.SIGINT)
    out, err = await process.communicate()
    os.close(read)
    os.close(write)
    assert (process.returncode, out, err) == (130, b"", b"dimse: interrupted\n")


def test_objects_are_edited_on_the_way(dimse: Dimse, receive: Any, ct: Path) -> None:
    receiver = receive()
    done = dimse(
        "send", receiver.address, ct, "--set", "PatientName=Anon^1", "--set", "PatientID=", "--remove", "Modality"
    )
    assert (done.code, done.err) == (0, "")
    before, after = pydicom.dcmread(ct), pydicom.dcmread(arrived(receiver, ct))
    assert after.PatientName == "Anon^1"
    assert after.PatientID in ("", None)
    assert "Modality" not in after
    assert after.PixelData == before.PixelData
    assert len(after) == len(before) - 1


@pytest.mark.parametrize(("level", "number"), [("instance", (1, 1, 6)), ("series", (1, 3, 6)), ("study", (3, 3, 6))])
def test_a_load_of_new_objects(
    dimse: Dimse, receive: Any, ct: Path, tmp_path: Path, level: str, number: tuple[int, int, int]
) -> None:
    """Two objects of a series, three times."""
    folder = tmp_path / "study"
    folder.mkdir()
    for name in "ab":
        dataset = pydicom.dcmread(ct)
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = pydicom.uid.generate_uid()
        dataset.save_as(folder / name)
    receiver = receive()
    done = dimse("send", receiver.address, folder, "--repeat", 3, "--new-uids", level, "--json")
    assert done.code == 0
    assert done.lines[-1]["stored"] == 6
    paths = [Path(each).parts for each in receiver.files()]
    assert (len({each[0] for each in paths}), len({each[1] for each in paths}), len(paths)) == number
    uids = {line["sop_instance_uid"] for line in done.lines[:-1]}
    assert uids == {each[2].removesuffix(".dcm") for each in paths}


def test_the_same_objects_again_and_again(dimse: Dimse, receiver: Any, ct: Path) -> None:
    done = dimse("send", receiver.address, ct, "--repeat", 5)
    assert done.code == 0
    assert done.out.startswith("5 objects stored at ")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--set", "Rows=1"], "Rows cannot be edited: it describes the pixel data, which is not changed"),
        (["--set", "PatientBirthDate=SECRET"], "PatientBirthDate (DA) must be a date YYYYMMDD"),
        (["--set", "PatientName"], "'PatientName' has no value: write PatientName=VALUE"),
        (["--remove", "PatientsName"], "unknown keyword 'PatientsName'"),
        (["--new-uids", "frame"], "must be one of instance, series, study, patient, not 'frame'"),
        (["--repeat", "0"], "must be at least 1, not 0"),
        (["--repeat", "2", "-"], "standard input (-) can be read only once: --repeat needs files"),
    ],
)
def test_edits_that_cannot_be(dimse: Dimse, ct: Path, options: list[str], said: str) -> None:
    done = dimse("send", "ARCHIVE@localhost:1", ct, *options)
    assert done.code == 2
    assert said in done.err
    assert "SECRET" not in done.err
