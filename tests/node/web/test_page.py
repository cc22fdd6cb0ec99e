"""The page in a browser, at the sizes of a desk and a phone."""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
import pytest_asyncio
from pydicom import DataElement, dcmread
from pydicom.config import IGNORE
from pydicom.data import get_testdata_file
from pydicom.uid import UID
from sqlalchemy import insert, update
from tests.node.web.archive import add, problem, serving
from tests.node.web.browser import CHROMIUM, Browser, Page, browsing
from tests.node.web.test_browsing import rows

import dimse
from dimse.node.events import EventKind, record
from dimse.node.index import Index
from dimse.node.jobs import defer
from dimse.node.options import WebOptions
from dimse.node.schema import job, study
from dimse.node.web.app import WebServer
from dimse.services.move_scp import MoveDestination

IN_CI: Final = os.environ.get("CI") == "true" and sys.platform == "linux"
"""Where each of our runners has it."""

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None and not IN_CI, reason="chromium is not installed"),
    pytest.mark.asyncio(loop_scope="module"),  # that of the browser
]

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))
PLAN = Path(str(get_testdata_file("rtplan.dcm", download=False)))
MIDDLE: Final = """(({ width, height }, context) => context.getImageData(width / 2, height / 2, 1, 1).data[0])(
    document.querySelector('canvas'), document.querySelector('canvas').getContext('2d'))"""
SIZES: Final = {"desk": (1440, 900), "phone": (390, 844)}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Browser]:
    """The browser, in which each test has a page."""
    async with browsing() as browser:
        yield browser


def stack(folder: Path, number: int) -> list[Path]:
    """A series of `number` images."""
    dataset = dcmread(CT)
    dataset.PatientName = "<b>Doe</b>^Jane"
    files = []
    for each in range(number):
        dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = UID(f"1.2.3.{each + 1}")
        dataset.InstanceNumber = each + 1
        files.append(folder / f"{each}.dcm")
        dataset.save_as(files[-1])
    return files


@asynccontextmanager
async def opened(
    browser: Browser, index: Index, data: Path, size: str = "desk", **parts: Any
) -> AsyncIterator[tuple[WebServer, Page]]:
    """The page of an archive in a browser. What its console says in the end is a failure."""
    async with serving(index, data, **parts) as web, browser.page() as page:
        width, height = SIZES[size]
        await page.size(width, height, is_phone=size == "phone")
        await page.go(web.url)
        await page.until(
            "document.querySelector('h1')?.textContent === 'Studies' && !document.querySelector('[disabled]')"
        )
        yield web, page
        assert page.problems == []


async def fits(page: Page) -> bool:
    """Whether nothing is wider than the window."""
    fitting: bool = await page.run("document.documentElement.scrollWidth <= document.documentElement.clientWidth")
    return fitting


@pytest.mark.parametrize("size", SIZES)
async def test_from_the_list_to_an_image_and_back(
    browser: Browser, sqlite_index: Index, tmp_path: Path, size: str
) -> None:
    add(sqlite_index, tmp_path, *stack(tmp_path, 5), PLAN)
    async with opened(browser, sqlite_index, tmp_path, size) as (_, page):
        assert "<b>Doe</b>, Jane" in await page.text()  # as text, not as an element
        assert await fits(page)
        await page.run(
            "[...document.querySelectorAll('tr.link a')].find((each) => each.textContent.includes('Jane')).click()"
        )
        await page.until("document.querySelector('.thumb img')?.naturalWidth")
        assert "5 instances" in await page.text()
        assert "More may come" in await page.text()
        with sqlite_index.writing() as connection:
            connection.execute(update(study).values(settled_at=1.7e9, settled_because="quiet"))
        await page.run("location.reload()")
        await page.until("document.body.innerText.includes('Settled 2023-11-1')")
        await page.until("document.querySelector('.thumb img')?.naturalWidth")
        assert await fits(page)
        await page.run("document.querySelector('.grid a').click()")
        await page.until("document.querySelector('.over.br').textContent === 'C 136  W 2063'")
        assert await fits(page)
        assert "Image 3 of 5" in await page.text()
        await page.key("ArrowDown")
        await page.key("ArrowDown")
        await page.key("ArrowDown")
        await page.until("document.querySelector('.over.bl').textContent === 'Image 5 of 5'")
        await page.mouse("mouseWheel", 150, 400, deltaX=0, deltaY=-90)
        await page.until("document.querySelector('.over.bl').textContent !== 'Image 5 of 5'")
        await page.run("history.back()")
        await page.until("document.querySelector('.grid a')")
        await page.run("history.back()")
        await page.until("document.querySelectorAll('tr.link').length === 2")


