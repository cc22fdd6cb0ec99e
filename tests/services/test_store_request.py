"""C-STORE as SCP: Success means that there is a whole data set, in the transfer syntax that the request names."""

from __future__ import annotations

import asyncio
import errno
import io
import struct
import zlib
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from time import process_time

import pytest
from pydicom import Dataset
from pydicom.data import get_testdata_file
from tests.sample_objects import CT, dataset_bytes, encoded, instance, pixel_bytes, read
from tests.services.test_store_scp import files_under, peer_of, serving

from dimse import ConnectionLost, Edits, Status, StoreMode, StoreRequest, Strictness
from dimse.errors import DatasetError
from dimse.messages.message import C_STORE_RSP
from dimse.testing import message_pdvs, store_request, wire

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
DEFLATED, JPEG, RLE = "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.4.50", "1.2.840.10008.1.2.5"

ITEM, ITEM_END = b"\xfe\xff\x00\xe0", b"\xfe\xff\x0d\xe0\0\0\0\0"
SEQUENCE_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
SIZES = [100, 16000]


async def save(request: StoreRequest, path: Path) -> Status:
    await request.save(path)
    return Status.SUCCESS


async def read_pixels(request: StoreRequest, path: Path) -> Status:
    async for _ in request.pixels():
        pass
    return Status.SUCCESS


async def hide(request: StoreRequest, path: Path) -> Status:
    """A handler that does not mind."""
    with suppress(DatasetError):
        await request.save(path)
    return Status.SUCCESS


async def answer(request: StoreRequest, path: Path) -> Status:
    return Status.SUCCESS


async def copy(request: StoreRequest, path: Path) -> Status:
    with path.with_suffix(".copy").open("wb") as file:
        async for chunk in request.chunks():
            file.write(chunk)
    return Status.SUCCESS


async def save_to_a_file_object(request: StoreRequest, path: Path) -> Status:
    with path.with_suffix(".copy").open("wb") as file:
        await request.save(file)
    return Status.SUCCESS


every_way = pytest.mark.parametrize(
    "handling", [save, read_pixels, copy, save_to_a_file_object, hide, answer], ids=lambda each: each.__name__
)
copies = pytest.mark.parametrize("copying", [save, copy, save_to_a_file_object], ids=lambda each: each.__name__)
every_mode = pytest.mark.parametrize("strictness", Strictness, ids=lambda each: each.value)
both_modes = pytest.mark.parametrize("mode", StoreMode, ids=lambda each: each.value)
Handling = Callable[[StoreRequest, Path], Awaitable[Status]]


def native(pixels: int = 2000, **values: object) -> Dataset:
    dataset = instance(pixels=pixels)
    for keyword, value in values.items():
        setattr(dataset, keyword, value)
    return dataset


def item(value: bytes) -> bytes:
    return ITEM + struct.pack("<L", len(value)) + value


def encapsulated(*fragments: bytes, end: bytes = SEQUENCE_END, syntax: str = EXPLICIT) -> bytes:
    head = b"\xe0\x7f\x10\x00" + (b"" if syntax == IMPLICIT else b"OB\0\0") + b"\xff\xff\xff\xff" + item(b"")
    return encoded(instance(pixels=0), syntax) + head + b"".join(map(item, fragments)) + end


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(wbits=-15)
    return deflater.compress(data) + deflater.flush()


def without(dataset: Dataset, keyword: str) -> bytes:
    delattr(dataset, keyword)
    return encoded(dataset)


async def stored(
    data: bytes, path: Path, syntax: str, mode: StoreMode, strictness: Strictness, handling: Handling, size: int = 16000
) -> C_STORE_RSP:
    async def handler(request: StoreRequest) -> Status:
        return await handling(request, path)

    async with (
        serving(handler, mode=mode, strictness=strictness) as server,
        peer_of(server, (CT, [syntax])) as peer,
    ):
        await peer.send(message_pdvs(store_request(), data, size=size))
        message = (await peer.receive_message()).message
        assert isinstance(message, C_STORE_RSP)
        await peer.release()
    return message


