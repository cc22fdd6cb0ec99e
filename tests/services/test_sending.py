"""Whole jobs: everything is sent once, what failed is named, and a lost connection loses nothing."""

from __future__ import annotations

import asyncio
import socket
import tempfile
import zipfile
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import cast

import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from tests.acceptances import change_acceptances
from tests.sample_objects import CT, MR, dataset_bytes, encoded, instance, read, save
from tests.server_options import buffered

import dimse
from dimse import (
    AssociationAborted,
    AssociationRejected,
    AssociationTimeout,
    ClientOptions,
    ConnectionLost,
    DatasetError,
    FileSource,
    NativePixels,
    PresentationContextError,
    RetryPolicy,
    SendResult,
    Server,
    Status,
    StatusError,
    StoreRequest,
    StreamSource,
    Timeouts,
    TransferProgress,
)
from dimse.dataset.codec import decode
from dimse.dataset.pydicom_source import PixelSource
from dimse.dataset.sources import MemorySource
from dimse.messages.message import C_STORE_RQ, C_STORE_RSP
from dimse.network.association import exchange_of
from dimse.testing import INFORMATION, ScriptedPeer, listening, message_pdvs, response
from dimse.upper_layer.items import AsynchronousOperationsWindow as Window
from dimse.upper_layer.pdu import (
    A_ABORT,
    A_ASSOCIATE_AC,
    A_ASSOCIATE_RJ,
    A_ASSOCIATE_RQ,
    A_RELEASE_RP,
    A_RELEASE_RQ,
    P_DATA_TF,
)

IMPLICIT, EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
DEFLATED = str(DeflatedExplicitVRLittleEndian)
QUICK = RetryPolicy(delay=0.01, factor=1)


class Archive(Server):
    """Keeps what it gets, and counts."""

    def __init__(self, **options: object) -> None:
        super().__init__("ARCHIVE", port=0, options=buffered(**options))
        self.stored: dict[str, bytes] = {}
        self.syntaxes: dict[str, str] = {}
        self.times: Counter[str] = Counter()
        self.answer: Callable[[StoreRequest], int] = lambda _: Status.SUCCESS
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> int:
        self.times[request.sop_instance_uid] += 1
        status = self.answer(request)
        if status == Status.SUCCESS:
            self.stored[request.sop_instance_uid] = bytes(request.data)
            self.syntaxes[request.sop_instance_uid] = request.transfer_syntax_uid
        return status

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


@pytest.fixture
async def archive() -> AsyncIterator[Archive]:
    async with Archive() as server:
        yield server


@pytest.fixture(autouse=True)
def _short_grace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)


def study(folder: Path, count: int, *, pixels: int = 1000) -> list[Path]:
    folder.mkdir(exist_ok=True)
    return [save(instance(f"1.2.{i}", pixels=pixels), folder / f"{i:03}.dcm") for i in range(1, count + 1)]


def notes_of(error: BaseException) -> str:
    return " ".join(getattr(error, "__notes__", []))


# What there is to send


@pytest.mark.parametrize("syntaxes", [[IMPLICIT], [DEFLATED], [EXPLICIT, IMPLICIT], [str(RLELossless), IMPLICIT]])
async def test_the_transfer_syntaxes_that_are_offered(archive: Archive, tmp_path: Path, syntaxes: list[str]) -> None:
    (path,) = study(tmp_path / "a", 1)
    await dimse.send(archive.address, path, transfer_syntaxes=syntaxes)
    expected = EXPLICIT if EXPLICIT in syntaxes else syntaxes[-1]
    assert archive.syntaxes == {"1.2.1": expected}
    assert decode(archive.stored["1.2.1"], expected) == read(path)


async def test_a_folder(archive: Archive, tmp_path: Path) -> None:
    paths = study(tmp_path / "a", 5)
    (tmp_path / "a" / "notes.txt").write_text("not DICOM")
    results: list[SendResult] = []
    report = await dimse.send(archive.address, [tmp_path], on_result=results.append, calling_ae_title="ME")
    assert archive.stored == {f"1.2.{i}": dataset_bytes(path) for i, path in enumerate(paths, 1)}
    assert tuple(results) == report.results
    assert [result.name for result in report.stored] == [str(path) for path in paths]
    assert all(result.status == Status.SUCCESS and result.attempts == 1 for result in report.stored)
    assert report.bytes_sent == sum(len(dataset_bytes(path)) for path in paths)
    assert report.failures == ()
    (skipped,) = [result for result in report.results if result.skipped]
    assert skipped.name.endswith("notes.txt")
    assert not skipped.stored


