"""Who is admitted, how many, and for what; a peer cannot tell what it may not do from what is not there."""

from __future__ import annotations

import logging
import ssl
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from tests.certificate import CERTIFICATE, KEY
from tests.sample_objects import CT, EXPLICIT, IMPLICIT, MR, VERIFICATION, encoded, instance

from dimse import (
    Access,
    AssociationRejected,
    AssociationRequest,
    CEchoSCU,
    CFindSCU,
    ClientOptions,
    CStoreSCU,
    NormalizedRequest,
    Operation,
    Peer,
    PresentationContextError,
    ProposedContext,
    Query,
    QueryFeatures,
    QueryRequest,
    Server,
    ServerOptions,
    Status,
    StatusCategory,
    StorageFeatures,
    StoreRequest,
    TLSOptions,
    connect,
    send,
    uids,
)
from dimse.dataset.codec import encode
from dimse.messages.message import (
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    N_DELETE_RQ,
    Request,
    Response,
)
from dimse.services.given import Source
from dimse.testing import ScriptedPeer, associate_request, echo_request, message_pdvs, store_request
from dimse.upper_layer.items import RoleSelection, SOPClassExtendedNegotiation
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RJ, A_ASSOCIATE_RQ

FIND, GET, MOVE = uids.STUDY_ROOT_FIND, uids.STUDY_ROOT_GET, uids.STUDY_ROOT_MOVE
COMMITMENT = uids.STORAGE_COMMITMENT
NOT_RECOGNIZED = A_ASSOCIATE_RJ(1, 1, 3)
IDENTIFIER = Dataset()
IDENTIFIER.QueryRetrieveLevel = "STUDY"
IDENTIFIER.StudyInstanceUID = "1.2.3"


def archive(access: Access, **options: Any) -> Server:
    """A server with all services, which give nothing and keep nothing."""
    options["access"] = access
    server = Server("ARCHIVE", port=0, options=ServerOptions(**options), destinations={"WS1": "127.0.0.1:1"})

    @server.on_c_store
    async def store(_: StoreRequest) -> Status:
        return Status.SUCCESS

    @server.on_c_find
    async def find(_: QueryRequest) -> AsyncIterator[Dataset]:
        for match in list[Dataset]():
            yield match

    @server.on_c_get
    @server.on_c_move
    async def bring(_: QueryRequest) -> AsyncIterator[Source]:
        for each in list[Source]():
            yield each

    @server.on_n_delete(COMMITMENT)
    async def delete(_: NormalizedRequest) -> Status:
        return Status.SUCCESS

    return server


async def answer_to(server: Server, ask: A_ASSOCIATE_RQ, host: str = "127.0.0.1") -> A_ASSOCIATE_AC | A_ASSOCIATE_RJ:
    async with await ScriptedPeer.connect(server.port, host) as peer:
        await peer.send(ask)
        answer = await peer.receive()
    assert isinstance(answer, A_ASSOCIATE_AC | A_ASSOCIATE_RJ)
    return answer


async def final_response(peer: ScriptedPeer) -> Response:
    while True:
        message = (await peer.receive_message()).message
        assert isinstance(message, Response)
        if message.status.category is not StatusCategory.PENDING:
            return message


# Who


