"""`dimse receive`."""

from __future__ import annotations

import asyncio
import inspect
import json
import os
import re
import signal
import subprocess
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pydicom
import pytest
from tests.cli.conftest import COMMAND

import dimse as library
from dimse.cli import acceptor, arguments, receive_commands, receive_faults, receive_spool
from dimse.cli.app import make_parser

Dimse = Callable[..., Any]
Receive = Callable[..., Any]


def test_the_first_line_says_how_to_open_it(receive: Receive) -> None:
    receiver = receive()
    expected = f"Receiving into {receiver.folder}; send to it with: dimse send DIMSE@localhost:{receiver.port} PATH\n"
    assert receiver.first_line == expected
    done = receiver.end()
    assert (done.code, done.err) == (0, "")
    assert done.out.splitlines()[1:] == ["0 objects received, 0 bytes"]


def test_what_a_killed_receiver_left_is_removed_at_the_start(receive: Receive, tmp_path: Path) -> None:
    folder = tmp_path / "received-0"
    folder.mkdir()
    (folder / ".dimse-0123456789abcdef-1-0.part").write_bytes(b"half")
    (folder / ".other.part").write_bytes(b"not ours")
    receiver = receive()
    assert os.listdir(folder) == [".other.part"]  # noqa: PTH208 - hidden ones too
    done = receiver.end()
    assert done.code == 0
    assert "removed 1 unfinished file" in done.err


def test_json_lines(dimse: Dimse, receive: Receive, ct: Path) -> None:
    receiver = receive("--json", "--title", "STORE", "--template", "{Modality}/{SOPInstanceUID}")
    assert dimse("send", f"STORE@127.0.0.1:{receiver.port}", ct, "--calling", "SCANNER").code == 0
    done = receiver.end(signal.SIGTERM)
    assert (done.code, done.err) == (0, "")
    first, stored, association, summary = done.lines
    assert first == {
        "event": "listening",
        "host": "localhost",
        "port": receiver.port,
        "title": "STORE",
        "into": str(receiver.folder),
    }
    instance = pydicom.dcmread(ct, stop_before_pixels=True).SOPInstanceUID
    assert stored["event"] == "stored"
    assert stored["sop_instance_uid"] == instance
    assert stored["path"] == f"CT/{instance}"
    assert stored["sop_class"] == "CT Image Storage"
    assert stored["calling_ae_title"] == "SCANNER"
    assert stored["bytes"] == (receiver.folder / stored["path"]).stat().st_size
    assert association.pop("peer").startswith("127.0.0.1:")
    assert association.pop("seconds") >= 0
    assert association == {
        "event": "association",
        "calling_ae_title": "SCANNER",
        "called_ae_title": "STORE",
        "stored": 1,
        "kept": 0,
        "failed": 0,
        "bytes": stored["bytes"],
        "error": None,
    }
    assert (summary["event"], summary["stored"], summary["failed"]) == ("summary", 1, 0)


def test_a_line_per_instance_without_patient_data(dimse: Dimse, receive: Receive, ct: Path) -> None:
    receiver = receive()
    assert dimse("send", receiver.address, ct).code == 0
    done = receiver.end()
    dataset = pydicom.dcmread(ct, stop_before_pixels=True)
    (path,) = receiver.files()
    size = (receiver.folder / path).stat().st_size
    line, association, summary = done.out.splitlines()[1:]
    assert re.fullmatch(rf"\d\d:\d\d:\d\d  CT   {size / 1000:.1f} KB  from DIMSE  {re.escape(path)}", line)
    assert re.fullmatch(
        rf"\d\d:\d\d:\d\d  DIMSE at 127.0.0.1:\d+: 1 object, {size / 1000:.1f} KB in [\d.]+ m?s, .*/s", association
    )
    assert summary == f"1 object received, {size / 1000:.1f} KB"
    assert str(dataset.PatientName) not in done.out + done.err
    assert str(dataset.PatientID) not in done.out + done.err


def test_quiet(dimse: Dimse, tmp_path: Path, ct: Path) -> None:
    with subprocess.Popen(  # noqa: S603 - our own
        [*COMMAND, "receive", tmp_path / "into", "--port", "0", "--quiet"], stdout=subprocess.PIPE, text=True
    ) as receiver:
        assert receiver.stdout is not None
        port = receiver.stdout.readline().rsplit(":", 1)[1].split()[0]
        assert dimse("send", f"A@127.0.0.1:{port}", ct).code == 0
        receiver.terminate()
        (summary,) = receiver.stdout.readlines()
    assert summary.startswith("1 object received, ")


