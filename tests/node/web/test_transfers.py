"""What passes through the server."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

from pydicom.data import get_testdata_file
from tests.node.web.archive import ask, serving

import dimse
from dimse import Query, QueryRequest, Status, StoreRequest
from dimse.node.index import Index
from dimse.node.options import WebOptions
from dimse.node.web.app import WebServer
from dimse.services.server import Server

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))
SIZE = CT.stat().st_size


async def test_open_associations_are_shown_with_what_they_moved(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        assert (await ask(web, "/api/transfers")).json["associations"] == []
        address = f"NODE@127.0.0.1:{web.server.port}"
        async with dimse.connect(address, options=dimse.ClientOptions(calling_ae_title="CT1")) as association:
            first = (await ask(web, "/api/transfers")).json
            (shown,) = first["associations"]
            assert shown["ae_title"] == "CT1"
            assert shown["peer"].startswith("127.0.0.1:")
            await dimse.CEchoSCU(association).echo()
            second = (await ask(web, "/api/transfers")).json
            (grown,) = second["associations"]
            assert grown["id"] == shown["id"]
            assert grown["bytes_received"] > shown["bytes_received"]
            assert second["operations"] == first["operations"] + 1
            assert second["at"] > first["at"]


async def test_what_c_move_sends_is_shown_too(sqlite_index: Index, tmp_path: Path) -> None:
    arrived, may_end = asyncio.Event(), asyncio.Event()
    async with Server("WS1", port=0) as workstation:

        @workstation.on_c_store
        async def store(request: StoreRequest) -> Status:
            await request.save_under(tmp_path / "workstation")
            arrived.set()
            await may_end.wait()
            return Status.SUCCESS

        node = Server("NODE", port=0, destinations={"WS1": f"WS1@127.0.0.1:{workstation.port}"})

        @node.on_c_move
        async def retrieve(request: QueryRequest) -> AsyncIterator[Path]:
            yield CT

        async with node, WebServer(WebOptions(port=0), index=sqlite_index, server=node, data=tmp_path) as web:
            query = Query.studies(StudyInstanceUID="1.2.3")
            moving = asyncio.create_task(dimse.move(f"NODE@127.0.0.1:{node.port}", query, destination="WS1"))
            await arrived.wait()
            first = (await ask(web, "/api/transfers")).json
            came, went = sorted(first["associations"], key=lambda each: bool(each["is_outgoing"]))
            assert (came["ae_title"], came["is_outgoing"]) == ("DIMSE", False)
            assert (went["ae_title"], went["is_outgoing"]) == ("WS1", True)
            assert went["bytes_sent"] > SIZE - 1000
            assert first["bytes_sent"] >= went["bytes_sent"] + came["bytes_sent"]
            may_end.set()
            await moving
            last = (await ask(web, "/api/transfers")).json
            assert last["associations"] == []
            assert last["bytes_sent"] >= first["bytes_sent"]
