"""The handler of associations, which verifies users: what it is told, what its answers become, what interrupts it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import replace

import pytest
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, VERIFICATION

from dimse import (
    Access,
    AssociationRejected,
    AssociationRequest,
    CEchoSCU,
    ClientOptions,
    EchoRequest,
    ProposedContext,
    RejectAssociation,
    Rejection,
    Server,
    ServerOptions,
    Status,
    Timeouts,
    UserIdentityRQ,
    UserIdentityType,
    VerifiedUser,
    connect,
)
from dimse.testing import ScriptedPeer, associate_request, echo_request, message_pdvs
from dimse.upper_layer.items import RoleSelection
from dimse.upper_layer.pdu import A_ABORT, A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_RELEASE_RP, A_RELEASE_RQ

CONGESTED = A_ASSOCIATE_RJ(2, 3, 1)


@pytest.fixture(autouse=True)
async def _nothing_is_left(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[None]:
    monkeypatch.setattr("dimse.network.exchange.ABORT_GRACE", 0.2)
    before = asyncio.all_tasks()
    yield
    assert asyncio.all_tasks() <= before | {asyncio.current_task()}


class Asked(Server):
    """Has a handler of associations that waits until the test lets it go, and admits."""

    def __init__(self, **options: object) -> None:
        super().__init__("ARCHIVE", port=0, options=ServerOptions(**options))  # type: ignore[arg-type]
        self.waiting: asyncio.Queue[AssociationRequest] = asyncio.Queue()
        self.interrupted: asyncio.Queue[str] = asyncio.Queue()
        self.go_on = asyncio.Event()
        self.on_association(self.decide)

    async def decide(self, request: AssociationRequest) -> None:
        self.waiting.put_nowait(request)
        try:
            await self.go_on.wait()
        except asyncio.CancelledError:
            self.interrupted.put_nowait(request.calling_ae_title)
            raise

    async def ask(self, peer: ScriptedPeer, calling: str = "PEER") -> AssociationRequest:
        """Request an association, and wait until the handler has it."""
        await peer.send(associate_request(calling=calling))
        return await self.waiting.get()


def saying(answer: Callable[[AssociationRequest], object]) -> Server:
    """A server whose handler returns what `answer` returns, or raises."""
    server = Server("ARCHIVE", port=0)

    @server.on_association
    async def decide(request: AssociationRequest) -> VerifiedUser | None:
        return answer(request)  # type: ignore[return-value]

    return server


class Unchecked(VerifiedUser):
    def __post_init__(self) -> None:
        """Without that of the base class."""


async def is_well(server: Server, calling: str = "OTHER") -> None:
    """Others are served."""
    options = ClientOptions(calling_ae_title=calling)
    async with connect(f"ARCHIVE@127.0.0.1:{server.port}", options=options) as association:
        assert (await CEchoSCU(association).echo()).status == 0


# What it is told


async def test_the_request_as_the_handler_sees_it() -> None:
    seen: list[AssociationRequest] = []
    server = saying(seen.append)
    ask = associate_request((VERIFICATION, [IMPLICIT]), (CT, [EXPLICIT, IMPLICIT]), calling=" PEER", called="ARCHIVE ")
    identity = UserIdentityRQ.username_and_passcode("ada", "SECRET")
    information = replace(
        ask.user_information, user_identity=identity, role_selections=(RoleSelection(CT, True, True),)
    )
    async with server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(replace(ask, user_information=information))
        await peer.release()
    contexts = (
        ProposedContext(VERIFICATION, (IMPLICIT,)),
        ProposedContext(CT, (EXPLICIT, IMPLICIT), as_scp=True),
    )
    assert seen == [
        AssociationRequest(
            called_ae_title="ARCHIVE",
            calling_ae_title="PEER",
            host="127.0.0.1",
            certificate_names=(),
            user_identity=identity,
            contexts=contexts,
        )
    ]
    assert "SECRET" not in repr(seen)


async def test_it_is_asked_after_the_rules_and_the_limits() -> None:
    access = Access(peers=["PEER"], called_ae_titles=["ARCHIVE"])
    async with Asked(access=access, maximum_associations=1) as server, AsyncExitStack() as stack:
        server.go_on.set()
        for ask, expected in (
            (associate_request(calling="FOE"), A_ASSOCIATE_RJ(1, 1, 3)),
            (associate_request(called="NONE"), A_ASSOCIATE_RJ(1, 1, 7)),
            (associate_request(), None),
            (associate_request(), A_ASSOCIATE_RJ(2, 3, 2)),
        ):
            peer = await stack.enter_async_context(await ScriptedPeer.connect(server.port))
            await peer.send(ask)
            answer = await peer.receive()
            assert isinstance(answer, A_ASSOCIATE_AC) if expected is None else answer == expected
        assert server.waiting.qsize() == 1


# What its answers become


async def test_who_is_verified_is_confirmed_and_known_to_other_handlers() -> None:
    """All types of identity, with and without the request for a response, with and without a user."""
    seen: list[VerifiedUser | None] = []

    async def echo(request: EchoRequest) -> Status:
        seen.append(request.association.user)
        return Status.SUCCESS

    asked: list[tuple[UserIdentityRQ | None, VerifiedUser | None, bytes | None]] = []
    for kind in UserIdentityType:
        identity = UserIdentityRQ(kind, b"ada", b"", positive_response_requested=True)
        quiet = replace(identity, positive_response_requested=False)
        user = VerifiedUser("ada", b"" if kind <= UserIdentityType.USERNAME_AND_PASSCODE else b"ticket")
        asked += [(identity, user, user.server_response), (identity, None, None), (quiet, user, None)]
    asked += [(None, VerifiedUser("by certificate"), None), (None, None, None)]
    wrong = []
    for identity_, user_, expected in asked:
        server = saying(lambda _, user=user_: user)  # type: ignore[misc]
        server.on_c_echo(echo)
        async with server:
            options = ClientOptions(user_identity=identity_)
            async with connect(f"ARCHIVE@127.0.0.1:{server.port}", options=options) as association:
                await CEchoSCU(association).echo()
                if association.user_identity_response != expected or seen.pop() is not user_:
                    wrong.append((identity_, user_, association.user_identity_response))
    assert not wrong


async def test_without_a_handler_no_identity_is_confirmed() -> None:
    async with Server("ARCHIVE", port=0) as server:
        options = ClientOptions(user_identity=UserIdentityRQ.username("ada"))
        async with connect(f"ARCHIVE@127.0.0.1:{server.port}", options=options) as association:
            assert association.user_identity_response is None
            assert [each.user for each in server.associations] == [None]


async def test_the_longest_response_fits() -> None:
    user = VerifiedUser("ada", bytes(48 * 1024))
    ask = associate_request(*[(f"1.2.840.10008.5.1.4.1.1.{number}", [EXPLICIT]) for number in range(1, 129)])
    roles = tuple(RoleSelection(each.abstract_syntax, True, True) for each in ask.presentation_contexts)
    identity = UserIdentityRQ(UserIdentityType.KERBEROS, b"ticket", positive_response_requested=True)
    information = replace(ask.user_information, user_identity=identity, role_selections=roles)
    async with saying(lambda _: user) as server, await ScriptedPeer.connect(server.port) as peer:
        answer = await peer.associate(replace(ask, user_information=information))
        assert answer.user_information.user_identity_response is not None
        assert answer.user_information.user_identity_response.server_response == user.server_response
    with pytest.raises(ValueError, match="server_response must have at most 49152 bytes, not 49153"):
        VerifiedUser("ada", bytes(48 * 1024 + 1))
    with pytest.raises(TypeError, match="server_response must be bytes"):
        VerifiedUser("ada", "ticket")  # type: ignore[arg-type]
    assert "ticket" not in repr(VerifiedUser("ada", b"ticket"))


def refuse(why: str, *rejection: Rejection) -> Callable[[AssociationRequest], object]:
    def refusing(_: AssociationRequest) -> object:
        raise RejectAssociation(why, *rejection)

    return refusing


def fail(error: BaseException) -> Callable[[AssociationRequest], object]:
    def failing(_: AssociationRequest) -> object:
        raise error

    return failing


async def test_who_is_rejected_and_what_the_log_says(caplog: pytest.LogCaptureFixture) -> None:
    """It rejects with every result, source and reason; a failing one rejects too, with its traceback in the log."""
    caplog.set_level("INFO", logger="dimse.network")
    cases: list[tuple[Callable[[AssociationRequest], object], A_ASSOCIATE_RJ, str, str | None]] = [
        (refuse("no such user"), A_ASSOCIATE_RJ(1, 2, 1), ": no such user", None),
        (refuse("no user ad\xe9\x1b"), A_ASSOCIATE_RJ(1, 2, 1), r": no user ad\xe9\x1b", None),
        *((refuse("closed", each), A_ASSOCIATE_RJ(*each.value), ": closed", None) for each in Rejection),
        (fail(KeyError("ldap")), CONGESTED, " failed", "KeyError: 'ldap'"),
        (fail(asyncio.CancelledError("lost")), CONGESTED, " failed", "CancelledError: lost"),
        (lambda _: True, CONGESTED, " failed", "must return a VerifiedUser or None, not bool"),
        (lambda _: "ada", CONGESTED, " failed", "must return a VerifiedUser or None, not str"),
        (lambda _: Unchecked("ada", "ticket"), CONGESTED, " failed", "server_response must be bytes"),  # type: ignore[arg-type]
    ]
    wrong = list[object]()
    for answer, expected, told, traceback in cases:
        caplog.clear()
        async with saying(answer) as server, await ScriptedPeer.connect(server.port) as peer:
            await peer.send(associate_request())
            rejection = await peer.receive()
            assert not server.associations
        text = caplog.text
        if rejection != expected or f"'ARCHIVE' rejected: the handler of associations{told}\n" not in text:
            wrong.append((answer, expected, rejection, text))
        if (traceback or "") not in text or ("Traceback" in text) != (traceback is not None):
            wrong.append((answer, traceback, text))
    assert not wrong
    with pytest.raises(TypeError, match="rejection must be a Rejection, not tuple"):
        RejectAssociation("no", (1, 1, 1))  # type: ignore[arg-type]


async def test_our_requestor_is_rejected() -> None:
    async with saying(refuse("no such user")) as server:
        with pytest.raises(AssociationRejected) as caught:
            await is_well(server)
    assert (caught.value.result, caught.value.source, caught.value.reason) == (1, 2, 1)
    assert "no such user" not in str(caught.value)
    assert str(caught.value).endswith("it gives no reason; it may want another user identity")


async def test_no_log_has_a_password(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG", logger="dimse")
    identity = UserIdentityRQ.username_and_passcode("ada\x1b[2J\xe9", "SECRET")
    answers = (lambda _: VerifiedUser("ada\x1b\xe9"), refuse("no"), fail(ValueError("no")), lambda _: None)
    for answer in answers:
        async with saying(answer) as server, await ScriptedPeer.connect(server.port) as peer:
            ask = associate_request()
            await peer.send(replace(ask, user_information=replace(ask.user_information, user_identity=identity)))
            assert isinstance(await peer.receive(), A_ASSOCIATE_AC | A_ASSOCIATE_RJ)
    assert r"accepted for user 'ada\x1b\xe9'" in caplog.text
    assert "SECRET" not in caplog.text
    assert "\x1b" not in caplog.text


def test_the_handler_is_an_async_def() -> None:
    with pytest.raises(TypeError, match="decide must be an async def"):

        @Server().on_association  # type: ignore[arg-type]
        def decide(_: AssociationRequest) -> None: ...


# What interrupts it


async def vanish(peer: ScriptedPeer) -> None:
    peer.reset()


async def close(peer: ScriptedPeer) -> None:
    peer.writer.close()


async def abort(peer: ScriptedPeer) -> None:
    await peer.send(A_ABORT(0, 0))


async def test_a_peer_that_leaves_or_says_more_meanwhile() -> None:
    """Each ends the association, the handler is cancelled, and the place is free: the limit is one."""
    cases: dict[str, tuple[Callable[[ScriptedPeer], Awaitable[None]], tuple[int, int] | None]] = {
        "reset": (vanish, None),
        "closed": (close, None),
        "aborted": (abort, None),
        "data": (lambda peer: peer.send(message_pdvs(echo_request())), (2, 2)),
        "release": (lambda peer: peer.send(A_RELEASE_RQ()), (2, 2)),
        "another request": (lambda peer: peer.send(associate_request()), (2, 2)),
        "garbage": (lambda peer: peer.send(b"GET / HTTP/1.1\r\n\r\n"), (2, 1)),
    }
    async with Asked(maximum_associations=1) as server:
        for name, (act, answer) in cases.items():
            async with asyncio.timeout(10), await ScriptedPeer.connect(server.port) as peer:
                assert (await server.ask(peer, name)).calling_ae_title == name
                await act(peer)
                assert await server.interrupted.get() == name
                if answer is not None:
                    await peer.expect_abort(*answer)
        server.go_on.set()
        await is_well(server)


async def test_half_a_pdu_meanwhile_is_the_idle_peers_matter() -> None:
    """Its rest may come when the association is there."""
    async with Asked() as server, await ScriptedPeer.connect(server.port) as peer:
        await server.ask(peer)
        release = A_RELEASE_RQ().encode()
        await peer.send(release[:3])
        server.go_on.set()
        await peer.expect(A_ASSOCIATE_AC)
        await peer.send(release[3:])
        await peer.expect(A_RELEASE_RP)


async def test_it_may_not_take_forever(caplog: pytest.LogCaptureFixture) -> None:
    """Also one that takes no notice of its cancellation."""
    async with Asked(timeouts=Timeouts(admission=0.1)) as server, await ScriptedPeer.connect(server.port) as peer:
        await server.ask(peer)
        assert await peer.receive() == CONGESTED
        assert await server.interrupted.get() == "PEER"
        stubborn = asyncio.Event()

        async def decide(_: AssociationRequest) -> None:
            while not stubborn.is_set():
                try:
                    await stubborn.wait()
                except asyncio.CancelledError:
                    server.interrupted.put_nowait("stubborn")

        server.on_association(decide)
        async with await ScriptedPeer.connect(server.port) as other:
            await other.send(associate_request())
            assert await other.receive() == CONGESTED
            assert await server.interrupted.get() == "stubborn"
        assert not server.associations
        stubborn.set()
    assert "the handler of associations has not decided in 0.1 s (Timeouts.admission)" in caplog.text
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]


async def test_those_that_wait_count_as_associations() -> None:
    """However many wait, no more than the limit are admitted; and beyond it the handler is not asked."""
    async with Asked(maximum_associations_per_host=3) as server, AsyncExitStack() as stack:
        peers = [await stack.enter_async_context(await ScriptedPeer.connect(server.port)) for _ in range(8)]
        for peer in peers:
            await peer.send(associate_request())
        answers = asyncio.as_completed([peer.receive() for peer in peers])
        assert [await next(answers) for _ in range(5)] == [A_ASSOCIATE_RJ(2, 3, 2)] * 5
        assert server.waiting.qsize() == 3
        server.go_on.set()
        assert [type(await answer) for answer in answers] == [A_ASSOCIATE_AC] * 3
        assert len(server.associations) == 3


async def test_a_server_that_stops_rejects_those_that_wait() -> None:
    async with asyncio.timeout(20):
        server = Asked(stop_timeout=30)
        await server.start()
        async with await ScriptedPeer.connect(server.port) as peer:
            await server.ask(peer)
            stopping = asyncio.ensure_future(server.stop())
            assert await peer.receive() == CONGESTED
            assert await server.interrupted.get() == "PEER"
            assert await peer.receive() is None
        await stopping
