"""Identifiers that are made to be slow to read: refused within limits, and nothing else is harmed."""

from __future__ import annotations

import asyncio
import struct
import threading
from collections.abc import AsyncIterator

import pytest
from pydicom.dataset import Dataset
from tests.sample_objects import IMPLICIT, VERIFICATION
from tests.services.test_find_scp import (
    FIND,
    FIND_RQ,
    check_usable,
    dataset,
    outcome,
    peer_of,
    round_trip,
    serving,
    two,
)

import dimse
from dimse import QueryRequest, Status
from dimse.dataset import codec
from dimse.dataset.codec import decode
from dimse.dataset.threads import AT_ONCE, beside_the_loop
from dimse.testing import ScriptedPeer, listening, message_pdvs, response

LEVEL = struct.pack("<HHL", 8, 0x52, 6) + b"STUDY "
EMPTY_ITEM = struct.pack("<HHL", 0xFFFE, 0xE000, 0)


@pytest.mark.parametrize(
    ("hostile", "why"),
    [
        (
            b"".join(struct.pack("<HHL", 9 + 2 * (n >> 16), n & 0xFFFF, 0) for n in range(0x10, 500_000)),
            "20000 elements",
        ),
        (struct.pack("<HHL", 0x7FE0, 0x10, 0) * 64_000, "appears twice"),
        (struct.pack("<HHL", 8, 0x1199, 8 * 64_000) + EMPTY_ITEM * 64_000, "5000 items"),
        (struct.pack("<HHLHHL", 8, 0x1199, 0xFFFFFFFF, 0xFFFE, 0xE000, 0xFFFFFFFF) * 10_000, "nested deeper than 64"),
        (struct.pack("<HHL", 0x10, 0x20, 300_000) + b"\\" * 300_000, "262144 values"),
        (struct.pack("<HHL", 0x10, 0x10, 300_000) + b"\x1b(B" * 100_000, "262144 bytes with code extensions"),
    ],
    ids=["elements", "Pixel Data", "items", "depth", "values", "escape sequences"],
)
async def test_an_identifier_that_is_made_to_be_slow(hostile: bytes, why: str) -> None:
    """It is refused before pydicom sees it, and the association goes on."""
    async with serving(two) as server, peer_of(server, (FIND, [IMPLICIT]), (VERIFICATION, [IMPLICIT])) as peer:
        await peer.send(message_pdvs(FIND_RQ, LEVEL + hostile))
        matches, final = await outcome(peer)
        await check_usable(peer)
    assert (matches, final.status) == ([], Status.CANNOT_UNDERSTAND)
    assert why in (final.error_comment or "")


async def test_many_uids_are_no_bomb() -> None:
    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        yield dataset(NumberOfStudyRelatedInstances=len(request.identifier.StudyInstanceUID))

    uids = b"1.2.3.4\\" * 99_999 + b"1.2.3.45"
    identifier = LEVEL + struct.pack("<HHL", 0x20, 0xD, len(uids)) + uids
    async with serving(handler) as server, peer_of(server, (FIND, [IMPLICIT])) as peer:
        await peer.send(message_pdvs(FIND_RQ, identifier))
        received = await peer.receive_message()
        await peer.receive_message()
        await peer.release()
    assert decode(received.data or b"", IMPLICIT).NumberOfStudyRelatedInstances == 100_000


async def test_nothing_is_decoded_for_a_peer_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    """It has to wait for its turn, and is gone before."""
    decoded, asked, turn = list[object](), list[QueryRequest](), threading.Event()
    monkeypatch.setattr(codec, "read_dataset", lambda *arguments: decoded.append(arguments))

    async def handler(request: QueryRequest) -> AsyncIterator[Dataset]:
        asked.append(request)
        yield dataset()

    busy = [asyncio.ensure_future(beside_the_loop(turn.wait)) for _ in range(AT_ONCE)]
    async with serving(handler) as server:
        async with peer_of(server, (FIND, [IMPLICIT])) as peer:
            large = struct.pack("<HHL", 0x20, 0xD, 100_000) + b"1.2\\" * 25_000
            await peer.send(message_pdvs(FIND_RQ, LEVEL + large))
            for _ in range(20):
                await round_trip(server)
        for _ in range(20):
            await round_trip(server)
        turn.set()
        await asyncio.gather(*busy)
        await beside_the_loop(lambda: None)
    assert (decoded, asked) == ([], [])


