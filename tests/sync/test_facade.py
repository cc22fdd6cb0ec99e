"""Threads, event loops, signals and processes."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading
from contextvars import ContextVar

import pytest
from tests.sample_objects import instance
from tests.sync.usable import is_usable

import dimse
from dimse import (
    Query,
    sync,
)
from dimse.sync.facade import run
from dimse.testing import FakeArchive, ScriptedPeer, listening_in_thread, response

STUDIES = Query.studies()


def test_it_works_where_a_loop_runs_already(archive: FakeArchive) -> None:
    async def cell_of_a_notebook() -> int:
        return sync.echo(archive.address).status

    assert asyncio.run(cell_of_a_notebook()) == 0


def test_threads_share_it(archive: FakeArchive) -> None:
    async def at_once() -> list[dimse.EchoReport]:
        return await asyncio.gather(*(asyncio.to_thread(sync.echo, archive.address) for _ in range(5)))

    assert [report.status for report in asyncio.run(at_once())] == [0] * 5


def test_it_cannot_be_called_in_its_own_loop(archive: FakeArchive) -> None:
    async def handler() -> None:
        sync.echo(archive.address)

    with pytest.raises(RuntimeError, match="was called in this loop, which it would block"):
        run(handler())


def test_context_variables_of_the_caller_are_seen(archive: FakeArchive) -> None:
    variable, seen = ContextVar("variable", default="unset"), list[str]()
    variable.set("set")
    sync.send(archive.address, instance("1.3.1"), on_result=lambda _: seen.append(variable.get()))
    assert seen == ["set"]


def test_ctrl_c_cancels(archive: FakeArchive) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        request = await peer.receive_message()
        signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGINT)
        await peer.expect_cancel(request)
        await peer.send(response(request, 0xFE00))
        await peer.answer_echo()
        await peer.answer_release()

    contexts = [(uid, dimse.uids.LITTLE_ENDIAN) for uid in (dimse.uids.STUDY_ROOT_FIND, dimse.uids.VERIFICATION)]
    with listening_in_thread(script) as address, sync.connect(address, contexts=contexts) as association:
        with pytest.raises(KeyboardInterrupt):
            list(sync.CFindSCU(association).find(STUDIES))
        assert is_usable(association)


def outcome_of(script: str, archive: FakeArchive) -> tuple[int, str, str]:
    command = [sys.executable, "-W", "error", "-c", f"from dimse import sync\nADDRESS = {archive.address!r}\n{script}"]
    ended = subprocess.run(  # noqa: S603 - our own script
        command, capture_output=True, text=True, timeout=20, check=False
    )
    return ended.returncode, ended.stdout, ended.stderr


def test_a_program_may_end_with_associations_open(archive: FakeArchive) -> None:
    script = """
client = sync.Client(ADDRESS)
client.echo()
connection = sync.connect(ADDRESS)
connection.__enter__()
print("end")
"""
    assert outcome_of(script, archive) == (0, "end\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_a_forked_process_has_a_loop_of_its_own(archive: FakeArchive) -> None:
    script = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, for a fork beside a thread
sync.echo(ADDRESS)
child = os.fork()
print(sync.echo(ADDRESS).status, flush=True)
if child:
    os.waitpid(child, 0)
"""
    code, printed, errors = outcome_of(script, archive)
    assert (code, errors) == (0, "")
    assert len(printed.splitlines()) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork on Windows")
def test_a_forked_process_cannot_use_what_its_parent_has(archive: FakeArchive) -> None:
    script = """
import os, warnings
warnings.simplefilter("ignore", DeprecationWarning)  # from Python 3.12 on, for a fork beside a thread
client = sync.Client(ADDRESS)
block = client.connect()
block.__enter__()
child = os.fork()
for use in () if child else (client.echo, lambda: block.__exit__(None, None, None)):
    try:
        use()
    except RuntimeError as error:
        print(error, flush=True)
if child:
    os.waitpid(child, 0)
    print(client.echo().status)
    block.__exit__(None, None, None)
    client.close()
"""
    code, printed, errors = outcome_of(script, archive)
    assert (code, errors) == (0, "")
    own = "was used in a forked process; each process must make its own"
    assert printed.splitlines() == [f"this Client {own}", f"this Blocking {own}", "0x0000 Success"]