async def test_the_window_is_changed_by_dragging_typing_and_presets(
    browser: Browser, sqlite_index: Index, tmp_path: Path
) -> None:
    add(sqlite_index, tmp_path, CT)
    header = dcmread(CT, stop_before_pixels=True)
    async with opened(browser, sqlite_index, tmp_path) as (_, page):
        await page.run(f"location.hash = '#/study/{header.StudyInstanceUID}/{header.SeriesInstanceUID}'")
        level = "document.querySelector('.over.br').textContent"
        await page.until(f"{level} === 'C 136  W 2063'")
        await page.mouse("mousePressed", 600, 400, button="left", buttons=1, clickCount=1)
        await page.mouse("mouseMoved", 650, 420, button="left", buttons=1)
        await page.mouse("mouseReleased", 650, 420, button="left", clickCount=1)
        await page.until(f"{level} === 'C 273  W 2407'")
        await page.run(
            "(() => { const select = document.querySelector('select'); select.value = '-600,1500'; "
            "select.dispatchEvent(new Event('change', { bubbles: true })); })()"
        )
        await page.until(f"{level} === 'C -600  W 1500'")
        await page.run("document.querySelector('#width').focus()")
        await page.run("document.querySelector('#width').select()")
        await page.call("Input.insertText", text="300")
        await page.key("Enter")
        await page.until(f"{level} === 'C -600  W 300'")
        await page.until(f"{MIDDLE} > 200")  # all of the body is above this window


async def test_the_tags_of_an_instance_can_be_searched(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, PLAN)
    header = dcmread(PLAN, stop_before_pixels=True)
    async with opened(browser, sqlite_index, tmp_path, "phone") as (_, page):
        await page.run(f"location.hash = '#/study/{header.StudyInstanceUID}/{header.SeriesInstanceUID}'")
        await page.until("document.querySelector('.stage .says').textContent.includes('RT Plan Storage has no image')")
        await page.run("[...document.querySelectorAll('button')].find((each) => each.textContent === 'Tags').click()")
        await page.until("document.querySelectorAll('.tree .tag').length > 20")
        assert await fits(page)
        await page.run(
            "(() => { const find = document.querySelector('.find input'); find.value = '300a00c2'; find.oninput(); })()"
        )
        tree = await page.run("document.querySelector('.tree').innerText")
        assert "Beam Name" in tree
        assert "Patient's Name" not in tree


async def test_back_undoes_a_search(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT, PLAN)
    async with opened(browser, sqlite_index, tmp_path) as (_, page):
        await search(page, "modality", "ct")
        await page.until("document.querySelectorAll('tr.link').length === 1")
        await page.run("document.querySelector('[name=modality]').value = ''")
        await search(page, "name", "nobody")
        await page.until("document.body.innerText.includes('No study matches.')")
        await page.run("history.back()")
        await page.until("document.querySelectorAll('tr.link').length === 1")
        assert await page.run("document.querySelector('[name=modality]').value") == "ct"
        await page.run("history.back()")
        await page.until("document.querySelectorAll('tr.link').length === 2")
        for way in ("'.search .clear'", "'nav a'"):
            await search(page, "name", "comp")
            await page.until("document.querySelectorAll('tr.link').length === 1")
            await page.run(f"document.querySelector({way}).click()")
            await page.until("document.querySelectorAll('tr.link').length === 2")
            assert await page.run("document.querySelector('[name=name]').value") == ""


async def test_what_finds_parts_of_an_id_is_said(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT)
    async with opened(browser, sqlite_index, tmp_path) as (_, page):
        await search(page, "patient_id", "1CT")
        await page.until("document.querySelector('.empty').textContent.includes('1CT*')")
        await page.run("document.querySelector('[name=patient_id]').value = ''")
        await search(page, "patient_id", "1CT*")
        await page.until("document.querySelectorAll('tr.link').length === 1")


async def test_a_phone_shows_keys_that_are_seldom_used_when_asked(
    browser: Browser, sqlite_index: Index, tmp_path: Path
) -> None:
    add(sqlite_index, tmp_path, CT, PLAN)
    async with opened(browser, sqlite_index, tmp_path, "phone") as (_, page):
        is_shown = "document.querySelector('[name=modality]').checkVisibility()"
        assert not await page.run(is_shown)
        await page.run("document.querySelector('.search .keys').click()")
        assert await page.run(is_shown)
        await search(page, "modality", "ct")
        await page.until("document.querySelectorAll('tr.link').length === 1")
        assert await page.run(is_shown)
        assert await fits(page)


MARKUP: Final = "<img src=x onerror=hacked()>"
INERT: Final = "!document.querySelector('[src=x], [onerror], script:not([src])') && !('hacked' in window)"


