"""Operations on the files below a folder, of which the n-th fails."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

_BY_PATH: Final = ("mkdir", "link", "rename", "replace", "stat", "lstat", "unlink", "rmdir")
_BY_DESCRIPTOR: Final = ("write", "writev", "fsync", "fstat")
ABSORBED: Final = {"flock", "fstat", "stat", "lstat", "unlink", "close", "rmdir"}
"""Operations whose failure need not fail a store: they clean up, or ask."""


class FailingFiles:
    """Counts the operations of `os` below `folder`, and lets number `fails_at` fail with the error `code`.

    With the code 0 a write is short instead. With `lasts`, all fail from there on but those of ABSORBED.
    """

    def __init__(self, folder: Path, fails_at: int, code: int, *, lasts: bool = False) -> None:
        self._folder = str(folder)
        self._fails_at = fails_at
        self._code = code
        self._lasts = lasts
        self._descriptors: set[int] = set()
        self._count = 0
        self.failed: str | None = None
        """The operation that failed."""

    def _step(self, name: str) -> bool:
        """Whether this operation is to fail."""
        self._count += 1
        if self._count == self._fails_at and (self._code or name in ("write", "writev")):
            self.failed = name
        if self._lasts and self._count > self._fails_at:
            return name not in ABSORBED
        return self._count == self._fails_at

    def _fail(self, name: str) -> None:
        if self._step(name) and self._code:
            raise OSError(self._code, os.strerror(self._code))

    def _is_below(self, path: object, named: dict[str, Any]) -> bool:
        folders = {named.get(key) for key in ("dir_fd", "src_dir_fd", "dst_dir_fd")} - {None}
        return bool(folders & self._descriptors) or str(path).startswith(self._folder)

    def _by_path(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(path: Any, *arguments: Any, **named: Any) -> Any:
            if self._is_below(path, named):
                self._fail(name)
            return real(path, *arguments, **named)

        return call

    def _by_descriptor(self, name: str) -> Callable[..., Any]:
        real = getattr(os, name)

        def call(descriptor: int, *arguments: Any) -> Any:
            if descriptor in self._descriptors and self._step(name):
                if self._code:
                    raise OSError(self._code, os.strerror(self._code))
                if name == "writev":
                    data = b"".join(arguments[0])
                    return os.write(descriptor, data[: len(data) // 2])
                if name == "write":
                    return real(descriptor, arguments[0][: len(arguments[0]) // 2])
            return real(descriptor, *arguments)

        return call

    def _open(self, real: Callable[..., int]) -> Callable[..., int]:
        def call(path: Any, *arguments: Any, **named: Any) -> int:
            is_below = self._is_below(path, named)
            if is_below:
                self._fail("open")
            descriptor = real(path, *arguments, **named)
            if is_below:
                self._descriptors.add(descriptor)
            return descriptor

        return call

    def _close(self, real: Callable[[int], None]) -> Callable[[int], None]:
        def call(descriptor: int) -> None:
            is_ours = descriptor in self._descriptors
            self._descriptors.discard(descriptor)
            real(descriptor)
            if is_ours:
                self._fail("close")

        return call

    def _flock(self, real: Callable[[int, int], None]) -> Callable[[int, int], None]:
        def call(descriptor: int, how: int) -> None:
            self._fail("flock")
            real(descriptor, how)

        return call

    @contextmanager
    def patched(self) -> Iterator[None]:
        """Within this block."""
        with pytest.MonkeyPatch.context() as patch:
            for name in _BY_PATH:
                patch.setattr(os, name, self._by_path(name))
            for name in _BY_DESCRIPTOR:
                patch.setattr(os, name, self._by_descriptor(name))
            patch.setattr(os, "open", self._open(os.open))
            patch.setattr(os, "close", self._close(os.close))
            patch.setattr(fcntl, "flock", self._flock(fcntl.flock))
            yield
