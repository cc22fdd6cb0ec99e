"""What there is to send is found in folders, DICOMDIRs and archives, and what is not sent is said."""

from __future__ import annotations

import os
import shutil
import zipfile
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import pytest
from pydicom import dcmread
from tests.dataset.sample_sources import path_of

from dimse.dataset.discover import NotSent, discover
from dimse.dataset.folders import TEMPORARY_NAME
from dimse.dataset.part10 import read_file_meta
from dimse.dataset.sources import DatasetSource
from dimse.errors import DatasetError


def found(*paths: Path) -> tuple[list[str], list[NotSent]]:
    """The names of what can be sent, and what can not."""
    results = list(discover(paths))
    return (
        [Path(each.name.split("!")[-1]).name for each in results if isinstance(each, DatasetSource)],
        [each for each in results if isinstance(each, NotSent)],
    )


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "b" / "c").mkdir(parents=True)
    shutil.copy(Path(path_of("CT_small.dcm")), tmp_path / "b" / "c" / "2.dcm")
    shutil.copy(Path(path_of("MR_small.dcm")), tmp_path / "b" / "1")
    (tmp_path / "a.txt").write_text("not an image")
    return tmp_path


def test_a_folder_is_searched_whole_and_skips_what_is_not_dicom(folder: Path) -> None:
    names, others = found(folder)
    assert names == ["1", "2.dcm"]
    assert [(Path(other.name).name, other.skipped) for other in others] == [("a.txt", True)]
    assert "not a DICOM file" in str(others[0].error)


def test_files_that_are_being_received_are_skipped(folder: Path) -> None:
    """Each becomes a file of another name, or is removed, while the search goes on. By its name it is sent."""
    part = folder / "b" / f".dimse-{'0' * 16}-1f-3.part"
    assert TEMPORARY_NAME.fullmatch(part.name)
    shutil.copy(folder / "b" / "1", part)
    names, others = found(folder)
    assert names == ["1", "2.dcm"]
    assert [(str(other.error), other.skipped) for other in others if other.name == str(part)] == [
        (f"{part}: a file that is being received", True)
    ]
    assert found(part) == ([part.name], [])


def test_a_file_asked_for_by_name_that_is_not_dicom_is_not_just_skipped(folder: Path) -> None:
    _, (other,) = found(folder / "a.txt")
    assert not other.skipped


def test_a_path_that_is_not_there(tmp_path: Path) -> None:
    _, (other,) = found(tmp_path / "nothing")
    assert isinstance(other.error, FileNotFoundError)
    assert not other.skipped


def test_a_broken_dicom_file_in_a_folder_is_not_just_skipped(folder: Path) -> None:
    (folder / "z.dcm").write_bytes(bytes(128) + b"DICM\x02\0")
    _, others = found(folder)
    assert [other.skipped for other in others] == [True, False]


async def test_an_archive_stands_for_what_it_holds(folder: Path, tmp_path: Path) -> None:
    archive = tmp_path / "study.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(folder / "b" / "1", "x/1")
        file.write(folder / "b" / "c" / "2.dcm", "x/2.dcm")
        file.writestr("readme.txt", "hello")
    names, others = found(archive)
    assert names == ["1", "2.dcm"]
    assert [(other.name.split("!")[1], other.skipped) for other in others] == [("readme.txt", True)]
    source = [each for each in discover([archive]) if isinstance(each, DatasetSource)][0]  # noqa: RUF015 - to its end
    assert source.length is not None
    buffer = memoryview(bytearray(source.length + 1))
    for _ in range(2):
        reader = source.open()
        assert await reader.read_into(buffer) == source.length
        reader.close()
        assert bytes(buffer[: source.length]) == read(folder / "b" / "1")[-source.length :]


def read(path: Path) -> bytes:
    return path.read_bytes()


