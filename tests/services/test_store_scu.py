"""C-STORE as SCU: every kind of source, every size of PDU, retries, progress, and what can't be sent."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from pydicom.data import get_testdata_file
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    RLELossless,
)
from tests.sample_objects import CT, dataset_bytes, encoded, instance, pixel_bytes, read, save
from tests.server_options import server_options

import dimse
from dimse import (
    AssociationAborted,
    ClientOptions,
    CStoreSCU,
    DatasetError,
    DatasetSource,
    EncapsulatedFrames,
    FileSource,
    LocalProtocolError,
    NativePixels,
    PresentationContextError,
    RetryPolicy,
    Server,
    Status,
    StatusError,
    StoreMode,
    StoreRequest,
    StreamSource,
    TransferProgress,
    connect,
    presentation_contexts,
)
from dimse.dataset.sources import MemorySource, Reader
from dimse.messages.message import C_STORE_RQ, C_STORE_RSP
from dimse.testing import ScriptedPeer, listening, message_pdvs
from dimse.uids import COMMON_STORAGE

IMPLICIT, EXPLICIT = str(ImplicitVRLittleEndian), str(ExplicitVRLittleEndian)
QUICK = RetryPolicy(delay=0.01, factor=1)
Contexts = Sequence[tuple[str, Sequence[str]]]


class Archive(Server):
    """Saves received instances in a folder, by the store mode, and answers with the given status."""

    def __init__(self, folder: Path, **options: object) -> None:
        super().__init__("ARCHIVE", port=0, options=server_options(fsync=False, **options))
        self.folder = folder / "archive"
        self.requests: list[C_STORE_RQ] = []
        self.statuses: Iterator[int] = iter(())
        self.on_c_store(self.keep)

    async def keep(self, request: StoreRequest) -> int:
        self.requests.append(request.command)
        status = next(self.statuses, Status.SUCCESS)
        if status == Status.SUCCESS:
            await request.save(self.path(request.sop_instance_uid))
        return status

    def path(self, sop_instance_uid: str) -> Path:
        return self.folder / f"{sop_instance_uid}.dcm"

    @property
    def address(self) -> str:
        return f"ARCHIVE@127.0.0.1:{self.port}"


class Pipe(BytesIO):
    """A stream that can't seek."""

    def seekable(self) -> bool:
        return False

    def seek(self, *_: object) -> int:
        raise OSError("a pipe")

    def tell(self) -> int:
        raise OSError("a pipe")


@pytest.fixture(params=StoreMode, ids=lambda mode: mode.value)
async def archive(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Archive]:
    async with Archive(tmp_path, mode=request.param) as server:
        yield server


PDU_SIZES = pytest.mark.parametrize("maximum", [128, 4096, 0])


def contexts_for(*syntaxes: str, sop_class: str = CT) -> Contexts:
    return [(sop_class, [syntax]) for syntax in syntaxes]


@PDU_SIZES
async def test_a_path_a_stream_and_a_pipe(archive: Archive, maximum: int, tmp_path: Path) -> None:
    dataset = instance(pixels=20_000)
    dataset.DataSetTrailingPadding = bytes(10)
    paths = []
    for number in range(4):
        dataset.SOPInstanceUID = UID(f"1.2.{number}")
        paths.append(save(dataset, tmp_path / f"{number}.dcm"))
    options = ClientOptions(maximum_length_to_send=maximum or 256 * 1024)
    sources = [str(paths[0]), paths[1], BytesIO(paths[2].read_bytes()), Pipe(paths[3].read_bytes())]
    async with connect(archive.address, contexts=contexts_for(EXPLICIT), options=options) as association:
        for source in sources:
            assert (await CStoreSCU(association).send(cast("str", source))).status == Status.SUCCESS
    for number, path in enumerate(paths):
        stored = archive.path(f"1.2.{number}")
        assert dataset_bytes(stored) == dataset_bytes(path)
        assert read(stored) == read(path)


