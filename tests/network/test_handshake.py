"""TLS: the same bytes arrive, whatever the size, on both loops; and what fails says so."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from tests.certificate import CERTIFICATE, KEY
from tests.sample_objects import instance, pixel_bytes
from tests.server_options import server_options

import dimse
from dimse import ClientOptions, Status, StoreMode, StoreRequest


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    return server, ssl.create_default_context(cafile=tmp_path / "cert.pem")


def archive(context: ssl.SSLContext, stored: dict[str, bytes], mode: StoreMode, **options: int) -> dimse.Server:
    server = dimse.Server("ARCHIVE", port=0, options=server_options(ssl=context, mode=mode, **options))

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        stored[request.sop_instance_uid] = b"".join([piece async for piece in request.pixels()])
        return Status.SUCCESS

    return server


@pytest.mark.parametrize("mode", StoreMode)
@pytest.mark.parametrize("size", [10, 100_000, 3_000_000])
async def test_what_was_sent_arrives(
    contexts: tuple[ssl.SSLContext, ssl.SSLContext], mode: StoreMode, size: int
) -> None:
    stored: dict[str, bytes] = {}
    async with archive(contexts[0], stored, mode) as server:
        options = ClientOptions(ssl=contexts[1])
        objects = [instance(f"1.2.{number}", pixels=size) for number in range(3)]
        await dimse.send(f"ARCHIVE@localhost:{server.port}", objects, options=options)
    assert stored == {f"1.2.{number}": pixel_bytes(size) for number in range(3)}


async def test_failed_handshakes_leave_nothing_behind(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Port scanners do not start TLS; they must not displace peers that do."""
    stored: dict[str, bytes] = {}
    async with archive(contexts[0], stored, StoreMode.BUFFERED, maximum_associations=1) as server:
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.read() is not None
            writer.close()
        await dimse.send(f"ARCHIVE@localhost:{server.port}", instance("1.2.3"), options=ClientOptions(ssl=contexts[1]))
    assert list(stored) == ["1.2.3"]


async def test_a_certificate_that_is_not_trusted_is_said(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    async with archive(contexts[0], {}, StoreMode.BUFFERED) as server:
        with pytest.raises(dimse.ConnectionLost, match=r"TLS .* localhost:.* failed: .*CERTIFICATE_VERIFY_FAILED"):
            await dimse.send(
                f"ARCHIVE@localhost:{server.port}",
                instance(),
                options=ClientOptions(ssl=ssl.create_default_context()),
            )
