"""Test a program of your own against an archive that fails.

    python -m pytest -p dimse.pytest_plugin test_upload.py

The plugin has the fixture `dimse_archive`, an archive that runs while the test does.
"""

from pydicom import Dataset, examples

from dimse import Status, sync
from dimse.testing import Answer, FakeArchive


def upload(address: str, image: Dataset) -> str:
    """The program under test: sends an image, and says what became of it."""
    report = sync.send(address, image, raise_failures=False)
    return "archived" if report.stored else f"kept: {report.failures[0].error}"


def test_an_image_is_archived(dimse_archive: FakeArchive) -> None:
    assert upload(dimse_archive.address, examples.ct) == "archived"
    assert dimse_archive.instances[0].Modality == "CT"


def test_an_image_that_is_refused_is_kept(dimse_archive: FakeArchive) -> None:
    dimse_archive.on("C-STORE", Answer(Status.CANNOT_UNDERSTAND))
    assert "0xC000 Cannot understand" in upload(dimse_archive.address, examples.ct)
