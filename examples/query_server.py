"""A small archive in a folder: it stores, and can be asked by C-FIND, C-GET and C-MOVE for what it has.

    python query_server.py 11112 archive/ --destination WS1@workstation:11112

What is stored is kept in a list in memory; a real archive has a database. The matching of C-FIND is here too, as the
library leaves it to who knows what there is. Ctrl-C ends it.
"""

import argparse
import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from pydicom import DataElement, Dataset, dcmread

import dimse
from dimse import Address, QueryRequest, QueryRetrieveLevel, Status

UNIQUE_KEYS = {
    QueryRetrieveLevel.PATIENT: "PatientID",
    QueryRetrieveLevel.STUDY: "StudyInstanceUID",
    QueryRetrieveLevel.SERIES: "SeriesInstanceUID",
    QueryRetrieveLevel.IMAGE: "SOPInstanceUID",
}


def texts(element: DataElement | None) -> list[str]:
    if element is None or element.is_empty:
        return []
    return [str(value) for value in (element.value if element.VM > 1 else [element.value])]


def matches_value(key: DataElement, wanted: str, value: str) -> bool:
    """Ranges, wild cards, single values (PS3.4 C.2.2.2). Names match in upper and lower case."""
    if key.VR in ("DA", "TM") and "-" in wanted:
        start, end = wanted.split("-")
        return start <= value and (not end or value[: len(end)] <= end)
    if key.VR == "PN":
        wanted, value = wanted.lower(), value.lower()
    return fnmatchcase(value, wanted.replace("[", "[[]"))


def matches(keys: Dataset, image: Dataset) -> bool:
    """Whether an image has what is asked for: for each key with values, one of them.

    Sequences and private keys are not supported: they match all.
    """
    for key in keys:
        name = "Modality" if key.keyword == "ModalitiesInStudy" else key.keyword
        if key.VR == "SQ" or key.is_empty or name in ("", "QueryRetrieveLevel", "SpecificCharacterSet"):
            continue
        values = texts(image[name]) if name in image else []
        if not any(matches_value(key, wanted, value) for wanted in texts(key) for value in values):
            return False
    return True


def answer(keys: Dataset, images: list[Dataset]) -> Dataset:
    """The match that stands for `images`: the keys that were asked for, with the values that there are."""
    match = Dataset()
    for key in keys:
        if key.keyword in ("QueryRetrieveLevel", "SpecificCharacterSet"):
            continue  # the library adds the level; the character set is that of our values
        match[key.tag] = images[0][key.tag] if key.tag in images[0] else DataElement(key.tag, key.VR, None)
    if "SpecificCharacterSet" in images[0]:
        match.SpecificCharacterSet = images[0].SpecificCharacterSet
    if "ModalitiesInStudy" in keys:
        match.ModalitiesInStudy = sorted({image.Modality for image in images if image.get("Modality")})
    for number in ("NumberOfStudyRelatedInstances", "NumberOfSeriesRelatedInstances"):
        if number in keys:
            match[number].value = len(images)
    return match


class Archive:
    """The files in a folder, and the handlers that serve them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.images: dict[Path, Dataset] = {}
        for path in folder.rglob("*.dcm"):
            self.add(path)

    def add(self, path: Path) -> None:
        self.images[path] = dcmread(path, stop_before_pixels=True)

    def find(self, keys: Dataset) -> Iterator[tuple[Path, Dataset]]:
        return ((path, image) for path, image in list(self.images.items()) if matches(keys, image))

    def serve(self, server: dimse.Server, destinations: dict[str, Address]) -> None:
        @server.on_c_store
        async def store(request: dimse.StoreRequest) -> Status:
            path = await request.save_under(self.folder)
            await asyncio.to_thread(self.add, path)
            return Status.SUCCESS

        @server.on_c_find
        async def find(request: QueryRequest) -> AsyncIterator[Dataset]:
            groups: dict[str, list[Dataset]] = {}
            for _, image in self.find(request.identifier):
                groups.setdefault(str(image.get(UNIQUE_KEYS[request.level])), []).append(image)
            for images in groups.values():
                yield answer(request.identifier, images)

        async def retrieve(request: QueryRequest) -> AsyncIterator[Path]:
            for path, _ in self.find(request.identifier):
                yield path

        server.on_c_get()(retrieve)
        server.on_c_move(destinations)(retrieve)


async def run(port: int, folder: Path, destinations: dict[str, Address]) -> None:
    server = dimse.Server("ARCHIVE", port=port)
    archive = await asyncio.to_thread(Archive, folder)
    archive.serve(server, destinations)
    async with server:
        print(f"{server.ae_title}@{server.host}:{server.port} has {len(archive.images)} instances", flush=True)
        await asyncio.Event().wait()  # until Ctrl-C


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("port", type=int, help="0 takes a free one")
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--destination", action="append", default=[], type=Address.parse, metavar="TITLE@HOST:PORT", help="for C-MOVE"
    )
    arguments = parser.parse_args()
    destinations = {address.ae_title: address for address in arguments.destination}
    with suppress(KeyboardInterrupt):
        asyncio.run(run(arguments.port, arguments.folder, destinations))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