async def test_ctrl_c_lets_what_is_under_way_finish(receive: Receive, ct: Path) -> None:
    receiver = receive()
    contexts = library.presentation_contexts([library.FileSource(ct)])
    async with library.connect(receiver.address, contexts=contexts) as association:
        receiver.process.send_signal(signal.SIGINT)
        waiting = await asyncio.to_thread(receiver.process.stderr.readline)
        assert waiting == "dimse: waiting for 1 association to end; press Ctrl-C again to abort\n"
        await library.CStoreSCU(association).send(ct)
    done = await asyncio.to_thread(receiver.end, 0)
    assert done.code == 0
    assert done.out.splitlines()[-1].startswith("1 object received")


async def test_a_second_ctrl_c_cuts_it_off(receive: Receive, ct: Path) -> None:
    receiver = receive()
    begun, cut = asyncio.Event(), asyncio.Event()
    contexts = library.presentation_contexts([library.FileSource(ct)])

    async def pieces() -> Any:
        begun.set()
        yield bytes(100_000)
        await cut.wait()
        yield bytes(100_000)

    dataset = pydicom.dcmread(ct)
    del dataset.PixelData
    async with library.connect(receiver.address, contexts=contexts) as association:
        pixels = library.NativePixels(pieces(), 200_000)
        sending = asyncio.ensure_future(library.CStoreSCU(association).send(dataset, pixels=pixels))
        await begun.wait()
        receiver.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(receiver.process.stderr.readline)
        receiver.process.send_signal(signal.SIGINT)
        await asyncio.to_thread(receiver.process.wait)
        cut.set()
        with pytest.raises(library.AssociationAborted):
            await sending
    done = await asyncio.to_thread(receiver.end, 0)
    assert done.code == 130
    assert receiver.files() == set()


