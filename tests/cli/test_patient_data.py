"""No command shows a value of a data set or a password with -vvv, except the matches of `find`."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from tests.sample_objects import EXPLICIT, encoded, save
from tests.services.canaries import damaged, hits, marked

from dimse import Status
from dimse.dataset.part10 import encode_file_meta
from dimse.testing import Answer, FakeArchive

from .conftest import COMMAND


def make_files(folder: Path) -> None:
    """A good file, and damaged ones."""
    folder.mkdir()
    dataset = marked("1.2.3.4.1")
    meta = encode_file_meta(
        sop_class_uid=dataset.SOPClassUID,
        sop_instance_uid=dataset.SOPInstanceUID,
        transfer_syntax_uid=EXPLICIT,
        source_ae_title="A",
        sending_ae_title="A",
        receiving_ae_title="B",
    )
    for number, data in enumerate(damaged(encoded(dataset), cuts=10, flips=20)):
        (folder / f"{number}.dcm").write_bytes(meta + data)
    save(dataset, folder / "good.dcm")


@asynccontextmanager
async def _receiving(folder: Path, *options: str) -> AsyncIterator[str]:
    """Run `dimse -vvv receive`; its output is in `folder`.log in the end. Yields its address."""
    with await asyncio.to_thread(folder.with_suffix(".log").open, "wb") as log:
        process = await asyncio.create_subprocess_exec(
            *(*COMMAND, "-vvv", "receive", "--port", "0", "--into", str(folder), *options),
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
        assert process.stdout is not None
        first = await process.stdout.readline()
        rest = asyncio.ensure_future(process.stdout.read())
        yield f"ANY@127.0.0.1:{int(first.rsplit(b':', 1)[1].split()[0])}"
        process.send_signal(signal.SIGINT)
        await process.wait()
        log.write(await rest)


async def test_no_command_shows_values(beside: Callable[..., Awaitable[Any]], tmp_path: Path) -> None:
    files, password = tmp_path / "files", tmp_path / "password"
    await asyncio.to_thread(make_files, files)
    await asyncio.to_thread(password.write_text, "QXZ7 PASSWORD\n")
    user, study = ("--user", "me", "--password-file", password), ("-k", "StudyInstanceUID=1.2.3.1")
    async with _receiving(tmp_path / "lenient") as lenient, _receiving(tmp_path / "strict", "--strict") as strict:
        with FakeArchive([marked("1.2.3.4.1"), marked("1.2.3.4.2")]) as archive, FakeArchive([marked()]) as refusing:
            for operation in ("C-STORE", "C-FIND", "C-GET", "C-MOVE"):
                refusing.on(operation, Answer(Status.CANNOT_UNDERSTAND))
            commands: list[tuple[object, ...]] = [
                ("send", lenient, files, "--retries", "0"),
                ("send", strict, files, "--json", "--retries", "0"),
                ("send", lenient, files, "--syntax", "implicit", "--retries", "0"),
                ("send", refusing.address, files / "good.dcm", "--retries", "0"),
                ("find", archive.address, *study),
                ("find", refusing.address, *study, "-k", "PatientName=QXZ7"),
                ("get", archive.address, *study, "--into", tmp_path / "got"),
                ("get", refusing.address, *study, "--into", tmp_path / "refused"),
                ("move", archive.address, *study, "--destination", "NOBODY"),
                ("retrieve", archive.address, "-k", "PatientID=QXZ7*", "--into", tmp_path / "all"),
                ("echo", archive.address),
            ]
            log = ("--log-file", tmp_path / "requestors.log", "--log-json")
            ended = await asyncio.gather(*(beside("-vvv", *command, *user, *log) for command in commands))
    shown = [
        await asyncio.to_thread((tmp_path / name).read_text) for name in ("lenient.log", "strict.log", "requestors.log")
    ]
    for command, done in zip(commands, ended, strict=True):
        assert "P-DATA-TF" in done.err, done.err
        shown.append(done.err if command[0] == "find" else done.out + done.err)
    lines = [line for text in shown for line in text.splitlines()]
    assert len(lines) > 300
    assert hits(lines) == []
