"""What a crash left undone in `incoming/` is done at the next start."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from tests.sample_objects import instance, save

from dimse.node.arrival import Arrival, OnDuplicate
from dimse.node.batches import Batches
from dimse.node.examining import examine
from dimse.node.incoming import IncomingFolder
from dimse.node.index import Index
from dimse.node.places import place as place_of
from dimse.node.placing import place
from dimse.node.recovering import recover
from dimse.node.removing import remove_study
from dimse.node.shared_texts import SharedTexts


def arrive(data: Path, folder: str, rows: int) -> Arrival:
    """A file in a folder of `incoming/`, of one instance with other content."""
    path = data / "incoming" / folder / "1.dcm"
    path.parent.mkdir(parents=True, exist_ok=True)
    dataset = instance()
    dataset.Rows = rows
    save(dataset, path)
    return replace(examine(path, "CT1"), is_in_place=False)


def test_a_file_that_was_to_be_deleted_is_not_taken_for_one_sent_later(sqlite_index: Index, tmp_path: Path) -> None:
    folder = IncomingFolder(tmp_path)
    batches = Batches(sqlite_index, tmp_path, folder, on_duplicate=OnDuplicate.KEEP, fsync=False)
    batches.place([arrive(tmp_path, "a", 1)])
    about = arrive(tmp_path, "b", 2).description
    with sqlite_index.writing() as connection:
        remove_study(connection, about.study_uid)
    # The power fails after the commit, and the names of files are as they were before
    later = arrive(tmp_path, "b", 2)
    with sqlite_index.writing() as connection:
        place(connection, [later], OnDuplicate.KEEP, SharedTexts())
    recover(sqlite_index, tmp_path, batches)
    assert examine(place_of(tmp_path, about.study_uid, about.series_uid, about.uid), "").digest == later.digest
    folder.close()
