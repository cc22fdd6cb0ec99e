"""New UIDs for objects that are sent again and again: a load test needs objects that the archive does not have."""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Callable
from enum import StrEnum
from typing import Final

from dimse.dataset.edits import Changes, Edits, NewValue
from dimse.dataset.encoding import PATIENT_ID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID


class NewLevel(StrEnum):
    """What is new in each repetition, with all that is below it."""

    INSTANCE = "instance"
    SERIES = "series"
    STUDY = "study"
    PATIENT = "patient"


_UIDS: Final = {
    NewLevel.INSTANCE: (SOP_INSTANCE_UID,),
    NewLevel.SERIES: (SERIES_INSTANCE_UID, SOP_INSTANCE_UID),
    NewLevel.STUDY: (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID),
    NewLevel.PATIENT: (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID),
}

_PROCESS: Final = secrets.token_hex(16)


class NewUIDs(Edits):
    """`edits`, with new UIDs for one repetition: what had the same UID before has the same one afterwards.

    `PATIENT` makes a new Patient ID, too. References between objects are left as they are.
    """

    def __init__(self, level: NewLevel, repetition: int, edits: Edits | None = None) -> None:
        super().__init__()
        if edits is not None:
            self._changes = edits._changes
        self._level = level
        self._repetition = repetition

    def __bool__(self) -> bool:
        return True

    def _changes_in(self, value_of: Callable[[int], str | None]) -> Changes:
        new = {tag: NewValue("UI", self._new(value_of(tag) or "")) for tag in _UIDS[self._level] if value_of(tag)}
        if self._level is NewLevel.PATIENT:
            new[PATIENT_ID] = NewValue("LO", f"NEW{self._number(value_of(PATIENT_ID) or '') % 10**12:012d}")
        return dict(sorted({**new, **self._changes}.items()))

    def sop_instance_uid(self, before: str) -> str:
        return super().sop_instance_uid(self._new(before))

    def _new(self, uid: str) -> str:
        """A UID made from a UUID (PS3.5 B.2)."""
        return f"2.25.{self._number(uid)}"

    def _number(self, before: str) -> int:
        digest = hashlib.sha256(f"{_PROCESS} {self._repetition} {before}".encode()).digest()
        return int.from_bytes(digest[:16], "big")
