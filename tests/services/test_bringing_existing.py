"""Which listed instances a folder already has."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydicom import dcmread, dcmwrite
from pydicom.dataset import Dataset
from pydicom.uid import UID
from tests.sample_objects import EXPLICIT
from tests.services.member_archive import ADA, BOB, STUDY, Archive, member, retrieve, uids_of, where

import dimse
from dimse import Existing, Query, QueryRequest, RetrieveReport, Status, StatusError
from dimse.services.bringing_existing import existing_files
from dimse.services.listing import Instance
from dimse.services.store_request import DEFAULT_TEMPLATE

DEFLATED = "1.2.840.10008.1.2.1.99"
ONE = "1.1.1.1"
INSTANCE = Instance(ONE, None, (("StudyInstanceUID", "1.1"), ("SeriesInstanceUID", "1.1.1")))
OTHER_TEMPLATE = "{PatientID}/{SOPInstanceUID}.dcm"


def write(path: Path, dataset: Dataset | None = None, syntax: str = EXPLICIT) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = dataset or member(ONE)
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = UID(syntax)
    dcmwrite(path, dataset, enforce_file_format=True)
    return path


async def found(folder: Path, template: str = DEFAULT_TEMPLATE) -> list[tuple[str, Path]]:
    return [each async for each in existing_files([INSTANCE], folder, template)]


@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
async def test_a_whole_file_of_that_name(tmp_path: Path, syntax: str) -> None:
    path = write(tmp_path / where(ONE)[0], syntax=syntax)
    assert await found(tmp_path) == [(ONE, path)]


async def test_only_files_that_can_be_it_are_read(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "1.dcm")
    assert await found(tmp_path) == []


async def test_with_other_keywords_all_files_are_read(tmp_path: Path) -> None:
    path = write(tmp_path / "elsewhere" / "1.dcm")
    (tmp_path / "notes.txt").write_text("no DICOM")
    os.mkfifo(tmp_path / "pipe")
    write(tmp_path / ".dimse-0000000000000000-1-1.part")
    assert await found(tmp_path, OTHER_TEMPLATE) == [(ONE, path)]


@pytest.mark.parametrize("missing", [2, 900, 1200, 1500])
@pytest.mark.parametrize("syntax", [EXPLICIT, DEFLATED])
async def test_a_truncated_file_does_not_count(tmp_path: Path, missing: int, syntax: str) -> None:
    path = write(tmp_path / where(ONE)[0], syntax=syntax)
    content = path.read_bytes()
    path.write_bytes(content[: -min(missing, len(content) - 200)])
    assert await found(tmp_path) == []


async def test_a_foreign_file_of_that_name_is_another_instance(tmp_path: Path) -> None:
    path = write(tmp_path / where(ONE)[0], member(BOB[0]))
    assert await found(tmp_path) == [(BOB[0], path)]


async def test_a_link_does_not_count(tmp_path: Path) -> None:
    path = write(tmp_path / "real.dcm")
    link = tmp_path / where(ONE)[0]
    link.parent.mkdir(parents=True)
    link.symlink_to(path)
    assert await found(tmp_path) == []


# In a retrieval


def times_of(folder: Path) -> dict[Path, int]:
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*.dcm")}


async def existing_of(archive: Archive, into: Path, query: Query = STUDY) -> tuple[list[str], RetrieveReport]:
    archive.asked.clear()
    report = await retrieve(archive, query, into)
    return [result.sop_instance_uid for result in report.existing], report


async def test_a_second_run_retrieves_nothing(archive: Archive, tmp_path: Path) -> None:
    await retrieve(archive, STUDY, tmp_path)
    before = times_of(tmp_path)
    existing, report = await existing_of(archive, tmp_path)
    assert sorted(existing) == ADA[:3]
    assert (report.listed, report.retrieved, report.failures) == (3, (), ())
    assert archive.asked == []
    assert times_of(tmp_path) == before
    assert {result.path for result in report.existing} == set(before)


async def test_only_missing_instances_are_requested(archive: Archive, tmp_path: Path) -> None:
    write(tmp_path / where(ADA[0])[0])
    existing, report = await existing_of(archive, tmp_path)
    assert (existing, uids_of(report)) == (ADA[:1], ADA[1:3])
    assert [(level, keys) for _, level, keys in archive.asked] == [("IMAGE", [ADA[1]]), ("IMAGE", [ADA[2]])]


async def test_a_damaged_file_is_replaced(archive: Archive, tmp_path: Path) -> None:
    path = write(tmp_path / where(ONE)[0])
    path.write_bytes(path.read_bytes()[:-100])
    existing, report = await existing_of(archive, tmp_path)
    assert (existing, uids_of(report)) == ([], ADA[:3])
    assert await found(tmp_path) == [(ONE, path)]


async def test_a_foreign_file_stays(archive: Archive, tmp_path: Path) -> None:
    path = write(tmp_path / where(ONE)[0], member(BOB[0]))
    content = path.read_bytes()
    existing, report = await existing_of(archive, tmp_path)
    assert (existing, uids_of(report)) == ([], ADA[:3])
    assert path.read_bytes() == content
    existing, _ = await existing_of(archive, tmp_path)
    assert sorted(existing) == ADA[:3]


async def test_overwrite(getting: Archive, tmp_path: Path) -> None:
    dataset = member(ONE)
    dataset.PatientComments = "changed"
    write(tmp_path / where(ONE)[0], dataset)
    report = await dimse.retrieve(getting.address, STUDY, into=tmp_path, existing=Existing.OVERWRITE)
    assert uids_of(report) == ADA[:3]
    assert "PatientComments" not in dcmread(tmp_path / where(ONE)[0])


async def test_another_type(getting: Archive, tmp_path: Path) -> None:
    with pytest.raises(TypeError, match="existing must be an Existing, not str"):
        await dimse.retrieve(getting.address, STUDY, into=tmp_path, existing="skip")  # type: ignore[arg-type]


# Several queries


async def test_several_queries_are_one_job(archive: Archive, tmp_path: Path) -> None:
    queries = [Query.studies(PatientID="Ada"), STUDY, Query.studies(PatientID="Bob"), Query.studies(PatientID="None")]
    report = await dimse.retrieve(archive.address, queries, into=tmp_path, receiver=archive.receiver)
    assert sorted(uids_of(report)) == [*ADA, *BOB]
    assert report.listed == 5
    assert [keys for _, _, keys in archive.asked] == [["1.1"], ["1.2"], ["1.3"]]


async def test_a_query_that_is_refused_does_not_end_the_others(getting: Archive, tmp_path: Path) -> None:
    find = getting.find

    @getting.on_c_find
    async def find_or_refuse(request: QueryRequest) -> AsyncIterator[Dataset]:
        if request.identifier.get("PatientID") == "Ada":
            raise StatusError(Status(0xC001), "test")
        async for match in find(request):
            yield match

    queries = [Query.studies(PatientID="Ada"), Query.studies(PatientID="Bob")]
    report = await dimse.retrieve(getting.address, queries, into=tmp_path, raise_failures=False)
    assert uids_of(report) == BOB
    assert ["0xC001" in str(result.error) for result in report.failures] == [True]
    with pytest.raises(StatusError):
        await dimse.retrieve(getting.address, queries[:1], into=tmp_path)


@pytest.mark.parametrize("queries", [[], [STUDY, Query.patients(PatientID="Ada")]])
async def test_queries_of_two_kinds(getting: Archive, tmp_path: Path, queries: list[Query]) -> None:
    with pytest.raises(ValueError, match="one level and model"):
        await dimse.retrieve(getting.address, queries, into=tmp_path)
