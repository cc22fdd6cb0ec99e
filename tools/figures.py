"""Measure the house: `python tools/figures.py` prints the figures, with `--places` also the places behind them.

The figures are those of src/dimse; how each is counted stands at its function. tests/test_figures.py holds the limits.
"""

from __future__ import annotations

import argparse
import ast
import io
import subprocess
import sys
import tokenize
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import median, quantiles
from typing import Final

ROOT: Final = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))  # if this file is run directly

from tools.import_graph import circles, import_graph, modules_in  # noqa: E402 - needs the path above

PACKAGE: Final = ROOT / "src" / "dimse"
TESTS: Final = ROOT / "tests"

Function = ast.FunctionDef | ast.AsyncFunctionDef

BRANCHES: Final = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.match_case,
    ast.comprehension,
)
BLOCKS: Final = (ast.If, ast.For, ast.AsyncFor, ast.While, ast.With, ast.AsyncWith, ast.Try, ast.TryStar, ast.Match)


@dataclass(frozen=True, order=True)
class Place:
    """Where something is, and how much of it."""

    value: int
    module: str
    name: str
    line: int

    def __str__(self) -> str:
        return f"{self.module}:{self.line}  {self.name}  {self.value}"


@dataclass(frozen=True)
class Module:
    """A file of the package."""

    name: str
    path: Path

    @cached_property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.source)

    @cached_property
    def nodes(self) -> list[ast.AST]:
        return list(ast.walk(self.tree))

    @cached_property
    def tokens(self) -> list[tokenize.TokenInfo]:
        return list(tokenize.generate_tokens(io.StringIO(self.source).readline))

    @cached_property
    def functions(self) -> list[tuple[str, Function]]:
        """All functions and methods with their qualified names, nested ones too."""
        return list(_functions(self.tree, ""))

    @cached_property
    def classes(self) -> list[ast.ClassDef]:
        return [node for node in self.nodes if isinstance(node, ast.ClassDef)]

    def place(self, value: int, name: str, node: Function | ast.ClassDef | ast.expr) -> Place:
        return Place(value, self.name, name, node.lineno)


def _functions(node: ast.AST, prefix: str) -> Iterator[tuple[str, Function]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, Function):
            yield prefix + child.name, child
        inner = f"{prefix}{child.name}." if isinstance(child, Function | ast.ClassDef) else prefix
        yield from _functions(child, inner)


def _measured(modules: Iterable[Module], measure: Callable[[Function], int]) -> list[Place]:
    return [
        module.place(measure(function), name, function) for module in modules for name, function in module.functions
    ]


# Functions


def lengths(modules: Iterable[Module]) -> list[Place]:
    """The lines of each function, from its `def` to its end, without the docstring: that is read by users."""
    return _measured(modules, _length)


def _length(function: Function) -> int:
    docstring = function.body[0] if ast.get_docstring(function) is not None else None
    of_docstring = 0 if docstring is None else (docstring.end_lineno or 0) - docstring.lineno + 1
    return (function.end_lineno or 0) - function.lineno + 1 - of_docstring


def complexities(modules: Iterable[Module]) -> list[Place]:
    """One for each function, and one for each branch, loop, handler, case, comprehension and `and` or `or` in it.

    A function in it counts for itself.
    """
    return _measured(modules, complexity)


def complexity(function: Function) -> int:
    def count(node: ast.AST) -> int:
        own = isinstance(node, BRANCHES) + (len(node.values) - 1 if isinstance(node, ast.BoolOp) else 0)
        return own + sum(count(child) for child in ast.iter_child_nodes(node) if not isinstance(child, Function))

    return 1 + count(function)


def depths(modules: Iterable[Module]) -> list[Place]:
    """How deep the blocks of each function are nested; an `elif` is as deep as its `if`."""
    return _measured(modules, depth)


def depth(function: Function) -> int:
    def deepest(statements: Iterable[ast.AST], level: int) -> int:
        found = level
        for node in statements:
            if isinstance(node, Function | ast.ClassDef):
                continue
            inner = level + isinstance(node, BLOCKS)
            for field, value in ast.iter_fields(node):
                if (
                    isinstance(value, list)
                    and value
                    and isinstance(value[0], ast.stmt | ast.ExceptHandler | ast.match_case)
                ):
                    is_elif = isinstance(node, ast.If) and field == "orelse" and isinstance(value[0], ast.If)
                    found = max(found, deepest(value, level if is_elif else inner))
        return found

    return deepest(function.body, 0)


