"""The README and docs/ say what is true: code runs, commands parse, links lead somewhere, facts are those of src.

`python tests/test_docs.py` rewrites the generated tables.
"""

from __future__ import annotations

import ast
import asyncio
import importlib
import importlib.util
import inspect
import io
import logging
import re
import shlex
import shutil
import sqlite3
import ssl
import sys
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, nullcontext, redirect_stdout
from dataclasses import dataclass, fields, replace
from functools import cache, partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from typing import Any, Final, cast

import pytest
from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file

import dimse
from dimse import (
    ClientOptions,
    Peer,
    Query,
    QueryRequest,
    QueryRetrieveModel,
    Rejection,
    Server,
    ServerOptions,
    Status,
    StoreOptions,
    Timeouts,
    WorklistFolder,
    uids,
)
from dimse.cli import route_rules
from dimse.cli.app import COMMANDS, make_parser
from dimse.cli.parser import Parser, UsageError
from dimse.dataset.codec import IDENTIFIER_LIMITS
from dimse.dataset.structure import Limits
from dimse.errors import _ABORT_REASONS, _REJECT_REASONS
from dimse.messages.message import C_FIND_RQ, C_GET_RQ, C_MOVE_RQ, C_STORE_RQ, N_ACTION_RQ
from dimse.network.client import DEFAULT_CONTEXTS
from dimse.network.incoming_data import MAXIMUM_IDENTIFIER_LENGTH
from dimse.network.server import services_of
from dimse.node import EventKind, node_file
from dimse.services.query_models import DEFAULT_MODELS, MODELS
from tests.certificate import CERTIFICATE, KEY
from tests.ports import free_port
from tests.web import S3, Application, get
from tests.worklist_items import save, scheduled

ROOT: Final = Path(__file__).parent.parent
README: Final = ROOT / "README.md"
PACKAGE: Final = Path(dimse.__file__).parent
PAGES: Final = [
    page
    for page in sorted((ROOT / "docs").rglob("*.md"))
    if not page.read_text(encoding="utf-8").startswith("```{include}")
]
"""Without those of the site that only include a file of the root."""
DOCUMENTS: Final = [*sorted(ROOT.glob("*.md")), ROOT / "benchmarks" / "README.md", *PAGES]
ON_THE_FORGE: Final = "https://github.com/dimse/dimse/blob/main/"
"""How the README links to files of the repository, so that its copy on PyPI has no dead links."""
WITH_GENERATED_PARTS: Final = [ROOT / "docs" / "conformance.md", ROOT / "docs" / "limits.md"]

# What there is in the documents


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else path.name


@dataclass(frozen=True)
class Block:
    """A block of code."""

    path: Path
    line: int
    language: str
    source: str
    not_run: bool
    output: str | None = None
    """What the block prints, where the document shows it in a `text` block right below."""

    def __str__(self) -> str:
        return f"{name_of(self.path)}:{self.line}"


def blocks_of(path: Path, text: str) -> Iterator[Block]:
    """The fenced blocks. `<!-- not run: reason -->` right above one says that it is only compiled."""
    above, start, language, lines = "", 0, "", list[str]()
    for number, line in enumerate(text.splitlines(), 1):
        if not line.startswith("```"):
            if start:
                lines.append(line)
            elif line.strip():
                above = line
        elif start:
            yield Block(path, start, language, "\n".join(lines) + "\n", above.startswith("<!-- not run: "))
            start, above, lines = 0, "", []
        else:
            start, language = number, line.removeprefix("```").strip()
    assert not start, f"{path.name}:{start}: this block has no end"


def all_blocks(language: str) -> list[Block]:
    found = []
    for path in DOCUMENTS:
        blocks = [*blocks_of(path, path.read_text(encoding="utf-8")), None]
        for block, below in pairwise(blocks):
            if block is not None and block.language == language:
                shown = below.source if below is not None and below.language == "text" else None
                found.append(replace(block, output=shown))
    return found


# The world in which code of the documents runs


