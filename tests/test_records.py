"""Records are what frozen dataclasses are."""

from __future__ import annotations

import copy
import inspect
import pickle
import pydoc
from collections.abc import Callable
from dataclasses import FrozenInstanceError, dataclass, field, fields, replace
from typing import Any

import pytest

from dimse.records import record


@record()
class Point:
    x: int
    y: int = 2
    note: str = field(default="", compare=False, repr=False)


@record(kw_only=True)
class Named(Point):
    name: str = "n"


@record()
class Secret:
    value: bytes

    def __repr__(self) -> str:
        return "Secret()"


@record(kw_only=True)
class Basket:
    items: list[str] = field(default_factory=list)
    size: int = 1

    def __post_init__(self) -> None:
        if self.size < 1:
            raise ValueError("size must be at least 1")
        object.__setattr__(self, "items", [*self.items, "bag"])


class Larger(Basket):
    """As a user may make it."""


@dataclass(frozen=True)
class Model:
    """What `Point` would be as a dataclass."""

    x: int
    y: int = 2
    note: str = field(default="", compare=False, repr=False)


def test_a_record_is_made_shown_and_compared_as_a_frozen_dataclass() -> None:
    for arguments in ((1,), (1, 3), (1, 3, "a")):
        assert repr(Point(*arguments)) == repr(Model(*arguments)).replace("Model", "Point")
    assert Point(1) == Point(x=1, y=2, note="other")
    assert hash(Point(1)) == hash(Point(1, 2, "other"))
    assert len({Point(1), Point(1), Point(2)}) == 2
    others: list[object] = [Model(1), Secret(b""), 1]
    assert Point(1) not in others
    assert [each.name for each in fields(Point)] == ["x", "y", "note"]
    assert replace(Point(1), y=5) == Point(1, 5)
    assert copy.deepcopy(Point(1, 2, "a")).note == "a"
    assert pickle.loads(pickle.dumps(Point(1, 3))) == Point(1, 3)  # noqa: S301 - our own
    assert repr(Secret(b"secret")) == "Secret()"


def test_a_record_cannot_be_changed() -> None:
    point: Any = Point(1)
    with pytest.raises(FrozenInstanceError, match="cannot assign to field 'x'"):
        point.x = 2
    with pytest.raises(FrozenInstanceError, match="cannot delete field 'x'"):
        del point.x


@pytest.mark.parametrize(
    ("values", "named"),
    [((), {}), ((), {"y": 1}), ((1,), {"x": 1}), ((1, 2, "", 4), {}), ((1,), {"z": 1}), ((), {"z": 1, "y": 1})],
)
def test_wrong_arguments(values: tuple[Any, ...], named: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"Point\(\) has "):
        Point(*values, **named)


def test_fields_by_name_alone() -> None:
    assert Named(x=1, name="a").y == 2
    with pytest.raises(TypeError, match="positional"):
        Named(1)


def test_a_field_may_have_a_factory_and_a_record_checks_itself() -> None:
    first, second = Basket(), Larger(size=2)
    assert first.items == second.items == ["bag"]
    first.items.append("apple")
    assert Basket().items == ["bag"]
    assert Basket(items=["pear"]).items == ["pear", "bag"]
    assert Larger(size=2) == second != Basket(size=2)
    makes: list[Callable[[], object]] = [lambda: Basket(size=0), lambda: Larger(size=0), lambda: replace(first, size=0)]
    for make in makes:
        with pytest.raises(ValueError, match="size must be at least 1"):
            make()


def test_help_shows_the_parameters() -> None:
    assert inspect.signature(Point) == inspect.signature(Model).replace(return_annotation=inspect.Signature.empty)
    assert str(inspect.signature(Named)) == "(*, x: 'int', y: 'int' = 2, note: 'str' = '', name: 'str' = 'n')"
    assert "Basket(*, items: 'list[str]' = [], size: 'int' = 1)" in pydoc.plain(pydoc.render_doc(Basket))
