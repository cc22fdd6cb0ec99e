"""`dimse node`: what it prints, its configuration, its signals."""

from __future__ import annotations

import asyncio
import json
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from types import ModuleType
from typing import Any
from urllib.request import urlopen

import pytest
from tests.cli.conftest import ENVIRONMENT

import dimse as library
from dimse import AssociationRejected
from dimse.cli.app import COMMANDS, Command, run
from dimse.node import Node, NodeOptions

Dimse = Callable[..., Any]
Start = Callable[..., Awaitable[asyncio.subprocess.Process]]


class Serving:
    """A `dimse node` that runs during the test."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.address = ""

    async def line(self) -> str:
        """The next line of its standard output."""
        assert self.process.stdout is not None
        return (await asyncio.wait_for(self.process.stdout.readline(), 30)).decode()

    async def event(self, name: str) -> dict[str, Any]:
        """The next line of an event."""
        while text := await self.line():
            found: dict[str, Any] = json.loads(text)
            if found["event"] == name:
                return found
        raise AssertionError(f"no {name}: {(await self.process.communicate())[1].decode()}")

    async def end(self, number: int = signal.SIGTERM) -> tuple[int | None, str, str]:
        """Ask it to end, and take what it had to say."""
        self.process.send_signal(number)
        out, err = await asyncio.wait_for(self.process.communicate(), 30)
        return self.process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def serving(start: Start, *options: object) -> AsyncIterator[Serving]:
    node = Serving(await start("node", "--port", "0", "--web", "off", *options))
    try:
        yield node
    finally:
        if node.process.returncode is None:
            node.process.kill()
            await node.process.communicate()


@asynccontextmanager
async def with_json(start: Start, *options: object) -> AsyncIterator[Serving]:
    async with serving(start, "--json", *options) as node:
        node.address = f"DIMSE@localhost:{(await node.event('listening'))['port']}"
        yield node


async def test_what_it_prints(start: Start, tmp_path: Path) -> None:
    async with serving(start, "--data", tmp_path / "data", "--title", "ARCHIVE") as node:
        first = await node.line()
        assert first.startswith(
            f"Archive ARCHIVE in {tmp_path / 'data'}; store to it with: dimse send ARCHIVE@localhost:"
        )
        address = first.split()[-2]
        await library.echo(address, calling_ae_title="CT1")
        code, out, err = await node.end()
    association, summary = out.splitlines()
    assert association.split("  ", 1)[1].startswith("CT1 at 127.0.0.1:")
    assert ": 1 request in " in association
    assert summary.startswith("1 association, 1 C-ECHO; ")
    assert (code, err) == (0, "")


async def test_json_lines(start: Start, tmp_path: Path) -> None:
    async with with_json(start, "--data", tmp_path) as node:
        await library.echo(node.address)
        line = await node.event("association")
        assert (line["calling_ae_title"], line["requests"], line["error"]) == ("DIMSE", 1, None)
        code, out, _ = await node.end()
    assert (code, json.loads(out)["event"], json.loads(out)["operations"]) == (0, "summary", {"C-ECHO": 1})


async def test_quiet_prints_where_it_listens_and_the_summary(start: Start, tmp_path: Path) -> None:
    async with with_json(start, "--data", tmp_path, "--quiet") as node:
        await library.echo(node.address)
        _, out, _ = await node.end()
    assert [json.loads(line)["event"] for line in out.splitlines()] == ["summary"]


async def test_the_page(start: Start, tmp_path: Path) -> None:
    async with serving(start, "--data", tmp_path, "--web", "0") as node:
        before, _, after = (await node.line()).partition(" with its page at ")
        assert before == f"Archive DIMSE in {tmp_path},"
        with await asyncio.to_thread(urlopen, f"{after.partition(';')[0]}healthz") as answer:
            assert answer.status == 200


async def test_the_usual_data_folder_and_the_configuration_in_it(
    start: Start, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ENVIRONMENT, "XDG_DATA_HOME", str(tmp_path))
    data = tmp_path / "dimse" / "node"
    await asyncio.to_thread(write, data / "node.toml", '[[peer]]\nae_title = "CT1"\n')
    async with serving(start, "--json") as node:
        listening = await node.event("listening")
        assert listening["data"] == str(data)
        address = f"DIMSE@localhost:{listening['port']}"
        await library.echo(address, calling_ae_title="CT1")
        with pytest.raises(AssociationRejected):
            await library.echo(address, calling_ae_title="CT2")


async def test_options_come_before_the_configuration(start: Start, tmp_path: Path) -> None:
    text = '[node]\nae_title = "A"\nport = 1\ndata = "a"\n[[peer]]\nae_title = "CT1"\n'
    await asyncio.to_thread(write, tmp_path / "n.toml", text)
    options = ("--config", tmp_path / "n.toml", "--title", "B", "--data", tmp_path / "b", "--allow", "CT2")
    async with serving(start, "--json", *options) as node:
        listening = await node.event("listening")
        assert (listening["title"], listening["data"]) == ("B", str(tmp_path / "b"))
        await library.echo(f"B@localhost:{listening['port']}", calling_ae_title="CT2")


async def test_sighup_reads_the_peers_again_and_a_wrong_file_changes_nothing(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "data" / "node.toml"
    await asyncio.to_thread(write, config, '[[peer]]\nae_title = "CT1"\n')
    async with with_json(start, "--data", tmp_path / "data") as node:
        await library.echo(node.address, calling_ae_title="CT1")
        await asyncio.to_thread(write, config, '[[peer]]\nae_title = "CT2"\nport = 0\n')
        node.process.send_signal(signal.SIGHUP)
        refused = await node.event("not-reloaded")
        assert refused["error"] == f"{config}: [[peer]] 1: port: must be 1 to 65535, not 0"
        await library.echo(node.address, calling_ae_title="CT1")
        await asyncio.to_thread(write, config, '[[peer]]\nae_title = "CT2"\nhost = "ct2"\n[query]\nscan_limit = 5\n')
        node.process.send_signal(signal.SIGHUP)
        reloaded = await node.event("reloaded")
        assert (reloaded["peers"], reloaded["destinations"], reloaded["restart"]) == (1, 1, ["query"])
        await library.echo(node.address, calling_ae_title="CT2")
        with pytest.raises(AssociationRejected):
            await library.echo(node.address, calling_ae_title="CT1")


async def test_sighup_does_not_admit_every_peer_when_the_file_is_gone(start: Start, tmp_path: Path) -> None:
    config = tmp_path / "node.toml"
    await asyncio.to_thread(write, config, '[[peer]]\nae_title = "CT1"\n')
    async with with_json(start, "--data", tmp_path) as node:
        await asyncio.to_thread(config.unlink)
        node.process.send_signal(signal.SIGHUP)
        refused = await node.event("not-reloaded")
        assert refused["error"] == f"{config}: No such file or directory"
        with pytest.raises(AssociationRejected):
            await library.echo(node.address, calling_ae_title="CT2")
        assert (await node.event("association-failed"))["calling_ae_title"] == "CT2"


async def test_a_store_that_is_under_way_ends_and_is_kept(start: Start, tmp_path: Path, ct: Path) -> None:
    content = await asyncio.to_thread(ct.read_bytes)
    is_open, is_told = asyncio.Event(), asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield content[:20000]
        await is_told.wait()
        yield content[20000:]

    options = library.ClientOptions(on_event=lambda _: is_open.set())
    async with with_json(start, "--data", tmp_path) as node:
        assert node.process.stderr is not None
        sending = asyncio.create_task(library.send(node.address, [slowly()], options=options))
        await is_open.wait()
        node.process.send_signal(signal.SIGTERM)
        assert b"waiting for 1 association to end" in await node.process.stderr.readline()
        is_told.set()
        assert len((await sending).stored) == 1
        assert await node.process.wait() == 0
    async with Node(NodeOptions(data=tmp_path, port=0)) as again:
        assert len([each async for each in library.find(again.address, library.Query.studies())]) == 1


async def test_the_first_signal_waits_for_associations_and_the_second_aborts_them(start: Start, tmp_path: Path) -> None:
    async def be_aborted(node: Serving) -> None:
        async with library.connect(node.address) as association:
            await library.CEchoSCU(association).echo()
            node.process.send_signal(signal.SIGTERM)
            assert node.process.stderr is not None
            waiting = (await node.process.stderr.readline()).decode()
            assert waiting == "dimse: waiting for 1 association to end; press Ctrl-C again to abort\n"
            node.process.send_signal(signal.SIGTERM)
            assert await node.process.wait() == 130
            await library.CEchoSCU(association).echo()

    async with with_json(start, "--data", tmp_path) as node:
        with pytest.raises(library.AssociationAborted):
            await be_aborted(node)


@pytest.mark.parametrize("options", [(), ("--check",)])
def test_a_wrong_configuration_is_refused_with_its_place(
    dimse: Dimse, tmp_path: Path, options: tuple[str, ...]
) -> None:
    config = tmp_path / "n.toml"
    config.write_text('[[peer]]\nae_title = "CT1"\nmay = ["fnd"]\n', encoding="utf-8")
    done = dimse("node", "--config", config, "--data", tmp_path / "data", *options)
    assert done.code == 2
    may = "store, find, get, move, commit"
    assert done.err == f"dimse: {config}: [[peer]] 1: may[0]: must be one of {may}, not 'fnd'\n"
    assert not (tmp_path / "data").exists()


def test_check_changes_nothing(dimse: Dimse, tmp_path: Path) -> None:
    config = tmp_path / "n.toml"
    config.write_text('web = false\n[node]\nport = 0\n[[peer]]\nae_title = "CT1"\n', encoding="utf-8")
    done = dimse("node", "--config", config, "--data", tmp_path / "data", "--check")
    assert (done.code, done.out, done.err) == (0, f"{config}: no errors\n", "")
    assert not (tmp_path / "data").exists()
    (tmp_path / "file").touch()
    done = dimse("node", "--config", config, "--data", tmp_path / "file" / "data", "--check", "--json")
    assert (done.code, done.err) == (1, f"dimse: {tmp_path / 'file'}: is not a folder\n")
    assert done.lines[0]["error"] == f"{tmp_path / 'file'}: is not a folder"


async def test_a_port_or_a_folder_that_is_in_use(beside: Start, tmp_path: Path) -> None:
    async with Node(NodeOptions(data=tmp_path / "one", port=0)) as node:
        done: Any = await beside("node", "--data", tmp_path / "two", "--port", node.port, "--web", "off")
        said = f"cannot listen on localhost:{node.port}: Address already in use; choose another port"
        assert (done.code, done.err) == (1, f"dimse: {said}\n")
        done = await beside("node", "--data", tmp_path / "two", "--port", 0, "--web", node.port)
        said = f"the page cannot listen on 127.0.0.1:{node.port}: Address already in use; choose another port"
        assert (done.code, done.err) == (1, f"dimse: {said}; --web off leaves the page out\n")
        done = await beside("node", "--data", tmp_path / "one", "--port", 0, "--web", "off")
        assert (done.code, done.err) == (
            1,
            f"dimse: {tmp_path / 'one'}: another node serves from this folder; stop it first\n",
        )


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


# Commands below it


@pytest.fixture
def _below(monkeypatch: pytest.MonkeyPatch) -> None:
    """A command `dimse node count N`, which exits with N."""

    def node_count(*, number: int) -> int:
        """Count."""
        return number

    module = ModuleType("tests.node_count")
    vars(module).update(
        node_count=node_count,
        EXIT_CODES="0 done; 1 not.",
        add_arguments=lambda parser: parser.add_argument("number", metavar="N", type=int, help="The number."),
    )
    monkeypatch.setitem(COMMANDS, "node count", Command("tests.node_count", "Count."))
    monkeypatch.setitem(__import__("sys").modules, "tests.node_count", module)


@pytest.mark.usefixtures("_below")
def test_a_command_below_it_has_its_own_arguments_and_help(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["node", "count", "7"]) == 7
    assert run(["-v", "node", "count", "7"]) == 7
    assert run(["node", "count", "--help"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("usage: dimse node count [options] N\n")
    assert err == ""
    assert run(["node", "--help"]) == 0
    assert "    count" in capfd.readouterr().out


@pytest.mark.usefixtures("_below")
@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("node --port 3 count 7", "count comes right behind node: write dimse node count [options]"),
        ("node --port 3 count", "count comes right behind node: write dimse node count [options]"),
        ("node conut 7", "there is no command node conut; did you mean count?"),
        ("node count", "the following arguments are required: N; write dimse node count [options] N"),
        ("node count 7 --nope", "there is no option --nope of dimse node count; dimse node count --help lists them"),
    ],
)
def test_what_to_type_instead(capfd: pytest.CaptureFixture[str], line: str, said: str) -> None:
    assert run(line.split()) == 2
    assert capfd.readouterr().err == f"dimse: {said}\n"


def test_without_the_extra_one_line_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("dimse.cli.node_options.find_spec", lambda name: None if name == "alembic" else object())
    assert run(["node"]) == 2
    said = 'dimse: this command needs alembic; install it with: pip install "dimse[node]"\n'
    assert capfd.readouterr() == ("", said)
