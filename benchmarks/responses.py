"""C-FIND responses as text, so that what different programs got can be compared: a line a response."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from xml.etree import ElementTree

import workloads

if TYPE_CHECKING:
    from pydicom import Dataset

KEYS: Final = (
    *("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID"),
    *("InstanceNumber", "ImagePositionPatient", "ImageOrientationPatient"),
)


def lines(found: Iterable[Mapping[str, str]]) -> str:
    """The responses in the order of their text: archives list in different orders."""
    return "\n".join(sorted(" ".join(match.get(key, "") for key in KEYS) for match in found))


def from_xml(path: Path) -> str:
    """What findscu wrote with -Xs."""
    found = ElementTree.parse(path).getroot().iter("data-set")  # noqa: S314 - of our own making
    return lines({element.attrib["name"]: (element.text or "").strip(" \0") for element in match} for match in found)


def from_datasets(found: Iterable[Any]) -> str:
    """Decoded data sets."""
    return lines({key: _text(match.get(key, "")) for key in KEYS} for match in found)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else "\\".join(map(str, value if hasattr(value, "append") else [value]))


# With pydicom, which is imported by the programs that are measured and not by the benchmark itself


def identifier(key: str) -> Dataset:
    """The query for all instances of a workload."""
    from pydicom import Dataset

    root = workloads.root_of(workload(key))
    dataset = Dataset()
    dataset.QueryRetrieveLevel = "IMAGE"
    for keyword in KEYS:
        setattr(dataset, keyword, None)
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = f"{root}.1", f"{root}.2"
    return dataset


def ready(key: str, scale: str) -> list[Dataset]:
    """All matches of `identifier`, as an archive would make them."""
    from pydicom import Dataset

    made = []
    for match in workloads.matches(workload(key, scale)):
        dataset = Dataset()
        dataset.QueryRetrieveLevel = "IMAGE"
        for keyword, text in match.items():
            setattr(dataset, keyword, text.split("\\") if "\\" in text else text)
        made.append(dataset)
    return made


def workload(key: str, scale: str = "full") -> workloads.Workload:
    """By its key."""
    return next(each for each in workloads.SCALES[scale] if each.key == key)


def write(path: str, found: Iterable[Any]) -> None:
    """Leave what was found where the benchmark compares it; nowhere if `path` is empty."""
    if path:
        Path(path).write_text(from_datasets(found))


if __name__ == "__main__":
    print(from_xml(Path(sys.argv[1])))
