"""Instances to store, and what the index keeps of them."""

from __future__ import annotations

from typing import Any

from pydicom import DataElement
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataset import Dataset
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian
from tests.sample_objects import CT, encoded

from dimse.node.keys import Description, describe


def dataset(**elements: Any) -> Dataset:
    """A data set with `elements` by keyword, valid or not; lists of dictionaries are sequences."""
    made = Dataset()
    for keyword, content in elements.items():
        tag = tag_for_keyword(keyword)
        assert tag is not None, keyword
        vr = dictionary_VR(tag)
        value = [dataset(**item) for item in content] if vr == "SQ" else content
        made.add(DataElement(tag, vr, value, validation_mode=IGNORE))
    return made


def header(uid: str = "1.2.3.4", **elements: Any) -> Dataset:
    """The elements before the pixel data of a CT instance of study 1.2.3.1 and series 1.2.3.2."""
    own = {"SOPInstanceUID": uid, "StudyInstanceUID": "1.2.3.1", "SeriesInstanceUID": "1.2.3.2"}
    return dataset(**{"SOPClassUID": CT, "Modality": "CT", **own, **elements})


def encoded_header(made: Dataset, syntax: str = ExplicitVRLittleEndian) -> bytes:
    """As the scanner keeps it: inflated."""
    return encoded(made, ExplicitVRLittleEndian if syntax == DeflatedExplicitVRLittleEndian else syntax)


def described(uid: str = "1.2.3.4", **elements: Any) -> Description:
    """The description of an instance with the elements of `header`."""
    return describe(encoded_header(header(uid, **elements)), ExplicitVRLittleEndian)
