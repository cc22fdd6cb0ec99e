"""An archive for the demo: a folder, and a server that finds, gives and moves the instances in it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from pathlib import Path

from pydicom import dcmread
from pydicom.dataset import Dataset

from dimse.services.matching import Matcher
from dimse.services.query_request import QueryRequest
from dimse.services.server import Server


def archive(folder: Path, destinations: Mapping[str, str]) -> Server:
    """A server on a free port, over the files below `folder`."""
    instances = {path: dcmread(path, stop_before_pixels=True) for path in sorted(folder.rglob("*.dcm"))}
    server = Server("ARCHIVE", port=0, destinations=destinations)

    @server.on_c_find
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        for match in Matcher(request.identifier).find(instances.values()):
            yield match

    @server.on_c_get
    @server.on_c_move
    async def retrieve(request: QueryRequest) -> AsyncIterator[Path]:
        matcher = Matcher(request.identifier)
        for path, instance in instances.items():
            if matcher.matches(instance):
                yield path

    return server
