"""The options that `dimse node` and the commands below it share: the data folder and the configuration file."""

from __future__ import annotations

from argparse import ArgumentParser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.cli.parser import ConfigurationError, UsageError

if TYPE_CHECKING:
    from dimse.node import NodeOptions

FILE: Final = "node.toml"
"""The configuration file in a data folder."""

_NEEDED: Final = ("sqlalchemy", "alembic", "msgspec", "starlette", "uvicorn", "prometheus_client", "numpy", "PIL")


def add_arguments(parser: ArgumentParser) -> None:
    """Define them. A command passes them on to `read`."""
    parser.add_argument(
        "--data",
        metavar="DIR",
        type=Path,
        help="Data folder of the node. [default: that of the configuration, else dimse/node in $XDG_DATA_HOME or "
        "~/.local/share]",
    )
    parser.add_argument(
        "--config",
        metavar="FILE",
        type=Path,
        help=f"Configuration of the node, in TOML. [default: {FILE} in the data folder, if it is there]",
    )


def read(data: Path | None, config: Path | None) -> NodeOptions:
    """The options of the node, from its configuration file if it has one.

    Raises `UsageError` without the extra, or if the data folder is a file, and `ConfigurationError` with the file, the
    place and the reason.
    """
    _check_installed()
    from dataclasses import replace

    from dimse.node.data_folder import default_data
    from dimse.node.node_file import read as read_file
    from dimse.node.options import NodeOptions, WebOptions

    folder = data or default_data()
    file = configuration(data, config)
    if file is None:
        options = NodeOptions(data=folder, web=WebOptions())
    else:
        try:
            options = read_file(file, folder)
        except ValueError as error:
            raise ConfigurationError(str(error)) from None
        options = options if data is None else replace(options, data=data)
    if options.data.exists() and not options.data.is_dir():
        raise UsageError(f"the data folder {options.data} is not a folder")
    if options.index is not None and find_spec("psycopg") is None:
        raise UsageError('an index in PostgreSQL needs psycopg; install it with: pip install "psycopg[binary]>=3.2"')
    return options


def configuration(data: Path | None, config: Path | None) -> Path | None:
    """The configuration file: the one that is named, or else the one in the data folder, if it is there."""
    from dimse.node.data_folder import default_data

    usual = (data or default_data()) / FILE
    return config or (usual if usual.exists() else None)


def _check_installed() -> None:
    missing = next((name for name in _NEEDED if find_spec(name) is None), None)
    if missing is not None:
        raise UsageError(f'this command needs {missing}; install it with: pip install "dimse[node]"')
