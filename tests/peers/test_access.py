"""Our rules of access, and our handler of associations, against DCMTK, pynetdicom and odil as requestors."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from typing import Final

from pydicom.dataset import Dataset

import dimse
from dimse import Access, Operation, Peer, Status, UserIdentityType, VerifiedUser
from dimse.services.given import Source

from .processes import PYNETDICOM_PEER, need, need_odil, need_pynetdicom, run
from .samples import Samples

STUDY: Final = ["-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3"]

ODIL: Final = """
import sys, odil
association = odil.Association()
association.set_peer_host("127.0.0.1")
association.set_peer_port(int(sys.argv[1]))
context = odil.AssociationParameters.PresentationContext
parameters = association.update_parameters()
parameters.set_calling_ae_title("ODIL").set_called_ae_title("DIMSE")
parameters.set_presentation_contexts(
    [context(1, odil.registry.Verification, [odil.registry.ImplicitVRLittleEndian], context.Role.SCU)])
parameters.set_user_identity_to_username_and_password(sys.argv[2], sys.argv[3])
association.associate()
odil.EchoSCU(association).echo()
association.release()
"""


def _archive(access: Access) -> dimse.Server:
    options = dimse.ServerOptions(access=access)
    server = dimse.Server(port=0, options=options, destinations={"WS1": "WS1@127.0.0.1:1", "WS2": "WS2@127.0.0.1:1"})

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> Status:
        async for _ in request.pixels():
            pass
        return Status.SUCCESS

    @server.on_c_find
    async def find(request: dimse.QueryRequest) -> AsyncIterator[Dataset]:
        yield request.identifier

    @server.on_c_move
    async def move(_: dimse.QueryRequest) -> AsyncIterator[Source]:
        for each in list[Source]():
            yield each

    return server


async def test_dcmtk_may_do_what_its_rule_permits(samples: Samples) -> None:
    """It cannot tell a title of another network from one that nobody knows, nor a forbidden destination."""
    access = Access(
        peers=[
            "FULL@127.0.0.0/8",
            "FAR@10.0.0.0/8",
            "BADGE=badge.example",
            Peer(calling_ae_titles=["ECHO"], operations={Operation.ECHO}),
            Peer(calling_ae_titles=["MOVE"], operations={Operation.MOVE}, move_destinations=["WS1"]),
        ]
    )
    async with _archive(access) as server:
        port = str(server.port)

        async def of(program: str, title: str, *more: str) -> tuple[int, str]:
            code, output = await run(need(program), "-v", "-aet", title, *more)
            return code, output.replace(title, "TITLE")

        file, find = ["127.0.0.1", port, str(samples["icon"])], ["-S", *STUDY, "127.0.0.1", port]
        for program, more in (("echoscu", ["127.0.0.1", port]), ("storescu", file), ("findscu", find)):
            outcomes = {title: await of(program, title, *more) for title in ("FULL", "FAR", "BADGE", "NONE")}
            assert outcomes["FULL"][0] == 0, outcomes
            assert outcomes["NONE"][0] != 0
            assert "Calling AE Title Not Recognized" in outcomes["NONE"][1]
            assert outcomes["FAR"] == outcomes["BADGE"] == outcomes["NONE"]
        assert (await of("echoscu", "ECHO", "127.0.0.1", port))[0] == 0
        for program, more in (("storescu", file), ("findscu", find)):
            code, output = await of(program, "ECHO", *more)
            assert code != 0
            assert "No Acceptable Presentation Contexts" in output
        moves = [
            await of("movescu", "MOVE", "-S", "-aem", title, *STUDY, "127.0.0.1", port) for title in ("WS1", "WS2")
        ]
        assert [output.count("MoveDestinationUnknown") > 0 for _, output in moves] == [False, True]


def _verifying(passcode: bytes, response: bytes | None) -> dimse.Server:
    server = _archive(Access())

    @server.on_association
    async def verify(request: dimse.AssociationRequest) -> VerifiedUser | None:
        identity = request.user_identity
        if identity is None:
            raise dimse.RejectAssociation("no user")
        if (
            identity.user_identity_type == UserIdentityType.USERNAME_AND_PASSCODE
            and identity.secondary_field != passcode
        ):
            raise dimse.RejectAssociation("wrong passcode")
        name = identity.primary_field.decode()
        return None if response is None or name == "guest" else VerifiedUser(name, response)

    return server


async def test_we_verify_the_users_of_dcmtk(samples: Samples) -> None:
    """It insists on the positive response that it requests, which only a verified user gets."""
    user = ["-v", "-usr", "zoë", "-pwd", "pässword"]
    for passcode, response, options, succeeds in (
        ("pässword", b"", user, True),
        ("pässword", b"", [*user, "-rsp"], True),
        ("pässword", None, user, True),
        ("pässword", None, [*user, "-rsp"], False),
        ("another", b"", user, False),
        ("pässword", b"", ["-v"], False),
    ):
        async with _verifying(passcode.encode(), response) as server:
            end = ["127.0.0.1", str(server.port), str(samples["icon"])]
            code, output = await run(need("storescu"), *options, *end)
        assert (code == 0) == succeeds, (passcode, response, options, output)


async def test_we_verify_the_users_of_pynetdicom_and_it_reads_our_responses() -> None:
    """For usernames too, whose response is empty in the standard; and one whom nobody has verified."""
    async with _verifying(b"right", b"ticket") as server:
        users = [*([kind, "ada", "right"] for kind in UserIdentityType), [2, "guest", "right"], [2, "ada", "wrong"]]
        command = (need_pynetdicom(), str(PYNETDICOM_PEER), "name", str(server.port))
        code, output = await run(*command, *map(json.dumps, users))
    assert output.splitlines() == ["b'ticket'"] * 5 + ["None", "no association"]
    assert code == 1


async def test_we_verify_the_users_of_odil() -> None:
    async with _verifying(b"right", b"") as server:
        for passcode, succeeds in (("right", True), ("wrong", False)):
            code, output = await run(need_odil(), "-c", ODIL, str(server.port), "ada", passcode)
            assert (code == 0) == succeeds, output
