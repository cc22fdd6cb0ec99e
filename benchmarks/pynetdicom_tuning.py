"""What pynetdicom has no setting for, reached through what is not documented."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pynetdicom import evt

TUNED_PDU: Final = 131072
"""For "tuned": as large as DCMTK's. With an unlimited PDU an object of 1 GiB is one PDU, in memory several times."""


def _set_nodelay(event: evt.Event) -> None:
    connection: Any = event.assoc.dul.socket
    connection.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)


NODELAY: Final = (evt.EVT_CONN_OPEN, _set_nodelay)
"""For "tuned": without it each small object waits some 40 ms, for Nagle's algorithm and the delayed ACK."""


@contextmanager
def hold_reactor(association: Any) -> Iterator[None]:
    """Pause the reactor of a requestor's association, once instead of around each C-STORE.

    pynetdicom's own pause believes a flag (`_is_paused`) that may be of the pause before. The reactor then
    takes the response from under `send_c_store`, which waits for ever; a quick peer gets there once in some
    thousand objects.
    """
    checkpoint = association._reactor_checkpoint
    resume = checkpoint.set
    checkpoint.clear()
    time.sleep(0.05)
    checkpoint.set = lambda: None
    try:
        yield
    finally:
        checkpoint.set = resume
        resume()
