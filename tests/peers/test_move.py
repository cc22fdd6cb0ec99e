"""C-MOVE with peers: we have Orthanc and dcmqrscp send to us; movescu and pynetdicom have us send to others."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

import dimse
from dimse import CEchoSCU, CMoveSCU, Query, QueryRetrieveModel, ServerOptions, Status, StoreOptions, StoreRequest
from dimse.uids import LITTLE_ENDIAN, STUDY_ROOT_MOVE
from tests.ports import free_port

from .archive import CT, MIXED, SOME, SOME_COUNT, TREE, Archive
from .conftest import PeerFactory
from .dimse_peer import FileArchive
from .processes import PYNETDICOM_PEER, names_in, need, need_pynetdicom, run
from .samples import dataset_bytes, differences, sop_instance_uid, transfer_syntax

PATIENT_ROOT, STUDY_ROOT = QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveModel.STUDY_ROOT


# We have it moved


class Destination:
    """Where an archive sends what DIMSE is to have."""

    refused: str | None = None
    """A SOP class that it does not take."""

    def __init__(self, folder: Path, port: int) -> None:
        self.server = dimse.Server("DIMSE", port=port, options=ServerOptions(store=StoreOptions(fsync=False)))
        self.server.on_c_store(self._store)
        self.folder = folder
        self.originators: set[tuple[str | None, int | None]] = set()

    async def _store(self, request: StoreRequest) -> Status:
        command = request.command
        self.originators.add((command.move_originator_application_entity_title, command.move_originator_message_id))
        if request.sop_class_uid == self.refused:
            return Status.OUT_OF_RESOURCES
        await request.save(self.folder / request.sop_instance_uid)
        return Status.SUCCESS

    @property
    def names(self) -> list[str]:
        return sorted(names_in(self.folder))


@asynccontextmanager
async def destination(archive: Archive, folder: Path) -> AsyncIterator[Destination]:
    destination = Destination(folder, archive.destination)
    async with destination.server:
        yield destination


@pytest.mark.parametrize(
    "query",
    [
        Query.patients(PatientID="MIXED"),
        Query.studies(PatientID="MIXED", StudyInstanceUID=MIXED, model=PATIENT_ROOT),
        Query.studies(StudyInstanceUID=MIXED),
    ],
    ids=repr,
)
async def test_a_study_of_many_syntaxes(archive: Archive, tmp_path: Path, query: Query) -> None:
    total = len(archive.mixed)
    async with destination(archive, tmp_path) as receiver, dimse.connect(archive.address) as association:
        counters = CMoveSCU(association).move(query, "DIMSE")
        seen = [suboperations async for suboperations in counters]
    assert counters.status == Status.SUCCESS
    assert (seen[-1].completed, seen[-1].failed, seen[-1].warning) == (total, 0, 0)
    completed = [suboperations.completed or 0 for suboperations in seen]
    assert completed == sorted(completed)
    assert {one.total for one in seen if one.total is not None} == {total}
    assert receiver.names == sorted(archive.mixed)
    assert receiver.originators == {("DIMSE", 1)}
    for uid, path in archive.mixed.items():
        assert transfer_syntax(tmp_path / uid) == transfer_syntax(path)
        assert differences(tmp_path / uid, path) == []


@pytest.mark.parametrize(
    ("query", "uids"),
    [
        (Query.series(StudyInstanceUID=TREE, SeriesInstanceUID="2.25.51100"), ["2.25.51100.1", "2.25.51100.2"]),
        (
            Query.instances(StudyInstanceUID=TREE, SeriesInstanceUID="2.25.51100", SOPInstanceUID="2.25.51100.2"),
            ["2.25.51100.2"],
        ),
    ],
    ids=["series", "instance"],
)
async def test_levels(archive: Archive, tmp_path: Path, query: Query, uids: list[str]) -> None:
    async with destination(archive, tmp_path) as receiver, dimse.connect(archive.address) as association:
        async for suboperations in CMoveSCU(association).move(query, "DIMSE"):
            assert not suboperations.failed
    assert receiver.names == uids


async def test_a_destination_that_refuses_one(archive: Archive, tmp_path: Path) -> None:
    """dcmqrscp names it and goes on. Orthanc stops there, and its last counters are all zero."""
    async with destination(archive, tmp_path) as receiver, dimse.connect(archive.address) as association:
        receiver.refused = CT
        moving = CMoveSCU(association).move(Query.studies(StudyInstanceUID=MIXED), "DIMSE", raise_failures=False)
        *_, last = [suboperations async for suboperations in moving]
        if archive.name == "orthanc":
            assert (moving.status, last.completed, last.failed) == (Status.CANNOT_UNDERSTAND, 0, 0)
        else:
            assert moving.status == Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
            assert (last.completed, last.failed) == (len(archive.mixed) - 1, 1)
            (failure,) = moving.failures
            assert isinstance(failure, dimse.SubOperationFailed)
            assert failure.sop_instance_uid == f"{MIXED}.1.1"
        assert (await CEchoSCU(association).echo()).status == Status.SUCCESS


async def test_unknown_destination(archive: Archive) -> None:
    """The standard's status comes from dcmqrscp only."""
    async with dimse.connect(archive.address) as association:
        with pytest.raises(dimse.StatusError) as failed:
            async for _ in CMoveSCU(association).move(Query.studies(StudyInstanceUID=TREE), "NOBODY"):
                pass
        assert failed.value.status == (
            Status.CANNOT_UNDERSTAND if archive.name == "orthanc" else Status.MOVE_DESTINATION_UNKNOWN
        )
        assert (await CEchoSCU(association).echo()).status == Status.SUCCESS


