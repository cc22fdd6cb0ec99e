"""Values from the network as names: nothing outside the folder is touched, and no two instances share a file."""

from __future__ import annotations

import os
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path
from typing import Final

import pytest
from tests.sample_objects import CT, EXPLICIT, dataset_bytes

from dimse import (
    CGetSCU,
    CStoreSCU,
    ProposedContext,
    Query,
    RetryPolicy,
    Server,
    ServerOptions,
    Status,
    StatusError,
    StoreMode,
    StoreOptions,
    StoreRequest,
    connect,
    retrieval_contexts,
)
from dimse.dataset.folders import TEMPORARY_NAME
from dimse.dataset.sources import MemorySource
from dimse.messages.message import C_STORE_RSP
from dimse.services.store_request import DEFAULT_TEMPLATE
from dimse.testing import ScriptedPeer, associate_request, message_pdvs, store_request

EVIL: Final = [
    *("..", ".", "...", "../..", "../../../../../../tmp/evil", "/etc/passwd", "//host/share", "a/b", "a//b", "/"),
    *("..\\..\\evil", "\\\\host\\share", "\\", "a\\b", "C:\\evil", "C:evil", "C:", "evil:stream"),
    *("./a", "NONE", "none", "Evil", "evil", "\\\\?\\C:\\x", "\\\\.\\COM1"),
    *("CON", "con", "NUL", "nul.txt", "COM1", "COM1.dcm", "LPT9", "AUX ", "PRN.", "CONIN$", "CLOCK$"),
    *("a\0b", "\0", "\0../x", "\n", "a\nb", "\r", "\t", "\x1b[2J", "\x7f", "\x80"),
    *("trailing.", "trailing ", "trailing...", " leading", ".hidden", "", " ", "   ", ".. ", " ..", ". ."),
    *("x" * 255, "x" * 256, "x" * 4096, "\xe9" * 128, "../" * 1400, "1." * 128),
    *("\u2024\u2024", "\uff0e\uff0e", "\u2215", "\uff0f", "\u2044", "\u29f5", "\uff3c"),
    *("e\u0301", "\xe9", "a\u202egnp.exe", "\u200b", "\ufeff", "\u0000\u0300", "\U0001f4a9"),
    *("-rf", "--help", "~", "~root", "$HOME", "$(id)", "`id`", "%2e%2e%2f", "%00", "{SOPInstanceUID}", "*", "?", "<>|"),
    *(".part", "x.part", ".dimse-0123456789abcdef-1-0.part", "dimse-0123456789abcdef-1-0.part"),
    *("dimse-0123456789abcdef-1-0", "dimse-0123456789abcdef-1"),
]  # fmt: skip
TEMPLATES: Final = [
    DEFAULT_TEMPLATE,
    "{SOPInstanceUID}",
    "{PatientID}/{PatientName}/{SOPInstanceUID}.dcm",
    "{PatientName}{PatientID}-{StudyDescription}-{SOPInstanceUID}",
    ".{PatientID}/..{PatientName}/.{SOPInstanceUID}",
    "{PatientID}/.{SOPInstanceUID}.part",
]
FIELDS: Final = {
    "SOPInstanceUID": (0x00080018, b"UI"),
    "StudyDescription": (0x00081030, b"LO"),
    "PatientName": (0x00100010, b"PN"),
    "PatientID": (0x00100020, b"LO"),
    "StudyInstanceUID": (0x0020000D, b"UI"),
    "SeriesInstanceUID": (0x0020000E, b"UI"),
}
REFUSED: Final = {0x0117, 0xA900, 0xC000}
"""A SOP Instance UID that is no UID, or not that of the data set; a data set that cannot be read."""
NUMBERS: Final = count(1)


def element(tag: int, vr: bytes, value: bytes) -> bytes:
    value += bytes(len(value) % 2)
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value


def data_set(values: dict[str, str]) -> bytes:
    """With these values, as a peer might have encoded them."""
    elements = {
        0x00080005: element(0x00080005, b"CS", b"ISO_IR 192"),
        0x00080016: element(0x00080016, b"UI", CT.encode()),
    }
    for name, (tag, vr) in FIELDS.items():
        elements[tag] = element(tag, vr, values[name].encode("utf-8", "surrogatepass"))
    return b"".join(elements[tag] for tag in sorted(elements))


def cases(template: str) -> list[tuple[str, str, bytes]]:
    """(what it is, SOP Instance UID, data set) of each value in each field of a template."""
    found = []
    for field in FIELDS:
        if f"{{{field}}}" in template:
            for evil in EVIL:
                values = dict.fromkeys(FIELDS, "1.2") | {"SOPInstanceUID": f"1.2.3.{next(NUMBERS)}", field: evil}
                found.append((f"{template} with {field} {evil[:40]!r}", values["SOPInstanceUID"], data_set(values)))
    return found


def everything(folder: Path) -> list[str]:
    return sorted(str(Path(at, name)) for at, folders, files in os.walk(folder) for name in (*folders, *files))


