"""What the last command with each named peer brought: one small file for each, which nothing depends on."""

from __future__ import annotations

import json
import os
import sys
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from dimse.cli import exit_codes
from dimse.configuration import KnownPeer

STATES: Final = {
    exit_codes.OK: "ok",
    exit_codes.FAILED: "failed",
    exit_codes.NO_ASSOCIATION: "no association",
}
"""What an exit code says about the peer; others say nothing."""

_MAXIMUM: Final = 64 * 1024
"""The bytes of a file that are read."""


def folder() -> Path:
    """The folder for the state of the user: `$XDG_STATE_HOME` or `~/.local/state`, on Windows `%LOCALAPPDATA%`."""
    windows = sys.platform == "win32"
    variable, usual = ("LOCALAPPDATA", "AppData/Local") if windows else ("XDG_STATE_HOME", ".local/state")
    return Path(os.environ.get(variable) or Path.home() / usual, "dimse", "peers")


def remember(peer: KnownPeer, command: str, code: int, reason: str | None = None) -> None:
    """Write how a command with a named peer ended. If that fails, nobody misses it."""
    if peer.name is None or code not in STATES:
        return
    state = {
        "address": str(peer.address),
        "state": STATES[code],
        "command": command,
        "time": datetime.now(UTC).isoformat(timespec="seconds"),
        "reason": reason,
    }
    with suppress(OSError):
        folder().mkdir(parents=True, exist_ok=True)
        unfinished = folder() / f"{peer.name}.{os.getpid()}.part"
        unfinished.write_text(json.dumps(state), encoding="utf-8")
        unfinished.replace(folder() / f"{peer.name}.json")


def last(peer: KnownPeer) -> dict[str, Any] | None:
    """How the last command with a named peer ended; None if that is not known of this address."""
    try:
        with (folder() / f"{peer.name}.json").open("rb") as file:
            found = json.loads(file.read(_MAXIMUM))
        datetime.fromisoformat(found["time"])
        is_whole = found["address"] == str(peer.address) and {"state", "command", "reason"} <= found.keys()
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return None
    return found if is_whole else None


def age(time: str) -> str:
    """How long ago it was, such as `5 min ago`."""
    seconds = max(0.0, (datetime.now(UTC) - datetime.fromisoformat(time)).total_seconds())
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{seconds // length:.0f} {unit} ago"
    return "just now"
