"""C-GET as SCU: instances that come on the association they were asked for on.

How it is left before its end is in `network/test_operations` and `test_get_in_flight`.
"""

from __future__ import annotations

import asyncio
import io
import struct
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from tests.sample_objects import (
    CT,
    EXPLICIT,
    IMPLICIT,
    MR,
    VERIFICATION,
    dataset_bytes,
    encoded,
    instance,
    pixel_bytes,
    read,
)

from dimse import (
    AssociationTimeout,
    CEchoSCU,
    CGetSCU,
    ClientOptions,
    ConnectionLost,
    DatasetError,
    Duplicates,
    LocalProtocolError,
    NothingRetrieved,
    PresentationContextError,
    Query,
    QueryRequest,
    RemoteProtocolError,
    Server,
    Status,
    StatusError,
    StoreMode,
    StoreOptions,
    StoreRequest,
    Strictness,
    SubOperationFailed,
    SubOperations,
    Timeouts,
    connect,
    retrieval_contexts,
)
from dimse.dataset.codec import decode, encode
from dimse.messages.message import C_ECHO_RSP, C_GET_RQ, C_STORE_RSP
from dimse.network.association import exchange_of
from dimse.services.get_scu import GetResults
from dimse.testing import (
    Received,
    Script,
    ScriptedPeer,
    echo_request,
    listening,
    message_pdvs,
    response,
    store_request,
    wire,
)
from dimse.uids import COMMON_STORAGE, LITTLE_ENDIAN, QUERY_RETRIEVE, STUDY_ROOT_GET
from dimse.upper_layer.items import RoleSelection
from dimse.upper_layer.negotiation import ProposedContext

STUDY = Query.studies(StudyInstanceUID="1.2.3.1")
CONTEXTS: Sequence[ProposedContext] = [
    ProposedContext(STUDY_ROOT_GET, [EXPLICIT]),
    ProposedContext(CT, [EXPLICIT], as_scp=True),
    ProposedContext(CT, [IMPLICIT], as_scp=True),
    ProposedContext("1.2.840.10008.5.1.4.1.1.128", [EXPLICIT], as_scp=True),
    ProposedContext(VERIFICATION, [IMPLICIT]),
]
ON = {EXPLICIT: 3, IMPLICIT: 5}
PENDING = Status.PENDING
QUICK = ClientOptions(timeouts=Timeouts(get=5, store=1, association=1))
LARGE = 3_000_000
"""Bytes of pixel data that do not come in one piece."""


async def asked(peer: ScriptedPeer, **options: Any) -> Received:
    await peer.accept(**options)
    received = await peer.receive_message()
    assert isinstance(received.message, C_GET_RQ)
    return received


async def give(
    peer: ScriptedPeer, uid: str, *, message_id: int = 1, syntax: str = EXPLICIT, data: bytes | None = None, **of: Any
) -> int:
    """Send an instance, as a sub-operation. Returns the status it is answered with."""
    data = encoded(instance(uid, **of), syntax) if data is None else data
    await peer.send(message_pdvs(store_request(uid, message_id, of.get("sop_class", CT)), data, context=ON[syntax]))
    return await answered(peer, uid, message_id)


async def answered(peer: ScriptedPeer, uid: str, message_id: int = 1) -> int:
    answer = (await peer.receive_message()).message
    assert isinstance(answer, C_STORE_RSP), answer
    assert (answer.message_id_being_responded_to, answer.affected_sop_instance_uid) == (message_id, uid)
    return answer.status


