"""Records: frozen dataclasses that are made quickly.

For each class, `dataclasses` writes and compiles the source of six methods. For the messages and the PDUs that takes
longer than to send a file. Here all classes share the methods, and the rest is left to `dataclasses`: `fields`,
`replace` and type checkers know records as what they are.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import Any, Final, NoReturn, TypeVar, dataclass_transform

T = TypeVar("T")

_LAYOUTS: Final[dict[type, _Layout]] = {}


class _Layout:
    """The fields of a record."""

    def __init__(self, cls: Any, *, kw_only: bool) -> None:
        known = fields(cls)
        self.names = frozenset(each.name for each in known)
        self.positional = () if kw_only else tuple(each.name for each in known)
        self.defaults = {each.name: each.default for each in known if each.default is not MISSING}
        self.compared = tuple(each.name for each in known if each.compare)
        self.shown = tuple(each.name for each in known if each.repr)


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass. Fields may have a default, but no factory, and there is no `__post_init__`."""

    def decorate(cls: type[T]) -> type[T]:
        made = dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        _LAYOUTS[made] = _Layout(made, kw_only=kw_only)
        for name, method in _METHODS.items():
            if name not in made.__dict__:
                setattr(made, name, method)
        return made

    return decorate


def _init(self: Any, /, *values: Any, **named: Any) -> None:
    layout = _LAYOUTS[type(self)]
    if values:
        positional = dict(zip(layout.positional, values, strict=False))
        if len(positional) < len(values) or not positional.keys().isdisjoint(named):
            raise TypeError(f"{type(self).__name__}() has too many positional arguments, or one twice")
        named |= positional
    if len(named) < len(layout.names):
        named = layout.defaults | named
    if named.keys() != layout.names:
        wrong = sorted(named.keys() ^ layout.names)
        raise TypeError(f"{type(self).__name__}() has missing or unknown arguments: {', '.join(wrong)}")
    self.__dict__.update(named)


def _values(self: Any) -> tuple[Any, ...]:
    held = self.__dict__
    return tuple(held[name] for name in _LAYOUTS[type(self)].compared)


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in _LAYOUTS[type(self)].shown)
    return f"{type(self).__qualname__}({shown})"


def _setattr(self: Any, name: str, value: object) -> NoReturn:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS: Final[dict[str, Any]] = {
    "__init__": _init,
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
}
