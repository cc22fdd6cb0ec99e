"""C-STORE as SCP: what is promised is on the disk before it is acknowledged, and nothing else ever is."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import os
import re
import struct
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import pytest
from pydicom.data import get_testdata_file
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)
from tests.sample_objects import CT, MR, VERIFICATION, dataset_bytes, encoded, instance, pixel_bytes, read, save
from tests.server_options import buffered

from dimse import (
    AssociationAborted,
    CStoreSCU,
    DimseError,
    Duplicates,
    FileSource,
    RemoteProtocolError,
    RetryPolicy,
    Server,
    Status,
    StatusError,
    StoreMode,
    StoreRequest,
    Strictness,
    connect,
    presentation_contexts,
)
from dimse.dataset.file_writer import Stored
from dimse.dataset.scanner import ElementScanner
from dimse.errors import LocalProtocolError
from dimse.messages.message import C_STORE_RQ, C_STORE_RSP
from dimse.network.association import exchange_of
from dimse.testing import ScriptedPeer, associate_request, echo_request, message_pdvs, store_request
from dimse.upper_layer.pdu import A_ABORT, P_DATA_TF

IMPLICIT, EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
NO_RETRY = RetryPolicy(retries=0)
Handler = Callable[[StoreRequest], Awaitable[int]]
both_modes = pytest.mark.parametrize("mode", StoreMode, ids=lambda mode: mode.value)


@asynccontextmanager
async def serving(handler: Handler, **options: object) -> AsyncIterator[Server]:
    server = Server("ARCHIVE", port=0, options=buffered(**{"fsync": False, **options}))
    server.on_c_store(handler)
    async with server:
        yield server


@asynccontextmanager
async def peer_of(
    server: Server, *contexts: tuple[str, Sequence[str]], calling: str = "PEER"
) -> AsyncIterator[ScriptedPeer]:
    async with await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(associate_request(*(contexts or ((CT, [EXPLICIT]),)), calling=calling))
        yield peer


async def status_of(peer: ScriptedPeer) -> Status:
    message = (await peer.receive_message()).message
    assert isinstance(message, C_STORE_RSP)
    return message.status


async def ended(server: Server) -> None:
    """All its associations are, with all that they clean up."""
    await server.stop()


def files_under(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


# What the handler sees


@both_modes
async def test_the_request(mode: StoreMode) -> None:
    seen: list[StoreRequest] = []

    async def handler(request: StoreRequest) -> Status:
        seen.append(request)
        assert (request.sop_class_uid, request.sop_instance_uid) == (CT, "1.2.3.4")
        assert request.transfer_syntax_uid == EXPLICIT
        assert request.association.calling_ae_title == "PEER"
        assert request.association.called_ae_title == "ARCHIVE"
        assert request.command.move_originator_application_entity_title == "MOVER"
        assert request.command.move_originator_message_id == 5
        assert request.dataset.PatientName == "SECRET^NAME"
        assert request.dataset is request.dataset
        assert ("PixelData" in request.dataset) == (mode is StoreMode.BUFFERED)
        return Status.SUCCESS

    command = C_STORE_RQ(
        message_id=1,
        affected_sop_class_uid=CT,
        affected_sop_instance_uid="1.2.3.4",
        move_originator_application_entity_title="MOVER",
        move_originator_message_id=5,
    )
    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(command, encoded(instance(pixels=50_000))))
        response = (await peer.receive_message()).message
        assert isinstance(response, C_STORE_RSP)
        assert response.status == Status.SUCCESS
        assert (response.affected_sop_class_uid, response.affected_sop_instance_uid) == (CT, "1.2.3.4")
        await peer.release()
    assert len(seen) == 1


async def test_data_is_there_when_buffered_only() -> None:
    data, whole = encoded(instance()), []

    async def handler(request: StoreRequest) -> Status:
        whole.append(bytes(request.data))
        return Status.SUCCESS

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data, size=100))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    assert whole == [data]
    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data, size=100))
        assert await status_of(peer) == Status.PROCESSING_FAILURE
        await peer.release()


@pytest.mark.parametrize("size", [2, 100, 16000])
@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_native_pixels_are_exact(size: int, syntax: str) -> None:
    """Elements behind the pixel data and an icon's pixel data before it are not among them."""
    dataset = instance(pixels=3000)
    icon = instance(pixels=50)
    del icon.SOPInstanceUID
    dataset.IconImageSequence = [icon]
    dataset.DataSetTrailingPadding = bytes(2000)
    got = bytearray()

    async def handler(request: StoreRequest) -> Status:
        assert len(request.dataset.IconImageSequence[0].PixelData) == 50
        async for piece in request.pixels():
            assert piece
            got.extend(piece)
        return Status.SUCCESS

    async with (
        serving(handler, mode=StoreMode.STREAMING) as server,
        peer_of(server, (CT, [syntax])) as peer,
    ):
        await peer.send(message_pdvs(store_request(), encoded(dataset, syntax), size=size))
        assert await status_of(peer) == Status.SUCCESS
        await peer.send(message_pdvs(store_request(), encoded(dataset, syntax), size=size))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    assert bytes(got) == pixel_bytes(3000) * 2


