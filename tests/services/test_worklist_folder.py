"""`WorklistFolder`: which files it reads, when, and what it answers."""

from __future__ import annotations

import logging
import os
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from pydicom import Dataset
from pydicom.dataset import FileMetaDataset
from pydicom.uid import UID, ExplicitVRLittleEndian
from tests.worklist_items import save, scheduled

import dimse
from dimse import (
    CFindSCU,
    Query,
    QueryFeatures,
    QueryRetrieveModel,
    Server,
    Status,
    StatusError,
    Worklist,
    WorklistFolder,
)
from dimse.services import worklist_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


@pytest.fixture
async def address(folder: Path) -> AsyncIterator[str]:
    server = Server("RIS", port=0)
    server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST)(WorklistFolder(folder).find)
    async with server:
        yield f"RIS@127.0.0.1:{server.port}"


async def ids(address: str, **wanted: str) -> list[str]:
    return [match.PatientID async for match in dimse.find(address, Worklist(**wanted))]  # type: ignore[arg-type]


async def test_the_files_of_the_folder_and_of_the_called_title(folder: Path, address: str) -> None:
    for title in ("RIS", "OTHER"):
        (folder / title).mkdir()
        (folder / title / "lockfile").touch()
        save(scheduled(patient_id=title), folder / title / "1.wl")
    save(scheduled(patient_id="ALL"), folder / "1.wl")
    save(scheduled(patient_id="NOT"), folder / "1.dcm")
    (folder / "directory.wl").mkdir()
    assert await ids(address) == ["ALL", "RIS"]
    assert await ids(address.replace("RIS@", "OTHER@")) == ["ALL", "OTHER"]
    assert await ids(address.replace("RIS@", "..@")) == ["ALL"], "a title is no path"


async def test_files_come_change_and_go(folder: Path, address: str) -> None:
    path = save(scheduled(patient_id="1"), folder / "1.wl")
    assert await ids(address) == ["1"]
    save(scheduled(patient_id="2"), folder / "2.wl")
    assert await ids(address) == ["1", "2"]
    save(scheduled(patient_id="CHANGED"), folder / "new").rename(path)
    assert await ids(address) == ["CHANGED", "2"]
    path.unlink()
    assert await ids(address) == ["2"]


async def test_a_file_is_read_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    dataset_of = worklist_folder._dataset

    def noted(path: str) -> Dataset:
        read.append(path)
        return dataset_of(path)

    monkeypatch.setattr(worklist_folder, "_dataset", noted)
    first, second = (save(scheduled(), folder / f"{number}.wl") for number in range(2))
    monkeypatch.setattr(worklist_folder, "MAXIMUM_WORKLIST_KEPT", first.stat().st_size)
    worklist = WorklistFolder(folder)
    for _ in range(2):
        assert len([item async for item in worklist.items()]) == 2
    assert read == [str(first), str(second), str(second)], "there is room for one"
    first.unlink()
    for _ in range(2):
        assert len([item async for item in worklist.items()]) == 1
    assert read[3:] == [str(second)], "there is room again"


async def test_few_files_are_in_memory_at_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str] = []
    dataset_of = worklist_folder._dataset

    def noted(path: str) -> Dataset:
        read.append(path)
        return dataset_of(path)

    monkeypatch.setattr(worklist_folder, "_dataset", noted)
    monkeypatch.setattr(worklist_folder, "MAXIMUM_WORKLIST_KEPT", 0)
    monkeypatch.setattr(worklist_folder, "_TURN", 2)
    for number in range(6):
        save(scheduled(patient_id=str(number)), folder / f"{number}.wl")
    items = WorklistFolder(folder).items()
    assert [(item.PatientID, len(read)) async for item in items] == [
        ("0", 2),
        ("1", 2),
        ("2", 4),
        ("3", 4),
        ("4", 6),
        ("5", 6),
    ]


