"""Records: frozen dataclasses that are made quickly.

For each class, `dataclasses` writes and compiles the source of six methods. For messages, PDUs and options that takes
longer than to send a file. Here all classes share the methods, and the rest is left to `dataclasses`: `fields`,
`replace` and type checkers know records as frozen dataclasses, and `help` shows their parameters.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import MISSING, FrozenInstanceError, dataclass, field, fields
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar, dataclass_transform

if TYPE_CHECKING:
    from inspect import Signature

T = TypeVar("T")


class _Layout:
    """The fields of a record."""

    def __init__(self, cls: Any, *, kw_only: bool) -> None:
        known = fields(cls)
        self.names = frozenset(each.name for each in known)
        self.positional = () if kw_only else tuple(each.name for each in known)
        self.defaults = {each.name: each.default for each in known if each.default is not MISSING}
        self.factories: dict[str, Callable[[], Any]] = {
            each.name: each.default_factory for each in known if each.default_factory is not MISSING
        }
        self.compared = tuple(each.name for each in known if each.compare)
        self.shown = tuple(each.name for each in known if each.repr)
        self.is_finished = not hasattr(cls, "__post_init__")

    def with_defaults(self, named: dict[str, Any]) -> dict[str, Any]:
        """All fields that are given or have a default."""
        made = {name: make() for name, make in self.factories.items() if name not in named}
        return self.defaults | made | named


class _LazySignature:
    """The parameters of a record, for `inspect.signature` and `help`, made when somebody asks for them."""

    def __get__(self, _: object, cls: Any) -> Signature:
        from inspect import Parameter, Signature  # a short command does without it

        layout: _Layout = cls.__record__
        kind = Parameter.POSITIONAL_OR_KEYWORD if layout.positional else Parameter.KEYWORD_ONLY
        defaults = layout.with_defaults({})
        return Signature(
            [
                Parameter(each.name, kind, default=defaults.get(each.name, Parameter.empty), annotation=each.type)
                for each in fields(cls)
            ]
        )


@dataclass_transform(frozen_default=True, field_specifiers=(field,))
def record(*, kw_only: bool = False) -> Callable[[type[T]], type[T]]:
    """Make a class a frozen dataclass, without slots. All of its fields are parameters."""

    def decorate(cls: type[T]) -> type[T]:
        made: Any = dataclass(init=False, repr=False, eq=False, kw_only=kw_only)(cls)
        made.__record__ = _Layout(made, kw_only=kw_only)
        for name, method in _METHODS.items():
            if name not in made.__dict__:
                setattr(made, name, method)
        result: type[T] = made
        return result

    return decorate


def _init(self: Any, /, *values: Any, **named: Any) -> None:
    layout: _Layout = self.__record__
    if values:
        positional = dict(zip(layout.positional, values, strict=False))
        if len(positional) < len(values) or not positional.keys().isdisjoint(named):
            raise TypeError(f"{type(self).__name__}() has too many positional arguments, or one twice")
        named |= positional
    if len(named) < len(layout.names):
        named = layout.with_defaults(named) if layout.factories else layout.defaults | named
    if named.keys() != layout.names:
        wrong = sorted(named.keys() ^ layout.names)
        raise TypeError(f"{type(self).__name__}() has missing or unknown arguments: {', '.join(wrong)}")
    self.__dict__.update(named)
    if not layout.is_finished:
        self.__post_init__()


def _values(self: Any) -> tuple[Any, ...]:
    held = self.__dict__
    return tuple(held[name] for name in self.__record__.compared)


def _eq(self: Any, other: object) -> bool:
    return _values(self) == _values(other) if type(other) is type(self) else NotImplemented


def _hash(self: Any) -> int:
    return hash(_values(self))


def _repr(self: Any) -> str:
    shown = ", ".join(f"{name}={getattr(self, name)!r}" for name in self.__record__.shown)
    return f"{type(self).__qualname__}({shown})"


def _setattr(self: Any, name: str, value: object) -> NoReturn:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot assign to field {name!r}")


def _delattr(self: Any, name: str) -> NoReturn:  # noqa: ARG001 - as Python calls it
    raise FrozenInstanceError(f"cannot delete field {name!r}")


_METHODS: Final[dict[str, Any]] = {
    "__signature__": _LazySignature(),
    "__init__": _init,
    "__eq__": _eq,
    "__hash__": _hash,
    "__repr__": _repr,
    "__setattr__": _setattr,
    "__delattr__": _delattr,
}
