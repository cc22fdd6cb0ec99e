"""The demo's archive: what it finds, and in which form."""

from __future__ import annotations

import shutil
from pathlib import Path

import pydicom
import pytest
from pydicom.data import get_testdata_file

from dimse import CFindSCU, Query, connect, uids
from dimse.demo.archive import archive


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("CT_small.dcm", "MR_small.dcm"):
        path = get_testdata_file(name, download=False)
        assert isinstance(path, str)
        shutil.copy(path, tmp_path / name)
    return tmp_path


async def matches(folder: Path, query: Query) -> list[pydicom.Dataset]:
    async with archive(folder, {}) as server:
        contexts = [(query.model.sop_class("find"), uids.LITTLE_ENDIAN)]
        address = f"ARCHIVE@127.0.0.1:{server.port}"
        async with connect(address, contexts=contexts) as association:
            return [match async for match in CFindSCU(association).find(query)]


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        (Query.studies(), {"1CT1", "4MR1"}),
        (Query.studies(PatientID="4MR1"), {"4MR1"}),
        (Query.studies(PatientName="Comp*"), {"1CT1", "4MR1"}),
        (Query.studies(ModalitiesInStudy="CT"), {"1CT1"}),
        (Query.studies(PatientID="?"), set()),
    ],
)
async def test_what_matches(folder: Path, query: Query, ids: set[str]) -> None:
    found = await matches(folder, query.returning("PatientID"))
    assert {match.PatientID for match in found} == ids


async def test_a_match_has_the_requested_keys_and_counts(folder: Path) -> None:
    keys = ("ModalitiesInStudy", "NumberOfStudyRelatedInstances", "NumberOfStudyRelatedSeries")
    (match,) = await matches(folder, Query.studies(PatientID="1CT1").returning(*keys))
    assert match.ModalitiesInStudy == "CT"
    assert (match.NumberOfStudyRelatedInstances, match.NumberOfStudyRelatedSeries) == (1, 1)
    assert "SeriesInstanceUID" not in match
