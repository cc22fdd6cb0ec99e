"""`dimse echo`."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import pytest

from dimse import uids
from dimse.testing import ScriptedPeer, listening, response


class _Quiet(BaseHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None: ...  # noqa: A002 - its name there


@pytest.fixture
def http_port() -> Iterator[int]:
    """A port where something listens that isn't DICOM."""
    server = HTTPServer(("127.0.0.1", 0), _Quiet)
    thread = Thread(target=server.serve_forever)
    thread.start()
    yield server.server_address[1]
    server.shutdown()
    server.server_close()
    thread.join()


def test_echo_tells_what_was_negotiated(dimse: Callable[..., Any], receiver: Any) -> None:
    done = dimse("echo", receiver.address)
    assert (done.code, done.err) == (0, "")
    first, *rest = done.out.splitlines()
    assert first.startswith(f"{receiver.address} responded in ")
    assert first.endswith(" ms")
    text = "\n".join(rest)
    assert "1048576 bytes" in text
    assert uids.IMPLEMENTATION_CLASS_UID in text
    assert uids.IMPLEMENTATION_VERSION_NAME in text
    assert "Verification SOP Class, Explicit VR Little Endian" in text


def test_echo_as_json(dimse: Callable[..., Any], receiver: Any) -> None:
    done = dimse("echo", receiver.address, "--json")
    assert (done.code, done.err) == (0, "")
    (answer,) = done.lines
    assert answer["address"] == receiver.address
    assert answer["round_trip_ms"] > 0
    assert answer["maximum_length"] == 1048576
    assert answer["implementation_class_uid"] == uids.IMPLEMENTATION_CLASS_UID
    assert answer["implementation_version_name"] == uids.IMPLEMENTATION_VERSION_NAME
    assert [context["abstract_syntax"] for context in answer["contexts"]] == [uids.VERIFICATION]


def test_port_closed(dimse: Callable[..., Any], closed_port: int, refused: str) -> None:
    done = dimse("echo", f"A@127.0.0.1:{closed_port}")
    assert (done.code, done.out) == (3, "")
    assert done.err == refused


def test_host_unknown(dimse: Callable[..., Any]) -> None:
    done = dimse("echo", "A@no-such-host.invalid:104")
    assert done.code == 3
    assert done.err.startswith("dimse: cannot connect to A@no-such-host.invalid:104: ")
    assert len(done.err.splitlines()) == 1


def test_a_port_that_is_not_dicom(dimse: Callable[..., Any], http_port: int) -> None:
    done = dimse("echo", f"A@127.0.0.1:{http_port}", "--timeout", 1)
    assert (done.code, done.out) == (3, "")
    assert done.err.startswith("dimse: ")


def test_each_v_tells_more(dimse: Callable[..., Any], receiver: Any) -> None:
    done = dimse("-vvv", "echo", receiver.address)
    assert done.code == 0
    for name in ("A-ASSOCIATE-RQ", "A-ASSOCIATE-AC", "P-DATA-TF", "A-RELEASE-RQ", "A-RELEASE-RP"):
        assert name in done.err
    for before, after in (("-vv", ()), ("-v", ("-v",))):
        done = dimse(before, "echo", receiver.address, *after)
        assert "P-DATA-TF" not in done.err
        assert "> C-ECHO-RQ  Message ID 1" in done.err
    done = dimse("echo", "-v", receiver.address)
    assert "C-ECHO-RQ" not in done.err
    assert f"{receiver.address}: association requested as 'DIMSE'" in done.err
    assert "accepted in Explicit VR Little Endian: Verification SOP Class" in done.err
    assert "> C-ECHO: 0x0000 Success in " in done.err
    assert "association released after " in done.err
    assert dimse("echo", receiver.address).err == ""


def test_an_echo_imports_what_it_needs(closed_port: int) -> None:
    code = """
import sys
from dimse.cli.app import run
assert run(["-v", "echo", f"A@127.0.0.1:{sys.argv[1]}"]) == 3
assert "dimse.cli.echo" in sys.modules
needless = {"pydicom", "rich", "numpy", "PIL", "uvloop", "shutil", "importlib.metadata", "dimse.cli.send"}
needless |= {"dimse.audit", "dimse.events"}
assert not needless & sys.modules.keys(), needless & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", code, str(closed_port)], check=True, timeout=50)  # noqa: S603 - it is our own


async def test_a_refusal_is_no_reason_to_abort(beside: Callable[..., Any]) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        received = await peer.receive_message()
        await peer.send(response(received, 0x0122, error_comment="not here"))
        await peer.answer_release()

    async with listening(script) as address:
        done = await beside("echo", address)
    assert (done.code, done.err) == (1, f"dimse: {address}: C-ECHO: 0x0122 SOP class not supported (not here)\n")