@PDU_SIZES
async def test_data_sets(archive: Archive, maximum: int, tmp_path: Path) -> None:
    options = ClientOptions(maximum_length_to_send=maximum or 256 * 1024)
    plain = instance("1.2.1", pixels=5000)
    from_file = read(save(instance("1.2.2", pixels=5000), tmp_path / "a.dcm", IMPLICIT))
    async with connect(archive.address, contexts=contexts_for(EXPLICIT, IMPLICIT), options=options) as association:
        scu = CStoreSCU(association)
        assert (await scu.send(plain)).status == Status.SUCCESS
        assert (await scu.send(from_file)).status == Status.SUCCESS
    stored = read(archive.path("1.2.1"))
    assert (stored.file_meta.TransferSyntaxUID, stored.PixelData) == (EXPLICIT, plain.PixelData)
    stored = read(archive.path("1.2.2"))
    assert (stored.file_meta.TransferSyntaxUID, stored) == (IMPLICIT, from_file)


async def each(buffers: Sequence[bytes]) -> AsyncIterator[bytes]:
    for buffer in buffers:
        await asyncio.sleep(0)
        yield buffer


def given_as(kind: str, buffers: Sequence[bytes]) -> Iterable[bytes] | AsyncIterable[bytes]:
    if kind == "async":
        return each(buffers)
    return buffers if kind == "list" else iter(buffers)


@pytest.mark.parametrize("kind", ["list", "generator", "async"])
@PDU_SIZES
async def test_native_pixels_from_elsewhere(archive: Archive, maximum: int, kind: str) -> None:
    buffers = [pixel_bytes(3001), b"", pixel_bytes(999), pixel_bytes(1)]
    given = given_as(kind, buffers)
    options = ClientOptions(maximum_length_to_send=maximum or 256 * 1024)
    async with connect(archive.address, contexts=contexts_for(EXPLICIT), options=options) as association:
        response = await CStoreSCU(association).send(instance(pixels=0), pixels=NativePixels(given, 4001))
    assert response.status == Status.SUCCESS
    assert read(archive.path("1.2.3.4")).PixelData == b"".join(buffers) + b"\0"


@pytest.mark.parametrize("kind", ["list", "generator", "async"])
@PDU_SIZES
async def test_encapsulated_frames_from_elsewhere(archive: Archive, maximum: int, kind: str) -> None:
    frames = [b"\xff\xd8" + pixel_bytes(length) for length in (1000, 333, 2)]
    given = given_as(kind, frames)
    dataset = instance(pixels=0)
    dataset.NumberOfFrames = 3
    dataset.ensure_file_meta()
    dataset.file_meta.TransferSyntaxUID = JPEGBaseline8Bit
    options = ClientOptions(maximum_length_to_send=maximum or 256 * 1024)
    async with connect(archive.address, contexts=contexts_for(JPEGBaseline8Bit), options=options) as association:
        response = await CStoreSCU(association).send(dataset, pixels=EncapsulatedFrames(given))
    assert response.status == Status.SUCCESS
    stored = read(archive.path("1.2.3.4"))
    assert stored.file_meta.TransferSyntaxUID == JPEGBaseline8Bit
    assert [one.rstrip(b"\0") for one in generate_frames(stored.PixelData, number_of_frames=3)] == [
        one.rstrip(b"\0") for one in frames
    ]


async def test_separate_pixels_go_with_a_data_set(archive: Archive, tmp_path: Path) -> None:
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        with pytest.raises(TypeError, match="pydicom Dataset"):
            await CStoreSCU(association).send(tmp_path / "a.dcm", pixels=NativePixels([b""], 0))


@pytest.mark.parametrize("count", [99, 101])
async def test_a_pixel_source_that_breaks_its_word(archive: Archive, count: int) -> None:
    """Too many or too few: the association is aborted, for what is half sent can't be taken back."""
    pixels = NativePixels([bytes(1000)] * count, 100_000)
    options = ClientOptions(maximum_length_to_send=4096)
    async with connect(archive.address, contexts=contexts_for(EXPLICIT), options=options) as association:
        with pytest.raises(DatasetError, match="100000"):
            await CStoreSCU(association).send(instance(pixels=0), pixels=pixels)
        assert not association.is_open
    await archive.stop()
    assert not archive.folder.exists() or list(archive.folder.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "syntax"),
    [
        ("CT_small.dcm", EXPLICIT),
        ("MR_small_RLE.dcm", RLELossless),
        ("MR_small_bigendian.dcm", ExplicitVRBigEndian),
        ("image_dfl.dcm", DeflatedExplicitVRLittleEndian),
        ("rtplan.dcm", IMPLICIT),
        ("examples_jpeg2k.dcm", "1.2.840.10008.1.2.4.90"),
    ],
)
async def test_real_objects_arrive_as_they_are(archive: Archive, name: str, syntax: str) -> None:
    path = get_testdata_file(name, download=False)
    if path is None:
        pytest.skip(f"pydicom does not ship {name}")
    source = FileSource(path)
    assert source.transfer_syntax_uid == syntax
    options = ClientOptions(maximum_length_to_send=4096)
    async with connect(archive.address, contexts=presentation_contexts([source]), options=options) as association:
        assert (await CStoreSCU(association).send(source)).status == Status.SUCCESS
    stored = archive.path(source.sop_instance_uid)
    assert dataset_bytes(stored).rstrip(b"\0") == dataset_bytes(Path(path)).rstrip(b"\0")
    assert read(stored).file_meta.TransferSyntaxUID == syntax


