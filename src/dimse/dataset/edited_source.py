"""A source with edits that are not made before it is sent."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dimse.dataset.derived import STEP, Derived
from dimse.dataset.encoding import Buffer
from dimse.dataset.sources import DatasetSource, PiecesReader, Reader

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from dimse.dataset.edits import Edits


class EditedSource(Derived):
    """A source with edits that are applied when it is sent: `edited` reads its header."""

    def __init__(self, source: DatasetSource, edits: Edits) -> None:
        super().__init__(source, source.transfer_syntax_uid, None)
        self.sop_instance_uid = edits.sop_instance_uid(source.sop_instance_uid)
        self.is_mislabeled = source.is_mislabeled
        self.length_before = source.length
        """That of the source: what to expect until the header is read."""
        self._edits = edits

    async def edited(self) -> DatasetSource:
        """The edited source, whose length is known if that of the source is. Raises `DatasetError`."""
        from dimse.dataset.editing import edit  # imports pydicom

        result = await edit(self._source, self._edits)
        result.sop_instance_uid = self.sop_instance_uid
        return result

    def open(self) -> Reader:
        """Begin a pass."""
        return PiecesReader(self._pieces())

    async def _pieces(self) -> AsyncIterator[Buffer]:
        buffer = memoryview(bytearray(STEP))
        reader = (await self.edited()).open()
        try:
            while count := await reader.read_into(buffer):
                yield buffer[:count]
        finally:
            reader.close()
