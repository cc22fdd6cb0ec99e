"""The names of pydicom that other rooms use: importing this module imports pydicom, which takes 0.2 s."""

from __future__ import annotations

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

__all__ = ["IGNORE", "DataElement", "Dataset", "dictionary_VR", "keyword_for_tag", "tag_for_keyword"]
