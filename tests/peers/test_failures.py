"""What goes wrong with real peers: refused, aborted, gone in the middle."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, cast

import pytest
from pydicom import dcmread

import dimse
from dimse import (
    CEchoSCU,
    ClientOptions,
    CStoreSCU,
    NativePixels,
    RetryPolicy,
    ServerOptions,
    StoreMode,
    StoreOptions,
    Timeouts,
)
from dimse.network.association import exchange_of
from tests.ports import free_port

from . import processes
from .conftest import PeerFactory
from .processes import PYNETDICOM_PEER, Peer, need, need_pynetdicom, run, running, until
from .samples import Samples, big, dataset_bytes, sop_instance_uid

NEVER = RetryPolicy(retries=0)
AT_ONCE = RetryPolicy(retries=2, delay=0)
PATIENT = RetryPolicy(retries=300, delay=0.1, factor=1)  # the peer takes a moment to be back, on a busy machine more


@pytest.fixture(scope="module")
def big_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """More than all the buffers between two processes hold together."""
    path = tmp_path_factory.mktemp("big") / "big.dcm"
    path.write_bytes(big("2.25.8301", megabytes=48))
    return path


class Trap(io.RawIOBase):
    """A file that calls `spring` once, when `at` bytes of it were read; its reader waits for the call."""

    def __init__(self, path: Path, at: int, spring: Callable[[], object]) -> None:
        self.name = str(path)
        self._content = io.BytesIO(path.read_bytes())
        self._at = at
        self._spring: Callable[[], object] | None = spring

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = 0, /) -> int:
        return self._content.seek(offset, whence)

    def tell(self) -> int:
        return self._content.tell()

    def read(self, size: int = -1, /) -> bytes:
        if self._spring is not None and self._content.tell() >= self._at:
            spring, self._spring = self._spring, None
            spring()
        return self._content.read(size)


def trap(path: Path, spring: Callable[[], object]) -> BinaryIO:
    """As what can be sent; it springs in the middle."""
    return cast("BinaryIO", Trap(path, 20_000_000, spring))


# They refuse


async def test_storescp_refuses(tmp_path: Path, samples: Samples) -> None:
    with processes.storescp(tmp_path / "received", "--refuse") as scp:
        with pytest.raises(dimse.AssociationRejected) as rejected:
            async with dimse.connect(scp.address):
                pass
        assert rejected.value.result == 1
        with pytest.raises(dimse.AssociationRejected):
            await dimse.send(scp.address, [samples["icon"], samples["explicit"]], associations=2)


async def test_orthanc_checks_its_title(peer: PeerFactory, samples: Samples) -> None:
    orthanc = peer("orthanc strict")
    with pytest.raises(dimse.AssociationRejected, match="does not know the called AE title") as rejected:
        await dimse.send(f"WRONG@127.0.0.1:{orthanc.port}", samples["icon"])
    assert (rejected.value.result, rejected.value.source, rejected.value.reason) == (1, 1, 7)
    assert (await dimse.send(orthanc.address, samples["icon"])).stored


async def test_dcmrecv_refuses_when_no_context_fits(peer: PeerFactory) -> None:
    """It rejects the association, where others accept one without contexts."""
    contexts = [("1.2.840.10008.5.1.4.1.1.481.1", ["1.2.840.10008.1.2"])]
    with pytest.raises(dimse.AssociationRejected, match="it gives no reason"):
        async with dimse.connect(peer("dcmrecv").address, contexts=contexts):
            pass
    async with dimse.connect(peer("storescp").address, contexts=[("1.2.3.4", ["1.2.840.10008.1.2"])]) as association:
        assert not association.contexts


async def test_http_server(peer: PeerFactory, samples: Samples) -> None:
    """Orthanc's other port."""
    orthanc = peer("orthanc")
    assert isinstance(orthanc, processes.Orthanc)
    options = ClientOptions(timeouts=Timeouts(association=5))
    with pytest.raises((dimse.RemoteProtocolError, dimse.AssociationError)):
        await dimse.send(f"ORTHANC@127.0.0.1:{orthanc.http_port}", samples["icon"], options=options)


# They abort


