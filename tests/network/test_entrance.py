"""What comes to a DICOM port that is not DICOM, and what comes before it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import ssl
from pathlib import Path

import pytest
from tests.certificate import CERTIFICATE, KEY
from tests.sample_objects import IMPLICIT, VERIFICATION

from dimse import Access, CEchoSCU, ClientOptions, Peer, Server, ServerOptions, Timeouts, connect
from dimse.testing import ScriptedPeer, associate_request, echo_request, message_pdvs
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ

CONTEXTS = [(VERIFICATION, [IMPLICIT])]
PROXY = b"PROXY TCP4 192.0.2.7 192.0.2.1 40000 104\r\n"
BINARY = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc0\0\2\7\xc0\0\2\1\x9c\x40\0\x68"
LOCAL = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0"
QUICK = Timeouts(artim=0.3)


def server(**options: object) -> Server:
    return Server("ARCHIVE", port=0, host="127.0.0.1", options=ServerOptions(stop_timeout=5, **options))  # type: ignore[arg-type]


async def is_well(server: Server) -> None:
    async with connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=CONTEXTS) as association:
        await CEchoSCU(association).echo()


async def in_pieces(peer: ScriptedPeer, data: bytes) -> None:
    for byte in data:
        await peer.send(bytes([byte]))
        await asyncio.sleep(0)


# HTTP, and others


@pytest.mark.parametrize(
    "request_", [b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", b"HEAD /health HTTP/1.0\r\n\r\n", b"OPTIONS * HTTP/1.1\r\n\r\n"]
)
async def test_an_http_request_is_answered_with_a_line(request_: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with server() as archive:
        for send in (ScriptedPeer.send, in_pieces):
            caplog.clear()
            async with await ScriptedPeer.connect(archive.port) as peer:
                await send(peer, request_)
                answer = await peer.reader.read()
                assert answer.startswith(b"HTTP/1.0 400 ")
                assert b"This is a DICOM port." in answer
            [line] = [record for record in caplog.records if record.name.startswith("dimse")]
            assert line.levelno == logging.INFO
            assert "HTTP request" in line.getMessage()
        await is_well(archive)


async def test_the_body_of_an_http_request_does_not_lose_the_answer() -> None:
    async with server() as archive, await ScriptedPeer.connect(archive.port) as peer:
        await peer.send(b"POST / HTTP/1.1\r\nContent-Length: 1000000\r\n\r\n", bytes(1_000_000))
        assert b"DICOM" in await peer.reader.read()


async def test_an_http_client_that_stays_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("dimse.network.entrance._LINGER", 0.1)
    async with server() as archive, await ScriptedPeer.connect(archive.port) as peer:
        await peer.send(b"GET / HTTP/1.0\r\n\r\n")
        sending = asyncio.create_task(send_on(peer))
        assert b"DICOM" in await peer.reader.read()
        await asyncio.wait_for(sending, 10)


async def send_on(peer: ScriptedPeer) -> None:
    """Send until the other side does not read any more."""
    with contextlib.suppress(ConnectionError, RuntimeError):  # which is uvloop's
        while True:
            await peer.send(b"more")
            await asyncio.sleep(0.01)


async def test_others_are_named_and_get_an_abort(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    strangers = {
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc": "speaks TLS on this port",
        b"SSH-2.0-OpenSSH_9.6\r\n": "speaks SSH",
        b"\x0bMSH|^~\\&|": "HL7",
        PROXY: "not a trusted proxy",
        BINARY: "not a trusted proxy",
    }
    async with server() as archive:
        for first, words in strangers.items():
            caplog.clear()
            async with await ScriptedPeer.connect(archive.port) as peer:
                await peer.send(first)
                await peer.expect(A_ABORT)
                assert words in caplog.text
                assert "Traceback" not in caplog.text
        await is_well(archive)


async def test_what_begins_and_says_no_more_is_closed_in_time(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    request = associate_request().encode()
    async with server(timeouts=QUICK, proxy_networks=["127.0.0.1"]) as proxied, server(timeouts=QUICK) as plain:
        cases = [
            (plain, b""),
            (plain, b"GE"),
            (plain, request[:1]),
            (plain, request[:-1]),
            (proxied, b""),
            (proxied, PROXY[:-1]),
            (proxied, BINARY[:-1]),
            (proxied, PROXY),
            (proxied, PROXY + b"GE"),
            (proxied, PROXY + request[:-1]),
        ]

        async def stays(archive: Server, first: bytes) -> None:
            async with asyncio.timeout(10), await ScriptedPeer.connect(archive.port) as peer:
                await peer.send(first)
                await peer.closed()

        await asyncio.gather(*(stays(archive, first) for archive, first in cases))
    assert caplog.text.count("did not come in 0.3 s") == 7


# Behind a proxy


@pytest.mark.parametrize("header", [PROXY, BINARY], ids=["version 1", "version 2"])
async def test_the_peer_behind_a_proxy_is_the_one_that_counts(header: bytes, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    options = {"access": Access(peers=[Peer(networks=["192.0.2.0/24"])]), "maximum_associations_per_host": 1}
    async with server(proxy_networks=["127.0.0.0/8"], **options) as archive:
        for send in (ScriptedPeer.send, in_pieces):
            async with (
                await ScriptedPeer.connect(archive.port) as peer,
                await ScriptedPeer.connect(archive.port) as more,
            ):
                await send(peer, header + associate_request().encode())
                await peer.expect(A_ASSOCIATE_AC)
                assert [each.peer_name for each in archive.associations] == ["192.0.2.7:40000"]
                await peer.send(message_pdvs(echo_request()))
                await peer.receive_message()
                await more.send(header, associate_request())
                await more.expect(A_ASSOCIATE_RJ)
                await peer.release()
        assert "192.0.2.7:40000: association from" in caplog.text
        async with await ScriptedPeer.connect(archive.port) as probe:
            await probe.send(LOCAL, associate_request())
            await probe.expect(A_ASSOCIATE_RJ)  # it is 127.0.0.1 itself, which no rule fits


async def test_peers_behind_a_proxy_have_their_own_rate() -> None:
    async with server(proxy_networks=["127.0.0.1"], maximum_connections_per_second=2) as archive:
        for number in range(4):
            header = PROXY.replace(b"192.0.2.7", b"192.0.2.%d" % (10 + number))
            async with await ScriptedPeer.connect(archive.port) as peer:
                await peer.send(header)
                await peer.associate()
        for number in range(4):
            async with await ScriptedPeer.connect(archive.port) as peer:
                await peer.send(PROXY)
                if number > 2:  # the third may have waited for half a second
                    await peer.closed()


async def test_a_malformed_header_closes_with_one_line(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    async with server(proxy_networks=["127.0.0.1", "::1"]) as archive:
        for first in (
            associate_request().encode(),
            b"PROXY TCP4 a b c d\r\n",
            b"GET / HTTP/1.0\r\n\r\n",
            b"PROXY " + b"x" * 200,
        ):
            caplog.clear()
            async with await ScriptedPeer.connect(archive.port) as peer:
                await peer.send(first)
                await peer.closed()
            [line] = [record.getMessage() for record in caplog.records if record.name.startswith("dimse")]
            assert "PROXY header" in line


async def test_with_tls_the_header_comes_before_the_handshake(tmp_path: Path) -> None:
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    client = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    async with server(proxy_networks=["127.0.0.1"], tls=context) as archive, server(tls=context) as plain:
        for header in (PROXY, BINARY):
            reader, writer = await asyncio.open_connection("127.0.0.1", archive.port)
            writer.write(header)
            await writer.start_tls(client, server_hostname="localhost")
            async with ScriptedPeer(reader, writer) as peer:
                await peer.associate()
                assert [each.peer_name for each in archive.associations] == ["192.0.2.7:40000"]
                await peer.release()
        options = ClientOptions(tls=client)
        async with connect(f"ARCHIVE@localhost:{plain.port}", contexts=CONTEXTS, options=options) as direct:
            await CEchoSCU(direct).echo()
