"""`dimse node`, as a user starts it, with DCMTK's clients: what is stored is found, got and moved, by those who may."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydicom import dcmread

from tests.ports import free_port

from .conftest import PeerFactory
from .processes import Peer, need, run, wait_until
from .samples import Samples, dataset_bytes, sop_instance_uid


class Node(Peer):
    """A `dimse node` with the rest of its configuration."""

    def __init__(self, folder: Path, configuration: str) -> None:
        port = free_port()
        folder.mkdir(parents=True)
        self.configuration = folder / "node.toml"
        self._head = f"web = false\n[node]\nae_title = 'ARCHIVE'\nport = {port}\n"
        self.configure(configuration)
        command = [sys.executable, "-m", "dimse", "node", "--data", str(folder), "--json"]
        super().__init__(command, port, folder, title="ARCHIVE")

    def configure(self, configuration: str) -> None:
        """Write the configuration, which a running node reads at SIGHUP."""
        self.configuration.write_text(f"{self._head}{configuration}")


@pytest.fixture
def node(tmp_path: Path, peer: PeerFactory) -> Iterator[Node]:
    """One to which SENDER may store, and that READER may find, get and move from, to STORESCP."""
    destination = peer("storescp").port
    peers = (
        '[[peer]]\nae_title = "SENDER"\nmay = ["store"]\n'
        '[[peer]]\nae_title = "READER"\nmay = ["find", "get", "move"]\n'
        f'[[peer]]\nae_title = "STORESCP"\nhost = "127.0.0.1"\nport = {destination}\nmay = []\n'
    )
    with Node(tmp_path / "archive", peers) as node:
        yield node


async def scu(node: Node, name: str, title: str, *options: str, paths: tuple[Path, ...] = ()) -> tuple[int, str]:
    called = ["-aet", title, "-aec", "ANYTHING", "127.0.0.1", str(node.port)]
    return await run(need(name), "-v", *options, *called, *map(str, paths))


async def test_what_is_stored_is_found_got_and_moved(
    node: Node, peer: PeerFactory, samples: Samples, tmp_path: Path
) -> None:
    ct, uid = samples["explicit"], sop_instance_uid(samples["explicit"])
    code, output = await scu(node, "storescu", "SENDER", paths=(ct,))
    assert code == 0, output
    dataset = dcmread(ct)
    study = f"StudyInstanceUID={dataset.StudyInstanceUID}"
    keys = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", study]
    code, output = await scu(node, "findscu", "READER", *keys, "-k", "PatientID")
    assert code == 0, output
    assert f"[{dataset.PatientID}" in output
    code, output = await scu(node, "getscu", "READER", *keys, "+B", "-od", str(tmp_path))
    assert code == 0, output
    (stored,) = (node.folder / "studies").rglob("*.dcm")
    assert dataset_bytes(tmp_path / uid) == dataset_bytes(stored)
    code, output = await scu(node, "movescu", "READER", *keys, "-aem", "STORESCP")
    assert code == 0, output
    assert dcmread(peer("storescp").received(uid)).SOPInstanceUID == uid


async def test_each_peer_may_do_what_the_configuration_says(node: Node, samples: Samples) -> None:
    for title, answer in (("SENDER", 0), ("READER", 0), ("STORESCP", 0), ("STRANGER", 1)):
        assert (await scu(node, "echoscu", title))[0] == answer
    code, output = await scu(node, "storescu", "READER", paths=(samples["explicit"],))
    assert code != 0
    assert "No Acceptable Presentation Contexts" in output
    _, output = await scu(node, "findscu", "SENDER", "-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID")
    assert "No Acceptable Presentation Contexts" in output
    keys = ["-S", "-k", "QueryRetrieveLevel=STUDY", "-k", "StudyInstanceUID=1.2.3"]
    _, output = await scu(node, "movescu", "READER", *keys, "-aem", "NOWHERE", "-d")
    assert "0xa801" in output


async def test_a_peer_that_is_configured_later_may_associate_after_sighup(node: Node) -> None:
    assert (await scu(node, "echoscu", "LATER"))[0] != 0
    node.configure('[[peer]]\nae_title = "LATER"\n')
    assert node.process is not None
    node.process.send_signal(signal.SIGHUP)
    wait_until(lambda: '"event": "reloaded"' in node.output(), "the node has reloaded")
    assert (await scu(node, "echoscu", "LATER"))[0] == 0