async def test_an_empty_data_set(archive: Archive, tmp_path: Path) -> None:
    path = save(instance(), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes()[: -len(dataset_bytes(path))])
    source = FileSource(path)
    assert source.length == 0
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        for each in (source, StreamSource(Pipe(path.read_bytes()))):
            with pytest.raises(StatusError, match=r"0xA900 .*the data set is empty\)"):
                await CStoreSCU(association).send(each)


def odd(tmp_path: Path, syntax: str) -> Path:
    """A file whose last value has an odd length, as some devices write them."""
    path = save(instance(pixels=0), tmp_path / "odd.dcm", syntax)
    comment = b"\x20\0\0\x40" + (b"LT\3\0" if syntax == EXPLICIT else b"\3\0\0\0") + b"odd"
    whole, data = path.read_bytes(), dataset_bytes(path)
    before = data.index(b"\x28\x00\x02\x00")  # (0028,0002) follows (0020,4000)
    path.write_bytes(whole[: -len(data)] + data[:before] + comment + data[before:])
    return path


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
@pytest.mark.parametrize("kind", ["path", "stream"])
async def test_a_value_of_odd_length(archive: Archive, tmp_path: Path, syntax: str, kind: str) -> None:
    path = odd(tmp_path, syntax)
    assert len(dataset_bytes(path)) % 2 == 1
    source: Path | BinaryIO = path if kind == "path" else BytesIO(path.read_bytes())
    async with connect(archive.address, contexts=contexts_for(syntax)) as association:
        assert (await CStoreSCU(association).send(source)).status == Status.SUCCESS
    stored = read(archive.path("1.2.3.4"))
    assert stored.ImageComments == "odd"
    assert stored.BitsAllocated == 16


@pytest.mark.parametrize("pixels", [0, 1000])
@pytest.mark.parametrize("surplus", [b"\xfe\xff\x0d\xe0\0\0\0\0", bytes(2), bytes(4096)])
async def test_what_is_behind_the_last_element_lacks_nothing(
    archive: Archive, tmp_path: Path, pixels: int, surplus: bytes
) -> None:
    """It goes along with a data set that goes as it is."""
    path = save(instance(pixels=pixels), tmp_path / "a.dcm")
    path.write_bytes(path.read_bytes() + surplus)
    for syntax in (EXPLICIT, IMPLICIT):
        async with connect(archive.address, contexts=contexts_for(syntax)) as association:
            assert (await CStoreSCU(association).send(path)).status == Status.SUCCESS
        stored = dataset_bytes(archive.path("1.2.3.4"))
        assert stored == (dataset_bytes(path) if syntax == EXPLICIT else encoded(instance(pixels=pixels), IMPLICIT))
        archive.path("1.2.3.4").unlink()  # the archive keeps what it has


@pytest.mark.parametrize("kind", ["path", "pipe"])
async def test_an_odd_last_fragment_is_padded_inside_it(archive: Archive, tmp_path: Path, kind: str) -> None:
    dataset = instance(pixels=0)
    dataset.PixelData = b"\xfe\xff\0\xe0\0\0\0\0" + b"\xfe\xff\0\xe0\x06\0\0\0" + b"12345!"
    dataset["PixelData"].VR, dataset["PixelData"].is_undefined_length = "OB", True
    path = save(dataset, tmp_path / "a.dcm", JPEGBaseline8Bit)
    path.write_bytes(path.read_bytes().replace(b"\x06\0\0\x0012345!", b"\x05\0\0\x0012345"))
    source: Path | BinaryIO = path if kind == "path" else Pipe(path.read_bytes())
    async with connect(archive.address, contexts=contexts_for(JPEGBaseline8Bit)) as association:
        assert (await CStoreSCU(association).send(source)).status == Status.SUCCESS
    assert dataset_bytes(archive.path("1.2.3.4")).endswith(b"\x06\0\0\x0012345\0\xfe\xff\xdd\xe0\0\0\0\0")