async def test_whatever_does_not_fit_the_answer_is_the_same(caplog: pytest.LogCaptureFixture) -> None:
    """Also where the called AE title is wrong: who is not admitted does not learn which are right."""
    access = Access(
        peers=["CT1@127.0.0.0/8", "CT2@10.0.0.0/8", "CT3=ct3.example", Peer(networks=["10.1.0.0/16"])],
        called_ae_titles=["ARCHIVE", "OTHER"],
    )
    caplog.set_level("INFO", logger="dimse.network")
    admitted = "association from 'CT1' accepted, 2 of 2 contexts, rule CT1@127.0.0.0/8"
    unknown = "association from 'CT4' to 'NONE' rejected: rule @10.1.0.0/16 does not have its network"
    cases: list[tuple[str, str, A_ASSOCIATE_RJ | None, str]] = [
        ("CT1", "ARCHIVE", None, admitted),
        (" CT1", "OTHER", None, admitted),
        ("CT1", "NONE", A_ASSOCIATE_RJ(1, 1, 7), "'CT1' to 'NONE' rejected: its called AE title is not one of ours"),
        (
            "CT2",
            "ARCHIVE",
            NOT_RECOGNIZED,
            "'CT2' to 'ARCHIVE' rejected: rule CT2@10.0.0.0/8 does not have its network",
        ),
        ("CT3", "ARCHIVE", NOT_RECOGNIZED, "rejected: rule CT3=ct3.example does not have its certificate"),
        ("CT4", "NONE", NOT_RECOGNIZED, unknown),
        ("\xc4\x1b[2J", "\xe9", NOT_RECOGNIZED, r"association from '\xc4\x1b[2J' to '\xe9' rejected"),
    ]
    wrong = []
    async with archive(access) as server:
        for calling, called, expected, told in cases:
            caplog.clear()
            answer = await answer_to(server, associate_request(calling=calling, called=called))
            as_expected = isinstance(answer, A_ASSOCIATE_AC) if expected is None else answer == expected
            if not as_expected or told not in caplog.text or not caplog.text.isascii():
                wrong.append((calling, called, answer, caplog.text))
    assert not wrong


async def test_a_peer_of_another_network(caplog: pytest.LogCaptureFixture) -> None:
    """The same peer by IPv4 and by IPv6; the host of the server has both."""
    caplog.set_level("INFO", logger="dimse.network")
    async with archive(Access(peers=["@::1"])) as server:
        assert isinstance(await answer_to(server, associate_request(), "::1"), A_ASSOCIATE_AC)
        assert await answer_to(server, associate_request()) == NOT_RECOGNIZED
    assert "rejected: rule @::1 does not have its network" in caplog.text


async def test_the_network_of_a_peer_behind_a_proxy() -> None:
    """It is that of the peer, not of the proxy, whose network no rule has."""
    options = {"proxy_networks": ["127.0.0.1"]}
    answers = []
    async with archive(Access(peers=["@10.1.0.0/16"]), **options) as server:
        for header in ("TCP4 10.1.2.3 10.0.0.1", "TCP6 ::ffff:10.1.2.3 ::1", "TCP4 10.2.0.1 10.0.0.1", "TCP6 ::1 ::1"):
            async with await ScriptedPeer.connect(server.port) as peer:
                await peer.send(f"PROXY {header} 40000 104\r\n".encode(), associate_request())
                answers.append(await peer.receive())
    assert [type(answer) for answer in answers[:2]] == [A_ASSOCIATE_AC] * 2
    assert answers[2:] == [NOT_RECOGNIZED] * 2


async def test_the_certificate_says_who_it_is(tmp_path: Path) -> None:
    """A title is bound to the certificate of its device; others cannot use it, nor the device another one."""
    (tmp_path / "cert.pem").write_text(CERTIFICATE)
    (tmp_path / "key.pem").write_text(KEY)
    server_side = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=tmp_path / "cert.pem")
    server_side.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    server_side.verify_mode = ssl.CERT_OPTIONAL
    anonymous = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    known = ssl.create_default_context(cafile=tmp_path / "cert.pem")
    known.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    access = Access(peers=["CT1=LOCALHOST", "CT2=ct2.example"])
    async with archive(access, tls=server_side) as server:
        results = list[int]()
        for title, context in (("CT1", known), ("CT1", anonymous), ("CT2", known), ("CT3", known)):
            options = ClientOptions(calling_ae_title=title, tls=context)
            try:
                async with connect(f"ARCHIVE@localhost:{server.port}", options=options) as association:
                    results.append((await CEchoSCU(association).echo()).status)
            except AssociationRejected as error:
                results.append(error.reason)
    assert results == [0, 3, 3, 3]


