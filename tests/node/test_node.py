"""A node, as programs and peers see it."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path
from urllib.request import urlopen

import pytest
from pydicom import dcmread
from pydicom.data import get_testdata_file
from tests.node.commits import all_told, settled, until
from tests.node.ingesting import files_of, status_of, stored
from tests.sample_objects import EXPLICIT, instance

import dimse
from dimse import Access, AssociationRejected, CEchoSCU, Status, uids
from dimse.node import CommandOptions, Node, NodeOptions, NodeServerOptions, SettlingOptions, WebOptions
from dimse.node.events import EventKind
from dimse.node.node_file import read

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))
STUDY = dcmread(CT).StudyInstanceUID


def options(data: Path, **more: object) -> NodeOptions:
    return NodeOptions(data=data, port=0, **more)  # type: ignore[arg-type]


async def test_it_answers_an_echo_at_its_address(tmp_path: Path) -> None:
    data = tmp_path / "which archive? #1, 100%41"
    async with Node(options(data, ae_title="ARCHIVE")) as node:
        assert (node.address.ae_title, node.address.port) == ("ARCHIVE", node.port)
        await dimse.echo(str(node.address))
    assert (data / "index.sqlite").exists()


async def test_one_node_serves_from_a_folder_and_the_next_one_after_it(tmp_path: Path) -> None:
    async with Node(options(tmp_path)):
        with pytest.raises(OSError, match="another node serves from this folder"):
            async with Node(options(tmp_path)):
                pass
    async with Node(options(tmp_path)) as node:
        await dimse.echo(str(node.address))


async def test_a_node_that_cannot_listen_leaves_its_folder(tmp_path: Path) -> None:
    async with Node(options(tmp_path / "one")) as node:
        with pytest.raises(OSError, match="in use"):
            async with Node(NodeOptions(data=tmp_path / "two", port=node.port)):
                pass
    async with Node(options(tmp_path / "two")):
        pass


async def test_other_peers_destinations_and_limits_are_those_of_new_associations(tmp_path: Path) -> None:
    first = options(tmp_path, server=NodeServerOptions(access=Access(peers=["CT1"])))
    async with Node(first) as node:
        address = str(node.address)
        async with dimse.connect(address, calling_ae_title="CT1") as before:
            node.reconfigure(options(tmp_path, server=NodeServerOptions(access=Access(peers=["CT2"]))))
            assert (await CEchoSCU(before).echo()).status == Status.SUCCESS
            with pytest.raises(AssociationRejected, match="calling AE title"):
                await dimse.echo(address, calling_ae_title="CT1")
            await dimse.echo(address, calling_ae_title="CT2")
            node.reconfigure(options(tmp_path, server=NodeServerOptions(maximum_associations=1)))
            with pytest.raises(AssociationRejected, match="limit"):
                await dimse.echo(address, calling_ae_title="CT2")


async def test_what_a_new_configuration_cannot_change_is_named(tmp_path: Path) -> None:
    first, second = (dimse.AuditLog(tmp_path / name) for name in ("first.xml", "second.xml"))
    async with Node(options(tmp_path, server=NodeServerOptions(audit=first))) as node:
        assert node.reconfigure(options(tmp_path, server=NodeServerOptions(audit=first, maximum_associations=5))) == []
        changed = options(tmp_path, ae_title="OTHER", server=NodeServerOptions(audit=second))
        assert node.reconfigure(changed) == ["ae_title", "audit"]
        await dimse.echo(node.address)
    first.close()
    assert (tmp_path / "first.xml").read_text()
    assert not (tmp_path / "second.xml").exists()


@pytest.mark.parametrize(
    ("peers", "host", "is_told"), [(None, "::", True), (["CT1"], "::", False), (None, "::1", False)]
)
async def test_a_port_that_is_open_to_all_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, peers: list[str] | None, host: str, is_told: bool
) -> None:
    async with Node(
        NodeOptions(data=tmp_path, host=host, port=0, server=NodeServerOptions(access=Access(peers=peers)))
    ):
        pass
    assert ("name the peers" in caplog.text) == is_told


async def test_a_move_to_where_the_peer_calls_from(tmp_path: Path) -> None:
    workstation, received = dimse.Server("WS1", port=0), list[str]()

    @workstation.on_c_store
    async def store(request: dimse.StoreRequest) -> Status:
        received.append(request.sop_instance_uid)
        return Status.SUCCESS

    async with workstation:
        destinations = {"WS1": f"WS1@from-association:{workstation.port}"}
        async with Node(options(tmp_path, destinations=destinations)) as node:
            await dimse.send(node.address, [CT], calling_ae_title="CT1")
            query = dimse.Query.studies(StudyInstanceUID=STUDY)
            async with dimse.connect(node.address, calling_ae_title="CT1") as peer:
                with pytest.raises(dimse.StatusError, match="0xA801"):
                    await anext(aiter(dimse.CMoveSCU(peer).move(query, "WS1")))
            async with dimse.connect(node.address, calling_ae_title="WS1") as peer:
                assert [each async for each in dimse.CMoveSCU(peer).move(query, "WS1")][-1].completed == 1
    assert received == [dcmread(CT).SOPInstanceUID]


async def test_64_senders_at_once_of_one_host_and_title(tmp_path: Path) -> None:
    """None is refused by the default limits, and nothing is lost."""
    async with Node(options(tmp_path)) as node:
        answers = [asyncio.get_running_loop().create_future() for _ in range(64)]

        async def send(number: int) -> Status:
            contexts = [(instance().SOPClassUID, [EXPLICIT])]
            async with dimse.connect(node.address, contexts=contexts) as association:
                answers[number].set_result(None)
                await asyncio.gather(*answers)
                return await status_of(association, instance(f"1.2.3.{number}"))

        statuses = await asyncio.wait_for(asyncio.gather(*map(send, range(64))), 30)
        assert statuses == [Status.SUCCESS] * 64
        assert len(stored(node.index)) == len(files_of(tmp_path)) == 64


async def test_what_is_stored_comes_back_after_a_restart(tmp_path: Path) -> None:
    data = tmp_path / "archive"
    async with Node(options(data)) as node:
        await dimse.send(node.address, [CT])
    async with Node(options(data)) as node, dimse.connect(node.address, contexts=dimse.retrieval_contexts()) as peer:
        study = dimse.Query.studies(StudyInstanceUID=STUDY)
        (got,) = [each async for each in dimse.CGetSCU(peer).get(study, into=tmp_path / "got")]
    assert got.path is not None
    assert dcmread(got.path) == dcmread(CT)


async def test_a_study_is_settled_when_its_association_has_ended(tmp_path: Path) -> None:
    settling = SettlingOptions(quiet=600, quiet_after_association=0.01)
    async with Node(options(tmp_path, settling=settling)) as node:
        await dimse.send(node.address, [CT])
        (event,) = await asyncio.wait_for(until(node.index, settled), 20)
    assert (event.study_uid, event.detail["because"]) == (STUDY, "association-end")


async def test_the_page_says_what_is_stored(tmp_path: Path) -> None:
    async with Node(options(tmp_path, web=WebOptions(port=0))) as node:
        assert node.page is not None
        await dimse.send(node.address, [CT])
        with await asyncio.to_thread(urlopen, f"{node.page.url}metrics") as answer:
            assert 'dimse_instances_stored_total{outcome="new"} 1.0' in answer.read().decode()


async def test_what_is_stored_is_found_with_what_was_negotiated(tmp_path: Path) -> None:
    async with Node(options(tmp_path, ae_title="ARCHIVE")) as node:
        await dimse.send(node.address, [CT])
        query = dimse.Query.studies(PatientName="comp*").returning("RetrieveAETitle")
        assert [each.RetrieveAETitle async for each in dimse.find(node.address, query)] == ["ARCHIVE"]
        features = dimse.QueryFeatures(relational=True, fuzzy_names=True)
        contexts = [dimse.ProposedContext(uids.STUDY_ROOT_FIND, [uids.EXPLICIT_VR_LITTLE_ENDIAN], features=features)]
        async with dimse.connect(node.address, contexts=contexts) as association:
            assert association.query_features(uids.STUDY_ROOT_FIND) == features


async def test_a_command_is_run_for_a_study(tmp_path: Path) -> None:
    run = ("sh", "-c", 'mkdir -p "$1" && touch "$1/$2"', "-", str(tmp_path / "told"), "{StudyInstanceUID}")
    commands = [CommandOptions(run=run, on=[EventKind.STUDY_CREATED])]
    async with Node(options(tmp_path / "data", commands=commands)) as node:
        await dimse.send(node.address, [CT])
        await asyncio.wait_for(until(node.index, all_told), 20)
    assert (tmp_path / "told" / STUDY).exists()


async def test_an_index_in_postgresql(tmp_path: Path, index_url: str) -> None:
    index = index_url if index_url.startswith("postgresql") else None
    async with Node(options(tmp_path, index=index)) as node:
        await dimse.send(node.address, [CT])
        assert len([each async for each in dimse.find(node.address, dimse.Query.studies())]) == 1
    assert (tmp_path / "index.sqlite").exists() == (index is None)


async def test_with_tls_each_title_needs_its_certificate(tmp_path: Path, pki: Path) -> None:
    config = tmp_path / "node.toml"
    tls = f'certificate = "{pki / "server.pem"}"\nkey = "{pki / "server.key"}"\nca = "{pki / "ca.pem"}"'
    peers = "".join(
        f'[[peer]]\nae_title = "{title}"\ncertificate_names = ["{name}"]\n'
        for title, name in (("CT1", "client"), ("CT2", "other"))
    )
    await asyncio.to_thread(config.write_text, f"web = false\n[node]\nport = 0\n[tls]\n{tls}\n{peers}")
    mine = dimse.TLSOptions(ca=pki / "ca.pem", certificate=pki / "client.pem", key=pki / "client.key")
    async with Node(read(config, tmp_path / "data")) as node:
        await dimse.echo(node.address, options=dimse.ClientOptions(calling_ae_title="CT1", tls=mine))
        with pytest.raises(AssociationRejected):
            await dimse.echo(node.address, options=dimse.ClientOptions(calling_ae_title="CT2", tls=mine))


RUN = """
import sys
from pathlib import Path
from dimse.node import Node, NodeOptions

class Told(Node):
    async def __aenter__(self):
        await super().__aenter__()
        print(self.address, flush=True)
        return self

Told(NodeOptions(data=Path(sys.argv[1]), port=0)).run()
print("ended")
"""


async def test_run_serves_until_a_signal(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", RUN, str(tmp_path), stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    await dimse.echo((await process.stdout.readline()).decode().strip())
    process.send_signal(signal.SIGTERM)
    assert (await process.communicate())[0] == b"ended\n"
    assert process.returncode == 0
