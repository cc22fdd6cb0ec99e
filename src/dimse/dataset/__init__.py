"""PS3.5 and PS3.10: data sets and files. The one door to pydicom.

elements      what is in an encoded data set, as it arrives
part10        File Meta Information
discover      what there is to send: files, folders, DICOMDIRs, archives
sources       what can be sent: files, streams, memory
streams       files that are in memory, or come through an asynchronous stream
pixels        a pydicom data set to send, its pixel data with it or from elsewhere
transcode     into the accepted transfer syntax
derived       a source in another encoding, what follows its metadata passing as it comes
encapsulation the fragments of encapsulated pixel data
decompression pixel data out of fragments, frame by frame
misfits       what Implicit VR cannot hold
completeness  whether what arrives is all there
frames        pixel data, cut into frames
codestreams   which syntax encapsulated pixel data shows
assembling    parts of a data set, for pydicom
sinks         what was received, into files
disk          those files, beside an event loop that goes on
structure     the headers of a whole data set, within limits, before pydicom sees it
threads       what would hold up the event loop
character_sets  text, with code extensions
texts         the values of a data set as the peer wrote them
json_model    a data set in the DICOM JSON Model
identifiers   whole small data sets between bytes and pydicom
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from pydicom import DataElement, Dataset
    from pydicom.config import IGNORE
    from pydicom.datadict import dictionary_VR, keyword_for_tag, tag_for_keyword

    from dimse.dataset.assembling import assemble
    from dimse.dataset.codec import decode, encode, text_of
    from dimse.dataset.codestreams import shown_syntax
    from dimse.dataset.completeness import IncompleteDataset, StreamedDataset
    from dimse.dataset.decompression import can_decompress, decompress
    from dimse.dataset.discover import NotSent
    from dimse.dataset.file_names import other_name, safe_path, template_keywords, validate_template
    from dimse.dataset.file_writer import Disk, FileWriter, Instance, Stored
    from dimse.dataset.part10 import FileMeta, encode_file_meta, read_file_meta
    from dimse.dataset.part10_file import Part10File
    from dimse.dataset.pydicom_source import EncapsulatedFrames, NativePixels, PixelSource, from_dataset
    from dimse.dataset.scanner import Buffer, BulkHeader, ElementScanner
    from dimse.dataset.sources import (
        DatasetSource,
        FileSource,
        MemorySource,
        Part10Source,
        Reader,
        StreamSource,
        is_dataset,
    )
    from dimse.dataset.streams import AsyncReadable, BytesSource, from_async
    from dimse.dataset.transcode import mend, reencode

__all__ = [
    "IGNORE",
    "AsyncReadable",
    "Buffer",
    "BulkHeader",
    "BytesSource",
    "DataElement",
    "Dataset",
    "DatasetSource",
    "Disk",
    "ElementScanner",
    "EncapsulatedFrames",
    "FileMeta",
    "FileSource",
    "FileWriter",
    "IncompleteDataset",
    "Instance",
    "MemorySource",
    "NativePixels",
    "NotSent",
    "Part10File",
    "Part10Source",
    "PixelSource",
    "Reader",
    "Stored",
    "StreamSource",
    "StreamedDataset",
    "assemble",
    "can_decompress",
    "decode",
    "decompress",
    "dictionary_VR",
    "encode",
    "encode_file_meta",
    "from_async",
    "from_dataset",
    "is_dataset",
    "keyword_for_tag",
    "mend",
    "other_name",
    "read_file_meta",
    "reencode",
    "safe_path",
    "shown_syntax",
    "tag_for_keyword",
    "template_keywords",
    "text_of",
    "validate_template",
]

_NAMES_OF: Final = {
    "dimse.dataset.decompression": "can_decompress decompress",
    "dimse.dataset.assembling": "assemble",
    "dimse.dataset.codestreams": "shown_syntax",
    "dimse.dataset.completeness": "IncompleteDataset StreamedDataset",
    "dimse.dataset.discover": "NotSent",
    "dimse.dataset.file_writer": "Disk FileWriter Instance Stored",
    "dimse.dataset.scanner": "Buffer BulkHeader ElementScanner",
    "dimse.dataset.codec": "decode encode text_of",
    "dimse.dataset.part10": "FileMeta encode_file_meta read_file_meta",
    "dimse.dataset.pydicom_source": "EncapsulatedFrames NativePixels PixelSource from_dataset",
    "dimse.dataset.file_names": "other_name safe_path template_keywords validate_template",
    "dimse.dataset.part10_file": "Part10File",
    "dimse.dataset.sources": """
        DatasetSource FileSource MemorySource Part10Source Reader StreamSource is_dataset
    """,
    "dimse.dataset.streams": "AsyncReadable BytesSource from_async",
    "dimse.dataset.transcode": "mend reencode",
    "pydicom": "DataElement Dataset",
    "pydicom.config": "IGNORE",
    "pydicom.datadict": "dictionary_VR keyword_for_tag tag_for_keyword",
}
_HOME_OF: Final = {name: module for module, names in _NAMES_OF.items() for name in names.split()}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import what is used when it is used, as in `dimse` itself: most of these import pydicom."""
        if name not in _HOME_OF:
            raise AttributeError(f"module 'dimse.dataset' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value
