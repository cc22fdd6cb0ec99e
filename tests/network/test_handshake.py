"""TLS: the same bytes arrive, whatever the size, on both loops; and what fails says so."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest
from tests.certificate import contexts_in
from tests.pki import PASSWORD
from tests.sample_objects import IMPLICIT, VERIFICATION, instance, pixel_bytes
from tests.server_options import server_options

import dimse
from dimse import ClientOptions, ServerOptions, Status, StoreMode, StoreRequest, TLSOptions, TLSProfile
from dimse.network.connection import Connection
from dimse.network.handshake import Handshake
from dimse.network.receive_buffer import BufferPool
from dimse.testing import ScriptedPeer, listening
from dimse.upper_layer.machine import Machine


@pytest.fixture
def contexts(tmp_path: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The server's and the client's."""
    return contexts_in(tmp_path)


def archive(context: ssl.SSLContext, stored: dict[str, bytes], mode: StoreMode, **options: int | None) -> dimse.Server:
    server = dimse.Server("ARCHIVE", port=0, options=server_options(tls=context, mode=mode, **options))

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
        options = ClientOptions(tls=contexts[1])
        objects = [instance(f"1.2.{number}", pixels=size) for number in range(3)]
        await dimse.send(f"ARCHIVE@localhost:{server.port}", objects, options=options)
    assert stored == {f"1.2.{number}": pixel_bytes(size) for number in range(3)}


async def test_failed_handshakes_leave_nothing_behind(contexts: tuple[ssl.SSLContext, ssl.SSLContext]) -> None:
    """Port scanners do not start TLS; they must not displace peers that do."""
    stored: dict[str, bytes] = {}
    async with archive(
        contexts[0], stored, StoreMode.BUFFERED, maximum_associations=1, maximum_connections_per_second=None
    ) as server:
        for _ in range(60):
            reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
            writer.write(b"GET / HTTP/1.1\r\n\r\n")
            assert await reader.read() is not None
            writer.close()
        await dimse.send(f"ARCHIVE@localhost:{server.port}", instance("1.2.3"), options=ClientOptions(tls=contexts[1]))
    assert list(stored) == ["1.2.3"]


# What is wrong, as either side says it

TRUSTING: dict[str, object] = {"ca": "ca.pem", "certificate": "client.pem", "key": "client.key"}
SERVING: dict[str, object] = {"ca": "ca.pem", "certificate": "server.pem", "key": "server.key"}


def named(name: str) -> dict[str, object]:
    return {"certificate": f"{name}.pem", "key": f"{name}.key"}


CASES: list[tuple[str, dict[str, object], dict[str, object], str, str]] = [
    # what it is, the requestor's options, the acceptor's, what the requestor raises, what the acceptor logs
    ("expired server", {}, named("expired"), "peer's certificate has expired", "says that our certificate has expired"),
    ("future server", {}, named("future"), "is not valid yet; check the clocks", "does not accept our certificate"),
    ("self-signed server", {}, named("self-signed"), "is self-signed and not among", "does not trust the CA of our"),
    ("strange server", {}, named("stranger"), "is not issued by a CA that we trust", "does not trust the CA of our"),
    ("revoked server", {"crl": "crl.pem"}, named("revoked"), "was revoked by its CA", "our certificate was revoked"),
    ("no CRL of the CA", {"crl": "other-crl.pem"}, {}, "there is no revocation list of a CA", "our certificate"),
    ("expired CRL", {"crl": "old-crl.pem"}, {}, "revocation list of its CA has expired", "our certificate"),
    ("wrong use", {}, named("client-only"), "not meant for this use (Extended Key Usage)", "of this kind (key type"),
    (
        "wrong name",
        {},
        named("elsewhere"),
        "is not for localhost, but for: elsewhere, pacs.example.org, 10.0.0.7",
        "does not accept our certificate",
    ),
    (
        "expected name",
        {"server_name": "ct1"},
        {},
        "is not for ct1, but for: server, localhost, 127.0.0.1, ::1",
        "does not accept our certificate",
    ),
    ("no client", {"certificate": None, "key": None}, {}, "requires a certificate of ours", "gave no certificate"),
    ("expired client", named("expired"), {}, "says that our certificate has expired", "peer's certificate has expired"),
    ("future client", named("future"), {}, "does not accept our certificate", "is not valid yet"),
    ("self-signed client", named("self-signed"), {}, "does not trust the CA of our", "is self-signed and not among"),
    ("strange client", named("stranger"), {}, "does not trust the CA of our", "is not issued by a CA that we trust"),
    ("revoked client", named("revoked"), {"crl": "crl.pem"}, "that our certificate was revoked", "was revoked by"),
    ("wrong use of a client", named("server-only"), {}, "of this kind (key type", "not meant for this use"),
]


