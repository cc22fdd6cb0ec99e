"""Archives for tests of the commands that work on them: files put into them, and what is in them then."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from pydicom import Dataset
from sqlalchemy import select
from tests.sample_objects import save

from dimse.node.importing import Imported, Importer
from dimse.node.index import Index
from dimse.node.options import NodeOptions
from dimse.node.places import usual_path
from dimse.node.recount import recount
from dimse.node.schema import instance, series, study


def save_all(folder: Path, datasets: Iterable[Dataset]) -> list[Path]:
    """A file of each in a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    return [save(dataset, folder / f"{dataset.SOPInstanceUID}.dcm") for dataset in datasets]


def put_in(index: Index, options: NodeOptions, *paths: Path, in_place: bool = False) -> list[Imported]:
    """Import files."""
    with Importer(index, options, in_place=in_place) as importer:
        return list(importer.run(paths))


def stored(index: Index, data: Path) -> dict[str, bytes]:
    """The files of all instances in the index, by SOP Instance UID. The counters must be right."""
    with index.reading() as connection:
        assert recount(connection) == []
        rows = connection.execute(
            select(study.c.uid, series.c.uid, instance.c.uid, instance.c.path).select_from(
                study.join(series).join(instance)
            )
        ).all()
    return {row[2]: (data / (row[3] or usual_path(*row[:3]))).read_bytes() for row in rows}


def left_in_incoming(data: Path) -> list[Path]:
    """What is still on its way."""
    return [path for path in (data / "incoming").rglob("*") if path.is_file()]
