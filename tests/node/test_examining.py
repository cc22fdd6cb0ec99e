"""What is said of a file is what a C-STORE of it would say."""

from __future__ import annotations

import os
import zlib
from hashlib import sha256
from pathlib import Path

import pytest
from pydicom.uid import DeflatedExplicitVRLittleEndian, JPEGBaseline8Bit
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, encoded, instance, save

from dimse.dataset.part10 import encode_file_meta
from dimse.dataset.recognizing import NotDicom
from dimse.errors import DatasetError
from dimse.node.examining import PIECE, data_set_begins, examine, read


def part10(data: bytes, syntax: str) -> bytes:
    """A file with this data set."""
    meta = encode_file_meta(sop_class_uid=CT, sop_instance_uid="1.2.3.4", transfer_syntax_uid=syntax)
    return meta + data


def fragments(length: int) -> bytes:
    """The header of an instance, and encapsulated pixel data of one fragment."""
    header = encoded(instance(pixels=0))
    return (
        header
        + b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\0\0\0\0"
        + (b"\xfe\xff\x00\xe0" + length.to_bytes(4, "little") + bytes(length) + b"\xfe\xff\xdd\xe0\0\0\0\0")
    )


def deflated() -> bytes:
    packer = zlib.compressobj(wbits=-15)
    packed = packer.compress(encoded(instance())) + packer.flush()
    return packed + b"\0" * (len(packed) % 2)


FILES = {
    "short": part10(encoded(instance()), EXPLICIT),
    "implicit": part10(encoded(instance(), IMPLICIT), IMPLICIT),
    "in several pieces": part10(encoded(instance(pixels=3 * PIECE)), EXPLICIT),
    "as long as a piece": part10(encoded(instance(pixels=PIECE - 1000)), EXPLICIT),
    "fragments": part10(fragments(100), JPEGBaseline8Bit),
    "deflated": part10(deflated(), DeflatedExplicitVRLittleEndian),
}


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("copies", [False, True])
def test_a_file_is_described(name: str, copies: bool, tmp_path: Path) -> None:
    path, copy = tmp_path / "a.dcm", tmp_path / "copy" if copies else None
    path.write_bytes(FILES[name])
    arrival = examine(path, "CT1", copy=copy, received_at=7.0)
    content = FILES[name][arrival.offset :]
    assert arrival.digest == sha256(content).digest()
    assert arrival.size == len(FILES[name])
    assert arrival.offset == data_set_begins(path.read_bytes())
    assert (arrival.source, arrival.received_at, arrival.is_in_place) == ("CT1", 7.0, not copies)
    told = arrival.description
    assert (told.study_uid, told.series_uid, told.uid, told.sop_class_uid) == ("1.2.3.1", "1.2.3.2", "1.2.3.4", CT)
    assert told.instance()["rows"] in (1, 16)
    assert arrival.path == str(copy or path)
    if copy is not None:
        assert copy.read_bytes() == FILES[name]


@pytest.mark.parametrize("name", FILES)
def test_a_truncated_file_is_refused(name: str, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(FILES[name][:-10])
    with pytest.raises(DatasetError):
        examine(path, "CT1")
    with pytest.raises(DatasetError):
        examine(path, "CT1", copy=tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_what_is_no_instance_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    nameless = instance()
    del nameless.SeriesInstanceUID
    for content in (b"text", part10(encoded(nameless), EXPLICIT)):
        path.write_bytes(content)
        with pytest.raises(DatasetError):
            examine(path, "CT1", copy=tmp_path / "copy")
        assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize("copies", [True, False])
def test_a_pipe_is_not_waited_for(copies: bool, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(NotDicom, match="not a file"):
        read(tmp_path / "pipe", tmp_path / "copy" if copies else None)
    assert not (tmp_path / "copy").exists()


def test_a_copy_overwrites_nothing(tmp_path: Path) -> None:
    path = save(instance(), tmp_path / "a.dcm")
    (tmp_path / "copy").write_bytes(b"here")
    with pytest.raises(FileExistsError):
        examine(path, "CT1", copy=tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == b"here"


def test_what_begins_like_no_file_has_no_data_set(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"text")
    assert data_set_begins((tmp_path / "a").read_bytes()) == 0
