"""The callbacks for events: what is refused, and one that fails."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest

import dimse
from dimse import AssociationEvent, CEchoSCU, ClientOptions, PDUTransferred, Server, ServerOptions


async def asynchronous(_: object) -> None:
    """Nothing would await it."""


@pytest.mark.parametrize("name", ["on_event", "on_pdu"])
@pytest.mark.parametrize("kind", [ClientOptions, ServerOptions])
@pytest.mark.parametrize("callback", [asynchronous, partial(asynchronous), 5])
def test_an_async_callback_is_refused(kind: Any, name: str, callback: object) -> None:
    with pytest.raises(TypeError, match=f"{name} must be a (plain )?function, not"):
        kind(**{name: callback})


async def test_a_callback_that_fails_is_logged_once_and_harms_nothing(caplog: pytest.LogCaptureFixture) -> None:
    called: list[object] = []

    def fail(event: AssociationEvent | PDUTransferred) -> None:
        called.append(event)
        raise ZeroDivisionError

    server = Server("ARCHIVE", port=0, options=ServerOptions(on_event=fail, on_pdu=fail))
    async with server:
        options = ClientOptions(on_event=fail, on_pdu=fail)
        async with dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}", options=options) as association:
            for _ in range(3):
                assert (await CEchoSCU(association).echo()).status == 0
    assert len(called) == 4
    messages = [record.getMessage() for record in caplog.records if record.exc_info]
    assert sorted(messages) == [
        f"the {name} callback failed; it is not called again" for name in ("on_event", "on_event", "on_pdu", "on_pdu")
    ]
