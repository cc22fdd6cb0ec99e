"""`dimse.commit`: whole jobs, against `CommitmentSCP` and against providers that do odd things."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.certificate import CERTIFICATE, KEY
from tests.ports import free_port
from tests.sample_objects import instance, save

import dimse
from dimse import (
    AssociationError,
    ClientOptions,
    CommitmentFailure,
    CommitmentRequest,
    Commitments,
    CommitmentSCP,
    MemoryTransactions,
    NormalizedRequest,
    NotCommitted,
    PresentationContextError,
    Server,
    ServerOptions,
    Status,
    TLSOptions,
    uids,
)
from dimse.services import commitment

CT = "1.2.840.10008.5.1.4.1.1.2"
PAIRS = [(CT, f"1.2.3.{number}") for number in range(1, 6)]


class Provider:
    """It is committed to what is in `safe`, and knows the address of WS1."""

    def __init__(self, tls: TLSOptions | None = None, **given: Any) -> None:
        self.safe = {uid for _, uid in PAIRS}
        self.requests: list[CommitmentRequest] = []
        self.server = Server("ARCHIVE", port=0, options=ServerOptions(tls=tls))
        self.receiver = f"WS1@localhost:{free_port()}"
        self.scp = CommitmentSCP(
            self.server, self.decide, MemoryTransactions(), destinations={"WS1": self.receiver}, **given
        )

    async def decide(self, request: CommitmentRequest) -> dict[str, CommitmentFailure | None]:
        self.requests.append(request)
        return {
            each.sop_instance_uid: None if each.sop_instance_uid in self.safe else CommitmentFailure.NO_SUCH_INSTANCE
            for each in request.instances
        }

    @property
    def address(self) -> str:
        return f"ARCHIVE@localhost:{self.server.port}"


@asynccontextmanager
async def provider(**given: Any) -> AsyncIterator[Provider]:
    made = Provider(**given)
    async with made.scp, made.server:
        yield made


async def commit(archive: Provider, instances: Any, **given: Any) -> dimse.CommitmentReport:
    return await dimse.commit(
        archive.address, instances, **({"calling_ae_title": "WS1", "receiver": archive.receiver} | given)
    )


@pytest.mark.parametrize("same_association", [0, None])
async def test_all_are_committed(same_association: float | None) -> None:
    heard = list[dimse.CommitmentResult]()
    async with provider(same_association=same_association) as archive:
        report = await commit(archive, PAIRS, on_result=heard.append)
    assert [each.sop_instance_uid for each in report.committed] == [uid for _, uid in PAIRS]
    assert (report.failures, report.transactions, heard) == ((), 1, list(report.results))


async def test_what_is_missing_is_raised_and_named() -> None:
    async with provider(same_association=0) as archive:
        archive.safe = {"1.2.3.1"}
        with pytest.raises(ExceptionGroup, match="4 of 5 not committed at ARCHIVE@localhost") as failed:
            await commit(archive, PAIRS)
        report = await commit(archive, PAIRS, raise_failures=False)
    assert [each.sop_instance_uid for each in report.failures] == [uid for _, uid in PAIRS[1:]]
    error = failed.value.exceptions[0]
    assert isinstance(error, NotCommitted)
    assert str(error) == "1.2.3.2: 0x0112 the peer does not have the instance"


async def test_long_lists_are_several_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "INSTANCES_PER_TRANSACTION", 2)
    async with provider(same_association=0) as archive:
        report = await commit(archive, [*PAIRS, *PAIRS])
        assert [len(each.instances) for each in archive.requests] == [2, 2, 1]
    assert (len(report.committed), report.transactions) == (10, 3)


async def test_files_are_asked_for_by_their_uids(tmp_path: Path) -> None:
    paths = [tmp_path / name for name in ("a.dcm", "b.dcm")]
    for path in paths:
        save(instance("1.2.3.1"), path)
    (tmp_path / "notes.txt").write_text("not DICOM")
    async with provider(same_association=0) as archive:
        report = await commit(archive, tmp_path)
        (asked,) = archive.requests
    assert [Path(each.name).name for each in report.committed] == ["a.dcm", "b.dcm"]
    assert [each.skipped for each in report.results] == [True, False, False]
    assert [each.sop_instance_uid for each in asked.instances] == ["1.2.3.1"]


async def test_nothing_is_asked_for_what_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ExceptionGroup) as failed:
        await dimse.commit("A@localhost:1", [tmp_path / "gone", (CT, "not a UID")])
    assert len(failed.value.exceptions) == 2


async def test_a_receiver_on_a_server_of_ours_serves_several_jobs() -> None:
    async with provider(same_association=None) as archive:
        server = Server("WS1", port=int(archive.receiver.rpartition(":")[2]))
        commitments = Commitments(server)
        async with server:
            reports = await asyncio.gather(*(commit(archive, [pair], receiver=commitments) for pair in PAIRS))
    assert sum(len(report.committed) for report in reports) == 5


async def test_a_silent_provider_commits_to_nothing() -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_n_action(uids.STORAGE_COMMITMENT)
    async def act(_: NormalizedRequest) -> int:
        return Status.SUCCESS

    async with server:
        address = f"ARCHIVE@localhost:{server.port}"
        report = await dimse.commit(
            address, PAIRS, wait=0.01, receiver=f"WS1@localhost:{free_port()}", raise_failures=False
        )
    assert {str(each.error) for each in report.failures} == {f"{uid}: no report within 0.01 s" for _, uid in PAIRS}


@pytest.mark.parametrize("ends", ["refuses", "aborts"])
async def test_a_provider_that_refuses_or_aborts(ends: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commitment, "INSTANCES_PER_TRANSACTION", 3)
    server = Server("ARCHIVE", port=0)

    @server.on_n_action(uids.STORAGE_COMMITMENT)
    async def act(request: NormalizedRequest) -> int:
        if ends == "aborts":
            request.association.abort()
        return 0x0213

    async with server:
        address, receiver = f"ARCHIVE@localhost:{server.port}", f"WS1@localhost:{free_port()}"
        report = await dimse.commit(address, PAIRS, receiver=receiver, raise_failures=False)
    assert (len(report.failures), report.transactions) == (5, 2 if ends == "refuses" else 1)
    assert all(each.error is not None and each.error.__cause__ is not None for each in report.failures)


async def test_a_port_that_is_taken() -> None:
    async with provider(same_association=0) as archive, Server("WS1", port=0) as other:
        with pytest.raises(OSError, match="in use"):
            await commit(archive, PAIRS, receiver=f"WS1@localhost:{other.port}")


async def test_without_a_free_default_port_reports_come_on_the_same_association(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async with Server("WS1", port=0) as other, provider(same_association=0) as archive:
        monkeypatch.setattr(commitment, "DEFAULT_PORT", other.port)
        report = await commit(archive, PAIRS, receiver=None)
    assert len(report.committed) == 5
    assert f"cannot listen on localhost:{other.port}: Address already in use" in caplog.text


async def test_without_an_association_nothing_is_known() -> None:
    with pytest.raises(AssociationError):
        await dimse.commit(f"ARCHIVE@localhost:{free_port()}", PAIRS)


async def test_a_provider_without_the_service() -> None:
    async with Server("ARCHIVE", port=0) as server:
        with pytest.raises(PresentationContextError, match="Storage Commitment"):
            await dimse.commit(f"ARCHIVE@localhost:{server.port}", PAIRS)


async def test_arguments_are_checked() -> None:
    with pytest.raises(ValueError, match="wait must be a positive number"):
        await dimse.commit("A@localhost:1", PAIRS, wait=0)


async def test_without_a_certificate_reports_come_on_the_same_association(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "archive.pem").write_text(CERTIFICATE)
    (tmp_path / "archive.key").write_text(KEY)
    secured = TLSOptions(certificate=tmp_path / "archive.pem", key=tmp_path / "archive.key")
    trusting = ClientOptions(tls=TLSOptions(ca=tmp_path / "archive.pem"))
    async with provider(same_association=0, tls=secured) as archive:
        report = await dimse.commit(archive.address, PAIRS, options=trusting)
        with pytest.raises(ValueError, match="needs a certificate"):
            await dimse.commit(archive.address, PAIRS, options=trusting, receiver=archive.receiver)
    assert len(report.committed) == 5
    assert "needs a certificate" in caplog.text
