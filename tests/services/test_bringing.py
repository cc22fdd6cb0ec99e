"""How an archive brings what it lists: which contexts it is offered, one by one, the other way, and odd UIDs."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom import DataElement, dcmread
from pydicom.config import IGNORE
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.uid import RLELossless
from tests.acceptances import change_acceptances
from tests.sample_objects import CT, EXPLICIT, encoded
from tests.services.member_archive import ADA, AT_ONCE, STUDY, Archive, files_in, member, retrieve, uids_of, where

import dimse
from dimse import (
    Association,
    ClientOptions,
    CStoreSCU,
    Query,
    QueryRequest,
    RetrieveMethod,
    RetryPolicy,
    Status,
    StatusError,
    Strictness,
    presentation_contexts,
)
from dimse.dataset.sources import MemorySource
from dimse.messages.message import C_GET_RQ
from dimse.network.association import exchange_of
from dimse.network.server import services_of
from dimse.services.contexts import NATIVE
from dimse.services.given import Source
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ

NEVER = RetryPolicy(retries=0)
RLE = str(RLELossless)


class Noting(Archive):
    """Notes which syntaxes each association has for CT, context by context."""

    def __init__(self, *, get: bool = True, move: bool = False) -> None:
        super().__init__(get=get, move=move)
        self.proposed: list[list[tuple[str, ...]]] = []
        change_acceptances(self, self._noted)

    def _noted(self, request: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> A_ASSOCIATE_AC:
        of_ct = [each.transfer_syntaxes for each in request.presentation_contexts if each.abstract_syntax == CT]
        if of_ct:
            self.proposed.append(of_ct)
        return acceptance


def compressed(uid: str) -> Source:
    path = get_testdata_file("MR_small_RLE.dcm", download=False)
    assert isinstance(path, str)
    dataset = dcmread(path)
    dataset.SOPClassUID, dataset.SOPInstanceUID = CT, uid
    return MemorySource([encoded(dataset, RLE)], sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=RLE)


# The contexts


async def test_native_contexts_come_first(tmp_path: Path) -> None:
    async with Noting() as archive:
        await retrieve(archive, STUDY, tmp_path)
    assert archive.proposed == [[NATIVE]]


async def test_what_is_compressed_comes_with_other_contexts_whatever_the_retries(tmp_path: Path) -> None:
    """The Error Comment has said which syntax it is in, which is therefore the first that is proposed."""
    async with Noting() as archive:
        archive.sources["1.1.1.2"] = compressed("1.1.1.2")
        report = await retrieve(archive, STUDY, tmp_path, retry=NEVER)
    assert sorted(uids_of(report)) == ADA[:3]
    first, second = archive.proposed
    assert first == [NATIVE]
    assert second[0] == (RLE,)
    assert all(len(each) == 1 for each in second)
    assert [asked[1:] for asked in archive.asked] == [("STUDY", ["1.1"]), ("IMAGE", ["1.1.1.2"])]


async def test_a_syntax_that_the_archive_lists_is_proposed_at_once(tmp_path: Path) -> None:
    async with Noting() as archive:
        for found in archive.instances:
            found.AvailableTransferSyntaxUID = RLE if found.SOPInstanceUID == "1.1.1.2" else EXPLICIT
        archive.sources["1.1.1.2"] = compressed("1.1.1.2")
        report = await retrieve(archive, STUDY, tmp_path, retry=NEVER)
    assert uids_of(report) == ADA[:3]
    assert archive.proposed == [[(RLE,), NATIVE]]


# One by one


def ends_at(archive: Archive, uid: str, how: str) -> None:
    """Ends each C-GET or C-MOVE where it comes to one instance."""
    bring = archive.bring

    async def until(request: QueryRequest) -> AsyncIterator[Source]:
        async for source in bring(request):
            if isinstance(source, Dataset) and source.SOPInstanceUID == uid:
                if how == "abort":
                    request.association.abort()
                return
            yield source

    if C_GET_RQ in services_of(archive):
        archive.on_c_get(until)
    else:
        archive.on_c_move(until)


@pytest.mark.parametrize("way", ["C-GET", "C-MOVE"])
@pytest.mark.parametrize("how", ["success", "abort"])
async def test_one_instance_in_the_way_keeps_no_other_away(how: str, way: str, tmp_path: Path) -> None:
    async with Archive(get=way == "C-GET", move=way == "C-MOVE") as archive:
        archive.instances = [member(f"1.4.1.{number}", pixels=0) for number in range(1, 6)]
        ends_at(archive, "1.4.1.2", how)
        query = Query.studies(StudyInstanceUID="1.4")
        report = await retrieve(archive, query, tmp_path, raise_failures=False)
    assert sorted(uids_of(report)) == ["1.4.1.1", "1.4.1.3", "1.4.1.4", "1.4.1.5"]
    assert [failure.sop_instance_uid for failure in report.failures] == ["1.4.1.2"]


# The other way


@pytest.mark.parametrize("how", ["refused", "aborted", "one by one"])
async def test_c_move_brings_what_c_get_does_not(how: str, tmp_path: Path) -> None:
    async with Archive(get=True, move=True) as archive:
        bring = archive.bring

        async def get(request: QueryRequest) -> AsyncIterator[Source]:
            async for source in bring(request):
                if how == "refused":
                    raise StatusError(Status(0xC000), "test")
                if how == "aborted":
                    request.association.abort()
                    return
                assert isinstance(source, Dataset)
                yield compressed("9") if source.SOPInstanceUID == "1.1.1.2" else source

        archive.on_c_get(get)
        report = await retrieve(archive, STUDY, tmp_path, retry=NEVER)
    ways = {result.sop_instance_uid: result.method for result in report.retrieved}
    others = RetrieveMethod.GET if how == "one by one" else RetrieveMethod.MOVE
    assert ways == {"1.1.1.1": others, "1.1.1.2": RetrieveMethod.MOVE, "1.1.2.1": others}
    assert files_in(tmp_path) == where(*ADA[:3])


async def test_a_taken_port_is_the_reason_and_raises_nothing_where_c_get_brings_the_others(tmp_path: Path) -> None:
    async with Archive(get=True, move=True) as archive:
        archive.keeps_back["1.1.1.2"] = 99
        with socket.create_server(("127.0.0.1", int(archive.receiver.rpartition(":")[2]))):
            report = await retrieve(archive, STUDY, tmp_path, retry=NEVER, raise_failures=False)
    assert uids_of(report) == ["1.1.1.1", "1.1.2.1"]
    assert "cannot listen for a C-MOVE" in str(report.failures[0].error)


async def test_the_receiver_takes_what_is_sent_later(tmp_path: Path) -> None:
    """Between two attempts, after an archive has said that all is done."""
    async with Archive(move=True) as archive:

        async def send_later(dataset: Dataset) -> None:
            async with dimse.connect(archive.receiver, contexts=presentation_contexts([dataset])) as association:
                await CStoreSCU(association).send(dataset)

        async def move(request: QueryRequest) -> AsyncIterator[Source]:
            later = [member(uid) for uid in ADA[:3]]
            exchange_of(request.association).over.add_done_callback(
                lambda _: tasks.extend(asyncio.ensure_future(send_later(each)) for each in later)
            )
            for nothing in list[Source]():
                yield nothing

        tasks: list[asyncio.Task[None]] = []
        archive.on_c_move(move)
        report = await retrieve(archive, STUDY, tmp_path, retry=RetryPolicy(retries=1, delay=60))
        await asyncio.gather(*tasks)
    assert sorted(uids_of(report)) == ADA[:3]
    assert report.seconds < 30


@pytest.mark.parametrize("way", ["C-GET", "C-MOVE"])
async def test_what_this_side_refused_is_said_with_its_reason(way: str, tmp_path: Path) -> None:
    async with Archive(get=way == "C-GET", move=way == "C-MOVE") as archive:
        archive.sources["1.1.1.2"] = MemorySource(
            [encoded(member("1.9.9.9"))], sop_class_uid=CT, sop_instance_uid="1.1.1.2", transfer_syntax_uid=EXPLICIT
        )
        report = await retrieve(archive, STUDY, tmp_path, retry=NEVER, raise_failures=False)
    (failure,) = report.failures
    assert failure.sop_instance_uid == "1.1.1.2"
    assert "refused with 0xA900" in str(failure.error)
    assert files_in(tmp_path) == where("1.1.1.1", "1.1.2.1")


async def test_an_archive_that_serves_one_operation_on_an_association(tmp_path: Path) -> None:
    async with Archive(get=True) as archive:
        archive.instances = [member(f"1.4.{series}.{number}", pixels=0) for series in (1, 2, 3) for number in (1, 2)]
        archive.keeps_back.update({str(each.SOPInstanceUID): 1 for each in archive.instances})
        bring, served = archive.bring, set[Association]()

        async def once(request: QueryRequest) -> AsyncIterator[Source]:
            if request.association in served:
                request.association.abort()
                return
            served.add(request.association)
            async for source in bring(request):
                yield source

        archive.on_c_get(once)
        report = await retrieve(archive, Query.studies(StudyInstanceUID="1.4"), tmp_path)
    assert len(report.retrieved) == 6


async def test_lists_that_are_refused_are_asked_for_one_by_one(tmp_path: Path) -> None:
    async with Archive(get=True) as archive:
        bring = archive.bring

        async def single(request: QueryRequest) -> AsyncIterator[Source]:
            if request.identifier["SOPInstanceUID"].VM > 1:
                raise StatusError(Status(0xA900), "test")
            async for source in bring(request):
                yield source

        archive.on_c_get(single)
        query = Query.instances(StudyInstanceUID="1.1", SeriesInstanceUID="1.1.1")
        report = await retrieve(archive, query, tmp_path, retry=NEVER)
    assert sorted(uids_of(report)) == ADA[:2]


@pytest.mark.parametrize(
    "way", [{"get": True}, {"move": True}, {"get": True, "move": True}], ids=lambda way: "-".join(way)
)
async def test_an_archive_that_takes_instances_one_by_one_only(way: dict[str, bool], tmp_path: Path) -> None:
    async with Archive(**way) as archive:
        bring = archive.bring

        async def single(request: QueryRequest) -> AsyncIterator[Source]:
            async for source in bring(request):
                if request.level != "IMAGE" or request.identifier["SOPInstanceUID"].VM > 1:
                    raise StatusError(Status(0xA900), "test")
                yield source

        if way.get("get"):
            archive.on_c_get(single)
        if way.get("move"):
            archive.on_c_move(single)
        report = await retrieve(archive, STUDY, tmp_path, retry=NEVER)
    assert sorted(uids_of(report)) == ADA[:3]


# UIDs that break the rules


@pytest.mark.parametrize("uid", ["1.2.x", "", "1.2\\1.3", "9" * 70])
async def test_a_class_that_is_no_uid_costs_nothing(uid: str, tmp_path: Path) -> None:
    """A strict archive would abort an association that is asked for with it."""
    archive = Archive(get=True)
    archive.options = replace(archive.options, strictness=Strictness.STRICT)
    async with archive:

        @archive.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            async for match in Archive.find(archive, request):
                if match.get("SOPInstanceUID") == "1.1.1.2":
                    match["SOPClassUID"] = DataElement(0x00080016, "UI", uid, validation_mode=IGNORE)
                yield match

        report = await retrieve(archive, STUDY, tmp_path, retry=NEVER)
    assert sorted(uids_of(report)) == ADA[:3]


of_the_handlers = pytest.mark.filterwarnings("ignore:Invalid value for VR UI")
"""pydicom's, where the archive of these tests looks at the request."""