IMPLICIT_JPEG = Path(str(get_testdata_file("SC_rgb_jpeg.dcm", download=False)))
IMPLICIT_JPEG_BYTES = IMPLICIT_JPEG.read_bytes()


@pytest.mark.parametrize("kind", ["path", "pipe"])
@pytest.mark.parametrize("accepted", [JPEGBaseline8Bit, EXPLICIT, IMPLICIT])
@pytest.mark.filterwarnings("ignore:Expected explicit VR, but found implicit VR")  # by pydicom, of the original
async def test_implicit_vr_under_a_compressed_syntax_is_put_right(archive: Archive, accepted: str, kind: str) -> None:
    source = FileSource(IMPLICIT_JPEG)
    contexts = contexts_for(accepted, sop_class=source.sop_class_uid)
    sent = source if kind == "path" else Pipe(IMPLICIT_JPEG_BYTES)
    async with connect(archive.address, contexts=contexts) as association:
        assert (await CStoreSCU(association, allow_decompression=True).send(sent)).status == Status.SUCCESS
    stored, original = read(archive.path(source.sop_instance_uid)), read(IMPLICIT_JPEG)
    assert stored.file_meta.TransferSyntaxUID == accepted
    assert stored.original_encoding == (accepted == IMPLICIT, True)
    if accepted != JPEGBaseline8Bit:
        original.decompress(generate_instance_uid=False)
    assert stored.PixelData.rstrip(b"\0") == original.PixelData.rstrip(b"\0")
    assert (stored.PatientName, stored.Rows) == (original.PatientName, original.Rows)


@pytest.mark.parametrize(("is_in", "named"), [(IMPLICIT, EXPLICIT), (EXPLICIT, IMPLICIT)])
async def test_a_native_data_set_goes_as_what_it_shows(
    archive: Archive, tmp_path: Path, is_in: str, named: str
) -> None:
    path = save(instance(), tmp_path / "a.dcm", is_in)
    data = dataset_bytes(path)
    path.write_bytes(path.read_bytes()[: -len(data)].replace(ui(is_in), ui(named)) + data)
    async with connect(archive.address, contexts=presentation_contexts([path])) as association:
        assert (await CStoreSCU(association).send(path)).status == Status.SUCCESS
    stored = archive.path("1.2.3.4")
    assert read(stored).file_meta.TransferSyntaxUID == is_in
    assert dataset_bytes(stored) == data


def ui(uid: str) -> bytes:
    """(0002,0010), in Explicit VR."""
    value = uid.encode() + bytes(len(uid) % 2)
    return b"\x02\0\x10\0UI" + len(value).to_bytes(2, "little") + value


# Transfer syntaxes


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT, str(DeflatedExplicitVRLittleEndian)])
@pytest.mark.parametrize("accepted", [EXPLICIT, IMPLICIT])
async def test_uncompressed_goes_in_what_the_peer_takes(
    archive: Archive, tmp_path: Path, syntax: str, accepted: str
) -> None:
    dataset = instance(pixels=5000)
    path = save(dataset, tmp_path / "a.dcm", syntax)
    async with connect(archive.address, contexts=contexts_for(accepted)) as association:
        assert (await CStoreSCU(association).send(path)).status == Status.SUCCESS
    stored = read(archive.path("1.2.3.4"))
    assert stored.file_meta.TransferSyntaxUID == accepted
    assert stored == read(path)


async def test_a_pipe_is_re_encoded_too(archive: Archive, tmp_path: Path) -> None:
    path = save(instance(pixels=5000), tmp_path / "a.dcm")
    async with connect(archive.address, contexts=contexts_for(IMPLICIT)) as association:
        assert (await CStoreSCU(association).send(Pipe(path.read_bytes()))).status == Status.SUCCESS
    assert read(archive.path("1.2.3.4")) == read(path)


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_big_endian_is_swapped(archive: Archive, syntax: str) -> None:
    path = get_testdata_file("MR_small_bigendian.dcm", download=False)
    assert path is not None
    source = FileSource(path)
    async with connect(archive.address, contexts=contexts_for(syntax, sop_class=source.sop_class_uid)) as association:
        await CStoreSCU(association).send(source)
    little = get_testdata_file("MR_small.dcm", download=False)
    assert little is not None
    assert read(archive.path(source.sop_instance_uid)).PixelData == read(Path(little)).PixelData


