"""The journal of a sending job: what it has is not sent again, and what it may not have is."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from zipfile import ZipFile

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.sample_objects import instance, save

import dimse
from dimse import Address, Edits, FileSource, JournalError, SendReport, Server, Status, StoreRequest
from dimse.dataset.discover import discover
from dimse.dataset.sources import DatasetSource
from dimse.services.journal import Journal

DESTINATION = Address.parse("ARCHIVE@pacs:104")


@pytest.fixture
def files(tmp_path: Path) -> list[FileSource]:
    return [FileSource(save(instance(f"1.2.3.{i}"), tmp_path / f"{i}.dcm")) for i in range(4)]


@contextmanager
def opened(path: Path, destination: Address = DESTINATION, edits: Edits | None = None) -> Iterator[Journal]:
    journal = Journal(path, destination, edits)
    try:
        journal.open()
        yield journal
    finally:
        journal.close()


def known(path: Path, sources: list[FileSource]) -> list[str]:
    """Which of them the journal says were sent."""
    with opened(path) as journal:
        return [source.sop_instance_uid for source in sources if journal.earlier(source)]


def test_what_was_stored_is_known_with_its_response(files: list[FileSource], tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        journal.note(files[0], Status.SUCCESS, None)
        journal.note(files[1], Status(0xB000), "coerced")
        assert journal.earlier(files[0]) is None  # a file that is given twice is sent twice
    with opened(path) as journal:
        first, second = journal.earlier(files[0]), journal.earlier(files[1])
        assert first == dimse.SendResult(files[0].name, "1.2.3.0", Status.SUCCESS, sent_before=True)
        assert second == dimse.SendResult(files[1].name, "1.2.3.1", Status(0xB000), comment="coerced", sent_before=True)
        assert journal.earlier(files[2]) is None


def test_a_file_that_has_changed_is_not_known(files: list[FileSource], tmp_path: Path) -> None:
    with opened(tmp_path / "journal") as journal:
        for source in files[:3]:
            journal.note(source, Status.SUCCESS, None)
    times = Path(files[0].path).stat()
    save(instance("1.2.3.0", pixels=600), Path(files[0].path))
    os.utime(files[0].path, ns=(times.st_atime_ns, times.st_mtime_ns))
    os.utime(files[1].path, ns=(0, 0))
    again = [FileSource(source.path) for source in files]
    assert known(tmp_path / "journal", again) == ["1.2.3.2"]


def test_files_are_known_from_another_folder(
    files: list[FileSource], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with opened(tmp_path / "journal") as journal:
        journal.note(FileSource("0.dcm"), Status.SUCCESS, None)
    monkeypatch.chdir("/")
    assert known(tmp_path / "journal", files) == ["1.2.3.0"]


def test_files_in_an_archive_are_known(files: list[FileSource], tmp_path: Path) -> None:
    with ZipFile(tmp_path / "study.zip", "w") as archive:
        for source in files:
            archive.write(source.path, Path(source.path).name)
    members = [each for each in discover([tmp_path / "study.zip"]) if isinstance(each, DatasetSource)]
    with opened(tmp_path / "journal") as journal:
        journal.note(members[1], Status.SUCCESS, None)
    with opened(tmp_path / "journal") as journal:
        assert [bool(journal.earlier(each)) for each in members] == [False, True, False, False]


def test_other_sources_are_not_known(tmp_path: Path) -> None:
    source = dimse.PixelSource(instance(pixels=0), dimse.NativePixels([b""], length=0))
    with opened(tmp_path / "journal") as journal:
        journal.note(source, Status.SUCCESS, None)
        assert journal.earlier(source) is None
    assert len((tmp_path / "journal").read_text().splitlines()) == 1


def complete(path: Path, sources: list[FileSource]) -> bytes:
    """A journal of all of them."""
    path.unlink(missing_ok=True)
    with opened(path) as journal:
        for source in sources:
            journal.note(source, Status.SUCCESS, None)
    return path.read_bytes()


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(cut=st.integers(0, 1000))
def test_a_line_that_is_torn_is_as_if_it_were_not_there(cut: int, files: list[FileSource], tmp_path: Path) -> None:
    path = tmp_path / "journal"
    whole = complete(path, files)[: -1 - cut]
    path.write_bytes(whole)
    lines = max(whole.count(b"\n") - 1, 0)
    uids = [source.sop_instance_uid for source in files]
    assert known(path, files) == uids[:lines]
    with opened(path) as journal:
        journal.note(files[3], Status.SUCCESS, None)
    assert known(path, files) == sorted({*uids[:lines], uids[3]})


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
@given(hole=st.integers(0, 1000), length=st.integers(1, 300), filling=st.sampled_from([b"\0", b"\n"]))
def test_what_a_crash_has_damaged_is_never_taken_for_sent(
    hole: int, length: int, filling: bytes, files: list[FileSource], tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    whole = complete(path, files)
    first = whole.index(b"\n") + 1
    start = first + hole % (len(whole) - first)
    damaged = (whole[:start] + filling * length + whole[start + length :])[: len(whole)]
    path.write_bytes(damaged)
    intact = [
        source.sop_instance_uid
        for source, line in zip(files, whole.splitlines()[1:], strict=True)
        if line in damaged.split(b"\n")[:-1]
    ]
    assert known(path, files) == intact


def test_lines_that_cannot_be_read_are_said(
    files: list[FileSource], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "journal"
    complete(path, files)
    with path.open("a") as file:
        file.write('[]\n{"path":"/a"}\nnothing\n')
    assert len(known(path, files)) == 4
    assert caplog.messages == [f"the journal {path} has 3 lines that cannot be read; their objects are sent again"]


@pytest.mark.parametrize(
    ("destination", "edits", "said"),
    [
        ("ARCHIVE@pacs:105", None, "is for ARCHIVE@pacs:104, not for ARCHIVE@pacs:105; name another file"),
        ("OTHER@pacs:104", None, "is for ARCHIVE@pacs:104, not for OTHER@pacs:104; name another file"),
        ("ARCHIVE@pacs:104", {"PatientName": "A"}, "is of a job with other edits"),
    ],
)
def test_the_journal_of_another_job(
    destination: str, edits: dict[str, str] | None, said: str, files: list[FileSource], tmp_path: Path
) -> None:
    path = tmp_path / "journal"
    before = complete(path, files)
    with (
        pytest.raises(JournalError, match=said),
        opened(path, Address.parse(destination), Edits(edits) if edits else None),
    ):
        pass
    assert path.read_bytes() == before


def test_the_same_edits_are_the_same_job_and_are_not_shown(files: list[FileSource], tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path, edits=Edits({"PatientName": "Anon^1", "PatientID": ""}, ["PatientAge"])) as journal:
        journal.note(files[0], Status.SUCCESS, None)
    with opened(path, edits=Edits({"PatientID": "", "PatientName": "Anon^1"}, ["PatientAge"])) as journal:
        assert journal.earlier(files[0])
    assert "Anon" not in path.read_text()


def test_another_file_is_left_as_it_is(files: list[FileSource], tmp_path: Path) -> None:
    before = Path(files[0].path).read_bytes()
    with pytest.raises(JournalError, match="is not a journal; name another file"), opened(Path(files[0].path)):
        pass
    assert Path(files[0].path).read_bytes() == before
    later = tmp_path / "later"
    later.write_text('{"journal":2,"destination":"ARCHIVE@pacs:104","edits":null}\n')
    with pytest.raises(JournalError, match="of another version of dimse"), opened(later):
        pass
    with pytest.raises(JournalError, match=r"cannot be used: Is a directory"), opened(tmp_path):
        pass


def test_two_jobs_at_once(tmp_path: Path) -> None:
    with (
        opened(tmp_path / "journal"),
        pytest.raises(JournalError, match="in use by another process"),
        opened(tmp_path / "journal"),
    ):
        pass
    with opened(tmp_path / "journal"):
        pass


@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b'{"path":"/a","size":1,"changed":1,"status":Infinity}', b"\0" * 4096]
)
def test_a_line_that_is_damaged_costs_only_itself(line: bytes, files: list[FileSource], tmp_path: Path) -> None:
    path = tmp_path / "journal"
    with opened(path) as journal:
        journal.note(files[0], Status.SUCCESS, None)
    damaged = line.replace(b"}", b',"sop_instance_uid":"1.2","comment":null}')
    path.write_bytes(path.read_bytes() + damaged + b"\n")
    with opened(path) as journal:
        journal.note(files[1], Status.SUCCESS, None)
    assert known(path, files) == ["1.2.3.0", "1.2.3.1"]


@pytest.mark.parametrize("kind", ["pipe", "nested"])
def test_what_is_no_journal_is_refused(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "journal"
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.write_bytes(b"[" * 4000 + b"\n")
    with pytest.raises(JournalError, match="is not a"), opened(path):
        pass


class Archive:
    """A server that answers as the test says."""

    def __init__(self) -> None:
        self.server = Server(port=0)
        self.server.on_c_store(self._store)
        self.answers: dict[str, Status] = {}
        self.asked: list[str] = []

    async def _store(self, request: StoreRequest) -> Status:
        self.asked.append(request.sop_instance_uid)
        return self.answers.get(request.sop_instance_uid, Status.SUCCESS)

    async def send(self, sources: list[FileSource], journal: Path) -> SendReport:
        self.asked.clear()
        return await dimse.send(
            f"ARCHIVE@127.0.0.1:{self.server.port}",
            [source.path for source in sources],
            journal=journal,
            raise_failures=False,
        )


async def test_a_second_run_sends_the_rest_and_reports_everything(files: list[FileSource], tmp_path: Path) -> None:
    archive = Archive()
    archive.answers = {"1.2.3.1": Status(0xB000), "1.2.3.2": Status(0xC000)}
    async with archive.server:
        first = await archive.send(files[:3], tmp_path / "journal")
        assert (len(first.stored), len(first.failures)) == (2, 1)
        del archive.answers["1.2.3.2"]
        second = await archive.send(files, tmp_path / "journal")
        assert sorted(archive.asked) == ["1.2.3.2", "1.2.3.3"]
        assert [(each.sop_instance_uid, int(each.status or 0), each.sent_before) for each in second.stored[:2]] == [
            ("1.2.3.0", 0, True),
            ("1.2.3.1", 0xB000, True),
        ]
        assert (len(second.stored), second.failures) == (4, ())
        assert second.bytes_sent == sum(source.length for source in files[2:])
    third = await archive.send(files, tmp_path / "journal")  # nobody listens, and nobody is asked
    assert len(third.stored) == 4


async def test_a_disk_that_is_full_does_not_end_the_job(
    files: list[FileSource], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import resource

    archive, path = Archive(), tmp_path / "journal"
    async with archive.server:
        await archive.send(files[:1], path)
        before = path.read_bytes()
        soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
        resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) + 100, hard))  # room for a part of a line
        try:
            with caplog.at_level(logging.WARNING):
                report = await archive.send(files[:3], path)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert len(report.stored) == 3
        (said,) = [text for text in caplog.messages if "journal" in text]
        assert said.startswith(f"the journal {path} cannot be written: No space left on device; ")
        assert path.read_bytes() == before
        report = await archive.send(files, path)
        assert sorted(archive.asked) == ["1.2.3.1", "1.2.3.2", "1.2.3.3"]
    assert [json.loads(line).get("sop_instance_uid") for line in path.read_text().splitlines()[:2]] == [None, "1.2.3.0"]