def under(uid: str, key: str = "SOPInstanceUID") -> Callable[[Dataset], None]:
    def rename(dataset: Dataset) -> None:
        dataset[key] = DataElement(dataset[key].tag, "UI", uid, validation_mode=IGNORE)

    return rename


@of_the_handlers
@pytest.mark.parametrize(
    ("uid", "comes"),
    [
        ("1.2.[3]", True),
        ("UID-3", True),
        ("01..3", True),
        (" 1.1.1.2", True),
        ("1\\2", False),
        ("1.2.*", False),
        ("9" * 70, False),
        ("", None),
    ],
)
@pytest.mark.parametrize("strictness", Strictness)
@pytest.mark.parametrize("way", ["C-GET", "C-MOVE"])
async def test_a_uid_that_breaks_the_rules_costs_its_instance_at_most(
    way: str, strictness: Strictness, uid: str, comes: bool | None, tmp_path: Path
) -> None:
    """`comes`: None is for what cannot be listed. The receiver of a C-MOVE is lenient, as acceptors are."""
    if strictness is Strictness.STRICT and way == "C-GET":
        comes = comes and not set(uid.strip()) - set("0123456789.")
    options = ClientOptions(strictness=strictness)
    async with Archive(get=way == "C-GET", move=way == "C-MOVE") as archive:
        under(uid)(archive.instances[1])
        archive.instances.append(archive.instances[0])
        archive.keeps_back.update({"1.1.2.1": 1} if "\\" in uid else {uid: 1, "1.1.2.1": 1})
        report = await retrieve(archive, STUDY, tmp_path, raise_failures=False, options=options)
    assert {"1.1.1.1", "1.1.2.1"} <= set(uids_of(report))
    assert report.listed == (2 if comes is None else 3)
    if comes:
        assert uid.strip() in uids_of(report)
    else:
        assert [failure.sop_instance_uid for failure in report.failures] == ([] if comes is None else [uid])


