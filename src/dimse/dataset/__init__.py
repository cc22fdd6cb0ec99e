"""PS3.5 and PS3.10: data sets and files. The one door to pydicom.

elements      what is in an encoded data set, as it arrives
part10        File Meta Information
discover      what there is to send: files, folders, DICOMDIRs, archives
sources       what can be sent: files, streams, memory
pixels        a pydicom data set to send, its pixel data with it or from elsewhere
transcode     into the accepted transfer syntax
sinks         what was received, into files
disk          those files, beside an event loop that goes on
identifiers   whole small data sets between bytes and pydicom
"""

from __future__ import annotations

from pydicom import DataElement, Dataset
from pydicom.config import IGNORE
from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

from dimse.dataset.discover import NotSent, discover
from dimse.dataset.disk import Disk, FileWriter
from dimse.dataset.elements import Buffer, BulkHeader, ElementScanner
from dimse.dataset.identifiers import decode, encode, text_of
from dimse.dataset.part10 import FileMeta, encode_file_meta, read_file_meta
from dimse.dataset.pixels import EncapsulatedFrames, NativePixels, PixelSource, from_dataset
from dimse.dataset.sinks import Part10File, safe_path, template_keywords, validate_template
from dimse.dataset.sources import DatasetSource, FileSource, MemorySource, Reader, StreamSource, in_thread
from dimse.dataset.transcode import decompress, even, reencode

__all__ = [
    "IGNORE",
    "Buffer",
    "BulkHeader",
    "DataElement",
    "Dataset",
    "DatasetSource",
    "Disk",
    "ElementScanner",
    "EncapsulatedFrames",
    "FileMeta",
    "FileSource",
    "FileWriter",
    "MemorySource",
    "NativePixels",
    "NotSent",
    "Part10File",
    "PixelSource",
    "Reader",
    "StreamSource",
    "decode",
    "decompress",
    "dictionary_VR",
    "discover",
    "encode",
    "encode_file_meta",
    "even",
    "from_dataset",
    "in_thread",
    "keyword_for_tag",
    "read_file_meta",
    "reencode",
    "safe_path",
    "tag_for_keyword",
    "template_keywords",
    "text_of",
    "validate_template",
]