async def test_one_of_each(archive: Archive, tmp_path: Path) -> None:
    paths = study(tmp_path / "a", 5)
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as packed:
        packed.write(paths[0], "x/y.dcm")
    await dimse.send(
        archive.address,
        [
            tmp_path / "a.zip",
            str(paths[1]),
            BytesIO(paths[2].read_bytes()),
            FileSource(paths[3]),
            read(paths[4]),
            instance("1.2.6"),
        ],
    )
    assert set(archive.stored) == {f"1.2.{i}" for i in range(1, 7)}
    assert set(archive.times.values()) == {1}


@pytest.mark.parametrize("kind", ["path", "str", "stream", "data set", "source"])
async def test_one_thing_need_not_be_in_a_list(archive: Archive, kind: str, tmp_path: Path) -> None:
    (path,) = study(tmp_path, 1)
    source: object = {
        "path": path,
        "str": str(path),
        "stream": BytesIO(path.read_bytes()),
        "data set": instance("1.2.1"),
        "source": FileSource(path),
    }[kind]
    report = await dimse.send(archive.address, cast("str", source))
    assert len(report.stored) == 1
    assert set(archive.stored) == {"1.2.1"}


async def test_nothing_to_send(archive: Archive, tmp_path: Path) -> None:
    assert (await dimse.send(archive.address, [])).results == ()
    assert (await dimse.send(archive.address, [tmp_path])).results == ()
    with pytest.raises(ValueError, match="associations"):
        await dimse.send(archive.address, [], associations=0)
    with pytest.raises(ValueError, match="TITLE@host:port"):
        await dimse.send("A@::1:104", [])


# Failures


async def test_each_failure_is_named_and_the_others_are_sent(archive: Archive, tmp_path: Path) -> None:
    good = study(tmp_path / "a", 3)
    truncated = tmp_path / "truncated.dcm"
    truncated.write_bytes(good[0].read_bytes()[:140])
    text = tmp_path / "text.dcm"
    text.write_text("not DICOM")
    missing = tmp_path / "missing.dcm"
    archive.answer = lambda request: 0xC123 if request.sop_instance_uid == "1.2.2" else 0
    with pytest.raises(ExceptionGroup, match="4 of 6 not stored at ARCHIVE") as caught:
        await dimse.send(archive.address, [truncated, good[0], text, good[1], missing, good[2]])
    assert set(archive.stored) == {"1.2.1", "1.2.3"}
    errors = caught.value.exceptions
    assert {type(error) for error in errors} == {DatasetError, FileNotFoundError, StatusError}
    for path in (truncated, text, missing, good[1]):
        assert sum(str(path) in str(error) for error in errors) == 1


async def test_failures_need_not_raise(archive: Archive, tmp_path: Path) -> None:
    paths = study(tmp_path, 3)
    archive.answer = lambda request: {"1.2.1": 0xC000, "1.2.2": 0xB000}.get(request.sop_instance_uid, 0)
    report = await dimse.send(archive.address, paths, raise_failures=False)
    assert [result.status for result in report.stored] == [0xB000, 0x0000]  # a warning is stored
    (failure,) = report.failures
    assert (failure.status, failure.sop_instance_uid, failure.name) == (0xC000, "1.2.1", str(paths[0]))
    assert isinstance(failure.error, StatusError)


async def test_a_source_that_fails_half_way_costs_its_own_object_only(archive: Archive, tmp_path: Path) -> None:
    paths = study(tmp_path, 2)

    def stream(size: int) -> StreamSource:
        """It ends too early, which shows only when it has been read so far."""
        data = save(instance("1.2.9", pixels=3_000_000), tmp_path / "x").read_bytes()
        (tmp_path / "x").unlink()
        shrinking = BytesIO(data)
        source = StreamSource(shrinking, "shrinking")
        shrinking.truncate(size)
        return source

    report = await dimse.send(
        archive.address, [paths[0], stream(2_000_000), paths[1]], raise_failures=False, retry=QUICK
    )
    assert set(archive.stored) == {"1.2.1", "1.2.2"}
    (failure,) = report.failures
    assert failure.name == "shrinking"
    assert isinstance(failure.error, DatasetError)


@pytest.mark.parametrize("good", [0, 40])
async def test_a_raising_pixel_iterable_costs_its_own_object_only(archive: Archive, good: int, tmp_path: Path) -> None:
    """At once, when nothing of it has gone out, or half way, which takes the association with it."""

    def buffers() -> Iterator[bytes]:
        for _ in range(good):
            yield bytes(10_000)
        raise ValueError("of the user's")

    bad = PixelSource(instance("1.2.9", pixels=0), NativePixels(buffers(), 1_000_000))
    paths = study(tmp_path, 2)
    options = ClientOptions(maximum_length_to_send=16384)
    report = await dimse.send(archive.address, [paths[0], bad, paths[1]], options=options, raise_failures=False)
    assert set(archive.stored) == {"1.2.1", "1.2.2"}
    (failure,) = report.failures
    assert (failure.name, type(failure.error)) == ("1.2.9", ValueError)