@of_the_handlers
@pytest.mark.parametrize(("uid", "comes"), [("1.2.[3]", True), ("1\\2", False), ("9" * 70, False)])
@pytest.mark.parametrize("key", ["StudyInstanceUID", "SeriesInstanceUID"])
async def test_a_study_or_series_with_such_a_uid_costs_no_other(
    key: str, uid: str, comes: bool, tmp_path: Path
) -> None:
    async with Archive(get=True) as archive:
        under(uid, key)(archive.instances[3])
        report = await retrieve(archive, Query.studies(PatientName="Ada*"), tmp_path, raise_failures=False)
    assert sorted(uids_of(report))[:3] == ADA[:3]
    assert [failure.sop_instance_uid for failure in report.failures] == ([] if comes else [uid])


async def test_a_query_below_one_match_that_is_refused_costs_no_other(tmp_path: Path) -> None:
    async with Archive(get=True) as archive:

        @archive.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            if request.identifier.get("SeriesInstanceUID") == "1.1.2":
                raise StatusError(Status(0xA900), "test")
            async for match in Archive.find(archive, request):
                yield match

        report = await retrieve(archive, STUDY, tmp_path, retry=AT_ONCE, raise_failures=False)
    assert ADA[0] in uids_of(report)
    assert [failure.sop_instance_uid for failure in report.failures] == ["1.1.2"]
