"""What an association must still do after whatever was done on it."""

from __future__ import annotations

from dimse import sync


def is_usable(association: sync.Association) -> bool:
    return sync.CEchoSCU(association).echo().status == 0
