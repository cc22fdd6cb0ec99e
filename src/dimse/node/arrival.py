"""An instance on its way into the archive, and what became of it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from hashlib import sha256
from typing import Final

from dimse.node.keys import Description

new_digest: Final = sha256
"""Makes the digest of a data set, as the index has it: of those that nobody can forge, the quickest."""


class OnDuplicate(Enum):
    """What to do with an instance that is stored already, with other content."""

    KEEP = "keep"
    """The old one stays, and the new one is set aside."""
    REPLACE = "replace"
    """The new one replaces the old one."""
    REJECT = "reject"
    """The old one stays, and the new one is refused with Duplicate SOP Instance (0x0111)."""


class Outcome(Enum):
    """What became of an arrival."""

    NEW = "new"
    SAME = "same"
    """It was stored already with the same content; its file is to be deleted, unless that of the other is missing."""
    SET_ASIDE = "set aside"
    """It was stored already with other content, which stays."""
    REPLACED = "replaced"
    """It was stored already with other content, which it replaces."""
    REJECTED = "rejected"
    """It was stored already with other content, and `OnDuplicate.REJECT` refuses it."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """An instance whose file is complete."""

    description: Description
    transfer_syntax_uid: str
    path: str
    """Its file: one of `incoming/`, or one that is adopted in place."""
    is_in_place: bool
    """Whether the file stays where it is, and is not ours to move or delete."""
    size: int
    """Length of the file."""
    offset: int
    """Where the data set begins in it."""
    digest: bytes
    """SHA-256 of the data set as it arrived."""
    source: str
    """Where it came from, such as "CT1@10.0.0.7" or "import"."""
    received_at: float
    """When it was complete, in seconds since 1970, UTC."""


@dataclass(frozen=True, slots=True)
class Placed:
    """An arrival in the index."""

    arrival: Arrival
    outcome: Outcome
    path: str | None
    """Where its file belongs; None if it is to be deleted."""
