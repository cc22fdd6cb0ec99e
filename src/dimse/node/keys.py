"""What the index keeps of an instance: its columns, and the attributes of its study and series. Pure."""

from __future__ import annotations

from hashlib import blake2b
from typing import Any, Final, NamedTuple, Protocol

KEY_VERSION: Final = 1
"""The version of the rules by which texts are folded: rows of another version are folded anew."""


class Columns(NamedTuple):
    """What is kept of a study or a series."""

    columns: dict[str, Any]
    """The columns of its row, without identifiers and counters."""
    attributes: bytes
    """All other attributes, encoded in Explicit VR Little Endian and UTF-8."""


class Description(Protocol):
    """What an instance says of itself, of its series and its study."""

    study_uid: str
    series_uid: str
    uid: str
    sop_class_uid: str
    modality: str

    def study(self) -> Columns: ...
    def series(self) -> Columns: ...
    def requests(self) -> list[dict[str, str | None]]: ...
    def name_words(self) -> frozenset[str]: ...
    def instance(self) -> dict[str, Any]: ...


def uid_hash(uid: str) -> int:
    """The hash of a SOP Instance UID by which an instance is found: 8 bytes of blake2b, as a signed number."""
    return int.from_bytes(blake2b(uid.encode(), digest_size=8).digest(), "big", signed=True)
