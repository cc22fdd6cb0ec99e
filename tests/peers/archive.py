"""Orthanc and dcmqrscp as archives: the same studies in both, so that the same is asked of both."""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom import Dataset, dcmread
from pydicom.data import get_testdata_file
from pydicom.dataset import FileMetaDataset
from pydicom.filereader import read_file_meta_info
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian

import dimse
from tests.ports import free_port

from . import processes
from .processes import Orthanc, Peer
from .samples import sop_instance_uid

CT: Final = "1.2.840.10008.5.1.4.1.1.2"
MR: Final = "1.2.840.10008.5.1.4.1.1.4"

NAMES: Final = {
    "japanese": ("\\ISO 2022 IR 87", "Yamada^Tarou=山田^太郎=やまだ^たろう", "*山田*", "20190630"),
    "japanese-utf-8": ("ISO_IR 192", "Suzuki^Hanako=鈴木^花子=すずき^はなこ", "*花子*", "20200101"),
    "korean": ("\\ISO 2022 IR 149", "Hong^Gildong=洪^吉洞=홍^길동", "*길동*", "20200229"),
    "chinese": ("GB18030", "Wang^XiaoDong=王^小东", "*小东*", "20200301"),
    "russian": ("ISO_IR 144", "Люксембург^Роза", "Люксем*", "20210101"),
    "latin-1": ("ISO_IR 100", "Äneas^Rüdiger", "*Rüdiger", "20231231"),
    "greek": ("ISO_IR 126", "Διονύσιος^Σολωμός", "Διον*", "20200601"),
}
"""Studies: Specific Character Set as it is stored, Patient's Name, a wild card that finds it, Study Date."""

TREE: Final = "2.25.51000"
"""A study with two series, of two instances and of one."""
TREE_SERIES: Final = {"2.25.51100": ("CT", 2), "2.25.51200": ("MR", 1)}

MIXED: Final = "2.25.52000"
"""A study of five transfer syntaxes."""
_MIXED: Final = {
    "CT_small.dcm": CT,  # Explicit VR Little Endian
    "SC_rgb_jpeg_dcmtk.dcm": "1.2.840.10008.5.1.4.1.1.7",  # JPEG Baseline
    "JPEG2000.dcm": "1.2.840.10008.5.1.4.1.1.20",
    "MR_small_RLE.dcm": MR,
    "SC_rgb_jpeg_gdcm.dcm": "1.2.840.10008.5.1.4.1.1.1.1",  # JPEG Lossless
    "examples_ybr_color.dcm": "1.2.840.10008.5.1.4.1.1.3.1",  # JPEG Baseline, 30 frames
}
"""pydicom's files and the SOP classes that they get: one each, as dcmqrscp sends a class in one syntax only."""

SOME: Final = "2.25.55000"
"""A study with one series of more instances than a retrieval that is left has brought by then."""
SOME_COUNT: Final = 150

MANY: Final = "2.25.53000"
"""A study with one series of thousands of instances, which `fill_up` sends: an archive takes seconds for them."""
MANY_SERIES: Final = "2.25.53100"


@dataclass(frozen=True)
class Archive:
    """A peer that holds the studies."""

    name: str
    peer: Peer
    destination: int
    """The port at which it looks for the AE title DIMSE."""
    mixed: dict[str, Path]
    """The files of `MIXED`, by SOP Instance UID."""

    @property
    def address(self) -> str:
        return self.peer.address

    @property
    def many(self) -> int:
        """The number of instances of `MANY`. dcmqrscp looks through all that it has for each that it stores."""
        return 2100 if self.name == "orthanc" else 400


ARCHIVES: Final = ("orthanc", "dcmqrscp")


def make(name: str, folder: Path) -> Archive:
    """One of `ARCHIVES`, to be started and filled."""
    destination = free_port()
    files = {sop_instance_uid(path): path for path in mixed(folder)}
    peer: Peer = (
        Orthanc(
            folder / "archive",
            DefaultEncoding="Utf8",  # of its answers: else Latin-1, in which most names are lost
            DicomModalities={"dimse": ["DIMSE", "127.0.0.1", destination]},
            DicomAlwaysAllowFind=True,  # else it aborts
            DicomAlwaysAllowGet=True,
            DicomAlwaysAllowMove=True,
        )
        if name == "orthanc"
        else processes.dcmqrscp(folder / "archive", destination, syntaxes(files.values()))
    )
    return Archive(name, peer, destination, files)


