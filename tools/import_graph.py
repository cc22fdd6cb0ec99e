"""The graph of the imports between the modules of a package, read from the sources."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

Graph = Mapping[str, frozenset[str]]
"""The modules that each module imports, both by their dotted names."""


def module_name(path: Path, root: Path) -> str:
    """The dotted name of a file of the package in `root`.

    >>> module_name(Path("src/dimse/dataset/__init__.py"), Path("src/dimse"))
    'dimse.dataset'
    """
    parts = path.relative_to(root.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def modules_in(root: Path) -> dict[str, Path]:
    """The files of the package in `root` by their dotted names."""
    return {module_name(path, root): path for path in sorted(root.rglob("*.py"))}


def imports_of(tree: ast.Module) -> Iterator[tuple[str, bool]]:
    """The dotted names that a module imports anywhere, each with whether only type checkers see the import.

    `from a import b` yields "a.b", which may be a module or a name in one.
    """
    for_types: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test).endswith("TYPE_CHECKING"):
            for_types.update(inner for statement in node.body for inner in ast.walk(statement))
        if isinstance(node, ast.Import):
            yield from ((alias.name, node in for_types) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            if node.level:
                raise ValueError(f"imports must be absolute, not {ast.unparse(node)}")
            yield from ((f"{node.module}.{alias.name}", node in for_types) for alias in node.names)


@cache
def import_graph(root: Path, *, type_only: bool = True) -> Graph:
    """The graph of the package in `root`: imports in functions count; those for type checkers only with `type_only`."""
    modules = modules_in(root)
    return {
        name: frozenset(_targets(ast.parse(path.read_text(encoding="utf-8")), modules, type_only=type_only))
        for name, path in modules.items()
    }


def _targets(tree: ast.Module, modules: Mapping[str, Path], *, type_only: bool) -> Iterator[str]:
    for imported, for_types in imports_of(tree):
        if for_types and not type_only:
            continue
        package = imported.rpartition(".")[0]
        if imported in modules:
            yield imported
        elif package in modules:
            yield package


def circles(graph: Graph) -> list[frozenset[str]]:
    """The sets of modules that import one another, directly or through others."""
    reachable = {name: _reachable_from(name, graph) for name in graph}
    found = {
        frozenset({name, *(other for other in reachable[name] if name in reachable[other])})
        for name in graph
        if name in reachable[name]
    }
    return sorted(found, key=sorted)


def _reachable_from(start: str, graph: Graph) -> set[str]:
    reached: set[str] = set()
    waiting = list(graph[start])
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += graph[name]
    return reached
