"""The report of `dimse route`: what it receives and what becomes of it, and the state of its destinations."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, fields
from datetime import datetime
from pathlib import Path
from time import strftime
from typing import Any, Final

from dimse import uids
from dimse.cli.output import counted, reason, size
from dimse.cli.receive_report import fields_of, identity, in_words, short
from dimse.cli.report import Report
from dimse.services.forwarding_destination import ForwardOutcome, ForwardResult, ForwardState
from dimse.services.server import Server
from dimse.services.store_request import StoreRequest

STATE_FILE: Final = "state.json"
"""In the spool: the state that a running router writes."""

_TIME: Final = "%H:%M:%S"


class RoutingReport(Report):
    """Counts `received`, `refused`, `delivered` and `failed` objects."""

    def __init__(self, *, json: bool, quiet: bool) -> None:
        super().__init__(json=json)
        self._is_quiet = quiet

    def listening(self, server: Server, spool: Path, destinations: Mapping[str, str]) -> None:
        """Write the first line."""
        fields = {"host": server.host, "port": server.port, "title": server.ae_title, "spool": str(spool)}
        names = ", ".join(f"{name} ({address})" if name != address else name for name, address in destinations.items())
        text = f"Routing from {server.ae_title}@{server.host}:{server.port} to {names}"
        self.write("listening", fields | {"destinations": dict(destinations)}, text)

    def received(self, request: StoreRequest, destinations: list[str]) -> None:
        """Count an object that is in its queues, and write a line. A closed output pipe does not fail the object."""
        self.counts["received"] += 1
        name, title = short(uids.name_of(request.sop_class_uid)), request.association.calling_ae_title
        self._detail(
            "received",
            identity(request) | {"destinations": destinations},
            f"{strftime(_TIME)}  {name}  from {title}  for {', '.join(destinations)}",
        )

    def refused(self, request: StoreRequest, error: Exception) -> None:
        """Count an object that was not taken, and write why."""
        self.counts["refused"] += 1
        title, name = request.association.calling_ae_title, uids.name_of(request.sop_class_uid)
        text = f"refused: {name} {request.sop_instance_uid} from {title}: {reason(error)}"
        with suppress(OSError):
            self.write("refused", identity(request) | {"error": reason(error)}, text, is_problem=True)

    def forwarded(self, result: ForwardResult) -> None:
        """Count an object that a destination has stored or that was set aside. The log has a line about the latter."""
        if result.outcome is ForwardOutcome.WAITING:
            return
        self.counts[result.outcome] += 1
        text = in_words(result) if result.outcome is ForwardOutcome.DELIVERED else None
        self._detail(result.outcome, fields_of(result), text)

    def _detail(self, event: str, found: Mapping[str, Any], text: str | None) -> None:
        if not self._is_quiet:
            with suppress(OSError):
                self.write(event, found, text)

    def finish(self, states: Mapping[str, ForwardState]) -> None:
        """Write the summary."""
        waiting = sum(state.waiting for state in states.values())
        found = {key: self.counts[key] for key in ("received", "refused", "delivered", "failed")}
        text = f"{counted(found['received'], 'object')} received, {found['delivered']} delivered, {waiting} waiting"
        text += f", {found['failed']} failed" if found["failed"] else ""
        self.write("summary", found | {"waiting": waiting, "seconds": round(self.seconds, 3)}, text)

    def state(self, name: str, state: ForwardState, *, running: bool) -> None:
        """Write the state of a destination."""
        self.write(
            "destination", {"name": name, "running": running} | json_of(state), f"{name}: {_state_in_words(state)}"
        )


def json_of(state: ForwardState) -> dict[str, Any]:
    """A state as JSON; times in ISO 8601."""
    return {key: value.isoformat() if isinstance(value, datetime) else value for key, value in asdict(state).items()}


def state_of(found: Mapping[str, Any]) -> ForwardState:
    """The state that `json_of` has made."""
    values = {each.name: found[each.name] for each in fields(ForwardState)}
    for key in ("reachable_since", "next_attempt"):
        values[key] = values[key] and datetime.fromisoformat(values[key])
    return ForwardState(**values)


def write_state(spool: Path, states: Mapping[str, ForwardState]) -> None:
    """Write the state into the spool, for `dimse route --status`."""
    made = spool / (STATE_FILE + ".new")
    made.write_text(json.dumps({name: json_of(state) for name, state in states.items()}, indent=1), encoding="utf-8")
    made.replace(spool / STATE_FILE)


def _state_in_words(state: ForwardState) -> str:
    text = f"{state.waiting} waiting ({size(state.waiting_bytes)})"
    text += f", {state.in_work} of them in transit" if state.in_work else ""
    text += f", {state.delivered} delivered, {state.failed} failed"
    if state.reachable_since is not None:
        text += f"; reachable since {_local(state.reachable_since)}"
    text += f"; {state.error}" if state.error else ""
    text += f"; next attempt at {_local(state.next_attempt)}" if state.next_attempt else ""
    return text


def _local(time: datetime) -> str:
    local = time.astimezone()
    today = datetime.now(local.tzinfo).date()
    return local.strftime("%H:%M:%S" if local.date() == today else "%Y-%m-%d %H:%M:%S")