async def test_compressed_is_decompressed_only_where_that_is_allowed(archive: Archive) -> None:
    path = get_testdata_file("MR_small_RLE.dcm", download=False)
    original = get_testdata_file("MR_small.dcm", download=False)
    assert path is not None
    assert original is not None
    source = FileSource(path)
    contexts = contexts_for(EXPLICIT, IMPLICIT, sop_class=source.sop_class_uid)
    async with connect(archive.address, contexts=contexts) as association:
        with pytest.raises(PresentationContextError) as caught:
            await CStoreSCU(association).send(source)
        for words in ("RLE Lossless", "proposed:", "accepted: Explicit VR Little Endian", "was not allowed"):
            assert words in str(caught.value)
        scu = CStoreSCU(association, allow_decompression=True)
        assert (await scu.send(source)).status == Status.SUCCESS
    stored = read(archive.path(source.sop_instance_uid))
    assert stored.file_meta.TransferSyntaxUID == EXPLICIT
    assert stored.PixelData == read(Path(original)).PixelData


@pytest.mark.parametrize("allowed", [False, True])
async def test_decompression_is_no_hint_where_nothing_can_decompress(archive: Archive, allowed: bool) -> None:
    """A private syntax, which may well be native."""
    source = MemorySource([b""], sop_class_uid=CT, sop_instance_uid="1.2", transfer_syntax_uid="1.2.840.113619.5.2")
    async with connect(archive.address, contexts=contexts_for(EXPLICIT, IMPLICIT)) as association:
        with pytest.raises(PresentationContextError, match=r"accepted: Explicit VR Little Endian") as caught:
            await CStoreSCU(association, allow_decompression=allowed).send(source)
    assert "decompress" not in str(caught.value)


async def test_a_plugin_that_is_missing_is_said_to_who_asks_for_decompression(archive: Archive) -> None:
    source = FileSource(str(get_testdata_file("JPEGLSNearLossless_08.dcm", download=False)))
    contexts = contexts_for(EXPLICIT, IMPLICIT, sop_class=source.sop_class_uid)
    async with connect(archive.address, contexts=contexts) as association:
        with pytest.raises(PresentationContextError) as caught:
            await CStoreSCU(association).send(source)
        assert "decompress" not in str(caught.value)
        with pytest.raises(DatasetError, match=r"cannot be decompressed from JPEG-LS Lossy.*dependencies"):
            await CStoreSCU(association, allow_decompression=True).send(source)


def test_the_contexts_that_are_proposed() -> None:
    rle_path = cast("str", get_testdata_file("MR_small_RLE.dcm", download=False))
    ct_path = cast("str", get_testdata_file("CT_small.dcm", download=False))
    rle, ct = FileSource(rle_path), FileSource(ct_path)
    assert presentation_contexts([rle, ct, ct, rle]) == [
        (rle.sop_class_uid, (str(RLELossless),)),
        (CT, (EXPLICIT,)),
        (rle.sop_class_uid, (EXPLICIT,)),
        (rle.sop_class_uid, (IMPLICIT,)),
        (CT, (IMPLICIT,)),
    ]
    assert presentation_contexts([rle_path, Path(ct_path)]) == presentation_contexts([read(Path(rle_path)), ct])
    assert presentation_contexts([rle, ct], [IMPLICIT, str(RLELossless)]) == [
        (sop_class, (syntax,)) for sop_class in (rle.sop_class_uid, CT) for syntax in (IMPLICIT, str(RLELossless))
    ]
    assert len(COMMON_STORAGE) < 128


# Retries


async def test_out_of_resources_is_tried_again(archive: Archive, tmp_path: Path) -> None:
    archive.statuses = iter([0xA700, 0xA701, 0xA7FF])
    path = save(instance(), tmp_path / "a.dcm")
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        response = await CStoreSCU(association, retry=QUICK).send(path)
    assert response.status == Status.SUCCESS
    assert len(archive.requests) == 4
    assert len({request.message_id for request in archive.requests}) == 4
    assert archive.path("1.2.3.4").exists()


