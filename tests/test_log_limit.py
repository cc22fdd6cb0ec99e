"""Peers cannot fill a disk with log lines."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import pytest

from dimse import Server, StoreRequest, log_limit
from dimse.testing import ScriptedPeer, associate_request, message_pdvs, store_request
from tests.sample_objects import CT, EXPLICIT


async def test_what_a_peer_causes_is_logged_a_number_of_times(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(log_limit, "MAXIMUM_ALIKE", 3)
    monkeypatch.setattr(
        logging.getLogger("dimse.storage"), "filters", []
    )  # the one there has counted other tests' lines
    log_limit.limit_log()
    clock = [1000.0]
    monkeypatch.setattr(log_limit, "monotonic", lambda: clock[0])
    server = Server(port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        return 0

    async def refuse(count: int) -> list[str]:
        """Send stores that are refused; returns the log."""
        caplog.clear()
        for _ in range(count):
            await peer.send(message_pdvs(store_request(), b""))
            await peer.receive_message()
        return [text for text in caplog.messages if "C-STORE refused" in text]

    async with server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request((CT, [EXPLICIT])))
        caplog.set_level("WARNING", "dimse")  # a command that ran in this process may have set another
        refused = "C-STORE refused: (0008,0016) is missing, as the data set is empty"
        assert await refuse(10) == [refused, refused, f"{refused} (more lines like this are left out for up to 60 s)"]
        assert await refuse(1) == []
        clock[0] += log_limit.INTERVAL
        assert await refuse(2) == [f"{refused} (8 lines like this were left out)", refused]
        await peer.release()


def test_each_logger_of_the_library_is_limited() -> None:
    """The command's own and the audit trail have no peer's lines, or must have all."""
    sources = Path(log_limit.__file__).parent.rglob("*.py")
    names = {name for path in sources for name in re.findall(r'getLogger\("(dimse\.\w+)"\)', path.read_text("utf-8"))}
    assert names - set(log_limit._LOGGERS) == {"dimse.audit", "dimse.cli"}


def test_other_kinds_and_levels_are_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_limit, "MAXIMUM_ALIKE", 1)
    limit = log_limit.LogLimit()

    def passes(level: int, text: str) -> bool:
        return limit.filter(logging.LogRecord("dimse.network", level, "", 0, text, (), None))

    assert [passes(logging.WARNING, "a %s") for _ in range(2)] == [True, False]
    assert passes(logging.WARNING, "b %s")
    assert passes(logging.ERROR, "a %s")
    assert all(passes(logging.INFO, "c %s") for _ in range(5))
