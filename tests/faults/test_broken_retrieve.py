"""Disks that fail from some operation on while `retrieve` receives: an error for what is not here, and nothing half."""

from __future__ import annotations

import errno
import io
from contextlib import redirect_stderr, redirect_stdout
from itertools import count
from pathlib import Path

import pytest
from tests.conversations.command_driver import as_it_was
from tests.faults.failing_files import ABSORBED, FailingFiles
from tests.faults.test_broken_disk import content, is_left
from tests.services.member_archive import Archive, member

import dimse
from dimse import Query, RetrieveReport, RetryPolicy
from dimse.cli.app import run
from dimse.cli.exit_codes import FAILED, OK
from dimse.testing import FakeArchive

UID = "1.1.1.1"
WHOLE = [f"1.1/1.1.1/{UID}.dcm"]
CODES = [errno.ENOSPC, errno.EMFILE]


async def retrieved(archive: Archive, into: Path) -> RetrieveReport:
    query, retry = Query.studies(StudyInstanceUID="1.1"), RetryPolicy(retries=0)
    receiver = archive.receiver
    return await dimse.retrieve(archive.address, query, into=into, receiver=receiver, retry=retry, raise_failures=False)


def _wrong(case: str, failing: FailingFiles, into: Path, *, succeeded: bool) -> list[str]:
    if succeeded and content(into) != WHOLE:
        return [f"{case}: retrieved, and there is {content(into)}"]
    if succeeded and failing.failed not in ABSORBED | {None}:
        return [f"{case}: retrieved in spite of it"]
    if not succeeded and is_left(into)[1:]:
        return [f"{case}: left {is_left(into)}"]
    return []


@pytest.mark.parametrize("way", ["get", "move"])
async def test_the_nth_operation_fails(way: str, tmp_path: Path) -> None:
    wrong, tried = list[str](), 0
    async with Archive(get=way == "get", move=way == "move") as archive:
        archive.instances = [member(UID)]
        for code in CODES:
            for n in count(1, 2):
                into = tmp_path / f"{code}-{n}"
                failing = FailingFiles(into, n, code, lasts=True)
                with failing.patched():
                    report = await retrieved(archive, into)
                case = f"{errno.errorcode[code]} of {failing.failed}, number {n}"
                wrong += _wrong(case, failing, into, succeeded=bool(report.retrieved))
                if len(report.results) != 1 or any(result.error is None for result in report.failures):
                    wrong.append(f"{case}: {report}")
                if failing.failed is None:
                    assert report.retrieved
                    break
                tried += 1
                again = await retrieved(archive, into)
                if not again.retrieved and not again.existing:  # a whole file whose `close` failed is here
                    wrong.append(f"{case}: and the next one fails too")
    assert not wrong, "\n".join(wrong)
    assert tried > 5 * len(CODES)


def test_the_nth_operation_of_the_command_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(RetryPolicy, "pause", lambda *_: None)  # it has no option for that
    wrong, tried = list[str](), 0
    with FakeArchive([member(UID)]) as archive:
        for n in count(1, 2):
            into, out, err = tmp_path / str(n), io.StringIO(), io.StringIO()
            failing = FailingFiles(into, n, errno.ENOSPC, lasts=True)
            arguments = ["-k", "StudyInstanceUID=1.1", "--into", str(into)]
            with as_it_was(), redirect_stdout(out), redirect_stderr(err), failing.patched():
                code = run(["retrieve", archive.address, *arguments])
            case, text = f"{failing.failed}, number {n}: exit code {code}", err.getvalue()
            wrong += _wrong(case, failing, into, succeeded=code == OK)
            if code not in (OK, FAILED) or "Traceback" in text or (code == FAILED and "space" not in text):
                wrong.append(f"{case}: {out.getvalue()!r} {text!r}")
            if failing.failed is None:
                assert code == OK, text
                break
            tried += 1
    assert not wrong, "\n".join(wrong)
    assert tried > 5