async def test_a_stream_that_can_not_be_looked_at_costs_its_own_object_only(archive: Archive, tmp_path: Path) -> None:
    closed = BytesIO()
    closed.close()
    report = await dimse.send(archive.address, [closed, *study(tmp_path, 1)], raise_failures=False)
    assert set(archive.stored) == {"1.2.1"}
    (failure,) = report.failures
    assert isinstance(failure.error, ValueError)


async def test_a_stream_without_a_name_is_called_something(archive: Archive, tmp_path: Path) -> None:
    (path,) = study(tmp_path, 1)
    with tempfile.TemporaryFile() as stream:  # its `name` is a file descriptor
        stream.write(path.read_bytes())
        stream.seek(0)
        report = await dimse.send(archive.address, stream)
    assert [result.name for result in report.stored] == ["the stream"]


async def test_uids_that_are_none_cost_their_own_object_only(archive: Archive, tmp_path: Path) -> None:
    (path,) = study(tmp_path, 1)
    bad = [
        MemorySource([b""], sop_class_uid=sop_class, sop_instance_uid="1.2", transfer_syntax_uid=syntax, name=name)
        for name, sop_class, syntax in (
            ("class", "not.a.uid", EXPLICIT),
            ("long", "1." + "2" * 70_000, EXPLICIT),
            ("syntax", CT, "1.2.x"),
            ("empty", "", EXPLICIT),
        )
    ]
    strict = Archive(strictness=dimse.Strictness.STRICT)
    async with strict:
        report = await dimse.send(strict.address, [*bad, path], raise_failures=False)
    assert set(strict.stored) == {"1.2.1"}
    assert [failure.name for failure in report.failures] == ["class", "long", "syntax", "empty"]
    assert all(isinstance(failure.error, DatasetError) for failure in report.failures)


async def test_a_class_that_is_not_accepted_says_what_was(tmp_path: Path) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[IMPLICIT])
        while isinstance(pdu := await peer.receive(), P_DATA_TF):
            command = pdu.presentation_data_values
            assert command[0].is_command
        assert pdu == A_RELEASE_RQ()
        await peer.send(A_RELEASE_RP())

    path = get_testdata_file("MR_small_RLE.dcm", download=False)
    assert path is not None
    async with listening(script) as address:
        with pytest.raises(ExceptionGroup) as caught:
            await dimse.send(address, path)
    (error,) = caught.value.exceptions
    assert isinstance(error, PresentationContextError)
    assert "RLE Lossless" in str(error)
    assert "proposed: RLE Lossless, Explicit VR Little Endian, Implicit VR Little Endian" in str(error)
    assert "accepted: Implicit VR Little Endian" in str(error)
    assert "while sending" in notes_of(error)


# Syntaxes


class ImplicitOnly(Archive):
    """A peer that takes Implicit VR Little Endian and nothing else."""

    def __init__(self) -> None:
        super().__init__()
        change_acceptances(self, self._reduced)

    def _reduced(self, _: A_ASSOCIATE_RQ, acceptance: A_ASSOCIATE_AC) -> A_ASSOCIATE_AC:
        contexts = tuple(
            context if context.transfer_syntax == IMPLICIT else replace(context, result=4)
            for context in acceptance.presentation_contexts
        )
        return replace(acceptance, presentation_contexts=contexts)


async def test_a_peer_that_takes_only_implicit(tmp_path: Path) -> None:
    rle = cast("str", get_testdata_file("MR_small_RLE.dcm", download=False))
    plain = cast("str", get_testdata_file("MR_small.dcm", download=False))
    big = cast("str", get_testdata_file("MR_small_bigendian.dcm", download=False))
    paths = study(tmp_path, 2)
    async with ImplicitOnly() as server:
        report = await dimse.send(server.address, [*paths, rle, big], raise_failures=False)
        assert set(server.stored) == {"1.2.1", "1.2.2", FileSource(big).sop_instance_uid}
        assert server.stored["1.2.1"] == encoded(instance("1.2.1"), IMPLICIT)
        assert [failure.name for failure in report.failures] == [rle]
        assert all(isinstance(failure.error, PresentationContextError) for failure in report.failures)
        await dimse.send(server.address, [rle], allow_decompression=True)
        uid = FileSource(plain).sop_instance_uid
        assert server.syntaxes[uid] == IMPLICIT
        stored = decode(server.stored[uid], IMPLICIT)
        assert stored.PixelData == read(Path(plain)).PixelData


# Associations


