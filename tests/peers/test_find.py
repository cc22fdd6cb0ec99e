"""C-FIND with peers: we ask Orthanc and dcmqrscp; findscu and pynetdicom ask us."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import date
from pathlib import Path

import pytest
from pydicom import Dataset, dcmread

import dimse
from dimse import CEchoSCU, CFindSCU, Matcher, Query, QueryRequest, QueryRetrieveLevel, QueryRetrieveModel, Status
from dimse.services.query_models import LEVELS

from .archive import ARCHIVES, MANY, MANY_SERIES, NAMES, TREE, TREE_SERIES, Archive, fill_up, named, study_uid, tree
from .processes import PYNETDICOM_PEER, names_in, need, need_pynetdicom, run

ROOTS = PATIENT_ROOT, STUDY_ROOT = QueryRetrieveModel.PATIENT_ROOT, QueryRetrieveModel.STUDY_ROOT
PATIENT, STUDY, SERIES, IMAGE = LEVELS
INSTANCES = {f"{series}.{number}" for series, (_, count) in TREE_SERIES.items() for number in range(1, count + 1)}


async def ask(archive: Archive, query: Query) -> list[Dataset]:
    async with dimse.connect(archive.address) as association:
        return [match async for match in CFindSCU(association).find(query)]


# We ask


@pytest.mark.parametrize(
    ("model", "level", "found"),
    [
        (PATIENT_ROOT, PATIENT, {"TREE"}),
        *((model, STUDY, {TREE}) for model in ROOTS),
        *((model, SERIES, set(TREE_SERIES)) for model in ROOTS),
        *(
            (model, IMAGE, {uid for uid in INSTANCES if uid.startswith("2.25.51100")})
            for model in (PATIENT_ROOT, STUDY_ROOT)
        ),
    ],
)
async def test_every_level_of_both_models(
    archive: Archive, model: QueryRetrieveModel, level: QueryRetrieveLevel, found: set[str]
) -> None:
    keys = {each: each.unique_key for each in LEVELS}
    above = {"PatientID": "TREE", "StudyInstanceUID": TREE, "SeriesInstanceUID": "2.25.51100"}
    levels = list(keys)[0 if model is PATIENT_ROOT else 1 : list(keys).index(level)]
    wanted = {keys[one]: above[keys[one]] for one in levels} | ({} if levels else {"PatientID": "TREE"})
    matches = await ask(archive, Query.of(level, wanted, model))
    assert sorted(match[keys[level]].value for match in matches) == sorted(found)
    assert {match.QueryRetrieveLevel for match in matches} == {str(level)}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        (Query.studies(PatientID="NAME-*"), list(NAMES)),
        (Query.studies(PatientID="NAME-?????se"), ["chinese"]),
        (Query.studies(PatientID="name-nobody*"), []),
        (Query.studies(PatientID="NAME-*").study_date(date(2020, 2, 29)), ["korean"]),
        (Query.studies(PatientID="NAME-*").study_date("20200101", "20200301"), ["japanese-utf-8", "korean", "chinese"]),
        (Query.studies(PatientID="NAME-*").study_date("20210101", None), ["russian", "latin-1"]),
        (Query.studies(PatientID="NAME-*").study_date(None, "20200101"), ["japanese", "japanese-utf-8"]),
        (Query.studies().study_instance_uid(study_uid("korean"), study_uid("russian")), ["korean", "russian"]),
        (Query.studies(StudyInstanceUID="2.25.1"), []),
    ],
)
async def test_matching(archive: Archive, query: Query, found: list[str]) -> None:
    """Wild cards, dates, ranges with an open end, lists of UIDs, and what matches nothing; our matcher agrees."""
    matches = await ask(archive, query)
    assert sorted(match.StudyInstanceUID for match in matches) == sorted(map(study_uid, found))
    ours = Matcher(query.find_identifier()).find([*named(), *tree()])
    assert sorted(match.StudyInstanceUID for match in ours) == sorted(map(study_uid, found))


@pytest.mark.parametrize("name", NAMES)
async def test_names_of_the_world(archive: Archive, name: str) -> None:
    _, patient, wild, _ = NAMES[name]
    (match,) = await ask(archive, Query.studies(StudyInstanceUID=study_uid(name)))
    assert match.PatientName == patient
    if name == "japanese" and archive.name == "dcmqrscp":
        assert await ask(archive, Query.studies(PatientName=wild)) == []  # its iconv lacks ISO 2022 IR 87
        return
    (match,) = await ask(archive, Query.studies(PatientName=wild))
    assert match.StudyInstanceUID == study_uid(name)
    assert match.PatientName == patient


@pytest.mark.parametrize("name", ["chinese", "russian", "latin-1", "greek"])
async def test_names_asked_for_in_their_own_character_set(archive: Archive, name: str) -> None:
    identifier = Dataset()
    identifier.SpecificCharacterSet, patient, wild, _ = NAMES[name]
    identifier.PatientName, identifier.StudyInstanceUID = wild, None
    async with dimse.connect(archive.address) as association:
        matches = [match async for match in CFindSCU(association).find(STUDY, identifier)]
    assert [(match.StudyInstanceUID, match.PatientName) for match in matches] == [(study_uid(name), patient)]


@pytest.mark.parametrize("key", ["RequestAttributesSequence", "RequestAttributesSequence.ScheduledProcedureStepID"])
async def test_sequence_keys(archive: Archive, key: str) -> None:
    """Orthanc returns the sequence; dcmqrscp does not support sequences, and ignores this one."""
    matches = await ask(archive, Query.series(StudyInstanceUID=TREE).returning(key))
    assert len(matches) == len(TREE_SERIES)
    if archive.name == "orthanc":
        steps = {match.RequestAttributesSequence[0].ScheduledProcedureStepID for match in matches}
        assert steps == {"STEP-1"}


@pytest.fixture(scope="module", params=ARCHIVES)
def full(request: pytest.FixtureRequest, archives: Callable[[str], Archive]) -> Archive:
    """An archive that has `MANY` too."""
    archive = archives(request.param)
    asyncio.run(fill_up(archive))
    return archive


def everything() -> Query:
    return Query.instances(StudyInstanceUID=MANY, SeriesInstanceUID=MANY_SERIES)


async def test_thousands_of_matches(full: Archive) -> None:
    uids = {match.SOPInstanceUID for match in await ask(full, everything())}
    assert len(uids) == full.many


async def test_leaving_early_cancels(full: Archive) -> None:
    """And the association is good for more."""
    async with dimse.connect(full.address) as association:
        scu = CFindSCU(association)
        async with scu.find(everything()) as matches:
            async for match in matches:
                assert match.SOPInstanceUID
                break
        assert matches.status == Status.CANCEL
        async for _ in scu.find(everything()):
            break  # without a block too
        assert len([match async for match in scu.find(Query.studies(StudyInstanceUID=TREE))]) == 1
        assert (await CEchoSCU(association).echo()).status == Status.SUCCESS


# They ask


class Asked:
    """A server that looks among the studies of `archive`."""

    def __init__(self) -> None:
        self.server = dimse.Server("DIMSE", port=0)
        self.server.on_c_find(self._find)
        self.requests: list[QueryRequest] = []
        self.closed = asyncio.Event()
        self._stored = [*named(), *tree()]

    async def _find(self, request: QueryRequest) -> AsyncIterator[Dataset]:
        self.requests.append(request)
        try:
            if request.identifier.get("PatientID") == "ENDLESS":
                for _ in range(10):
                    yield Dataset()
                await asyncio.Event().wait()
            for match in Matcher(request.identifier).find(self._stored):
                yield match
        finally:
            self.closed.set()

    @property
    def port(self) -> str:
        return str(self.server.port)


@asynccontextmanager
async def asked() -> AsyncIterator[Asked]:
    asked = Asked()
    async with asked.server:
        yield asked


async def findscu(asked: Asked, folder: Path, *arguments: str) -> tuple[list[Dataset], str]:
    """What it was given, and what it says."""
    code, output = await run(
        need("findscu"), "-v", *arguments, "-X", "-od", str(folder), "-aec", "DIMSE", "127.0.0.1", asked.port
    )
    assert code == 0, output
    return [dcmread(folder / name) for name in sorted(names_in(folder))], output


ROOT_OPTIONS = {PATIENT_ROOT: "-P", STUDY_ROOT: "-S"}


@pytest.mark.parametrize(
    ("model", "level", "key", "found"),
    [
        (PATIENT_ROOT, PATIENT, "PatientID", {"TREE"}),
        *((model, STUDY, "StudyInstanceUID", {TREE}) for model in ROOTS),
        *((model, SERIES, "SeriesInstanceUID", set(TREE_SERIES)) for model in ROOTS),
        *((model, IMAGE, "SOPInstanceUID", INSTANCES) for model in ROOTS),
    ],
)
@pytest.mark.parametrize("program", ["findscu", "pynetdicom"])
async def test_they_ask_for_every_level(
    tmp_path: Path, program: str, model: QueryRetrieveModel, level: QueryRetrieveLevel, key: str, found: set[str]
) -> None:
    async with asked() as scp:
        if program == "findscu":
            keys = [f"QueryRetrieveLevel={level}", "PatientID=TREE", *([key] if key != "PatientID" else [])]
            options = [option for each in keys for option in ("-k", each)]
            matches, _ = await findscu(scp, tmp_path, ROOT_OPTIONS[model], *options)
        else:
            matches, status = await pynetdicom_finds(scp, model, level, key, "PatientID=TREE")
            assert status == Status.SUCCESS
    assert sorted(match[key].value for match in matches) == sorted(found)
    assert {match.QueryRetrieveLevel for match in matches} == {str(level)}
    assert [(request.model, request.level) for request in scp.requests] == [(model, level)]


async def pynetdicom_finds(
    scp: Asked, model: QueryRetrieveModel, level: QueryRetrieveLevel, *keys: str, cancel: int = 0
) -> tuple[list[Dataset], int]:
    """The matches and the final status."""
    command = [need_pynetdicom(), str(PYNETDICOM_PEER), "find", scp.port, model.sop_class("find"), str(level)]
    code, output = await run(*command, "--cancel", str(cancel), *keys)
    assert code == 0, output
    *matches, status = map(json.loads, output.splitlines())
    return [Dataset.from_json(match) for match in matches], status


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("program", ["findscu", "pynetdicom"])
async def test_they_ask_for_names_of_the_world(tmp_path: Path, program: str, name: str) -> None:
    """findscu in UTF-8, pynetdicom in the character set of the study, in which the answer comes."""
    character_set, patient, wild, _ = NAMES[name]
    keys = [f"SpecificCharacterSet={'ISO_IR 192' if program == 'findscu' else character_set}", f"PatientName={wild}"]
    async with asked() as scp:
        if program == "findscu":
            options = ["-k", "QueryRetrieveLevel=STUDY", *(option for key in keys for option in ("-k", key))]
            matches, _ = await findscu(scp, tmp_path, "-S", *options)
        else:
            matches, _ = await pynetdicom_finds(scp, STUDY_ROOT, STUDY, *keys)
    assert [match.PatientName for match in matches] == [patient]


@pytest.mark.parametrize(("step", "count"), [("STEP-1", 1), ("STEP-2", 0), ("", 1)])
async def test_findscu_asks_with_a_sequence(tmp_path: Path, step: str, count: int) -> None:
    options = ["QueryRetrieveLevel=STUDY", "PatientID=TREE", "StudyInstanceUID"]
    sequence = f"RequestAttributesSequence[0].ScheduledProcedureStepID={step}"
    async with asked() as scp:
        keys = [option for each in [*options, sequence] for option in ("-k", each)]
        matches, _ = await findscu(scp, tmp_path, "-S", *keys)
    steps = [match.RequestAttributesSequence[0].ScheduledProcedureStepID for match in matches]
    assert steps == ["STEP-1"] * count


@pytest.mark.parametrize("program", ["findscu", "pynetdicom"])
async def test_they_cancel(tmp_path: Path, program: str) -> None:
    """What looks for more is closed."""
    async with asked() as scp:
        if program == "findscu":
            options = ["-k", "QueryRetrieveLevel=STUDY", "-k", "PatientID=ENDLESS"]
            _, output = await findscu(scp, tmp_path, "-S", "--cancel", "3", *options)
            assert "Cancel" in output.splitlines()[-2]
        else:
            _, status = await pynetdicom_finds(scp, STUDY_ROOT, STUDY, "PatientID=ENDLESS", cancel=3)
            assert status == Status.CANCEL
        await asyncio.wait_for(scp.closed.wait(), 10)
