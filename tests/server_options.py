"""Server options from one flat list of keywords, as the helpers of many tests take them."""

from __future__ import annotations

from dataclasses import fields

from dimse import ServerOptions, StoreMode, StoreOptions

_STORE = {field.name for field in fields(StoreOptions)}


def server_options(**options: object) -> ServerOptions:
    """`ServerOptions(**options)`, with the fields of `StoreOptions` among them."""
    store = StoreOptions(**{name: value for name, value in options.items() if name in _STORE})  # type: ignore[arg-type]
    others = {name: value for name, value in options.items() if name not in _STORE}
    return ServerOptions(store=store, **others)  # type: ignore[arg-type]


def buffered(**options: object) -> ServerOptions:
    """The same, where the handler needs `request.data`."""
    return server_options(**{"mode": StoreMode.BUFFERED, **options})