async def test_more_contexts_than_an_association_has(archive: Archive) -> None:
    """70 classes in three syntaxes: 210 contexts, of which an association has 128."""
    sources = [
        MemorySource(
            [encoded(instance(f"1.2.{i}", sop_class=f"1.2.840.99.{i}"), IMPLICIT)],
            sop_class_uid=f"1.2.840.99.{i}",
            sop_instance_uid=f"1.2.{i}",
            transfer_syntax_uid=IMPLICIT,
        )
        for i in range(140)
    ]
    most = 0

    def answer(request: StoreRequest) -> int:
        nonlocal most
        most = max(most, len(exchange_of(request.association).agreement.request.presentation_contexts))
        return 0

    archive.answer = answer
    report = await dimse.send(archive.address, sources)
    assert len(report.stored) == 140
    assert len(archive.stored) == 140
    assert 100 < most <= 128


async def test_several_associations_at_once(archive: Archive, tmp_path: Path) -> None:
    paths = study(tmp_path, 30)
    seen = set()

    def answer(request: StoreRequest) -> int:
        seen.add(id(request.association))
        return Status.SUCCESS

    archive.answer = answer
    report = await dimse.send(archive.address, paths, associations=3)
    assert len(report.stored) == 30
    assert archive.times == Counter({f"1.2.{i}": 1 for i in range(1, 31)})
    assert 1 <= len(seen) <= 3


async def test_more_syntaxes_of_a_class_than_an_association_has_contexts(tmp_path: Path) -> None:
    """200 private transfer syntaxes: each is offered, with both fallbacks, on one association or the other."""
    syntaxes = [f"1.2.840.99.{i}" for i in range(200)]
    sources = [
        MemorySource(
            [encoded(instance(f"1.2.{i}"), EXPLICIT)],
            sop_class_uid=CT,
            sop_instance_uid=f"1.2.{i}",
            transfer_syntax_uid=syntax,
        )
        for i, syntax in enumerate(syntaxes)
    ]
    proposed: list[list[str]] = []
    received: dict[str, str] = {}

    async def script(peer: ScriptedPeer) -> None:
        contexts = (await peer.accept()).presentation_contexts
        of = {each.presentation_context_id: each.transfer_syntaxes[0] for each in contexts}
        proposed.append(list(of.values()))
        while await peer.goes_on():
            message = await peer.receive_message()
            assert isinstance(message.message, C_STORE_RQ)
            received[message.message.affected_sop_instance_uid] = of[message.presentation_context_id]
            await peer.send(response(message))

    async with listening(script) as address:
        await dimse.send(address, sources)
    assert received == {f"1.2.{i}": syntax for i, syntax in enumerate(syntaxes)}
    assert [len(each) for each in proposed] == [102, 102]
    assert all({IMPLICIT, EXPLICIT} <= set(each) for each in proposed)


async def test_several_where_the_peer_takes_only_one(tmp_path: Path) -> None:
    paths = study(tmp_path, 10)
    async with Archive(maximum_associations=1) as server:
        report = await dimse.send(server.address, paths, associations=4, retry=QUICK)
    assert len(report.stored) == 10
    assert set(server.times.values()) == {1}


async def test_nobody_there(tmp_path: Path) -> None:
    paths = study(tmp_path, 3)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        for associations in (1, 3):
            with pytest.raises(ConnectionLost, match="refused"):
                await dimse.send(f"A@127.0.0.1:{unused.getsockname()[1]}", paths, associations=associations)


@pytest.mark.parametrize("associations", [1, 3])
async def test_rejected_for_good_is_not_tried_again(associations: int, tmp_path: Path) -> None:
    tries = 0

    async def script(peer: ScriptedPeer) -> None:
        nonlocal tries
        tries += 1
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(A_ASSOCIATE_RJ(1, 1, 7))
        await peer.closed()

    async with listening(script) as address:
        with pytest.raises(AssociationRejected, match="called AE title"):
            await dimse.send(address, study(tmp_path, 3), retry=QUICK, associations=associations)
    assert tries == 1


class Pipe(BytesIO):
    def seekable(self) -> bool:
        return False