async def test_out_of_resources_for_good(archive: Archive, tmp_path: Path) -> None:
    archive.statuses = iter([0xA700] * 9)
    path = save(instance(), tmp_path / "a.dcm")
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        with pytest.raises(StatusError, match=r"C-STORE of .*a\.dcm: 0xA700 Out of resources"):
            await CStoreSCU(association, retry=QUICK).send(path)
        assert association.is_open
    assert len(archive.requests) == 4


@pytest.mark.parametrize("status", [0xB000, 0xB006, 0xB007, 0x0107])
async def test_a_warning_is_stored_and_not_tried_again(archive: Archive, status: int, tmp_path: Path) -> None:
    archive.statuses = iter([status])
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        response = await CStoreSCU(association, retry=QUICK).send(save(instance(), tmp_path / "a.dcm"))
    assert response.status == status
    assert len(archive.requests) == 1


@pytest.mark.parametrize("status", [0xC000, 0xA900, 0x0110, 0x0111, 0x0122, 0x0124])
async def test_a_permanent_refusal_is_not_tried_again(archive: Archive, status: int, tmp_path: Path) -> None:
    archive.statuses = iter([status])
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        with pytest.raises(StatusError) as caught:
            await CStoreSCU(association, retry=QUICK).send(save(instance(), tmp_path / "a.dcm"))
        assert caught.value.status == status
    assert len(archive.requests) == 1


@pytest.mark.parametrize("status", [0xFF00, 0xFF01, 0xFE00])
async def test_pending_and_cancel_are_not_stored(status: int, tmp_path: Path) -> None:
    """C-STORE has neither; whoever says so has not said Success."""
    path = save(instance(), tmp_path / "a.dcm")
    messages: list[C_STORE_RQ] = []

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        assert isinstance(received.message, C_STORE_RQ)
        messages.append(received.message)
        response = C_STORE_RSP(message_id_being_responded_to=received.message.message_id, status=Status(status))
        await peer.send(message_pdvs(response, context=received.presentation_context_id))
        await peer.answer_release()

    async with listening(script) as address:
        async with connect(address, contexts=contexts_for(EXPLICIT)) as association:
            with pytest.raises(StatusError) as caught:
                await CStoreSCU(association, retry=QUICK).send(path)
            assert caught.value.status == status
        report = await dimse.send(address, path, raise_failures=False)
    assert report.stored == ()
    assert [failure.status for failure in report.failures] == [status]
    assert len(messages) == 2


async def test_what_can_be_read_once_is_sent_once(archive: Archive, tmp_path: Path) -> None:
    archive.statuses = iter([0xA700])
    path = save(instance(), tmp_path / "a.dcm")
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        with pytest.raises(StatusError) as caught:
            await CStoreSCU(association, retry=QUICK).send(Pipe(path.read_bytes()))
        assert any("read only once" in note for note in caught.value.__notes__)
    assert len(archive.requests) == 1


async def test_a_seekable_stream_is_read_again(archive: Archive, tmp_path: Path) -> None:
    archive.statuses = iter([0xA700])
    path = save(instance(pixels=5000), tmp_path / "a.dcm")
    stream = BytesIO(b"something before" + path.read_bytes())
    stream.seek(16)
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        assert (await CStoreSCU(association, retry=QUICK).send(stream)).status == Status.SUCCESS
    assert dataset_bytes(archive.path("1.2.3.4")) == dataset_bytes(path)
    assert not stream.closed


# Progress


async def test_progress(archive: Archive, tmp_path: Path) -> None:
    path = save(instance(pixels=3_000_000), tmp_path / "a.dcm")
    total = len(dataset_bytes(path))
    reports: list[TransferProgress] = []
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        await CStoreSCU(association).send(path, progress=reports.append)
    assert reports[-1].bytes_transferred == reports[-1].total_bytes == total
    assert sum(report.bytes_transferred == total for report in reports) <= 2
    transferred = [report.bytes_transferred for report in reports]
    assert transferred == sorted(transferred)
    assert all(report.total_bytes == total for report in reports)
    assert all(report.bytes_per_second > 0 for report in reports[1:])
    with pytest.raises(AttributeError):
        reports[0].bytes_transferred = 0  # type: ignore[misc]


async def test_progress_of_what_has_no_known_length(archive: Archive, tmp_path: Path) -> None:
    path = save(instance(), tmp_path / "a.dcm")
    reports: list[TransferProgress] = []
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        await CStoreSCU(association).send(Pipe(path.read_bytes()), progress=reports.append)
    assert (reports[-1].bytes_transferred, reports[-1].total_bytes) == (len(dataset_bytes(path)), None)


