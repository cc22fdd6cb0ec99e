"""How an asynchronous object is used from other threads than that of its event loop."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, ExitStack, suppress
from functools import wraps
from types import TracebackType
from typing import Any, Concatenate, Generic, ParamSpec, TypeVar

from dimse.network.background_loop import BackgroundLoop, new_event_loop

A = TypeVar("A")
F = TypeVar("F")
P = ParamSpec("P")
T = TypeVar("T")


class _Process:
    """The event loop of this process, made on first use; a forked process makes its own."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: BackgroundLoop | None = None
        self._running = ExitStack()
        atexit.register(self.close)

    def loop(self) -> BackgroundLoop:
        with self._lock:
            if self._loop is None:
                self._loop = self._running.enter_context(BackgroundLoop(new_event_loop))
            return self._loop

    def drop(self, holder: list[Any]) -> None:
        """`BackgroundLoop.drop`, if there is a loop."""
        loop = self._loop  # another thread may end it meanwhile
        if loop is not None:
            with suppress(RuntimeError):  # it is closed
                loop.drop(holder)

    def close(self) -> None:
        """End what is under way, at the end of the program."""
        with self._lock:
            self._loop = None
            self._running.close()

    def forked(self) -> None:
        """Forget the loop, whose thread exists only in the parent."""
        self._lock = threading.Lock()
        self._loop = None
        self._running.pop_all()


_process = _Process()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_process.forked)


def run(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine in the background, and wait for its end. Ctrl-C cancels it."""
    return _process.loop().run(coroutine)


def in_loop(function: Callable[[], T]) -> T:
    """Call a plain function in the background."""

    async def call() -> T:
        return function()

    return run(call())


class Facade(Generic[A]):
    """An object that stands for an asynchronous one."""

    def __init__(self, asynchronous: A) -> None:
        self._object = asynchronous
        self._process_id = os.getpid()

    @property
    def _asynchronous(self) -> A:
        """Raises `RuntimeError` in a forked process: what it stands for lives in the event loop of the parent."""
        if self._process_id != os.getpid():
            raise RuntimeError(
                f"this {type(self).__name__} was used in a forked process; each process must make its own"
            )
        return self._object


class Owner(Facade[A]):
    """A facade of an object whose finalizer cancels what is under way, and belongs to the loop's thread."""

    def __del__(self) -> None:
        _process.drop([vars(self).pop("_object", None)])


def blocking(job: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """A coroutine function as a plain one."""

    @wraps(job)
    def function(*args: P.args, **kwargs: P.kwargs) -> T:
        return run(job(*args, **kwargs))

    return function


def blocking_method(
    method: Callable[Concatenate[A, P], Coroutine[Any, Any, T]],
) -> Callable[Concatenate[Facade[A], P], T]:
    """A coroutine method as the same method of a facade."""

    @wraps(method)
    def function(facade: Facade[A], /, *args: P.args, **kwargs: P.kwargs) -> T:
        return run(method(facade._asynchronous, *args, **kwargs))

    return function


def making(job: Callable[P, T], make: Callable[[T], F]) -> Callable[P, F]:
    """A function that makes an object of the loop as one that makes the facade of that."""

    @wraps(job)
    def function(*args: P.args, **kwargs: P.kwargs) -> F:
        return make(in_loop(lambda: job(*args, **kwargs)))

    return function


def made_by(method: Callable[Concatenate[A, P], T], make: Callable[[T], F]) -> Callable[Concatenate[Facade[A], P], F]:
    """A method that makes an object of the loop as the same method of a facade, which makes the facade of that."""

    @wraps(method)
    def function(facade: Facade[A], /, *args: P.args, **kwargs: P.kwargs) -> F:
        return make(in_loop(lambda: method(facade._asynchronous, *args, **kwargs)))

    return function


class Blocking(Facade[AbstractAsyncContextManager[A]], AbstractContextManager[T], Generic[A, T]):
    """An asynchronous context manager as a plain one. `make` makes the value of the block."""

    def __init__(self, manager: AbstractAsyncContextManager[A], make: Callable[[A], T]) -> None:
        super().__init__(manager)
        self._make = make

    def __enter__(self) -> T:
        return self._make(run(_entered(self._asynchronous)))

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        return run(_left(self._asynchronous, kind, error, traceback))


async def _entered(manager: AbstractAsyncContextManager[A]) -> A:
    return await manager.__aenter__()


async def _left(manager: AbstractAsyncContextManager[Any], *error: Any) -> bool | None:
    return await manager.__aexit__(*error)


class Iteration(Owner[AsyncIterator[A]], Iterator[T], Generic[A, T]):
    """An asynchronous iterator as a plain one. `make` makes each of its items of an asynchronous one."""

    def __init__(self, iterator: AsyncIterator[A], make: Callable[[A], T]) -> None:
        super().__init__(iterator)
        self._make = make

    def __next__(self) -> T:
        item = run(_next(self._asynchronous))
        if item is None:
            raise StopIteration
        return self._make(item)


async def _next(iterator: AsyncIterator[A]) -> A | None:
    """The next item, which is never None."""
    return await anext(iterator, None)


def same(item: T) -> T:
    """For an item that is used as it is."""
    return item