async def echo(server: dimse.Server, tls: TLSOptions | None, host: str = "localhost") -> str:
    """What a C-ECHO raises."""
    try:
        async with dimse.connect(
            f"DIMSE@{host}:{server.port}", contexts=[(VERIFICATION, [IMPLICIT])], options=ClientOptions(tls=tls)
        ) as association:
            await dimse.CEchoSCU(association).echo()
    except dimse.DimseError as error:
        return str(error)
    return ""


async def logged(caplog: pytest.LogCaptureFixture, text: str) -> bool:
    """Whether the acceptor logs it, when its handshake has ended."""
    async with asyncio.timeout(5):
        while not (messages := [each for each in caplog.messages if "no association" not in each]):  # noqa: ASYNC110 - a log has no event
            await asyncio.sleep(0)
    return any(text in message for message in messages)


async def test_each_side_says_what_is_wrong(
    pki: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """In TLS 1.3, the requestor hears of its own certificate only after its handshake."""
    monkeypatch.chdir(pki)
    wrong = []
    for name, requestor, acceptor, raises, logs in CASES:
        ours, theirs = TLSOptions(**TRUSTING | requestor), TLSOptions(**SERVING | acceptor)  # type: ignore[arg-type]
        async with dimse.Server(port=0, options=ServerOptions(tls=theirs, stop_timeout=5)) as server:
            with caplog.at_level("INFO", "dimse.network"):
                caplog.clear()
                said = await echo(server, ours)
                is_logged = await logged(caplog, logs)
        if raises not in said or not is_logged:
            wrong.append((name, said, caplog.messages))
    assert not wrong


async def test_a_close_without_an_alert_hints_at_the_certificate(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alert of TLS 1.3 about our certificate can be lost with the connection."""
    monkeypatch.chdir(pki)

    async def read_and_close(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readexactly(6)
        writer.close()

    context = TLSOptions(certificate="server.pem", key="server.key").context(server_side=True)
    server = await asyncio.start_server(read_and_close, "127.0.0.1", 0, ssl=context)
    address = f"ANY@localhost:{server.sockets[0].getsockname()[1]}"
    hints = {None: "and without a certificate of ours", "client.pem": "and does it accept our certificate"}
    async with server:
        for certificate, hint in hints.items():
            tls = TLSOptions(ca="ca.pem", certificate=certificate, key=certificate and "client.key")
            with pytest.raises(
                dimse.ConnectionLost, match=rf"without an answer; does a DICOM AE listen there, {hint}\?"
            ):
                async with dimse.connect(
                    address, contexts=[(VERIFICATION, [IMPLICIT])], options=ClientOptions(tls=tls)
                ):
                    pass


async def test_what_is_right_is_accepted(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(pki)
    cases: list[tuple[dict[str, object], dict[str, object], str]] = [
        ({}, {}, "localhost"),
        ({}, {}, "127.0.0.1"),
        ({"crl": "crl.pem"}, {"crl": "crl.pem"}, "localhost"),
        ({"certificate": None, "key": None}, {"ca": None}, "localhost"),
        ({"server_name": "pacs.example.org"}, named("elsewhere"), "127.0.0.1"),
        ({"ca": "self-signed.pem"}, named("self-signed"), "localhost"),
        ({"key": "encrypted.key", "password": PASSWORD}, {}, "localhost"),
    ]
    cases += [({"profile": one}, {"profile": other}, "localhost") for one in TLSProfile for other in TLSProfile]
    wrong = []
    for requestor, acceptor, host in cases:
        ours, theirs = TLSOptions(**TRUSTING | requestor), TLSOptions(**SERVING | acceptor)  # type: ignore[arg-type]
        async with dimse.Server(port=0, options=ServerOptions(tls=theirs, stop_timeout=5)) as server:
            said = await echo(server, ours, host)
        if said:
            wrong.append((requestor, acceptor, host, said))
    assert not wrong


async def test_plain_and_tls_meet(pki: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each side is told what the other one speaks."""
    tls = TLSOptions(ca=pki / "ca.pem", certificate=pki / "server.pem", key=pki / "server.key")
    async with dimse.Server(port=0, options=ServerOptions(tls=tls, stop_timeout=5)) as server:
        assert f"localhost:{server.port} speaks TLS" in await echo(server, None)
    assert "127.0.0.1: an A-ASSOCIATE-RQ without TLS, which this port demands; closed" in caplog.messages
    async with dimse.Server(port=0, options=ServerOptions(stop_timeout=5)) as server:
        assert f"localhost:{server.port} failed: the peer does not speak TLS on this port" in await echo(server, tls)

    async def close(peer: ScriptedPeer) -> None:
        await peer.reader.read(1)

    async with listening(close) as address:
        with pytest.raises(dimse.ConnectionLost, match="failed: the peer closed the connection; it may not speak TLS"):
            async with dimse.connect(address, options=ClientOptions(tls=tls)):
                pass


async def test_files_that_change_are_used_without_a_restart(pki: Path, tmp_path: Path) -> None:
    """At the next handshake; associations that are open stay, and files that cannot be used change nothing."""
    shutil.copytree(pki, tmp_path, dirs_exist_ok=True)

    def options(name: str, crl: str) -> TLSOptions:
        files = (tmp_path / each for each in ("ca.pem", f"{name}.pem", f"{name}.key", crl))
        return TLSOptions(**dict(zip(("ca", "certificate", "key", "crl"), files, strict=True)))  # type: ignore[arg-type]

    ours = options("client", "crl.pem")
    crl = tmp_path / "their-crl.pem"
    shutil.copy(tmp_path / "crl.pem", crl)
    server = dimse.Server(port=0, options=ServerOptions(tls=options("server", crl.name), stop_timeout=5))
    address, contexts = "DIMSE@localhost:{}", [(VERIFICATION, [IMPLICIT])]
    async with (
        server,
        dimse.connect(address.format(server.port), contexts=contexts, options=ClientOptions(tls=ours)) as before,
    ):
        assert not await echo(server, ours)
        shutil.copy(pki / "crl-of-client.pem", crl)
        assert "the peer says that our certificate was revoked" in await echo(server, ours)
        await dimse.CEchoSCU(before).echo()
        crl.write_text("damaged")
        assert "the peer says that our certificate was revoked" in await echo(server, ours)
        shutil.copy(pki / "crl.pem", crl)
        assert not await echo(server, ours)
        for end in (".pem", ".key"):
            shutil.copy(pki / f"elsewhere{end}", tmp_path / f"server{end}")
        assert "is not for localhost, but for: elsewhere" in await echo(server, ours)
        assert not await echo(server, replace(ours, server_name="pacs.example.org"))
        (tmp_path / "ca.pem").write_text("damaged")
        assert "is not for localhost, but for: unknown" in await echo(server, ours)


async def test_a_handshake_has_one_deadline(pki: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However little of it comes: nothing, a byte, the most of a message, or a byte now and then."""
    monkeypatch.setattr("dimse.network.handshake.TLS_HANDSHAKE", 0.2)
    hello = client_hello(0xC02B)
    tls = TLSOptions(certificate=pki / "server.pem", key=pki / "server.key")

    async def drip(peer: ScriptedPeer) -> None:
        for byte in hello[:20]:
            peer.writer.write(bytes([byte]))
            await asyncio.sleep(0.05)

    async with dimse.Server(port=0, options=ServerOptions(tls=tls, stop_timeout=5)) as server:
        peers = [await ScriptedPeer.connect(server.port) for _ in range(4)]
        for peer, sent in zip(peers, (b"", hello[:1], hello[:-1]), strict=False):
            peer.writer.write(sent)
        dripping = asyncio.ensure_future(drip(peers[3]))
        for peer in peers:
            with suppress(ConnectionError):
                assert await peer.reader.read() == b""
        dripping.cancel()
        for peer in peers:
            peer.writer.transport.abort()


async def test_a_handshake_may_be_killed_at_any_time(pki: Path) -> None:
    """As when its host has too many. Nothing but the end of the connection comes of it."""
    context = TLSOptions(certificate=pki / "server.pem", key=pki / "server.key").context(server_side=True)
    loop = asyncio.get_running_loop()

    class Killed(Handshake):
        turns = 0

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            self.later(self.turns)

        def later(self, turns: int) -> None:
            if turns:
                loop.call_soon(self.later, turns - 1)
            else:
                self.kill()

    for turns in range(8):
        ours, theirs = socket.socketpair()
        machine = Machine(requestor=False, maximum_length=0, artim=None, strict=True)
        handshake = Killed(Connection(machine, BufferPool()))
        handshake.turns = turns
        await loop.connect_accepted_socket(lambda made=handshake: made, ours)  # type: ignore[misc]
        with theirs:
            theirs.sendall(client_hello(0xC02B))
            async with asyncio.timeout(5):  # uvloop would go on until the deadline
                assert await handshake.accept(context) is None, "the peer is not to blame"
            theirs.setblocking(False)
            with suppress(ConnectionError):
                while await loop.sock_recv(theirs, 4096):
                    pass


def client_hello(*suites: int) -> bytes:
    """One of TLS 1.2 (RFC 5246 7.4.1.2) for the curve secp256r1, and any signature with SHA-256."""
    extensions = bytes.fromhex("000a 0004 0002 0017  000b 0002 0100  000d 0006 0004 0403 0401")
    offered = b"".join(suite.to_bytes(2) for suite in suites)
    body = b"\x03\x03" + bytes(32) + b"\0" + len(offered).to_bytes(2) + offered + b"\1\0"
    body += len(extensions).to_bytes(2) + extensions
    handshake = b"\x01" + len(body).to_bytes(3) + body
    return b"\x16\x03\x01" + len(handshake).to_bytes(2) + handshake


REFUSED = {
    "no encryption": [0x0001, 0x0002, 0x003B, 0xC006, 0xC010],
    "3DES": [0x000A, 0x0016, 0xC008, 0xC012],
    "RC4": [0x0005, 0xC007, 0xC011],
    "CBC": [0xC009, 0xC00A, 0xC013, 0xC014, 0xC023, 0xC024, 0xC027, 0xC028],
    "static RSA": [0x002F, 0x0035, 0x003C, 0x009C, 0x009D],
    "DHE": [0x0033, 0x0039, 0x0067, 0x009E, 0x009F, 0xCCAA],
    "anonymous": [0x0034, 0x00A6, 0xC018],
}
"""Cipher suites of the IANA registry, the OpenSSL of this machine may not even know them."""
HANDSHAKE_FAILURE = bytes.fromhex("15 0303 0002 0228")


@pytest.mark.parametrize("profile", TLSProfile)
async def test_suites_that_no_profile_allows(profile: TLSProfile, pki: Path) -> None:
    for name in ("server", "rsa"):
        tls = TLSOptions(certificate=pki / f"{name}.pem", key=pki / f"{name}.key", profile=profile)
        answers = {}
        async with dimse.Server(port=0, options=ServerOptions(tls=tls, stop_timeout=5)) as server:
            for offer, suites in {**REFUSED, "AES-GCM": [0xC02B, 0xC02F]}.items():
                async with await ScriptedPeer.connect(server.port) as peer:
                    peer.writer.write(client_hello(*suites))
                    answers[offer] = await peer.reader.readexactly(7)
        assert answers.pop("AES-GCM").startswith(b"\x16\x03\x03")
        assert answers == dict.fromkeys(REFUSED, HANDSHAKE_FAILURE)