async def fill(archive: Archive) -> None:
    """Send it the studies."""
    sources = [*archive.mixed.values(), *named(), *tree(), *numbered(SOME, "2.25.55100", SOME_COUNT)]
    await dimse.send(archive.address, sources)


async def fill_up(archive: Archive) -> None:
    """Send it `MANY`."""
    await dimse.send(archive.address, list(numbered(MANY, MANY_SERIES, archive.many)))


def study_uid(name: str) -> str:
    """The Study Instance UID of one of `NAMES`."""
    return f"2.25.5000{list(NAMES).index(name)}"


def mixed(folder: Path) -> list[Path]:
    """The files of `MIXED`, in `folder`."""
    return [_of_mixed(folder, number, name) for number, name in enumerate(_MIXED, 1)]


def syntaxes(paths: Iterable[Path]) -> dict[str, str]:
    """The transfer syntax of each SOP class among the files, where each class has one."""
    metas = [read_file_meta_info(path) for path in paths]
    return {str(meta.MediaStorageSOPClassUID): str(meta.TransferSyntaxUID) for meta in metas}


def _of_mixed(folder: Path, number: int, name: str) -> Path:
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str), f"pydicom does not ship {name} any more"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what pydicom thinks of its own files' values
        dataset = dcmread(path)
        dataset.StudyInstanceUID, dataset.SeriesInstanceUID = MIXED, f"{MIXED}.{number}"
        dataset.SOPClassUID, dataset.SOPInstanceUID = _MIXED[name], f"{MIXED}.{number}.1"
        dataset.file_meta.MediaStorageSOPClassUID = dataset.SOPClassUID
        dataset.file_meta.MediaStorageSOPInstanceUID = dataset.SOPInstanceUID
        dataset.PatientID, dataset.PatientName = "MIXED", "Mixed"
        dataset.save_as(folder / name, enforce_file_format=True)
    return folder / name


def _instance(study: str, series: str, number: int, sop_class: str = CT) -> Dataset:
    dataset = Dataset()
    dataset.file_meta = FileMetaDataset()
    dataset.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    dataset.SOPClassUID, dataset.SOPInstanceUID = sop_class, f"{series}.{number}"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID = study, series
    dataset.InstanceNumber = number
    dataset.Modality = "CT" if sop_class == CT else "MR"
    return dataset


def named() -> Iterator[Dataset]:
    for name, (character_set, patient, _, day) in NAMES.items():
        dataset = _instance(study_uid(name), f"{study_uid(name)}.1", 1)
        dataset.SpecificCharacterSet = character_set.split("\\") if "\\" in character_set else character_set
        dataset.PatientName, dataset.PatientID, dataset.StudyDate = patient, f"NAME-{name}", day
        yield dataset


def tree() -> Iterator[Dataset]:
    for series, (modality, count) in TREE_SERIES.items():
        for number in range(1, count + 1):
            dataset = _instance(TREE, series, number, CT if modality == "CT" else MR)
            dataset.PatientName, dataset.PatientID = "Tree^Family", "TREE"
            dataset.StudyDate, dataset.StudyTime, dataset.AccessionNumber = "20240229", "101500", "A-1"
            dataset.SeriesDescription = f"{modality} of the tree"
            dataset.RequestAttributesSequence = Sequence([Dataset()])
            dataset.RequestAttributesSequence[0].ScheduledProcedureStepID = "STEP-1"
            yield dataset


def numbered(study: str, series: str, count: int) -> Iterator[Dataset]:
    """A study of one series."""
    for number in range(1, count + 1):
        dataset = _instance(study, series, number)
        dataset.PatientName, dataset.PatientID, dataset.StudyDate = "Many", "MANY", "20180101"
        yield dataset