class Flaky:
    """An acceptor that takes `each` objects on an association and then fails, in a way that changes each time."""

    def __init__(self, *ends: str, each: int = 2) -> None:
        self.ends = list(ends)
        self.each = each
        self.stored: list[str] = []
        self.seen: list[str] = []

    async def __call__(self, peer: ScriptedPeer) -> None:
        end = self.ends.pop(0) if self.ends else "well"
        if end == "congested":
            await peer.expect(A_ASSOCIATE_RQ)
            await peer.send(A_ASSOCIATE_RJ(2, 3, 1))
            await peer.closed()
            return
        await peer.accept()
        number = 0
        while number < self.each or end == "well":
            if end == "well" and not await peer.goes_on():
                return
            await self.store(peer)
            number += 1
        if end == "aborts in mid-object":
            await peer.expect(P_DATA_TF)
            await peer.send(A_ABORT(0, 0))
            await peer.closed()
        elif end == "vanishes before its response":
            message = (await peer.receive_message()).message
            assert isinstance(message, C_STORE_RQ)
            self.seen.append(message.affected_sop_instance_uid)
            peer.reset()
        elif end == "never answers":
            await peer.receive_message()
            await peer.expect_abort(0, 0)
        elif end == "talks nonsense":
            await peer.expect(P_DATA_TF)
            await peer.send(b"\xff" * 100)
            await peer.closed()
        elif end == "releases":
            await peer.send(A_RELEASE_RQ())
            await peer.closed()

    async def store(self, peer: ScriptedPeer) -> None:
        received = await peer.receive_message()
        message = received.message
        assert isinstance(message, C_STORE_RQ)
        assert received.data
        self.seen.append(message.affected_sop_instance_uid)
        self.stored.append(message.affected_sop_instance_uid)
        response = C_STORE_RSP(message_id_being_responded_to=message.message_id, status=Status.SUCCESS)
        await peer.send(message_pdvs(response, context=received.presentation_context_id))


BAD_ENDS = ["aborts in mid-object", "vanishes before its response", "never answers", "talks nonsense", "releases"]


@pytest.mark.parametrize("end", BAD_ENDS)
async def test_what_was_not_acknowledged_is_sent_again(end: str, tmp_path: Path) -> None:
    paths = study(tmp_path, 7, pixels=100_000)
    flaky = Flaky(end, end)
    options = ClientOptions(timeouts=Timeouts(store=0.3))
    async with listening(flaky) as address:
        report = await dimse.send(address, paths, retry=QUICK, options=options)
    assert Counter(flaky.stored) == Counter(f"1.2.{i}" for i in range(1, 8))
    assert [result.name for result in report.results] == [str(path) for path in paths]
    assert max(result.attempts for result in report.results) <= 2


async def test_a_peer_that_stops_answering_is_given_up(tmp_path: Path) -> None:
    flaky = Flaky(*["never answers"] * 10, each=0)
    flaky.ends[0] = "vanishes before its response"
    options = ClientOptions(timeouts=Timeouts(store=0.1))
    async with listening(Flaky("never answers"), flaky) as address:
        report = await dimse.send(address, study(tmp_path, 9), retry=QUICK, options=options, raise_failures=False)
    assert len(report.stored) == 2
    assert len(flaky.ends) >= 7


async def test_an_object_that_silences_the_peer_fails_alone(tmp_path: Path) -> None:
    stored: list[str] = []

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        while await peer.goes_on():
            received = await peer.receive_message()
            assert isinstance(received.message, C_STORE_RQ)
            if received.message.affected_sop_instance_uid == "1.2.2":
                await peer.expect_abort(0, 0)
                return
            await peer.send(response(received, affected_sop_instance_uid=received.message.affected_sop_instance_uid))
            stored.append(received.message.affected_sop_instance_uid)

    options = ClientOptions(timeouts=Timeouts(store=0.2))
    async with listening(script) as address:
        report = await dimse.send(address, study(tmp_path, 4), retry=QUICK, options=options, raise_failures=False)
    assert stored == ["1.2.1", "1.2.3", "1.2.4"]
    assert [type(result.error) for result in report.failures] == [AssociationTimeout]


async def test_transient_rejections_are_waited_for(tmp_path: Path) -> None:
    flaky = Flaky("congested", "congested", "vanishes before its response", "congested")
    async with listening(flaky) as address:
        report = await dimse.send(address, study(tmp_path, 5), retry=QUICK)
    assert len(report.stored) == 5
    assert Counter(flaky.stored) == Counter(f"1.2.{i}" for i in range(1, 6))


async def test_an_object_that_always_breaks_the_association_fails_alone(tmp_path: Path) -> None:
    """What ends the association each time is given up after its retries, and the rest goes on."""
    paths = study(tmp_path, 4)
    stored: list[str] = []

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        while await peer.goes_on():
            received = await peer.receive_message()
            assert isinstance(received.message, C_STORE_RQ)
            if received.message.affected_sop_instance_uid == "1.2.2":
                await peer.send(A_ABORT(0, 0))
                await peer.closed()
                return
            stored.append(received.message.affected_sop_instance_uid)
            response = C_STORE_RSP(message_id_being_responded_to=received.message.message_id, status=Status.SUCCESS)
            await peer.send(message_pdvs(response, context=received.presentation_context_id))

    async with listening(script) as address:
        report = await dimse.send(address, paths, retry=RetryPolicy(retries=2, delay=0.01), raise_failures=False)
    assert stored == ["1.2.1", "1.2.3", "1.2.4"]
    (failure,) = report.failures
    assert (failure.sop_instance_uid, failure.attempts) == ("1.2.2", 3)
    assert isinstance(failure.error, AssociationAborted)
    assert str(paths[1]) in notes_of(failure.error)


