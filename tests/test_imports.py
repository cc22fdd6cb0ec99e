"""The import rule of the house: every import points down, no modules import one another, and the pure rooms stay pure.

Imports in functions and imports for type checkers count like all others.
"""

from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from tools.import_graph import circles, import_graph, imports_of

import dimse
from tests.ports import free_port

ROOT = Path(dimse.__file__).parent

# From the bottom to the top; a room imports from the rooms before it, and from itself.
ORDER = (
    ("version",),
    ("uids", "status", "log_limit", "callbacks", "records", "programs"),
    ("errors",),
    ("upper_layer",),
    ("messages",),
    ("address", "tls"),
    ("access", "audit", "events", "rate_limit"),
    ("options", "dataset"),
    ("network",),
    ("configuration",),
    ("services",),
    ("node",),
    ("sync", "testing"),
    ("pytest_plugin",),
    ("__init__",),
    ("cli",),
    ("demo",),
    ("__main__",),
)
RANK = {room: rank for rank, rooms in enumerate(ORDER) for room in rooms}

PURE = {"upper_layer", "messages"}
IMPURE_MODULES = {"asyncio", "socket", "ssl", "threading", "time", "pydicom", "select", "selectors", "concurrent", "os"}

# The command line and the demo are users of the library: they make objects and draw them as any program would.
PYDICOM_DOORS = {"dataset", "uids", "testing", "cli", "demo"}

FILES = sorted(ROOT.rglob("*.py"))


def room_of(module: tuple[str, ...]) -> str:
    """The first part below `dimse`: a folder or a file."""
    return module[0] if module else "__init__"


def below_dimse(module: str) -> tuple[str, ...] | None:
    parts = tuple(module.split("."))
    return parts[1:] if parts[0] == "dimse" else None


def problems_of(path: str, source: str) -> list[str]:
    """The imports of a file that break the rule; `path` is relative to the package."""
    room = room_of(tuple(path.removesuffix(".py").split("/")))
    problems = []
    for module, _ in imports_of(ast.parse(source)):
        target, top = below_dimse(module), module.split(".")[0]
        if target is not None:
            other = room_of(target)
            other = other if other in RANK else "__init__"
            if other != room and RANK[other] >= RANK[room]:
                problems.append(f"{path}: {room} imports {module}")
        elif room in PURE and top in IMPURE_MODULES:
            problems.append(f"{path}: pure, but imports {module}")
        elif top == "pydicom" and room not in PYDICOM_DOORS:
            problems.append(f"{path}: imports {module}, whose door is dataset")
    return problems


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_import_points_down(path: Path) -> None:
    assert problems_of(path.relative_to(ROOT).as_posix(), path.read_text(encoding="utf-8")) == []


@pytest.mark.parametrize(
    ("path", "source"),
    [
        ("upper_layer/pdu.py", "import asyncio"),
        ("messages/command_set.py", "def late():\n    import time"),
        ("messages/command_set.py", "from pydicom.uid import UID"),
        ("upper_layer/pdu.py", "from dimse.messages.message import Message"),
        ("network/server.py", "from dimse.services.store_scp import StoreService"),
        ("network/server.py", "import pydicom"),
        ("uids.py", "from dimse.dataset import decode"),
        ("options.py", "from dimse import network"),
        ("address.py", "from dimse.options import Timeouts"),
        ("services/store_scp.py", "from dimse.cli import main"),
        ("services/store_scp.py", "from dimse import send"),
    ],
)
def test_the_rule_is_seen_to_be_broken(path: str, source: str) -> None:
    assert len(problems_of(path, source)) == 1


def test_no_modules_import_one_another() -> None:
    assert circles(import_graph(ROOT)) == []


def test_a_circle_is_seen() -> None:
    graph = {**import_graph(ROOT), "dimse.uids": frozenset({"dimse.services.server"})}
    (circle,) = circles(graph)
    assert {"dimse.uids", "dimse.services.server", "dimse.network.session"} <= circle


def test_no_room_has_a_forbidden_name() -> None:
    names = {part.removesuffix(".py") for path in FILES for part in path.relative_to(ROOT).parts}
    assert not names & {"util", "utils", "common", "helpers", "misc", "base", "core", "types"}
    assert {room_of(tuple(path.relative_to(ROOT).with_suffix("").parts)) for path in FILES} <= RANK.keys()


def test_the_public_names_are_there_once() -> None:
    assert len(set(dimse.__all__)) == len(dimse.__all__)
    module = importlib.import_module("dimse")
    assert [name for name in dimse.__all__ if not hasattr(module, name)] == []


@pytest.mark.parametrize("package", ["dimse"])
def test_lazy_names_are_those_that_a_type_checker_sees(package: str) -> None:
    module = importlib.import_module(package)
    assert module.__file__ is not None
    tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
    seen = {alias.name for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names}
    assert seen - {"annotations", "import_module", "TYPE_CHECKING", "Final", "__version__"} == set(module.__all__)
    assert set(module._HOME_OF) == set(module.__all__)
    for name in module.__all__:
        assert getattr(module, name).__class__ is not type(module), f"{name} is hidden by the module of that name"


def test_sending_files_does_without_pydicom() -> None:
    """Importing it takes longer than to send a hundred small objects."""
    code = """
import asyncio, sys, dimse
async def main(address, path):
    try:
        await dimse.send(address, path, retry=dimse.RetryPolicy(retries=0))
    except dimse.ConnectionLost:
        assert not {'pydicom', 'dimse.audit', 'dimse.events'} & sys.modules.keys()
        return
    assert False, 'somebody listens'
asyncio.run(main(*sys.argv[1:]))
"""
    path = str(get_testdata_file("CT_small.dcm", download=False))
    command = [sys.executable, "-c", code, f"A@127.0.0.1:{free_port()}", path]
    subprocess.run(command, check=True)  # noqa: S603 - it is our own