async def test_what_cannot_be_read_is_left_out_with_one_warning(
    folder: Path, address: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = save(scheduled(), folder / "1.wl").read_bytes()
    monkeypatch.setattr(worklist_folder, "MAXIMUM_WORKLIST_FILE", len(whole) + 100)
    (folder / "cut.wl").write_bytes(whole[:-20])
    (folder / "early.wl").write_bytes(whole[: whole.index(b"\x32\x00\x60\x10")])
    (folder / "empty.wl").touch()
    (folder / "text.wl").write_text("(0010,0010) PN [a dump]")
    (folder / "large.wl").write_bytes(whole + bytes(101))
    caplog.set_level(logging.WARNING, "dimse.worklist")
    for _ in range(2):
        assert await ids(address) == ["1"]
    lines = sorted(record.getMessage() for record in caplog.records if record.name == "dimse.worklist")
    assert [line.partition(": left out of the worklist: ")[0] for line in lines] == [
        str(folder / name) for name in ("cut.wl", "early.wl", "empty.wl", "large.wl", "text.wl")
    ]
    assert "has no Scheduled Procedure Step Sequence (0040,0100)" in lines[1]
    (folder / "early.wl").write_bytes(whole)
    assert await ids(address) == ["1", "1"], "it has become complete"


async def test_entries_that_cannot_be_looked_at_are_left_out(
    folder: Path, address: str, caplog: pytest.LogCaptureFixture
) -> None:
    save(scheduled(), folder / "1.wl")
    for name in ("loop.wl", "RIS"):
        (folder / name).symlink_to(folder / name)
    (folder / "file.wl").symlink_to(folder / "1.wl" / "below")
    (folder / "gone.wl").symlink_to(folder / "gone")
    os.mkfifo(folder / "pipe.wl")
    assert await ids(address) == ["1"]
    assert sum("left out of the worklist" in each for each in caplog.messages) == 3


def test_a_pipe_that_took_the_place_of_a_file_does_not_wait_for_its_writer(folder: Path) -> None:
    os.mkfifo(folder / "1.wl")
    assert worklist_folder._read(str(folder / "1.wl")) == ()


async def test_files_with_meta_information_are_read_too(folder: Path, address: str) -> None:
    item = scheduled()
    item.file_meta = FileMetaDataset()
    item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    item.file_meta.MediaStorageSOPInstanceUID = UID("1.2.3")
    item.preamble = bytes(128)
    item.save_as(folder / "1.wl")
    assert (folder / "1.wl").read_bytes()[128:132] == b"DICM"
    assert await ids(address) == ["1"]


async def test_a_file_with_two_steps_is_two_items(folder: Path, address: str) -> None:
    item = scheduled()
    item.ScheduledProcedureStepSequence += scheduled(Modality="MR").ScheduledProcedureStepSequence
    save(item, folder / "1.wl")
    matches = [match async for match in dimse.find(address, Worklist())]
    assert [[step.Modality for step in match.ScheduledProcedureStepSequence] for match in matches] == [["CT"], ["MR"]]
    assert await ids(address, modality="MR") == ["1"]


KANJI = ["", "ISO 2022 IR 87"]


@pytest.mark.parametrize(
    ("stored", "asked", "answered"),
    [
        ("ISO_IR 192", KANJI, KANJI),
        (KANJI, "ISO_IR 100", "ISO_IR 192"),
        (KANJI, None, KANJI),
        ("ISO_IR 192", "ISO_IR 144", "ISO_IR 192"),
    ],
)
async def test_the_character_set_of_an_answer(
    folder: Path, address: str, stored: str | list[str], asked: str | list[str] | None, answered: str | list[str]
) -> None:
    name = "Yamada^Tarou=山田^太郎"
    save(scheduled(name, character_set=stored), folder / "1.wl")
    identifier = Worklist().find_identifier()
    if asked is not None:
        identifier.SpecificCharacterSet = asked
    async with dimse.connect(address, contexts=[(dimse.uids.MODALITY_WORKLIST_FIND, dimse.uids.LITTLE_ENDIAN)]) as peer:
        find = CFindSCU(peer).find(None, identifier, model=QueryRetrieveModel.MODALITY_WORKLIST)
        [match] = [match async for match in find]
    assert match.SpecificCharacterSet == answered
    assert match.PatientName == name


async def test_an_ascii_answer_names_no_character_set(folder: Path, address: str) -> None:
    save(scheduled(character_set="ISO_IR 100"), folder / "1.wl")
    [match] = [match async for match in dimse.find(address, Worklist())]
    assert "SpecificCharacterSet" not in match


async def test_what_was_agreed_on_is_done_and_what_is_not_matched_is_told(folder: Path) -> None:
    save(scheduled(), folder / "1.wl")
    server, features = Server("RIS", port=0), QueryFeatures(fuzzy_names=True)
    server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST, features=features)(WorklistFolder(folder).find)
    model = QueryRetrieveModel.MODALITY_WORKLIST
    fuzzy = Query.in_model(model, PatientName="ada smi").negotiating(fuzzy_names=True)
    several = Dataset()
    several.ScheduledProcedureStepSequence = [Dataset(), Dataset()]
    async with server:
        address = f"RIS@127.0.0.1:{server.port}"
        assert len([match async for match in dimse.find(address, fuzzy)]) == 1
        async with dimse.connect(
            address, contexts=[(model.sop_class("find"), [ExplicitVRLittleEndian])]
        ) as association:
            found = CFindSCU(association).find(None, several, model=model)
            assert len([match async for match in found]) == 1
            assert found.unsupported_keys == 1


async def test_a_date_and_a_time_are_one_range(folder: Path, address: str) -> None:
    """PS3.4 Table K.6-1, without negotiation: the example of its remarks."""
    for name, date, time in (
        ("early", "05", "09"),
        ("first", "05", "11"),
        ("second", "06", "08"),
        ("late", "07", "19"),
    ):
        item = scheduled(
            patient_id=name,
            ScheduledProcedureStepStartDate=f"202407{date}",
            ScheduledProcedureStepStartTime=f"{time}00",
        )
        save(item, folder / f"{name}.wl")
    assert await ids(address, date="2024-07-05..2024-07-07", time="10:00-18:00") == ["first", "second"]
    assert await ids(address, date="2024-07-06", time="10:00-18:00") == []


async def test_a_folder_that_is_gone_is_a_failure(folder: Path, address: str) -> None:
    folder.rmdir()  # noqa: ASYNC240 - at once
    with pytest.raises(StatusError, match="the worklist cannot be read") as raised:
        await ids(address)
    assert raised.value.status == Status.CANNOT_UNDERSTAND


async def test_a_key_that_an_item_lacks_is_told(folder: Path) -> None:
    def unsupported(**keys: str) -> bool:
        item, identifier = scheduled(), Worklist(keys=keys).find_identifier()
        optional = [path for path in worklist_folder._keys(identifier) if path not in worklist_folder._REQUIRED]
        return any(worklist_folder._lacks(item, path) for path in optional)

    assert unsupported(AdmissionID="1")
    assert unsupported(ScheduledProcedureStepLocation="2")
    assert not unsupported(AccessionNumber="A1", ScheduledStationName="Room 1", PatientName="S*")
    assert not unsupported(AdmissionID="*")