class Watched:
    """A folder to store in, whose surroundings must not change."""

    def __init__(self, folder: Path) -> None:
        self.root = folder / "in" / "root"
        self._folder = folder
        (self.root / "1.2" / "1.2").mkdir(parents=True)
        for name in ("evil", "b", "in/evil", "in/b", "passwd"):
            (folder / name).write_bytes(b"not to be touched")
        self._around = self._surroundings()

    def _surroundings(self) -> list[tuple[str, bytes]]:
        paths = [path for path in everything(self._folder) if not path.startswith(str(self.root))]
        return [(path, Path(path).read_bytes() if Path(path).is_file() else b"") for path in paths]

    def check(self, stored: list[bytes]) -> None:
        """The files below it are those that were stored, with names that are safe everywhere."""
        assert self._surroundings() == self._around
        paths = [Path(path) for path in everything(self.root)]
        assert sorted(dataset_bytes(path) for path in paths if path.is_file()) == sorted(stored)
        for path in paths:
            assert not path.is_symlink()
            assert path.name.isascii()
            assert path.name.isprintable()
            assert len(path.name) <= 255
            assert not set(path.name) & set('\\:*?"<>|~$%{}`'), path
            assert path.name[0] not in "- ", path
            assert path.name[-1] not in ". ", path
            assert path.name.partition(".")[0].upper() not in ("CON", "NUL", "COM1", "LPT9", "AUX", "PRN"), path
            assert path.is_dir() or not TEMPORARY_NAME.fullmatch(path.name), path


@asynccontextmanager
async def receiver(root: Path, template: list[str]) -> AsyncIterator[Server]:
    options = StoreOptions(mode=StoreMode.STREAMING, fsync=False)
    server = Server(port=0, options=ServerOptions(store=options))

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        path = await request.save_under(root, template[-1])
        assert path.is_relative_to(root)
        return Status.SUCCESS

    async with server:
        yield server


# pydicom warns about values that are too long or in another character set
warned = pytest.mark.filterwarnings("ignore:The (PN component|value) length:UserWarning", "ignore:Found unknown escape")


@warned
async def test_c_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    template, temporary, real = [""], list[str](), os.open

    def opened(path: str, flags: int, *arguments: int, **folder: int) -> int:
        if flags & os.O_CREAT:
            temporary.append(Path(path).name)
        return real(path, flags, *arguments, **folder)

    monkeypatch.setattr(os, "open", opened)
    wrong = []
    for each in TEMPLATES:
        watched, stored = Watched(tmp_path / str(len(template))), list[bytes]()
        template.append(each)
        async with receiver(watched.root, template) as server, await ScriptedPeer.connect(server.port) as peer:
            await peer.associate(associate_request((CT, [EXPLICIT])))
            for case, uid, data in cases(each):
                await peer.send(
                    message_pdvs(store_request(uid.encode("utf-8", "surrogatepass").decode("latin-1")), data)
                )
                message = (await peer.receive_message()).message
                assert isinstance(message, C_STORE_RSP)
                if message.status == Status.SUCCESS:
                    stored.append(data)
                elif message.status not in REFUSED:
                    wrong.append(f"{case}: 0x{message.status:04X} {message.error_comment}")
            await peer.release()
        watched.check(stored)
        assert len(stored) > len(EVIL) / 4
    assert not wrong, "\n".join(wrong)
    assert temporary
    assert all(map(TEMPORARY_NAME.fullmatch, temporary))
    assert "Traceback" not in caplog.text


@warned
async def test_c_get(tmp_path: Path) -> None:
    """The same names as those of an SCP."""
    watched, server = Watched(tmp_path), Server(port=0)
    sources, stored = list[MemorySource](), list[bytes]()
    for field in ("StudyInstanceUID", "SeriesInstanceUID"):
        for evil in EVIL:
            values = dict.fromkeys(FIELDS, "1.2") | {"SOPInstanceUID": f"1.2.3.{next(NUMBERS)}", field: evil}
            data, uid = data_set(values), values["SOPInstanceUID"]
            sources.append(MemorySource([data], sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT))
            stored.append(data)

    @server.on_c_get
    async def give(_: object) -> AsyncIterator[MemorySource]:
        for source in sources:
            yield source

    contexts = retrieval_contexts([CT], [EXPLICIT])
    async with server, connect(f"A@127.0.0.1:{server.port}", contexts=contexts) as association:
        scu = CGetSCU(association, store=StoreOptions(fsync=False))
        async with scu.get(Query.studies(StudyInstanceUID="1.2"), into=watched.root) as results:
            paths = [instance.path async for instance in results]
    assert all(path is not None and path.is_relative_to(watched.root) for path in paths)
    watched.check(stored)


async def test_a_linked_folder_is_refused(tmp_path: Path) -> None:
    """A folder below the root that is a link out of it; the root may be one."""
    outside, root = tmp_path / "outside", tmp_path / "root"
    outside.mkdir()
    (tmp_path / "disk").mkdir()
    root.symlink_to("disk")
    (root / "1.2").symlink_to(outside)
    comments = []
    async with (
        receiver(root, [DEFAULT_TEMPLATE]) as server,
        connect(f"A@127.0.0.1:{server.port}", contexts=[ProposedContext(CT, [EXPLICIT])]) as association,
    ):
        scu = CStoreSCU(association, retry=RetryPolicy(retries=0))
        for study in ("1.2", "1.3"):
            uid = f"1.2.3.{next(NUMBERS)}"
            data = data_set(dict.fromkeys(FIELDS, "1.2") | {"StudyInstanceUID": study, "SOPInstanceUID": uid})
            source = MemorySource([data], sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT)
            try:
                await scu.send(source)
            except StatusError as error:
                comments.append((study, int(error.status), error.comment))
    assert comments == [("1.2", 0xA700, "a folder of the storage is a symbolic link")]
    assert everything(outside) == []
    assert [Path(path).relative_to(tmp_path / "disk").parts[0] for path in everything(tmp_path / "disk")] == [
        "1.2", "1.3", "1.3", "1.3",
    ]  # fmt: skip
