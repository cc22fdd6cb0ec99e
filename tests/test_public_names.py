"""Every type in a public signature can be imported from `dimse`.

Annotations are read from the source: so type aliases and names that only a type checker imports count as well.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

import dimse

ROOT = Path(dimse.__file__).parent
HOMES: dict[str, str] = vars(dimse)["_HOME_OF"]

MADE_BY_THE_LIBRARY = {
    "Association",
    "ClaimedUPS",
    "FindResults",
    "Finding",
    "GetResults",
    "MoveResults",
    "PendingCommitment",
    "IncomingRequest",
    "QueryRequest",
    "StoreRequest",
    "UPSClaims",
}
"""Classes whose instances a program gets and does not make: their constructors are not public."""

Function = ast.FunctionDef | ast.AsyncFunctionDef


@cache
def module_of(name: str) -> dict[str, ast.stmt | str]:
    """What a module defines, and from which module of ours it imports other names."""
    path = ROOT.joinpath(*name.split(".")[1:])
    path = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    names: dict[str, ast.stmt | str] = {}
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module is not None and node.module.split(".")[0] == "dimse":
            names |= {alias.asname or alias.name: node.module for alias in node.names}
        elif isinstance(node, Function | ast.ClassDef):
            names.setdefault(node.name, node)
        elif isinstance(node, ast.Assign | ast.AnnAssign):
            targets = node.targets if isinstance(node, ast.Assign) else [node.target]
            names |= {target.id: node for target in targets if isinstance(target, ast.Name)}
    return names


def definition(name: str, module: str) -> tuple[ast.stmt | None, str]:
    """Where a name that a module uses is defined; None if that is not in the library."""
    found = module_of(module).get(name)
    while isinstance(found, str):
        module, found = found, module_of(found).get(name)
    return found, module


def names_in(annotation: ast.expr | None) -> Iterator[str]:
    for node in () if annotation is None else ast.walk(annotation):
        if isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and node.value.isprintable():
            yield from re.findall(r"\b[A-Za-z_]\w*", node.value)


def in_function(function: Function) -> Iterator[str]:
    arguments = function.args
    for argument in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs, arguments.vararg, arguments.kwarg):
        if argument is not None:
            yield from names_in(argument.annotation)
    yield from names_in(function.returns)


def in_attributes(constructor: Function) -> Iterator[str]:
    """The types of the public attributes that a constructor sets."""
    arguments = (*constructor.args.args, *constructor.args.kwonlyargs)
    annotations = {argument.arg: argument.annotation for argument in arguments}
    for node in ast.walk(constructor):
        if isinstance(node, ast.AnnAssign) and is_public_attribute(node.target):
            yield from names_in(node.annotation)
        elif isinstance(node, ast.Assign) and any(map(is_public_attribute, node.targets)):
            yield from names_in(annotations.get(node.value.id) if isinstance(node.value, ast.Name) else None)


def is_public_attribute(target: ast.expr) -> bool:
    return isinstance(target, ast.Attribute) and not target.attr.startswith("_")


def in_class(node: ast.ClassDef, module: str, *, constructor: bool) -> Iterator[tuple[str, str]]:
    """The names in the public interface of a class and its bases, each with the module that uses it."""
    for base in node.bases:
        found, home = definition(next(names_in(base)), module)
        if isinstance(found, ast.ClassDef):
            yield from in_class(found, home, constructor=constructor)
        elif found is not None and not next(names_in(base)).startswith("_"):
            yield next(names_in(base)), module
    for member in node.body:
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name):
            if not member.target.id.startswith("_"):
                yield from ((name, module) for name in names_in(member.annotation))
        elif isinstance(member, Function):
            if member.name == "__init__":
                yield from ((name, module) for name in in_attributes(member))
            is_public = not member.name.startswith("_") or member.name in ("__init__", "__aiter__", "__anext__")
            if is_public and (constructor or member.name != "__init__"):
                yield from ((name, module) for name in in_function(member))


def is_type_variable(node: ast.stmt) -> bool:
    value = getattr(node, "value", None)
    return (
        isinstance(value, ast.Call) and isinstance(value.func, ast.Name) and value.func.id in ("TypeVar", "ParamSpec")
    )


def unexported(name: str) -> set[str]:
    """Names of the library in the interface of a public name that are not public."""
    node, module = definition(name, HOMES[name])
    if isinstance(node, ast.ClassDef):
        used = set(in_class(node, module, constructor=name not in MADE_BY_THE_LIBRARY))
    elif isinstance(node, Function):
        used = {(each, module) for each in in_function(node)}
    else:
        return set()
    missing = set()
    for each, where in used:
        found, _ = definition(each, where)
        if found is not None and not is_type_variable(found) and each not in dimse.__all__:
            missing.add(each)
    return missing


@pytest.mark.parametrize("name", sorted(HOMES))
def test_types_in_the_interface_of(name: str) -> None:
    assert unexported(name) == set()


def test_an_unexported_type_is_found() -> None:
    """By a signature, an attribute, a property and a base class; an alias counts."""
    source = ast.parse(
        "class Public(Base):\n"
        "    field: A\n"
        "    def __init__(self, b: B, c: C) -> None:\n"
        "        self.attribute = b\n"
        "        self._hidden = c\n"
        "    @property\n"
        "    def prop(self) -> list[D]: ...\n"
        "    async def method(self, e: 'E | None' = None) -> None: ...\n"
        "    def _private(self, f: F) -> None: ...\n"
    ).body[0]
    assert isinstance(source, ast.ClassDef)
    used = {name for name, _ in in_class(source, "dimse.errors", constructor=True)}
    assert {"A", "B", "C", "D", "E"} <= used
    assert "F" not in used


def test_public_modules_need_no_import_of_their_own() -> None:
    program = "import dimse; dimse.sync.send, dimse.testing.FakeArchive, dimse.uids.LITTLE_ENDIAN"
    subprocess.run([sys.executable, "-c", program], check=True)  # noqa: S603 - of our own
