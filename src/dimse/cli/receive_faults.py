"""Faults that `dimse receive` injects to test senders: those of `dimse.testing`, imported only if one is wanted."""

from __future__ import annotations

from argparse import ArgumentParser
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from dimse.cli import arguments
from dimse.network.association import Association
from dimse.status import Status, StatusCategory

if TYPE_CHECKING:
    from dimse.testing.faults import Fault

_NAMED: Final = {
    "out-of-resources": Status(0xA700),
    "does-not-match": Status(0xA900),
    "cannot-understand": Status(0xC000),
    "processing-failure": Status(0x0110),
    "not-authorized": Status(0x0124),
    "coercion": Status(0xB000),
    "elements-discarded": Status(0xB006),
}
"""Statuses of C-STORE (PS3.4 B.2.3) by their names on the command line."""


@dataclass(frozen=True)
class Chosen:
    """The values of the options."""

    discard: bool
    delay: float | None
    refuse: Status | None
    refuse_every: int
    abort_after: int | None


def add_arguments(parser: ArgumentParser) -> None:
    """Define the options."""
    group = parser.add_argument_group("faults, to test senders")
    group.add_argument(
        "--discard",
        action="store_true",
        help="Read each object and answer with Success, but write nothing. Takes no DIR.",
    )
    group.add_argument(
        "--delay",
        metavar="SECONDS",
        type=arguments.seconds,
        help="Wait this many seconds before each C-STORE response.",
    )
    group.add_argument(
        "--refuse",
        metavar="STATUS",
        type=arguments.checked(_status),
        help="Answer with this status, and do not store the object. STATUS is four hexadecimal digits, or one of "
        f"{', '.join(_NAMED)}.",
    )
    group.add_argument(
        "--refuse-every", metavar="N", type=arguments.integer_from(1), default=1, help="Refuse only every Nth object."
    )
    group.add_argument(
        "--abort-after",
        metavar="N",
        type=arguments.integer_from(0),
        help="Store N objects of each association, and abort it at the next one.",
    )


def _status(text: str) -> Status:
    named = _NAMED.get(text.lower())
    if named is not None:
        return named
    try:
        status = Status(int(text, 16))
    except ValueError:
        status = Status.SUCCESS
    if not status <= 0xFFFF or status.category not in (StatusCategory.FAILURE, StatusCategory.WARNING):
        raise ValueError(f"must be a failure or a warning, as A700 or out-of-resources, not {text!r}")
    return status


class Faults:
    """The faults, as objects arrive."""

    def __init__(self, chosen: Chosen) -> None:
        self._chosen = chosen
        self._objects = 0

    async def before_storing(self, association: Association, objects: int) -> None:
        """An object begins, the last of so many on its association. Raises what ends it in place of storing it."""
        self._objects += 1
        fault = self._due(objects)
        if fault is not None:
            await self.before_answering(association)
            await _take_effect(fault, association)

    async def before_answering(self, association: Association) -> None:
        """An object was stored, or will not be."""
        if self._chosen.delay is not None:
            from dimse.testing.faults import Delay

            await _take_effect(Delay(self._chosen.delay), association)

    def _due(self, objects: int) -> Fault | None:
        chosen = self._chosen
        if chosen.abort_after is not None and objects > chosen.abort_after:
            from dimse.testing.faults import Abort

            return Abort()
        if chosen.refuse is not None and self._objects % chosen.refuse_every == 0:
            from dimse.testing.faults import Answer

            return Answer(chosen.refuse, "refused by --refuse")
        return None


async def _take_effect(fault: Fault, association: Association) -> None:
    from dimse.testing.faults import take_effect

    await take_effect(fault, association)