def test_a_damaged_archive_is_said(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.write(Path(path_of("CT_small.dcm")), "ct")
    data = bytearray(archive.read_bytes())
    data[:4] = b"xxxx"
    archive.write_bytes(data)
    _, (other,) = found(archive)
    assert not other.skipped
    assert str(archive) in other.name


def test_a_dicomdir_stands_for_what_it_refers_to() -> None:
    directory = Path(path_of("DICOMDIR"))
    names, others = found(directory)
    assert names == sorted(names, key=names.index)
    assert len(names) > 10
    assert not others


def test_in_a_folder_a_dicomdir_is_skipped_as_its_files_are_found_anyway() -> None:
    _, others = found(Path(path_of("DICOMDIR")).parent)
    assert {other.skipped for other in others if other.name.endswith("DICOMDIR")} == {True}


@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_cannot_refer_to_what_is_outside_its_folder(tmp_path: Path) -> None:
    directory = dcmread(Path(path_of("DICOMDIR")))
    directory.DirectoryRecordSequence = directory.DirectoryRecordSequence[3:4]
    directory.DirectoryRecordSequence[0].ReferencedFileID = ["..", "SECRET"]
    path = tmp_path / "in" / "DICOMDIR"
    path.parent.mkdir()
    directory.save_as(path)
    shutil.copy(Path(path_of("CT_small.dcm")), tmp_path / "SECRET")
    names, (other,) = found(path)
    assert not names
    assert isinstance(other.error, DatasetError)
    assert "points outside" in str(other.error)


def test_a_pipe_is_not_opened(tmp_path: Path) -> None:
    """Reading it would block forever."""
    os.mkfifo(tmp_path / "pipe")
    _, (in_folder,) = found(tmp_path)
    _, (named,) = found(tmp_path / "pipe")
    assert (in_folder.skipped, named.skipped) == (True, False)
    assert "not a file" in str(named.error)


def test_a_folder_that_cannot_be_read_is_said(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By a stand-in for the operating system: root may read everything."""
    scandir = os.scandir

    def refusing(path: str) -> object:
        if str(path).endswith("c"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refusing)
    names, others = found(folder)
    assert names == ["1"]
    assert [(other.name, other.skipped) for other in others] == [
        (str(folder / "a.txt"), True),
        (str(folder / "b" / "c"), False),
    ]


@pytest.mark.parametrize("reference", [["DICOMDIR"], ["A\0B"], ["MISSING"]])
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS")
def test_a_dicomdir_that_refers_to_nothing_that_can_be_sent(tmp_path: Path, reference: list[str]) -> None:
    directory = dcmread(Path(path_of("DICOMDIR")))
    directory.DirectoryRecordSequence = directory.DirectoryRecordSequence[3:4]
    directory.DirectoryRecordSequence[0].ReferencedFileID = reference
    path = tmp_path / "DICOMDIR"
    directory.save_as(path)
    names, (other,) = found(path)
    assert not names
    assert not other.skipped


def test_a_damaged_member_costs_itself_only(tmp_path: Path) -> None:
    archive = tmp_path / "a.zip"
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.write(Path(path_of("CT_small.dcm")), "ct")
        file.write(Path(path_of("MR_small.dcm")), "mr")
    with zipfile.ZipFile(archive) as file:
        start = file.getinfo("ct").header_offset + 30 + len("ct")
    data = bytearray(archive.read_bytes())
    data[start : start + 20] = b"\xff" * 20
    archive.write_bytes(data)
    names, (other,) = found(archive)
    assert names == ["mr"]
    assert other.name.endswith("!ct")
    assert not other.skipped


def copied(folder: Path, *names: str) -> Path:
    """A DICOMDIR whose four references have become these paths."""
    directory = Path(path_of("DICOMDIR"))
    records = dcmread(directory).DirectoryRecordSequence
    references = [list(record.ReferencedFileID) for record in records if "ReferencedFileID" in record]
    shutil.copy(directory, folder / "DICOMDIR")
    for reference, name in zip(references, names, strict=False):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(directory.parent.joinpath(*reference), folder / name)
    return folder / "DICOMDIR"


@pytest.mark.parametrize(
    "renamed",
    [
        str.lower,
        lambda name: f"{name}.dcm",
        lambda name: f"{name}.DCM;1",
        lambda name: f"{name}.;1",
        lambda name: f"{name};1",
        lambda name: f"{name.lower()}.",
    ],
    ids=["lower case", "an extension", "both", "a version and a dot", "a version", "a dot"],
)
def test_a_dicomdir_finds_its_files_as_copying_has_renamed_them(tmp_path: Path, renamed: Callable[[str], str]) -> None:
    records = dcmread(Path(path_of("DICOMDIR"))).DirectoryRecordSequence
    references = ["/".join(record.ReferencedFileID) for record in records if "ReferencedFileID" in record]
    names, others = found(copied(tmp_path, *map(renamed, references)))
    assert len(names) == len(references)
    assert not others


@pytest.mark.parametrize("start", [128, 132])
def test_a_dicomdir_without_preamble(tmp_path: Path, start: int) -> None:
    shutil.copytree(Path(path_of("DICOMDIR")).parent, tmp_path / "medium")
    directory = tmp_path / "medium" / "DICOMDIR"
    directory.write_bytes(directory.read_bytes()[start:])
    assert found(directory)[0] == found(Path(path_of("DICOMDIR")))[0]


def test_a_dicomdir_prefers_the_very_name_and_what_is_dicom(tmp_path: Path) -> None:
    records = dcmread(Path(path_of("DICOMDIR"))).DirectoryRecordSequence
    first, second = ["/".join(record.ReferencedFileID) for record in records if "ReferencedFileID" in record][:2]
    directory = copied(tmp_path, first, f"{second}.dcm")
    for name in (f"{first}.a", f"{second}.a"):
        (tmp_path / name).write_text("a preview")
    names, others = found(directory)
    assert names == [Path(first).name, f"{Path(second).name}.dcm"]
    assert all(isinstance(other.error, FileNotFoundError) and not other.skipped for other in others)


def without_meta(name: str) -> bytes:
    content = read(Path(path_of(name)))
    return content[read_file_meta(BytesIO(content)).length :]


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A folder with a file of just a data set, one of just a data set without SOP UIDs, and one of text."""
    content = read(Path(path_of("nested_priv_SQ.dcm")))
    (tmp_path / "a").write_bytes(without_meta("CT_small.dcm"))
    (tmp_path / "b").write_bytes(content[content.index(b"\1\0\1\0") :])
    (tmp_path / "c").write_text("not an image")
    return tmp_path


def check_bare(paths: Path, caplog: pytest.LogCaptureFixture) -> None:
    names, others = found(paths)
    assert names == ["a"]
    assert [other.skipped for other in others] == [False, True]
    assert "a: missing Transfer Syntax UID (0002,0010); assuming Explicit VR Little Endian" in caplog.text


def test_a_file_without_meta_is_found_by_its_content(bare: Path, caplog: pytest.LogCaptureFixture) -> None:
    check_bare(bare, caplog)


def test_an_archive_member_without_meta_is_found_by_its_content(
    bare: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive = tmp_path / "bare.zip"
    with zipfile.ZipFile(archive, "w") as file:
        for name in "abc":
            file.write(bare / name, name)
    check_bare(archive, caplog)


def test_links_to_files_are_followed_and_links_to_folders_are_not(tmp_path: Path) -> None:
    """So a search ends, and stays below the folder unless a file is linked there."""
    searched, elsewhere = tmp_path / "searched", tmp_path / "elsewhere"
    searched.mkdir()
    elsewhere.mkdir()
    (elsewhere / "not named.dcm").write_bytes(b"would be found")
    (searched / "up").symlink_to(tmp_path)
    (searched / "loop").symlink_to(searched)
    (searched / "folder").symlink_to(elsewhere)
    (tmp_path / "one").write_text("not DICOM")
    (searched / "file").symlink_to(tmp_path / "one")
    assert [found.name for found in discover([searched])] == [str(searched / "file")]
