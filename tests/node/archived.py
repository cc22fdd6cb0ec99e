"""Data sets in an index and its folder, as their arrival puts them there; queries of it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR
from tests.sample_objects import EXPLICIT, dataset_bytes, save

from dimse.dataset.codec import decode
from dimse.dataset.encoding import Encoding, inflate
from dimse.node.arrival import Arrival, OnDuplicate
from dimse.node.finding import OFFERED, Finder
from dimse.node.index import Index
from dimse.node.keys import describe
from dimse.node.options import QueryOptions
from dimse.node.placing import place
from dimse.node.shared_texts import SharedTexts
from dimse.services.query_models import QueryRetrieveLevel
from dimse.upper_layer.extended import QueryFeatures


def put(index: Index, data: Path, datasets: Iterable[Dataset], syntax: str = EXPLICIT) -> None:
    """Write the files of data sets, and place them in the index."""
    arrivals = [_arrival(data, dataset, syntax) for dataset in datasets]
    with index.writing() as connection:
        placed = place(connection, arrivals, OnDuplicate.KEEP, SharedTexts())
    for each in placed:
        assert each.path is not None
        path = data / each.path
        path.parent.mkdir(parents=True, exist_ok=True)
        Path(each.arrival.path).rename(path)


def _arrival(data: Path, dataset: Dataset, syntax: str) -> Arrival:
    path = data / "incoming" / str(dataset.SOPInstanceUID)
    path.parent.mkdir(parents=True, exist_ok=True)
    encoded = dataset_bytes(save(dataset, path, syntax))
    size = path.stat().st_size
    header = inflate(encoded, 2**20) if Encoding.of(syntax).deflated else encoded
    return Arrival(
        description=describe(header, syntax),
        transfer_syntax_uid=syntax,
        path=str(path),
        is_in_place=False,
        size=size,
        offset=size - len(encoded),
        digest=sha256(encoded).digest(),
        source="TEST",
        received_at=1.0,
    )


def finder(index: Index, data: Path, **options: Any) -> Finder:
    """What answers queries of an index."""
    return Finder(index, data, ae_title="DIMSE", options=QueryOptions(**options))


def keys(level: str, **values: Any) -> Dataset:
    """An identifier."""
    identifier = Dataset()
    for keyword, value in {"QueryRetrieveLevel": level, **values}.items():
        vr = dictionary_VR(keyword)
        identifier[keyword] = DataElement(keyword, vr, value, validation_mode=IGNORE)
    return identifier


async def found(finder: Finder, level: str, *, unknown_matches: bool = True, **values: Any) -> list[Dataset]:
    """The answers to an identifier, without extended negotiation."""
    identifier, at = keys(level, **values), QueryRetrieveLevel(level)
    return await search(finder, identifier, at, features=QueryFeatures(), unknown_matches=unknown_matches, limit=10_000)


async def search(
    finder: Finder,
    identifier: Dataset,
    level: QueryRetrieveLevel,
    *,
    features: QueryFeatures = OFFERED,
    unknown_matches: bool = False,
    limit: int,
) -> list[Dataset]:
    """The first answers to an identifier, without an association."""
    options = replace(finder.options, unknown_matches=unknown_matches)
    begun = await Finder(finder.index, finder.data, ae_title="DIMSE", options=options)._search(
        identifier, level, features, EXPLICIT
    )
    answers = list[bytes]()
    while len(answers) < limit and not begun.is_done:
        answers += await finder._page(begun)
    return [decode(answer, EXPLICIT) for answer in answers[:limit]]