@pytest.mark.parametrize("option", ["--abort-after", "--abort-during"])
async def test_storescp_aborts(tmp_path: Path, samples: Samples, option: str) -> None:
    """It closes right behind its A-ABORT; while we still send, TCP resets, and the A-ABORT may be lost with that."""
    gone = dimse.AssociationAborted if option == "--abort-after" else (dimse.AssociationAborted, dimse.ConnectionLost)
    with processes.storescp(tmp_path / "received", option) as scp:
        with pytest.raises(gone):
            async with dimse.connect(scp.address) as association:
                await CStoreSCU(association, retry=NEVER).send(samples["waveform"])
        report = await dimse.send(
            scp.address, [samples["waveform"], samples["explicit"]], retry=AT_ONCE, raise_failures=False
        )
        assert len(report.failures) == 2
        for result in report.failures:
            assert isinstance(result.error, gone)
            assert result.attempts > 1
        # A reset at the first message may be for the window: then there is one more, without.
        assert report.failures[0].attempts in ((3,) if option == "--abort-after" else (3, 4))
        async with dimse.connect(scp.address) as association:
            await CEchoSCU(association).echo()


async def test_a_file_is_not_read_on_for_a_connection_that_is_gone(tmp_path: Path, big_file: Path) -> None:
    """A transport takes what is written after a reset without a word, so that the event loop would get no turn."""
    progress: list[dimse.TransferProgress] = []
    options = ClientOptions(maximum_length_to_send=4096)  # several reports, of which there are ten a second
    with processes.storescp(tmp_path / "received", "--abort-during") as scp:
        report = await dimse.send(
            scp.address, big_file, retry=NEVER, options=options, progress=progress.append, raise_failures=False
        )
    assert isinstance(report.results[0].error, (dimse.AssociationAborted, dimse.ConnectionLost))
    assert all(each.bytes_transferred < 24_000_000 for each in progress)


