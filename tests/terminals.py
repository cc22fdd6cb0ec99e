"""What a command shows at a terminal."""

from __future__ import annotations

import os


def all_shown(ours: int) -> str:
    """All that the other side of a pseudo-terminal was written until it was closed. It may come in pieces."""
    shown = b""
    try:
        while piece := os.read(ours, 65536):
            shown += piece
    except OSError:  # Linux: the other side is closed
        pass
    return shown.decode()
