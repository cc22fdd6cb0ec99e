"""C-GET and C-MOVE as SCP: the outcome of each sub-operation is counted."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import pytest
from tests.sample_objects import (
    CT,
    EXPLICIT,
    instance,
)
from tests.services.test_get_scp import (
    GET_RQ,
    Handler,
    check_usable,
    get,
    gives,
    outcome,
    peer_of,
    serving,
)

from dimse import (
    CGetSCU,
    Query,
    QueryRequest,
    Status,
    StatusError,
    SubOperationFailed,
    connect,
    retrieval_contexts,
)
from dimse.dataset.sources import MemorySource
from dimse.services.given import Source
from dimse.testing import message_pdvs
from dimse.upper_layer.pdu import PDV


async def test_a_long_list_of_uids_of_any_form_has_them_all(tmp_path: Path) -> None:
    """More than a UI of Explicit VR has room for (PS3.5 7.1.2); a lone backslash would make two of one."""
    too_long = [f"1.2.{number}.[{'x' * 60}]" for number in range(1500)]
    sources = [
        MemorySource([b""], sop_class_uid=CT, sop_instance_uid=uid, transfer_syntax_uid=EXPLICIT)
        for uid in [*too_long, f"1\\{'2' * 64}"]
    ]
    async with serving(gives(*sources)) as server:
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        async with connect(address, contexts=retrieval_contexts([CT])) as association:
            query = Query.studies(StudyInstanceUID="1.2.3.1")
            async with CGetSCU(association).get(query, into=tmp_path, raise_failures=False) as getting:
                async for _ in getting:
                    pass
    named = [failure.sop_instance_uid for failure in getting.failures if isinstance(failure, SubOperationFailed)]
    assert named == [*too_long, None]


async def test_nothing_to_send() -> None:
    async with serving(gives()) as server, peer_of(server) as peer:
        await peer.send(get())
        assert (await outcome(peer)).said == (Status.SUCCESS, (None, 0, 0, 0), [])
        await check_usable(peer)


@pytest.mark.parametrize(
    ("statuses", "said"),
    [
        ((0, 0xA700, 0), (0xB000, (None, 2, 1, 0), ["1.2.2"])),
        ((0xA700, 0xC000, 0xA900), (0xA702, (None, 0, 3, 0), ["1.2.1", "1.2.2", "1.2.3"])),
        ((0, 0xB000, 0xB007), (0xB000, (None, 1, 0, 2), [])),
        ((0xB006, 0xB006, 0xB006), (0xB000, (None, 0, 0, 3), [])),
        ((0xB000, 0x0110, 0x0122), (0xB000, (None, 0, 2, 1), ["1.2.2", "1.2.3"])),
    ],
    ids=["some refused", "all refused", "some warnings", "all warnings", "all sorts"],
)
async def test_what_the_requestor_answers_is_counted(statuses: Sequence[int], said: object) -> None:
    answers = {f"1.2.{i}": status for i, status in enumerate(statuses, 1)}
    async with serving(gives(*(instance(uid) for uid in answers))) as server, peer_of(server) as peer:
        await peer.send(get())
        result = await outcome(peer, statuses=answers)
        assert result.said == said
        assert len(result.stores) == 3
        assert all(sum(count or 0 for count in each) == 3 for each in result.pending)
        await check_usable(peer)


async def test_what_cannot_be_read_is_counted(tmp_path: Path) -> None:
    """It has no SOP Instance UID that could be named."""
    handler = gives(tmp_path / "missing", instance(), b"nonsense")
    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(get())
        result = await outcome(peer)
        assert result.pending[0] == (1, 0, 2, 0)
        assert result.said == (0xB000, (None, 1, 2, 0), [])
        await check_usable(peer)


async def failing(_: QueryRequest) -> AsyncIterator[Source]:
    yield instance()
    raise KeyError("SECRET^NAME")


async def refusing(_: QueryRequest) -> AsyncIterator[Source]:
    yield instance()
    raise StatusError(Status(0xA701), "C-GET", "too many")


@pytest.mark.parametrize(
    ("handler", "asked", "status", "comment"),
    [
        (failing, get(), 0xC000, "the handler failed: KeyError"),
        (refusing, get(), 0xA701, "too many"),
        (gives(), get(level="PATIENT"), 0xA900, "Study Root has no PATIENT level"),
        (
            gives(),
            message_pdvs(GET_RQ, b"SECRET" * 3),
            0xC000,
            "identifier: unknown value representation at (4553,5243)",
        ),
    ],
    ids=["failing", "refusing", "level", "identifier"],
)
async def test_a_retrieval_that_fails_as_a_whole(handler: Handler, asked: list[PDV], status: int, comment: str) -> None:
    async with serving(handler) as server, peer_of(server) as peer:
        await peer.send(asked)
        result = await outcome(peer)
        assert (result.final.status, result.final.error_comment) == (status, comment)
        assert result.stores == []
        await check_usable(peer)