async def test_values_are_texts_wherever_they_are_shown(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    dataset = dcmread(CT)
    for keyword in ("PatientName", "PatientID", "StudyDescription", "SeriesDescription"):
        setattr(dataset, keyword, MARKUP)
    for keyword in ("AccessionNumber", "Modality", "PatientSex"):
        vr = dataset.data_element(keyword).VR  # type: ignore[union-attr]
        dataset.add(DataElement(keyword, vr, "<img src=x>", validation_mode=IGNORE))
    dataset.add_new(0x00091001, "LO", MARKUP)
    dataset.save_as(tmp_path / "it.dcm")
    add(sqlite_index, tmp_path, tmp_path / "it.dcm")
    with sqlite_index.writing() as connection:
        record(connection, EventKind.CONFLICT, study_uid=MARKUP, detail={MARKUP: [MARKUP]})
        defer(connection, "k", {}, queue=MARKUP)
        connection.execute(update(job).values(attempts=3, problem=MARKUP))
    peers = {"<img src=x>": MoveDestination("<img src=x>@127.0.0.1:1")}
    async with opened(browser, sqlite_index, tmp_path, destinations=lambda: peers) as (web, page):

        async def shows(text: str, times: int) -> None:
            await page.until(f"document.body.innerText.split({text!r}).length > {times}")
            assert await page.run(INERT)

        await shows(MARKUP, 2)
        await page.run("document.querySelector('tr.link a').click()")
        await page.until("document.querySelector('.thumb img')?.naturalWidth")
        await shows(MARKUP, 3)
        await page.run("document.querySelector('.grid a').click()")
        await page.until("document.querySelector('.over.br')?.textContent")
        await page.run("[...document.querySelectorAll('button')].find((each) => each.textContent === 'Tags').click()")
        await shows(MARKUP, 6)
        await page.run("location.hash = '#/events'")
        await shows(MARKUP, 5)
        await page.run("location.hash = '#/peers'")
        await shows("<img src=x>", 1)
        await page.run("location.hash = '#/transfers'")
        options = dimse.ClientOptions(calling_ae_title="<img src=x>")
        async with dimse.connect(f"NODE@127.0.0.1:{web.server.port}", options=options):
            await shows("<img src=x>", 1)


@pytest.mark.parametrize("size", SIZES)
async def test_long_texts_without_a_space_stay_in_the_window(
    browser: Browser, sqlite_index: Index, tmp_path: Path, size: str
) -> None:
    dataset = dcmread(CT)
    for keyword in ("PatientName", "PatientID", "StudyDescription", "SeriesDescription"):
        setattr(dataset, keyword, "W" * 64)
    dataset.AccessionNumber = "W" * 16
    dataset.save_as(tmp_path / "it.dcm")
    add(sqlite_index, tmp_path, tmp_path / "it.dcm")
    async with opened(browser, sqlite_index, tmp_path, size) as (_, page):
        assert await fits(page)
        await page.run("document.querySelector('tr.link a').click()")
        await page.until("document.querySelector('.thumb img')?.naturalWidth")
        assert await fits(page)
        await page.run("document.querySelector('.grid a').click()")
        await page.until("document.querySelector('.over.br')?.textContent")
        await page.run("[...document.querySelectorAll('button')].find((each) => each.textContent === 'Tags').click()")
        await page.until("document.querySelectorAll('.tree .tag').length > 20")
        assert await fits(page)


async def test_an_address_that_is_none_of_the_page_is_said(
    browser: Browser, sqlite_index: Index, tmp_path: Path
) -> None:
    async with opened(browser, sqlite_index, tmp_path) as (_, page):
        for name in ("%", "constructor", "__proto__"):
            await page.run("location.hash = '#/peers'")
            await page.until("document.querySelector('h1')?.textContent === 'Peers'")
            await page.run(f"location.hash = '#/{name}'")
            await page.until("/no such page|nothing here/i.test(document.querySelector('main').innerText)")


async def test_the_focus_is_in_the_view_that_came(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT)
    async with opened(browser, sqlite_index, tmp_path) as (_, page):
        assert await page.run("document.activeElement === document.body")
        await page.run("document.querySelector('tr.link a').click()")
        await page.until("document.activeElement.matches('h1') && document.querySelector('h2')")
        await page.run("document.querySelector('.grid a').click()")
        await page.until("document.activeElement.matches('.stage')")
        await page.run("history.go(-2)")
        await page.until("document.activeElement.textContent === 'Studies'")


async def test_the_page_behind_a_password(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT)
    options = WebOptions(port=0, password="p@ss")  # noqa: S106 - of a test
    async with serving(sqlite_index, tmp_path, options) as web, browser.page() as page:
        await page.size(1440, 900)
        await page.go(web.url.replace("//", "//dimse:p%40ss@"))
        await page.until("document.querySelector('tr.link a')")
        await page.run("document.querySelector('tr.link a').click()")
        await page.until("document.querySelector('.thumb img')?.naturalWidth")
        await page.run("document.querySelector('.grid a').click()")
        await page.until("document.querySelector('.over.br')?.textContent")
        assert page.problems == []


async def test_browsers_are_given_no_patient_to_keep(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    add(sqlite_index, tmp_path, CT)
    async with opened(browser, sqlite_index, tmp_path) as (_, page):
        await search(page, "name", "compressed")
        await page.until("document.querySelector('.search .clear') && document.querySelector('tr.link a')")
        kept = [await page.run("location.href + document.title")]
        await page.run("document.querySelector('tr.link a').click()")
        await page.until("document.querySelector('.thumb img')?.naturalWidth")
        kept.append(await page.run("location.href + document.title"))
        await page.run("document.querySelector('.grid a').click()")
        await page.until("document.querySelector('.over.br')?.textContent")
        kept.append(await page.run("location.href + document.title"))
        assert "compressed" not in "".join(kept).lower()


async def search(page: Page, key: str, text: str) -> None:
    """Search by the form."""
    await page.run(f"document.querySelector('[name={key}]').focus()")
    await page.call("Input.insertText", text=text)
    await page.key("Enter")


async def test_an_empty_archive_says_what_to_do(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    async with opened(browser, sqlite_index, tmp_path, "phone") as (_, page):
        await page.until("document.body.innerText.includes('The archive is empty: send instances to it')")
        for name, says in (
            ("transfers", "No association is open."),
            ("peers", "knows no destinations"),
            ("events", "no events yet"),
            ("x", "There is no such page."),
        ):
            await page.run(f"location.hash = '#/{name}'")
            await page.until(f"document.body.innerText.includes('{says}')")
            assert await fits(page)


async def test_more_studies_come_while_scrolling_and_back_is_where_one_was(
    browser: Browser, sqlite_index: Index, tmp_path: Path
) -> None:
    with sqlite_index.writing() as connection:
        connection.execute(insert(study), list(rows(230)))
    async with opened(browser, sqlite_index, tmp_path) as (_, page):
        await page.until(
            "(scrollTo(0, document.body.scrollHeight), document.querySelectorAll('tr.link').length === 230)"
        )
        await page.run("scrollTo(0, 4000)")
        await page.until("scrollY === 4000")
        await page.run("document.querySelectorAll('tr.link a')[100].click()")
        await page.until("document.querySelector('h2')?.textContent === '0 series'")
        await page.run("history.back()")
        await page.until("document.querySelectorAll('tr.link').length === 230 && scrollY === 4000")


async def test_transfers_peers_and_events_live(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    known = {"PACS2": MoveDestination("PACS2@127.0.0.1:1")}
    async with opened(browser, sqlite_index, tmp_path, destinations=lambda: known) as (web, page):
        await page.run("location.hash = '#/peers'")
        await page.until("document.querySelector('.list button')")
        await page.run("document.querySelector('.list button').click()")
        await page.until("document.querySelector('.list .bad')?.textContent.includes('Cannot connect')")
        await page.run("location.hash = '#/events'")
        await page.until("document.body.innerText.includes('no events yet')")
        with sqlite_index.writing() as connection:
            for kind in EventKind:
                record(connection, kind, study_uid="1.2.3", detail={"senders": ["CT1", "CT2"], "bytes": 12345})
        await page.until("document.querySelector('.list')?.innerText.includes('senders: CT1 CT2, bytes: 12 kB')")
        names = await page.run("[...document.querySelectorAll('.list .kind')].map((each) => each.textContent)")
        assert len(names) == len(EventKind)
        assert not {each.value for each in EventKind if "-" in each.value} & {*names}
        with sqlite_index.writing() as connection:
            defer(connection, "k", {}, queue="webhook http://ris/")
            connection.execute(update(job).values(attempts=3, problem="no connection"))
        await page.until(
            "document.body.innerText.includes('ris/: 1 job waiting, failed 3 times so far: No connection.')"
        )
        await page.run("location.hash = '#/transfers'")
        async with dimse.connect(
            f"NODE@127.0.0.1:{web.server.port}", options=dimse.ClientOptions(calling_ae_title="CT1")
        ):
            await page.until("document.querySelector('tbody')?.innerText.includes('CT1')")
            await page.until("document.querySelector('.rates').innerText.includes('/s')")


async def test_a_node_that_is_gone_or_full_is_said(browser: Browser, sqlite_index: Index, tmp_path: Path) -> None:
    async with (
        serving(sqlite_index, tmp_path, problem=problem("the disk is full: make room")) as web,
        browser.page() as page,
    ):
        await page.size(390, 844, is_phone=True)
        await page.go(web.url)
        await page.until("document.getElementById('problem').innerText === 'The disk is full: make room.'")
        assert await fits(page)
        await web.stop()
        await page.run("document.querySelector('form').requestSubmit()")
        await page.until("document.querySelector('.failure')?.textContent.includes('The node does not answer')")
        await web.start()