SEQUENCE = Dataset()
SEQUENCE.ReferencedSOPInstanceUID = "1.2.3"
LONG = native(60_000)
IN_SEQUENCE = encoded(instance(pixels=0)) + struct.pack("<HH2sHL", 0x88, 0x200, b"SQ", 0, 0xFFFFFFFF) + ITEM
REFUSED = {
    "empty": (b"", EXPLICIT, 0xA900, "(0008,0016) is missing, as the data set is empty"),
    "empty, deflated": (deflated(b""), DEFLATED, 0xA900, "(0008,0016) is missing, as the data set is empty"),
    "no class": (without(native(), "SOPClassUID"), EXPLICIT, 0xA900, "(0008,0016)"),
    "no instance": (without(native(), "SOPInstanceUID"), EXPLICIT, 0xA900, "(0008,0018)"),
    "another instance": (encoded(native(SOPInstanceUID="1.2.3.5")), EXPLICIT, 0xA900, "(0008,0018)"),
    "ends in a header": (encoded(instance(pixels=0))[:-6], EXPLICIT, 0xC000, "(0028,"),
    "ends in a sequence": (IN_SEQUENCE + b"\xff\xff\xff\xff", EXPLICIT, 0xC000, "(0088,0200)"),
    "an element claims more": (encoded(LONG) + b"\xfc\xff\xfc\xffOB\0\0\0\1\0\0", EXPLICIT, 0xC000, "(FFFC,FFFC)"),
    "pixels cut": (encoded(LONG)[:-2], EXPLICIT, 0xC000, "(7FE0,0010)"),
    "pixels cut, implicit": (encoded(LONG, IMPLICIT)[:-30_000], IMPLICIT, 0xC000, "(7FE0,0010)"),
    "pixels cut, big": (encoded(LONG, BIG)[:-2], BIG, 0xC000, "(7FE0,0010)"),
    "fewer rows": (encoded(native(Rows=64)), EXPLICIT, 0xC000, "(7FE0,0010)"),
    "fewer frames": (encoded(native(NumberOfFrames=5)), EXPLICIT, 0xC000, "(7FE0,0010)"),
    "fewer frames, signed": (encoded(native(NumberOfFrames="+5")), EXPLICIT, 0xC000, "(7FE0,0010)"),
    "fewer samples": (encoded(native(1000, BitsAllocated=8, SamplesPerPixel=4)), EXPLICIT, 0xC000, "(7FE0,0010)"),
    "fewer bits": (encoded(native(600, BitsAllocated=1, Rows=100, Columns=49)), EXPLICIT, 0xC000, "(7FE0,0010)"),
    "fewer floats": (
        encoded(native(0, FloatPixelData=bytes(1000), Rows=16, Columns=16)), EXPLICIT, 0xC000, "(7FE0,0008)",
    ),
    "no delimiter": (encapsulated(bytes(100), end=b""), JPEG, 0xC000, "(7FE0,0010)"),
    "fragment cut": (encapsulated(bytes(50_000))[:-100], JPEG, 0xC000, "(7FE0,0010)"),
    "elements in place of the delimiter": (
        encapsulated(bytes(100), end=b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0"), JPEG, 0xC000, "(7FE0,0010)",
    ),
    "not deflated": (encoded(native()), DEFLATED, 0xC000, "deflated"),
    "deflate stream cut": (deflated(encoded(LONG))[:-40], DEFLATED, 0xC000, "deflated"),
    "deflated pixels cut": (deflated(encoded(LONG)[:-2]), DEFLATED, 0xC000, "(7FE0,0010)"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
@every_way
@both_modes
async def test_what_is_not_whole_is_refused(case: str, handling: Handling, mode: StoreMode, tmp_path: Path) -> None:
    """PS3.4 B.2.3: and nothing takes the place of what is there."""
    data, syntax, status, said = REFUSED[case]
    path = tmp_path / "a.dcm"
    path.write_bytes(b"what was there before")
    for size, strictness in zip(SIZES, Strictness, strict=True):
        response = await stored(data, path, syntax, mode, strictness, handling, size)
        assert response.status == status
        assert said in (response.error_comment or "")
    assert path.read_bytes() == b"what was there before"
    (tmp_path / "a.copy").unlink(missing_ok=True)  # has the beginning
    assert files_under(tmp_path) == ["a.dcm"]


TAKEN = {
    "one frame, not said": (encoded(native()), EXPLICIT),
    "no pixel data": (encoded(instance(pixels=0)), EXPLICIT),
    "more than there must be": (encoded(native(5000)), EXPLICIT),
    "bits": (encoded(native(614, BitsAllocated=1, Rows=100, Columns=49)), EXPLICIT),
    "half the chrominance": (
        encoded(native(512, BitsAllocated=8, SamplesPerPixel=3, PhotometricInterpretation="YBR_FULL_422")), EXPLICIT,
    ),
    "no rows": (without(native(10), "Rows"), EXPLICIT),
    "floats": (encoded(native(0, FloatPixelData=bytes(1024), Rows=16, Columns=16)), EXPLICIT),
    "encapsulated": (encapsulated(bytes(50_000), bytes(20)), JPEG),
    "elements behind it": (encoded(native(DataSetTrailingPadding=bytes(30_000))), EXPLICIT),
    "elements behind the fragments": (
        encapsulated(bytes(40_000)) + b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0", JPEG,
    ),
    "deflated": (deflated(encoded(LONG)), DEFLATED),
    "big endian": (encoded(LONG, BIG), BIG),
    "a delimiter too many": (encoded(native()) + ITEM_END, EXPLICIT),
    "a delimiter too many, implicit": (encoded(instance(pixels=0), IMPLICIT) + ITEM_END, IMPLICIT),
    "a delimiter behind fragments": (encapsulated(bytes(100)) + ITEM_END, JPEG),
    "zeros": (encoded(native()) + bytes(4096), EXPLICIT),
    "zeros behind an SR": (encoded(instance(pixels=0)) + bytes(4096), EXPLICIT),
    "two zeros": (encoded(native()) + bytes(2), EXPLICIT),
    "two zeros behind an SR": (encoded(instance(pixels=0)) + bytes(2), EXPLICIT),
}  # fmt: skip


@pytest.mark.parametrize("case", TAKEN)
@both_modes
@copies
async def test_what_is_whole_is_stored_bit_for_bit(
    case: str, copying: Handling, mode: StoreMode, tmp_path: Path
) -> None:
    data, syntax = TAKEN[case]
    path = tmp_path / ("a.dcm" if copying is save else "a.copy")
    for size, strictness in zip(SIZES, Strictness, strict=True):
        response = await stored(data, tmp_path / "a.dcm", syntax, mode, strictness, copying, size)
        assert response.status == Status.SUCCESS
        assert dataset_bytes(path) == data
    assert read(path).file_meta.TransferSyntaxUID == syntax


# Copies


async def cut(request: StoreRequest, path: Path) -> Status:
    async for _ in request.chunks():
        break
    return Status.SUCCESS


async def cut_later(request: StoreRequest, path: Path) -> Status:
    async for chunk in request.dataset_chunks():
        if b"\xe0\x7f\x10\0" in chunk:
            break
    return Status.SUCCESS


class Full(io.BytesIO):
    def write(self, _: object, /) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")


async def cut_by_its_file(request: StoreRequest, path: Path) -> Status:
    with suppress(OSError):
        await request.save(Full())
    return Status.SUCCESS


async def cut_and_refused(request: StoreRequest, path: Path) -> Status:
    await cut(request, path)
    return Status(0xC123)


@both_modes
@pytest.mark.parametrize(
    ("handling", "status"), [(cut, 0xA700), (cut_later, 0xA700), (cut_by_its_file, 0xA700), (cut_and_refused, 0xC123)]
)
async def test_a_copy_that_is_cut_is_never_a_success(
    handling: Handling, status: int, mode: StoreMode, tmp_path: Path
) -> None:
    for size, strictness in zip(SIZES, Strictness, strict=True):
        response = await stored(encoded(LONG), tmp_path / "a.dcm", EXPLICIT, mode, strictness, handling, size)
        assert response.status == status
        if status == 0xA700:
            assert response.error_comment == "its chunks were not read to their end"


@both_modes
@pytest.mark.parametrize("case", ["deflated", "encapsulated", "zeros behind an SR", "a delimiter too many"])
async def test_a_copy_that_is_cut_of_other_data_sets(case: str, mode: StoreMode, tmp_path: Path) -> None:
    data, syntax = TAKEN[case]
    for size, strictness in zip(SIZES, Strictness, strict=True):
        response = await stored(data, tmp_path / "a.dcm", syntax, mode, strictness, cut, size)
        assert response.status == 0xA700


@both_modes
async def test_a_full_disk_under_a_file_object(
    mode: StoreMode, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def handling(request: StoreRequest, path: Path) -> Status:
        await request.save(Full())
        return Status.SUCCESS

    response = await stored(encoded(LONG), tmp_path, EXPLICIT, mode, Strictness.STRICT, handling)
    assert (response.status, response.error_comment) == (0xA700, "No space left on device")
    assert not [record for record in caplog.records if record.exc_info]


@both_modes
async def test_the_data_set_alone_in_chunks(mode: StoreMode, tmp_path: Path) -> None:
    data, lengths = encoded(native(3_000_000, Rows=1)), list[int]()

    async def handling(request: StoreRequest, path: Path) -> Status:
        chunks = [chunk async for chunk in request.dataset_chunks()]
        lengths.extend(map(len, chunks))
        assert b"".join(chunks) == data
        return Status.SUCCESS

    response = await stored(data, tmp_path, EXPLICIT, mode, Strictness.STRICT, handling)
    assert response.status == 0
    assert min(lengths) > 0
    assert max(lengths) <= 1024 * 1024


async def test_chunks_of_an_association_that_ends(tmp_path: Path) -> None:
    """They never end as if the object were whole."""
    said: list[BaseException] = []
    first, over = asyncio.Event(), asyncio.Event()

    async def handler(request: StoreRequest) -> Status:
        try:
            async for _ in request.chunks():
                first.set()
        except BaseException as error:
            said.append(error)
            raise
        finally:
            over.set()
        return Status.SUCCESS

    async with serving(handler, mode=StoreMode.STREAMING) as server:
        async with peer_of(server) as peer:
            whole = wire(message_pdvs(store_request(), encoded(LONG)))
            await peer.send(whole[: len(whole) // 2])
            await first.wait()
        await over.wait()
    assert isinstance(said[0], ConnectionLost)


async def test_a_streaming_instance_is_copied_once_and_a_buffered_one_again(tmp_path: Path) -> None:
    async def twice(request: StoreRequest, path: Path) -> Status:
        once = [chunk async for chunk in request.chunks()]
        assert b"".join(once) == b"".join([chunk async for chunk in request.chunks()])
        await request.save(path)
        return Status.SUCCESS

    data, path = encoded(native()), tmp_path / "a.dcm"
    buffered = await stored(data, path, EXPLICIT, StoreMode.BUFFERED, Strictness.STRICT, twice)
    assert buffered.status == 0
    assert dataset_bytes(path) == data
    streaming = await stored(data, path, EXPLICIT, StoreMode.STREAMING, Strictness.STRICT, twice)
    assert streaming.status == Status.PROCESSING_FAILURE


@both_modes
async def test_a_deflated_data_set_in_tiny_fragments(mode: StoreMode, tmp_path: Path) -> None:
    """Waking a thread for each of them took a minute of CPU time for a megabyte."""
    deflater = zlib.compressobj(0, wbits=-15)
    data = deflater.compress(encoded(native(60_000, Rows=1))) + deflater.flush()
    data += bytes(len(data) % 2)
    start = process_time()
    response = await stored(data, tmp_path / "a.dcm", DEFLATED, mode, Strictness.LENIENT, save, 2)
    assert process_time() - start < 1.5
    assert response.status == Status.SUCCESS
    assert dataset_bytes(tmp_path / "a.dcm") == data


def jpeg(frame: int, parameter: int = 0) -> bytes:
    scan = b"\xff\xda\0\x08\1\0\0" + bytes([parameter]) + b"\0\0"
    return b"\xff\xd8\xff\xe0\0\x04AB\xff" + bytes([frame]) + b"\0\x08\x08\0\1\0\1\1" + scan + bytes(100)


def jpeg_2000(wavelet: int, more: bytes = b"") -> bytes:
    style = b"\xff\x52\0\x0c\0\0\0\1\0\5\4\4\0" + bytes([wavelet])
    return b"\xff\x4f\xff\x51\0\x04AB" + more + style + b"\xff\x90\0\x04AB" + bytes(100)


RLE_FRAGMENT = struct.pack("<LL", 1, 64) + bytes(156)
SHOWN = {
    "1.2.840.10008.1.2.4.50": jpeg(0xC0),
    "1.2.840.10008.1.2.4.51": jpeg(0xC1),
    "1.2.840.10008.1.2.4.57": jpeg(0xC3, 6),
    "1.2.840.10008.1.2.4.70": jpeg(0xC3, 1),
    "1.2.840.10008.1.2.4.80": jpeg(0xF7),
    "1.2.840.10008.1.2.4.81": jpeg(0xF7, 2),
    "1.2.840.10008.1.2.4.90": jpeg_2000(1),
    "1.2.840.10008.1.2.4.91": jpeg_2000(0),
    "1.2.840.10008.1.2.4.201": jpeg_2000(1, b"\xff\x50\0\x04AB"),
    RLE: RLE_FRAGMENT,
}


OTHERWISE = {
    "native in JPEG": (encoded(native()), JPEG, EXPLICIT),
    "native in JPEG, without VRs": (encoded(native(), IMPLICIT), JPEG, IMPLICIT),
    **{f"{syntax} in Explicit": (encapsulated(fragment), EXPLICIT, syntax) for syntax, fragment in SHOWN.items()},
    "JPEG in Implicit": (encapsulated(jpeg(0xC0), syntax=IMPLICIT), IMPLICIT, JPEG),
    "a large JPEG": (encapsulated(jpeg(0xC0) + bytes(300_000)), EXPLICIT, JPEG),
    "nobody knows": (encapsulated(b"\1\2" * 200), EXPLICIT, None),
    "nobody knows, large": (encapsulated(b"\1\2" * 200_000), EXPLICIT, None),
    "JPEG in Big Endian": (encapsulated(jpeg(0xC0)), BIG, None),
    "JPEG in Deflated": (deflated(encapsulated(jpeg(0xC0))), DEFLATED, None),
}


@pytest.mark.parametrize("case", OTHERWISE)
@pytest.mark.parametrize("size", SIZES)
@both_modes
async def test_pixel_data_in_a_form_that_its_syntax_cannot_have(
    case: str, mode: StoreMode, size: int, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """PS3.5 A.1 to A.4: stored as what it is, or refused."""
    data, negotiated, shown = OTHERWISE[case]
    told = []

    async def handling(request: StoreRequest, path: Path) -> Status:
        told.append(request.transfer_syntax_uid)
        return await save(request, path)

    path = tmp_path / "a.dcm"
    strictly = await stored(data, path, negotiated, mode, Strictness.STRICT, handling, size)
    assert strictly.status == 0xC000
    assert files_under(tmp_path) == told == []
    assert caplog.records
    caplog.clear()
    leniently = await stored(data, path, negotiated, mode, Strictness.LENIENT, handling, size)
    assert [record.levelname for record in caplog.records if record.levelname == "WARNING"]
    if shown is None:
        assert leniently.status == 0xC000
        assert files_under(tmp_path) == []
    else:
        assert leniently.status == 0
        assert told == [shown]
        assert read_meta(path) == shown
        assert dataset_bytes(path) == data


def read_meta(path: Path) -> str:
    from pydicom.filereader import read_file_meta_info

    return str(read_file_meta_info(path).TransferSyntaxUID)


@every_mode
@both_modes
@pytest.mark.parametrize(
    ("data", "negotiated", "shown"),
    [
        (encoded(native(), IMPLICIT), EXPLICIT, IMPLICIT),
        (encoded(native()), IMPLICIT, EXPLICIT),
        (encapsulated(bytes(100), syntax=IMPLICIT), JPEG, JPEG),
    ],
)
async def test_the_other_vr_form_is_read_as_it_is_meant(
    data: bytes,
    negotiated: str,
    shown: str,
    mode: StoreMode,
    strictness: Strictness,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def handling(request: StoreRequest, path: Path) -> Status:
        assert request.transfer_syntax_uid == shown
        assert request.dataset.PatientID == "SECRETID"
        assert ("PixelData" in request.dataset) == (mode is StoreMode.BUFFERED)
        await request.save_under(path)
        return Status.SUCCESS

    response = await stored(data, tmp_path, negotiated, mode, strictness, handling)
    assert response.status == Status.SUCCESS
    assert files_under(tmp_path) == ["1.2.3.1/1.2.3.2/1.2.3.4.dcm"]
    path = tmp_path / files_under(tmp_path)[0]
    assert dataset_bytes(path) == data
    assert read_meta(path) == shown
    assert [record for record in caplog.records if record.levelname == "WARNING" and "VR" in record.message]


@both_modes
async def test_explicit_vr_inside_un(mode: StoreMode, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Against PS3.5 6.2.2 note 2."""
    inside = ITEM + b"\xff\xff\xff\xff" + encoded(SEQUENCE) + ITEM_END + SEQUENCE_END
    whole = encoded(instance())
    at = whole.index(b"\x10\0\x10\0PN")
    data = whole[:at] + b"\x08\0\x40\x11UN\0\0\xff\xff\xff\xff" + inside + whole[at:]
    response = await stored(data, tmp_path / "a.dcm", EXPLICIT, mode, Strictness.STRICT, save)
    assert response.status == Status.SUCCESS
    assert dataset_bytes(tmp_path / "a.dcm") == data
    assert "items of (0008,1140) in the other VR form" in caplog.text


@both_modes
async def test_a_sequence_over_16_mib_is_followed(mode: StoreMode, tmp_path: Path) -> None:
    """With the pixel data behind it: functional groups of an enhanced object with many frames."""
    before, after = encoded(instance(pixels=0)), encoded(native())
    after = after[after.index(b"\xe0\x7f\x10\0OW") :]
    entry = ITEM + b"\xff\xff\xff\xff" + encoded(SEQUENCE) + b"\x09\0\x01\x10UN\0\0" + struct.pack("<L", 9**6)
    items = (entry + bytes(9**6) + ITEM_END) * 40
    data = before + struct.pack("<HH2sHL", 0x5200, 0x9229, b"SQ", 0, 0xFFFFFFFF) + items + SEQUENCE_END + after
    for sent, status in ((data, 0), (data[:-1], 0xC000), (data[: -len(after) - 8], 0xC000)):
        response = await stored(sent, tmp_path / "a.dcm", EXPLICIT, mode, Strictness.STRICT, save)
        assert response.status == status
    assert dataset_bytes(tmp_path / "a.dcm") == data


@both_modes
async def test_a_file_of_pydicoms_in_implicit_vr_under_jpeg(mode: StoreMode, tmp_path: Path) -> None:
    source = get_testdata_file("SC_rgb_jpeg.dcm", download=False)
    assert isinstance(source, str)
    data = dataset_bytes(Path(source))
    with pytest.warns(UserWarning, match="found implicit VR"):
        meant = read(Path(source))
    uids = [str(meant.StudyInstanceUID), str(meant.SeriesInstanceUID), str(meant.SOPInstanceUID)]

    async def handler(request: StoreRequest) -> Status:
        assert request.dataset.StudyInstanceUID
        await request.save_under(tmp_path)
        return Status.SUCCESS

    sop_class = str(meant.SOPClassUID)
    async with serving(handler, mode=mode) as server, peer_of(server, (sop_class, [JPEG])) as peer:
        await peer.send(message_pdvs(store_request(uids[2], sop_class=sop_class), data))
        message = (await peer.receive_message()).message
        assert isinstance(message, C_STORE_RSP)
        assert message.status == 0, message.error_comment
        await peer.release()
    (path,) = files_under(tmp_path)
    assert path == "/".join(uids) + ".dcm"
    assert dataset_bytes(tmp_path / path) == data


async def test_the_buffered_data_set_is_what_pydicom_reads(tmp_path: Path) -> None:
    fragments = [b"\1\2" * 40_000, b"\3\4" * 10]
    tail = b"\xfc\xff\xfc\xffOB\0\0\2\0\0\0\0\0"

    async def handling(request: StoreRequest, path: Path) -> Status:
        data = bytes(request.data)
        assert data == encapsulated(*fragments) + tail
        element = request.dataset["PixelData"]
        assert element.is_undefined_length
        assert element.value == item(b"") + b"".join(map(item, fragments))
        assert request.dataset.DataSetTrailingPadding == b"\0\0"
        return await save(request, path)

    data = encapsulated(*fragments) + tail
    response = await stored(data, tmp_path / "a.dcm", JPEG, StoreMode.BUFFERED, Strictness.STRICT, handling)
    assert response.status == 0
    assert dataset_bytes(tmp_path / "a.dcm") == data


# Edits

EDITS = Edits({"PatientName": "Anon", "PatientID": "A1", "StudyDescription": "new"}, ["PatientSex"])


def anonymous(pixels: int = 60_000, uid: str = "1.2.3.4") -> Dataset:
    dataset = instance(uid, pixels=pixels)
    dataset.PatientName, dataset.PatientID, dataset.StudyDescription = "Anon", "A1", "new"
    return dataset


async def save_edited(request: StoreRequest, path: Path) -> Status:
    await request.save(path, edits=EDITS)
    assert request.dataset.PatientName == "SECRET^NAME"
    return Status.SUCCESS


async def save_edited_under(request: StoreRequest, path: Path) -> Status:
    saved = await request.save_under(path.parent, "{PatientID}/{PatientSex}/{SOPInstanceUID}.dcm", edits=EDITS)
    assert saved == path.parent / "A1" / "NONE" / "1.2.3.4.dcm"
    saved.rename(path)
    return Status.SUCCESS


async def copy_edited(request: StoreRequest, path: Path) -> Status:
    with path.open("wb") as file:
        async for chunk in request.chunks(edits=EDITS):
            file.write(chunk)
    return Status.SUCCESS


async def save_edited_to_a_file_object(request: StoreRequest, path: Path) -> Status:
    with path.open("wb") as file:
        await request.save(file, edits=EDITS)
    return Status.SUCCESS


EDITED = [save_edited, save_edited_under, copy_edited, save_edited_to_a_file_object]


@both_modes
@pytest.mark.parametrize("syntax", [IMPLICIT, EXPLICIT, BIG])
@pytest.mark.parametrize("saving", EDITED, ids=lambda each: each.__name__)
async def test_an_edited_instance(saving: Handling, syntax: str, mode: StoreMode, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    for pixels, size in ((60_000, 100), (60_000, 16000), (0, 16000)):
        path.unlink(missing_ok=True)
        data = encoded(instance(pixels=pixels), syntax)
        response = await stored(data, path, syntax, mode, Strictness.STRICT, saving, size)
        assert (response.status, response.error_comment) == (0, None)
        assert dataset_bytes(path) == encoded(anonymous(pixels), syntax)


@both_modes
async def test_a_new_sop_instance_uid(mode: StoreMode, tmp_path: Path) -> None:
    async def handling(request: StoreRequest, path: Path) -> Status:
        assert await request.save_under(path, edits=Edits({"SOPInstanceUID": "1.2.3.9"}))
        assert request.sop_instance_uid == "1.2.3.4"
        return Status.SUCCESS

    response = await stored(encoded(LONG), tmp_path, EXPLICIT, mode, Strictness.STRICT, handling)
    assert (response.status, response.affected_sop_instance_uid) == (0, "1.2.3.4")
    assert files_under(tmp_path) == ["1.2.3.1/1.2.3.2/1.2.3.9.dcm"]
    dataset = read(tmp_path / files_under(tmp_path)[0])
    assert dataset.SOPInstanceUID == dataset.file_meta.MediaStorageSOPInstanceUID == "1.2.3.9"


@both_modes
async def test_a_deflated_instance_is_not_edited(mode: StoreMode, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    response = await stored(deflated(encoded(LONG)), path, DEFLATED, mode, Strictness.STRICT, save_edited)
    assert response.status == 0xC000
    assert files_under(tmp_path) == []


# Bulk data of other kinds, and frames


async def given(data: bytes, mode: StoreMode, syntax: str = EXPLICIT, *, frames: bool) -> list[bytes] | str:
    """What `pixels` or `frames` give, or why they do not."""
    pieces: list[bytes] = []
    said: list[str] = []

    async def handling(request: StoreRequest, path: Path) -> Status:
        try:
            pieces.extend([piece async for piece in (request.frames() if frames else request.pixels())])
        except DatasetError as error:
            said.append(str(error))
            raise
        return Status.SUCCESS

    response = await stored(data, Path(), syntax, mode, Strictness.STRICT, handling, 1000)
    assert (response.status == 0) == (not said)
    return said[0] if said else pieces


def waveforms() -> Dataset:
    groups = [Dataset(), Dataset()]
    groups[0].WaveformData, groups[1].WaveformData = b"\1\2" * 100, b"\3\4" * 50
    for group in groups:
        group["WaveformData"].VR = "OW"
    return native(0, WaveformSequence=groups)


BULK = {
    "a document": (encoded(native(0, EncapsulatedDocument=b"%PDF" * 100)), b"%PDF" * 100),
    "a large document": (encoded(native(0, EncapsulatedDocument=b"%PDF" * 5_000_000)), b"%PDF" * 5_000_000),
    "a deflated document": (deflated(encoded(native(0, EncapsulatedDocument=b"%PDF" * 100))), b"%PDF" * 100),
    "waveforms": (encoded(waveforms()), b"\1\2" * 100 + b"\3\4" * 50),
    "spectroscopy": (encoded(native(0, SpectroscopyData=bytes(range(40)))), bytes(range(40))),
    "nothing": (encoded(instance(pixels=0)), b""),
}


@pytest.mark.parametrize("case", BULK)
@both_modes
async def test_pixels_gives_bulk_data_of_any_kind(case: str, mode: StoreMode) -> None:
    data, value = BULK[case]
    pieces = await given(data, mode, DEFLATED if "deflated" in case else EXPLICIT, frames=False)
    assert b"".join(pieces) == value  # type: ignore[arg-type]  # bytes, or the test fails


FRAGMENTS = [bytes([number]) * (1000 * number) for number in (2, 4, 6, 8)]


def multiframe(frames: int, table: bytes = b"", extended: tuple[int, ...] = ()) -> bytes:
    dataset = native(0, NumberOfFrames=frames)
    if extended:
        dataset.ExtendedOffsetTable = struct.pack(f"<{len(extended)}Q", *extended)
        dataset.ExtendedOffsetTableLengths = bytes(8 * len(extended))
    head = b"\xe0\x7f\x10\x00OB\0\0\xff\xff\xff\xff" + item(table)
    return encoded(dataset) + head + b"".join(map(item, FRAGMENTS)) + SEQUENCE_END + ITEM_END


TWO = (0, 2 * 8 + 6000)
JOINED = [FRAGMENTS[0] + FRAGMENTS[1], FRAGMENTS[2] + FRAGMENTS[3]]
FRAMES: dict[str, tuple[bytes, str, list[bytes] | str]] = {
    "one each": (multiframe(4), JPEG, FRAGMENTS),
    "one in all": (multiframe(1), JPEG, [b"".join(FRAGMENTS)]),
    "basic table": (multiframe(2, struct.pack("<LL", *TWO)), JPEG, JOINED),
    "extended table": (multiframe(2, b"", TWO), JPEG, JOINED),
    "a table of too few": (multiframe(4, bytes(4)), JPEG, FRAGMENTS),
    "nobody can tell": (multiframe(3), JPEG, "4 fragments for 3 frames, and no offset table"),
    "native": (
        encoded(native(3000, NumberOfFrames=5)), EXPLICIT, [pixel_bytes(3000)[512 * n :][:512] for n in range(5)],
    ),
    "no frames, but pixels": (encoded(native(512, NumberOfFrames=0)), EXPLICIT, [pixel_bytes(512)]),
    "bits": (
        encoded(native(700, NumberOfFrames=5, BitsAllocated=1)), EXPLICIT, "does not determine where frames begin",
    ),
    "none": (encoded(instance(pixels=0)), EXPLICIT, []),
}  # fmt: skip


@pytest.mark.parametrize("case", FRAMES)
@both_modes
async def test_frames(case: str, mode: StoreMode) -> None:
    data, syntax, expected = FRAMES[case]
    frames = await given(data, mode, syntax, frames=True)
    if isinstance(expected, str):
        assert expected in frames
    else:
        assert frames == expected
