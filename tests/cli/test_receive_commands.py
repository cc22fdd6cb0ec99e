"""The commands that `dimse receive` runs on arrival."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pydicom
import pytest
from pydicom.uid import UID
from tests.sample_objects import instance, save

from dimse.cli import receive_commands
from dimse.cli.receive_commands import Commands, Job, Outcome
from dimse.programs import CommandLine

Dimse = Callable[..., Any]
Receive = Callable[..., Any]

SHELL = pytest.mark.skipif(sys.platform == "win32", reason="needs sh")


def heard(receiver: Any) -> str:
    """The next line on its standard error, where its commands write."""
    line: str = receiver.process.stderr.readline()
    return line.removesuffix("\n")


def event_of_command(receiver: Any) -> dict[str, Any]:
    """The next `command` event of a receiver with --json: its command has ended."""
    while (event := json.loads(receiver.line()))["event"] != "command":
        pass
    return dict(event)


@SHELL
def test_a_command_for_each_object(dimse: Dimse, receive: Receive, ct: Path) -> None:
    receiver = receive("--exec", "echo {path} {SOPInstanceUID} {calling}-{called}", "--json")
    assert dimse("send", receiver.address, ct, "--calling", "MY SCANNER").code == 0
    (name,) = receiver.files()
    uid = pydicom.dcmread(ct, stop_before_pixels=True).SOPInstanceUID
    assert heard(receiver) == f"{receiver.folder / name} {uid} MY SCANNER-ANY"
    assert dimse("send", receiver.address, ct).code == 0  # was stored already: nothing has arrived
    event = event_of_command(receiver)
    done = receiver.end()
    assert done.err == ""
    assert event.pop("seconds") >= 0
    assert event == {
        "event": "command",
        "command": "echo",
        "subject": name,
        "study_instance_uid": None,
        "exit_code": 0,
        "error": None,
    }
    assert (done.lines[-1]["commands"], done.lines[-1]["commands_failed"]) == (1, 0)


@SHELL
@pytest.mark.parametrize(
    ("template", "ours"),
    [("{Modality}/{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}", "CT/1.2.3.1"), ("{SOPInstanceUID}", ".")],
)
def test_a_command_for_a_study_that_is_open_at_the_end(
    dimse: Dimse, receive: Receive, tmp_path: Path, template: str, ours: str
) -> None:
    receiver = receive("--template", template, "--exec-study", "echo {folder} {StudyInstanceUID} {instances} {calling}")
    paths = [save(with_modality(f"1.2.3.{number}"), tmp_path / f"{number}.dcm") for number in range(3)]
    assert dimse("send", receiver.address, *paths).code == 0
    done = receiver.end()
    assert done.code == 0
    assert f"{receiver.folder / ours} 1.2.3.1 3 DIMSE\n" in done.err
    assert done.out.endswith("; 1 command run\n")


@SHELL
def test_a_command_for_a_study_when_it_is_quiet(dimse: Dimse, receive: Receive, ct: Path) -> None:
    receiver = receive("--exec-study", "echo {instances}", "--study-quiet", "0.1", "--json")
    for _ in range(2):
        assert dimse("send", receiver.address, ct).code == 0
    assert heard(receiver) == "1"
    assert event_of_command(receiver)["exit_code"] == 0
    assert receiver.end().err == ""


def with_modality(uid: str) -> pydicom.Dataset:
    dataset = instance(uid)
    dataset.Modality, dataset.SeriesInstanceUID = "CT", UID("1.2.3.2")
    return dataset


@SHELL
def test_a_command_that_fails_is_reported_and_the_object_is_stored(dimse: Dimse, receive: Receive, ct: Path) -> None:
    receiver = receive("--exec", "sh -c 'exit 3'")
    assert dimse("send", receiver.address, ct).code == 0
    (name,) = receiver.files()
    assert heard(receiver) == f"failed: sh for {name}: exit code 3"
    done = receiver.end()
    assert done.code == 0
    assert done.out.endswith("; 1 command run, 1 failed\n")


@SHELL
def test_a_command_that_takes_too_long_is_killed_with_its_children(
    dimse: Dimse, receive: Receive, ct: Path, tmp_path: Path
) -> None:
    alive = tmp_path / "alive"
    os.mkfifo(alive)
    reading = os.open(alive, os.O_RDONLY | os.O_NONBLOCK)  # now: on a slow machine the writer may be killed early
    os.set_blocking(reading, True)
    receiver = receive("--exec", f"sh -c 'sleep 1000 >{alive} & wait'", "--exec-timeout", "0.2")
    assert dimse("send", receiver.address, ct).code == 0
    assert "killed after 0.2 s (--exec-timeout)" in heard(receiver)
    assert os.read(reading, 1) == b""  # its writer has ended
    os.close(reading)


@SHELL
def test_a_first_signal_lets_commands_end_and_runs_those_of_open_studies(
    dimse: Dimse, receive: Receive, ct: Path, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    receiver = receive("--exec", f"cat {gate}", "--exec-study", "echo study {instances}")
    assert dimse("send", receiver.address, ct).code == 0
    receiver.process.send_signal(signal.SIGTERM)
    waiting, study = sorted([heard(receiver), heard(receiver)])
    assert study == "study 1"
    assert waiting.startswith("dimse: waiting for ")
    assert waiting.endswith(" to end; press Ctrl-C again to kill them")
    gate.write_text("through\n")
    done = receiver.end(0)
    assert (done.code, done.err) == (0, "through\n")
    assert done.out.endswith("; 2 commands run\n")


@SHELL
def test_a_second_signal_kills_commands(dimse: Dimse, receive: Receive, ct: Path) -> None:
    receiver = receive("--exec", "sleep 1000")
    assert dimse("send", receiver.address, ct).code == 0
    receiver.process.send_signal(signal.SIGINT)
    assert heard(receiver) == "dimse: waiting for 1 command to end; press Ctrl-C again to kill them"
    done = receiver.end()
    assert done.code == 130
    assert done.err.endswith("killed by a second signal\n")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "must name a program"),
        ("no-such-program {path}", "no-such-program is not an executable program"),
        ("{path}", "{path} is not an executable program"),
        ("echo {PatientName}", "{PatientName} must be one of {path}, {folder}"),
        ("sh -c 'rm {path}'", "{path} is inside a script, which could run its value"),
        ("sh -c 'wc<{path}'", "{path} is inside a script, which could run its value"),
        ("sh -c true;{calling}", "{calling} is inside a script, which could run its value"),
        ("env bash -lc {calling}", "{calling} is inside a script, which could run its value"),
        ("echo 'half", "No closing quotation"),
    ],
)
def test_a_command_that_is_refused_at_the_start(dimse: Dimse, tmp_path: Path, text: str, said: str) -> None:
    done = dimse("receive", tmp_path, "--exec", text)
    assert done.code == 2
    assert "--exec" in done.err
    assert said in done.err


async def test_few_run_at_once_and_a_full_queue_makes_those_who_add_wait(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(receive_commands, "MAXIMUM_WAITING", 1)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)  # which has a descriptor
    outcomes: list[Outcome] = []
    commands = Commands(outcomes.append, jobs=2, seconds=60)
    gates = [tmp_path / str(number) for number in range(4)]

    def job(gate: Path, study: str | None = None) -> Job:
        os.mkfifo(gate)
        return Job(CommandLine(["cat", str(gate)], ()), {}, gate.name, study)

    await commands.add(job(gates[0], "1"))
    await commands.add(job(gates[1], "1"))
    await commands.add(job(gates[2], "2"))
    assert [each.subject for each in commands._waiting] == ["1"]  # the other two run
    adding = asyncio.create_task(commands.add(job(gates[3])))
    await asyncio.sleep(0)
    assert not adding.done()
    for number, gate in enumerate(gates):
        await asyncio.to_thread(gate.write_text, "")  # returns when the command has opened it
        while len(outcomes) <= number:  # noqa: ASYNC110 - it says so by this list alone
            await asyncio.sleep(0.001)
    await adding
    assert len(commands) == 0
    assert [(outcome.job.subject, outcome.error) for outcome in outcomes] == [(str(each), None) for each in range(4)]


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no signal 40")
async def test_each_end_of_a_command_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    outcomes: list[Outcome] = []
    commands = Commands(outcomes.append, jobs=1, seconds=30)
    monkeypatch.setattr(sys, "stderr", None)  # as it is where it was closed
    await commands.add(Job(CommandLine(["sh", "-c", "kill -40 $$"], []), {}, "object"))
    await commands.finish()
    assert [outcome.error for outcome in outcomes] == ["ended by signal 40"]