async def test_a_match_that_is_made_to_be_slow_harms_no_other() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[IMPLICIT])
        received = await peer.receive_message()
        for match in (LEVEL + struct.pack("<HHL", 0x7FE0, 0x10, 0) * 100_000, LEVEL):
            await peer.send(response(received, 0xFF00, match))
        await peer.send(response(received))
        await peer.answer_release()

    async with listening(script) as address, dimse.connect(address) as association:
        results = dimse.CFindSCU(association).find(dimse.Query.studies(), raise_failures=False)
        assert [match.QueryRetrieveLevel async for match in results] == ["STUDY"]
    (failure,) = results.failures
    assert str(failure) == f"{address}: the identifier of a match cannot be read: (7FE0,0010) appears twice"


async def test_a_list_of_failures_that_fills_an_identifier() -> None:
    """All of them are named, whatever their names; those that do not fit are counted."""
    listed = [f"1.2.{number:060}" for number in range(200_000)] + ["1.2.[3]"]
    value = "\\".join(listed).encode() + b" "
    identifier = struct.pack("<HHL", 8, 0x58, len(value)) + value

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[IMPLICIT])
        received = await peer.receive_message()
        await peer.send(response(received, 0xB000, identifier, number_of_failed_suboperations=0xFFFF))
        await peer.answer_release()

    async with listening(script) as address, dimse.connect(address) as association:
        study = dimse.Query.studies(StudyInstanceUID="1.2")
        results = dimse.CMoveSCU(association).move(study, "WS1", raise_failures=False)
        assert [each.failed async for each in results] == [0xFFFF]
    assert [getattr(failure, "sop_instance_uid", None) for failure in results.failures] == listed
    assert str(results.failures[-1]).startswith("1.2.[3]: not retrieved")


STRANGE = struct.pack("<HHL", 8, 5, 8) + b"NONSENSE"
"""A character set that pydicom warns of, with its name."""


async def test_a_warning_of_pydicom_as_an_error_harms_no_other(caplog: pytest.LogCaptureFixture) -> None:
    """In a program that makes warnings errors, as these tests are one: the peer's identifier is refused, its match
    skipped, and the value that pydicom quotes is in no log or response."""

    async def strange(_: QueryRequest) -> AsyncIterator[Dataset]:
        yield dataset()

    name = STRANGE + LEVEL + struct.pack("<HHL", 0x10, 0x10, 4) + b"M\xfcl "
    async with serving(strange) as server, peer_of(server, (FIND, [IMPLICIT]), (VERIFICATION, [IMPLICIT])) as peer:
        await peer.send(message_pdvs(FIND_RQ, name))
        matches, final = await outcome(peer)
        await check_usable(peer)
    assert (matches, final.status) == ([], Status.CANNOT_UNDERSTAND)

    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(syntaxes=[IMPLICIT])
        received = await peer.receive_message()
        for match in (name, LEVEL):
            await peer.send(response(received, 0xFF00, match))
        await peer.send(response(received))
        await peer.answer_release()

    async with listening(script) as address, dimse.connect(address) as association:
        results = dimse.CFindSCU(association).find(dimse.Query.studies(), raise_failures=False)
        assert [match.QueryRetrieveLevel async for match in results] == ["STUDY"]
    assert [str(each) for each in results.failures] == [
        f"{address}: the identifier of a match cannot be read: the data set cannot be decoded: UserWarning"
    ]
    logged = [record.getMessage() for record in caplog.records if record.name.startswith("dimse")]
    assert logged
    assert "NONSENSE" not in f"{final.error_comment}{logged}"