async def test_an_open_port_is_warned_about(caplog: pytest.LogCaptureFixture, tmp_path: Path) -> None:
    """Once per server, beyond the loopback address, if nothing is set."""
    (tmp_path / "both.pem").write_text(CERTIFICATE + KEY)
    one_way, mutual = (
        TLSOptions(certificate=tmp_path / "both.pem"),
        TLSOptions(certificate=tmp_path / "both.pem", ca=tmp_path / "both.pem"),
    )
    cases: list[tuple[str, dict[str, Any], bool, int]] = [
        ("0.0.0.0", {}, False, 1),  # noqa: S104 - to be warned about
        ("::", {}, False, 1),
        ("localhost", {}, False, 0),
        ("::1", {}, False, 0),
        ("::", {"access": Access(peers=["CT1"])}, False, 0),
        ("::", {"access": Access(peers=[Peer()])}, False, 0),
        ("::", {"access": Access(called_ae_titles=["ARCHIVE"])}, False, 0),
        ("::", {"tls": one_way}, False, 1),
        ("::", {"tls": mutual}, False, 0),
        ("::", {}, True, 0),
    ]
    wrong = []
    for host, options, handles, expected in cases:
        caplog.clear()
        server = Server("ARCHIVE", host=host, port=0, options=ServerOptions(**options))
        if handles:
            server.on_association(_admits)
        async with server:
            pass
        told = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
        if len(told) != expected or not all("every peer that reaches it may associate" in text for text in told):
            wrong.append((host, options, handles, told))
    assert not wrong


async def _admits(_: AssociationRequest) -> None: ...


# How many


@asynccontextmanager
async def held(server: Server, *titles: str) -> AsyncIterator[list[object]]:
    """Keep an association from each of `titles` as long as the block; yields the answers."""
    async with AsyncExitStack() as stack:
        answers: list[object] = []
        for title in titles:
            peer = await stack.enter_async_context(await ScriptedPeer.connect(server.port))
            await peer.send(associate_request(calling=title))
            answers.append(await peer.receive())
        yield ["" if isinstance(each, A_ASSOCIATE_AC) else each for each in answers]


async def test_a_rule_with_a_maximum_of_its_own(caplog: pytest.LogCaptureFixture) -> None:
    """It replaces the limits per host and per title, up and down, and leaves them to the others."""
    caplog.set_level("INFO", logger="dimse.network")
    gateway, narrow = (
        Peer(calling_ae_titles=[title], maximum_associations=most) for title, most in (("GW", 3), ("ONE", 1))
    )
    access = Access(peers=[gateway, narrow, Peer()])
    limits = {"maximum_associations": 7, "maximum_associations_per_host": 2, "maximum_associations_per_title": 1}
    exceeded = A_ASSOCIATE_RJ(2, 3, 2)
    async with archive(access, **limits) as server:
        asked = ["GW", "GW", "GW", "GW", "ONE", "ONE", "A", "A", "B", "C"]
        async with held(server, *asked) as answers:
            assert answers == ["", "", "", exceeded, "", exceeded, "", exceeded, "", exceeded]
            told = [record.getMessage() for record in caplog.records if "rejected" in record.getMessage()]
            assert [text.partition("rejected: ")[2] for text in told] == [
                "rule GW has 3 already (maximum_associations)",
                "rule ONE has 1 already (maximum_associations)",
                "its calling AE title has 1 already (maximum_associations_per_title)",
                "its host has 2 already (maximum_associations_per_host)",
            ]
            async with (
                archive(access, **limits | {"maximum_associations": 1}) as small,
                held(small, "GW", "GW") as all_,
            ):
                assert all_ == ["", exceeded]


# For what

CONTEXTS = [(uid, [EXPLICIT, IMPLICIT]) for uid in (VERIFICATION, CT, MR, FIND, GET, MOVE, COMMITMENT)]


