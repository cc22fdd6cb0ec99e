"""Compares received files with those that were sent, byte for byte."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from dimse import uids
from dimse.dataset.sources import FileSource


class Encoded(NamedTuple):
    """A file without its File Meta Information."""

    sop_instance_uid: str
    transfer_syntax_uid: str
    dataset: bytes


def read(path: Path) -> Encoded:
    """Read a DICOM file without decoding it."""
    source = FileSource(path)
    return Encoded(source.sop_instance_uid, source.transfer_syntax_uid, path.read_bytes()[-source.length :])


def count_equal(sent: Sequence[Path], folder: Path) -> int:
    """How many of the sent files are in `folder`, with the same content."""
    received = {path.stem: path for path in folder.rglob("*.dcm")}
    equal = 0
    for path in sent:
        expected = read(path)
        copy = received.get(expected.sop_instance_uid)
        equal += copy is not None and read(copy) == expected
    return equal


def difference(path: Path, received: Mapping[str, Mapping[str, Any]], folder: Path) -> str | None:
    """How the received copy of the sent file `path` differs from it; None if it does not."""
    expected = read(path)
    event = received.get(expected.sop_instance_uid)
    if event is None:
        return "was not received"
    copy = read(folder / event["path"])
    if copy.transfer_syntax_uid != expected.transfer_syntax_uid:
        return f"was received in {uids.name_of(copy.transfer_syntax_uid)}"
    return None if copy.dataset == expected.dataset else "the data set has changed"
