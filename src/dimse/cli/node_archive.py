"""The archive that a command below `dimse node` works on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING

from dimse.cli import node_options
from dimse.cli.parser import UsageError
from dimse.errors import DimseError

if TYPE_CHECKING:
    from sqlalchemy.exc import SQLAlchemyError

    from dimse.node import NodeOptions
    from dimse.node.index import Index


class Use(Enum):
    """What a command does with an archive."""

    READ = "read"
    CHANGE = "change"
    MAKE = "make"
    """Change it, and make it if it is missing."""


@contextmanager
def opened(data: Path | None, config: Path | None, use: Use = Use.READ) -> Iterator[tuple[Index, NodeOptions]]:
    """The index and the options of an archive, in the block.

    Raises `UsageError` if there is none, `OSError` if its folders cannot be used, and `DimseError` if the index cannot
    be used, also in the block.
    """
    options = node_options.read(data, config)
    from dimse.node.checking import check_folders
    from dimse.node.data_folder import check_has_index, index_url, worked_on
    from dimse.node.index import Index

    if options.index is None:
        check_has_index(options.data)
    if use is Use.MAKE:
        check_folders(options.data)
    elif options.index is None and not (options.data / "index.sqlite").exists():
        raise UsageError(f"there is no archive in {options.data}; name its folder with --data")
    with usable(options), ExitStack() as stack:
        if use is not Use.READ:
            stack.enter_context(worked_on(options.data))
        index = Index(options.index or index_url(options.data))
        stack.callback(index.close)
        yield index, options


@contextmanager
def usable(options: NodeOptions) -> Iterator[None]:
    """In the block, an error of the database becomes a `DimseError`."""
    from sqlalchemy.exc import SQLAlchemyError

    try:
        yield
    except SQLAlchemyError as error:
        raise unusable(options, error) from error


def unusable(options: NodeOptions, error: SQLAlchemyError) -> DimseError:
    """That the index cannot be used, and why."""
    from dimse.node.checking import index_unusable

    return DimseError(index_unusable(options, error))
