"""Modality Worklist: of DCMTK and Orthanc, asked by us; ours, asked by DCMTK, pynetdicom, CTN and odil.

The three worklists have the same folder, and answer the same queries.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pytest
from pydicom import dcmread

import dimse
from dimse import Worklist
from tests.ports import free_port
from tests.worklist_items import save, scheduled

from .processes import Orthanc, Peer, need, need_odil, need_pynetdicom, run, until

EXAMPLE = Path(__file__).parent.parent.parent / "examples" / "worklist.py"
WORKLIST_PEER = str(Path(__file__).with_name("worklist_peer.py"))
ORTHANC_PLUGIN = Path("/usr/share/orthanc/plugins/libModalityWorklists.so")
TODAY = f"{date.today():%Y%m%d}"  # noqa: DTZ011 - a worklist has no time zone

ITEMS = {
    "SMITH": scheduled("Smith^Ada", "SMITH"),
    "SMYTHE": scheduled("Smythe^Bob", "SMYTHE", ScheduledProcedureStepStartTime="140000", AccessionNumber="A2"),
    "MUELLER": scheduled(
        "Müller^Jörg", "MUELLER", character_set="ISO_IR 100", ScheduledProcedureStepStartDate="20240301"
    ),
    "YAMADA": scheduled(
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
        "YAMADA",
        character_set=["", "ISO 2022 IR 87"],
        Modality="MR",
        ScheduledStationAETitle="MR1",
    ),
    "LUXEMBURG": scheduled("Люксембург^Роза", "LUXEMBURG", character_set="ISO_IR 144", RequestedProcedureID="R2"),
    "TODAY": scheduled("Now^Nora", "TODAY", ScheduledProcedureStepStartDate=TODAY),
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("worklist") / "RIS"
    folder.mkdir()
    (folder / "lockfile").touch()
    for name, item in ITEMS.items():
        save(item, folder / f"{name}.wl")
    return folder


def wlmscpfs(folder: Path) -> Peer:
    port = free_port()
    return Peer(
        [need("wlmscpfs"), "-csk", "-dfp", str(folder.parent), str(port)],
        port,
        folder.parent.parent / "wlmscpfs",
        title="RIS",
    )


def orthanc(folder: Path) -> Peer:
    if not ORTHANC_PLUGIN.exists():
        pytest.skip("Orthanc's ModalityWorklists plugin is not installed (Debian: apt install orthanc)")
    return Orthanc(
        folder.parent.parent / "orthanc",
        DefaultEncoding="Utf8",
        DicomAlwaysAllowFindWorklist=True,
        Plugins=[str(ORTHANC_PLUGIN)],
        Worklists={"Enable": True, "Database": str(folder), "FilterIssuerAet": False},
    )


def ours(folder: Path) -> Peer:
    port = free_port()
    command = [sys.executable, "-m", "dimse", "worklist-server", str(folder), "--port", str(port)]
    return Peer(command, port, folder.parent.parent / "ours", title="RIS")


@pytest.fixture(scope="module")
def peers(folder: Path) -> Iterator[dict[str, Peer]]:
    made = {"wlmscpfs": wlmscpfs(folder), "orthanc": orthanc(folder), "ours": ours(folder)}
    with made["wlmscpfs"], made["orthanc"], made["ours"]:
        yield made


async def found(peer: Peer, worklist: Worklist) -> set[tuple[str, str]]:
    """The patients that a worklist returns: IDs and names, without what pads them."""
    matches = [match async for match in dimse.find(peer.address, worklist)]
    return {(match.PatientID, str(match.PatientName)) for match in matches}


QUERIES = {
    "everything": (Worklist(), set(ITEMS)),
    "a station": (Worklist(station_ae_title="MR1"), {"YAMADA"}),
    "a modality": (Worklist(modality="MR"), {"YAMADA"}),
    "a day": (Worklist(date="2024-03-01"), {"MUELLER"}),
    "today": (Worklist(date=TODAY), {"TODAY"}),
    "days": (Worklist(date="2024-02-01..2024-02-29"), {"SMITH", "SMYTHE", "YAMADA", "LUXEMBURG"}),
    "until a day": (Worklist(date="<2024-03-01"), {"SMITH", "SMYTHE", "YAMADA", "LUXEMBURG"}),
    "an afternoon": (Worklist(time="12:00-18:00"), {"SMYTHE"}),
    "a wild card": (Worklist(patient_name="Sm?th*"), {"SMITH", "SMYTHE"}),
    "an ID": (Worklist(patient_id="SMITH"), {"SMITH"}),
    "an order": (Worklist(accession_number="A2"), {"SMYTHE"}),
    "a procedure": (Worklist(requested_procedure_id="R2"), {"LUXEMBURG"}),
    "a physician": (Worklist(performing_physician="Doe*"), set(ITEMS)),
    "nothing": (Worklist(station_ae_title="US1"), set[str]()),
    "several keys": (
        Worklist(station_ae_title="CT1", modality="CT", date="2024-02-29", patient_name="*"),
        {"SMITH", "SMYTHE", "LUXEMBURG"},
    ),
}


@pytest.mark.parametrize("name", QUERIES)
async def test_three_worklists_answer_alike(peers: dict[str, Peer], name: str) -> None:
    worklist, expected = QUERIES[name]
    names = {(patient, str(ITEMS[patient].PatientName)) for patient in expected}
    answers = {peer: await found(peers[peer], worklist) for peer in peers}
    assert answers == dict.fromkeys(peers, names)


async def test_a_key_that_a_worklist_ignores_is_noticed(
    peers: dict[str, Peer], caplog: pytest.LogCaptureFixture
) -> None:
    """wlmscpfs matches no station names, and returns everything."""
    assert await found(peers["wlmscpfs"], Worklist(station_name="Room 2")) == set()
    assert "it ignores the key ScheduledProcedureStepSequence.ScheduledStationName" in caplog.text
    assert len(await found(peers["wlmscpfs"], Worklist(station_name="Room 1"))) == len(ITEMS)


# Others ask ours


async def test_findscu_asks_ours(peers: dict[str, Peer]) -> None:
    keys = [
        "-k",
        "(0040,0100)[0].Modality=MR",
        "-k",
        "PatientName=Yama*",
        "-k",
        "PatientID",
        "-k",
        "AccessionNumber=A1",
    ]
    code, output = await run(need("findscu"), "-v", "-W", "-aec", "RIS", *keys, "127.0.0.1", str(peers["ours"].port))
    assert code == 0, output
    assert "[YAMADA]" in output
    assert "SMITH" not in output
    assert "(0040,0100) SQ" in output


async def test_findscu_is_told_of_keys_that_are_not_matched(peers: dict[str, Peer]) -> None:
    keys = ["-k", "(0040,0100)[0].Modality=MR", "-k", "PatientID", "-k", "AdmissionID=7"]
    code, output = await run(need("findscu"), "-d", "-W", "-aec", "RIS", *keys, "127.0.0.1", str(peers["ours"].port))
    assert code == 0, output
    assert "0xff01" in output, output


async def test_a_query_of_findscu_may_name_its_character_set(peers: dict[str, Peer], tmp_path: Path) -> None:
    asked = tmp_path / "query.dcm"
    identifier = Worklist(patient_name="*山田*").find_identifier()
    identifier.SpecificCharacterSet = ["", "ISO 2022 IR 87"]
    save(identifier, asked)
    command = [need("findscu"), "-v", "-W", "-aec", "RIS", "-X", "-od", str(tmp_path), "127.0.0.1"]
    code, output = await run(*command, str(peers["ours"].port), str(asked))
    assert code == 0, output
    answer = dcmread(tmp_path / "rsp0001.dcm", force=True)
    assert answer.SpecificCharacterSet == ["", "ISO 2022 IR 87"]
    assert answer.PatientName == "Yamada^Tarou=山田^太郎=やまだ^たろう"


async def test_ctn_asks_ours(peers: dict[str, Peer], tmp_path: Path) -> None:
    asked = tmp_path / "query"
    Worklist(modality="MR").find_identifier().save_as(asked, implicit_vr=True, little_endian=True)
    command = [need("mwlQuery"), "-a", "MR1", "-c", "RIS", "-f", str(asked), "127.0.0.1", str(peers["ours"].port)]
    code, output = await run(*command)
    assert code == 0, output
    assert output.count("ff00") == 1
    assert "YAMADA" in output


async def test_pynetdicom_asks_ours(peers: dict[str, Peer]) -> None:
    asked = [need_pynetdicom(), WORKLIST_PEER, "pynetdicom", str(peers["ours"].port), "MR"]
    assert await run(*asked) == (0, "0xff00 YAMADA\n0x0000 \n")


async def test_odil_asks_ours(peers: dict[str, Peer]) -> None:
    asked = [need_odil(), WORKLIST_PEER, "odil", str(peers["ours"].port), "MR"]
    assert await run(*asked) == (0, "YAMADA\n")


async def test_we_ask_pynetdicom_and_cancel(tmp_path: Path, folder: Path) -> None:
    port = free_port()
    command = [need_pynetdicom(), WORKLIST_PEER, "pynetdicom-scp", str(port), str(folder / "YAMADA.wl")]
    with Peer(command, port, tmp_path / "peer", title="RIS") as peer:
        async with dimse.find(peer.address, Worklist(modality="MR")) as matches:
            first = await anext(matches)
        assert [step.Modality for step in first.ScheduledProcedureStepSequence] == ["MR"]
        await until(lambda: "cancelled" in peer.output())


async def test_the_example_shows_the_worklist_of_dcmtk(peers: dict[str, Peer]) -> None:
    printed = await run(sys.executable, str(EXAMPLE), peers["wlmscpfs"].address, "CT1", "CT")
    assert printed == (0, "083000 TODAY Now^Nora\n")
