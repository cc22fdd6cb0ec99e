"""bash, zsh and fish complete what a user has begun to type, with the scripts of `dimse completion`."""

from __future__ import annotations

import os
import select
import subprocess
import sys
from collections.abc import Callable
from itertools import takewhile
from pathlib import Path
from time import monotonic

import pytest

from tests.peers.processes import DEADLINE, need

LINES = [
    ("dimse fi", ["find"]),
    ("dimse echo pa", ["pacs1"]),
    ("dimse find pacs1 --lev", ["--level"]),
    ("dimse find pacs1 --level SE", ["SERIES"]),
    ("dimse find pacs1 -k PatientIdentityR", ["PatientIdentityRemoved="]),
    ("dimse get pacs1 --syntax jpeg2", ["jpeg2000-lossless", "jpeg2000"]),
    ("dimse explain pacs1 --for st", ["store"]),
    ("dimse send pacs1 fold", ["folder/"]),
    ("dimse completion z", ["zsh"]),
]


@pytest.fixture(scope="module")
def script(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """The script for a shell, beside a configuration and the `dimse` that it calls."""
    here = tmp_path_factory.mktemp("completion")
    (here / "config.toml").write_text('[peers.pacs1]\naddress = "A@b"\n[peers.other]\naddress = "A@b"\n')
    (here / "folder").mkdir()
    dimse = here / "dimse"
    dimse.write_text(f'#!/bin/sh\nexec {sys.executable} -m dimse "$@"\n')
    dimse.chmod(0o700)

    def made(shell: str) -> Path:
        need(shell)
        path = here / "functions" / "_dimse" if shell == "zsh" else here / f"dimse.{shell}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(subprocess.run([dimse, "completion", shell], check=True, capture_output=True).stdout)  # noqa: S603
        return path

    return made


def environment(here: Path) -> dict[str, str]:
    path = f"{here}{os.pathsep}{os.environ['PATH']}"
    return dict(os.environ) | {"PATH": path, "DIMSE_CONFIG": str(here / "config.toml")}


def run_shell(script: Path, *command: str) -> str:
    done = subprocess.run(  # noqa: S603 - a shell with our own script
        command,
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        env=environment(script.parent),
        cwd=script.parent,
        check=False,
    )
    return done.stdout


def test_bash(script: Callable[[str], Path]) -> None:
    path = script("bash")
    asked = "\n".join(
        f"COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)); COMPREPLY=()\n"
        '_dimse dimse "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"; echo "${COMPREPLY[@]}"'
        for line, _ in LINES
    )
    shown = run_shell(path, "bash", "--norc", "-c", f"source {path}\n{asked}")
    assert [sorted(line.split()) for line in shown.splitlines()] == [
        sorted(word.rstrip("/") for word in words) for _, words in LINES
    ]


def test_fish(script: Callable[[str], Path]) -> None:
    path = script("fish")
    for line, words in LINES:
        shown = run_shell(path, "fish", "--no-config", "-c", f"source {path}; complete -C '{line}'")
        assert sorted(each.split("\t")[0] for each in shown.splitlines()) == sorted(words), line


class Zsh:
    """A zsh in a terminal, which alone completes."""

    def __init__(self, script: Path) -> None:
        import pty  # Windows has none

        self.process, self.terminal = pty.fork()
        if self.process == 0:
            os.chdir(here := script.parent.parent)
            os.execvpe("zsh", ["zsh", "-f", "-i"], environment(here) | {"TERM": "dumb"})  # noqa: S606, S607
        self.until("% " if os.getuid() else "# ")
        self.type(
            f"PS1='REA''DY> '; stty cols 300; fpath=({script.parent} $fpath); autoload -U compinit; compinit -u -D\n"
        )
        self.until("READY> ")

    def type(self, text: str) -> None:
        os.write(self.terminal, text.encode())

    def until(self, text: str) -> str:
        """What it shows up to this text."""
        shown, end = "", monotonic() + DEADLINE
        while text not in shown:
            assert select.select([self.terminal], [], [], max(0, end - monotonic()))[0], f"no {text!r} in {shown!r}"
            shown += os.read(self.terminal, 65536).decode()
        return shown

    def close(self) -> None:
        os.close(self.terminal)
        os.waitpid(self.process, 0)


def common_beginning(words: list[str]) -> str:
    alike = takewhile(lambda letters: len(set(letters)) == 1, zip(*words, strict=False))
    return "".join(letters[0] for letters in alike)


def test_zsh(script: Callable[[str], Path]) -> None:
    shell = Zsh(script("zsh"))
    try:
        for line, words in LINES:
            shell.type(f"{line}\t")
            shell.until(f"{line.rpartition(' ')[0]} {common_beginning(words)}")
            shell.type("\x15\n")  # drop the line
            shell.until("READY> ")
    finally:
        shell.close()
