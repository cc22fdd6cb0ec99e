"""The receiver of a retrieval by C-MOVE takes the missing instances from the archive, and nothing from strangers."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.sample_objects import CT, EXPLICIT, encoded
from tests.services.member_archive import ADA, STUDY, Archive, files_in, member, retrieve, uids_of, where

from dimse import QueryRequest, RetryPolicy, Status, uids
from dimse.messages.message import C_STORE_RQ
from dimse.services.given import Source
from dimse.services.receiving import default_host
from dimse.testing import ScriptedPeer
from dimse.testing.wire import associate_request, message_pdvs
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ

ARCHIVE, STRANGER = "127.0.0.1", "127.0.0.2"
UNLISTED = "1.9.9.9"

Originator = tuple[str, int] | None


async def _store(archive: Archive, host: str, uid: str, originator: Originator) -> int:
    """The status that the receiver answers to an instance from `host`."""
    title, number = originator or (None, None)
    port = int(archive.receiver.rpartition(":")[2])
    streams = await asyncio.open_connection("127.0.0.1", port, local_addr=(host, 0))
    async with ScriptedPeer(*streams) as peer:
        await peer.associate(associate_request((CT, [EXPLICIT]), called="WS1"))
        command = C_STORE_RQ(
            message_id=9,
            affected_sop_class_uid=CT,
            affected_sop_instance_uid=uid,
            move_originator_application_entity_title=title,
            move_originator_message_id=number,
        )
        await peer.send(message_pdvs(command, encoded(member(uid))))
        answer = await peer.receive_message()
        await peer.release()
    status: int = answer.message.status  # type: ignore[attr-defined]
    return status


async def test_only_instances_of_the_retrieval_are_taken(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    statuses: dict[str, int] = {}
    async with Archive(move=True) as archive:

        @archive.on_c_move
        async def move(request: QueryRequest) -> AsyncIterator[Source]:
            asker, number = request.association.calling_ae_title, request.command.message_id
            ours, other, missing = (asker, number), (asker, number + 1), ADA[0]
            cases: list[tuple[str, str, str, Originator]] = [
                ("unlisted, from the archive", ARCHIVE, UNLISTED, ours),
                ("unlisted, from a stranger", STRANGER, UNLISTED, ours),
                ("a stranger that names nobody", STRANGER, missing, None),
                ("a stranger that names itself", STRANGER, missing, ("STRANGER", number)),
                ("a stranger that names another C-MOVE", STRANGER, missing, other),
                ("missing, from the archive", ARCHIVE, missing, None),
                ("missing, from the archive, another C-MOVE", ARCHIVE, ADA[1], other),
                ("missing, from elsewhere, of this C-MOVE", STRANGER, ADA[2], ours),
                ("again, from the archive", ARCHIVE, missing, ours),
            ]
            for name, host, uid, originator in cases:
                statuses[name] = await _store(archive, host, uid, originator)
            statuses["another called title"] = await _called("OTHER")
            for nothing in list[Source]():
                yield nothing

        async def _called(title: str) -> int:
            port = int(archive.receiver.rpartition(":")[2])
            async with await ScriptedPeer.connect(port) as peer:
                await peer.send(associate_request((uids.VERIFICATION, [EXPLICIT]), called=title))
                rejection = await peer.expect(A_ASSOCIATE_RJ)
            return rejection.reason

        caplog.set_level(logging.WARNING)
        report = await retrieve(archive, STUDY, tmp_path, retry=RetryPolicy(retries=0), raise_failures=False)
    refused = int(Status.NOT_AUTHORIZED)
    assert statuses == {
        "unlisted, from the archive": refused,
        "unlisted, from a stranger": refused,
        "a stranger that names nobody": refused,
        "a stranger that names itself": refused,
        "a stranger that names another C-MOVE": refused,
        "missing, from the archive": 0,
        "missing, from the archive, another C-MOVE": 0,
        "missing, from elsewhere, of this C-MOVE": 0,
        "again, from the archive": refused,
        "another called title": 7,
    }
    assert uids_of(report) == ADA[:3]
    assert files_in(tmp_path) == where(*ADA[:3])
    told = [record.getMessage().partition(": ")[2] for record in caplog.records]
    not_missing = "C-STORE: not requested, or has already arrived; refused"
    not_ours = "C-STORE: not an instance of the retrieval under way; refused"
    assert told == [not_missing, not_missing, not_ours, not_ours, not_ours, not_missing]


def test_it_listens_where_the_archive_is_reached() -> None:
    assert [default_host(own) for own in ("127.0.0.1", "::1", "", "192.0.2.1", "fe80::1%eth0")] == [
        "localhost",
        "localhost",
        "localhost",
        "192.0.2.1",
        "fe80::1%eth0",
    ]
