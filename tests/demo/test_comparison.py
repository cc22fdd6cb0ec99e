"""Received files are compared with those that were sent."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dimse.demo.comparison import count_equal, difference, read


@pytest.fixture
def sent() -> Path:
    path = get_testdata_file("CT_small.dcm", download=False)
    assert isinstance(path, str)
    return Path(path)


def received(sent: Path, folder: Path) -> Path:
    return Path(shutil.copyfile(sent, folder / f"{read(sent).sop_instance_uid}.dcm"))


def test_equal_files_are_counted(sent: Path, tmp_path: Path) -> None:
    assert count_equal([sent], tmp_path) == 0
    copy = received(sent, tmp_path)
    assert count_equal([sent], tmp_path) == 1
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert count_equal([sent], tmp_path) == 0


def test_each_difference_is_named(sent: Path, tmp_path: Path) -> None:
    copy = received(sent, tmp_path)
    events = {read(sent).sop_instance_uid: {"path": copy.name}}
    assert difference(sent, {}, tmp_path) == "was not received"
    assert difference(sent, events, tmp_path) is None
    copy.write_bytes(copy.read_bytes()[:-1] + b"x")
    assert difference(sent, events, tmp_path) == "the data set has changed"
    dataset = pydicom.dcmread(sent)
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.ImplicitVRLittleEndian
    pydicom.dcmwrite(copy, dataset)
    assert difference(sent, events, tmp_path) == "was received in Implicit VR Little Endian"