def parameters(modules: Iterable[Module]) -> list[Place]:
    """The parameters of each function, without `self` and `cls`."""
    return _measured(modules, count_parameters)


def count_parameters(function: Function) -> int:
    arguments = function.args
    named = [each.arg for each in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]
    return len([name for name in named if name not in ("self", "cls")]) + sum(
        each is not None for each in (arguments.vararg, arguments.kwarg)
    )


# Classes


def flags(modules: Iterable[Module]) -> list[Place]:
    """Each attribute that starts as True or False: in a constructor, or as a field of a dataclass that can change."""
    return [
        module.place(1, f"{owner.name}.{name}", node)
        for module in modules
        for owner in module.classes
        for name, node in _flags_of(owner)
    ]


def _flags_of(owner: ast.ClassDef) -> Iterator[tuple[str, ast.expr]]:
    for statement in owner.body:
        if isinstance(statement, Function) and statement.name in ("__init__", "__post_init__"):
            for target, value in _assignments(statement):
                if isinstance(target, ast.Attribute) and _is_self(target.value) and _is_boolean(value):
                    yield target.attr, target
        elif isinstance(statement, ast.AnnAssign) and _can_change(owner) and _is_boolean(statement.value):
            yield ast.unparse(statement.target), statement.target


def _can_change(owner: ast.ClassDef) -> bool:
    """Whether it is a dataclass that is not frozen."""
    decorators = [ast.unparse(decorator) for decorator in owner.decorator_list]
    return any(each.startswith("dataclass") and "frozen=True" not in each for each in decorators)


def _assignments(node: ast.AST) -> Iterator[tuple[ast.expr, ast.expr | None]]:
    """Each single target with its value: also those of `a = b = x` and of `a, b = x, y`."""
    for each in ast.walk(node):
        if isinstance(each, ast.AnnAssign):
            yield each.target, each.value
        elif isinstance(each, ast.Assign):
            for target in each.targets:
                if isinstance(target, ast.Tuple) and isinstance(each.value, ast.Tuple):
                    yield from zip(target.elts, each.value.elts, strict=False)
                else:
                    yield target, each.value


def _is_self(node: ast.expr) -> bool:
    return isinstance(node, ast.Name) and node.id in ("self", "cls")


def _is_boolean(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, bool)


def class_sizes(modules: Iterable[Module]) -> list[Place]:
    """The lines of each class."""
    return [
        module.place((owner.end_lineno or 0) - owner.lineno + 1, owner.name, owner)
        for module in modules
        for owner in module.classes
    ]


def public_names(modules: Iterable[Module], module_name: str, class_name: str) -> list[str]:
    """The methods, properties and attributes of a class whose names have no underscore."""
    owner = next(
        owner
        for module in modules
        if module.name == module_name
        for owner in module.classes
        if owner.name == class_name
    )
    names = {each.name for each in owner.body if isinstance(each, Function)}
    for target, _ in _assignments(owner):
        if isinstance(target, ast.Attribute) and _is_self(target.value):
            names.add(target.attr)
        elif isinstance(target, ast.Name) and any(getattr(each, "target", None) is target for each in owner.body):
            names.add(target.id)
    return sorted(name for name in names if not name.startswith("_"))


def private_uses(modules: Iterable[Module]) -> list[Place]:
    """Each use of a name that begins with an underscore, of anything but `self`, `cls` and `super()`."""
    return [
        module.place(1, ast.unparse(node), node)
        for module in modules
        for node in module.nodes
        if isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.endswith("__")
        if not _is_self(node.value) and ast.unparse(node.value) != "super()"
    ]


# Files, tests, history


def untested_modules(modules: Iterable[Module]) -> list[str]:
    """The modules without a test file of their name in the tests of their room; `__init__` and `__main__` need none."""
    tests = {path.relative_to(TESTS).as_posix() for path in TESTS.rglob("test_*.py")}
    untested = []
    for module in modules:
        relative = module.path.relative_to(PACKAGE)
        if (
            not module.path.name.startswith("__")
            and (relative.parent / f"test_{relative.name}").as_posix() not in tests
        ):
            untested.append(module.name)
    return untested


def lines_of_code(module: Module) -> int:
    """The lines with code: neither blank nor only comment or docstring."""
    return len(_lines_with_tokens(module) - _docstring_lines(module))


def _lines_with_tokens(module: Module) -> set[int]:
    nothing = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT, tokenize.ENDMARKER}
    return {
        line for token in module.tokens if token.type not in nothing for line in range(token.start[0], token.end[0] + 1)
    }


