"""Sources of the tests, and reading a source to its end."""

from __future__ import annotations

from pydicom.data import get_testdata_file

from dimse.dataset.sources import DatasetSource, MemorySource


def path_of(name: str) -> str:
    """A test file of pydicom."""
    path = get_testdata_file(name, download=False)
    assert isinstance(path, str)
    return path


def memory(data: bytes, transfer_syntax_uid: str) -> MemorySource:
    return MemorySource([data], sop_class_uid="1.2", sop_instance_uid="1.2.3", transfer_syntax_uid=transfer_syntax_uid)


async def sent(source: DatasetSource, step: int = 777) -> bytes:
    """All bytes of a source, read in buffers of `step` bytes, which must be as many as the source says."""
    reader, data, buffer = source.open(), b"", memoryview(bytearray(step))
    try:
        while count := await reader.read_into(buffer):
            data += buffer[:count]
    finally:
        reader.close()
    assert source.length in (None, len(data))
    return data
