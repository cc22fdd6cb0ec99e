"""The figures of `make figures` stay within their limits, and count what they say."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import figures
from tools.figures import Module
from tools.import_graph import circles


def test_all_figures_are_within_their_limits() -> None:
    over = {
        figure.name: (figure.value, figure.places)
        for figure in figures.figures()
        if figure.limit is not None and figure.value > figure.limit
    }
    assert not over


SOURCE = '''
"""A module."""

from dataclasses import dataclass


# Two comments on lines of their own,
# and one that is not.
class Machine:
    def __init__(self, a, b, *c, d=1, **e):
        """Not code."""
        self.name = a  # a comment
        self._one = self._two = False
        self.three, self.four = True, 4
        b._five = super()._six

    @property
    def state(self):
        def inner(x):
            return [y for y in x if y and y > 1]
        for each in inner([]):
            if each:
                with each:
                    try:
                        pass
                    except ValueError:
                        return 1 if each else 2
            elif not each:
                pass


@dataclass
class Record:
    is_open: bool = True
    size: int = 0


@dataclass(frozen=True)
class Option:
    strict: bool = True
'''


@pytest.fixture
def module(tmp_path: Path) -> Module:
    path = tmp_path / "machine.py"
    path.write_text(SOURCE)
    return Module("dimse.machine", path)


def test_functions_are_measured(module: Module) -> None:
    measured = [
        {place.name.rpartition(".")[2]: place.value for place in measure([module])}
        for measure in (figures.lengths, figures.complexities, figures.depths, figures.parameters)
    ]
    assert measured == [
        {"__init__": 5, "state": 12, "inner": 2},
        {"__init__": 1, "state": 6, "inner": 3},
        {"__init__": 0, "state": 4, "inner": 0},
        {"__init__": 5, "state": 0, "inner": 1},
    ]


def test_flags_are_what_starts_as_true_or_false_and_can_change(module: Module) -> None:
    names = [place.name for place in figures.flags([module])]
    assert names == ["Machine._one", "Machine._two", "Machine.three", "Record.is_open"]


def test_public_names_are_methods_properties_and_attributes(module: Module) -> None:
    assert figures.public_names([module], "dimse.machine", "Machine") == ["four", "name", "state", "three"]
    assert figures.public_names([module], "dimse.machine", "Record") == ["is_open", "size"]


def test_private_names_of_others_are_seen(module: Module) -> None:
    assert [place.name for place in figures.private_uses([module])] == ["b._five"]


def test_lines_of_code_are_neither_comment_nor_docstring(module: Module) -> None:
    assert figures.own_line_comments(module) == 2
    assert figures.lines_of_code(module) == 27


def test_a_module_without_its_test_is_named() -> None:
    there = Module("dimse.dataset.part10", figures.PACKAGE / "dataset" / "part10.py")
    gone = Module("dimse.network.part10", figures.PACKAGE / "network" / "part10.py")
    assert figures.untested_modules([there, gone]) == ["dimse.network.part10"]


def test_modules_that_import_one_another_are_a_circle() -> None:
    graph = {
        name: frozenset(imported) for name, imported in {"a": "b", "b": "c", "c": "b", "d": "ae", "e": "d"}.items()
    }
    assert circles(graph) == [{"b", "c"}, {"d", "e"}]