def _docstring_lines(module: Module) -> set[int]:
    return {
        line
        for node in module.nodes
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for line in range(node.lineno, (node.end_lineno or 0) + 1)
    }


def own_line_comments(module: Module) -> int:
    """The lines with a comment and nothing else."""
    return sum(token.type == tokenize.COMMENT and token.line.lstrip().startswith("#") for token in module.tokens)


def long_subjects() -> list[str]:
    """The commits whose subjects are over 72 columns; empty without a history."""
    command = ["git", "-C", str(ROOT), "log", "--format=%h %s"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return [line for line in done.stdout.splitlines() if len(line.partition(" ")[2]) > 72]


# The table


@dataclass(frozen=True)
class Figure:
    """A row of the table."""

    name: str
    value: float
    limit: int | None = None
    places: tuple[object, ...] = ()


def figures() -> list[Figure]:
    """All figures, with the places that a reader would look at."""
    modules = [Module(name, path) for name, path in modules_in(PACKAGE).items()]
    return [*_of_imports(), *_of_functions(modules), *_of_classes(modules), *_of_files(modules)]


def _of_imports() -> Iterator[Figure]:
    for kind, graph in (
        ("at run time", import_graph(PACKAGE, type_only=False)),
        ("type-only imports included", import_graph(PACKAGE)),
    ):
        found = tuple(" <-> ".join(sorted(circle)) for circle in circles(graph))
        yield Figure(f"import circles, {kind}", len(found), 0, found)


def _of_functions(modules: list[Module]) -> Iterator[Figure]:
    all_lengths, all_complexities = lengths(modules), complexities(modules)
    sizes = [place.value for place in all_lengths]
    yield Figure("median function, in lines", median(sizes))
    yield Figure("90th percentile of functions, in lines", quantiles(sizes, n=10)[-1])
    yield Figure("longest function, in lines", max(sizes), 50, _over(all_lengths, 50))
    worst = max(place.value for place in all_complexities)
    yield Figure("worst complexity of a function", worst, 12, _over(all_complexities, 12))
    yield Figure("complexity over 10, per 1000 functions", 1000 * len(_over(all_complexities, 10)) / len(sizes))
    deep, broad = _over(depths(modules), 3), _over(parameters(modules), 6)
    yield Figure("functions nested deeper than 3", len(deep), places=deep)
    yield Figure("functions with more than 6 parameters", len(broad), places=broad)


def _of_classes(modules: list[Module]) -> Iterator[Figure]:
    found, sizes = flags(modules), class_sizes(modules)
    owners = {(flag.module, flag.name.rpartition(".")[0]) for flag in found}
    yield Figure("boolean state flags", len(found), 15, tuple(found))
    yield Figure("classes with boolean state flags", len(owners))
    names = public_names(modules, "dimse.network.association", "Association")
    yield Figure("public names of Association", len(names), 17, tuple(names))
    yield Figure("largest class, in lines", max(sizes).value, places=_over(sizes, 300))
    others = private_uses(modules)
    yield Figure("uses of another object's private name", len(others), places=tuple(others))


def _of_files(modules: list[Module]) -> Iterator[Figure]:
    code = sum(lines_of_code(module) for module in modules)
    sizes = [len(module.source.splitlines()) for module in modules]
    yield Figure("files", len(modules))
    yield Figure("lines", sum(sizes))
    yield Figure("lines of code", code)
    yield Figure("median file, in lines", median(sizes))
    yield Figure("longest file, in lines", max(sizes))
    yield Figure("own-line comments, per 1000 lines of code", 1000 * sum(map(own_line_comments, modules)) / code)
    untested = untested_modules(modules)
    yield Figure("modules without a test file of their name", len(untested), 10, tuple(untested))
    subjects = long_subjects()
    yield Figure("commit subjects over 72 columns", len(subjects), places=tuple(subjects))


def _over(places: Iterable[Place], limit: int) -> tuple[Place, ...]:
    return tuple(sorted((place for place in places if place.value > limit), reverse=True))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--places", action="store_true", help="list the places behind each figure")
    with_places = parser.parse_args().places
    for figure in figures():
        limit = "" if figure.limit is None else f"  at most {figure.limit}"
        print(f"{figure.name:45}{figure.value:7.0f}{limit}")
        if with_places:
            for place in figure.places:
                print(f"    {place}")


if __name__ == "__main__":
    main()
