"""Runs cases against our commands, in this process: they say what went wrong, hang nowhere and leave no file."""

from __future__ import annotations

import io
import logging
import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Final

from tests.conversations.cases import Case, State, Then

from dimse.cli.app import run
from dimse.cli.exit_codes import FAILED, NO_ASSOCIATION, OK
from dimse.testing import ScriptedPeer, listening_in_thread
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_RQ, A_RELEASE_RP, A_RELEASE_RQ

COMMANDS: Final[dict[str, list[str]]] = {
    "echo": [],
    "send": ["{file}", "--retries", "0"],
    "find": ["-k", "PatientID"],
    "get": ["-k", "StudyInstanceUID=1.2", "--into", "{folder}"],
    "move": ["-k", "StudyInstanceUID=1.2", "--destination", "WS1"],
    "retrieve": ["-k", "StudyInstanceUID=1.2", "--into", "{folder}"],
}
"""The arguments of each command, after its address."""

LINES: Final = 4
"""The most lines on standard error: warnings, the failure of an object, and why the command ended."""

SECONDS: Final = "0.3"
"""The timeout where the peer stalls."""


async def play(peer: ScriptedPeer, case: Case) -> None:
    """The peer's part. In ECHOING it accepts all that is proposed, and sends its bytes in place of a response."""
    if case.state is State.REQUESTED:
        await peer.expect(A_ASSOCIATE_RQ)
    else:
        assert case.state is State.ECHOING, f"there are no commands in {case.state}"
        await peer.accept()
        await peer.receive()
    await peer.send(case.sends)
    if case.then is Then.GO_ON:
        await peer.answer_echo()
        await peer.answer_release()
    elif case.then is Then.RESET:
        peer.reset()
    elif case.then is Then.CLOSE:
        peer.writer.close()
    elif case.then is Then.STALL:
        await peer.reader.read()
    else:
        while (pdu := await peer.receive()) is not None and not isinstance(pdu, A_ABORT | A_RELEASE_RQ | A_RELEASE_RP):
            pass


@contextmanager
def as_it_was() -> Iterator[None]:
    """A command sets logging and warnings up for its process."""
    root, names = logging.getLogger(), ("", "dimse", "pydicom")
    handlers, levels = list(root.handlers), {name: logging.getLogger(name).level for name in names}
    with warnings.catch_warnings():
        yield
    root.handlers[:] = handlers
    for name, level in levels.items():
        logging.getLogger(name).setLevel(level)


def cases_for(command: str, cases: Iterable[Case]) -> list[Case]:
    """Those of `cases` that a command can have: none that stalls, which takes its time, and only an echo goes on."""
    ends = (Then.READ, Then.CLOSE, Then.RESET, *([Then.GO_ON] if command == "echo" else []))
    # A C-ECHO of the archive is answered during a C-GET, which goes on.
    answered = ("type 04H", "whole 04H") if command == "get" else ()
    return [
        case
        for case in cases
        if case.state in (State.REQUESTED, State.ECHOING) and case.then in ends and case.name not in answered
    ]


def check(case: Case, command: str, folder: Path, file: Path, *options: str) -> list[str]:
    """The failures of a command whose peer behaves as a case says."""
    arguments = [each.format(file=file, folder=folder) for each in COMMANDS[command]]
    if case.then is Then.STALL:
        arguments += ["--timeout", SECONDS]
    out, err = io.StringIO(), io.StringIO()
    acceptor = listening_in_thread(lambda peer: play(peer, case))
    with as_it_was(), redirect_stdout(out), redirect_stderr(err), acceptor as address:
        code = run([command, address, *arguments, *options])
    where = f"dimse {command}: {case.name} [{case.state.name}, {case.then.name}]"
    return [f"{where}: {fault}" for fault in _faults(case, code, err.getvalue(), folder)]


def _faults(case: Case, code: int, text: str, folder: Path) -> Iterable[str]:
    if case.then is Then.GO_ON:
        if (code, text) != (OK, ""):
            yield f"exit code {code}, {text!r}"
        return
    # It had its response; or the PDU is over what other drivers announce, but not over the 1 MiB of a command.
    if code == OK and ("A-RELEASE-RQ" in case.back or case.name.startswith("P-DATA-TF, response: length of PDU")):
        return
    if code not in (FAILED, NO_ASSOCIATION):
        yield f"exit code {code}"
    lines = text.splitlines()
    if not lines or len(lines) > LINES or "Traceback" in text or not lines[-1].startswith(("dimse: ", "failed: ")):
        yield f"standard error: {text!r}"
    if any(path.is_file() for path in folder.rglob("*")):
        yield f"left over: {[path.name for path in folder.rglob('*')]}"
