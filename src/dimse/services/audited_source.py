"""The study and the patient of what is sent or received, for the audit trail, without decoding it."""

from __future__ import annotations

from typing import Final

from dimse.dataset.encoding import MAX_TEXT, PATIENT_ID, SPECIFIC_CHARACTER_SET, STUDY_INSTANCE_UID, unpadded_text
from dimse.dataset.scanner import ElementScanner
from dimse.dataset.sources import DatasetSource, Reader
from dimse.errors import DatasetError

_LOOK: Final = 64 * 1024
"""Bytes of a data set that are searched."""

_WANTED: Final = (SPECIFIC_CHARACTER_SET, PATIENT_ID, STUDY_INSTANCE_UID)


def patient_id_of(scanner: ElementScanner) -> str:
    """The patient, as far as the audit trail shows the ID; empty if it was not seen."""
    value = (scanner.find(PATIENT_ID) or b"")[:MAX_TEXT]
    if value.isascii() and b"\x1b" not in value:
        return unpadded_text(value)
    from dimse.dataset.character_sets import decode_text  # imports pydicom

    terms = (scanner.text(SPECIFIC_CHARACTER_SET) or "").split("\\")
    return decode_text(value, [each.strip(" ") for each in terms]).strip(" \0")


class AuditedSource(DatasetSource):
    """Reads as `source` does."""

    def __init__(self, source: DatasetSource) -> None:
        self.sop_class_uid = source.sop_class_uid
        self.sop_instance_uid = source.sop_instance_uid
        self.transfer_syntax_uid = source.transfer_syntax_uid
        self.length = source.length
        self.repeatable = source.repeatable
        self.name = source.name
        self.is_mislabeled = source.is_mislabeled
        self._source = source
        self._scanner = ElementScanner(source.transfer_syntax_uid)

    def open(self) -> Reader:
        self._scanner = ElementScanner(self.transfer_syntax_uid, wanted=_WANTED)
        return _Reader(self._source.open(), self._scanner)

    @property
    def study_instance_uid(self) -> str:
        """The study; "none" if its UID was not seen."""
        return self._scanner.text(STUDY_INSTANCE_UID) or "none"

    @property
    def patient_id(self) -> str:
        """The patient; empty if the ID was not seen."""
        return patient_id_of(self._scanner)


class _Reader(Reader):
    def __init__(self, reader: Reader, scanner: ElementScanner) -> None:
        self.may_wait = reader.may_wait
        self.stops_at_once = reader.stops_at_once
        self._reader = reader
        self._scanner = scanner
        self._left = _LOOK

    async def read_into(self, buffer: memoryview) -> int:
        count = await self._reader.read_into(buffer)
        if self._left and count:
            piece = buffer[: min(count, self._left)]
            self._left -= len(piece)
            try:
                self._scanner.feed(piece)
            except DatasetError:
                self._left = 0  # the peer will say what is wrong
            if self._scanner.bulk is not None or self._scanner.passed(STUDY_INSTANCE_UID):
                self._left = 0
        return count

    def close(self) -> None:
        self._reader.close()
