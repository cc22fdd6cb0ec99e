"""An archive: storage, query, retrieval and commitment over an index and a folder of files.

`dimse.node.Node` needs the extra `dimse[node]`; its modules are imported when they are used.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dimse.node.arrival import OnDuplicate
    from dimse.node.events import EventKind
    from dimse.node.node import Node
    from dimse.node.options import (
        CommandOptions,
        NodeOptions,
        NodeServerOptions,
        QueryOptions,
        SettlingOptions,
        StorageOptions,
        WebhookOptions,
        WebOptions,
    )

__all__ = [
    "CommandOptions",
    "EventKind",
    "Node",
    "NodeOptions",
    "NodeServerOptions",
    "OnDuplicate",
    "QueryOptions",
    "SettlingOptions",
    "StorageOptions",
    "WebOptions",
    "WebhookOptions",
]

_MODULES = {"EventKind": "events", "Node": "node", "OnDuplicate": "arrival"}
"""The modules of the names that are not in `options`."""


def __getattr__(name: str) -> object:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES.get(name, 'options')}"), name)
