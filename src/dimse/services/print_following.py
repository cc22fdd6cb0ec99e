"""Following print jobs until they have ended: by the events of the printer, and by asking (PS3.4 H.4.5)."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

from dimse import uids
from dimse.dataset.codec import text_of
from dimse.dataset.pydicom_names import Dataset, tag_for_keyword
from dimse.errors import DatasetError, PresentationContextError, StatusError
from dimse.services.normalized_scp import NormalizedRequest
from dimse.services.normalized_scu import NormalizedSCU
from dimse.services.print_job import PrintJobState
from dimse.services.server import Server
from dimse.status import Status

FIRST_PAUSE: Final = 0.25
"""Seconds until a printer is asked again; twice as many each time."""
LONGEST_PAUSE: Final = 5.0

MAX_EVENTS: Final = 1000
"""Jobs whose events are remembered: a printer may report those of others."""


class PrintJobs:
    """The states of print jobs, as a printer tells of them.

    `server` serves the events on the association with the printer.
    """

    def __init__(self) -> None:
        self.server = Server()
        self._states: dict[str, tuple[PrintJobState, str]] = {}
        self._changed = asyncio.Event()
        self.server.on_n_event_report(uids.PRINT_JOB)(self._job_event)
        self.server.on_n_event_report(uids.PRINTER)(self._printer_event)

    def state_of(self, job_uid: str | None) -> tuple[PrintJobState, str]:
        """The last known state of a job, and what the printer says about it."""
        return self._states.get(job_uid or "", (PrintJobState.UNKNOWN, ""))

    async def follow(self, scu: NormalizedSCU, job_uids: Sequence[str], seconds: float) -> None:
        """Wait until the jobs have ended, or the printer does not tell of them, for so many seconds at most."""
        clock = asyncio.get_running_loop().time
        end, pause = clock() + seconds, FIRST_PAUSE
        open_jobs = [uid for uid in job_uids if not self._has_ended(uid)]
        while open_jobs:
            self._changed.clear()
            for uid in open_jobs:
                await self._ask(scu, uid)
            open_jobs = [uid for uid in open_jobs if not self.state_of(uid)[0].has_ended]
            left = end - clock()
            if left <= 0 or not open_jobs:
                return
            with suppress(TimeoutError):
                async with asyncio.timeout(min(pause, left)):
                    await self._changed.wait()
            pause = min(2 * pause, LONGEST_PAUSE)

    def _has_ended(self, uid: str) -> bool:
        return uid in self._states and self._states[uid][0].has_ended

    async def _ask(self, scu: NormalizedSCU, uid: str) -> None:
        """Ask for the state of a job. A printer that does not know it has told all that it will."""
        try:
            result = await scu.get(uids.PRINT_JOB, uid, ["ExecutionStatus", "ExecutionStatusInfo"])
        except (PresentationContextError, StatusError):
            self._note(uid, None, "")
            return
        attributes = result.dataset or Dataset()
        status = _text(attributes, "ExecutionStatus")
        known = PrintJobState(status) if status in _TOLD else None
        self._note(uid, known, _text(attributes, "ExecutionStatusInfo"))

    def _note(self, uid: str, state: PrintJobState | None, info: str) -> None:
        """Remember a state, unless an event has told of the end."""
        if not self._has_ended(uid) and (uid in self._states or len(self._states) < MAX_EVENTS):
            self._states[uid] = (state or PrintJobState.UNKNOWN, info)

    async def _job_event(self, request: NormalizedRequest) -> int:
        state = PrintJobState.of_event(request.event_type_id)
        if state is None:
            return Status(0x0113)
        self._note(request.sop_instance_uid, state, _text(request.dataset, "ExecutionStatusInfo"))
        self._changed.set()
        return Status.SUCCESS

    async def _printer_event(self, request: NormalizedRequest) -> int:  # noqa: ARG002 - a printer's state is asked for
        return Status.SUCCESS


_TOLD: Final = (PrintJobState.PENDING, PrintJobState.PRINTING, PrintJobState.DONE, PrintJobState.FAILURE)


def _text(attributes: Dataset, keyword: str) -> str:
    """The value of an attribute; empty if it cannot be read."""
    with suppress(DatasetError):
        return text_of(attributes, tag_for_keyword(keyword) or 0)[:64]
    return ""
