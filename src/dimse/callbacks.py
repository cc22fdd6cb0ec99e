"""The caller's callbacks, which cannot harm a transfer."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


def check_callback(name: str, function: object) -> None:
    """Raise `TypeError` for a callback that is not a function, and for an `async def`, which nothing would await."""
    if function is not None and not callable(function):
        raise TypeError(f"{name} must be a function, not {type(function).__name__}")
    if any(map(inspect.iscoroutinefunction, (function, getattr(function, "__call__", None)))):  # noqa: B004
        raise TypeError(f"{name} must be a plain function, not an async def: nothing would await it")


class Callback(Generic[T]):
    """A function of the caller, called on the event loop. Its exceptions are logged.

    With `stops`, it is not called again after it has failed. Raises `TypeError` as `check_callback` does.
    """

    def __init__(
        self, name: str, function: Callable[[T], object] | None, logger: logging.Logger, *, stops: bool = False
    ) -> None:
        check_callback(name, function)
        self._name = name
        self._function = function
        self._logger = logger
        self._stops = stops

    @property
    def is_wanted(self) -> bool:
        """Whether there is a function to call."""
        return self._function is not None

    def __call__(self, value: T) -> None:
        """Call the function, if there is one."""
        if self._function is None:
            return
        try:
            returned = self._function(value)
            if inspect.iscoroutine(returned):
                returned.close()
                raise TypeError("it returned a coroutine, which nothing awaits")  # noqa: TRY301 - logged with the others
        except Exception:
            self._logger.exception(
                "the %s callback failed%s", self._name, "; it is not called again" if self._stops else ""
            )
            if self._stops:
                self._function = None
