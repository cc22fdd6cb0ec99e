"""Status codes of DIMSE responses (PS3.7 Annex C; PS3.4 B.2.3, C.4)."""

from __future__ import annotations

from enum import StrEnum
from typing import ClassVar, Final


class StatusCategory(StrEnum):
    """The five classes of PS3.7 Annex C."""

    SUCCESS = "success"
    PENDING = "pending"
    CANCEL = "cancel"
    WARNING = "warning"
    FAILURE = "failure"


_MEANINGS: Final = {
    0x0000: "Success",
    0x0001: "Requested optional attributes are not supported",
    0x0105: "No such attribute",
    0x0106: "Invalid attribute value",
    0x0107: "Attribute list error",
    0x0110: "Processing failure",
    0x0111: "Duplicate SOP instance",
    0x0112: "No such SOP instance",
    0x0113: "No such event type",
    0x0114: "No such argument",
    0x0115: "Invalid argument value",
    0x0116: "Attribute value out of range",
    0x0117: "Invalid SOP instance",
    0x0118: "No such SOP class",
    0x0119: "Class-instance conflict",
    0x0120: "Missing attribute",
    0x0121: "Missing attribute value",
    0x0122: "SOP class not supported",
    0x0123: "No such action",
    0x0124: "Not authorized",
    0x0210: "Duplicate invocation",
    0x0211: "Unrecognized operation",
    0x0212: "Mistyped argument",
    0x0213: "Resource limitation",
    0xA700: "Out of resources",
    0xA701: "Out of resources: unable to calculate number of matches",
    0xA702: "Out of resources: unable to perform sub-operations",
    0xA801: "Move destination unknown",
    0xA900: "Data set does not match SOP class",
    0xB000: "Coercion of data elements, or sub-operations with failures",
    0xB006: "Elements discarded",
    0xB007: "Data set does not match SOP class (warning)",
    0xC000: "Cannot understand",
    0xFE00: "Cancel",
    0xFF00: "Pending",
    0xFF01: "Pending, optional keys not supported",
}

_RANGES: Final = ((0xA700, 0xA7FF, 0xA700), (0xA900, 0xA9FF, 0xA900), (0xC000, 0xCFFF, 0xC000))


