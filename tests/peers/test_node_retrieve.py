"""The retrieval of a node by others, and the same requests at Orthanc and dcmqrscp."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import dimse
from dimse import CGetSCU, Query, QueryRetrieveModel, Status, retrieval_contexts
from dimse.node.index import Index
from dimse.uids import LITTLE_ENDIAN, QUERY_RETRIEVE
from dimse.upper_layer.negotiation import ProposedContext
from tests.node.rows import put, serving
from tests.ports import free_port

from .archive import MIXED, SOME, TREE, Archive, named, numbered, study_uid, syntaxes, tree
from .conftest import PeerFactory
from .processes import PYNETDICOM_PEER, Orthanc, names_in, need, need_pynetdicom, run
from .samples import dataset_bytes, differences, transfer_syntax

PATIENT_ROOT, STUDY_ROOT = QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveModel.STUDY_ROOT


@dataclass(frozen=True)
class Filled:
    """An index, and the data folder with what it has."""

    index: Index
    data: Path
    mixed: dict[str, Path]

    @asynccontextmanager
    async def serving(self, **destinations: str) -> Any:
        async with serving(self.index, self.data, destinations=destinations) as server:
            yield str(server.port)


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory, mixed_files: dict[str, Path]) -> Iterator[Filled]:
    data = tmp_path_factory.mktemp("data")
    index = Index.at(data / "index.sqlite")
    put(index, data, *mixed_files.values(), *named(), *tree(), *numbered(SOME, "2.25.55100", 150))
    yield Filled(index, data, mixed_files)
    index.close()


# The same requests at other archives


SAME = [
    Query.patients(PatientID="TREE"),
    Query.patients(PatientID="NAME-russian"),
    Query.patients(PatientID="NOBODY"),
    Query.studies(PatientID="TREE", StudyInstanceUID=TREE, model=PATIENT_ROOT),
    Query.studies(StudyInstanceUID=MIXED),
    Query.studies(StudyInstanceUID=[TREE, MIXED, study_uid("korean")]),
    Query.series(StudyInstanceUID=TREE, SeriesInstanceUID="2.25.51100"),
    Query.series(StudyInstanceUID=TREE, SeriesInstanceUID=["2.25.51200", "2.25.51100"]),
    Query.instances(StudyInstanceUID=TREE, SeriesInstanceUID="2.25.51100", SOPInstanceUID="2.25.51100.2"),
    Query.instances(
        PatientID="TREE",
        StudyInstanceUID=TREE,
        SeriesInstanceUID="2.25.51100",
        SOPInstanceUID=["2.25.51100.1", "2.25.51100.2"],
        model=PATIENT_ROOT,
    ),
]
OF_ANOTHER_STUDY = Query.series(StudyInstanceUID=MIXED, SeriesInstanceUID="2.25.51100")
"""Orthanc looks at the series only."""


async def uids(address: str, contexts: list[ProposedContext], query: Query, folder: Path) -> set[str]:
    """What comes of a query."""
    async with dimse.connect(address, contexts=contexts) as association:
        instances = CGetSCU(association).get(query, into=folder, template="{SOPInstanceUID}", raise_failures=False)
        return {instance.sop_instance_uid async for instance in instances}


async def test_the_same_comes_from_other_archives(filled: Filled, archive: Archive, tmp_path: Path) -> None:
    wanted = syntaxes(archive.mixed.values())
    contexts = usual = retrieval_contexts(list(wanted))
    if archive.name == "dcmqrscp":  # it sends a class in the syntax of its first context only
        contexts = [ProposedContext(uid, LITTLE_ENDIAN) for uid in QUERY_RETRIEVE]
        contexts += [ProposedContext(uid, (syntax,), as_scp=True) for uid, syntax in wanted.items()]
    async with filled.serving() as port:
        for number, query in enumerate([*SAME, *([OF_ANOTHER_STUDY] if archive.name == "dcmqrscp" else [])]):
            theirs = await uids(archive.address, contexts, query, tmp_path / f"theirs{number}")
            ours = await uids(f"DIMSE@127.0.0.1:{port}", usual, query, tmp_path / f"ours{number}")
            assert ours == theirs, query


# They retrieve


@pytest.mark.parametrize("model", [["-P", "-k", "PatientID=MIXED"], ["-S"]], ids=["patient", "study"])
async def test_getscu(filled: Filled, tmp_path: Path, model: list[str]) -> None:
    keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={MIXED}"]
    async with filled.serving() as port:
        where = ["-od", str(tmp_path), "-aec", "DIMSE", "127.0.0.1", port]
        code, output = await run(need("getscu"), "-v", *model, *keys, "+B", "+xs", *where)
    assert code == 0, output
    fitting = {uid for uid, path in filled.mixed.items() if transfer_syntax(path) == "1.2.840.10008.1.2.4.70"}
    assert names_in(tmp_path) == fitting
    assert all(dataset_bytes(tmp_path / uid) == dataset_bytes(filled.mixed[uid]) for uid in fitting)
    assert f"Number of Failed Suboperations    : {len(filled.mixed) - len(fitting)}" in output


@pytest.mark.parametrize(
    ("keys", "status"),
    [
        (["StudyInstanceUID"], "0xa900"),
        (["PatientID=TREE"], "0xa900"),
        (["StudyInstanceUID=2.25.1"], "0x0000"),
        (["StudyInstanceUID=2.25.51000", "Modality=NOTHING"], "0x0000"),
    ],
)
async def test_getscu_with_too_few_keys(filled: Filled, tmp_path: Path, keys: list[str], status: str) -> None:
    """It is refused, and is not sent the whole archive; keys that are not allowed here restrict nothing."""
    async with filled.serving() as port:
        options = [option for key in ["QueryRetrieveLevel=STUDY", *keys] for option in ("-k", key)]
        where = ["-od", str(tmp_path), "-aec", "DIMSE", "127.0.0.1", port]
        _, output = await run(need("getscu"), "-d", "-S", *options, *where)
    assert f"DIMSE Status                  : {status}" in output
    assert len(names_in(tmp_path)) == (3 if "Modality=NOTHING" in keys else 0)


async def test_pynetdicom_gets(filled: Filled, tmp_path: Path) -> None:
    async with filled.serving() as port:
        where = [port, str(tmp_path), STUDY_ROOT.sop_class("get"), MIXED]
        code, output = await run(need_pynetdicom(), str(PYNETDICOM_PEER), "get", *where)
    assert (code, output.strip()) == (0, "0")
    assert names_in(tmp_path) == set(filled.mixed)
    assert all(dataset_bytes(tmp_path / uid) == dataset_bytes(path) for uid, path in filled.mixed.items())


@pytest.mark.parametrize("third", ["storescp +B", "orthanc"])
async def test_movescu_to_a_third(filled: Filled, peer: PeerFactory, third: str) -> None:
    scp = peer(third)
    async with filled.serving(THIRD=scp.address) as port:
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={MIXED}"]
        code, output = await run(
            need("movescu"), "-v", "-S", *keys, "-aem", "THIRD", "-aec", "DIMSE", "127.0.0.1", port
        )
    assert code == 0, output
    for uid, path in filled.mixed.items():
        assert differences(scp.received(uid), path) == []
        if third != "orthanc":
            scp.received(uid).unlink()


async def test_movescu_to_nobody_that_is_known(filled: Filled) -> None:
    async with filled.serving(WS1="127.0.0.1:104") as port:
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={MIXED}"]
        _, output = await run(need("movescu"), "-d", "-S", *keys, "-aem", "NOBODY", "-aec", "DIMSE", "127.0.0.1", port)
    assert "0xa801" in output


async def test_pynetdicom_moves(filled: Filled, peer: PeerFactory) -> None:
    scp = peer("pynetdicom")
    async with filled.serving(THIRD=scp.address) as port:
        where = [port, "THIRD", STUDY_ROOT.sop_class("move"), TREE]
        code, output = await run(need_pynetdicom(), str(PYNETDICOM_PEER), "move", *where)
    assert (code, output.strip()) == (0, f"{Status.SUCCESS:d} 3")
    assert len([scp.received(f"2.25.51100.{number}") for number in (1, 2)]) == 2


@pytest.mark.parametrize("program", ["movescu", "pynetdicom"])
@pytest.mark.parametrize("third", ["dead", "refusing"])
async def test_a_destination_that_takes_nothing(filled: Filled, peer: PeerFactory, program: str, third: str) -> None:
    """Nobody listens there, or each association is rejected: all sub-operations fail, and are named."""
    address = f"127.0.0.1:{free_port()}" if third == "dead" else f"127.0.0.1:{peer('storescp refusing').port}"
    async with filled.serving(THIRD=address) as port:
        if program == "movescu":
            keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={TREE}"]
            where = ["-aem", "THIRD", "-aec", "DIMSE", "127.0.0.1", port]
            _, output = await run(need("movescu"), "-d", "-S", *keys, *where)
            assert "DIMSE Status                  : 0xa702" in output
            assert "Failed Suboperations          : 3" in output
        else:
            where = [port, "THIRD", STUDY_ROOT.sop_class("move"), TREE]
            code, output = await run(need_pynetdicom(), str(PYNETDICOM_PEER), "move", *where)
            status, completed, *failed = output.split()
            assert (code, int(status), completed) == (0, 0xA702, "0")
            assert set(failed) == {"2.25.51100.1", "2.25.51100.2", "2.25.51200.1"}


async def test_pynetdicom_cancels_its_get(filled: Filled, tmp_path: Path) -> None:
    """After two instances; the one on its way may still come."""
    async with filled.serving() as port:
        where = [port, str(tmp_path), STUDY_ROOT.sop_class("get"), SOME, "--cancel", "2"]
        code, output = await run(need_pynetdicom(), str(PYNETDICOM_PEER), "get", *where)
    assert (code, int(output)) == (0, Status.CANCEL)
    assert 2 <= len(names_in(tmp_path)) < 150


async def test_movescu_cancels(filled: Filled, tmp_path: Path) -> None:
    """It has the study moved to itself, in one thread: it takes no instance while it cancels."""
    own = str(free_port())
    async with filled.serving(WS1=f"WS1@127.0.0.1:{own}") as port:
        keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={SOME}"]
        where = ["-aet", "WS1", "-aem", "WS1", "-aec", "DIMSE", "127.0.0.1", port]
        options = ["+P", own, "-od", str(tmp_path), "--cancel", "2"]
        _, output = await run(need("movescu"), "-d", "-S", *keys, *options, *where)
    assert "DIMSE Status                  : 0xfe00" in output
    assert 2 <= len(names_in(tmp_path)) < 150


async def test_orthanc_has_it_moved_to_itself(filled: Filled, tmp_path: Path) -> None:
    own = free_port()
    with Orthanc(tmp_path / "orthanc", DicomModalities={"dimse": ["DIMSE", "127.0.0.1", own]}) as orthanc:
        async with serving(filled.index, filled.data, destinations={"ORTHANC": orthanc.address}, port=own):
            asked = {"Level": "Study", "Resources": [{"StudyInstanceUID": MIXED}], "Synchronous": True}
            await asyncio.to_thread(orthanc.rest, "/modalities/dimse/move", asked)
            asked = {"Level": "Series", "Resources": [{"StudyInstanceUID": TREE, "SeriesInstanceUID": "2.25.51200"}]}
            await asyncio.to_thread(orthanc.rest, "/modalities/dimse/move", asked)
        statistics = json.loads(orthanc.rest("/statistics"))
        assert (statistics["CountStudies"], statistics["CountInstances"]) == (2, len(filled.mixed) + 1)
        for uid, path in filled.mixed.items():
            assert differences(orthanc.received(uid), path) == []