def test_a_port_that_is_taken(dimse: Dimse, receiver: Any, tmp_path: Path) -> None:
    done = dimse("receive", "--port", receiver.port, "--into", tmp_path)
    assert (done.code, done.out) == (1, "")
    why = f"cannot listen on localhost:{receiver.port}: Address already in use; choose another port"
    assert done.err == f"dimse: {why}\n"
    done = dimse("receive", "--port", receiver.port, "--into", tmp_path, "--json")
    assert [(line["event"], line["error"], line["exit_code"]) for line in done.lines] == [("error", why, 1)]


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written(dimse: Dimse, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    done = dimse("receive", "--port", 0, "--into", tmp_path)
    tmp_path.chmod(0o700)
    assert (done.code, done.out) == (1, "")
    assert str(tmp_path) in done.err


def test_what_cannot_be_written_is_told_once_and_the_next_is_stored(
    dimse: Dimse, receive: Receive, ct: Path, mr: Path
) -> None:
    receiver = receive("--template", "{Modality}/{SOPInstanceUID}.dcm")
    (receiver.folder / "CT").write_text("a file where a folder should go")
    done = dimse("send", receiver.address, ct, mr, "--retries", 0)
    assert done.code == 1
    assert done.err.startswith(f"failed: C-STORE of {ct}: 0x")
    ended = receiver.end()
    assert ended.code == 0
    (line,) = ended.err.splitlines()
    assert line.startswith("failed: CT Image Storage 1.3.6.1.4.1.5962")
    assert " from DIMSE: " in line
    assert ended.out.splitlines()[-1].startswith("1 object received")
    assert ended.out.splitlines()[-1].endswith("1 failed")
    assert {name.split("/")[0] for name in receiver.files()} == {"CT", "MR"}


def test_nothing_that_a_peer_sends_leaves_the_folder(dimse: Dimse, receive: Receive, ct: Path, tmp_path: Path) -> None:
    receiver = receive("--json", "--template", "{PatientID}/{StudyDescription}-{SOPInstanceUID}.dcm")
    dataset = pydicom.dcmread(ct)
    dataset.PatientID, dataset.StudyDescription = "../../..", "/etc/x"
    evil = tmp_path / "evil.dcm"
    dataset.save_as(evil)
    assert dimse("send", receiver.address, evil).code == 0
    done = receiver.end()
    stored = json.loads(done.out.splitlines()[1])
    assert receiver.files() == {stored["path"]}
    assert ".." not in stored["path"].split("/")


async def code_of(stack: AsyncExitStack, address: str, title: str) -> int:
    """Keep an association; 0, or the reason that it is rejected with."""
    options = library.ClientOptions(calling_ae_title=title)
    try:
        await stack.enter_async_context(library.connect(address, options=options))
    except library.AssociationRejected as error:
        return error.reason
    return 0


async def test_who_may_associate_and_how_often(receive: Receive) -> None:
    receiver = receive(
        "--allow", "CT1@127.0.0.0/8", "--allow", "CT2@10.0.0.0/8", "--allow", "CT3=ct3", "--allow", "CT4"
    )
    async with AsyncExitStack() as stack:
        codes = [await code_of(stack, receiver.address, f"CT{number}") for number in (2, 3, 5)]
        codes += [await code_of(stack, receiver.address, title) for title in ["CT1"] * 12 + ["CT4"] * 12]
    assert codes == [3, 3, 3] + [0] * 10 + [2] * 2 + [0] * 10 + [2] * 2
    assert receiver.end().err == ""


async def test_other_limits_on_associations(receive: Receive) -> None:
    receiver = receive("--max-per-title", 2, "--max-per-host", 3)
    async with AsyncExitStack() as stack:
        codes = [await code_of(stack, receiver.address, title) for title in "AAABB"]
    assert codes == [0, 0, 2, 0, 2]
    words = ["receive", "--into", "x", "--max-per-title=0", "--max-per-host=0"]
    given = vars(make_parser(["receive"]).parse_args(words))
    arguments.take(given, receive_commands.Chosen)
    arguments.take(given, receive_faults.Chosen)
    receive_spool.forwarder_of(given, Path("x"), "X", print)
    own = inspect.signature(given.pop("command")).parameters.keys() - {"title"} | {
        "verbose",
        "more_verbose",
        "log_file",
        "log_json",
    }
    options = acceptor.options(**{name: value for name, value in given.items() if name not in own})
    assert options.maximum_associations_per_title is None
    assert options.maximum_associations_per_host is None


def test_a_port_that_is_open_to_everyone_is_told(receive: Receive) -> None:
    receiver = receive("--host", "::")
    (line,) = receiver.end().err.splitlines()
    assert line.startswith("dimse: DIMSE listens on 0.0.0.0")
    assert "every peer that reaches it may associate: set rules of access (ServerOptions.access, --allow)" in line


async def test_too_many_associations(dimse: Dimse, receive: Receive) -> None:
    receiver = receive("--max-associations", 1)
    async with library.connect(receiver.address):
        done = await asyncio.to_thread(dimse, "echo", receiver.address)
    assert (done.code, done.out) == (3, "")
    assert " rejected the association: local limit exceeded; try again later (see dimse explain " in done.err


def test_objects_are_edited_as_they_arrive(dimse: Dimse, receive: Receive, ct: Path) -> None:
    """In their names, too: the folder of a patient must not have the name that was taken away."""
    edits = ["--set", "PatientID=A1", "--remove", "PatientName"]
    receiver = receive("--template", "{PatientID}/{SOPInstanceUID}.dcm", *edits)
    assert dimse("send", receiver.address, ct).code == 0
    before = pydicom.dcmread(ct)
    assert receiver.files() == {f"A1/{before.SOPInstanceUID}.dcm"}
    after = pydicom.dcmread(receiver.folder / "A1" / f"{before.SOPInstanceUID}.dcm")
    assert "PatientName" not in after
    assert after.PixelData == before.PixelData


def test_edits_of_what_arrives_that_cannot_be(dimse: Dimse, tmp_path: Path) -> None:
    done = dimse("receive", tmp_path, "--set", "PatientBirthDate=SECRET")
    assert (done.code, "SECRET" in done.err) == (2, False)
    assert "PatientBirthDate (DA) must be a date YYYYMMDD" in done.err


def test_the_transfer_syntaxes_that_are_accepted(dimse: Callable[..., Any], receive: Callable[..., Any]) -> None:
    choosy = receive("--accept", "uncompressed", "--prefer", "implicit")
    (ct,) = dimse("echo", choosy.address, "--contexts", "CT", "--json").lines[0]["sop_classes"]
    uncompressed = ["1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"]
    assert sorted(ct["transfer_syntaxes"]) == sorted(uncompressed)
    anything = receive("--accept", "all")
    (ct,) = dimse("echo", anything.address, "--contexts", "CT", "--json").lines[0]["sop_classes"]
    assert {*uncompressed, "1.2.840.10008.1.2.5"} < set(ct["transfer_syntaxes"])


def test_a_transfer_syntax_that_is_none(dimse: Callable[..., Any], tmp_path: Path) -> None:
    done = dimse("receive", "--into", tmp_path, "--accept", "jpg")
    assert done.code == 2
    assert "'jpg' is not a transfer syntax; it must be a UID or one of uncompressed, j2k, implicit" in done.err