def asking_for_all() -> A_ASSOCIATE_RQ:
    """Proposes all services, and to be SCP of CT and SCU and SCP of MR, as for C-GET."""
    ask = associate_request(*CONTEXTS)
    roles = (RoleSelection(CT, False, True), RoleSelection(MR, True, True))
    return replace(ask, user_information=replace(ask.user_information, role_selections=roles))


async def test_contexts_and_roles_follow_from_what_a_peer_may_do() -> None:
    """As if the server had handlers for that alone; which contexts are accepted, and the roles of CT and MR."""
    names = ["echo", "ct", "mr", "find", "get", "move", "commitment"]
    table: list[tuple[set[Operation], set[str], list[tuple[bool, bool]]]] = [
        (set(Operation), set(names), [(False, True), (True, True)]),
        ({Operation.ECHO}, {"echo"}, []),
        ({Operation.STORE}, {"ct", "mr"}, [(False, False), (True, False)]),
        ({Operation.FIND}, {"find"}, []),
        ({Operation.GET}, {"ct", "mr", "get"}, [(False, True), (False, True)]),
        ({Operation.MOVE}, {"move"}, []),
        ({Operation.NORMALIZED}, {"commitment"}, []),
        ({Operation.STORE, Operation.GET}, {"ct", "mr", "get"}, [(False, True), (True, True)]),
        (set(), set(), []),
    ]
    wrong = []
    for operations, accepted, roles in table:
        async with archive(Access(peers=[Peer(operations=operations)])) as server:
            answer = await answer_to(server, asking_for_all())
        assert isinstance(answer, A_ASSOCIATE_AC)
        results = dict(zip(names, (context.result for context in answer.presentation_contexts), strict=True))
        answered = [(role.scu_role, role.scp_role) for role in answer.user_information.role_selections]
        # 3: abstract syntax not supported, as for a SOP class that nobody knows
        if results != {name: 0 if name in accepted else 3 for name in names} or answered != roles:
            wrong.append((operations, results, answered))
    assert not wrong


async def test_more_roles_than_an_answer_has_room_for() -> None:
    """The item of 64 KiB is full of them; the answer to each would not fit into one."""
    ask = associate_request()
    roles = (RoleSelection(CT, True, True),) * 1985
    ask = replace(ask, user_information=replace(ask.user_information, role_selections=roles))
    async with archive(Access()) as server:
        answer = await answer_to(server, ask)
    assert isinstance(answer, A_ASSOCIATE_AC)
    assert answer.user_information.role_selections == roles[:1]


REQUESTS: dict[Operation, tuple[Request, bytes | None]] = {
    Operation.ECHO: (echo_request(), None),
    Operation.STORE: (store_request(), encoded(instance())),
    Operation.FIND: (C_FIND_RQ(message_id=1, affected_sop_class_uid=FIND), encode(IDENTIFIER, EXPLICIT)),
    Operation.GET: (C_GET_RQ(message_id=1, affected_sop_class_uid=GET), encode(IDENTIFIER, EXPLICIT)),
    Operation.MOVE: (
        C_MOVE_RQ(message_id=1, affected_sop_class_uid=MOVE, move_destination="WS1"),
        encode(IDENTIFIER, EXPLICIT),
    ),
    Operation.NORMALIZED: (
        N_DELETE_RQ(message_id=1, requested_sop_class_uid=COMMITMENT, requested_sop_instance_uid="1.2.3"),
        None,
    ),
}
CONTEXT_OF = dict(zip(Operation, (1, 3, 7, 9, 11, 13), strict=True))


