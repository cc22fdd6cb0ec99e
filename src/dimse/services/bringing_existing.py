"""Which listed instances a folder already has, so that they are not retrieved again.

1. A file is named by the UIDs that the archive lists, if the template has no other keywords: then only the files of
   those names are looked at. Otherwise all files below the folder are.
2. A name proves nothing. An instance is there if a file that is not a link has its SOP Instance UID and a whole,
   well-formed data set.
3. The files are read in a thread. Bulk data are skipped, unless the data set is deflated.
"""

from __future__ import annotations

import os
import stat
from collections.abc import AsyncIterator, Iterable, Iterator
from enum import Enum
from itertools import islice
from pathlib import Path
from typing import Final

from dimse.dataset.completeness import StreamedDataset
from dimse.dataset.encoding import DEFLATED_SYNTAXES
from dimse.dataset.file_names import other_name, safe_name, template_keywords
from dimse.dataset.folders import TEMPORARY_PREFIX
from dimse.dataset.part10 import read_file_meta
from dimse.dataset.threads import in_thread
from dimse.errors import DatasetError
from dimse.services.listing import Instance

_AT_ONCE: Final = 100
"""Files that a thread looks at before the event loop can cancel the search."""

_PIECE: Final = 64 * 1024


class Existing(Enum):
    """What `dimse.retrieve` does about listed instances that its folder already has."""

    SKIP = "skip"
    """Do not retrieve them; the report names their files."""
    OVERWRITE = "overwrite"
    """Retrieve them again, and replace their files."""


async def existing_files(instances: Iterable[Instance], folder: Path, template: str) -> AsyncIterator[tuple[str, Path]]:
    """The SOP Instance UIDs and the files of whole instances in the folder, among them the listed ones."""
    paths = _candidates(list(instances), folder, template)
    while True:
        found = await in_thread(lambda: [(path, _whole_instance_in(path)) for path in islice(paths, _AT_ONCE)])
        for path, uid in found:
            if uid is not None:
                yield uid, path
        if len(found) < _AT_ONCE:
            return


def _candidates(instances: Iterable[Instance], folder: Path, template: str) -> Iterator[Path]:
    keywords = {keyword for keyword, _ in template_keywords(template)}
    for instance in instances:
        values = dict(instance.above) | {"SOPInstanceUID": instance.sop_instance_uid}
        if not keywords <= {keyword for keyword in values if keyword.endswith("UID")}:
            yield from _all_files(folder)
            return
        name = safe_name(template, values)
        yield folder / name
        yield folder / other_name(name, instance.sop_instance_uid)


def _all_files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            if not name.startswith(TEMPORARY_PREFIX):
                yield Path(parent, name)


def _whole_instance_in(path: Path) -> str | None:
    """The SOP Instance UID of the file, if its data set is whole; None for any other file, and where there is none."""
    try:
        if not stat.S_ISREG(path.lstat().st_mode):
            return None
        with path.open("rb") as file:
            meta = read_file_meta(file)
            dataset = StreamedDataset(meta.transfer_syntax_uid)
            file.seek(meta.length)
            while piece := file.read(_PIECE):
                dataset.feed(memoryview(piece))
                if meta.transfer_syntax_uid not in DEFLATED_SYNTAXES:
                    left = os.fstat(file.fileno()).st_size - file.tell()
                    file.seek(dataset.skip(left), os.SEEK_CUR)
            dataset.finish()
    except (OSError, DatasetError):
        return None
    return None if dataset.malformed is not None else meta.sop_instance_uid
