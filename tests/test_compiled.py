"""The modules that are compiled where the installation asks for it (pyproject.toml)."""

from __future__ import annotations

import ast
import importlib
import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

PYPROJECT = Path(__file__).parents[1] / "pyproject.toml"


def compiled_modules() -> list[str]:
    build = tomllib.loads(PYPROJECT.read_text(encoding="utf-8"))["tool"]["hatch"]["build"]
    included: list[str] = build["targets"]["wheel"]["hooks"]["mypyc"]["include"]
    return [path.removeprefix("/src/").removesuffix(".py").replace("/", ".") for path in included]


@pytest.mark.parametrize("name", compiled_modules())
def test_compiled_is_what_was_to_be_compiled(name: str) -> None:
    file = importlib.import_module(name).__file__
    assert file is not None
    assert file.endswith(".py") != (os.environ.get("DIMSE_COMPILED") == "true")


def test_the_command_line_says_what_it_is() -> None:
    shown = subprocess.run(
        [sys.executable, "-m", "dimse", "--version"], capture_output=True, text=True, check=True
    ).stdout
    assert shown.endswith(", compiled\n") == (os.environ.get("DIMSE_COMPILED") == "true")


def unsafe(tree: ast.AST) -> list[ast.AST]:
    """What suspends a function while an exception may be handled in it, or raises one from another."""
    return [
        node
        for node in ast.walk(tree)
        if isinstance(node, ast.AsyncFunctionDef | ast.YieldFrom) or (isinstance(node, ast.Raise) and node.cause)
    ] + [
        inner
        for node in ast.walk(tree)
        if isinstance(node, ast.Try | ast.TryStar | ast.With)
        for inner in ast.walk(node)
        if isinstance(inner, ast.Yield)
    ]


@pytest.mark.parametrize("name", compiled_modules())
def test_nothing_that_is_compiled_does_what_mypyc_does_wrong(name: str) -> None:
    source = PYPROJECT.parent / "src" / Path(*name.split(".")).with_suffix(".py")
    assert unsafe(ast.parse(source.read_text(encoding="utf-8"))) == []


def test_what_mypyc_does_wrong_is_seen() -> None:
    assert unsafe(ast.parse("async def f():\n    pass"))
    assert unsafe(ast.parse("def f():\n    try:\n        yield\n    finally:\n        g()"))
    assert unsafe(ast.parse("try:\n    f()\nexcept ValueError:\n    raise KeyError from None"))