async def test_a_forbidden_operation_is_refused_on_any_context(caplog: pytest.LogCaptureFixture) -> None:
    """Each operation, on each context that the peer has, is answered as by a server without a handler for it.

    A storage context is there for C-GET too, and a lenient server accepts an operation on another one's context.
    """
    caplog.set_level("INFO", logger="dimse.network")
    wrong = []
    for permitted in Operation:
        async with (
            archive(Access(peers=[Peer(operations={permitted})])) as server,
            await ScriptedPeer.connect(server.port) as peer,
        ):
            answer = await peer.associate(asking_for_all())
            contexts = [each.presentation_context_id for each in answer.presentation_contexts if each.result == 0]
            for operation, (request, data) in REQUESTS.items():
                for context in contexts if operation is not permitted else [CONTEXT_OF[permitted]]:
                    await peer.send(message_pdvs(request, data, context=context))
                    response = await final_response(peer)
                    expected = Status.SUCCESS if operation is permitted else Status.UNRECOGNIZED_OPERATION
                    if (response.status, response.error_comment) != (expected, expected.comment):
                        wrong.append((permitted, operation, context, response.status, response.error_comment))
            await peer.release()
    assert not wrong
    assert "C-STORE-RQ refused: rule (any) does not permit it" in caplog.text


async def test_a_forbidden_destination_is_like_an_unknown_one(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="dimse.query_retrieve")
    access = Access(peers=[Peer(calling_ae_titles=["PEER"], move_destinations=["WS1", "WS3"])])
    server = archive(access)
    server.destinations = {"WS1": "127.0.0.1:1", "WS2": "127.0.0.1:1"}
    server.on_c_move(_nothing)
    async with server, await ScriptedPeer.connect(server.port) as peer:
        await peer.associate(asking_for_all())
        answers = []
        for title in ("WS1", "WS2", "WS3", "WS4", "\xc4"):
            request = C_MOVE_RQ(message_id=1, affected_sop_class_uid=MOVE, move_destination=title)
            await peer.send(message_pdvs(request, encode(IDENTIFIER, EXPLICIT), context=11))
            response = await final_response(peer)
            answers.append((response.status, (response.error_comment or "").replace(title, "WSx")))
        await peer.release()
    unknown = (Status.MOVE_DESTINATION_UNKNOWN, "no address is known for 'WSx'")
    assert answers[:4] == [(Status.SUCCESS, ""), unknown, unknown, unknown]
    assert answers[4][0] == Status.MOVE_DESTINATION_UNKNOWN
    assert "C-MOVE to 'WS2' refused: rule PEER does not permit this destination" in caplog.text
    assert "C-MOVE to 'WS3' refused" not in caplog.text


async def _nothing(_: QueryRequest) -> AsyncIterator[Source]:
    for each in list[Source]():
        yield each


async def test_our_own_requestors_are_told() -> None:
    """`dimse` as requestor of what the acceptor does not permit: as of any SOP class that it does not support."""
    async with archive(Access(peers=[Peer(operations={Operation.ECHO, Operation.STORE})])) as server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        assert (await send(address, instance())).stored
        async with connect(address, contexts=[(FIND, [EXPLICIT])]) as association:
            with pytest.raises(PresentationContextError):
                await anext(aiter(CFindSCU(association).find(Query.studies())))


async def test_transfer_syntaxes_are_limited_for_what_is_stored_alone() -> None:
    find = uids.STUDY_ROOT_FIND
    ask = [(CT, [IMPLICIT]), (CT, [EXPLICIT]), (find, [IMPLICIT])]
    server = archive(Access(), transfer_syntaxes=[EXPLICIT])
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=ask) as association:
        accepted = {(each.abstract_syntax, each.transfer_syntax) for each in association.contexts.values()}
    assert accepted == {(CT, EXPLICIT), (find, IMPLICIT)}


async def test_the_preferred_transfer_syntax_is_chosen() -> None:
    ask = [(CT, [EXPLICIT, IMPLICIT])]
    server = archive(Access(), prefer=[IMPLICIT])
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=ask) as association:
        assert [each.transfer_syntax for each in association.contexts.values()] == [IMPLICIT]


# What is answered to extended negotiation

