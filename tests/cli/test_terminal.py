"""What a peer, a value or a file name may say never reaches the terminal as something that it obeys."""

from __future__ import annotations

import logging
import shutil
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.sample_objects import CT

from dimse import QueryRequest, Server
from dimse.cli import logs, output
from dimse.dataset.codec import encode
from dimse.testing import INFORMATION, ScriptedPeer, associate_request, listening, message_pdvs, response, store_request

Beside = Callable[..., Any]

HOSTILE = "\x1b]0;x\x07\x9b2J\u202e\u2028\x7f"
"""A window's title, a cleared screen, letters in another order, a new line."""
SHOWN = "\\x1b]0;x\\x07\\x9b2J\\u202e\\u2028\\x7f"


def check(*texts: str) -> None:
    """They are lines, and nothing in them is obeyed."""
    for text in texts:
        assert all(line.isprintable() for line in text.split("\n")), text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (HOSTILE, SHOWN),
        ("a\r\nb\t", "a\\r\\nb\\t"),
        ("\u2066x\u2069\ufeff\udc80", "\\u2066x\\u2069\\ufeff\\udc80"),
        ("Yamada\u3000Tar\u014d", "Yamada\u3000Tar\u014d"),
        ("می\u200cروم", "می\u200cروم"),
    ],
)
def test_what_is_shown(text: str, shown: str, capsys: pytest.CaptureFixture[str]) -> None:
    output.print_line(text)
    output.print_error(text)
    assert capsys.readouterr() == (shown + "\n", shown + "\n")


def test_json_of_it(capsys: pytest.CaptureFixture[str]) -> None:
    output.print_json(x=HOSTILE)
    out, _ = capsys.readouterr()
    check(out)
    assert out.isascii()


@pytest.mark.parametrize("verbose", [0, 2])
def test_the_log(verbose: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    logs.log_to_stderr(verbose)
    logging.getLogger("dimse.network").warning("%s said this", HOSTILE, exc_info=ValueError(HOSTILE))
    _, err = capsys.readouterr()
    check(err)
    assert f"{SHOWN} said this" in err
    assert f"ValueError: {SHOWN}" in err


async def test_an_error_comment(beside: Beside) -> None:
    async def refuse(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.send(response(await peer.receive_message(), 0xA700, error_comment=HOSTILE[:6]))
        await peer.answer_release()

    async with listening(refuse) as address:
        done = await beside("find", address)
    check(done.out, done.err)
    assert "(\\x1b]0;x\\x07)" in done.err


async def test_a_version_name(beside: Beside) -> None:
    async def accept(peer: ScriptedPeer) -> None:
        await peer.accept(information=replace(INFORMATION, implementation_version_name="\x1b[31mV\x07"))
        await peer.answer_echo()
        await peer.answer_release()

    async with listening(accept) as address:
        done = await beside("echo", address)
        lines = await beside("echo", address, "--json")
    check(done.out, done.err, lines.out)
    assert "\\x1b[31mV\\x07" in done.out


async def test_a_calling_title_and_uids(receive: Beside) -> None:
    receiver = receive()
    identifier = Dataset()
    identifier.SOPClassUID, identifier.SOPInstanceUID = CT, "1.2.3.4"
    async with await ScriptedPeer.connect(receiver.port) as peer:
        await peer.associate(associate_request((CT, ["1.2.840.10008.1.2.1"]), calling="\x1b[31mX"))
        await peer.send(message_pdvs(store_request("1.2.3.4"), encode(identifier, "1.2.840.10008.1.2.1")))
        await peer.receive_message()
        await peer.send(message_pdvs(store_request("1.2\x1b[31m.3"), encode(identifier, "1.2.840.10008.1.2.1")))
        await peer.receive_message()
        await peer.release()
    done = receiver.end()
    check(done.out, done.err)
    assert "from \\x1b[31mX" in done.out


@pytest.mark.parametrize("options", [(), ("--csv",), ("--json",)])
async def test_values(beside: Beside, options: tuple[str, ...]) -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_c_find
    async def find(_: QueryRequest) -> AsyncIterator[Dataset]:
        match = Dataset()
        match.SpecificCharacterSet = "ISO_IR 192"
        match.PatientID = HOSTILE.replace("\x1b", "")
        yield match

    async with server:
        done = await beside("find", f"ARCHIVE@127.0.0.1:{server.port}", "-k", "PatientID", *options)
    check(done.out, done.err)
    assert "]0;x" in done.out


def test_a_file_name(dimse: Beside, receiver: Any, ct: Path, tmp_path: Path) -> None:
    hostile = tmp_path / HOSTILE.replace("/", "")
    hostile.mkdir()
    shutil.copy(ct, hostile / "fine.dcm")
    (hostile / "none.dcm").write_bytes(b"\0" * 10)
    done = dimse("send", receiver.address, hostile, hostile / "none.dcm", hostile / "missing")
    check(done.out, done.err)
    assert SHOWN in done.err
