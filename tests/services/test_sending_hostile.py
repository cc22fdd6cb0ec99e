"""Files with hostile data sets: sent as they are, or a clear error for each; the others are sent."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest
from tests.conversations import seeds
from tests.conversations.command_driver import as_it_was
from tests.conversations.datasets import long, nested
from tests.sample_objects import CT

import dimse
from dimse import DimseError, RetryPolicy, Server, ServerOptions, StoreOptions
from dimse.cli.app import run
from dimse.cli.exit_codes import FAILED, OK
from dimse.dataset.part10 import encode_file_meta
from dimse.testing import FakeArchive
from dimse.uids import IMPLICIT_VR_LITTLE_ENDIAN

JPEG = "1.2.840.10008.1.2.4.50"
_ITEM = b"\xfe\xff\x00\xe0\0\0\0\0"
_END = b"\xfe\xff\xdd\xe0\0\0\0\0"
EMPTY = seeds.explicit(0x00210010, "LO", b"")


def deflated(data: bytes) -> bytes:
    deflater = zlib.compressobj(9, wbits=-zlib.MAX_WBITS)
    return deflater.compress(data) + deflater.flush()


def hostile() -> Iterator[tuple[str, str, bytes]]:
    """A name, a transfer syntax, and a data set."""
    whole = seeds.DATA_SET
    pixels = struct.pack("<HH2sxxL", 0x7FE0, 0x10, b"OW", 50_000)
    yield "whole", seeds.EXPLICIT, whole
    for end in (0, 1, 7, 20, 60, len(whole) - 1):
        yield f"cut-{end}", seeds.EXPLICIT, whole[:end]
    yield "cut-in-pixels", seeds.EXPLICIT, whole + pixels + bytes(40_000)
    for depth in (64, 65, 20_000, 200_000):
        yield f"depth-{depth}", seeds.EXPLICIT, whole + nested(depth, defined=False)
        yield f"depth-{depth}-deflated", seeds.DEFLATED, deflated(whole + nested(depth, defined=False))
    yield "depth-defined", seeds.EXPLICIT, whole + nested(10_000, defined=True)
    for length in (1, 7, 9, 0x7FFFFFFF, 0xFFFFFFFE, 0xFFFFFFFF):
        for tag, vr in ((0x00400275, "SQ"), (0x7FE00010, "OW"), (0x00091010, "UN")):
            yield f"length-{length}-{vr}", seeds.EXPLICIT, whole + long(tag, vr, bytes(8), length)
    yield "vr", seeds.EXPLICIT, whole + b"\x10\x00\x20\x00??\x02\x00ab"
    yield "elements", seeds.EXPLICIT, whole + EMPTY * 30_000
    yield "elements-deflated", seeds.DEFLATED, deflated(whole + EMPTY * 100_000)
    yield "items", seeds.EXPLICIT, whole + long(0x00400275, "SQ", _ITEM * 10_000 + _END, 0xFFFFFFFF)
    yield "bomb", seeds.DEFLATED, deflated(whole + long(0x7FE00010, "OW", bytes(2**24)))
    yield "not-deflated", seeds.DEFLATED, b"\xff" + whole
    yield "deflated-cut", seeds.DEFLATED, deflated(whole)[:-9]
    yield "fragments", JPEG, whole + long(0x7FE00010, "OB", _ITEM * 20_000 + _END, 0xFFFFFFFF)
    yield "fragments-cut", JPEG, whole + long(0x7FE00010, "OB", _ITEM * 3 + b"\xfe\xff\x00\xe0\xff\xff", 0xFFFFFFFF)


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "hostile"
    folder.mkdir()
    for number, (name, syntax, data) in enumerate(hostile()):
        meta = encode_file_meta(sop_class_uid=CT, sop_instance_uid=f"1.2.3.4.{number}", transfer_syntax_uid=syntax)
        (folder / f"{name}.dcm").write_bytes(meta + data)
    return folder


@pytest.mark.parametrize("syntaxes", [None, [IMPLICIT_VR_LITTLE_ENDIAN]], ids=["as they are", "re-encoded"])
async def test_each_is_sent_or_has_an_error(syntaxes: list[str] | None, files: Path) -> None:
    server, wrong = Server(port=0, options=ServerOptions(store=StoreOptions(fsync=False))), list[str]()

    @server.on_c_store
    async def store(_: object) -> int:
        return 0

    async with server:
        report = await dimse.send(
            f"A@127.0.0.1:{server.port}",
            [files],
            transfer_syntaxes=syntaxes,
            retry=RetryPolicy(retries=0),
            raise_failures=False,
        )
    for result in report.results:
        if result.error is not None and (not isinstance(result.error, DimseError) or "CANARY" in str(result.error)):
            wrong.append(f"{result.name}: {result.error!r}")
    stored = {Path(result.name).stem for result in report.stored}
    assert not wrong, "\n".join(wrong)
    assert len(report.results) == len(list(hostile()))
    assert "whole" in stored


def test_the_command_says_what_was_not_sent(files: Path) -> None:
    out, err = io.StringIO(), io.StringIO()
    with FakeArchive() as archive, as_it_was(), redirect_stdout(out), redirect_stderr(err):
        code = run(["send", archive.address, str(files), "--retries", "0", "--json"])
    assert code in (OK, FAILED)
    assert "Traceback" not in f"{out.getvalue()}{err.getvalue()}"
    assert "CANARY" not in f"{out.getvalue()}{err.getvalue()}"
    assert len(out.getvalue().splitlines()) > len(list(hostile()))