async def test_pixels_of_what_is_buffered() -> None:
    """As often as they are asked for."""
    got = bytearray()

    async def handler(request: StoreRequest) -> Status:
        for _ in range(2):
            async for piece in request.pixels():
                got.extend(piece)
        return Status.SUCCESS

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=100_000))))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    assert got == pixel_bytes(100_000) * 2


async def test_encapsulated_pixels_are_the_items() -> None:
    path = get_testdata_file("MR_small_RLE.dcm", download=False)
    assert path is not None
    source, got = FileSource(path), bytearray()
    assert source.transfer_syntax_uid == RLELossless

    async def handler(request: StoreRequest) -> Status:
        async for piece in request.pixels():
            got.extend(piece)
        return Status.SUCCESS

    async with (
        serving(handler, mode=StoreMode.STREAMING) as server,
        connect(f"A@127.0.0.1:{server.port}", contexts=presentation_contexts([source])) as association,
    ):
        await CStoreSCU(association).send(source)
    data = dataset_bytes(Path(path))
    start = data.index(b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff") + 12
    assert bytes(got) == data[start:]


@pytest.mark.parametrize("pieces", [3, 12])
async def test_what_is_kept_of_one_object_gives_nothing_of_another(pieces: int) -> None:
    """The receive buffer that it would be read from is another association's by then."""
    kept: list[AsyncIterator[bytes]] = []

    async def handler(request: StoreRequest) -> Status:
        pixels = request.pixels()
        if kept:
            async for _ in pixels:
                pass
        else:
            kept.append(pixels)
            for _ in range(pieces):
                await anext(pixels)
        return Status.SUCCESS

    async with (
        serving(handler, mode=StoreMode.STREAMING) as server,
        peer_of(server) as peer,
        peer_of(server) as other,
    ):
        for each in (peer, other):
            await each.send(message_pdvs(store_request(), encoded(instance(pixels=840_000))))
            assert await status_of(each) == Status.SUCCESS
        with pytest.raises(LocalProtocolError, match="no longer needed"):
            await anext(kept[0])
        await peer.release()
        await other.release()


@both_modes
async def test_a_save_that_the_handler_does_not_wait_for_is_waited_for(
    mode: StoreMode, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It writes what is in the receive buffer, which is given on when the object is answered."""
    begun, go_on, real, left = threading.Event(), threading.Event(), os.writev, list[asyncio.Task[Path]]()

    def writev(descriptor: int, buffers: Sequence[memoryview]) -> int:
        begun.set()
        go_on.wait(20)
        return real(descriptor, buffers)

    async def handler(request: StoreRequest) -> Status:
        left.append(asyncio.create_task(request.save(tmp_path / "a.dcm")))
        await asyncio.to_thread(begun.wait, 20)
        return Status.SUCCESS

    monkeypatch.setattr(os, "writev", writev)
    data = encoded(instance(pixels=300_000))
    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data))
        answer = asyncio.create_task(status_of(peer))
        await asyncio.to_thread(begun.wait, 20)
        for _ in range(100):
            await asyncio.sleep(0)
        assert not answer.done()
        go_on.set()
        assert await answer == Status.SUCCESS
        assert dataset_bytes(await left[0]) == data
        await peer.release()


@both_modes
async def test_a_save_that_has_not_begun_is_waited_for(mode: StoreMode, tmp_path: Path) -> None:
    left: list[asyncio.Task[Path]] = []

    async def handler(request: StoreRequest) -> Status:
        left.append(asyncio.create_task(request.save(tmp_path / "a.dcm")))
        return Status.SUCCESS

    data = encoded(instance(pixels=3_000_000))
    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data))
        assert await status_of(peer) == Status.SUCCESS
        assert dataset_bytes(await left[0]) == data
        await peer.release()


async def test_pixels_of_an_object_without_any() -> None:
    async def handler(request: StoreRequest) -> Status:
        assert [piece async for piece in request.pixels()] == []
        return Status.SUCCESS

    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=0))))
        assert await status_of(peer) == Status.SUCCESS


async def test_pixels_that_end_too_early_are_an_error() -> None:
    """Native pixel data of any other length is an error."""

    async def handler(request: StoreRequest) -> Status:
        async for _ in request.pixels():
            pass
        return Status.SUCCESS

    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=50_000))[:-1000]))
        assert await status_of(peer) == Status.CANNOT_UNDERSTAND
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=50_000))))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()


async def test_bulk_data_that_is_not_pixel_data_is_not_taken_for_it() -> None:
    """An element over 16 MiB before the pixel data ends the metadata too."""
    dataset = instance()
    dataset.add_new(0x00091001, "OB", bytes(17 * 1024 * 1024))
    outcome: list[object] = []

    async def handler(request: StoreRequest) -> Status:
        outcome.append([piece async for piece in request.pixels()])
        return Status.SUCCESS

    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(dataset)))
        assert await status_of(peer) == Status.CANNOT_UNDERSTAND
        await peer.release()
    assert outcome == []


async def test_a_stream_is_read_once() -> None:
    async def handler(request: StoreRequest) -> Status:
        async for _ in request.pixels():
            break
        async for _ in request.pixels():
            pass
        return Status.SUCCESS

    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance())))
        assert await status_of(peer) == Status.PROCESSING_FAILURE
        await peer.release()


@both_modes
@pytest.mark.parametrize("how", ["nothing", "a little"])
async def test_what_the_handler_leaves_is_drained(mode: StoreMode, how: str) -> None:
    async def handler(request: StoreRequest) -> Status:
        if how == "a little" and mode is StoreMode.STREAMING:
            async for _ in request.pixels():
                break
        return Status(0xB000)

    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        for number in range(3):
            await peer.send(message_pdvs(store_request(message_id=number + 1), encoded(instance(pixels=2_000_000))))
            assert await status_of(peer) == 0xB000
        await peer.release()


@both_modes
async def test_none_is_no_status(mode: StoreMode, caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: StoreRequest) -> Status:
        return None  # type: ignore[return-value]

    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=500_000))))
        assert await status_of(peer) == Status.PROCESSING_FAILURE
        await peer.release()
    assert "must return a status, not NoneType" in caplog.text


# What is refused


@both_modes
async def test_uids_that_differ(mode: StoreMode) -> None:
    async def handler(_: StoreRequest) -> Status:
        raise AssertionError("not called")

    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request("1.2.3.5"), encoded(instance("1.2.3.4", pixels=100_000))))
        assert await status_of(peer) == 0xA900
        await peer.send(message_pdvs(store_request(), encoded(instance(sop_class=MR))))
        assert await status_of(peer) == 0xA900
        await peer.release()


@both_modes
async def test_a_class_that_is_not_the_contexts(mode: StoreMode) -> None:
    async def handler(_: StoreRequest) -> Status:
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server, peer_of(server, (CT, [EXPLICIT])) as peer:
        await peer.send(message_pdvs(store_request(sop_class=MR), encoded(instance(sop_class=MR, pixels=100_000))))
        assert await status_of(peer) == 0x0122
        await peer.release()
    contexts = ((CT, [EXPLICIT]), (MR, [EXPLICIT]))
    for strictness, expected in ((Strictness.LENIENT, 0x0000), (Strictness.STRICT, 0x0122)):
        async with (
            serving(handler, mode=mode, strictness=strictness) as server,
            peer_of(server, *contexts) as peer,
        ):
            await peer.send(message_pdvs(store_request(sop_class=MR), encoded(instance(sop_class=MR)), context=1))
            assert await status_of(peer) == expected
            await peer.release()


async def test_a_store_of_verification_is_none() -> None:
    async def handler(_: StoreRequest) -> Status:
        raise AssertionError("not called")

    async with serving(handler) as server, peer_of(server, (VERIFICATION, [IMPLICIT])) as peer:
        await peer.send(
            message_pdvs(store_request(sop_class=VERIFICATION), encoded(instance(sop_class=VERIFICATION), IMPLICIT))
        )
        assert await status_of(peer) == 0x0122
        await peer.release()


async def test_a_store_without_a_data_set() -> None:
    async def handler(_: StoreRequest) -> Status:
        raise AssertionError("not called")

    command = C_STORE_RQ(
        message_id=1, affected_sop_class_uid=CT, affected_sop_instance_uid="1.2", dataset_follows=False
    )
    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(command))
        assert await status_of(peer) == Status.CANNOT_UNDERSTAND
        await peer.release()


async def test_more_than_is_buffered_is_refused_and_the_association_lives(tmp_path: Path) -> None:
    async def handler(request: StoreRequest) -> Status:
        await request.save(tmp_path / "a.dcm")
        return Status.SUCCESS

    small = instance(pixels=1000)
    limit = len(encoded(small))
    async with serving(handler, maximum_buffered=limit) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=1002))))
        assert await status_of(peer) == Status.OUT_OF_RESOURCES
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=3_000_000))))
        assert await status_of(peer) == Status.OUT_OF_RESOURCES
        assert files_under(tmp_path) == []
        await peer.send(message_pdvs(store_request(), encoded(small)))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()


def element(group: int, number: int, value: str) -> bytes:
    raw = value.encode("latin-1")
    raw += bytes(len(raw) % 2)
    return struct.pack("<HH2sH", group, number, b"UI", len(raw)) + raw


KEYS = element(8, 0x16, CT) + element(8, 0x18, "1.2.3.4")
BAD_VR = struct.pack("<HHHH", 8, 0x20, 0xFFFF, 4) + bytes(100)
GARBAGE = KEYS + BAD_VR


@both_modes
async def test_a_data_set_that_can_not_be_read(mode: StoreMode, tmp_path: Path) -> None:
    async def save_it(request: StoreRequest) -> Status:
        await request.save(tmp_path / "a.dcm")
        return Status.SUCCESS

    async def name_it(request: StoreRequest) -> Status:
        await request.save_under(tmp_path / "named")
        return Status.SUCCESS

    async def decode_it(request: StoreRequest) -> Status:
        assert request.dataset
        return Status.SUCCESS

    # Lenient: stored bit for bit, refused only where its keys are needed.
    for handler, expected in ((save_it, 0x0000), (name_it, 0xC000), (decode_it, 0xC000)):
        async with serving(handler, mode=mode) as server, peer_of(server) as peer:
            await peer.send(message_pdvs(store_request(), GARBAGE))
            assert await status_of(peer) == expected
            await peer.release()
    assert files_under(tmp_path) == ["a.dcm"]
    assert dataset_bytes(tmp_path / "a.dcm") == GARBAGE
    async with serving(save_it, mode=mode, strictness=Strictness.STRICT) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), GARBAGE))
        assert await status_of(peer) == 0xC000
        await peer.release()
    async with serving(save_it, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), BAD_VR + KEYS))
        assert await status_of(peer) == 0xC000
        await peer.release()


# What is saved


@both_modes
@pytest.mark.parametrize("size", [100, 16000])
@pytest.mark.parametrize("fsync", [False, True])
async def test_save(mode: StoreMode, size: int, fsync: bool, tmp_path: Path) -> None:
    data = encoded(instance(pixels=100_000))
    path = tmp_path / "deep" / "er" / "a.dcm"

    async def handler(request: StoreRequest) -> Status:
        assert await request.save(path) == path
        assert dataset_bytes(path) == data  # it is there before Success is answered
        return Status.SUCCESS

    async with serving(handler, mode=mode, fsync=fsync) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data, size=size))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    meta = read(path).file_meta
    assert (meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID) == (CT, "1.2.3.4")
    assert meta.TransferSyntaxUID == EXPLICIT
    assert meta.SourceApplicationEntityTitle == "PEER"
    assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("PEER", "ARCHIVE")
    assert files_under(tmp_path) == ["deep/er/a.dcm"]


@both_modes
@pytest.mark.parametrize("syntax", [str(DeflatedExplicitVRLittleEndian), "1.2.3.4.5.6"])
async def test_what_it_can_not_look_into_is_saved_as_it_came(mode: StoreMode, syntax: str, tmp_path: Path) -> None:
    """A private syntax is taken for Explicit VR Little Endian."""
    data = encoded(instance(pixels=100_000), EXPLICIT if syntax == "1.2.3.4.5.6" else syntax)

    async def handler(request: StoreRequest) -> Status:
        await request.save_under(tmp_path)
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server, peer_of(server, (CT, [syntax])) as peer:
        await peer.send(message_pdvs(store_request(), data, size=1000))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    assert dataset_bytes(tmp_path / "1.2.3.1" / "1.2.3.2" / "1.2.3.4.dcm") == data


@both_modes
async def test_save_under_a_template(mode: StoreMode, tmp_path: Path) -> None:
    async def handler(request: StoreRequest) -> Status:
        await request.save_under(tmp_path, "{PatientID}/{Modality}-{SOPInstanceUID}")
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=100_000))))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    (name,) = files_under(tmp_path)
    assert name.startswith("SECRETID/NONE")


async def test_text_of_a_template_is_that_of_the_data_set(tmp_path: Path) -> None:
    """Whatever its character set; several values are one text."""

    async def handler(request: StoreRequest) -> Status:
        await request.save_under(tmp_path, "{PatientID}/{ImageType}-{SOPInstanceUID}")
        return Status.SUCCESS

    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
        for character_set in ("ISO_IR 100", "ISO_IR 192"):
            dataset = instance(pixels=100)
            dataset.SpecificCharacterSet, dataset.PatientID = character_set, "\xc41"
            dataset.ImageType = ["ORIGINAL", "PRIMARY"]
            await peer.send(message_pdvs(store_request(), encoded(dataset)))
            await status_of(peer)
        await peer.release()
    (name,) = files_under(tmp_path)
    assert re.fullmatch(r"_1-[0-9a-f]{12}/ORIGINAL_PRIMARY-[0-9a-f]{12}-1\.2\.3\.4", name)


@both_modes
async def test_save_under_a_template_that_is_none(mode: StoreMode, tmp_path: Path) -> None:
    raised: list[str] = []

    async def handler(request: StoreRequest) -> Status:
        try:
            await request.save_under(tmp_path, "{PatientsNmae}/{SOPInstanceUID}.dcm")
        except ValueError as error:
            raised.append(str(error))
            raise
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=100_000))))
        assert await status_of(peer) == 0x0110
        await peer.release()
    assert len(raised) == 1
    assert "PatientsNmae" in raised[0]
    assert files_under(tmp_path) == []


@both_modes
@pytest.mark.parametrize(
    ("uid", "expected"),
    [
        *(
            (uid, 0x0117)
            for uid in ("../../../../etc/passwd", "/etc/passwd", "..", ".", "a/b", "C:\\windows", "..\\..\\x", "x\0y")
        ),
        *((uid, 0x0117) for uid in ("1.2.3/", " ", "", "a\nb", "\xe4", "1" * 65)),
        *((uid, 0x0000) for uid in ("nul", "-rf", "~root", "$HOME", "%2e%2e%2f", "1.2.[3]", "1..02", "1" * 64)),
    ],
)
async def test_hostile_uids_stay_in_the_folder(mode: StoreMode, uid: str, expected: int, tmp_path: Path) -> None:
    folder = tmp_path / "folder"

    async def handler(request: StoreRequest) -> Status:
        path = await request.save_under(folder)
        assert path.resolve().is_relative_to(folder.resolve())
        return Status.SUCCESS

    data = element(8, 0x16, CT) + element(8, 0x18, uid) + element(0x20, 0xD, uid) + element(0x20, 0xE, uid)
    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(uid), data))
        message = (await peer.receive_message()).message
        assert isinstance(message, C_STORE_RSP)
        assert message.status == expected
        assert message.affected_sop_instance_uid == (uid.strip(" \0") or None)
        await peer.release()
    assert len(files_under(folder)) == len(files_under(tmp_path)) == (expected == 0)
    digits = set(uid) <= set("0123456789.")
    async with serving(handler, mode=mode, strictness=Strictness.STRICT) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(uid), data))
        refusal = (await peer.receive_message()).message
        assert isinstance(refusal, C_STORE_RSP)
        assert refusal.status == (0x0117 if not digits else expected)
        assert refusal.status == 0 or (refusal.error_comment or "").startswith("(0000,1000) ")
        await peer.release()


@both_modes
@pytest.mark.parametrize("how", ["abort", "close", "reset"])
async def test_the_end_in_mid_object_leaves_nothing(
    mode: StoreMode, how: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.dcm"
    path.write_bytes(b"what was there before")
    begun = asyncio.Event()

    async def handler(request: StoreRequest) -> Status:
        begun.set()
        await request.save(path)
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server:
        async with peer_of(server) as peer:
            await peer.send(message_pdvs(store_request(), encoded(instance(pixels=500_000)))[:-1])
            if mode is StoreMode.STREAMING:
                await begun.wait()
            if how == "abort":
                await peer.send(A_ABORT(0, 0))
                await peer.closed()
            elif how == "reset":
                peer.reset()
        await ended(server)
    assert path.read_bytes() == b"what was there before"
    assert os.listdir(tmp_path) == ["a.dcm"]  # noqa: PTH208 - hidden ones too
    assert not [record for record in caplog.records if record.levelno > logging.INFO]


NONSENSE = b"\xff" * 10
SEGMENT_ENDS = pytest.mark.parametrize(
    ("end", "error"),
    [(A_ABORT(0, 0).encode(), AssociationAborted), (NONSENSE, RemoteProtocolError)],
    ids=["abort", "nonsense"],
)


@SEGMENT_ENDS
async def test_data_that_come_with_the_end_are_not_read(
    end: bytes, error: type[DimseError], caplog: pytest.LogCaptureFixture
) -> None:
    """They would be views of a buffer that another connection fills by now."""
    data, size = encoded(instance(pixels=3000)), 2000
    seen: list[object] = []
    read_so_far = asyncio.Event()

    async def handler(request: StoreRequest) -> Status:
        try:
            async for piece in request.pixels():
                seen.append(piece)
                read_so_far.set()
        except DimseError as caught:
            seen.append(type(caught))
            raise
        return Status.SUCCESS

    async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
        command, begin, more = message_pdvs(store_request(), data, size=size)
        await peer.send(command, begin)
        await read_so_far.wait()
        await peer.send(P_DATA_TF((replace(more, is_last=False),)).encode() + end)
        peer.writer.close()
        await ended(server)
    first, *rest = seen
    assert first == data[data.index(pixel_bytes(100)) : size]
    assert rest == [error]
    assert not [record for record in caplog.records if record.exc_info]


@both_modes
async def test_a_malformed_pdu_in_mid_object_is_a_line_in_the_log(
    mode: StoreMode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def handler(request: StoreRequest) -> Status:
        await request.save(tmp_path / "a.dcm")
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=500_000)))[:-1], NONSENSE)
        await peer.expect_abort(2, 1)
        peer.writer.close()
        await ended(server)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too
    (record,) = [record for record in caplog.records if record.levelno > logging.INFO]
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    gc.collect()  # for the task of the association, which may have something to complain about


async def test_an_abort_is_seen_while_the_handler_works_on(tmp_path: Path) -> None:
    """The data set is read to its end, so that the connection can be too."""
    saved = asyncio.Event()
    errors: list[Exception | None] = []

    async def handler(request: StoreRequest) -> Status:
        await request.save(tmp_path / "a.dcm")
        saved.set()
        await exchange_of(request.association).closed()
        errors.append(request.association.error)
        return Status.SUCCESS

    async with (
        asyncio.timeout(20),
        serving(handler, mode=StoreMode.STREAMING, stop_timeout=0.1) as server,
        peer_of(server) as peer,
    ):
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=100_000))))
        await saved.wait()
        await peer.send(A_ABORT(0, 0))
        await peer.closed()
        assert not server.associations
    assert [type(error) for error in errors] == [AssociationAborted]
    assert files_under(tmp_path) == ["a.dcm"]


@both_modes
@pytest.mark.parametrize("after", [0, 300_000])
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
async def test_a_full_disk(
    mode: StoreMode, after: int, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, left = tmp_path / "a.dcm", after
    real_writev, real_write = os.writev, os.write

    def spend(count: int) -> None:
        nonlocal left
        left -= count
        if left < 0:
            raise OSError(code, os.strerror(code))

    def writev(descriptor: int, buffers: Sequence[memoryview]) -> int:
        spend(sum(map(len, buffers)))
        return real_writev(descriptor, buffers)

    def write(descriptor: int, data: bytes) -> int:
        spend(len(data))
        return real_write(descriptor, data)

    async def handler(request: StoreRequest) -> Status:
        await request.save(path)
        return Status.SUCCESS

    source = FileSource(save(instance(pixels=2_000_000), tmp_path / "source"))
    (tmp_path / "source").unlink()
    save(instance(pixels=2_000_000), tmp_path.parent / f"{tmp_path.name}.source")
    source = FileSource(tmp_path.parent / f"{tmp_path.name}.source")
    async with (
        serving(handler, mode=mode) as server,
        connect(f"A@127.0.0.1:{server.port}", contexts=presentation_contexts([source])) as association,
    ):
        scu = CStoreSCU(association, retry=NO_RETRY)
        with monkeypatch.context() as patched:
            patched.setattr(os, "writev", writev)
            patched.setattr(os, "write", write)
            with pytest.raises(StatusError) as caught:
                await scu.send(source)
        assert caught.value.status == Status.OUT_OF_RESOURCES
        assert caught.value.comment == os.strerror(code)
        assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too
        assert (await scu.send(source)).status == Status.SUCCESS
    assert path.exists()


async def test_a_comment_that_is_not_ascii_is_sent_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    """The operating system speaks the user's language."""
    monkeypatch.setattr(os, "strerror", lambda _: "Auf dem Ger\xe4t ist kein Speicherplatz mehr verf\xfcgbar")

    async def handler(_: StoreRequest) -> Status:
        raise OSError(errno.ENOSPC, "full")

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance())))
        message = (await peer.receive_message()).message
        assert isinstance(message, C_STORE_RSP)
        assert message.status == Status.OUT_OF_RESOURCES
        assert message.error_comment == "Auf dem Ger?t ist kein Speicherplatz mehr verf?gbar"
        await peer.release()


