"""Options of the user identity: from a file or a prompt to the acceptor, on every command, and nowhere else."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import Dataset, dcmread
from tests.terminals import all_shown

import dimse
from dimse import RetryPolicy, SendOptions, Server, ServerOptions, UserIdentityRQ
from dimse.cli.app import run
from dimse.testing import ScriptedPeer, listening
from dimse.testing.wire import INFORMATION
from dimse.upper_layer.items import UserIdentityAC

from .conftest import COMMAND, ENVIRONMENT, TIMEOUT, run_dimse, sample

SECRET = "pass wörd"  # noqa: S105 - it is the test's


@pytest.fixture
async def archive() -> AsyncIterator[tuple[Server, dict[str, list[UserIdentityRQ | None]]]]:
    """An archive of one instance, and the identities of its associations by calling AE title."""
    options = ServerOptions(send=SendOptions(retry=RetryPolicy(retries=0)))
    server = Server("ARCHIVE", port=0, destinations={"WS": "WS@127.0.0.1:1"}, options=options)
    ct = sample("CT_small.dcm")
    instance = dcmread(ct, stop_before_pixels=True)
    seen: dict[str, list[UserIdentityRQ | None]] = {}

    def see(association: dimse.Association) -> None:
        seen.setdefault(association.calling_ae_title, []).append(association.user_identity)

    @server.on_c_echo
    async def echo(request: dimse.EchoRequest) -> dimse.Status:
        see(request.association)
        return dimse.Status.SUCCESS

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        see(request.association)
        return dimse.Status.SUCCESS

    async def find(request: dimse.QueryRequest) -> AsyncIterator[Dataset]:
        see(request.association)
        yield instance

    async def retrieve(request: dimse.QueryRequest) -> AsyncIterator[Path]:
        see(request.association)
        yield ct

    server.on_c_find(find)
    server.on_c_get(server.on_c_move(retrieve))
    async with server:
        yield server, seen


async def test_identities_of_all_types_arrive_from_every_command(
    archive: tuple[Server, dict[str, list[UserIdentityRQ | None]]],
    beside: Callable[..., Awaitable[Any]],
    tmp_path: Path,
    ct: Path,
) -> None:
    server, seen = archive
    address = f"ARCHIVE@127.0.0.1:{server.port}"
    for name, content in (
        ("password", f"{SECRET}\r\n".encode()),
        ("saml", b"<saml/>\n"),
        ("jwt", b"a.b.c\n"),
        ("kerberos", b"\xff\0\n"),
    ):
        (tmp_path / name).write_bytes(content)
    user = UserIdentityRQ.username_and_passcode("zoë", SECRET)
    password = ("--user", "zoë", "--password-file", tmp_path / "password")
    study = ("-k", f"StudyInstanceUID={dcmread(ct).StudyInstanceUID}")
    cases: dict[str, tuple[tuple[object, ...], UserIdentityRQ | None]] = {
        "NONE": (("echo", address), None),
        "USER": (("echo", address, "--user", "zoë"), UserIdentityRQ.username("zoë")),
        "ECHO": (("echo", address, *password), user),
        "SAML": (("echo", address, "--saml-file", tmp_path / "saml"), UserIdentityRQ.saml(b"<saml/>\n")),
        "JWT": (("echo", address, "--jwt-file", tmp_path / "jwt"), UserIdentityRQ.jwt(b"a.b.c")),
        "KERBEROS": (
            ("echo", address, "--kerberos-file", tmp_path / "kerberos"),
            UserIdentityRQ.kerberos(b"\xff\0\n"),
        ),
        "SEND": (("send", address, ct, *password), user),
        "FIND": (("find", address, *study, *password), user),
        "GET": (("get", address, *study, "--into", tmp_path, *password), user),
        "MOVE": (("move", address, *study, "--destination", "WS", *password), user),
        "RETRIEVE": (("retrieve", address, *study, "--into", tmp_path, *password), user),
    }
    ended = await asyncio.gather(
        *(beside("-vv", *command, "--calling", title) for title, (command, _) in cases.items())
    )
    assert {title: set(seen.get(title, ())) for title in cases} == {
        title: {identity} for title, (_, identity) in cases.items()
    }
    for one in ended:
        assert SECRET not in one.out + one.err
        assert "pass w" not in one.out + one.err


def test_what_is_wrong_with_an_identity_is_told_without_the_secret(
    capfd: pytest.CaptureFixture[str], tmp_path: Path, closed_port: int
) -> None:
    (tmp_path / "empty").write_bytes(b"\n")
    (tmp_path / "long").write_bytes(b"SECRET" * 10_000)
    address = f"A@127.0.0.1:{closed_port}"
    cases: list[tuple[tuple[object, ...], str]] = [
        (("--password-file", tmp_path / "empty"), "--password-file needs --user"),
        (("--user", ""), "the username must not be empty"),
        (
            ("--user", "me", "--password-file", tmp_path / "empty"),
            f"--password-file {tmp_path / 'empty'}: the password must not be empty",
        ),
        (
            ("--user", "me", "--password-file", tmp_path / "long"),
            "the passcode must be at most 49150 bytes, not 49153",
        ),
        (("--saml-file", tmp_path / "no"), f"--saml-file {tmp_path / 'no'}: No such file or directory"),
        (("--saml-file", "x", "--user", "me"), "--user and --saml-file name different users; give one of them"),
    ]
    for arguments, said in cases:
        assert run(["echo", address, *map(str, arguments)]) == 2
        assert capfd.readouterr() == ("", f"dimse: {said}\n")


async def test_a_password_from_a_pipe_leaves_what_follows_it_to_the_command(
    archive: tuple[Server, dict[str, list[UserIdentityRQ | None]]], ct: Path
) -> None:
    server, seen = archive
    content = SECRET.encode() + b"\n" + await asyncio.to_thread(ct.read_bytes)
    command = ("send", f"ARCHIVE@127.0.0.1:{server.port}", "-", "--user", "zoë", "--password-file", "-")
    done = await asyncio.to_thread(lambda: run_dimse(*command, stdin=content))
    assert (done.code, done.err) == (0, "")
    assert seen == {"DIMSE": [UserIdentityRQ.username_and_passcode("zoë", SECRET)]}


async def test_a_terminal_prompts_for_the_password_and_does_not_show_it(
    archive: tuple[Server, dict[str, list[UserIdentityRQ | None]]],
) -> None:
    server, seen = archive
    command = ("echo", f"ARCHIVE@127.0.0.1:{server.port}", "--user", "zoë", "--password-file", "-")
    shown = await asyncio.to_thread(_type_at_a_terminal, command, "Password of zoë: ", f"{SECRET}\n")
    assert SECRET not in shown
    assert seen == {"DIMSE": [UserIdentityRQ.username_and_passcode("zoë", SECRET)]}
    shown = await asyncio.to_thread(_type_at_a_terminal, command, "Password of zoë: ", "\x04")  # Ctrl-D
    assert "dimse: --password-file -: the password must not be empty" in shown


def _type_at_a_terminal(arguments: tuple[str, ...], prompt: str, answer: str) -> str:
    """Run a command at a terminal of its own, and type `answer` after its prompt. Returns what the terminal shows."""
    ours, theirs = pty.openpty()
    try:
        with subprocess.Popen(  # noqa: S603 - our own
            [*COMMAND, *arguments],
            stdin=theirs,
            stdout=subprocess.PIPE,
            stderr=theirs,
            env=ENVIRONMENT,
            start_new_session=True,
        ) as process:
            os.close(theirs)
            shown = b""
            while not shown.endswith(prompt.encode()):
                shown += os.read(ours, 1000)
            os.write(ours, answer.encode())
            out, _ = process.communicate(timeout=TIMEOUT)
            return shown.decode() + all_shown(ours) + out.decode()
    finally:
        os.close(ours)


async def test_echo_says_whether_the_peer_confirmed_the_user(beside: Callable[..., Awaitable[Any]]) -> None:
    for response, said in ((UserIdentityAC(b"x"), "confirmed"), (None, "not confirmed: the peer may have ignored it")):

        async def echoes(peer: ScriptedPeer, response: UserIdentityAC | None = response) -> None:
            await peer.accept(information=replace(INFORMATION, user_identity_response=response))
            await peer.answer_echo()
            await peer.answer_release()

        async with listening(echoes) as address:
            done = await beside("echo", address, "--user", "me")
        assert (done.code, done.err) == (0, "")
        assert f"  user identity       {said}\n" in done.out
