"""Extended negotiation with pynetdicom in both roles, and relational queries with DCMTK, which does not negotiate."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydicom import Dataset

import dimse
from dimse import (
    CFindSCU,
    Match,
    ProposedContext,
    Query,
    QueryFeatures,
    QueryRequest,
    QueryRetrieveLevel,
    Server,
    ServerOptions,
    Status,
    StorageFeatures,
    StoreRequest,
    uids,
)
from tests.ports import free_port

from .archive import Archive
from .processes import PYNETDICOM_PEER, Peer, need, need_pynetdicom, run

FIND, GET, MOVE, WORKLIST = (
    uids.STUDY_ROOT_FIND,
    uids.STUDY_ROOT_GET,
    uids.PATIENT_ROOT_MOVE,
    uids.MODALITY_WORKLIST_FIND,
)
CT = "1.2.840.10008.5.1.4.1.1.2"
NEW = "1.2.840.10008.5.1.4.99.1"
"""A storage class that no dictionary has yet."""


def agreeing(tmp_path: Path, *answers: str) -> Peer:
    """pynetdicom, which answers extended negotiation by these."""
    port = free_port()
    command = [need_pynetdicom(), str(PYNETDICOM_PEER), "agree", str(port), *answers]
    return Peer(command, port, tmp_path / "peer", title="PYNETDICOM")


def lines_of(peer: Peer) -> list[object]:
    return [json.loads(line) for line in peer.output().splitlines() if line[:1] in ("[", "{")]


async def test_pynetdicom_answers_what_we_propose(tmp_path: Path) -> None:
    """In fewer bytes than we proposed, in more, and not at all."""
    wanted = QueryFeatures(relational=True, fuzzy_names=True, multiple_values=True)
    contexts = [
        *(ProposedContext(uid, uids.LITTLE_ENDIAN, features=wanted) for uid in (FIND, GET, MOVE)),
        ProposedContext(WORKLIST, uids.LITTLE_ENDIAN, features=QueryFeatures(timezone=True)),
        ProposedContext(NEW, uids.LITTLE_ENDIAN, features=StorageFeatures(), general=[CT]),
    ]
    with agreeing(tmp_path, f"{FIND}=0100", f"{GET}=0101010101010101", f"{WORKLIST}=01010101") as peer:
        async with dimse.connect(peer.address, contexts=contexts) as association:
            agreed = {uid: association.query_features(uid).names for uid in (FIND, GET, MOVE, WORKLIST)}
            assert association.storage_features(NEW) is None
            matches = CFindSCU(association).find(QueryRetrieveLevel.IMAGE, Dataset())
            counts = [matches.unsupported_keys async for _ in matches]
    assert agreed == {FIND: ("relational",), GET: ("relational",), MOVE: (), WORKLIST: ("timezone",)}
    assert counts == [0, 1]
    features, general, _ = lines_of(peer)
    assert features == {
        FIND: "01000100000001",
        GET: "01",
        MOVE: "01",
        WORKLIST: "01010001",
        NEW: "030000000200",
    }
    assert general == {NEW: [uids.STORAGE_SERVICE_CLASS, CT]}


async def test_we_answer_what_pynetdicom_proposes(tmp_path: Path) -> None:
    stored: list[str] = []
    server = Server("DIMSE", port=0, options=ServerOptions(storage_features=StorageFeatures(level=2, coerces=False)))

    @server.on_c_find(features=QueryFeatures(relational=True, empty_values=True))
    async def find(request: QueryRequest) -> AsyncIterator[Dataset | Match]:
        yield Match(request.identifier, unsupported_keys=not request.features.relational)

    @server.on_c_store
    async def store(request: StoreRequest) -> int:
        stored.append(request.sop_class_uid)
        return Status.SUCCESS

    proposals = [f"{FIND}=01010101010101", f"{uids.PATIENT_ROOT_FIND}=0001", f"{CT}=03", f"{uids.VERIFICATION}=01"]
    async with server:
        command = [need_pynetdicom(), str(PYNETDICOM_PEER), "propose", str(server.port), NEW, *proposals]
        code, output = await run(*command)
    assert code == 0, output
    answers, status = json.loads(output.splitlines()[-1])
    assert answers == {FIND: "01000000000100", uids.PATIENT_ROOT_FIND: "0000", CT: "020000000000"}
    assert (status, stored) == (0x0000, [NEW])


async def test_findscu_asks_relationally_without_negotiation_and_sees_unsupported_keys() -> None:
    """The handler gets the keys of `findscu` as they are, and knows that nothing was agreed on."""
    seen: list[tuple[str, tuple[str, ...]]] = []
    server = Server("DIMSE", port=0)

    @server.on_c_find(features=QueryFeatures(relational=True))
    async def find(request: QueryRequest) -> AsyncIterator[Dataset | Match]:
        seen.append((str(request.level), request.features.names))
        yield Match(request.identifier, unsupported_keys=True)

    keys = ["-k", "QueryRetrieveLevel=IMAGE", "-k", "StudyInstanceUID", "-k", "SOPInstanceUID"]
    async with server:
        code, output = await run(need("findscu"), "-d", "-S", "-aec", "DIMSE", "127.0.0.1", str(server.port), *keys)
    assert (code, seen) == (0, [("IMAGE", ())])
    assert "0xff01" in output


async def test_archives_are_asked_relationally_whether_they_agree_or_not(
    archive: Archive, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Orthanc and dcmqrscp negotiate nothing. Both answer C-FIND; Orthanc retrieves by the UID of an instance alone."""
    wanted = "2.25.51100.1"
    by_uid = Query.instances(SOPInstanceUID=wanted).negotiating(relational=True)
    with caplog.at_level(logging.WARNING, "dimse"):
        found = [match.SOPInstanceUID async for match in dimse.find(archive.address, by_uid)]
        got = await dimse.get(archive.address, by_uid, into=tmp_path / "got", raise_failures=False)
    assert found == [wanted]
    assert [each.sop_instance_uid for each in got.retrieved] == ([wanted] if archive.name == "orthanc" else [])
    for operation in ("C-FIND", "C-GET"):
        assert f"it did not agree to these features of {operation}: relational" in caplog.text