async def test_nobody_at_the_destination(archive: Archive) -> None:
    """Nothing listens there. dcmqrscp names what it could not send; Orthanc says nothing."""
    async with dimse.connect(archive.address) as association:
        moving = CMoveSCU(association).move(Query.studies(StudyInstanceUID=TREE), "DIMSE", raise_failures=False)
        *_, last = [suboperations async for suboperations in moving]
        assert not last.completed
        assert isinstance(moving.failures[-1], dimse.StatusError)
        uids = {one.sop_instance_uid for one in moving.failures if isinstance(one, dimse.SubOperationFailed)}
        assert len(uids) == (0 if archive.name == "orthanc" else 3)
        assert (await CEchoSCU(association).echo()).status == Status.SUCCESS


async def test_leaving_early_cancels(archive: Archive, tmp_path: Path) -> None:
    """And the association is good for more."""
    async with destination(archive, tmp_path) as receiver, dimse.connect(archive.address) as association:
        moving = CMoveSCU(association)
        async with moving.move(Query.studies(StudyInstanceUID=SOME), "DIMSE") as counters:
            async for suboperations in counters:
                if suboperations.completed:
                    break
        assert counters.status == Status.CANCEL
        assert 0 < len(receiver.names) < SOME_COUNT
        assert (await CEchoSCU(association).echo()).status == Status.SUCCESS
        async for _ in moving.move(Query.series(StudyInstanceUID=TREE, SeriesInstanceUID="2.25.51200"), "DIMSE"):
            pass
        assert "2.25.51200.1" in receiver.names


# They have it moved


MOVED = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={MIXED}"]


@pytest.mark.parametrize("root", ["-P", "-S"])
@pytest.mark.parametrize("third", ["storescp +B", "orthanc"])
async def test_movescu_to_a_third(peer: PeerFactory, mixed_files: dict[str, Path], third: str, root: str) -> None:
    scp = peer(third)
    archive = FileArchive(list(mixed_files.values()), {"THIRD": scp.address})
    async with archive.server:
        code, output = await run(
            need("movescu"), "-v", root, *MOVED, "-aem", "THIRD", "-aec", "DIMSE", "127.0.0.1", archive.port
        )
    assert code == 0, output
    assert "(Success)" in output
    for uid, path in mixed_files.items():
        received = scp.received(uid)
        assert transfer_syntax(received) == transfer_syntax(path)
        if third == "orthanc":
            assert differences(received, path) == []
        else:
            assert dataset_bytes(received) == dataset_bytes(path)
            received.unlink()