async def test_storescp_dies_in_mid_object(tmp_path: Path, big_file: Path) -> None:
    scp = processes.storescp(tmp_path / "received", "+B")
    dataset = dcmread(big_file)
    pixels = dataset.PixelData
    del dataset.PixelData

    async def frames() -> AsyncIterator[bytes]:
        yield pixels[: len(pixels) // 2]
        scp.kill()
        yield pixels[len(pixels) // 2 :]

    with scp, pytest.raises(dimse.ConnectionLost):
        async with dimse.connect(scp.address) as association:
            await CStoreSCU(association).send(dataset, pixels=NativePixels(frames(), len(pixels)))


async def test_send_reports_a_peer_that_dies(tmp_path: Path, big_file: Path, samples: Samples) -> None:
    """What came before is stored, what was on its way and what is left is named with the reason."""
    scp = processes.storescp(tmp_path / "received", "+B")
    broken = trap(big_file, scp.kill)
    with scp:
        report = await dimse.send(
            scp.address, [samples["icon"], broken, samples["large"]], retry=NEVER, raise_failures=False
        )
    assert [result.name for result in report.stored] == [str(samples["icon"])]
    assert [result.name for result in report.failures] == [str(big_file), str(samples["large"])]
    on_its_way, left = (result.error for result in report.failures)
    assert isinstance(on_its_way, dimse.ConnectionLost)
    assert left is not None
    assert isinstance(left.__cause__, dimse.ConnectionLost)
    assert "not attempted" in str(left)
    assert str(big_file) in "".join(getattr(report.failures[0].error, "__notes__", []))


async def test_send_goes_on_when_the_peer_is_back(tmp_path: Path, big_file: Path, samples: Samples) -> None:
    """The object that was on its way is sent once more, from its beginning; what was acknowledged is not."""
    scp = processes.storescp(tmp_path / "received", "+B")

    def restart() -> None:
        scp.kill()
        restarting.append(threads.submit(scp.start))  # in another thread: this one reads what is sent

    broken = trap(big_file, restart)
    restarting: list[Future[Peer]] = []
    with scp, ThreadPoolExecutor() as threads:
        report = await dimse.send(scp.address, [samples["icon"], broken, samples["large"]], retry=PATIENT)
        assert restarting[0].result() is scp
        assert [result.attempts for result in report.results] == [1, 2, 1]
        assert dataset_bytes(scp.received("2.25.8301")) == dataset_bytes(big_file)
        assert dataset_bytes(scp.received(sop_instance_uid(samples["large"]))) == dataset_bytes(samples["large"])


async def test_pynetdicom_dies_in_mid_object(tmp_path: Path, big_file: Path) -> None:
    scp = processes.pynetdicom(tmp_path / "received", "--max-pdu", "0")
    with scp:
        report = await dimse.send(scp.address, trap(big_file, scp.kill), retry=NEVER, raise_failures=False)
    assert [type(result.error) for result in report.results] == [dimse.ConnectionLost]


async def test_nobody_listens(samples: Samples) -> None:
    port = free_port()
    with pytest.raises(dimse.ConnectionLost, match=str(port)):
        await dimse.send(f"NOBODY@127.0.0.1:{port}", samples["icon"], associations=2)


async def test_a_frozen_peer_times_out(tmp_path: Path, big_file: Path) -> None:
    """It is there and reads no more: the store timeout ends the association."""
    scp = processes.storescp(tmp_path / "received", "+B")
    options = ClientOptions(timeouts=Timeouts(store=0.5))
    with scp:
        try:
            report = await dimse.send(
                scp.address,
                trap(big_file, scp.freeze),
                retry=NEVER,
                options=options,
                raise_failures=False,
            )
        finally:
            scp.thaw()
    (result,) = report.results
    assert isinstance(result.error, dimse.AssociationTimeout)
    assert result.error.timer == "store"


# They send, and go


@pytest.mark.parametrize("mode", list(StoreMode))
@pytest.mark.parametrize("program", ["storescu", "dcmsend", "pynetdicom"])
async def test_sender_dies_in_mid_object(
    tmp_path: Path, big_file: Path, samples: Samples, program: str, mode: StoreMode
) -> None:
    """No half file is left under any name, and the server lives."""
    command = (
        [need_pynetdicom(), str(PYNETDICOM_PEER), "send"] if program == "pynetdicom" else [need(program), "127.0.0.1"]
    )
    folder = tmp_path / "received"
    folder.mkdir()
    server = dimse.Server(port=0, options=ServerOptions(store=StoreOptions(mode=mode, fsync=False), stop_timeout=5))
    saved: list[Path] = []
    failed: asyncio.Future[BaseException] = asyncio.get_running_loop().create_future()

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        try:
            saved.append(await request.save(folder / request.sop_instance_uid))
        except BaseException as error:
            failed.set_result(error)
            raise
        return dimse.Status.SUCCESS

    async with server:
        async with running(*command, str(server.port), str(big_file)) as sender:
            await until(
                lambda: any(exchange_of(each).connection.bytes_received > 4_000_000 for each in server.associations)
            )
            if mode is StoreMode.STREAMING:
                assert [path.suffix for path in folder.iterdir()] == [".part"]
            sender.kill()
            await sender.wait()
        await until(lambda: not server.associations)
        if mode is StoreMode.STREAMING:
            assert isinstance(await failed, dimse.ConnectionLost)
        assert list(folder.iterdir()) == []
        code, output = await run(*command, str(server.port), str(samples["icon"]))
        assert code == 0, output
    assert [path.name for path in folder.iterdir()] == [sop_instance_uid(samples["icon"])]
    assert saved == list(folder.iterdir())


async def test_storescu_aborts_instead_of_releasing(tmp_path: Path, samples: Samples) -> None:
    """What was acknowledged is kept."""
    server = dimse.Server(port=0, options=ServerOptions(store=StoreOptions(fsync=False)))

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        await request.save(tmp_path / request.sop_instance_uid)
        return dimse.Status.SUCCESS

    async with server:
        await run(need("storescu"), "--abort", "127.0.0.1", str(server.port), str(samples["icon"]))
        assert (tmp_path / sop_instance_uid(samples["icon"])).exists()
        code, output = await run(need("echoscu"), "127.0.0.1", str(server.port))
        assert code == 0, output


@pytest.mark.parametrize("program", ["storescu", "dcmsend", "echoscu"])
async def test_we_reject_a_wrong_title(samples: Samples, program: str) -> None:
    options = ServerOptions(access=dimse.Access(called_ae_titles=["ARCHIVE"]))
    files = [] if program == "echoscu" else [str(samples["icon"])]
    async with dimse.Server("ARCHIVE", port=0, options=options) as server:
        server.on_c_store(_accept)
        code, output = await run(need(program), "-v", "-aec", "WRONG", "127.0.0.1", str(server.port), *files)
        assert code != 0
        assert ("Association Rejected" if program == "dcmsend" else "Called AE Title Not Recognized") in output
        code, output = await run(need(program), "-aec", "ARCHIVE", "127.0.0.1", str(server.port), *files)
        assert code == 0, output


@pytest.mark.parametrize("program", ["storescu", "dcmsend"])
async def test_our_failure_status_reaches_them(samples: Samples, program: str) -> None:
    async with dimse.Server(port=0) as server:

        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> dimse.Status:
            raise OSError(28, "No space left on device")

        _, output = await run(need(program), "-v", "127.0.0.1", str(server.port), str(samples["icon"]))
        assert "OutOfResources" in output.replace(" ", "")


async def _accept(request: dimse.StoreRequest) -> dimse.Status:
    return dimse.Status.SUCCESS


def test_a_peer_that_ends_at_once_is_noticed(tmp_path: Path) -> None:
    """The tests' own helper: it says what the program said."""
    failing = Peer([need("storescp"), "--no-such-option"], free_port(), tmp_path / "received", title="X")
    with pytest.raises(AssertionError, match="no-such-option"), failing:
        pass