async def test_a_raising_callback_harms_nothing(
    archive: Archive, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = save(instance(), tmp_path / "a.dcm")

    def progress(_: TransferProgress) -> None:
        raise ZeroDivisionError

    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        assert (await CStoreSCU(association).send(path, progress)).status == Status.SUCCESS
    assert dataset_bytes(archive.path("1.2.3.4")) == dataset_bytes(path)
    assert [record.message for record in caplog.records if record.levelno == logging.ERROR] == [
        "the progress callback failed; it is not called again"
    ]


# On the wire


async def test_command_and_first_data_share_a_segment_and_the_rest_is_full() -> None:
    """At most one PDV of a kind in a PDU, and header and payload leave together."""
    dataset = instance(pixels=50_000)
    data = encoded(dataset)
    originator = ("MOVER", 77)

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        message = received.message
        assert isinstance(message, C_STORE_RQ)
        assert message.move_originator_application_entity_title == "MOVER"
        assert message.move_originator_message_id == 77
        assert (message.affected_sop_class_uid, message.affected_sop_instance_uid) == (CT, "1.2.3.4")
        assert received.data == data
        assert set(received.fragments[:-1]) == {16378}
        response = C_STORE_RSP(message_id_being_responded_to=message.message_id, status=Status.SUCCESS)
        await peer.send(message_pdvs(response))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=contexts_for(EXPLICIT)) as association:
        await CStoreSCU(association).send(dataset, move_originator=originator)


class Liar(DatasetSource):
    """A source whose length is not what it says."""

    sop_class_uid, sop_instance_uid, transfer_syntax_uid, name = CT, "1.2.3.4", EXPLICIT, "liar"
    repeatable = True

    def __init__(self, says: int, has: int) -> None:
        self.length = says
        self._has = has

    def open(self) -> Reader:
        return _LiarsReader(self._has)


class _LiarsReader(Reader):
    def __init__(self, left: int) -> None:
        self._left = left

    async def read_into(self, buffer: memoryview) -> int:
        count = min(self._left, len(buffer))
        self._left -= count
        return count

    def close(self) -> None: ...


@pytest.mark.parametrize(
    ("says", "has"), [(100, 50), (50, 100), (100_000, 50_000), (50_000, 100_000), (16378, 16378 * 2)]
)
async def test_a_source_of_another_length_than_it_says(archive: Archive, says: int, has: int) -> None:
    options = ClientOptions(maximum_length_to_send=16384)
    async with (
        asyncio.timeout(5),
        connect(archive.address, contexts=contexts_for(EXPLICIT), options=options) as association,
    ):
        with pytest.raises(DatasetError, match="liar"):
            await CStoreSCU(association).send(Liar(says, has))


async def test_a_file_that_changes_or_is_cut_while_it_waits(archive: Archive, tmp_path: Path) -> None:
    path = save(instance(pixels=5000), tmp_path / "a.dcm")
    source = FileSource(path)
    path.write_bytes(path.read_bytes()[:-100])
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        with pytest.raises(DatasetError, match="has changed"):
            await CStoreSCU(association).send(source)
        assert association.is_open


async def test_an_instance_uid_of_absurd_length(archive: Archive) -> None:
    source = MemorySource([b""], sop_class_uid=CT, sop_instance_uid="1" * 9001, transfer_syntax_uid=EXPLICIT)
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        with pytest.raises(DatasetError, match="SOP Instance UID"):
            await CStoreSCU(association).send(source)
        assert association.is_open


async def test_what_the_peer_left_cannot_be_sent_on(archive: Archive, tmp_path: Path) -> None:
    path = save(instance(), tmp_path / "a.dcm")
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        association.abort()
        with pytest.raises(AssociationAborted):
            await CStoreSCU(association).send(path)
    async with connect(archive.address, contexts=contexts_for(EXPLICIT)) as association:
        await association.release()
        with pytest.raises(LocalProtocolError):
            await CStoreSCU(association).send(path)


def test_a_data_set_without_uids_is_named() -> None:
    source = Dataset()
    source.PatientName = "SECRET^NAME"
    with pytest.raises(DatasetError, match="no SOP Class UID") as caught:
        asyncio.run(_as_source(source))
    assert "SECRET" not in str(caught.value)


async def _as_source(dataset: Dataset) -> object:
    from dimse.services.given import as_source

    return await as_source(dataset)