async def test_movescu_to_itself(mixed_files: dict[str, Path], tmp_path: Path) -> None:
    """It matches the move originator to its own request."""
    port = free_port()
    archive = FileArchive(list(mixed_files.values()), {"MOVESCU": f"MOVESCU@127.0.0.1:{port}"})
    async with archive.server:
        options = ["-aet", "MOVESCU", "-aec", "DIMSE", "+P", str(port), "+xa", "-od", str(tmp_path)]
        code, output = await run(need("movescu"), "-d", "-S", *MOVED, *options, "127.0.0.1", archive.port)
    assert code == 0, output
    assert output.count("Move Originator AE Title      : MOVESCU") == len(mixed_files)
    assert output.count("Move Originator ID            : 1") == len(mixed_files)
    received = {sop_instance_uid(tmp_path / name): tmp_path / name for name in names_in(tmp_path)}
    assert sorted(received) == sorted(mixed_files)
    for uid, path in mixed_files.items():
        assert transfer_syntax(received[uid]) == transfer_syntax(path)
        assert differences(received[uid], path) == []


async def test_movescu_cancels(peer: PeerFactory, mixed_files: dict[str, Path]) -> None:
    scp = peer("storescp +B")
    archive = FileArchive(list(mixed_files.values()) * 200, {"THIRD": scp.address})
    async with archive.server:
        options = ["-aem", "THIRD", "--cancel", "2", "-aec", "DIMSE"]
        code, output = await run(need("movescu"), "-v", "-S", *MOVED, *options, "127.0.0.1", archive.port)
    assert code == 0, output
    assert "Final Move Response (Cancel" in output
    for name in names_in(scp.folder):
        if MIXED in name:
            (scp.folder / name).unlink()


async def test_movescu_to_an_unknown_title(mixed_files: dict[str, Path]) -> None:
    archive = FileArchive(list(mixed_files.values()), {})
    async with archive.server:
        options = ["-aem", "NOBODY", "-aec", "DIMSE"]
        code, output = await run(need("movescu"), "-v", "-S", *MOVED, *options, "127.0.0.1", archive.port)
    assert "MoveDestinationUnknown" in output, output
    assert code != 0


async def pynetdicom(mixed_files: dict[str, Path], third: str) -> tuple[int, int, set[str]]:
    """The final status, how many arrived, and what did not."""
    archive = FileArchive(list(mixed_files.values()), {"THIRD": third})
    async with archive.server:
        command = [
            need_pynetdicom(),
            str(PYNETDICOM_PEER),
            "move",
            archive.port,
            "THIRD",
            STUDY_ROOT_MOVE,
            MIXED,
        ]
        code, output = await run(*command)
    assert code == 0, output
    status, completed, *failed = output.split()
    return int(status), int(completed), set(failed)


async def test_pynetdicom_to_a_third(peer: PeerFactory, mixed_files: dict[str, Path]) -> None:
    scp = peer("storescp +B")
    assert await pynetdicom(mixed_files, scp.address) == (Status.SUCCESS, len(mixed_files), set())
    for uid, path in mixed_files.items():
        assert dataset_bytes(scp.received(uid)) == dataset_bytes(path)
        scp.received(uid).unlink()


async def test_pynetdicom_hears_what_a_third_did_not_take(peer: PeerFactory, mixed_files: dict[str, Path]) -> None:
    compressed = {uid for uid, path in mixed_files.items() if transfer_syntax(path) not in LITTLE_ENDIAN}
    told = await pynetdicom(mixed_files, peer("storescp uncompressed").address)
    assert told == (Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES, 1, compressed)
