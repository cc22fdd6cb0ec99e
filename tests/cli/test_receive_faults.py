"""The faults that `dimse receive` injects."""

from __future__ import annotations

import asyncio
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.cli.conftest import COMMAND
from tests.sample_objects import instance, save

import dimse

Dimse = Callable[..., Any]
Receive = Callable[..., Any]


@pytest.fixture
def run(dimse: Dimse) -> Dimse:
    return dimse


@pytest.fixture
def objects(tmp_path: Path) -> list[Path]:
    return [save(instance(f"1.2.3.{number}"), tmp_path / f"{number}.dcm") for number in range(4)]


@pytest.fixture
def discarding(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(  # noqa: S603 - our own
        [*COMMAND, "receive", "--discard", "--port", "0"], stdout=subprocess.PIPE, text=True, cwd=tmp_path
    ) as receiver:
        yield receiver
        receiver.terminate()


def test_what_is_discarded_is_answered_with_success(
    run: Dimse, discarding: subprocess.Popen[str], objects: list[Path], tmp_path: Path
) -> None:
    before = set(tmp_path.iterdir())
    assert discarding.stdout is not None
    first = discarding.stdout.readline()
    assert first.startswith("Discarding all objects; send to it with: ")
    address = f"A@127.0.0.1:{first.rsplit(':', 1)[1].split()[0]}"
    assert run("send", address, *objects).code == 0
    assert ": 4 objects, " in discarding.stdout.readline()
    discarding.terminate()
    assert discarding.stdout.read().startswith("4 objects received, ")
    assert set(tmp_path.iterdir()) == before


def test_every_nth_object_is_refused(run: Dimse, receive: Receive, objects: list[Path]) -> None:
    receiver = receive("--refuse", "out-of-resources", "--refuse-every", 2, "--json")
    done = run("send", receiver.address, *objects, "--retries", 0, "--json")
    results = [line["status"] for line in done.lines if line["event"] == "result"]
    assert sorted(results) == ["0x0000", "0x0000", "0xA700", "0xA700"]
    assert len(receiver.files()) == 2
    assert receiver.end().lines[-1]["failed"] == 2


def test_a_status_in_digits(run: Dimse, receive: Receive, ct: Path) -> None:
    receiver = receive("--refuse", "b006", "--delay", "0.01")
    done = run("send", receiver.address, ct)
    assert done.code == 0
    assert "0xB006" in done.err
    assert receiver.files() == set()


async def test_each_association_is_aborted_after_a_number_of_objects(receive: Receive, objects: list[Path]) -> None:
    receiver = receive("--abort-after", 1)
    contexts = dimse.presentation_contexts([dimse.FileSource(objects[0])])
    for first, second in (objects[:2], objects[2:]):
        async with dimse.connect(receiver.address, contexts=contexts) as association:
            await dimse.CStoreSCU(association).send(first)
            with pytest.raises(dimse.AssociationAborted):
                await dimse.CStoreSCU(association).send(second)
    assert {name.rsplit("/", 1)[1] for name in receiver.files()} == {"1.2.3.0.dcm", "1.2.3.2.dcm"}
    done = await asyncio.to_thread(receiver.end)
    assert done.out.count("1 object, ") == 2
    assert done.out.count("1 failed; ended by an error: ") == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--refuse", "0000"], "must be a failure or a warning"),
        (["--refuse", "FF00"], "must be a failure or a warning"),
        (["--refuse", "1A700"], "must be a failure or a warning"),
        (["--refuse", "no"], "must be a failure or a warning"),
        (["--discard"], "--discard writes nothing: leave out DIR"),
        (["--refuse-every", "0"], "must be at least 1"),
    ],
)
def test_wrong_usage(run: Dimse, tmp_path: Path, arguments: list[str], said: str) -> None:
    done = run("receive", tmp_path, *arguments)
    assert done.code == 2
    assert said in done.err