def shipped(name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return Path(path)


def fill(folder: Path) -> None:
    """What the documents suppose to be there."""
    study = folder / "study"
    study.mkdir()
    shutil.copy(shipped("CT_small.dcm"), folder / "ct.dcm")
    shutil.copy(shipped("CT_small.dcm"), study / "1.dcm")
    shutil.copy(shipped("MR_small.dcm"), study / "2.dcm")
    (study / "notes.txt").write_text("not DICOM")
    (folder / "worklist").mkdir()
    save(scheduled(), folder / "worklist" / "1.wl")
    (folder / "config.toml").write_text(next(each.source for each in all_blocks("toml") if "[peers." in each.source))
    (folder / "archive.pem").write_text(CERTIFICATE)
    (folder / "archive.key").write_text(KEY)
    database = sqlite3.connect(folder / "archive.db")
    with database:
        database.execute("CREATE TABLE study (uid, name, patient_id, date, path)")
        database.execute("INSERT INTO study VALUES (?, 'Müller^Jürgen', '1CT1', '20040119', 'ct.dcm')", [CT_STUDY])
    database.close()


CT_STUDY: Final = "1.3.6.1.4.1.5962.1.2.1.20040119072730.12322"


def example(name: str) -> Any:
    specification = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


class World:
    """An archive that can be asked, with and without TLS, and a web server, at work in threads."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.stored = self.found = 0
        self._arrived = threading.Condition()
        self._me = free_port()
        """Where documents have a receiver or a server of their own, to which the archive sends."""
        self._contents = example("query_server").Archive(folder / "study")
        for name in ("find", "paths"):
            setattr(self._contents, name, partial(self._count_found, getattr(self._contents, name)))
        self._loop = asyncio.new_event_loop()
        self._web = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder)))
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._web_thread = threading.Thread(target=self._web.serve_forever, kwargs={"poll_interval": 0.01})
        self._providers: list[dimse.CommitmentSCP] = []
        self._archives = [self._archive(None), self._archive(server_context(folder))]

    def _archive(self, context: ssl.SSLContext | None) -> Server:
        duplicates = dimse.Duplicates.REPLACE  # of what other documents have sent
        options = ServerOptions(store=StoreOptions(fsync=False, duplicates=duplicates), tls=context)
        destinations = {"ME": dimse.Address("ME", "localhost", self._me)}
        server = Server("ARCHIVE", port=0, options=options, destinations=destinations)
        self._contents.serve(server)
        dimse.UPSManager(server)
        self._providers.append(
            dimse.CommitmentSCP(server, self._decide, dimse.MemoryTransactions(), same_association=0)
        )
        server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST)(self._scheduled)

        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> Status:
            await request.save_under(self.folder / "archived")
            with self._arrived:
                self.stored += 1
                self._arrived.notify_all()
            return Status.SUCCESS

        @server.on_n_get(uids.PRINTER)
        async def printer(_: dimse.NormalizedRequest) -> dimse.NormalizedReply:
            status = Dataset()
            status.PrinterStatus = "NORMAL"
            return dimse.NormalizedReply(status)

        return server

    async def _decide(self, request: dimse.CommitmentRequest) -> dict[str, dimse.CommitmentFailure | None]:
        """All that is asked for is there."""
        return {each.sop_instance_uid: None for each in request.instances}

    async def _scheduled(self, request: QueryRequest) -> AsyncIterator[dimse.Match]:
        async for match in WorklistFolder(self.folder / "worklist").find(request):
            self.found += 1
            yield match

    def wait_for_more(self, stored: int) -> None:
        """Until more than `stored` objects have arrived."""
        with self._arrived:
            assert self._arrived.wait_for(lambda: self.stored > stored, timeout=30)

    def _count_found(self, find: Callable[[Dataset], Iterator[object]], keys: Dataset) -> Iterator[object]:
        for found in find(keys):
            self.found += 1
            yield found

    @property
    def ports(self) -> dict[str, int]:
        """The ports that the documents name, and those that stand for them."""
        plain, secure = self._archives
        return {"11112": plain.port, "11113": self._me, "2762": secure.port, "8042": self._web.server_port}

    def at_free_ports(self, source: str) -> str:
        """`source` with the ports that stand for those of the documents."""
        for port, free in self.ports.items():
            source = re.sub(rf"\b{port}\b", str(free), source)
        return source

    def __enter__(self) -> World:
        self._thread.start()
        self._web_thread.start()
        for entered in (*(each.__aenter__() for each in self._providers), *(each.start() for each in self._archives)):
            asyncio.run_coroutine_threadsafe(entered, self._loop).result()
        return self

    def __exit__(self, *_: object) -> None:
        for left in (
            *(each.stop() for each in self._archives),
            *(each.__aexit__(None, None, None) for each in self._providers),
        ):
            asyncio.run_coroutine_threadsafe(left, self._loop).result()
        self._web.shutdown()
        self._web_thread.join()
        self._web.server_close()
        asyncio.run_coroutine_threadsafe(self._loop.shutdown_default_executor(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


class Quiet(SimpleHTTPRequestHandler):
    """Does not log."""

    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - the name it has there


def server_context(folder: Path) -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(folder / "archive.pem", folder / "archive.key")
    return context


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("world")
    fill(folder)
    with World(folder) as world:
        yield world


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of its own for a block, with standard input. Loggers are as before when it has run."""
    fill(tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    loggers = [logging.getLogger(name) for name in ("", "pydicom", *logging.Logger.manager.loggerDict)]
    levels = [logger.level for logger in loggers]
    with (tmp_path / "ct.dcm").open("rb") as file:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(file))
        yield tmp_path
    for logger, level in zip(loggers, levels, strict=True):
        logger.setLevel(level)


@asynccontextmanager
async def listening(server: Server) -> AsyncIterator[str]:
    """`server` on a free port, and its address."""
    server.port = 0
    async with server:
        yield f"{server.ae_title}@localhost:{server.port}"


async def use(server: Server) -> None:
    """Send to a server of a document what a user would: it answers, and no handler of it fails."""
    context = None
    if server.options.tls is not None:
        context = ssl.create_default_context(cafile="archive.pem")
    caller = next(
        min(peer.calling_ae_titles or {"CALLER"})
        for peer in server.options.access.peers or [Peer()]
        if isinstance(peer, Peer) and peer.mismatch(min(peer.calling_ae_titles or {"CALLER"}), "127.0.0.1", ()) is None
    )
    options = ClientOptions(calling_ae_title=caller, tls=context)
    async with listening(server) as address:
        async with dimse.connect(address, options=options) as association:
            await dimse.CEchoSCU(association).echo()
        if C_STORE_RQ in services_of(server):
            report = await dimse.send(address, ["ct.dcm", "study/"], options=options, raise_failures=False)
            assert report.stored
            assert not {result.status for result in report.failures} & {Status.PROCESSING_FAILURE, None}
        if N_ACTION_RQ in services_of(server) and services_of(server)[N_ACTION_RQ].supports(uids.STORAGE_COMMITMENT):
            assert (await dimse.commit(address, "ct.dcm", options=options)).committed
        await ask(server, address, options)


async def ask(server: Server, address: str, options: ClientOptions) -> None:
    """Find, get and move what a server of a document has, as far as it says that it can."""
    study = Query.studies(StudyInstanceUID=CT_STUDY)
    finds = services_of(server)[C_FIND_RQ].supports if C_FIND_RQ in services_of(server) else lambda _: False
    if finds(uids.MODALITY_WORKLIST_FIND):
        worklist = dimse.Worklist(station_ae_title="CT1", modality="CT")
        assert len([match async for match in dimse.find(address, worklist, options=options)]) == 1
    async with dimse.connect(address, options=options, contexts=dimse.retrieval_contexts()) as association:
        if finds(uids.STUDY_ROOT_FIND):
            found = [match async for match in dimse.CFindSCU(association).find(Query.studies(PatientID="1CT1"))]
            assert [match.StudyInstanceUID for match in found] == [CT_STUDY]
        if C_GET_RQ in services_of(server):
            assert [instance async for instance in dimse.CGetSCU(association).get(study, into="got")]
        if C_MOVE_RQ in services_of(server):
            counters = [count async for count in dimse.CMoveSCU(association).move(study, "WS1")]
            assert counters[-1].completed


async def browse(application: Application) -> None:
    """Ask an application of a document for an instance that there is, and for others."""
    dataset = dcmread("ct.dcm")
    there = f"/studies/{CT_STUDY}/series/{dataset.SeriesInstanceUID}/instances/{dataset.SOPInstanceUID}"
    found = await get(application, there)
    assert (found.status, dcmread(io.BytesIO(found.body))) == (200, dataset)
    assert (await get(application, there.replace(CT_STUDY, "1.2.3"))).status == 404
    assert (await get(application, there.replace(CT_STUDY, "no UID"))).status == 404
    with pytest.MonkeyPatch.context() as patch:
        nowhere = f"ARCHIVE@localhost:{free_port()}"
        connect = dimse.connect
        patch.setattr(dimse, "connect", lambda _, **options: connect(nowhere, **options))
        assert (await get(application, there)).status == 502


def run(block: Block, world: World, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Run a block as a reader would: its `await`s too, its `main` if it does not, its servers with a client."""
    used: list[Server] = []

    async def serve_once(
        server: Server,
        alongside: Callable[[], Coroutine[Any, Any, None]] | None = None,
        *,
        within: AbstractAsyncContextManager[object] | None = None,
    ) -> None:
        used.append(server)
        beside = None if alongside is None else asyncio.create_task(alongside())
        async with within or nullcontext():
            await use(server)
            if beside is not None or isinstance(within, dimse.Forwarder):  # it sends on what was received
                await asyncio.to_thread(world.wait_for_more, stored)
        if beside is not None:
            beside.cancel()

    monkeypatch.setattr(Server, "serve_forever", serve_once)
    monkeypatch.setattr(Server, "run", lambda *arguments, **more: asyncio.run(serve_once(*arguments, **more)))
    source = world.at_free_ports(block.source)
    configuration = Path("config.toml")
    configuration.write_text(world.at_free_ports(configuration.read_text()))
    source = source.replace("@workstation:", "@localhost:")
    namespace: dict[str, Any] = {"__name__": "__main__"}
    stored, found = world.stored, world.found
    code = compile("\n" * block.line + source, str(block.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if code.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(code, namespace))  # noqa: S307 - it is our own
    else:
        exec(code, namespace)  # noqa: S102 - it is our own
        if "main" in namespace and not re.search(r"\brun\(main\(\)\)", source):
            asyncio.run(namespace["main"]())
    for value in namespace.values():
        if isinstance(value, Server) and value not in used:
            asyncio.run(use(value))
        elif type(value).__name__ == "FastAPI":
            asyncio.run(browse(value))
    if "Node(" in source:  # it has an archive of its own
        return namespace
    if re.search(r"\bsend\(|send_c_store\(|\"send\"", source):
        assert world.stored > stored, "it sends, but nothing has arrived"
    if re.search(r"\bretrieve\(\"|\bC(Find|Get|Move)SCU\(|send_c_(find|get|move)\(", source):
        assert world.found > found, "it asks, but nothing was found"
    return namespace


@pytest.mark.parametrize("block", all_blocks("python"), ids=str)
def test_code_runs(
    block: Block, world: World, here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for needed in ("uvloop", "fastapi"):
        if f"import {needed}" in block.source or f"from {needed}" in block.source:
            pytest.importorskip(needed)
    s3 = S3()
    monkeypatch.setitem(sys.modules, "boto3", cast("Any", s3))
    if block.not_run:
        compile(block.source, str(block.path), "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    else:
        capsys.readouterr()
        run(block, world, monkeypatch)
        printed = capsys.readouterr().out
        assert block.output is None or block.output == printed
    if "boto3" in block.source:
        assert all(dcmread(io.BytesIO(each)).SOPInstanceUID + ".dcm" == key for key, each in s3.objects.items())
        assert (len(s3.objects), s3.open, s3.aborted) == (2, {}, 0)


@pytest.mark.parametrize(
    ("source", "error"),
    [
        ("import asyncio\nawait asyncio.sleep(0)\n1 / 0", ZeroDivisionError),
        ("async def main():\n    1 / 0", ZeroDivisionError),
        ("import dimse\nawait dimse.send('ARCHIVE@localhost:11112', [])", AssertionError),
        (
            (
                "import dimse\nasync with dimse.connect('ARCHIVE@localhost:11112') as association:\n"
                "    matches = dimse.CFindSCU(association).find(dimse.Query.studies(PatientID='4711'))\n"
                "    assert [match async for match in matches] == []"
            ),
            AssertionError,
        ),
        (
            "from dimse import Server\nserver = Server()\n@server.on_c_store\nasync def store(request): raise OSError",
            AssertionError,
        ),
    ],
    ids=["awaits", "main", "sends nothing", "finds nothing", "handler fails"],
)
def test_code_that_fails_is_noticed(
    source: str, error: type[Exception], world: World, here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(error):
        run(Block(Path("test"), 1, "python", source, False), world, monkeypatch)


@pytest.mark.parametrize("block", all_blocks("toml"), ids=str)
def test_configurations_are_accepted(block: Block, here: Path) -> None:
    file = here / "tried.toml"
    file.write_text(block.source)
    if "[node]" in block.source or "[[peer]]" in block.source:
        assert node_file.read(file, here).server.access.peers
    elif "[web]" in block.source:
        page = node_file.read(file, here).web
        assert page is not None
        assert page.has_login
    elif "[destinations." in block.source:
        assert route_rules.read(file, "ROUTER").rules
    else:
        assert dimse.Configuration.load(file).peers


# Commands


def commands_of(source: str) -> Iterator[list[str]]:
    """The arguments of each `dimse` in a shell script, without pipes, redirections and comments."""
    for line in source.replace("\\\n", " ").splitlines():
        lexer = shlex.shlex(line, posix=True, punctuation_chars="|&;<>")
        lexer.whitespace_split = True
        command: list[str] = []
        for word in [*lexer, ";"]:
            if word[0] in "|&;<>":
                if command[:1] == ["dimse"]:
                    yield command[1:]
                command = []
            else:
                command.append(word)


def parse(arguments: list[str]) -> None:
    """Read a command as the command line itself does, addresses too. Raises for what it would refuse."""
    _parser().parse_args(arguments)


@cache
def _parser() -> Parser:
    return make_parser()


@pytest.mark.parametrize("block", all_blocks("sh"), ids=str)
def test_commands_parse(block: Block) -> None:
    for arguments in commands_of(block.source):
        parse(arguments)


def test_commands_are_found_and_wrong_ones_noticed() -> None:
    found = commands_of("curl x | dimse send A@b - > out  # that\nmake\ndimse echo \\\n  A@b --json && dimse demo\n")
    assert list(found) == [["send", "A@b", "-"], ["echo", "A@b", "--json"], ["demo"]]
    for wrong in (["sned", "A@b", "x"], ["send", "A@b", "x", "--retires", "3"], ["send", "A@b"], ["echo", "@:"]):
        with pytest.raises(UsageError, match=r"invalid choice|unrecognized|required|is not an address"):
            parse(wrong)


@pytest.fixture(scope="module")
def options() -> set[str]:
    """All that the help of a command names."""
    shown = io.StringIO()
    with redirect_stdout(shown):
        for command in ([], *(name.split() for name in COMMANDS)):
            with pytest.raises(SystemExit):
                parse([*command, "--help"])
    return set(re.findall(r"^  (?:-.*, )?(--[a-z-]+)", shown.getvalue(), flags=re.MULTILINE))


@pytest.mark.parametrize("path", [README, *PAGES], ids=name_of)
def test_options_that_the_text_names_exist(path: Path, options: set[str]) -> None:
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    named = set(re.findall(r"`(--[a-z-]+)", text)) | set(re.findall(r"`dimse [^`]*?(--[a-z-]+)", text))
    assert named <= options


# Links


def anchors_of(text: str) -> set[str]:
    """The anchors that GitHub makes of headings."""
    text = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    headings = re.findall(r"^#+ (.+)$", text, flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def links_of(path: Path) -> Iterator[tuple[str, Path, str]]:
    """Each link of a document to a file of the repository: as written, the file, the anchor."""
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\(([^)]+)\)", text):
        name, _, anchor = target.partition("#")
        if name.startswith(ON_THE_FORGE):
            yield target, ROOT / name.removeprefix(ON_THE_FORGE), anchor
        elif "://" not in name:
            yield target, (path.parent / name).resolve() if name else path, anchor


def is_dead(file: Path, anchor: str) -> bool:
    if not file.is_relative_to(ROOT) or not file.exists():
        return True
    return bool(anchor) and anchor not in anchors_of(file.read_text(encoding="utf-8"))


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    assert [target for target, file, anchor in links_of(path) if is_dead(file, anchor)] == []


def test_every_document_is_reached_from_the_readme() -> None:
    reached, new = set[Path](), [README]
    while new:
        path = new.pop()
        reached.add(path)
        linked = {file for _, file, _ in links_of(path)}
        new += [file for file in linked - reached if file in DOCUMENTS]
    assert sorted(set(DOCUMENTS) - reached) == []


def test_the_index_has_each_how_to_in_order() -> None:
    folder = ROOT / "docs" / "how-to"
    listed = re.findall(r"^- \[(.+)\]\(([\w-]+\.md)#", (folder / "index.md").read_text(encoding="utf-8"), re.MULTILINE)
    pages = dict.fromkeys(page for _, page in listed)
    heads = {page: re.findall("^## (.+)$", (folder / page).read_text(encoding="utf-8"), re.MULTILINE) for page in pages}
    assert listed == [(head, page) for page in pages for head in heads[page]]
    assert pages.keys() == {path.name for path in folder.glob("*.md")} - {"index.md"}


def test_public_names_that_the_documents_use_exist() -> None:
    for path in DOCUMENTS:
        for name in re.findall(r"`dimse\.([A-Za-z_]+)", path.read_text(encoding="utf-8")):
            module = name in {
                "pytest_plugin",
                "sync",
                "testing",
                "network",
                "storage",
                "query_retrieve",
                "upper_layer",
                "dataset",
                "uids",
                "messages",
            }
            assert module or hasattr(dimse, name), f"{path.name}: dimse.{name}"


def test_the_map_names_every_module() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rooms = re.findall(r"^### ([a-z_]+)/\n(.*?)(?=^##)", text, flags=re.MULTILINE | re.DOTALL)
    named = {f"{room}/{module}" for room, content in rooms for module in re.findall(r"`([a-z0-9_/]+\.py)`", content)}
    files = {file.relative_to(PACKAGE).as_posix() for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE}
    assert named == {file for file in files if not file.endswith("__init__.py")}


def test_the_archive_how_to_has_each_key_and_each_event() -> None:
    text = (ROOT / "docs" / "how-to" / "archive.md").read_text(encoding="utf-8")
    kinds = {f"[{name}]": kind for name, kind in node_file._TABLES.items()}
    kinds |= {f"[[{name}]]": kind for name, kind in node_file._ARRAYS.items()}
    keys = dict(re.findall(r"^\| `(\[+[a-z]+\]+)` \| (.+) \|$", text, re.MULTILINE))
    assert keys.keys() == kinds.keys()
    for name, kind in kinds.items():
        assert [each.name for each in fields(kind) if f"`{each.name}`" not in keys[name]] == [], name
    assert [each.value for each in EventKind if f"\n| `{each.value}` |" not in text] == []


# The conformance statement's facts


def table(heads: tuple[str, ...], rows: list[tuple[object, ...]]) -> str:
    lines = [heads, tuple("---" for _ in heads), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def identity() -> str:
    return table(
        ("name", "value"),
        [
            ("Application context name", uids.APPLICATION_CONTEXT),
            ("Implementation class UID", uids.IMPLEMENTATION_CLASS_UID),
            ("Implementation version name", uids.IMPLEMENTATION_VERSION_NAME),
        ],
    )


def storage() -> str:
    return table(("SOP class", "UID"), [(uids.name_of(uid), uid) for uid in uids.COMMON_STORAGE])


def query_retrieve() -> str:
    return table(("SOP class", "UID"), [(uids.name_of(uid), uid) for uid in uids.QUERY_RETRIEVE])


def information_models() -> str:
    def classes(*found: str | None) -> str:
        return ", ".join(uid for uid in found if uid is not None) or "-"

    rows: list[tuple[object, ...]] = [
        (
            f"`{model.name}`",
            ", ".join(model.levels) or "without",
            *map(classes, (model.find, model.move, model.get)),
            classes(*model.stored),
        )
        for model in MODELS
        if model not in DEFAULT_MODELS
    ]
    return table(("`QueryRetrieveModel`", "levels", "FIND", "MOVE", "GET", "its storage SOP classes"), rows)


def native_syntaxes() -> str:
    return table(("transfer syntax", "UID"), [(uids.name_of(uid), uid) for uid in uids.LITTLE_ENDIAN])


def compressed_syntaxes() -> str:
    contexts = dimse.retrieval_contexts([uids.COMMON_STORAGE[0]])
    found = [syntax for context in contexts if context.as_scp for syntax in context.transfer_syntaxes]
    rows = [(uids.name_of(uid), uid) for uid in found if uid not in uids.LITTLE_ENDIAN]
    return table(("transfer syntax", "UID"), list(rows))


_TIMER_MEANINGS: Final = {
    "connect": "TCP connection and TLS handshake",
    "association": "the responses to A-ASSOCIATE-RQ and to A-RELEASE-RQ",
    "store": "a C-STORE, C-ECHO or DIMSE-N operation without any progress, its response included",
    "find": "a C-FIND without any progress, excluding the time that the program takes for a match",
    "move": "a C-MOVE without any progress",
    "get": "a C-GET without any progress, excluding the time that the program takes for an instance",
    "cancel": "the end of an operation after our C-CANCEL; then A-ABORT",
    "artim": "ARTIM (PS3.8 9.1.5): the peer's A-ASSOCIATE-RQ, and its closing of the connection",
    "idle": "as acceptor: the next message, and one in transit without any progress",
    "admission": "as acceptor: the decision of the program about an association",
}


def timers() -> str:
    requestor, acceptor = Timeouts(), ServerOptions().timeouts
    rows = [
        (name, meaning, f"{getattr(requestor, name)} s", f"{getattr(acceptor, name)} s")
        for name, meaning in _TIMER_MEANINGS.items()
    ]
    return table(("timer", "limits", "requestor", "acceptor"), list(rows))


_SCP_STATUSES: Final = {
    "SUCCESS": "The handler returned it. With `save`, `save_under` and `dimse receive`: the object is in its file.",
    "PROCESSING_FAILURE": "The handler failed, or the name of the file is taken or cannot be.",
    "SOP_CLASS_NOT_SUPPORTED": "The Affected SOP Class was not negotiated on this association.",
    "UNRECOGNIZED_OPERATION": "The requested operation has no handler.",
    "NOT_AUTHORIZED": "`dimse.retrieve`, receiving by C-MOVE: the object was not requested, or not by it.",
    "OUT_OF_RESOURCES": "The storage is full, cannot be written or fails; memory is full; or the data set is over a "
    "limit of `StoreMode.BUFFERED`.",
    "INVALID_SOP_INSTANCE": "The SOP Instance UID cannot name a file; if strict, has more than digits and dots.",
    "DUPLICATE_SOP_INSTANCE": "It is already stored with other content, and duplicates are refused.",
    "COERCION_OF_DATA_ELEMENTS": "It is already stored with other content, which was kept (a warning).",
    "DATASET_DOES_NOT_MATCH": "The data set is empty, or its SOP Class or Instance UID missing or not the command's.",
    "CANNOT_UNDERSTAND": "The data set is truncated, cannot be inflated, or cannot be read as far as needed.",
}


_QUERY_SCP_STATUSES: Final = {
    "SUCCESS": "C-FIND: the handler has ended. C-GET, C-MOVE: all instances were sent, or there were none.",
    "PENDING": "C-FIND: a match. C-GET, C-MOVE: the counters, up to ten times a second.",
    "PENDING_KEYS_NOT_SUPPORTED": "C-FIND: a match, for which some optional keys were not supported.",
    "CANCEL": "A C-CANCEL was received. C-GET, C-MOVE: with the counters, once there are any.",
    "SUBOPERATIONS_COMPLETE_WITH_FAILURES": "C-GET, C-MOVE: some were not sent, or stored with a warning.",
    "OUT_OF_RESOURCES": "The identifier is too long, or memory is full.",
    "UNABLE_TO_PERFORM_SUBOPERATIONS": "C-GET, C-MOVE: none was sent, or memory is full.",
    "MOVE_DESTINATION_UNKNOWN": "C-MOVE: the program has no address for the destination.",
    "DATASET_DOES_NOT_MATCH": "Query/Retrieve Level (0008,0052) is missing, or not of the model.",
    "CANNOT_UNDERSTAND": "The identifier cannot be read, or the handler failed.",
}


_NORMALIZED_SCP_STATUSES: Final = {
    "SUCCESS": "The handler returned it.",
    "PROCESSING_FAILURE": "The data set cannot be read, or the handler failed.",
    "NO_SUCH_EVENT_TYPE": "An N-EVENT-REPORT has no Event Type ID (strict).",
    "INVALID_SOP_INSTANCE": "The request has no SOP Instance UID (but for N-CREATE, which gets one), or not a UID.",
    "NO_SUCH_SOP_CLASS": "The context is that of a Meta SOP Class, of which this SOP class has no handler.",
    "NO_SUCH_ACTION": "An N-ACTION has no Action Type ID.",
    "RESOURCE_LIMITATION": "The data set is longer than its handler's limit, or memory is full.",
}
"""Of DIMSE-N for every SOP class."""


_COMMITMENT_STATUSES: Final = {
    "SUCCESS": "N-ACTION: the request is on the disk, and will be reported. N-EVENT-REPORT: the report counts, "
    "or another one has counted.",
    "NO_SUCH_SOP_INSTANCE": "N-ACTION: not the well-known SOP instance.",
    "NO_SUCH_EVENT_TYPE": "N-EVENT-REPORT: the Event Type ID is neither 1 nor 2.",
    "INVALID_ARGUMENT_VALUE": "The Transaction UID is missing, in use for another request, or (N-EVENT-REPORT) "
    "unknown; the request has no items, or one without its UIDs.",
    "NO_SUCH_ACTION": "N-ACTION: the Action Type ID is not 1.",
    "RESOURCE_LIMITATION": "N-ACTION: too many instances, or open transactions.",
}


def commitment_statuses() -> str:
    return statuses(_COMMITMENT_STATUSES)


def normalized_scp_statuses() -> str:
    return statuses(_NORMALIZED_SCP_STATUSES)


_PROCEDURE_STEP_SCP_STATUSES: Final = {
    "SUCCESS": "The step is kept as changed, and the handler has not refused it.",
    "INVALID_ATTRIBUTE_VALUE": "The state may not follow, or an attribute must not change; they are named.",
    "NO_SUCH_ATTRIBUTE": "N-SET: attributes that the N-CREATE lacked; they are named (strict).",
    "PROCESSING_FAILURE": "The step has ended (Error ID 0xA710).",
    "DUPLICATE_SOP_INSTANCE": "N-CREATE: there is a step with this UID.",
    "NO_SUCH_SOP_INSTANCE": "There is no step with this UID.",
    "MISSING_ATTRIBUTE": "Attributes are absent; they are named.",
    "MISSING_ATTRIBUTE_VALUE": "Attributes are empty; they are named.",
    "RESOURCE_LIMITATION": "Too many steps are in progress, or (Archive AE) it has too many studies and instances.",
}


def procedure_step_scp_statuses() -> str:
    return statuses(_PROCEDURE_STEP_SCP_STATUSES)


def scp_statuses() -> str:
    return statuses(_SCP_STATUSES)


def query_scp_statuses() -> str:
    return statuses(_QUERY_SCP_STATUSES)


def statuses(meanings: dict[str, str]) -> str:
    rows = []
    for name, meaning in meanings.items():
        status: Status = getattr(Status, name)
        rows.append((f"0x{int(status):04X}", status.meaning, meaning))
    return table(("code", "meaning", "when"), sorted(rows))


def requestor_actions(status: Status) -> str:
    if status.category == "failure":
        return "not stored; retried by the retry policy" if status.is_out_of_resources else "not stored"
    return "stored" if status.category == "success" else "stored, with a warning that is logged and reported"


def scu_statuses() -> str:
    codes = (0x0000, 0xA700, 0xA900, 0xC000, 0xB000, 0xB006, 0xB007)
    rows = []
    for status in map(Status, codes):
        in_range = f"0x{int(status) >> 8:02X}xx" if status in (0xA700, 0xA900) else f"0x{int(status):04X}"
        in_range = "0xCxxx" if status == 0xC000 else in_range
        rows.append((in_range, status.meaning, status.category.capitalize(), requestor_actions(status)))
    rows.append(("any other", "as in PS3.7 Annex C", "by its range", "by its category"))
    return table(("code", "meaning", "category", "behavior of the SCU"), list(rows))


_QUERY_SCU_STATUSES: Final = {
    0x0000: "the operation has ended",
    0xFF00: "C-FIND: a match. C-GET, C-MOVE: the counters",
    0xFF01: "as 0xFF00, with a warning",
    0xFE00: "after our C-CANCEL: the end; otherwise an error",
    0xB000: "C-GET, C-MOVE: the end; an error for each instance that failed",
    0xA700: "an error",
    0xA701: "an error",
    0xA702: "an error, in addition to those for the instances",
    0xA801: "an error",
    0xA900: "an error",
    0xC000: "an error",
}


def query_scu_statuses() -> str:
    rows: list[tuple[object, ...]] = []
    for code, action in _QUERY_SCU_STATUSES.items():
        status = Status(code)
        shown = "0xCxxx" if code == Status.CANNOT_UNDERSTAND else f"0x{code:04X}"
        rows.append((shown, status.meaning, status.category.capitalize(), action))
    rows.append(("any other", "as in PS3.7 Annex C", "by its range", "failures are errors"))
    return table(("code", "meaning", "category", "behavior of the SCU"), rows)


def limits() -> str:
    client, server = ClientOptions(), ServerOptions()
    buffered = server.store.maximum_buffered
    return table(
        ("limit", "default", "option"),
        [
            ("largest PDU received, bytes", server.maximum_length, "`maximum_length`; 0 means no limit"),
            (
                "largest PDU sent, bytes",
                client.maximum_length_to_send,
                "`maximum_length_to_send`, and the peer's maximum",
            ),
            (
                "concurrent associations, as acceptor",
                server.maximum_associations,
                "`ServerOptions.maximum_associations`",
            ),
            (
                "of them from one host",
                server.maximum_associations_per_host or "no limit",
                "`maximum_associations_per_host`, `--max-per-host`",
            ),
            (
                "of them from one title",
                server.maximum_associations_per_title or "no limit",
                "`maximum_associations_per_title`, `--max-per-title`",
            ),
            (
                "new connections per second from one host",
                server.maximum_connections_per_second or "no limit",
                "`maximum_connections_per_second`",
            ),
            ("identifier of a query, bytes", MAXIMUM_IDENTIFIER_LENGTH, "none"),
            ("elements and items of an identifier", " and ".join(map(str, IDENTIFIER_LIMITS)), "none"),
            (
                "buffered data set, bytes",
                buffered,
                "`maximum_buffered`; does not apply to streaming",
            ),
            (
                "all buffered data sets and received identifiers, bytes",
                server.store.maximum_buffered_in_process,
                "`maximum_buffered_in_process`",
            ),
            ("calling AE title", client.calling_ae_title, "`calling_ae_title`, `--calling`"),
            ("AE title of a server", Server().ae_title, "the first argument of `Server`, `--title`"),
            ("port of a server", Server().port, "`port`, `--port`"),
        ],
    )


_REJECTIONS: Final = {
    (1, 1, 1): "the program chooses it (`Server.on_association`), as it may any other but 1, 1, 2 and 1, 2, 2",
    (1, 1, 2): "always",
    (1, 1, 3): "it is blank, no rule of `access` fits the peer, or (strict) padded or not ASCII",
    (1, 1, 7): "it is blank, not in `access.called_ae_titles`, or (strict) padded or not ASCII",
    (1, 2, 1): "the program rejects the peer or its user (`Server.on_association`), and chooses nothing else",
    (1, 2, 2): "bit 0 of the protocol version is not set",
    (2, 3, 1): "the server is stopping, or the program has failed to decide about the peer",
    (2, 3, 2): "one of the limits on associations is reached",
}


def rejections() -> str:
    rows = [
        (result, source, reason, _REJECT_REASONS[source, reason], when)
        for (result, source, reason), when in _REJECTIONS.items()
    ]
    return table(("result", "source", "reason", "meaning", "when"), list(rows))


_ABORTS: Final = {
    1: "the received data are not a PDU of PS3.8",
    2: "a PDU that the state of the association does not allow",
    5: "a message that PS3.7 does not allow here, or on a context that was not accepted",
    6: "a value or a length that is not allowed",
}


def aborts() -> str:
    rows: list[tuple[object, ...]] = [
        (0, 0, "service user", "cancelled, timed out, failed halfway, or stopped at the deadline")
    ]
    rows += [(2, reason, _ABORT_REASONS[reason], when) for reason, when in _ABORTS.items()]
    return table(("source", "reason", "meaning", "when"), rows)


def size(value: int) -> str:
    return f"{value // 1024**2} MiB" if value % 1024**2 == 0 else f"{value // 1024} KiB"


def seconds(value: float) -> str:
    return f"{value:g} s"


def elements_and_items(value: Limits) -> str:
    return f"{value.elements}, {value.items}"


_NAMED_LIMITS: Final[list[tuple[str, str, Callable[[Any], str]]]] = [
    ("A-ASSOCIATE PDU", "upper_layer.machine.MAXIMUM_ASSOCIATE_LENGTH", size),
    ("presentation contexts of an association", "upper_layer.negotiation.MAXIMUM_CONTEXTS", str),
    ("data set that is sent, searched for its study", "services.audited_source._LOOK", size),
    ("audit messages that wait to be written", "audit.MAXIMUM_WAITING", str),
    ("bytes of all of them", "audit.MAXIMUM_WAITING_BYTES", size),
    ("characters of a value in the audit trail", "audit.MAXIMUM_VALUE", str),
    ("identifier of a query in the audit trail", "audit.MAXIMUM_QUERY", size),
    ("studies of an association that are counted for the audit trail", "network.auditing.MAXIMUM_STUDIES", str),
    ("lines of `dimse receive` and `route` that wait to be read", "cli.unread.MAXIMUM_LINES", str),
    ("warnings of a kind in the log, in 60 s", "log_limit.MAXIMUM_ALIKE", str),
    (
        "instances of studies that are not complete, or whose handler runs",
        "services.study_completion.MAXIMUM_INSTANCES",
        str,
    ),
    ("steps of a `UPSManager` in memory", "services.ups_store.MAXIMUM_STEPS", str),
    ("bytes of their data sets, encoded", "services.ups_store.MAXIMUM_STEP_BYTES", size),
    ("subscribers of a step, or of all steps", "services.ups_worklist.MAXIMUM_SUBSCRIBERS", str),
    ("events of steps that wait for a subscriber, or for the program", "services.ups_events.MAXIMUM_EVENTS", str),
    ("steps that a worker looks at before it asks again", "services.ups_performing.MAXIMUM_CANDIDATES", str),
    ("commands of `dimse receive` that wait to be run", "cli.receive_commands.MAXIMUM_WAITING", str),
    ("user identity that is sent", "upper_layer.items.MAXIMUM_IDENTITY", size),
    ("consecutive empty fragments", "upper_layer.machine.MAXIMUM_EMPTY_FRAGMENTS", str),
    ("command set", "messages.fragments.MAXIMUM_COMMAND_LENGTH", size),
    ("identifier", "network.incoming_data.MAXIMUM_IDENTIFIER_LENGTH", size),
    ("elements, items of an identifier", "dataset.codec.IDENTIFIER_LIMITS", elements_and_items),
    ("values of an element of an identifier", "dataset.codec.MAX_VALUES", str),
    ("text with code extensions in an identifier", "dataset.texts.MAX_EXTENDED", size),
    ("inflated identifier", "dataset.codec.MAX_IDENTIFIER_INFLATED", size),
    ("inflated buffered data set", "dataset.codec.MAX_INFLATED", size),
    ("elements, items of a decoded data set", "dataset.codec.DATASET_LIMITS", elements_and_items),
    (
        "the same before the bulk data, while streaming",
        "services.incoming_dataset.STREAMED_LIMITS",
        elements_and_items,
    ),
    ("concurrent decodings outside the event loop, per process", "dataset.threads.AT_ONCE", str),
    ("elements of a deflated data set behind its metadata", "dataset.completeness.MAX_INFLATED_HEADERS", str),
    ("values of a key other than UIDs", "services.matching_rules.MAX_KEY_VALUES", str),
    ("characters of a key", "services.matching_rules.MAX_KEY_LENGTH", str),
    ("worklist file", "services.worklist_folder.MAXIMUM_WORKLIST_FILE", size),
    ("worklist files whose content is kept in memory", "services.worklist_folder.MAXIMUM_WORKLIST_KEPT", size),
    ("procedure steps in memory", "services.procedure_step_scp.MAX_STEPS", str),
    ("bytes of procedure steps in memory", "services.procedure_step_scp.MAX_STEP_BYTES", size),
    ("bytes of Specific Character Set", "dataset.structure.MAX_CHARACTER_SETS", str),
    ("metadata before the bulk data", "dataset.scanner.MAX_METADATA", size),
    ("sequence depth", "dataset.scanner.MAX_SEQUENCE_DEPTH", str),
    ("zeros or delimiters after the last element", "dataset.scanner._MAX_SURPLUS", size),
    ("a frame returned by `frames()`", "dataset.frames.MAX_FRAME", size),
    ("encapsulated pixel data searched for its transfer syntax", "services.incoming_dataset._LOOK", size),
    ("File Meta Information", "dataset.part10.MAX_FILE_META", size),
    ("characters of a file name made from a value", "dataset.file_names.MAX_NAME", str),
    ("bytes of a file name made by a template", "dataset.file_names.MAX_COMPONENT", str),
    ("folders that a process remembers as swept, or as durable", "dataset.folders.MAX_REMEMBERED", str),
    ("openings of a folder that other stores remove", "dataset.folders.ATTEMPTS", str),
    ("receive buffer of a connection", "network.receive_buffer.RECEIVE_BUFFER_SIZE", size),
    ("progress that a peer must make, per second", "network.timers.MINIMUM_RATE", size),
    ("TLS handshake", "network.handshake.TLS_HANDSHAKE", seconds),
    ("events of one connection in a row", "network.connection._EVENTS_AT_ONCE", str),
    ("requests of one association in a row", "network.performing._TURN", seconds),
    ("header of the PROXY protocol, version 2", "network.proxy_protocol.MAXIMUM_BINARY", size),
    ("hosts whose new connections are counted", "network.arrivals.MAXIMUM_HOSTS", str),
    ("connections accepted in a row", "network.listening._ACCEPTED_AT_ONCE", str),
    ("interval between log lines while no connection can be accepted", "network.listening._SAY_AGAIN", seconds),
    ("connections without an association, beyond the limits on associations", "network.server._ARRIVALS", str),
    ("sub-operations that are counted exactly", "messages.suboperations.MAXIMUM_COUNT", lambda count: str(count - 1)),
    ("interval between Pending responses of C-GET and C-MOVE", "services.retrieve_scp.PENDING_PACE", seconds),
    ("interval between Pending responses of a C-MOVE where nothing changes", "services.move_scp._KEEP_ALIVE", seconds),
    ("matches of an answer by which `find` divides a query", "services.finding_search.MAXIMUM_KNOWN", str),
    ("values that `find` knows to match a query", "services.finding_keys.MAXIMUM_REMEMBERED", str),
    ("cut answers in a row without a new match, to `find`", "services.finding_search._IN_VAIN", str),
    ("matches that `find` has ready for the caller", "services.finding._AHEAD", str),
    ("UIDs in a C-GET or C-MOVE request of `retrieve`", "services.bringing_requests._UIDS_AT_ONCE", str),
    ("files that `retrieve` looks at before it can be cancelled", "services.bringing_existing._AT_ONCE", str),
    ("an answer that is not DICOM, to `explain`", "network.probing.MAXIMUM_BANNER", "{} bytes".format),
    ("P-DATA-TF to `explain`", "network.probing.MAXIMUM_P_DATA", size),
    ("addresses of a host that `explain` tries", "services.explaining_connection.MAXIMUM_ADDRESSES", str),
    ("associations that `explain` requests", "services.explaining_association.MAXIMUM_ASKED", str),
    ("associations of `explain` at once", "services.explaining_answer.MAXIMUM_PARALLEL", str),
    ("pairs of AE titles that `explain` tries after a rejection", "services.explaining_titles.MAXIMUM_TITLES", str),
    ("names of a certificate that `explain` reports", "services.explaining_tls.MAXIMUM_NAMES", str),
    ("time of all steps of `explain`", "services.explaining.TOTAL_TIME", seconds),
    ("instances of a request for storage commitment, as SCU", "services.commitment.INSTANCES_PER_TRANSACTION", str),
    ("instances of such a request, as SCP", "services.commitment_scp.MAXIMUM_INSTANCES", str),
    ("such requests whose reports are not delivered", "services.commitment_scp.MAXIMUM_OPEN_TRANSACTIONS", str),
    ("instances of all of them", "services.commitment_scp.MAXIMUM_OPEN_INSTANCES", str),
    ("requests whose late reports are known, as SCU", "services.commitment_scu.REMEMBERED", str),
    ("instances of a batch that `Forwarder` sends", "services.forwarding_destination.BATCH", str),
    ("bytes after which such a batch has no further one", "services.forwarding_destination.BATCH_BYTES", size),
    ("instances of a destination whose refusals are counted", "services.forwarding_destination._REMEMBERED", str),
    ("files in a folder of a spool", "dataset.spool.FOLDER_SIZE", str),
    ("bytes that a spool leaves free on its disk, by default", "services.forwarding.MINIMUM_FREE", size),
    ("response times of `echo --repeat` whose median is shown", "cli.echo_repeated._REMEMBERED", str),
    ("pixels of an image that is printed", "dataset.print_pixels.MAX_PRINTED_PIXELS", str),
    ("images of a film", "services.film_layout.MAX_IMAGES", str),
    ("pixels of the picture of a film", "services.film_rendering.MAX_CANVAS", str),
    ("films that wait at a print server", "services.print_server.MAX_QUEUED_FILMS", str),
    ("bytes of their images, in all", "services.print_server.MAX_QUEUED_BYTES", size),
    ("bytes of the images that its SCUs have set", "services.print_server.MAX_HELD_BYTES", size),
    ("data set at a print server, without an image", "services.print_server.MAX_ATTRIBUTES", size),
    ("data set of a Presentation LUT", "services.print_server.MAX_LUT", size),
    ("characters of an attribute at a print server", "services.print_attributes.MAX_TEXT", str),
    ("print jobs whose states a print server remembers", "services.print_server.MAX_REMEMBERED_JOBS", str),
    ("print jobs whose events an SCU remembers", "services.print_following.MAX_EVENTS", str),
    ("longest interval between questions for a print job", "services.print_following.LONGEST_PAUSE", seconds),
    ("film boxes of an association with a print server", "services.print_session.MAX_FILM_BOXES", str),
    ("bytes of their images", "services.print_session.MAX_IMAGE_BYTES", size),
    ("presentation LUTs of such an association", "services.print_session.MAX_LUTS", str),
    ("entries of a presentation LUT", "services.print_image.MAX_LUT_ENTRIES", str),
    ("characters of a column of the index of `dimse node`", "node.keys.MAX_TEXT", str),
    ("characters of a word of a name in it", "node.keys.MAX_WORD", str),
    ("requests of a series in it", "node.keys.MAX_REQUESTS", str),
    ("value of an attribute of a study or series in it", "node.attributes.MAX_VALUE", size),
    ("sequence of a study or series in it", "node.attributes.MAX_SEQUENCE", size),
    ("rows of a query that `dimse node` reads at once", "node.finding.PAGE", str),
    ("UIDs of a query that it looks up at once", "node.matching.UIDS_AT_ONCE", str),
    ("values of a key in a condition of its index", "node.terms.MAX_VALUES", str),
    ('wild cards "*" in a condition of its index', "node.terms.MAX_STARS", str),
    ("studies of which a retrieval from it tells that files are missing", "node.retrieving.MAX_TOLD", str),
    ("values of a key above the level of a retrieval from it", "node.retrieve_keys.UIDS_AT_ONCE", str),
    ("studies of a procedure step in it", "node.procedure_steps.MAXIMUM_STUDIES", str),
    ("instances that a step lists, with each of its studies", "node.procedure_steps.MAXIMUM_LISTED", str),
    ("beginning of a file that it reads for a query", "node.found_rows.MAX_HEADER", size),
    ("instances that `dimse node` commits together", "node.batches.MAXIMUM_BATCH", str),
    ("empty files that it makes in advance", "node.incoming.PREPARED", str),
    ("time that the file of an instance is kept which was replaced", "node.duplicates.REPLACED_STAYS", seconds),
    ("jobs of a node at once", "node.jobs.AT_ONCE", str),
    ("longest pause between two attempts at a job", "node.jobs.MAXIMUM_PAUSE", seconds),
    ("characters that are kept of the reason why a job failed", "node.jobs.MAXIMUM_PROBLEM", str),
    ("line in the answer to a webhook", "node.webhooks.MAXIMUM_LINE", size),
    ("events that a node keeps", "node.events.MAXIMUM_EVENTS", str),
    ("procedure steps that a node keeps", "node.procedure_steps.MAXIMUM_STEPS", str),
    ("bytes of them, and of what they list", "node.procedure_steps.MAXIMUM_STEP_BYTES", size),
    ("studies whose senders a node remembers", "node.settling.MAXIMUM_WATCHED", str),
    ("studies that it settles in one transaction", "node.settling.PAGE", str),
    ("files that it deletes in one transaction", "node.deleting.AT_ONCE", str),
    ("files of a job that deletes", "node.removing.FILES_OF_A_JOB", str),
    ("queries of the index of a node at once", "node.index.READERS", str),
    ("time for which the index waits for another process, or for a connection", "node.index.BUSY", seconds),
    ("time after which a silent database server is gone", "node.index.SILENT", seconds),
    ("write-ahead log of SQLite that stays on the disk", "node.index.WAL_LEFT", size),
    (
        "SOP classes, transfer syntaxes and sources whose numbers are kept in memory, each",
        "node.shared_texts.MAXIMUM_TEXTS",
        str,
    ),
    ("pixels of a frame that the page of a node shows", "dataset.displaying.MAX_DISPLAYED_PIXELS", str),
    ("characters of a value among the tags on the page", "dataset.displaying.MAX_TEXT", str),
    ("elements and items of a tree of tags on the page", "dataset.displaying.MAX_ELEMENTS", str),
    ("processes that draw pictures for the page", "node.web.rendering.PROCESSES", str),
    ("time of a picture", "node.web.rendering.MAX_SECONDS", seconds),
    ("addresses of memory of a process that draws", "node.web.drawing.MAX_MEMORY", size),
    ("pictures that wait to be drawn", "node.web.rendering.MAX_WAITING", str),
    ("width and height of a picture", "node.web.rendering.MAX_SIZE", str),
    ("bytes of a picture, and of a tree of tags", "node.web.rendering.MAX_ANSWER", size),
    ("studies whose thumbnails are kept", "node.web.thumbnails.MAX_FOLDERS", str),
    ("connections of browsers at once", "node.web.app.MAX_CONNECTIONS", str),
    ("time in which a browser sends a request, or reads of a response", "node.web.connections.PATIENCE", seconds),
    ("body of a request of a browser", "node.web.login.MAX_BODY", size),
    ("wrong passwords of a host in a minute", "node.web.login.MAX_FAILURES", str),
    ("hosts whose wrong passwords are counted", "node.web.login.MAX_HOSTS", str),
    ("characters of a key of a search on the page", "node.web.api.MAX_KEY", str),
    ("series of a study, instances of a series on the page", "node.web.browsing.MAX_SHOWN", str),
    ("studies that a search of the page looks through first", "node.web.browsing.LOOK", str),
    ("interval between progress reports", "services.transfer_progress._REPORT_INTERVAL", seconds),
]


def named_limits() -> str:
    rows: list[tuple[object, ...]] = []
    for what, name, shown in _NAMED_LIMITS:
        module, _, constant = name.rpartition(".")
        value = getattr(importlib.import_module(f"dimse.{module}"), constant)
        rows.append((what, shown(value), f"`{module}.{constant}`"))
    return table(("what", "limit", "constant in `dimse`"), rows)


GENERATED: Final[dict[str, Callable[[], str]]] = {
    "identity": identity,
    "query-retrieve": query_retrieve,
    "information-models": information_models,
    "storage": storage,
    "native-syntaxes": native_syntaxes,
    "compressed-syntaxes": compressed_syntaxes,
    "timers": timers,
    "scp-statuses": scp_statuses,
    "scu-statuses": scu_statuses,
    "query-scp-statuses": query_scp_statuses,
    "query-scu-statuses": query_scu_statuses,
    "normalized-scp-statuses": normalized_scp_statuses,
    "commitment-statuses": commitment_statuses,
    "procedure-step-scp-statuses": procedure_step_scp_statuses,
    "limits": limits,
    "named-limits": named_limits,
    "rejections": rejections,
    "aborts": aborts,
}
_GENERATED_PART: Final = re.compile(r"(<!-- generated: ([a-z-]+) -->\n)(.*?)(<!-- end -->)", re.DOTALL)


def generated_parts() -> dict[str, str]:
    text = "".join(page.read_text(encoding="utf-8") for page in WITH_GENERATED_PARTS)
    return {match[2]: match[3].strip() + "\n" for match in _GENERATED_PART.finditer(text)}


@pytest.mark.parametrize("name", GENERATED)
def test_generated_tables_agree_with_src(name: str) -> None:
    assert generated_parts()[name] == GENERATED[name](), "run python tests/test_docs.py"


def test_there_are_no_other_generated_parts() -> None:
    assert set(generated_parts()) == set(GENERATED)


def source_of(*rooms: str) -> str:
    root = Path(dimse.__file__).parent
    files = [file for room in rooms for file in ((root / room).rglob("*.py") if "." not in room else [root / room])]
    return "\n".join(file.read_text(encoding="utf-8") for file in files)


def test_every_status_that_we_answer_is_in_the_statement() -> None:
    answered = re.findall(r"\bStatus\.([A-Z_]+)\b", source_of("services", "network", "cli"))
    assert set(answered) == set().union(
        _SCP_STATUSES,
        _QUERY_SCP_STATUSES,
        _NORMALIZED_SCP_STATUSES,
        _COMMITMENT_STATUSES,
        _PROCEDURE_STEP_SCP_STATUSES,
    )


def test_every_rejection_is_in_the_statement() -> None:
    source = source_of("network", "upper_layer")
    found = set(re.findall(r"A_ASSOCIATE_RJ\(result=(\d), source=(\d), reason=(\d)\)", source))
    in_loops = {("1", "1", "3"), ("1", "1", "7")}  # negotiation.violations makes these
    by_programs = {tuple(map(str, rejection.value)) for rejection in Rejection}
    assert found | in_loops | by_programs == {(str(a), str(b), str(c)) for a, b, c in _REJECTIONS}


def test_every_timer_is_in_the_statement() -> None:
    assert {timer.name for timer in fields(Timeouts)} == set(_TIMER_MEANINGS)


def test_every_abort_reason_is_in_the_statement() -> None:
    source = source_of("network", "upper_layer", "messages")
    found = {int(reason) for reason in re.findall(r"\breason=(\d)\)", re.sub(r"A_ASSOCIATE_RJ\(.*?\)", "", source))}
    found |= {int(number) for number in re.findall(r"INVALID_PARAMETER\b.*= (\d)", source)}
    assert found - {0} == set(_ABORTS)


def test_verification_query_retrieve_and_common_storage_are_what_connect_proposes() -> None:
    proposed = (uids.VERIFICATION, *uids.QUERY_RETRIEVE, *uids.COMMON_STORAGE)
    assert list(DEFAULT_CONTEXTS) == [(uid, uids.LITTLE_ENDIAN) for uid in proposed]


def write() -> None:
    """Rewrite the generated parts."""
    for page in WITH_GENERATED_PARTS:
        text = page.read_text(encoding="utf-8")
        text = _GENERATED_PART.sub(lambda match: f"{match[1]}\n{GENERATED[match[2]]()}\n{match[4]}", text)
        page.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    write()
