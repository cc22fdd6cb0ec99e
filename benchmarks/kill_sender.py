"""`kill_sender.py`: a pynetdicom that stores for kill_node.py, as its imports take as long as a kill.

It reads lines with a port and paths in JSON. Each file that was answered Success is a line of its output; `end` comes
when all have been sent or the connection is lost, with what went wrong else.
"""

from __future__ import annotations

import json
import sys
from typing import Any

from pynetdicom import AE, _config

_config.STORE_SEND_CHUNKED_DATASET = True
_config.LOG_HANDLER_LEVEL = "none"


def leave_responses(association: Any) -> None:
    """Keep pynetdicom's reactor from taking a response for a request, and aborting."""
    take = association.dimse.get_msg
    association.dimse.get_msg = lambda block=False: take(block=True) if block else (None, None)


def send(port: int, sop_class: str, syntax: str, paths: list[str]) -> str:
    """Store until the connection is lost. Returns what else happened."""
    ae = AE("PYNETDICOM")
    ae.add_requested_context(sop_class, syntax)
    association = ae.associate("127.0.0.1", port)
    if not association.is_established:
        return ""
    leave_responses(association)
    try:
        for path in paths:
            status = association.send_c_store(path)
            if "Status" not in status:
                return ""
            if status.Status != 0:
                return f"{path}: 0x{status.Status:04X}"
            print(path, flush=True)
    except RuntimeError:  # the association has ended
        return ""
    finally:
        association.abort()
    return ""


for line in sys.stdin:
    print("end", send(*json.loads(line)), flush=True)
