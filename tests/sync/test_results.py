"""Results without asyncio: one by one, and left early."""

from __future__ import annotations

from pathlib import Path

import pytest
from pydicom import Dataset
from tests.sync.usable import is_usable

from dimse import (
    Query,
    sync,
)

STUDIES = Query.studies()
STUDY = Query.studies(StudyInstanceUID="1.2.3.1")


def test_the_matches_of_a_query_come_one_by_one(association: sync.Association) -> None:
    matches = sync.CFindSCU(association).find(STUDIES)
    assert [type(match) for match in matches] == [Dataset]
    assert matches.status == 0
    assert matches.failures == []


def test_instances_are_saved_below_a_folder(association: sync.Association, tmp_path: Path) -> None:
    with sync.CGetSCU(association).get(STUDY, into=tmp_path) as instances:
        paths = {each.sop_instance_uid: each.path for each in instances}
    assert paths.keys() == {"1.2.0", "1.2.1", "1.2.2"}
    assert {path.stem for path in paths.values() if path is not None} == paths.keys()
    assert instances.completed_in_flight == []
    assert instances.suboperations.completed == 3
    assert len(list(tmp_path.rglob("*.dcm"))) == 3


@pytest.mark.parametrize("way", ["break", "with", "cancel", "drop"])
def test_an_operation_that_is_left_leaves_the_association_usable(
    association: sync.Association, tmp_path: Path, way: str
) -> None:
    scu = sync.CGetSCU(association)
    match way:
        case "break":
            for _ in scu.get(STUDY, into=tmp_path):
                break
        case "with":
            with scu.get(STUDY, into=tmp_path) as instances:
                next(iter(instances))
        case "cancel":
            instances = scu.get(STUDY, into=tmp_path)
            next(iter(instances))
            instances.cancel()
        case _:
            iterator = iter(scu.get(STUDY, into=tmp_path))
            next(iterator)
            del iterator
    assert is_usable(association)
