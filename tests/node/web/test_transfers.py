"""What passes through the server."""

from __future__ import annotations

from pathlib import Path

from tests.node.web.archive import ask, serving

import dimse
from dimse.node.index import Index


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