ERRORS_OF_FILES = [
    *((code, 0xA700) for code in (errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EACCES, errno.EPERM)),
    *((code, 0xA700) for code in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.ENOENT, errno.ESTALE, errno.ELOOP)),
    *((code, 0x0110) for code in (errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR)),
]


async def test_errors_of_files(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Storage that fails is out of resources, a name that cannot be is not; the log has neither path nor values."""
    failing: list[int] = []
    real = os.open

    def opened(path: str, flags: int, *arguments: int, **folder: int) -> int:
        if failing and str(path).endswith(".part"):
            raise OSError(failing[0], os.strerror(failing[0]), path)
        return real(path, flags, *arguments, **folder)

    async def save_it(request: StoreRequest) -> Status:
        await request.save(tmp_path / "SECRET^NAME.dcm")
        return Status.SUCCESS

    async def name_it(request: StoreRequest) -> Status:
        await request.save_under(tmp_path, "{PatientName}/{SOPInstanceUID}")
        return Status.SUCCESS

    monkeypatch.setattr(os, "open", opened)
    for handler in (save_it, name_it):
        async with serving(handler, mode=StoreMode.STREAMING) as server, peer_of(server) as peer:
            for code, expected in ERRORS_OF_FILES:
                caplog.clear()
                failing[:] = [code]
                await peer.send(message_pdvs(store_request(), encoded(instance(pixels=100_000))))
                message = (await peer.receive_message()).message
                failing.clear()
                assert isinstance(message, C_STORE_RSP)
                assert (errno.errorcode[code], message.status) == (errno.errorcode[code], expected)
                (record,) = [record for record in caplog.records if record.levelno > logging.INFO]
                assert record.getMessage() == f"C-STORE refused: {message.error_comment}"
                assert record.exc_info is None
                assert "SECRET" not in caplog.text
                assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too
            await peer.release()


async def test_an_error_of_the_handlers_own_files_is_logged_with_its_place(caplog: pytest.LogCaptureFixture) -> None:
    async def handler(_: StoreRequest) -> Status:
        raise FileNotFoundError(errno.ENOENT, "not there", "settings.json")

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance())))
        assert await status_of(peer) == Status.OUT_OF_RESOURCES
        await peer.release()
    assert any(record.exc_info for record in caplog.records)


async def test_a_file_where_a_folder_must_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")

    async def handler(request: StoreRequest) -> Status:
        await request.save(tmp_path / "file" / "a.dcm")
        return Status.SUCCESS

    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), encoded(instance())))
        assert await status_of(peer) == Status.PROCESSING_FAILURE
        await peer.release()


async def test_stop_at_the_deadline_leaves_no_half_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)
    begun = asyncio.Event()

    async def handler(request: StoreRequest) -> Status:
        begun.set()
        await request.save(tmp_path / "a.dcm")
        return Status.SUCCESS

    async with (
        serving(handler, mode=StoreMode.STREAMING, stop_timeout=0.1) as server,
        peer_of(server) as peer,
    ):
        await peer.send(message_pdvs(store_request(), encoded(instance(pixels=500_000)))[:-1])
        await begun.wait()
        await server.stop()
        await peer.expect_abort(0, 0)
    assert os.listdir(tmp_path) == []  # noqa: PTH208 - hidden ones too


@both_modes
@pytest.mark.parametrize(
    ("duplicates", "status", "comment", "kept"),
    [
        (Duplicates.KEEP, 0xB000, "stored before with different content; that is kept", 1000),
        (Duplicates.REPLACE, 0x0000, None, 2000),
        (Duplicates.REFUSE, 0x0111, "stored before with different content", 1000),
    ],
)
async def test_the_same_instance_again(
    mode: StoreMode, duplicates: Duplicates, status: int, comment: str | None, kept: int, tmp_path: Path
) -> None:
    stored: list[Stored | None] = []

    async def handler(request: StoreRequest) -> Status:
        try:
            await request.save_under(tmp_path)
        finally:
            stored.append(request.stored)
        return Status.SUCCESS

    async with serving(handler, mode=mode, duplicates=duplicates) as server, peer_of(server) as peer:
        for pixels, expected in ((1000, 0), (1000, 0), (2000, status), (kept, 0)):
            await peer.send(message_pdvs(store_request(), encoded(instance(pixels=pixels)), size=700))
            message = (await peer.receive_message()).message
            assert isinstance(message, C_STORE_RSP)
            assert (message.status, message.error_comment) == (expected, comment if expected else None)
        await peer.release()
    assert stored == [Stored.NEW, Stored.SAME, Stored.REPLACED if kept == 2000 else Stored.KEPT, Stored.SAME]
    (name,) = files_under(tmp_path)
    assert len(read(tmp_path / name).PixelData) == kept
    assert os.listdir((tmp_path / name).parent) == ["1.2.3.4.dcm"]  # noqa: PTH208 - hidden ones too


@both_modes
@pytest.mark.parametrize("there", [b"no DICOM", encoded(instance("1.2.3.5"))], ids=["no DICOM", "another"])
async def test_a_name_that_another_has_is_not_taken(mode: StoreMode, there: bytes, tmp_path: Path) -> None:
    taken, given = tmp_path / "1.2.3.4.dcm", tmp_path / "given.dcm"
    if there == b"no DICOM":
        taken.write_bytes(there)
    else:
        save(instance("1.2.3.5"), taken)
    given.write_bytes(taken.read_bytes())
    before = taken.read_bytes()

    async def named(request: StoreRequest) -> Status:
        await request.save_under(tmp_path, "{SOPInstanceUID}.dcm")
        return Status.SUCCESS

    async def to_path(request: StoreRequest) -> Status:
        with pytest.raises(FileExistsError, match=r"another file has this name.*given\.dcm"):
            await request.save(given)
        return Status.OUT_OF_RESOURCES

    for handler, expected in ((named, 0), (named, 0), (to_path, 0xA700)):
        async with (
            serving(handler, mode=mode, duplicates=Duplicates.REPLACE) as server,
            peer_of(server) as peer,
        ):
            await peer.send(message_pdvs(store_request(), encoded(instance())))
            assert await status_of(peer) == expected
            await peer.release()
    assert taken.read_bytes() == given.read_bytes() == before
    (other,) = set(files_under(tmp_path)) - {"1.2.3.4.dcm", "given.dcm"}
    assert other.startswith("1.2.3.4-")
    assert dataset_bytes(tmp_path / other) == encoded(instance())


async def test_many_at_once_leave_one_whole_instance(tmp_path: Path) -> None:
    async def handler(request: StoreRequest) -> Status:
        await request.save_under(tmp_path)
        return Status.SUCCESS

    contents = [encoded(instance(pixels=1000 + 2 * number)) for number in range(8)]

    async def send(server: Server, data: bytes) -> int:
        async with peer_of(server) as peer:
            await peer.send(message_pdvs(store_request(), data))
            status = await status_of(peer)
            await peer.release()
            return status

    async with serving(handler, mode=StoreMode.STREAMING) as server:
        statuses = await asyncio.gather(*(send(server, data) for data in contents))
    assert sorted(statuses) == [0, *[0xB000] * 7]
    (name,) = files_under(tmp_path)
    assert dataset_bytes(tmp_path / name) == contents[statuses.index(0)]


@both_modes
async def test_an_element_after_the_pixel_data_is_stored(mode: StoreMode, tmp_path: Path) -> None:
    dataset = instance(pixels=100_000)
    dataset.DataSetTrailingPadding = bytes(100_000)
    dataset.add_new(0x00091001, "UN", b"private!")
    data = encoded(dataset)

    async def handler(request: StoreRequest) -> Status:
        await request.save(tmp_path / "a.dcm")
        return Status.SUCCESS

    async with serving(handler, mode=mode) as server, peer_of(server) as peer:
        await peer.send(message_pdvs(store_request(), data))
        assert await status_of(peer) == Status.SUCCESS
        await peer.release()
    assert dataset_bytes(tmp_path / "a.dcm") == data


@both_modes
async def test_an_echo_between_two_stores(mode: StoreMode) -> None:
    async def handler(_: StoreRequest) -> Status:
        return Status.SUCCESS

    async with (
        serving(handler, mode=mode) as server,
        peer_of(server, (CT, [EXPLICIT]), (VERIFICATION, [IMPLICIT])) as peer,
    ):
        for _ in range(2):
            await peer.send(message_pdvs(store_request(), encoded(instance(pixels=100_000))))
            assert await status_of(peer) == Status.SUCCESS
            await peer.send(message_pdvs(echo_request(), context=3))
            await peer.receive_message()
        await peer.release()


def test_uids_of_the_sample() -> None:
    assert instance().SOPClassUID == UID(CT)


async def test_what_was_received_is_free_at_once_however_a_store_ends(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Not when the garbage collector gets to it: until then a peer could fill the memory with data sets."""

    def scanners() -> int:
        return sum(type(each) is ElementScanner for each in gc.get_objects())

    async def until(condition: Callable[[], bool]) -> None:
        for _ in range(10_000):
            if condition():
                return
            await asyncio.sleep(0.001)
        raise AssertionError("not in time")

    caplog.set_level(logging.CRITICAL, "dimse")  # what is logged has tracebacks
    kept: list[tuple[str, int]] = []
    malformed = b"\x10\x00\x10\x00PN\xff\x7f"
    endings: dict[str, Callable[[bytes], bytes]] = {
        "whole": lambda data: data,
        "truncated": lambda data: data[:-3],
        "malformed": lambda data: data + malformed,
        "unfinished": lambda data: data,
        "not a folder": lambda data: data,
        "twice": lambda data: data,
    }
    server = Server(port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        root = tmp_path
        if "not a folder" in str(request.association.calling_ae_title):
            root = tmp_path / "file"
            root.touch()
        await request.save_under(root, "{SOPInstanceUID}.dcm")
        if request.association.calling_ae_title == "twice":
            await request.save_under(root, "again-{SOPInstanceUID}.dcm")
        return 0

    gc.collect()
    gc.disable()
    try:
        async with server:
            for number, (name, data) in enumerate(endings.items()):
                async with await ScriptedPeer.connect(server.port) as peer:
                    await peer.associate(associate_request((CT, [EXPLICIT]), calling=name))
                    uid = f"1.2.3.{number}"
                    pdvs = message_pdvs(store_request(uid), data(encoded(instance(uid, pixels=0))))
                    if name == "unfinished":
                        await peer.send([*pdvs[:-1], replace(pdvs[-1], is_last=False)])
                        await until(lambda: scanners() > 0)
                    else:
                        await peer.send(pdvs)
                        await peer.receive_message()
                await until(lambda: not server._sessions)
                kept.append((name, scanners()))
    finally:
        gc.enable()
    assert [(name, count) for name, count in kept if count] == []
