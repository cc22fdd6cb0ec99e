"""The fixtures of the pytest plugin, as a project that has dimse installed uses them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = """
import asyncio

import dimse
import pytest
from dimse.testing import Refuse


def test_an_archive(dimse_archive):
    dimse_archive.on("A-ASSOCIATE", Refuse())

    async def echo():
        async with dimse.connect(dimse_archive.address):
            pass

    with pytest.raises(dimse.AssociationRejected):
        asyncio.run(echo())


class TestAnotherArchive:
    @pytest.fixture
    def dimse_archive_options(self, tmp_path):
        return {"ae_title": "PACS", "folder": tmp_path}

    def test_it_has_those_options(self, dimse_archive, tmp_path):
        assert dimse_archive.address.startswith("PACS@127.0.0.1:")
        assert dimse_archive.folder == tmp_path


def test_a_peer(scripted_peer):
    async def script(peer):
        await peer.accept()
        await peer.answer_release()

    async def connect(address):
        async with dimse.connect(address):
            pass

    asyncio.run(connect(scripted_peer(script)))
"""


def test_the_fixtures_are_there(tmp_path: Path) -> None:
    (tmp_path / "test_mine.py").write_text(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "dimse.pytest_plugin", "-p", "no:cacheprovider", "."]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)  # noqa: S603 - our own
    assert "3 passed" in done.stdout, done.stdout


def test_the_plugin_imports_nothing_before_a_test_uses_it() -> None:
    code = "import sys, dimse.pytest_plugin; assert not {'pydicom', 'asyncio', 'dimse.testing'} & sys.modules.keys()"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own


def test_the_doubles_do_without_pytest() -> None:
    code = "import sys, dimse.testing; assert 'pytest' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)  # noqa: S603 - our own
