"""User identities with pynetdicom in both roles, with DCMTK's sender, and with archives that ignore them."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

import dimse
from dimse import AssociationRejected, ClientOptions, UserIdentityRQ, UserIdentityType
from tests.ports import free_port

from .conftest import PeerFactory
from .processes import PYNETDICOM_PEER, Peer, need, need_pynetdicom, run
from .samples import Samples

IDENTITIES = {
    "username": UserIdentityRQ.username("zoë"),
    "passcode": UserIdentityRQ.username_and_passcode("zoë", "pässword"),
    "kerberos": UserIdentityRQ.kerberos(b"ticket"),
    "saml": UserIdentityRQ.saml(b"<assertion/>"),
    "jwt": UserIdentityRQ.jwt(b"a.b.c"),
}


async def _response(address: str, identity: UserIdentityRQ) -> bytes | None:
    contexts = [(dimse.uids.VERIFICATION, dimse.uids.LITTLE_ENDIAN)]
    async with dimse.connect(address, contexts=contexts, options=ClientOptions(user_identity=identity)) as association:
        await dimse.CEchoSCU(association).echo()
        return association.user_identity_response


async def test_pynetdicom_checks_our_identities_and_we_read_its_responses(tmp_path: Path) -> None:
    port = free_port()
    command = [need_pynetdicom(), str(PYNETDICOM_PEER), "identify", str(port)]
    with Peer(command, port, tmp_path / "peer", title="PYNETDICOM") as peer:
        responses = {name: await _response(peer.address, identity) for name, identity in IDENTITIES.items()}
        with pytest.raises(AssociationRejected) as rejected:
            await _response(peer.address, UserIdentityRQ.username("nobody"))
    seen = [json.loads(line) for line in peer.output().splitlines() if line.startswith("[")]
    assert seen == [
        [1, "zoë", ""],
        [2, "zoë", "pässword"],
        [3, "ticket", ""],
        [4, "<assertion/>", ""],
        [5, "a.b.c", ""],
        [1, "nobody", ""],
    ]
    # pynetdicom confirms only the types whose response has content.
    assert responses == {
        "username": None,
        "passcode": None,
        "kerberos": b"tekcit",
        "saml": b">/noitressa<",
        "jwt": b"c.b.a",
    }
    assert "nobody" not in str(rejected.value)


@pytest.mark.parametrize("name", ["orthanc", "storescp"])
async def test_archives_that_ignore_identities_accept_us_and_do_not_confirm(peer: PeerFactory, name: str) -> None:
    assert {await _response(peer(name).address, identity) for identity in IDENTITIES.values()} == {None}


async def test_pynetdicom_and_dcmtk_name_their_users_to_us(samples: Samples, tmp_path: Path) -> None:
    seen: list[UserIdentityRQ | None] = []
    server = dimse.Server(port=0)

    @server.on_c_echo
    async def echo(request: dimse.EchoRequest) -> dimse.Status:
        seen.append(request.association.user_identity)
        return dimse.Status.SUCCESS

    @server.on_c_store
    async def store(request: dimse.StoreRequest) -> dimse.Status:
        seen.append(request.association.user_identity)
        return dimse.Status.SUCCESS

    for name in ("kerberos", "saml", "jwt"):
        await asyncio.to_thread((tmp_path / name).write_bytes, IDENTITIES[name].primary_field)
    async with server:
        named = [
            json.dumps([each.user_identity_type, each.primary_field.decode(), each.secondary_field.decode()])
            for each in IDENTITIES.values()
        ]
        code, output = await run(need_pynetdicom(), str(PYNETDICOM_PEER), "name", str(server.port), *named)
        assert code == 0, output
        for options in (
            ["-usr", "zoë"],
            ["-usr", "zoë", "-pwd", "pässword"],
            ["-kt", str(tmp_path / "kerberos")],
            ["--saml", str(tmp_path / "saml")],
            ["--jwt", str(tmp_path / "jwt")],
        ):
            end = ["127.0.0.1", str(server.port), str(samples["empty"])]
            code, output = await run(need("storescu"), "-R", *options, *end)
            assert code == 0, output
    expected = [(each.user_identity_type, each.primary_field, each.secondary_field) for each in IDENTITIES.values()]
    found = [
        (UserIdentityType(each.user_identity_type), each.primary_field, each.secondary_field)
        for each in seen
        if each is not None
    ]
    assert found == expected * 2