async def test_a_peer_that_is_gone_for_good(tmp_path: Path) -> None:
    """Everything that is left fails, each by name."""
    paths = study(tmp_path, 4)
    flaky = Flaky("vanishes before its response", *["congested"] * 9, each=1)
    async with listening(flaky) as address:
        report = await dimse.send(address, paths, retry=RetryPolicy(retries=1, delay=0.01), raise_failures=False)
    assert flaky.stored == ["1.2.1"]
    assert [result.name for result in report.failures] == [str(path) for path in paths[1:]]


async def test_each_of_what_is_left_has_its_own_error(tmp_path: Path) -> None:
    paths = study(tmp_path, 4)
    flaky = Flaky("vanishes before its response", *["congested"] * 9, each=1)
    async with listening(flaky) as address:
        with pytest.raises(ExceptionGroup, match="3 of 4 not stored") as caught:
            await dimse.send(address, paths, retry=RetryPolicy(retries=1, delay=0))
    tried, *never = caught.value.exceptions
    assert isinstance(tried, AssociationRejected)
    assert "not attempted" not in str(tried)
    for error, path in zip(never, paths[2:], strict=True):
        assert str(error).startswith(f"{path}: not attempted: ")
        assert error.__cause__ is tried
    assert [notes_of(error) for error in caught.value.exceptions] == [f"while sending {path}" for path in paths[1:]]


async def test_a_peer_that_releases_at_once_is_given_up(tmp_path: Path) -> None:
    tries = 0

    async def script(peer: ScriptedPeer) -> None:
        nonlocal tries
        tries += 1
        if tries > 5:  # it has failed already; this ends it
            await peer.expect(A_ASSOCIATE_RQ)
            await peer.send(A_ASSOCIATE_RJ(1, 1, 1))
        else:
            await peer.accept(A_RELEASE_RQ())
            await peer.expect(A_RELEASE_RP)

    async with listening(script) as address:
        report = await dimse.send(
            address, study(tmp_path, 3), retry=RetryPolicy(retries=1, delay=0), raise_failures=False
        )
    assert tries == 2
    assert report.stored == ()
    assert [failure.sop_instance_uid for failure in report.failures] == ["1.2.1", "1.2.2", "1.2.3"]
    assert all("before anything could be sent" in str(failure.error) for failure in report.failures)


class NoWindow:
    """A device that closes the connection at the first message if a window was proposed; else it accepts this
    many objects on each association, or closes it if there are none.
    """

    def __init__(self, *objects: int, granted: int | None = None) -> None:
        self.objects, self.granted = list(objects), granted
        self.proposed: list[bool] = []
        self.stored: list[str] = []

    async def __call__(self, peer: ScriptedPeer) -> None:
        window = None if self.granted is None else Window(self.granted, 1)
        asked = await peer.accept(information=replace(INFORMATION, asynchronous_operations_window=window))
        self.proposed.append(asked.user_information.asynchronous_operations_window is not None)
        if self.proposed[-1] or not self.objects:
            await peer.receive_message()
            return
        for _ in range(self.objects.pop(0)):
            received = await peer.receive_message()
            assert isinstance(received.message, C_STORE_RQ)
            self.stored.append(received.message.affected_sop_instance_uid)
            await peer.send(response(received))
        await peer.answer_release()


