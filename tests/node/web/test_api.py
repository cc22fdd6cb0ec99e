"""What the page is answered."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from PIL import Image
from pydicom import dcmread
from pydicom.data import get_testdata_file
from sqlalchemy import insert
from tests.node.web.archive import add, ask, serving

from dimse.node.events import EventKind, record
from dimse.node.index import Index
from dimse.node.schema import job
from dimse.node.web.rendering import PROCESSES
from dimse.services.move_scp import MoveDestination
from dimse.services.server import Server

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))
MR = Path(str(get_testdata_file("MR_small_RLE.dcm", download=False)))
PLAN = Path(str(get_testdata_file("rtplan.dcm", download=False)))


def uids(file: Path) -> tuple[str, str, str]:
    header = dcmread(file, stop_before_pixels=True)
    return header.StudyInstanceUID, header.SeriesInstanceUID, header.SOPInstanceUID


def path_of(file: Path, what: str) -> str:
    study, series, uid = uids(file)
    return f"/api/studies/{study}/series/{series}/instances/{uid}/{what}"


def series_path(file: Path) -> str:
    study, series, _ = uids(file)
    return f"/api/studies/{study}/series/{series}"


async def test_a_study_is_found_by_each_key_and_by_none(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, CT, MR)
    async with serving(index, tmp_path) as web:
        both = (await ask(web, "/api/search", {})).json
        assert [each["uid"] for each in both["studies"]] == [uids(MR)[0], uids(CT)[0]]  # the newest first
        assert both["after"] is None
        for key in (
            {"name": "comp"},
            {"name": "ct1 compressedSamples"},
            {"patient_id": "1CT1"},
            {"modality": "CT"},
            {"description": "E+1"},
            {"last_date": 20040119},
            {"first_date": 20040101, "last_date": 20041231, "modality": "CT"},
        ):
            found = (await ask(web, "/api/search", {"modality": "CT", **key})).json["studies"]
            assert [each["name"] for each in found] == ["CompressedSamples^CT1"], key
        assert (await ask(web, "/api/search", {"name": "nobody"})).json == {"studies": [], "after": None}


@pytest.mark.parametrize(
    "keys",
    [
        *({"name": 5}, {"name": "x" * 201}, {"name": "\ud800"}, {"modality": "\0"}, {"first_date": "2004"}),
        *({"first_date": True}, {"after": [1]}, {"after": [20240101, 2**63]}, ["name"], "x"),
    ],
)
async def test_a_search_that_is_not_valid_is_refused_with_words(
    sqlite_index: Index, tmp_path: Path, keys: object
) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        answer = await ask(web, "/api/search", keys)
        assert answer.status == 400
        assert " must be " in answer.json["problem"]


async def test_a_study_has_its_series_and_they_their_instances(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, CT, PLAN)
    async with serving(index, tmp_path) as web:
        found = (await ask(web, f"/api/studies/{uids(CT)[0]}")).json
        assert (found["instance_count"], found["modalities"]) == (1, ["CT"])
        assert [each["uid"] for each in found["series"]] == [uids(CT)[1]]
        (only,) = (await ask(web, series_path(CT))).json["instances"]
        assert (only["uid"], only["is_image"], only["frames"]) == (uids(CT)[2], True, 1)
        (plan,) = (await ask(web, series_path(PLAN))).json["instances"]
        assert (plan["is_image"], plan["kind"]) == (False, "RT Plan Storage")


async def test_what_is_not_there_is_said_to_be_missing(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        for path in ("/api/studies/1.2", series_path(CT), "/api/studies/..%2f..", path_of(CT, "tags"), "/x"):
            answer = await ask(web, path)
            assert answer.status == 404
            assert answer.json["problem"]


async def test_a_frame_is_drawn_in_the_window_and_size_that_are_asked_for(sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT, MR)
    async with serving(sqlite_index, tmp_path) as web:
        whole = await ask(web, path_of(CT, "frames/1"))
        assert whole.headers["content-type"] == "image/jpeg"
        assert Image.open(io.BytesIO(whole.body)).size == (128, 128)
        assert whole.headers["x-window"] == "135.5,2063"
        dark = await ask(web, path_of(CT, "frames/1?window=5000,100&size=64"))
        drawn = Image.open(io.BytesIO(dark.body))
        assert (drawn.size, drawn.getextrema()) == ((64, 64), (0, 0))
        assert (await ask(web, path_of(MR, "frames/1"))).status == 200  # RLE
        for query in ("window=1", "window=a,b", "window=1,0", "window=1,-5", "window=nan,5", "size=9999", "size=x"):
            assert (await ask(web, path_of(CT, f"frames/1?{query}"))).status == 400


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 19, "²", "-1", "x"], ids=["long", "large", "square", "less", "x"])
async def test_a_number_that_is_none_is_refused(sqlite_index: Index, tmp_path: Path, number: str) -> None:
    add(sqlite_index, tmp_path, CT)
    async with serving(sqlite_index, tmp_path) as web:
        for path in (f"/api/events?after={quote(number)}", path_of(CT, f"frames/{quote(number)}")):
            assert (await ask(web, path)).status == 400, path


async def test_why_there_is_no_picture_is_said(sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, PLAN, CT)
    async with serving(sqlite_index, tmp_path) as web:
        answer = await ask(web, path_of(PLAN, "frames/1"))
        assert (answer.status, answer.json["problem"]) == (422, "cannot be shown: RT Plan Storage has no image")
        assert "frame 2" in (await ask(web, path_of(CT, "frames/2"))).json["problem"]
        study, series, uid = uids(CT)
        (tmp_path / "studies" / study / series / f"{uid}.dcm").unlink()
        assert (await ask(web, path_of(CT, "frames/1"))).json["problem"] == "cannot be shown: its file is missing"


async def test_a_picture_whose_client_has_gone_is_not_drawn(sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT, MR)
    study, series, uid = uids(CT)
    endless = tmp_path / "studies" / study / series / f"{uid}.dcm"
    endless.unlink()
    os.mkfifo(endless)
    request = f"GET {path_of(CT, 'frames/1')} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()
    async with serving(sqlite_index, tmp_path) as web:
        for number in range(3 * PROCESSES):
            _, client = await asyncio.open_connection("127.0.0.1", web.port)
            client.write(request)
            await client.drain()
            if not number:
                writer = await asyncio.to_thread(os.open, endless, os.O_WRONLY)  # when it is being drawn
            client.close()
        picture = asyncio.create_task(ask(web, path_of(MR, "frames/1")))
        await ask(web, "/api/node")
        os.close(writer)  # what is being drawn ends; another one would not
        assert (await picture).status == 200


async def test_the_thumbnail_of_a_series_is_kept(sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT, PLAN)
    study, series, uid = uids(CT)
    async with serving(sqlite_index, tmp_path) as web:
        first = await ask(web, f"{series_path(CT)}/thumbnail")
        (tmp_path / "studies" / study / series / f"{uid}.dcm").unlink()
        again = await ask(web, f"{series_path(CT)}/thumbnail")
        assert (again.status, again.body) == (200, first.body)
        plan = await ask(web, f"{series_path(PLAN)}/thumbnail")
        assert (plan.status, plan.body) == (204, b"")


async def test_the_elements_of_an_instance_are_a_tree(sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, PLAN)
    async with serving(sqlite_index, tmp_path) as web:
        tags = {each["tag"]: each for each in (await ask(web, path_of(PLAN, "tags"))).json["tags"]}
        name = {"tag": "(0010,0010)", "name": "Patient's Name", "vr": "PN", "value": "Last^First^mid^pre"}
        assert tags["(0010,0010)"] == name
        beams = tags["(300A,00B0)"]
        assert (beams["vr"], beams["value"], beams["items"][0][0]["vr"]) == ("SQ", "1 item", "LO")


async def test_names_are_shown_in_their_characters(index: Index, tmp_path: Path) -> None:
    dataset = dcmread(CT)
    dataset.SpecificCharacterSet = ["ISO_IR 100", "ISO 2022 IR 87"]
    dataset.PatientName = "Müller^Anna=山田^花子"
    dataset.save_as(tmp_path / "ct.dcm")
    add(index, tmp_path, tmp_path / "ct.dcm")
    async with serving(index, tmp_path) as web:
        for words in ("muller", "MÜLLER anna", "花子"):
            (found,) = (await ask(web, "/api/search", {"name": words})).json["studies"]
            assert found["name"] == "Müller^Anna=山田^花子"


async def test_events_follow(index: Index, tmp_path: Path) -> None:
    with index.writing() as connection:
        for number in range(3):
            record(connection, EventKind.STUDY_SETTLED, study_uid=f"1.{number}", detail={"because": "quiet"})
    async with serving(index, tmp_path) as web:
        found = (await ask(web, "/api/events")).json["events"]
        assert [each["study"] for each in found] == ["1.0", "1.1", "1.2"]
        assert (found[0]["kind"], found[0]["detail"]) == ("study-settled", {"because": "quiet"})
        following = (await ask(web, f"/api/events?after={found[1]['id']}")).json["events"]
        assert [each["study"] for each in following] == ["1.2"]


async def test_failing_jobs_are_with_the_events(index: Index, tmp_path: Path) -> None:
    with index.writing() as connection:
        for number, failed in enumerate(({}, {"attempts": 2, "problem": "refused"})):
            row = {"kind": "k", "payload": {}, "queue": f"q{number}", "not_before": 0.0}
            connection.execute(insert(job).values({**row, **failed}))
    async with serving(index, tmp_path) as web:
        failing = (await ask(web, "/api/events")).json["failing"]
    assert failing == [{"queue": "q1", "waiting": 1, "attempts": 2, "problem": "refused"}]


async def test_peers_are_reached_by_an_echo_or_it_is_said_why_not(sqlite_index: Index, tmp_path: Path) -> None:
    known: dict[str, MoveDestination] = {}
    async with Server("HERE", port=0) as peer, serving(sqlite_index, tmp_path, destinations=lambda: known) as web:
        known["HERE"] = MoveDestination(f"HERE@127.0.0.1:{peer.port}")
        known["GONE"] = MoveDestination("GONE@127.0.0.1:1")
        listed = (await ask(web, "/api/peers")).json["peers"]
        assert [each["ae_title"] for each in listed] == ["GONE", "HERE"]
        here = (await ask(web, "/api/peers/echo", {"ae_title": "HERE"})).json
        assert here["is_reached"]
        assert here["seconds"] > 0
        gone = (await ask(web, "/api/peers/echo", {"ae_title": "GONE"})).json
        assert not gone["is_reached"]
        assert "127.0.0.1:1" in gone["problem"]
        assert (await ask(web, "/api/peers/echo", {"ae_title": "OTHER"})).status == 404


async def test_the_node_says_what_it_holds(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, CT, MR)
    async with serving(index, tmp_path) as web:
        said = (await ask(web, "/api/node")).json
        assert (said["ae_title"], said["studies"], said["instances"], said["problems"]) == ("NODE", 2, 2, {})
