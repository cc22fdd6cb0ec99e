"""A client that keeps its associations."""

from __future__ import annotations

import asyncio
import inspect
from pathlib import Path

import pytest
from tests.sample_objects import CT, MR, instance

import dimse
from dimse import AssociationRejected, Client, Query, Status, StatusError
from dimse.testing import Answer, FakeArchive, Refuse


async def test_jobs_share_an_association() -> None:
    with FakeArchive() as archive:
        async with Client(archive.address, calling_ae_title="WS1") as client:
            await client.echo()
            await client.echo()
            for number in range(3):
                report = await client.send(instance(f"1.2.{number}"))
                assert len(report.stored) == 1
        assert archive.connections == 2  # one for Verification, one for CT
        assert {each.calling_ae_title for each in archive.requests} == {"WS1"}
        assert len(archive.instances) == 3


async def test_a_search_left_early_gives_its_association_back() -> None:
    with FakeArchive([instance(f"1.2.{number}") for number in range(100)]) as archive:
        async with Client(archive.address) as client:
            async with client.find(Query.instances()) as finding:
                async for _ in finding:
                    break
            assert len([match async for match in client.find(Query.instances())]) == 100
        assert archive.connections == 1


async def test_an_association_for_more_serves_less() -> None:
    with FakeArchive() as archive:
        async with Client(archive.address) as client:
            await client.send([instance("1.2.1", sop_class=CT), instance("1.2.2", sop_class=MR)])
            await client.send(instance("1.2.3", sop_class=MR))
        assert archive.connections == 1


async def test_jobs_run_at_once() -> None:
    with FakeArchive() as archive:
        async with Client(archive.address, maximum_associations=2) as client:
            reports = await asyncio.gather(*(client.send(instance(f"1.2.{number}")) for number in range(6)))
        assert sum(len(report.stored) for report in reports) == 6
        assert archive.connections == 2


async def test_a_job_may_ask_for_more_associations_than_there_are() -> None:
    with FakeArchive() as archive:
        async with Client(archive.address, maximum_associations=1) as client:
            report = await client.send([instance(f"1.2.{number}") for number in range(6)], associations=3)
        assert len(report.stored) == 6
        assert archive.connections == 1


async def test_it_retrieves(tmp_path: Path) -> None:
    with FakeArchive([instance("1.2.1"), instance("1.2.2")]) as archive:
        async with Client(archive.address) as client:
            for folder in ("one", "two"):
                report = await client.retrieve(Query.studies(), into=tmp_path / folder)
                assert len(report.retrieved) == 2
        assert archive.connections == 2  # one to list, one to get


async def test_gets_share_an_association(tmp_path: Path) -> None:
    study = Query.studies(StudyInstanceUID="1.2.3.1")
    with FakeArchive([instance("1.2.1")], destinations={}) as archive:
        archive.destinations["WS1"] = archive.address
        async with Client(archive.address) as client:
            for folder in ("one", "two"):
                assert len((await client.get(study, into=tmp_path / folder)).retrieved) == 1
            assert (await client.move(study, "WS1")).suboperations.completed == 1
            assert (await client.move(study, "WS1")).suboperations.completed == 1
        assert archive.connections == 3  # one for all of these, and two that the archive opens to itself


async def test_a_refused_operation_leaves_the_association_usable() -> None:
    with FakeArchive() as archive:
        archive.on("C-ECHO", Answer(Status.NOT_AUTHORIZED), nth=1)
        async with Client(archive.address) as client:
            with pytest.raises(StatusError):
                await client.echo()
            await client.echo()
        assert archive.connections == 1


async def test_the_next_job_may_succeed_after_a_rejection() -> None:
    with FakeArchive() as archive:
        archive.on("A-ASSOCIATE", Refuse(), nth=1)
        async with Client(archive.address, maximum_associations=1) as client:
            with pytest.raises(AssociationRejected):
                await client.echo()
            await client.echo()


async def test_options_of_a_job_replace_those_of_the_client() -> None:
    with FakeArchive() as archive:
        async with Client(archive.address, calling_ae_title="WS1") as client:
            await client.echo()
            await client.echo(calling_ae_title="WS2")
            await client.echo()
        assert [each.calling_ae_title for each in archive.requests] == ["WS1", "WS2", "WS1"]
        assert archive.connections == 2


async def test_it_lends_an_association() -> None:
    with FakeArchive() as archive:
        async with Client(archive.address) as client:
            for _ in range(2):
                async with client.connect() as association:
                    await dimse.CEchoSCU(association).echo()
        assert archive.connections == 1


def test_its_methods_have_the_signatures_of_the_jobs() -> None:
    for job in (dimse.commit, dimse.echo, dimse.send, dimse.get, dimse.move, dimse.retrieve):
        of_job = list(inspect.signature(job).parameters.values())
        of_method = list(inspect.signature(getattr(Client, job.__name__)).parameters.values())
        assert of_method[0].name == "self"
        assert of_method[1:] == of_job[1:]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"maximum_associations": 0}, "maximum_associations must be at least 1"),
        ({"idle": -1}, "idle must be at least 0"),
    ],
)
def test_wrong_arguments_are_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Client("ARCHIVE@pacs", **arguments)  # type: ignore[arg-type]  # each has its type


def test_it_names_its_address() -> None:
    client = Client("ARCHIVE@pacs:104", timeout=5)
    assert repr(client) == "<Client ARCHIVE@pacs:104>"
    assert str(client.address) == "ARCHIVE@pacs:104"
    assert client.options.timeouts.find == 5
