"""`--strict` and `--lenient`, on every command that talks to a peer."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, Final

import pytest

from dimse.cli.app import run
from dimse.testing import ScriptedPeer, associate_request, listening
from dimse.upper_layer.items import PresentationContextAC
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ

Beside = Callable[..., Any]

COMMANDS: Final[dict[str, list[str]]] = {
    "echo": [],
    "send": ["{ct}", "--retries", "0"],
    "find": ["-k", "PatientID"],
    "get": ["-k", "StudyInstanceUID=1.2", "--into", "{folder}"],
    "move": ["-k", "StudyInstanceUID=1.2", "--destination", "WS1"],
    "commit": ["{ct}"],
    "retrieve": ["-k", "StudyInstanceUID=1.2", "--into", "{folder}"],
}


@pytest.mark.parametrize(
    ("command", "option"),
    [(command, option) for command in COMMANDS for option in ("--strict", "--lenient")],
)
async def test_what_is_malformed(command: str, option: str, beside: Beside, ct: Path, tmp_path: Path) -> None:
    """All contexts are accepted with what nobody proposed: strict refuses that, lenient can use none of them."""

    async def script(peer: ScriptedPeer) -> None:
        asked = await peer.expect(A_ASSOCIATE_RQ)
        contexts = tuple(
            PresentationContextAC(context.presentation_context_id, 0, "1.2.3")
            for context in asked.presentation_contexts
        )
        information = asked.user_information
        answer = A_ASSOCIATE_AC("ARCHIVE", "DIMSE", information, presentation_contexts=contexts)
        await peer.send(answer)
        while not isinstance(pdu := await peer.receive(), A_ABORT | None):
            if isinstance(pdu, A_RELEASE_RQ):
                await peer.send(A_RELEASE_RP())

    arguments = [each.format(ct=ct, folder=tmp_path / "out") for each in COMMANDS[command]]
    async with listening(script) as address:
        done = await beside(command, address, *arguments, option)
    if option == "--strict":
        assert done.code == 3
        assert (
            "is accepted with a transfer syntax that was not proposed (see dimse explain" in done.err.splitlines()[-1]
        )
    else:
        assert done.code == 1
        assert "is accepted with a transfer syntax that was not proposed" in done.err  # the warning
        assert re.search("no presentation context|did not accept|accepted neither", done.err.splitlines()[-1])


@pytest.mark.parametrize("options", [[], ["--lenient"], ["--strict"]])
async def test_a_receiver(options: list[str], receive: Callable[..., Any]) -> None:
    receiver = receive(*options)
    async with await ScriptedPeer.connect(receiver.port) as peer:
        await peer.send(associate_request(calling=" PADDED"))
        answer = await peer.receive()
    assert isinstance(answer, A_ASSOCIATE_AC) == (options != ["--strict"])


def test_one_of_the_two(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["echo", "A@127.0.0.1", "--strict", "--lenient"]) == 2
    assert "not allowed with argument --strict" in capfd.readouterr().err


@pytest.mark.parametrize("command", [*COMMANDS, "receive"])
def test_help_says_which_is_the_default(command: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run([command, "--help"]) == 0
    text = " ".join(capfd.readouterr().out.split())
    lenient = command in ("get", "receive")
    default = "with a warning. [default]" if lenient else "sends something malformed. [default]"
    assert default in text
    assert text.count("[default]") == 1
