"""C-GET with peers: we retrieve from Orthanc and dcmqrscp; getscu and pynetdicom retrieve from us."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from pydicom import dcmread
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

import dimse
from dimse import (
    CancelBehavior,
    CFindSCU,
    CGetSCU,
    Query,
    QueryRetrieveModel,
    Status,
    StoreRequest,
    SubOperationFailed,
    retrieval_contexts,
)
from dimse.uids import LITTLE_ENDIAN, QUERY_RETRIEVE
from dimse.upper_layer.negotiation import ProposedContext

from .archive import CT, MIXED, SOME, SOME_COUNT, TREE, Archive, syntaxes
from .dimse_peer import FileArchive
from .processes import PYNETDICOM_PEER, names_in, need, need_pynetdicom, run
from .samples import dataset_bytes, differences, transfer_syntax

PATIENT_ROOT, STUDY_ROOT = QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveModel.STUDY_ROOT
BY_UID = "{SOPInstanceUID}"


def contexts(archive: Archive) -> list[ProposedContext]:
    """dcmqrscp looks for a context by the SOP class alone: it gets one for each."""
    wanted = syntaxes(archive.mixed.values())
    if archive.name == "orthanc":
        return retrieval_contexts(list(wanted))
    query = [ProposedContext(uid, LITTLE_ENDIAN) for uid in QUERY_RETRIEVE]
    return [*query, *(ProposedContext(uid, (syntax,), as_scp=True) for uid, syntax in wanted.items())]


# We retrieve


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
    async with dimse.connect(archive.address, contexts=contexts(archive)) as association:
        instances = CGetSCU(association).get(query, into=tmp_path, template=BY_UID)
        received = [instance async for instance in instances]
    assert instances.status == Status.SUCCESS
    assert (instances.suboperations.completed, instances.suboperations.failed) == (len(archive.mixed), 0)
    assert sorted(instance.sop_instance_uid for instance in received) == sorted(archive.mixed)
    for uid, path in archive.mixed.items():
        assert transfer_syntax(tmp_path / uid) == transfer_syntax(path)
        assert differences(tmp_path / uid, path) == []


@pytest.mark.parametrize(
    ("query", "count"),
    [
        (Query.series(StudyInstanceUID=TREE, SeriesInstanceUID="2.25.51100"), 2),
        (Query.instances(StudyInstanceUID=TREE, SeriesInstanceUID="2.25.51100", SOPInstanceUID="2.25.51100.2"), 1),
        (Query.studies(StudyInstanceUID=[TREE, MIXED]), 9),
    ],
    ids=["series", "instance", "two studies"],
)
async def test_levels(archive: Archive, query: Query, count: int) -> None:
    """Without a folder: each is given as a stream, and read here."""
    async with dimse.connect(archive.address, contexts=contexts(archive)) as association:
        instances, uids = CGetSCU(association).get(query), []
        async for instance in instances:
            uids.append(instance.dataset.SOPInstanceUID)
            async for _ in instance.pixels():
                pass
    assert instances.status == Status.SUCCESS
    assert len(uids) == len(set(uids)) == count


async def test_what_it_does_not_have(archive: Archive) -> None:
    """dcmqrscp brings nothing; for Orthanc that is a failure."""
    async with dimse.connect(archive.address, contexts=contexts(archive)) as association:
        instances = CGetSCU(association).get(Query.studies(StudyInstanceUID="2.25.1"), raise_failures=False)
        assert [instance async for instance in instances] == []
        assert instances.status == (Status.CANNOT_UNDERSTAND if archive.name == "orthanc" else Status.SUCCESS)


async def test_leaving_early_cancels(archive: Archive, tmp_path: Path) -> None:
    """And the association is good for more."""
    async with dimse.connect(archive.address, contexts=contexts(archive)) as association:
        async with CGetSCU(association).get(
            Query.studies(StudyInstanceUID=SOME), into=tmp_path, template=BY_UID
        ) as instances:
            async for instance in instances:
                assert instance.sop_instance_uid in names_in(tmp_path)
                if len(names_in(tmp_path)) == 3:
                    break
        # dcmqrscp says what became of the one that was on its way, if that was refused
        warning = Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES
        assert instances.status in ((Status.CANCEL, warning) if archive.name == "dcmqrscp" else (Status.CANCEL,))
        query = Query.studies(StudyInstanceUID=TREE)
        assert len([match async for match in CFindSCU(association).find(query)]) == 1
    assert len(names_in(tmp_path)) == 3


async def test_leaving_early_completes_what_is_on_its_way(archive: Archive, tmp_path: Path) -> None:
    async with dimse.connect(archive.address, contexts=contexts(archive)) as association:
        query = Query.studies(StudyInstanceUID=SOME)
        complete = CancelBehavior.COMPLETE_IN_FLIGHT
        async with CGetSCU(association).get(query, into=tmp_path, template=BY_UID, on_cancel=complete) as instances:
            given = [await anext(instances), await anext(instances)]
    assert instances.status == Status.CANCEL
    uids = {instance.sop_instance_uid for instance in [*given, *instances.completed_in_flight]}
    assert names_in(tmp_path) == uids
    assert len(uids) < SOME_COUNT


async def test_an_instance_that_we_refuse(archive: Archive) -> None:
    """The others come, the archive reports it as failed, and the association is good for more."""

    async def store(request: StoreRequest) -> int:
        return Status.OUT_OF_RESOURCES if request.sop_class_uid == CT else Status.SUCCESS

    async with dimse.connect(archive.address, contexts=contexts(archive)) as association:
        instances = CGetSCU(association).get(Query.studies(StudyInstanceUID=MIXED), handler=store, raise_failures=False)
        assert len([instance async for instance in instances]) == len(archive.mixed) - 1
        assert instances.suboperations.failed == 1
        (failure,) = instances.failures
        assert isinstance(failure, SubOperationFailed)
        assert failure.sop_instance_uid == f"{MIXED}.1.1"
        query = Query.studies(StudyInstanceUID=TREE)
        assert len([match async for match in CFindSCU(association).find(query)]) == 1


@pytest.mark.parametrize("archive", ["dcmqrscp"], indirect=True)
async def test_dcmqrscp_sends_a_class_in_one_syntax(archive: Archive, tmp_path: Path) -> None:
    """In that of the first context of the class; what it does not send it names."""
    contexts = retrieval_contexts(list(syntaxes(archive.mixed.values())))
    async with dimse.connect(archive.address, contexts=contexts) as association:
        query = Query.studies(StudyInstanceUID=MIXED)
        instances = CGetSCU(association).get(query, into=tmp_path, raise_failures=False)
        assert [instance.sop_class_uid async for instance in instances] == [CT]
    uids = {failure.sop_instance_uid for failure in instances.failures if isinstance(failure, SubOperationFailed)}
    assert uids == {uid for uid, path in archive.mixed.items() if transfer_syntax(path) not in LITTLE_ENDIAN}


# They retrieve


async def getscu(archive: FileArchive, folder: Path, *options: str) -> str:
    """What it says."""
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={MIXED}"]
    where = ["-od", str(folder), "-aec", "DIMSE", "127.0.0.1", archive.port]
    code, output = await run(need("getscu"), "-v", "-S", *keys, "+B", *options, *where)
    assert code == 0, output
    return output


@pytest.mark.parametrize(
    ("option", "syntax"),
    [("+x=", ".1"), ("+xy", ".4.50"), ("+xw", ".4.91"), ("+xr", ".5"), ("+xs", ".4.70")],
)
async def test_getscu_takes_one_syntax(mixed_files: dict[str, Path], tmp_path: Path, option: str, syntax: str) -> None:
    """It gets what is in that, and hears how many are not."""
    archive = FileArchive(list(mixed_files.values()), {})
    async with archive.server:
        output = await getscu(archive, tmp_path, option)
    fitting = {uid for uid, path in mixed_files.items() if transfer_syntax(path) == f"1.2.840.10008.1.2{syntax}"}
    assert names_in(tmp_path) == fitting
    assert all(dataset_bytes(tmp_path / uid) == dataset_bytes(mixed_files[uid]) for uid in fitting)
    assert f"Number of Completed Suboperations : {len(fitting)}" in output
    assert f"Number of Failed Suboperations    : {len(mixed_files) - len(fitting)}" in output


async def test_getscu_of_what_is_decompressed_for_it(mixed_files: dict[str, Path], tmp_path: Path) -> None:
    uid = next(uid for uid, path in mixed_files.items() if transfer_syntax(path) == RLELossless)
    archive = FileArchive([mixed_files[uid]], {}, allow_decompression=True)
    async with archive.server:
        output = await getscu(archive, tmp_path)
    assert "Number of Failed Suboperations    : 0" in output
    received = dcmread(tmp_path / uid)
    assert received.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
    assert (received.pixel_array == dcmread(mixed_files[uid]).pixel_array).all()


async def pynetdicom(archive: FileArchive, folder: Path, *, cancel: int = 0) -> int:
    """The final status. It takes the role of the SCP for each class in each syntax."""
    where = [archive.port, str(folder), STUDY_ROOT.sop_class("get"), MIXED, "--cancel", str(cancel)]
    code, output = await run(need_pynetdicom(), str(PYNETDICOM_PEER), "get", *where)
    assert code == 0, output
    return int(output)


async def test_pynetdicom(mixed_files: dict[str, Path], tmp_path: Path) -> None:
    archive = FileArchive(list(mixed_files.values()), {})
    async with archive.server:
        assert await pynetdicom(archive, tmp_path) == Status.SUCCESS
    assert names_in(tmp_path) == set(mixed_files)
    for uid, path in mixed_files.items():
        assert transfer_syntax(tmp_path / uid) == transfer_syntax(path)
        assert dataset_bytes(tmp_path / uid) == dataset_bytes(path)


async def test_pynetdicom_cancels(mixed_files: dict[str, Path], tmp_path: Path) -> None:
    archive = FileArchive(list(mixed_files.values()) * 200, {})
    async with archive.server:
        assert await pynetdicom(archive, tmp_path, cancel=2) == Status.CANCEL


async def test_a_whole_study_of_many_syntaxes_is_retrieved(archive: Archive, tmp_path: Path) -> None:
    """dcmqrscp looks at the first context of a class only; Orthanc decompresses for native contexts what it can."""
    receiver = f"DIMSE@127.0.0.1:{archive.destination}"
    query = Query.studies(StudyInstanceUID=MIXED)
    report = await dimse.retrieve(archive.address, query, into=tmp_path, receiver=receiver)
    paths = {result.sop_instance_uid: result.path for result in report.retrieved}
    assert paths.keys() == archive.mixed.keys()
    for uid, path in paths.items():
        assert path is not None
        if transfer_syntax(path) == transfer_syntax(archive.mixed[uid]):
            assert differences(path, archive.mixed[uid]) == []
        else:
            assert archive.name == "orthanc"
            dataset = dcmread(path)
            assert len(dataset.PixelData) >= dataset.Rows * dataset.Columns * dataset.SamplesPerPixel


async def test_interrupted_retrievals_go_on(archive: Archive, tmp_path: Path) -> None:
    query, retrieved = Query.studies(StudyInstanceUID=SOME), list[str]()
    receiver = f"DIMSE@127.0.0.1:{archive.destination}"

    async def run(stop_after: int | None) -> dimse.RetrieveReport:
        arrived = 0

        def note(result: dimse.RetrieveResult) -> None:
            nonlocal arrived
            if result.retrieved:
                retrieved.append(result.sop_instance_uid)
                arrived += 1
            if arrived == stop_after:
                job.cancel()

        job = asyncio.ensure_future(
            dimse.retrieve(archive.address, query, into=tmp_path, template=BY_UID, receiver=receiver, on_result=note)
        )
        return await job

    for stop_after in (1, 5, 3):
        with pytest.raises(asyncio.CancelledError):
            await run(stop_after)
    report = await run(None)
    assert len(report.existing) + len(report.retrieved) == report.listed == len(names_in(tmp_path))
    assert len(retrieved) == len(set(retrieved))
    last = await run(None)
    assert (len(last.existing), last.retrieved) == (report.listed, ())