def gives(*uids: str, status: int = 0, expected: int = 0, final: bytes | None = None, **fields: Any) -> Script:
    """Sends these instances, which are answered with `expected`, and the final response."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for number, uid in enumerate(uids):
            assert await give(peer, uid, message_id=number + 1) == expected
        await peer.send(response(received, status, final, **fields))
        await peer.answer_echo()
        await peer.answer_release()

    return script


def failed_list(*uids: str) -> bytes:
    dataset = Dataset()
    dataset.FailedSOPInstanceUIDList = list(uids)
    return encode(dataset, EXPLICIT)


def files(folder: Path) -> list[str]:
    """All there is, hidden files too."""
    return sorted(path.name for path in folder.rglob("*") if path.is_file())


async def got(script: Script, options: ClientOptions = QUICK, **where: Any) -> tuple[Any, GetResults]:
    """What a C-GET raises, and its results; then the association is used again."""
    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=options) as association:
        results = CGetSCU(association, store=StoreOptions(fsync=False)).get(STUDY, **where)
        error = None
        try:
            async for _ in results:
                pass
        except Exception as caught:  # noqa: BLE001 - it is what is tested
            error = caught
        await CEchoSCU(association).echo()
    return error, results


def failed(error: Any) -> list[tuple[str | None, str]]:
    """Of which instances an error is, and why."""
    assert isinstance(error, ExceptionGroup), error
    failures = [each for each in error.exceptions if isinstance(each, SubOperationFailed)]
    assert len(failures) == len(error.exceptions)
    return [(each.sop_instance_uid, str(each)) for each in failures]


# What is proposed


async def test_the_role_of_scp_is_proposed_for_each_storage_class() -> None:
    async def script(peer: ScriptedPeer) -> None:
        asked = await peer.accept()
        proposed = [(each.abstract_syntax, each.transfer_syntaxes) for each in asked.presentation_contexts]
        assert proposed[: len(QUERY_RETRIEVE) + 2] == [
            *((uid, LITTLE_ENDIAN) for uid in QUERY_RETRIEVE),
            (CT, LITTLE_ENDIAN),
            (MR, LITTLE_ENDIAN),
        ]
        others = proposed[len(QUERY_RETRIEVE) + 2 :]
        assert {uid for uid, _ in others} == {CT, MR}
        assert all(len(syntaxes) == 1 for _, syntaxes in others)
        assert (MR, ("1.2.840.10008.1.2.4.90",)) in others
        assert asked.user_information.role_selections == (
            RoleSelection(CT, False, True),
            RoleSelection(MR, False, True),
        )
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=retrieval_contexts([CT, MR, CT])) as association:
        assert all(
            context.requestor_is_scp for context in association.contexts.values() if context.abstract_syntax == CT
        )


def test_there_are_not_more_contexts_than_there_can_be() -> None:
    contexts = retrieval_contexts()
    assert len(contexts) == 128
    assert {context.abstract_syntax for context in contexts if context.as_scp} == set(COMMON_STORAGE)
    assert len(retrieval_contexts([f"1.2.{number}" for number in range(122)])) == 128
    with pytest.raises(ValueError, match=r"at most 122 SOP classes, not 123; retrieve in parts"):
        retrieval_contexts([f"1.2.{number}" for number in range(123)])


async def test_what_cannot_be_asked(tmp_path: Path) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.answer_release()

    async def keep(request: StoreRequest) -> int:
        return 0

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        scu = CGetSCU(association)
        with pytest.raises(ValueError, match="not both"):
            scu.get(STUDY, into=tmp_path, handler=keep)
        with pytest.raises(ValueError, match="needs one StudyInstanceUID"):
            scu.get(Query.studies())


# Into a folder, to a handler, or in the loop


@pytest.mark.parametrize("syntax", [EXPLICIT, IMPLICIT])
async def test_into_a_folder(tmp_path: Path, syntax: str) -> None:
    data = {uid: encoded(instance(uid, pixels=pixels), syntax) for uid, pixels in (("1.2.3", 100), ("1.2.4", LARGE))}

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        message = received.message
        assert isinstance(message, C_GET_RQ)
        assert message.affected_sop_class_uid == STUDY_ROOT_GET
        identifier = decode(received.data or b"", EXPLICIT)
        assert {each.keyword: each.value for each in identifier} == {
            "QueryRetrieveLevel": "STUDY",
            "StudyInstanceUID": "1.2.3.1",
        }
        for uid, encoded_instance in data.items():
            # The peer's message IDs are its own: they may be the one of the C-GET.
            assert await give(peer, uid, message_id=message.message_id, syntax=syntax, data=encoded_instance) == 0
        await peer.send(response(received, 0))
        await peer.answer_release()

    given = []
    async with (
        listening(script) as address,
        connect(address, contexts=CONTEXTS, calling_ae_title="WS1") as association,
        CGetSCU(association).get(STUDY, into=tmp_path) as results,
    ):
        async for each in results:
            given.append(each.sop_instance_uid)
            assert files(tmp_path) == sorted(f"{uid}.dcm" for uid in given)
    for uid, encoded_instance in data.items():
        path = tmp_path / "1.2.3.1" / "1.2.3.2" / f"{uid}.dcm"
        assert dataset_bytes(path) == encoded_instance
        meta = read(path).file_meta
        assert (meta.TransferSyntaxUID, meta.MediaStorageSOPInstanceUID) == (syntax, uid)
        assert (meta.SendingApplicationEntityTitle, meta.ReceivingApplicationEntityTitle) == ("ARCHIVE", "WS1")


async def test_a_template_names_the_files(tmp_path: Path) -> None:
    error, _ = await got(gives("1.2.3"), into=tmp_path, template="{PatientID}/{SOPInstanceUID}")
    assert error is None
    assert (tmp_path / "SECRETID" / "1.2.3").exists()


async def test_our_own_server_gives_all(tmp_path: Path) -> None:
    server = Server("ARCHIVE", port=0)

    @server.on_c_get
    async def get(request: QueryRequest):  # type: ignore[no-untyped-def]
        for number in range(40):
            yield instance(f"1.2.{number + 1}", pixels=100_000)

    async with server, connect(f"ARCHIVE@127.0.0.1:{server.port}", contexts=retrieval_contexts([CT])) as association:
        async with CGetSCU(association, store=StoreOptions(fsync=False)).get(STUDY, into=tmp_path) as results:
            given = [each.sop_instance_uid async for each in results]
        assert results.suboperations == SubOperations(None, 40, 0, 0)
    assert given == [f"1.2.{number + 1}" for number in range(40)]
    assert read(tmp_path / "1.2.3.1" / "1.2.3.2" / "1.2.40.dcm").PixelData == pixel_bytes(100_000)


async def test_to_a_handler() -> None:
    statuses = {"1.2.1": 0x0000, "1.2.2": 0xB000, "1.2.3": 0xA700, "1.2.4": 0xC123, "1.2.5": 0x0000}
    seen = []

    async def keep(request: StoreRequest) -> int:
        seen.append((request.sop_instance_uid, request.dataset.PatientID))
        return statuses[request.sop_instance_uid]

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert {uid: await give(peer, uid) for uid in statuses} == statuses
        await peer.send(response(received, 0xB000, number_of_failed_suboperations=2))
        await peer.answer_release()

    given: list[str] = []
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(ExceptionGroup) as caught:
            await take(CGetSCU(association).get(STUDY, handler=keep), given)
    assert seen == [(uid, "SECRETID") for uid in statuses]
    assert given == ["1.2.1", "1.2.2", "1.2.5"]
    assert [uid for uid, _ in failed(caught.value)] == ["1.2.3", "1.2.4"]


async def take(results: GetResults, given: list[str]) -> None:
    """The UIDs of what it gives, also if it raises."""
    async for each in results:
        given += [each.sop_instance_uid]


def raises(error: Exception) -> Callable[[StoreRequest], Awaitable[int]]:
    async def handler(request: StoreRequest) -> int:
        if request.sop_instance_uid == "1.2.1":
            raise error
        return 0

    return handler


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (ZeroDivisionError(), 0x0110),
        (DatasetError("no such element"), 0xC000),
        (OSError(28, "No space left on device"), 0xA700),
        (PermissionError(13, "no"), 0xA700),
        (TimeoutError(), 0x0110),
        (StatusError(Status(0xA701), "another C-STORE", None), 0xA701),
        (ConnectionLost("to another archive"), 0x0110),
        (RemoteProtocolError("of another archive"), 0x0110),
    ],
    ids=repr,
)
async def test_a_handler_that_fails_harms_no_other(error: Exception, status: int) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert await give(peer, "1.2.1", pixels=LARGE) == status
        assert await give(peer, "1.2.2") == 0
        await peer.send(response(received, 0xB000))
        await peer.answer_echo()
        await peer.answer_release()

    raised, results = await got(script, handler=raises(error))
    assert [uid for uid, _ in failed(raised)] == ["1.2.1"]
    assert results.failures[0].__cause__ in (error, None)


async def test_what_a_handler_must_not_answer() -> None:
    async def pending(request: StoreRequest) -> int:
        return 0xFF00

    error, _ = await got(gives("1.2.1", expected=0x0110), handler=pending)
    assert [uid for uid, _ in failed(error)] == ["1.2.1"]


async def test_a_release_in_a_handler_is_refused_at_once() -> None:
    """It would cancel the C-GET and wait for its end, which waits for the handler."""
    refusals: list[str] = []

    async def handler(request: StoreRequest) -> int:
        with pytest.raises(LocalProtocolError) as caught:
            await request.association.release()
        refusals.append(str(caught.value))
        return 0

    error, _ = await got(gives("1.2.1", "1.2.2"), handler=handler)
    assert error is None
    assert refusals == ["the association cannot be released by a handler of its C-GET, which ends with the handler"] * 2


async def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "1.2.3.1").write_text("in the way")
    error, _ = await got(gives("1.2.1", "1.2.2", expected=0x0110), into=tmp_path)
    assert [uid for uid, _ in failed(error)] == ["1.2.1", "1.2.2"]
    assert files(tmp_path) == ["1.2.3.1"]


async def test_in_the_loop_the_pixels_are_read_while_they_come() -> None:
    begun = asyncio.Event()
    whole = wire(message_pdvs(store_request("1.2.1"), encoded(instance("1.2.1", pixels=LARGE)), context=3))

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(whole[: LARGE // 2])
        await begun.wait()
        await peer.send(whole[LARGE // 2 :])
        assert await answered(peer, "1.2.1") == 0
        assert await give(peer, "1.2.2", pixels=LARGE) == 0xA700  # of which nothing is read
        await peer.send(response(received, 0))
        await peer.answer_release()

    pixels, given = b"", []
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CGetSCU(association).get(STUDY, raise_failures=False)
        async for each in results:
            given.append((each.sop_instance_uid, each.dataset.Rows))
            if len(given) == 1:
                async for piece in each.pixels():
                    pixels += piece
                    begun.set()
    assert given == [("1.2.1", 16), ("1.2.2", 16)]
    assert [str(failure) for failure in results.failures] == [
        "1.2.2: refused with 0xA700 Out of resources: it was neither saved nor read to its end"
    ]
    assert pixels == pixel_bytes(LARGE)


@pytest.mark.parametrize("part", ["dataset", "data"])
async def test_in_the_loop_a_buffered_instance_is_stored_once_all_of_it_was_taken(part: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert await give(peer, "1.2.1", pixels=LARGE) == 0
        assert await give(peer, "1.2.2", pixels=LARGE) == 0xA700  # the loop takes nothing of it
        await peer.send(response(received, 0))
        await peer.answer_release()

    store = StoreOptions(mode=StoreMode.BUFFERED)
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CGetSCU(association, store=store).get(STUDY, raise_failures=False)
        async for each in results:
            if each.sop_instance_uid == "1.2.1":
                getattr(each, part)
    assert [str(failure).partition(":")[0] for failure in results.failures] == ["1.2.2"]


async def test_in_the_loop_the_chunks_are_a_file_and_one_that_is_cut_is_refused() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert await give(peer, "1.2.1", pixels=LARGE) == 0
        assert await give(peer, "1.2.2", pixels=LARGE) == 0xA700
        await peer.send(response(received, 0))
        await peer.answer_release()

    copy = io.BytesIO()
    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CGetSCU(association).get(STUDY, raise_failures=False)
        async for each in results:
            if each.sop_instance_uid == "1.2.1":
                await each.save(copy)
            else:
                async for _ in each.chunks():
                    break
    assert dcmread(io.BytesIO(copy.getvalue())).PixelData == pixel_bytes(LARGE)
    assert [str(failure) for failure in results.failures] == [
        "1.2.2: refused with 0xA700 Out of resources: it was neither saved nor read to its end"
    ]


async def test_in_the_loop_what_ends_too_early_behind_the_pixels_is_refused() -> None:
    cut_short = (
        encoded(instance("1.2.1", pixels=LARGE)) + struct.pack("<HH2sHI", 0xFFFC, 0xFFFC, b"OB", 0, 255) + bytes(2)
    )

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert await give(peer, "1.2.1", data=cut_short) == 0xC000
        await peer.send(response(received, 0))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CGetSCU(association).get(STUDY, raise_failures=False)
        async for each in results:
            with pytest.raises(DatasetError, match="FFFC,FFFC"):
                _ = [piece async for piece in each.pixels()]
    (failure,) = results.failures
    assert "FFFC,FFFC" in str(failure)


async def test_in_the_loop_success_is_answered_when_the_next_is_asked_for(tmp_path: Path) -> None:
    answers: list[int] = []

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for uid in ("1.2.1", "1.2.2"):
            answers.extend([await give(peer, uid, pixels=LARGE)])
        await peer.send(response(received, 0))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        async for each in CGetSCU(association).get(STUDY):
            path = await each.save(tmp_path / f"{each.sop_instance_uid}.dcm")
            assert read(path).PixelData == pixel_bytes(LARGE)
            assert len(answers) < len(files(tmp_path))
    assert answers == [0, 0]


# What is refused


async def refused(
    tmp_path: Path, expected: int, uid: str = "1.2.1", refused_roles: Sequence[str] = (), **what: Any
) -> None:
    """This instance is refused with this status, and the one after it comes."""

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer, refused_roles=refused_roles)
        assert await give(peer, uid, **what) == expected
        if CT not in refused_roles:
            assert await give(peer, "1.2.2") == 0
        await peer.send(response(received, 0xB000, failed_list(uid), number_of_failed_suboperations=1))
        await peer.answer_echo()
        await peer.answer_release()

    error, _ = await got(script, into=tmp_path)
    ((failed_uid, why),) = failed(error)  # once, though the peer names it too
    assert failed_uid == uid
    assert f"refused with {Status(expected)}" in why
    assert files(tmp_path) == ([] if CT in refused_roles else ["1.2.2.dcm"])


async def test_without_the_role_it_is_not_allowed(tmp_path: Path) -> None:
    await refused(tmp_path, 0x0122, refused_roles=[CT], pixels=LARGE)


async def test_without_any_role_nothing_is_asked_for() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept()
        await peer.answer_release()

    async with listening(script) as address, connect(address) as association:
        with pytest.raises(PresentationContextError, match=r"retrieval_contexts\(\)"):
            CGetSCU(association).get(STUDY)


LENIENT = replace(QUICK, strictness=Strictness.LENIENT)


async def test_without_an_answer_to_the_roles_a_lenient_requestor_takes_what_comes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer, answers_roles=False)
        for number in (1, 2):
            assert await give(peer, f"1.2.{number}", message_id=number) == 0
        await peer.send(response(received, 0))
        await peer.answer_echo()
        await peer.answer_release()

    error, _ = await got(script, LENIENT, into=tmp_path)
    assert error is None
    assert files(tmp_path) == ["1.2.1.dcm", "1.2.2.dcm"]
    assert caplog.text.count("not answered by the peer") == 1


@pytest.mark.parametrize(
    ("accepts", "words"),
    [
        ({"answers_roles": False}, "was proposed and not answered by the peer.* C-MOVE"),
        ({"refused_roles": [CT, "1.2.840.10008.5.1.4.1.1.128"]}, "was refused by the peer.* C-MOVE"),
    ],
)
async def test_a_strict_requestor_says_what_the_peer_did_not_do(accepts: dict[str, Any], words: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await peer.accept(**accepts)
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(PresentationContextError, match=words) as caught:
            CGetSCU(association).get(STUDY)
        assert "retrieval_contexts" not in str(caught.value)


@pytest.mark.parametrize("role", ["unanswered", "refused"])
async def test_the_role_of_another_class_helps_no_lenient_requestor(role: str, tmp_path: Path) -> None:
    """It may come only where the SCP role was proposed and the peer has not refused it."""
    verification = role == "unanswered"

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer, answers_roles=not verification, refused_roles=() if verification else [CT])
        sop_class, context = (VERIFICATION, 7) if verification else (CT, 3)
        await peer.send(
            message_pdvs(store_request("1.2.1", 1, sop_class), encoded(instance("1.2.1"), EXPLICIT), context=context)
        )
        assert await answered(peer, "1.2.1") == 0x0122
        await peer.send(response(received, 0))
        await peer.answer_echo()
        await peer.answer_release()

    error, _ = await got(script, LENIENT, into=tmp_path)
    assert [uid for uid, _ in failed(error)] == ["1.2.1"]
    assert files(tmp_path) == []


@pytest.mark.parametrize("options", [QUICK, LENIENT], ids=["strict", "lenient"])
async def test_instances_on_the_context_of_the_c_get(options: ClientOptions, tmp_path: Path) -> None:
    strict = options is QUICK

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(message_pdvs(store_request("1.2.1"), encoded(instance("1.2.1"), EXPLICIT), context=1))
        assert await answered(peer, "1.2.1") == (0x0122 if strict else 0)
        await peer.send(response(received, 0))
        await peer.answer_echo()
        await peer.answer_release()

    error, _ = await got(script, options, into=tmp_path)
    assert (error is not None) is strict
    if strict:
        assert "on the context of the C-GET" in failed(error)[0][1]
    assert files(tmp_path) == ([] if strict else ["1.2.1.dcm"])


async def test_a_class_that_was_not_negotiated(tmp_path: Path) -> None:
    await refused(tmp_path, 0x0122, sop_class=MR)


async def test_another_uid_than_the_commands(tmp_path: Path) -> None:
    await refused(tmp_path, 0xA900, data=encoded(instance("1.2.9", pixels=LARGE)))


async def test_another_class_than_the_commands(tmp_path: Path) -> None:
    await refused(tmp_path, 0xA900, data=encoded(instance("1.2.1", sop_class=MR)))


async def test_what_cannot_be_read(tmp_path: Path) -> None:
    await refused(tmp_path, 0xA900, data=bytes(1000))


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"", 0xA900),
        (encoded(instance("1.2.1", pixels=LARGE))[:-2], 0xC000),
        (encoded(instance("1.2.1", pixels=0))[:-5], 0xC000),
        (encoded(instance("1.2.9")), 0xA900),
    ],
    ids=["empty", "pixels cut", "metadata cut", "another"],
)
async def test_what_is_not_whole(tmp_path: Path, data: bytes, status: int) -> None:
    await refused(tmp_path, status, data=data)


@pytest.mark.parametrize(("duplicates", "expected"), [("keep", 0xB000), ("replace", 0), ("refuse", 0x0111)])
async def test_an_instance_that_is_there_with_other_content(tmp_path: Path, duplicates: str, expected: int) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        for pixels, status in ((1000, 0), (1000, 0), (2000, expected)):
            assert await give(peer, "1.2.1", pixels=pixels) == status
        await peer.send(response(received, 0))
        await peer.answer_release()

    async with (
        listening(script) as address,
        connect(address, contexts=CONTEXTS) as association,
    ):
        scu = CGetSCU(association, store=StoreOptions(duplicates=Duplicates(duplicates)))
        async with scu.get(STUDY, into=tmp_path, raise_failures=False) as results:
            came = [each.sop_instance_uid async for each in results]
    assert len(came) == (2 if duplicates == "refuse" else 3)


async def test_a_wrong_group_length() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        sent = bytearray(wire(message_pdvs(store_request("1.2.1"), encoded(instance("1.2.1")), context=3)))
        sent[20] ^= 0xFF  # behind the headers of the PDU and the PDV, and the tag and length of (0000,0000)
        await peer.send(bytes(sent))
        assert await answered(peer, "1.2.1") == 0x0110
        await peer.send(response(received, 0xB000))
        await peer.answer_echo()
        await peer.answer_release()

    error, _ = await got(script)
    assert [uid for uid, _ in failed(error)] == ["1.2.1"]


async def test_a_uid_that_is_a_path_stays_in_the_folder(tmp_path: Path) -> None:
    nameless = encode(Dataset(), EXPLICIT)

    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        assert await give(peer, "../../../../x", data=nameless) == 0x0117
        await peer.send(response(received, 0))
        await peer.answer_echo()
        await peer.answer_release()

    folder = tmp_path / "a" / "b" / "c"
    error, _ = await got(script, into=folder)
    assert [uid for uid, _ in failed(error)] == ["../../../../x"]
    assert files(tmp_path) == []


async def test_other_operations_than_c_store_are_not_known() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(message_pdvs(echo_request(9), context=7))
        answer = (await peer.receive_message()).message
        assert isinstance(answer, C_ECHO_RSP)
        assert (answer.status, answer.message_id_being_responded_to) == (0x0211, 9)
        await peer.send(response(received, 0))
        await peer.answer_echo()
        await peer.answer_release()

    error, _ = await got(script)
    assert error is None


@pytest.mark.parametrize("when", ["before", "after"])
async def test_an_instance_without_a_c_get_is_aborted(when: str) -> None:
    async def script(peer: ScriptedPeer) -> None:
        if when == "before":
            await peer.accept()
        else:
            await peer.send(response(await asked(peer), 0))
        await peer.answer_echo()
        await peer.send(message_pdvs(store_request(), b"", context=3))
        await peer.expect_abort(2, 5)

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        if when == "after":
            await take(CGetSCU(association).get(STUDY), [])
        await CEchoSCU(association).echo()
        await exchange_of(association).over
        assert isinstance(association.error, RemoteProtocolError)


# What failed on the way


async def take_all(_: StoreRequest) -> int:
    return Status.SUCCESS


async def test_the_counters() -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, number_of_remaining_suboperations=2))
        assert await give(peer, "1.2.1") == 0
        await peer.send(response(received, PENDING))
        assert await give(peer, "1.2.2") == 0
        await peer.send(response(received, 0, number_of_completed_suboperations=1, number_of_warning_suboperations=1))
        await peer.answer_release()

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CGetSCU(association).get(STUDY, handler=take_all)
        seen = [results.suboperations] + [results.suboperations async for _ in results] + [results.suboperations]
    assert seen == [SubOperations(), SubOperations(2), SubOperations(), SubOperations(None, 1, None, 1)]


@pytest.mark.parametrize("raise_failures", [True, False])
async def test_what_the_peer_names_is_named_once(raise_failures: bool) -> None:
    final = failed_list("1.2.1", "1.2.8", "1.2.9")
    script = gives("1.2.1", "1.2.2", status=0xB000, expected=0xC000, final=final, number_of_failed_suboperations=5)

    async def refuse(request: StoreRequest) -> int:
        return 0xC000

    error, results = await got(script, handler=refuse, raise_failures=raise_failures)
    assert (error is not None) is raise_failures
    found = failed(error or ExceptionGroup("", results.failures))
    assert [uid for uid, _ in found] == ["1.2.1", "1.2.2", "1.2.8", "1.2.9", None]
    assert "1 failed that the peer does not name" in found[-1][1]


async def test_a_list_that_cannot_be_read() -> None:
    cut_short = b"\x08\0\x58\0UI\x40\x001.2."
    error, _ = await got(gives(status=0xA702, final=cut_short, number_of_failed_suboperations=3))
    assert [type(each) for each in error.exceptions] == [DatasetError, SubOperationFailed, StatusError]


@pytest.mark.parametrize("uids", [["1.2.[3]", "UID-4", "1..2", "01.2", "9" * 70], [" 1.2\0", "1.2", "", "1.3 "]])
async def test_uids_that_break_the_rules_are_named_as_they_came(uids: list[str]) -> None:
    text = "\\".join(uids)
    text += "\0" * (len(text) % 2)
    identifier = struct.pack("<HH2sH", 0x0008, 0x0058, b"UI", len(text)) + text.encode()
    script = gives(status=0xB000, final=identifier, number_of_failed_suboperations=len(uids))
    error, _ = await got(script, into="unused")
    wanted = list(dict.fromkeys(uid for each in uids if (uid := each.strip(" \0"))))
    assert [uid for uid, _ in failed(error)][: len(wanted)] == wanted


async def test_success_with_nothing_is_told() -> None:
    error, results = await got(gives())
    assert error is None  # an archive has no other way to say that it has none
    assert [type(failure) for failure in results.failures] == [NothingRetrieved]


@pytest.mark.parametrize(
    ("pending", "final"),
    [
        ({}, {"number_of_completed_suboperations": 3}),
        ({}, {"number_of_completed_suboperations": 1, "number_of_remaining_suboperations": 2}),
        ({"number_of_completed_suboperations": 1, "number_of_remaining_suboperations": 2}, {}),
    ],
    ids=["completed", "remaining", "remaining before"],
)
async def test_what_the_peer_counts_and_did_not_send_has_failed(pending: dict[str, Any], final: dict[str, Any]) -> None:
    async def script(peer: ScriptedPeer) -> None:
        received = await asked(peer)
        await peer.send(response(received, PENDING, number_of_remaining_suboperations=9))
        assert await give(peer, "1.2.1") == 0
        await peer.send(response(received, PENDING, **pending), response(received, 0, **final))
        await peer.answer_echo()
        await peer.answer_release()

    error, _ = await got(script, handler=take_all)
    assert failed(error) == [(None, "an instance: 2 that the peer counts did not arrive")]


async def test_a_lost_connection_takes_the_earlier_failures_with_it() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await asked(peer)
        assert await give(peer, "1.2.1", data=encoded(instance("1.2.9"))) == 0xA900
        whole = wire(message_pdvs(store_request("1.2.2"), encoded(instance("1.2.2", pixels=LARGE)), context=3))
        await peer.send(whole[: LARGE // 2])

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        results = CGetSCU(association).get(STUDY)
        assert (await anext(results)).sop_instance_uid == "1.2.2"
        with pytest.raises(ExceptionGroup) as caught:
            await anext(results)
        assert [type(each) for each in caught.value.exceptions] == [
            ConnectionLost,
            SubOperationFailed,
            SubOperationFailed,
        ]


async def test_a_connection_that_is_lost_while_saving_leaves_nothing(tmp_path: Path) -> None:
    async def script(peer: ScriptedPeer) -> None:
        await asked(peer)
        whole = wire(message_pdvs(store_request("1.2.1"), encoded(instance("1.2.1", pixels=LARGE)), context=3))
        await peer.send(whole[: LARGE // 2])

    async with listening(script) as address, connect(address, contexts=CONTEXTS) as association:
        with pytest.raises(ConnectionLost):
            await take(CGetSCU(association).get(STUDY, into=tmp_path), [])
    assert files(tmp_path) == []


# Timeouts


async def test_nothing_comes_any_more() -> None:
    async def script(peer: ScriptedPeer) -> None:
        await asked(peer)
        whole = wire(message_pdvs(store_request("1.2.1"), encoded(instance("1.2.1", pixels=LARGE)), context=3))
        await peer.send(whole[: LARGE // 2])
        await peer.expect_abort(0, 0)

    options = ClientOptions(timeouts=Timeouts(get=0.2))
    async with listening(script) as address, connect(address, contexts=CONTEXTS, options=options) as association:
        given = await anext(CGetSCU(association).get(STUDY))
        with pytest.raises(AssociationTimeout, match=r"C-GET: no progress for 0.2 s \(Timeouts.get\)"):
            async for _ in given.pixels():
                pass


async def test_the_handlers_own_time_does_not_count() -> None:
    async def think(request: StoreRequest) -> int:
        await asyncio.sleep(0.5)  # longer than the timeout
        return 0

    error, results = await got(gives("1.2.1"), ClientOptions(timeouts=Timeouts(get=0.2)), handler=think)
    assert (error, results.status) == (None, 0)