@pytest.mark.parametrize("granted", [None, 2])
async def test_a_device_that_drops_who_proposes_a_window(
    granted: int | None, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without retries; and it is remembered for all associations of the run, of which there are two here."""
    monkeypatch.setattr("dimse.services.store_scu.MAXIMUM_CONTEXTS", 3)
    paths = [*study(tmp_path, 3), save(instance("1.3", sop_class=MR), tmp_path / "mr.dcm")]
    device = NoWindow(3, 1, granted=granted)
    async with listening(device) as address:
        report = await dimse.send(address, paths, retry=RetryPolicy(retries=0))
    assert device.stored == ["1.2.1", "1.2.2", "1.2.3", "1.3"]
    assert device.proposed == [True, False, False]
    assert len(report.stored) == 4
    assert [record.levelname for record in caplog.records if "without an asynchronous" in record.getMessage()] == [
        "WARNING"
    ]


async def test_it_is_tried_once_without_a_window(tmp_path: Path) -> None:
    device = NoWindow()
    async with listening(device) as address:
        report = await dimse.send(address, study(tmp_path, 1), retry=RetryPolicy(retries=0), raise_failures=False)
    assert device.proposed == [True, False]
    (failure,) = report.failures
    assert isinstance(failure.error, ConnectionLost)


async def test_without_retries_an_abort_costs_one_object_only(tmp_path: Path) -> None:
    flaky = Flaky("aborts in mid-object", each=0)
    async with listening(flaky) as address:
        report = await dimse.send(address, study(tmp_path, 4), retry=RetryPolicy(retries=0), raise_failures=False)
    assert flaky.stored == ["1.2.2", "1.2.3", "1.2.4"]
    (failure,) = report.failures
    assert (failure.sop_instance_uid, type(failure.error)) == ("1.2.1", AssociationAborted)


async def test_what_can_be_read_once_is_not_sent_again(tmp_path: Path) -> None:
    paths = study(tmp_path, 2)

    pipe = StreamSource(Pipe(save(instance("1.2.9"), tmp_path / "x").read_bytes()), "pipe")
    flaky = Flaky("vanishes before its response", each=1)
    async with listening(flaky) as address:
        report = await dimse.send(address, [paths[0], pipe, paths[1]], retry=QUICK, raise_failures=False)
    assert flaky.stored == ["1.2.1", "1.2.2"]
    (failure,) = report.failures
    assert failure.name == "pipe"
    assert failure.error is not None
    assert "read only once" in notes_of(failure.error)


async def test_a_lost_connection_among_three(tmp_path: Path) -> None:
    paths = study(tmp_path, 20)
    flaky = Flaky("vanishes before its response", "aborts in mid-object", "vanishes before its response")
    async with listening(flaky) as address:
        report = await dimse.send(address, paths, retry=QUICK, associations=3)
    assert len(report.stored) == 20
    assert set(flaky.stored) == {f"1.2.{i}" for i in range(1, 21)}


async def test_out_of_resources_is_tried_again(archive: Archive, tmp_path: Path) -> None:
    archive.answer = lambda request: 0xA700 if archive.times[request.sop_instance_uid] < 3 else 0
    report = await dimse.send(archive.address, study(tmp_path, 3), retry=QUICK)
    assert [result.attempts for result in report.stored] == [3, 3, 3]
    assert set(archive.times.values()) == {3}


async def test_out_of_resources_for_what_can_be_read_once(archive: Archive, tmp_path: Path) -> None:
    archive.answer = lambda _: 0xA700
    (path,) = study(tmp_path, 1)
    report = await dimse.send(archive.address, Pipe(path.read_bytes()), retry=QUICK, raise_failures=False)
    assert archive.times == {"1.2.1": 1}
    (failure,) = report.failures
    assert (failure.status, failure.attempts) == (0xA700, 1)
    assert failure.error is not None
    assert "not retried" in notes_of(failure.error)


async def test_a_release_while_waiting_to_try_again_is_a_lost_connection(tmp_path: Path) -> None:
    async def busy(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        assert isinstance(received.message, C_STORE_RQ)
        response = C_STORE_RSP(message_id_being_responded_to=received.message.message_id, status=Status(0xA700))
        await peer.send(message_pdvs(response, context=received.presentation_context_id), A_RELEASE_RQ())
        while not isinstance(await peer.receive(), A_RELEASE_RP):
            pass  # the next object was on its way

    flaky = Flaky()
    async with listening(busy, flaky) as address:
        report = await dimse.send(address, study(tmp_path, 2), retry=RetryPolicy(delay=0.1, factor=1))
    assert len(report.stored) == 2
    assert flaky.stored == ["1.2.1", "1.2.2"]


async def test_it_can_be_cancelled(tmp_path: Path) -> None:
    begun = asyncio.Event()

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.receive_message()
        begun.set()
        await peer.expect_abort(0, 0)

    async with listening(script) as address:
        task = asyncio.create_task(dimse.send(address, study(tmp_path, 3)))
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_no_answer_to_the_association(tmp_path: Path) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.closed()

    options = ClientOptions(timeouts=Timeouts(association=0.2))
    async with listening(script) as address:
        with pytest.raises(AssociationTimeout, match=r"Timeouts\.association"):
            await dimse.send(address, study(tmp_path, 1), options=options, retry=QUICK)


@pytest.mark.parametrize("count", [1, 5])
@pytest.mark.parametrize("window", [1, 16])
async def test_a_peer_that_answers_nothing_costs_one_timer(count: int, window: int, tmp_path: Path) -> None:
    """It is there, and a timer has run out in full: more of the same would bring nothing."""
    tries = 0

    async def script(peer: ScriptedPeer) -> None:
        nonlocal tries
        tries += 1
        await peer.accept(information=replace(INFORMATION, asynchronous_operations_window=Window(window, 1)))
        await peer.closed()

    options = ClientOptions(timeouts=Timeouts(store=0.2))
    async with listening(script) as address:
        report = await dimse.send(address, study(tmp_path, count), options=options, retry=QUICK, raise_failures=False)
    assert tries == 1
    assert len(report.failures) == count
    assert all("Timeouts.store" in str(failure.error) for failure in report.failures)


# Progress


async def test_progress_of_the_whole_job(archive: Archive, tmp_path: Path) -> None:
    paths = study(tmp_path, 8, pixels=400_000)
    total = sum(len(dataset_bytes(path)) for path in paths)
    reports: list[TransferProgress] = []
    report = await dimse.send(archive.address, paths, associations=2, progress=reports.append)
    assert report.bytes_sent == total
    assert all(one.total_bytes == total for one in reports)
    transferred = [one.bytes_transferred for one in reports]
    assert transferred == sorted(transferred)
    assert transferred[-1] == total
    assert report.seconds > 0


async def test_a_raising_callback_harms_nothing(archive: Archive, tmp_path: Path) -> None:
    def progress(_: TransferProgress) -> None:
        raise ZeroDivisionError

    report = await dimse.send(archive.address, study(tmp_path, 3), progress=progress)
    assert len(report.stored) == 3


async def test_a_raising_on_result_falsifies_nothing(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    paths = study(tmp_path / "a", 3)
    text = tmp_path / "a" / "text.txt"
    text.write_text("not DICOM")
    archive.answer = lambda request: 0xC000 if request.sop_instance_uid == "1.2.2" else 0

    def on_result(_: SendResult) -> None:
        raise ZeroDivisionError

    report = await dimse.send(archive.address, tmp_path, on_result=on_result, raise_failures=False)
    assert Counter(result.name for result in report.results) == Counter(map(str, [*paths, text]))
    assert [result.name for result in report.stored] == [str(paths[0]), str(paths[2])]
    assert [type(failure.error) for failure in report.failures] == [StatusError]
    assert set(archive.times.values()) == {1}
    assert caplog.text.count("the on_result callback failed") == 4


def test_classes_of_the_samples() -> None:
    assert CT != MR


# Edits


@pytest.mark.parametrize("pixels", [0, 1000, 200_000])
async def test_objects_are_edited_on_the_way(pixels: int, tmp_path: Path) -> None:
    """Also when they are re-encoded for the peer, and when they come from memory or a pipe."""
    edits = dimse.Edits({"PatientName": "Anon", "SOPInstanceUID": "1.2.3.9"}, ["PatientID"])
    expected = instance("1.2.3.9", pixels=pixels)
    expected.PatientName = "Anon"
    del expected.PatientID
    path = save(instance(pixels=pixels), tmp_path / "a.dcm")
    whole = path.read_bytes()
    for kind in ("path", "bytes", "dataset", "pipe"):
        for syntax in (EXPLICIT, IMPLICIT):
            sources: dict[str, dimse.Source] = {"path": path, "bytes": whole, "dataset": instance(pixels=pixels)}
            source = sources.get(kind) or StreamSource(Pipe(whole))
            async with Archive() as archive:
                report = await dimse.send(archive.address, source, edits=edits, transfer_syntaxes=[syntax])
            assert [result.sop_instance_uid for result in report.stored] == ["1.2.3.9"]
            assert archive.stored == {"1.2.3.9": encoded(expected, syntax)}


async def test_edited_objects_are_retried(tmp_path: Path) -> None:
    path = save(instance(pixels=200_000), tmp_path / "a.dcm")
    answers = iter([Status(0xA700), Status(0xA700), Status.SUCCESS])
    async with Archive() as archive:
        archive.answer = lambda _: next(answers)
        progress = list[TransferProgress]()
        edits = dimse.Edits({"PatientName": "A"})
        report = await dimse.send(archive.address, path, edits=edits, retry=QUICK, progress=progress.append)
    assert [result.attempts for result in report.stored] == [3]
    assert progress[-1].bytes_transferred == progress[-1].total_bytes == len(archive.stored["1.2.3.4"])
    assert b"SECRET^NAME" not in archive.stored["1.2.3.4"]


async def test_an_object_that_cannot_be_edited_fails_alone(tmp_path: Path) -> None:
    other = instance("1.2.3.5")
    other.SpecificCharacterSet = "ISO_IR 144"
    paths = [save(instance(), tmp_path / "a.dcm"), save(other, tmp_path / "b.dcm")]
    async with Archive() as archive:
        edits = dimse.Edits({"PatientName": "M\u00fcller"})
        report = await dimse.send(archive.address, paths, edits=edits, raise_failures=False)
    assert list(archive.stored) == ["1.2.3.4"]
    (failure,) = report.failures
    assert str(failure.error).startswith(f"{paths[1]}: PatientName has characters that the Specific Character Set of ")