class Status(int):
    """A status code: an int that knows its category and its meaning, and carries a handler's Error Comment.

    >>> Status(0xA700).category
    <StatusCategory.FAILURE: 'failure'>
    >>> Status(0xA700) == 0xA700
    True
    >>> Status(0xA700).with_comment("the quota is used up").comment
    'the quota is used up'
    """

    comment: str | None = None
    """A handler's Error Comment (0000,0902). That of a peer's response is in `StatusError.comment`."""
    offending: tuple[int, ...] = ()
    """A handler's Offending Element (0000,0901) tags."""

    SUCCESS: ClassVar[Status]
    PROCESSING_FAILURE: ClassVar[Status]
    SOP_CLASS_NOT_SUPPORTED: ClassVar[Status]
    UNRECOGNIZED_OPERATION: ClassVar[Status]
    OUT_OF_RESOURCES: ClassVar[Status]
    DATASET_DOES_NOT_MATCH: ClassVar[Status]
    CANNOT_UNDERSTAND: ClassVar[Status]
    NOT_AUTHORIZED: ClassVar[Status]
    DUPLICATE_SOP_INSTANCE: ClassVar[Status]
    INVALID_SOP_INSTANCE: ClassVar[Status]
    UNABLE_TO_PERFORM_SUBOPERATIONS: ClassVar[Status]
    MOVE_DESTINATION_UNKNOWN: ClassVar[Status]
    COERCION_OF_DATA_ELEMENTS: ClassVar[Status]
    SUBOPERATIONS_COMPLETE_WITH_FAILURES: ClassVar[Status]
    ELEMENTS_DISCARDED: ClassVar[Status]
    NO_SUCH_ATTRIBUTE: ClassVar[Status]
    INVALID_ATTRIBUTE_VALUE: ClassVar[Status]
    ATTRIBUTE_LIST_ERROR: ClassVar[Status]
    NO_SUCH_SOP_INSTANCE: ClassVar[Status]
    NO_SUCH_EVENT_TYPE: ClassVar[Status]
    INVALID_ARGUMENT_VALUE: ClassVar[Status]
    NO_SUCH_SOP_CLASS: ClassVar[Status]
    MISSING_ATTRIBUTE: ClassVar[Status]
    MISSING_ATTRIBUTE_VALUE: ClassVar[Status]
    NO_SUCH_ACTION: ClassVar[Status]
    RESOURCE_LIMITATION: ClassVar[Status]
    CANCEL: ClassVar[Status]
    PENDING: ClassVar[Status]
    PENDING_KEYS_NOT_SUPPORTED: ClassVar[Status]

    @property
    def category(self) -> StatusCategory:
        if self == 0x0000:
            return StatusCategory.SUCCESS
        if self in (0xFF00, 0xFF01):
            return StatusCategory.PENDING
        if self == 0xFE00:
            return StatusCategory.CANCEL
        if 0xB000 <= self <= 0xBFFF or self in (0x0001, 0x0107, 0x0116):
            return StatusCategory.WARNING
        return StatusCategory.FAILURE

    @property
    def meaning(self) -> str:
        """The standard's wording; for a code in a range, that of the range."""
        code = int(self)
        if code not in _MEANINGS:
            code = next((start for low, high, start in _RANGES if low <= self <= high), code)
        return _MEANINGS.get(code, self.category.capitalize())

    @property
    def is_done(self) -> bool:
        """Whether it is Success or a warning: the operation was performed."""
        return self.category in (StatusCategory.SUCCESS, StatusCategory.WARNING)

    @property
    def is_out_of_resources(self) -> bool:
        """Whether it is Out of Resources (0xA7xx): the same request may succeed later (PS3.4 B.2.3)."""
        return 0xA700 <= self <= 0xA7FF

    @property
    def is_unable_to_process(self) -> bool:
        """Whether it is one of 0xCxxx, by which archives answer what they cannot do (PS3.4 C.4.2.1.5, C.4.3.1.4)."""
        return 0xC000 <= self <= 0xCFFF

    def with_comment(self, comment: str | None, *offending: int) -> Status:
        """The same status with an Error Comment, and the tags of offending elements (PS3.7 Annex C).

        The comment is sent as ASCII, up to 64 characters. Raises `ValueError` for an invalid tag.
        """
        if not all(0 <= tag <= 0xFFFFFFFF for tag in offending):
            raise ValueError("a tag must be 0 to 0xFFFFFFFF")
        status = type(self)(self)
        status.comment, status.offending = comment, offending
        return status

    def __str__(self) -> str:
        return f"0x{int(self):04X} {self.meaning}"

    def __repr__(self) -> str:
        return f"Status(0x{int(self):04X})"


Status.SUCCESS = Status(0x0000)
Status.PROCESSING_FAILURE = Status(0x0110)
Status.SOP_CLASS_NOT_SUPPORTED = Status(0x0122)
Status.UNRECOGNIZED_OPERATION = Status(0x0211)
Status.OUT_OF_RESOURCES = Status(0xA700)
Status.DATASET_DOES_NOT_MATCH = Status(0xA900)
Status.CANNOT_UNDERSTAND = Status(0xC000)
Status.NOT_AUTHORIZED = Status(0x0124)
Status.DUPLICATE_SOP_INSTANCE = Status(0x0111)
Status.INVALID_SOP_INSTANCE = Status(0x0117)
Status.UNABLE_TO_PERFORM_SUBOPERATIONS = Status(0xA702)
Status.MOVE_DESTINATION_UNKNOWN = Status(0xA801)
Status.COERCION_OF_DATA_ELEMENTS = Status(0xB000)
Status.SUBOPERATIONS_COMPLETE_WITH_FAILURES = Status(0xB000)
Status.ELEMENTS_DISCARDED = Status(0xB006)
Status.NO_SUCH_ATTRIBUTE = Status(0x0105)
Status.INVALID_ATTRIBUTE_VALUE = Status(0x0106)
Status.ATTRIBUTE_LIST_ERROR = Status(0x0107)
Status.NO_SUCH_SOP_INSTANCE = Status(0x0112)
Status.NO_SUCH_EVENT_TYPE = Status(0x0113)
Status.INVALID_ARGUMENT_VALUE = Status(0x0115)
Status.NO_SUCH_SOP_CLASS = Status(0x0118)
Status.MISSING_ATTRIBUTE = Status(0x0120)
Status.MISSING_ATTRIBUTE_VALUE = Status(0x0121)
Status.NO_SUCH_ACTION = Status(0x0123)
Status.RESOURCE_LIMITATION = Status(0x0213)
Status.CANCEL = Status(0xFE00)
Status.PENDING = Status(0xFF00)
Status.PENDING_KEYS_NOT_SUPPORTED = Status(0xFF01)
