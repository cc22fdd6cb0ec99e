"""`explain` names what is wrong and which side has to change, whatever answers; and it always ends."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from tests.ports import free_port
from tests.services.answering import Handler, answering, closing, dripping, http, replying, resetting, saying, silent

import dimse
from dimse import (
    Access,
    ClientOptions,
    ExplainOutcome,
    ExplainPurpose,
    ExplainSide,
    ExplainStepName,
    ExplainVerdict,
    Explanation,
    Server,
    ServerOptions,
    UserIdentityRQ,
    uids,
)
from dimse.services import explaining, explaining_association
from dimse.testing import INFORMATION, Received, ScriptedPeer, echo_request, listening, response, wire
from dimse.upper_layer.items import PresentationContextAC, UserInformation
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ, PDU_HEADER

ACCEPTANCE = A_ASSOCIATE_AC("ARCHIVE", "DIMSE", INFORMATION).encode()
ECHO_ACCEPTANCE = A_ASSOCIATE_AC(
    "ARCHIVE",
    "DIMSE",
    INFORMATION,
    presentation_contexts=(PresentationContextAC(1, 0, uids.IMPLICIT_VR_LITTLE_ENDIAN),),
).encode()
HERE, ARCHIVE, NETWORK = ExplainSide.HERE, ExplainSide.ARCHIVE, ExplainSide.NETWORK

NOT_DICOM: dict[str, tuple[Handler, str, ExplainSide]] = {
    "HTTP": (http, "this is not a DICOM port: an HTTP server answered: 'HTTP/1.0 400 Bad Request'", HERE),
    "SSH": (saying(b"SSH-2.0-OpenSSH_9.2\r\n"), "an SSH server answered: 'SSH-2.0-OpenSSH_9.2'", HERE),
    "control characters": (saying(b"\x1b[31mred\x1b"), r"answered: '\x1b[31mred\x1b'", HERE),
    "silence": (silent, "the connection is open, but no answer in", ARCHIVE),
    "closed": (closing, "the connection was closed without an answer", ARCHIVE),
    "reset": (resetting, "the connection was lost without an answer", ARCHIVE),
    "garbage": (replying(PDU_HEADER.pack(2, 9) + bytes(9)), "the answer is not valid DICOM", ARCHIVE),
    "dripping": (dripping(ACCEPTANCE), "bytes of an answer came in", ARCHIVE),
    "aborted": (replying(A_ABORT(2, 0).encode()), "aborted the association: reason not specified", ARCHIVE),
    "no room for data": (
        replying(A_ASSOCIATE_AC("A", "B", UserInformation(maximum_length=7)).encode()),
        "the maximum length must be 0 or at least 8, not 7",
        ARCHIVE,
    ),
}


@pytest.fixture(autouse=True)
def _no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining_association, "PAUSE", 0)


async def ask(port: int, *, seconds: float = 0.3, **arguments: object) -> Explanation:
    return await dimse.explain(f"ARCHIVE@127.0.0.1:{port}", step_timeout=seconds, **arguments)  # type: ignore[arg-type]


async def test_what_is_not_dicom_is_named() -> None:
    async def problem(name: str) -> str | None:
        handler, words, side = NOT_DICOM[name]
        async with answering(handler) as port:
            found = await ask(port)
        step = found[ExplainStepName.ANSWER]
        fits = step.verdict is ExplainVerdict.FAILED and words in step.result and step.result in found.summary
        is_told = fits and found.outcome is ExplainOutcome.NO_ASSOCIATION and found.advice[0].side is side
        return None if is_told else f"{name}: {found}"

    problems = await asyncio.gather(*map(problem, NOT_DICOM))
    assert [each for each in problems if each is not None] == []


async def test_a_port_where_nobody_listens() -> None:
    found = await ask(free_port())
    assert found.outcome is ExplainOutcome.NO_ASSOCIATION
    assert "nothing listens there" in found.summary
    assert [step.verdict for step in found.steps[:3]] == [
        ExplainVerdict.OK,
        ExplainVerdict.FAILED,
        ExplainVerdict.NOT_TRIED,
    ]
    assert {advice.side for advice in found.advice} == {HERE, ARCHIVE}


async def test_an_unknown_host() -> None:
    found = await dimse.explain("ARCHIVE@no-such-host.invalid")
    assert found[ExplainStepName.NAME].verdict is ExplainVerdict.FAILED
    assert [step.name for step in found.steps] == list(ExplainStepName)


async def test_it_works() -> None:
    associations: set[dimse.Association] = set()
    async with Server("ARCHIVE", port=0) as server:
        server.on_c_store(_store)

        @server.on_c_echo
        async def echo(request: dimse.EchoRequest) -> dimse.Status:
            associations.add(request.association)
            return dimse.Status.SUCCESS

        found = await ask(server.port, seconds=10, purposes=[ExplainPurpose.ECHO, ExplainPurpose.STORE])
    assert [each.error for each in associations] == [None]  # it was released
    assert found.outcome is ExplainOutcome.WORKS, found
    assert found.summary.startswith(f"It works: ARCHIVE@127.0.0.1:{server.port} answers C-ECHO in ")
    assert {step.name: step.verdict for step in found.steps if step.name is not ExplainStepName.ECHO} == {
        name: ExplainVerdict.OK for name in ExplainStepName if name is not ExplainStepName.ECHO
    }
    assert found[ExplainStepName.ANSWER].facts["implementation"] == "dimse"
    assert found[ExplainStepName.PARALLEL].facts["opened"] == 3


async def _store(request: dimse.StoreRequest) -> dimse.Status:
    return dimse.Status.SUCCESS


async def test_titles_are_tried_and_the_wrong_one_is_named() -> None:
    options = ServerOptions(access=Access(peers=["SCANNER"], called_ae_titles=["ARCHIVE"]))
    cases: list[tuple[str, dict[str, Any], str, ExplainSide, bool]] = [
        # address, options, the wrong title, first advice, whether the rest was tried
        ("ARCHIVE", {}, "does not know our title DIMSE", ARCHIVE, False),
        ("ARCHIVE", {"calling_ae_titles": ["OTHER", "SCANNER"]}, "calling title SCANNER, not DIMSE", HERE, True),
        ("archive", {"options": ClientOptions(calling_ae_title="SCANNER")}, "accepts ARCHIVE, not archive", HERE, True),
        (
            "WRONG",
            {"called_ae_titles": ["ARCHIVE"], "calling_ae_titles": ["SCANNER"]},
            "accepts ARCHIVE, not WRONG, and it knows the calling title SCANNER, not DIMSE",
            HERE,
            True,
        ),
    ]
    async with Server("ARCHIVE", port=0, options=options) as server:
        for title, arguments, words, side, goes_on in cases:
            found = await dimse.explain(f"{title}@127.0.0.1:{server.port}", **arguments)
            assert found.outcome is ExplainOutcome.NO_ASSOCIATION
            assert words in found.summary
            assert found.advice[0].side is side
            assert (found[ExplainStepName.SERVICES].verdict is not ExplainVerdict.NOT_TRIED) == goes_on, found


async def test_a_user_that_is_refused_is_not_tried_again() -> None:
    """A password that is tried many times may lock its user out."""
    requests: list[A_ASSOCIATE_RQ] = []

    async def archive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = ScriptedPeer(reader, writer)
        request = await peer.expect(A_ASSOCIATE_RQ)
        requests.append(request)
        knows = request.called_ae_title == "ARCHIVE" and request.user_information.user_identity is None
        await peer.send(A_ASSOCIATE_AC("A", "B", INFORMATION) if knows else A_ASSOCIATE_RJ(1, 1, 1))
        await peer.closed()

    options = ClientOptions(user_identity=UserIdentityRQ.username_and_passcode("me", b"secret"))
    for title, words, count in (
        ("ARCHIVE", "but not with this user identity", 2),
        ("OTHER", "rejected permanently", 3),
    ):
        requests.clear()
        async with answering(archive) as port:
            found = await dimse.explain(f"{title}@127.0.0.1:{port}", options=options, step_timeout=0.1)
        assert words in found.summary
        assert found.outcome is ExplainOutcome.NO_ASSOCIATION
        assert len(requests) == count
        assert sum(each.user_information.user_identity is not None for each in requests) == 1
        assert "secret" not in repr(found)


async def test_what_is_refused_is_named() -> None:
    async with Server("ARCHIVE", port=0) as server:
        found = await ask(server.port, seconds=10, purposes=[ExplainPurpose.FIND, ExplainPurpose.STORE])
    assert found.outcome is ExplainOutcome.REFUSED
    assert found.summary == "It works in part: the archive refuses C-FIND (SOP class not supported), storage"


async def test_a_transient_rejection_is_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "_TRANSIENT_PAUSE", 0)

    async def probe(peer: ScriptedPeer) -> None:
        await peer.closed()

    async def full(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)
        await peer.send(A_ASSOCIATE_RJ(2, 3, 2))

    async def gone(peer: ScriptedPeer) -> None:
        await peer.expect(A_ASSOCIATE_RQ)

    async def accept(peer: ScriptedPeer) -> None:
        await peer.accept()
        while await peer.goes_on():
            await peer.answer_echo()

    for scripts, outcome in (
        ((probe, full), ExplainOutcome.NO_ASSOCIATION),
        ((probe, full, gone), ExplainOutcome.NO_ASSOCIATION),
        ((probe, full, accept, full), ExplainOutcome.REFUSED),
        ((probe, full, accept), ExplainOutcome.WORKS),
    ):
        async with listening(*scripts) as address:
            found = await dimse.explain(address)
        assert found.outcome is outcome, found


async def test_an_echo_that_fails() -> None:
    async def refused(peer: ScriptedPeer) -> None:
        await peer.send(response(await peer.receive_message(), 0x0122))

    async def garbage(peer: ScriptedPeer) -> None:
        await peer.receive_message()
        await peer.send(b"garbage")

    async def nothing(peer: ScriptedPeer) -> None:
        await peer.receive_message()

    cases: list[tuple[Callable[[ScriptedPeer], Awaitable[None]], str]] = [
        (refused, "C-ECHO failed: the status is 0x0122 SOP class not supported"),
        (garbage, "C-ECHO failed: something that is not DICOM answered: 'garbage'"),
        (nothing, "C-ECHO failed: no answer in"),
    ]
    for answer, words in cases:

        async def one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            peer = ScriptedPeer(reader, writer)
            await peer.accept()
            await answer(peer)  # noqa: B023 - it is used within the iteration
            await peer.closed()

        async with answering(one) as port:
            found = await ask(port, seconds=0.1)
        assert words in found[ExplainStepName.ECHO].result, found
        assert found.outcome is ExplainOutcome.REFUSED


async def test_all_steps_together_have_a_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(explaining, "TOTAL_TIME", 0.1)
    async with answering(silent) as port:
        found = await ask(port, seconds=50)
    assert found.outcome is ExplainOutcome.NO_ASSOCIATION
    assert "stopped: all steps together took more than 0.1 s" in found.summary


async def test_no_answer_raises(monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers of an archive with bytes changed, removed and added, by a fixed seed."""
    monkeypatch.setattr(explaining, "_TRANSIENT_PAUSE", 0)
    chance = random.Random(12)
    echo = Received(1, echo_request(), None, ())
    seeds = [
        ACCEPTANCE,
        ECHO_ACCEPTANCE,
        A_ASSOCIATE_RJ(2, 3, 1).encode(),
        A_ABORT(0, 0).encode(),
        wire(response(echo)),
    ]

    def changed() -> bytes:
        data = bytearray(chance.choice(seeds))
        for _ in range(chance.randrange(3)):
            start = chance.randrange(len(data))
            data[start : start + chance.randrange(3)] = chance.randbytes(chance.randrange(3))
        return bytes(data)

    async def archive(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.read(65536):
            writer.write(changed())

    async with answering(archive) as port:
        found = await asyncio.gather(*(ask(port, seconds=0.05) for _ in range(20)))
    assert {each.address.port for each in found} == {port}


async def test_a_callback_that_fails_ends_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(step: dimse.ExplainStep) -> None:
        raise RuntimeError(step.name)

    async with dimse.Server("ARCHIVE", host="127.0.0.1", port=0) as server:
        archive = dimse.ApplicationEntity(
            f"ARCHIVE@127.0.0.1:{server.port}", dimse.ClientOptions(calling_ae_title="ME")
        )
        found = await dimse.explain(archive, on_step=fail)
    assert found.outcome is dimse.ExplainOutcome.WORKS
    assert "the on_step callback failed" in caplog.text


async def test_arguments_are_checked() -> None:
    async def nothing_awaits(step: dimse.ExplainStep) -> None: ...

    with pytest.raises(TypeError, match="on_step must be a plain function, not an async def"):
        await dimse.explain("ARCHIVE@localhost", on_step=nothing_awaits)
    with pytest.raises(ValueError, match="is not an AE title"):
        await dimse.explain("ARCHIVE@localhost", called_ae_titles=["much too long a title"])
    with pytest.raises(ValueError, match="is not an address"):
        await dimse.explain("a/b")
    wrong: dict[str, tuple[Any, str]] = {
        "purposes": ([dimse.ExplainPurpose.FIND, "store"], "purposes must be a collection of ExplainPurpose members"),
        "sop_classes": ("1.2.840.10008.1.1", "sop_classes must be a collection, not one str"),
        "transfer_syntaxes": ("explicit", "transfer_syntaxes must be a collection, not one str"),
        "called_ae_titles": ("ARCHIVE", "called_ae_titles must be a collection, not one str"),
        "options": (dimse.ServerOptions(), "options must be a ClientOptions or None, not ServerOptions"),
    }
    for name, (value, said) in wrong.items():
        with pytest.raises(TypeError, match=f"^{said}$"):
            await dimse.explain("ARCHIVE@localhost", **{name: value})
    with pytest.raises(TypeError, match=r"^purposes must be a collection, not one ExplainPurpose$"):
        await dimse.explain("ARCHIVE@localhost", purposes=dimse.ExplainPurpose.FIND)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match=r"^transfer_syntaxes must be UIDs, not 'explicit'$"):
        await dimse.explain("ARCHIVE@localhost", transfer_syntaxes=["explicit"])