NEW = "1.2.840.10008.5.1.4.99.1"
"""A storage class that no dictionary has yet."""
EVERYTHING = QueryFeatures(relational=True, fuzzy_names=True, timezone=True, enhanced_multiframe=True)


async def test_an_acceptor_answers_what_its_handlers_support() -> None:
    server = archive(Access(), storage_features=StorageFeatures(level=2, coerces=False))

    @server.on_c_find(features=QueryFeatures(relational=True, fuzzy_names=True, multiple_values=True))
    async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
        found = Dataset()
        found.StudyDescription = " ".join(request.features.names)
        yield found

    contexts = [
        *(ProposedContext(uid, [IMPLICIT], features=EVERYTHING) for uid in (FIND, GET, MOVE)),
        ProposedContext(CT, [IMPLICIT], features=StorageFeatures()),
    ]
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=contexts) as association:
        (accepted,) = server.associations
        for side in (association, accepted):
            assert side.query_features(FIND) == QueryFeatures(relational=True, fuzzy_names=True)
            assert side.query_features(GET) == side.query_features(MOVE) == QueryFeatures()
            assert side.query_features(uids.PATIENT_ROOT_FIND) == QueryFeatures()  # not proposed
        assert association.storage_features(CT) == StorageFeatures(level=2, coerces=False)
        assert accepted.storage_features(CT) == StorageFeatures()
        assert association.storage_features(MR) is None
        async with CFindSCU(association).find(Query.studies()) as matches:
            assert [match.StudyDescription async for match in matches] == ["relational fuzzy_names"]


@pytest.mark.parametrize(
    ("information", "answer"),
    [
        (b"\1", b"\1"),
        (b"\1\1\1", b"\1\0\1"),
        (b"\1\1\1\1\1\1\1\1\1", b"\1\0\1\0\0\0\0"),
        (b"\xff\1\1", b"\0\0\1"),
        (b"", b""),
    ],
)
async def test_odd_items_are_answered_in_as_many_bytes(information: bytes, answer: bytes) -> None:
    server = archive(Access())
    server.on_c_find(features=QueryFeatures(relational=True, fuzzy_names=True))(nothing)
    item = SOPClassExtendedNegotiation(FIND, information)
    ask = associate_request((FIND, [IMPLICIT]))
    information_of = replace(ask.user_information, sop_class_extended=(item, replace(item, sop_class_uid=VERIFICATION)))
    async with server:
        accepted = await answer_to(server, replace(ask, user_information=information_of))
    assert isinstance(accepted, A_ASSOCIATE_AC)
    assert accepted.user_information.sop_class_extended == (SOPClassExtendedNegotiation(FIND, answer),)


async def nothing(_: QueryRequest) -> AsyncIterator[Dataset]:
    for match in list[Dataset]():
        yield match


@pytest.mark.parametrize(
    ("operations", "syntaxes", "is_stored"),
    [
        ({Operation.STORE}, None, True),
        ({Operation.FIND}, None, False),
        ({Operation.STORE}, [EXPLICIT], False),
    ],
)
async def test_a_declared_storage_class_is_accepted_within_the_policy(
    operations: set[Operation], syntaxes: list[str] | None, is_stored: bool
) -> None:
    """Where C-STORE is permitted, and in the transfer syntaxes that are accepted for all instances."""
    server = archive(Access(peers=[Peer(operations=operations)]), transfer_syntaxes=syntaxes)
    context = ProposedContext(NEW, [IMPLICIT], general=[CT])
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[context, (FIND, [IMPLICIT])]) as to:
        if is_stored:
            await CStoreSCU(to).send(instance(sop_class=NEW))
        else:
            with pytest.raises(PresentationContextError, match=NEW):
                to.context_for(NEW)


async def test_an_unknown_class_that_is_not_declared_is_not_accepted() -> None:
    server = archive(Access())
    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=[(NEW, [IMPLICIT])]) as association:
        with pytest.raises(PresentationContextError, match=NEW):
            association.context_for(NEW)
