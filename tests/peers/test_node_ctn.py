"""The Central Test Node of RSNA and a node: it stores there, and is what a C-MOVE sends to."""

from __future__ import annotations

from pathlib import Path

from pydicom import dcmread

from dimse.node import Node, NodeOptions
from tests.ports import free_port

from .archive import TREE, tree
from .processes import Peer, is_listened_on, need, run
from .samples import Samples, sop_instance_uid

KEPT = ("SOPClassUID", "StudyInstanceUID", "PatientName", "RequestAttributesSequence", "PixelData")


class SimpleStorage(Peer):
    """CTN's storage SCP, which puts each instance into a folder of its modality, and ends with a broken connection."""

    def __init__(self, folder: Path) -> None:
        port = free_port()
        super().__init__([need("simple_storage"), "-s", "-i", "-x", str(folder), str(port)], port, folder, title="CTN")

    def _listens(self) -> bool:
        return is_listened_on(self.port)


async def test_it_stores_and_is_sent_to(tmp_path: Path, samples: Samples) -> None:
    ct = samples["explicit"]
    files = [ct]
    for instance in tree():
        files.append(tmp_path / f"{instance.SOPInstanceUID}.dcm")
        instance.save_as(files[-1], enforce_file_format=True)
    with SimpleStorage(tmp_path / "ctn") as ctn:
        async with Node(NodeOptions(data=tmp_path / "data", port=0, destinations={"CTN": ctn.address})) as node:
            where = ["127.0.0.1", str(node.port)]
            code, output = await run(need("send_image"), "-r", "-q", "-c", "DIMSE", *where, *map(str, files))
            assert code == 0, output
            for study in (TREE, dcmread(ct).StudyInstanceUID):
                keys = ["-k", "QueryRetrieveLevel=STUDY", "-k", f"StudyInstanceUID={study}"]
                code, output = await run(need("movescu"), "-v", "-S", *keys, "-aem", "CTN", "-aec", "DIMSE", *where)
                assert code == 0, output
    received = {path.name: path for path in ctn.folder.rglob("*.*") if path.is_file()}
    assert set(received) == set(map(sop_instance_uid, files))
    for path in files:
        here, there = dcmread(path), dcmread(received[sop_instance_uid(path)], force=True)  # not as Part 10 has it
        assert [there.get(each) for each in KEPT] == [here.get(each) for each in KEPT]
