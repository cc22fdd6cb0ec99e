"""`dimse explain`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.services.answering import answering, saying


def test_it_works(dimse: Callable[..., Any], receiver: Any) -> None:
    done = dimse("explain", receiver.address, "--for", "store", "--class", "CT", "--syntax", "jpeg2000")
    assert (done.code, done.err) == (0, "")
    assert done.out.startswith(f"It works: {receiver.address} answers C-ECHO in ")
    assert "accepted: C-ECHO; storage of 1 of 1 SOP classes" in done.out


def test_what_is_refused(dimse: Callable[..., Any], receiver: Any) -> None:
    done = dimse("explain", receiver.address, "--for", "find", "--json")
    assert (done.code, done.err) == (1, "")
    (found,) = done.lines
    assert found["outcome"] == "refused"
    assert found["advice"][0] == {"side": "archive", "text": "enable C-FIND for this calling title"}


def test_no_archive(dimse: Callable[..., Any], closed_port: int) -> None:
    done = dimse("explain", f"A@127.0.0.1:{closed_port}")
    assert (done.code, done.err) == (3, "")
    assert done.out.startswith(f"It does not work: port {closed_port} of 127.0.0.1 refuses connections")
    assert "\nWhat to change:\n- On the archive: " in done.out


async def test_what_the_peer_says_is_escaped(beside: Callable[..., Any]) -> None:
    async with answering(saying(b"SSH-\x1b]0;evil\x07\x9b\n")) as port:
        done = await beside("explain", f"A@127.0.0.1:{port}", "--timeout", 1)
        as_json = await beside("explain", f"A@127.0.0.1:{port}", "--timeout", 1, "--json")
    assert (done.code, as_json.code) == (3, 3)
    assert "an SSH server answered" in done.out
    assert all(line.isprintable() for text in (done.out, as_json.out) for line in text.splitlines())


def test_usage(dimse: Callable[..., Any]) -> None:
    done = dimse("explain", "A@b", "--for", "print")
    assert done.code == 2
    assert "must be one of echo, store, find, get, move, not 'print'" in done.err
