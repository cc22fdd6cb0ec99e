"""`dimse echo --repeat`: one C-ECHO after another, with a line for each and statistics, as ping shows them."""

from __future__ import annotations

import asyncio
from collections import deque
from statistics import median
from time import perf_counter
from typing import Final

from dimse import uids
from dimse.cli import exit_codes
from dimse.cli.output import counted, reason
from dimse.cli.report import Report
from dimse.errors import DimseError
from dimse.network.application_entity import ApplicationEntity
from dimse.network.association import Association
from dimse.services.verification import CEchoSCU

_REMEMBERED: Final = 100_000
"""The median is that of this many response times, the last ones."""


class RepeatedEcho:
    """C-ECHOs to one application entity, on one association for as long as that lasts.

    `count` 0 goes on until it is cancelled. There are `interval` seconds between a response and the next request.
    """

    def __init__(self, entity: ApplicationEntity, count: int, interval: float, *, json: bool) -> None:
        self._entity = entity
        self._count = count
        self._interval = interval
        self._report = _EchoReport(entity, json=json)
        self._sent = 0

    async def run(self) -> int:
        """Echo until the last one is done, or until Ctrl-C. Returns the exit code."""
        try:
            while self._has_more:
                await self._on_one_association()
        except asyncio.CancelledError:
            pass  # as ping ends: the statistics say what there was
        return self._report.finish()

    @property
    def _has_more(self) -> bool:
        return not self._count or self._sent < self._count

    async def _on_one_association(self) -> None:
        """Echo until the association ends, or cannot be made."""
        self._sent += 1
        cancelled = None
        start = perf_counter()
        try:
            async with self._entity.connect([(uids.VERIFICATION, uids.LITTLE_ENDIAN)]) as association:
                self._report.associated(perf_counter() - start)
                try:
                    await self._echo_on(association)
                except asyncio.CancelledError as error:
                    cancelled = error  # raised after the association was released
        except DimseError as error:
            if self._report.is_waiting_for(self._sent):
                self._report.lost(self._sent, error)
                await self._pause()
        if cancelled is not None:
            raise cancelled

    async def _echo_on(self, association: Association) -> None:
        while True:
            start = perf_counter()
            await CEchoSCU(association).echo()
            self._report.answered(self._sent, perf_counter() - start)
            await self._pause()
            if not self._has_more or not association.is_open:
                return
            self._sent += 1

    async def _pause(self) -> None:
        if self._has_more:
            await asyncio.sleep(self._interval)


class _EchoReport(Report):
    """A line for each C-ECHO, and the statistics."""

    def __init__(self, entity: ApplicationEntity, *, json: bool) -> None:
        super().__init__(json=json)
        self._address = str(entity.address)
        self._done = 0
        self._times: deque[float] = deque(maxlen=_REMEMBERED)
        self._least, self._most = float("inf"), 0.0
        self._association_ms: float | None = None
        """Time to associate, until it is reported with the next C-ECHO."""
        self._last_error: DimseError | None = None

    def is_waiting_for(self, number: int) -> bool:
        """Whether it is not known yet what became of this C-ECHO."""
        return self._done < number

    def associated(self, seconds: float) -> None:
        """There is a new association."""
        self._association_ms = _ms(seconds)

    def answered(self, number: int, seconds: float) -> None:
        """A C-ECHO was answered with Success."""
        ms = _ms(seconds)
        self.counts["answered"] += 1
        self._times.append(ms)
        self._least, self._most = min(self._least, ms), max(self._most, ms)
        new = "" if self._association_ms is None else f" (associated in {self._association_ms:.1f} ms)"
        self._write(number, ms, None, f"{self._address}: echo {number}: {ms:.1f} ms{new}")
        self._association_ms = None

    def lost(self, number: int, error: DimseError) -> None:
        """A C-ECHO was not answered with Success."""
        self.counts["lost"] += 1
        self._last_error = error
        why = reason(error)
        self._write(number, None, why, f"echo {number} lost: {why}")

    def _write(self, number: int, ms: float | None, error: str | None, text: str) -> None:
        self._done = number
        fields = {
            "address": self._address,
            "number": number,
            "round_trip_ms": ms,
            "association_ms": self._association_ms,
            "error": error,
        }
        self.write("echo", fields, text)

    def finish(self) -> int:
        """Write the statistics. Returns the exit code."""
        answered, lost, median_ms = self.counts["answered"], self.counts["lost"], None
        text = f"{counted(answered + lost, 'echo', 'echoes')}, {answered} answered, {lost} lost"
        if self._times:
            median_ms = round(median(self._times), 3)
            text += f": min {self._least:.1f}, median {median_ms:.1f}, max {self._most:.1f} ms"
        fields = {
            "address": self._address,
            "answered": answered,
            "lost": lost,
            "min_ms": self._least if self._times else None,
            "median_ms": median_ms,
            "max_ms": self._most if self._times else None,
        }
        self.write("summary", fields, text)
        if not lost:
            return exit_codes.OK if answered else exit_codes.INTERRUPTED
        return exit_codes.FAILED if answered else exit_codes.code_of(self._last_error)


def _ms(seconds: float) -> float:
    return round(seconds * 1000, 3)
