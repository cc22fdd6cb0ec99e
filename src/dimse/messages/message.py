"""The DIMSE messages (PS3.7 9.3, 10.3), one class each.

`encode()` returns the Command Set, and `decode_message` the message of one. A field that is None is not sent.
`dataset_follows` is Command Data Set Type: whether a data set or identifier follows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, fields
from enum import IntEnum
from typing import Any, ClassVar, Final, TypeVar

from dimse.errors import RemoteProtocolError
from dimse.messages import command_set
from dimse.messages.command_set import (
    COMMAND_DATA_SET_TYPE,
    COMMAND_FIELD,
    DATA_SET_FOLLOWS,
    NO_DATA_SET,
    CommandValue,
)
from dimse.records import record
from dimse.status import Status, StatusCategory

_ELEMENT_OF: Final = {
    "affected_sop_class_uid": 0x0002,
    "requested_sop_class_uid": 0x0003,
    "message_id": 0x0110,
    "message_id_being_responded_to": 0x0120,
    "move_destination": 0x0600,
    "priority": 0x0700,
    "status": 0x0900,
    "offending_element": 0x0901,
    "error_comment": 0x0902,
    "error_id": 0x0903,
    "affected_sop_instance_uid": 0x1000,
    "requested_sop_instance_uid": 0x1001,
    "event_type_id": 0x1002,
    "attribute_identifier_list": 0x1005,
    "action_type_id": 0x1008,
    "number_of_remaining_suboperations": 0x1020,
    "number_of_completed_suboperations": 0x1021,
    "number_of_failed_suboperations": 0x1022,
    "number_of_warning_suboperations": 0x1023,
    "move_originator_application_entity_title": 0x1030,
    "move_originator_message_id": 0x1031,
}


class Priority(IntEnum):
    """Priority (0000,0700)."""

    MEDIUM = 0
    HIGH = 1
    LOW = 2


def priority_of(message: Message) -> Priority:
    """The priority of a request; MEDIUM if it has none, or one that PS3.7 does not define."""
    number = getattr(message, "priority", Priority.MEDIUM)
    return Priority(number) if number in (Priority.HIGH, Priority.LOW) else Priority.MEDIUM


@record(kw_only=True)
class Message:
    """The fields common to all messages."""

    name: ClassVar[str]
    """The printed name, such as C-STORE-RQ."""
    command_field: ClassVar[int]
    layout: ClassVar[tuple[tuple[str, int], ...]]
    """The fields, each with its element number."""
    mandatory: ClassVar[frozenset[str]]
    """The fields without which a message cannot be processed."""
    has_dataset: ClassVar[bool] = True
    """Whether the message may have a data set (PS3.7 9.3, 10.3); a C-ECHO-RQ may not."""
    dataset_may_be_missing: ClassVar[bool] = False
    """Whether it can be served if its announced data set does not follow: some peers announce an empty one."""

    dataset_follows: bool = False

    def encode(self) -> bytes:
        """The Command Set (PS3.7 6.3.1)."""
        elements = {element: value for name, element in self.layout if (value := getattr(self, name)) is not None}
        elements[COMMAND_FIELD] = self.command_field
        elements[COMMAND_DATA_SET_TYPE] = DATA_SET_FOLLOWS if self.dataset_follows else NO_DATA_SET
        return command_set.encode(elements)

    @property
    def needs_dataset(self) -> bool:
        """Whether a data set must follow."""
        return False


@record(kw_only=True)
class Request(Message):
    """A request. Its SOP class is called Affected or Requested, by service."""

    message_id: int

    @property
    def needs_dataset(self) -> bool:
        return self.dataset_follows and self.has_dataset


@record(kw_only=True)
class Response(Message):
    """A response, with its status and the details of it (PS3.7 Annex C)."""

    message_id_being_responded_to: int
    status: Status
    affected_sop_class_uid: str | None = None
    offending_element: tuple[int, ...] | None = None
    error_comment: str | None = None
    error_id: int | None = None


MESSAGES: Final[dict[int, type[Message]]] = {}
"""Command Field -> class of the message."""

_M = TypeVar("_M", bound=type[Message])


def _message(command_field: int) -> Any:
    def register(cls: _M) -> _M:
        cls.command_field = command_field
        cls.name = cls.__name__.replace("_", "-")
        cls.layout = tuple((f.name, _ELEMENT_OF[f.name]) for f in fields(cls) if f.name in _ELEMENT_OF)
        cls.mandatory = frozenset(f.name for f in fields(cls) if f.default is MISSING)
        MESSAGES[command_field] = cls
        return cls

    return register


@_message(0x0001)
@record(kw_only=True)
class C_STORE_RQ(Request):
    """C-STORE-RQ (PS3.7 9.3.1.1)."""

    affected_sop_class_uid: str
    affected_sop_instance_uid: str = ""  # mandatory, but without it a response can refuse the instance
    priority: int = Priority.MEDIUM
    move_originator_application_entity_title: str | None = None
    move_originator_message_id: int | None = None
    dataset_follows: bool = True


@_message(0x8001)
@record(kw_only=True)
class C_STORE_RSP(Response):
    """C-STORE-RSP (PS3.7 9.3.1.2)."""

    affected_sop_instance_uid: str | None = None


@_message(0x0020)
@record(kw_only=True)
class C_FIND_RQ(Request):
    """C-FIND-RQ (PS3.7 9.3.2.1)."""

    affected_sop_class_uid: str
    priority: int = Priority.MEDIUM
    dataset_follows: bool = True


@_message(0x8020)
@record(kw_only=True)
class C_FIND_RSP(Response):
    """C-FIND-RSP (PS3.7 9.3.2.2)."""


@_message(0x0010)
@record(kw_only=True)
class C_GET_RQ(Request):
    """C-GET-RQ (PS3.7 9.3.3.1)."""

    affected_sop_class_uid: str
    priority: int = Priority.MEDIUM
    dataset_follows: bool = True


@record(kw_only=True)
class _RetrieveResponse(Response):
    number_of_remaining_suboperations: int | None = None
    number_of_completed_suboperations: int | None = None
    number_of_failed_suboperations: int | None = None
    number_of_warning_suboperations: int | None = None


@_message(0x8010)
@record(kw_only=True)
class C_GET_RSP(_RetrieveResponse):
    """C-GET-RSP (PS3.7 9.3.3.2)."""


@_message(0x0021)
@record(kw_only=True)
class C_MOVE_RQ(Request):
    """C-MOVE-RQ (PS3.7 9.3.4.1)."""

    affected_sop_class_uid: str
    move_destination: str
    priority: int = Priority.MEDIUM
    dataset_follows: bool = True


@_message(0x8021)
@record(kw_only=True)
class C_MOVE_RSP(_RetrieveResponse):
    """C-MOVE-RSP (PS3.7 9.3.4.2)."""


@_message(0x0030)
@record(kw_only=True)
class C_ECHO_RQ(Request):
    """C-ECHO-RQ (PS3.7 9.3.5.1)."""

    has_dataset = False
    affected_sop_class_uid: str


@_message(0x8030)
@record(kw_only=True)
class C_ECHO_RSP(Response):
    """C-ECHO-RSP (PS3.7 9.3.5.2)."""


@_message(0x0FFF)
@record(kw_only=True)
class C_CANCEL_RQ(Message):
    """C-CANCEL-RQ (PS3.7 9.3.2.3): no Message ID of its own and no response."""

    message_id_being_responded_to: int


@record(kw_only=True)
class NormalizedResponse(Response):
    """A response of a DIMSE-N service (PS3.7 10.3)."""

    affected_sop_instance_uid: str | None = None
    attribute_identifier_list: tuple[int, ...] | None = None
    """The attributes that a failure or warning is about (PS3.7 C.4, C.5)."""


# Without these UIDs and types a request can still be answered: with No such SOP Instance, No such event type, No such
# action.


@_message(0x0100)
@record(kw_only=True)
class N_EVENT_REPORT_RQ(Request):
    """N-EVENT-REPORT-RQ (PS3.7 10.3.1.1)."""

    dataset_may_be_missing = True
    affected_sop_class_uid: str
    affected_sop_instance_uid: str = ""
    event_type_id: int | None = None


@_message(0x8100)
@record(kw_only=True)
class N_EVENT_REPORT_RSP(NormalizedResponse):
    """N-EVENT-REPORT-RSP (PS3.7 10.3.1.2)."""

    event_type_id: int | None = None


@_message(0x0110)
@record(kw_only=True)
class N_GET_RQ(Request):
    """N-GET-RQ (PS3.7 10.3.2.1)."""

    has_dataset = False
    requested_sop_class_uid: str
    requested_sop_instance_uid: str = ""
    attribute_identifier_list: tuple[int, ...] | None = None


@_message(0x8110)
@record(kw_only=True)
class N_GET_RSP(NormalizedResponse):
    """N-GET-RSP (PS3.7 10.3.2.2)."""


@_message(0x0120)
@record(kw_only=True)
class N_SET_RQ(Request):
    """N-SET-RQ (PS3.7 10.3.3.1)."""

    dataset_may_be_missing = True
    requested_sop_class_uid: str
    requested_sop_instance_uid: str = ""
    dataset_follows: bool = True


@_message(0x8120)
@record(kw_only=True)
class N_SET_RSP(NormalizedResponse):
    """N-SET-RSP (PS3.7 10.3.3.2)."""


@_message(0x0130)
@record(kw_only=True)
class N_ACTION_RQ(Request):
    """N-ACTION-RQ (PS3.7 10.3.4.1)."""

    dataset_may_be_missing = True
    requested_sop_class_uid: str
    requested_sop_instance_uid: str = ""
    action_type_id: int | None = None


@_message(0x8130)
@record(kw_only=True)
class N_ACTION_RSP(NormalizedResponse):
    """N-ACTION-RSP (PS3.7 10.3.4.2)."""

    action_type_id: int | None = None


@_message(0x0140)
@record(kw_only=True)
class N_CREATE_RQ(Request):
    """N-CREATE-RQ (PS3.7 10.3.5.1)."""

    dataset_may_be_missing = True
    affected_sop_class_uid: str
    affected_sop_instance_uid: str | None = None


@_message(0x8140)
@record(kw_only=True)
class N_CREATE_RSP(NormalizedResponse):
    """N-CREATE-RSP (PS3.7 10.3.5.2)."""


@_message(0x0150)
@record(kw_only=True)
class N_DELETE_RQ(Request):
    """N-DELETE-RQ (PS3.7 10.3.6.1)."""

    has_dataset = False
    requested_sop_class_uid: str
    requested_sop_instance_uid: str = ""


@_message(0x8150)
@record(kw_only=True)
class N_DELETE_RSP(NormalizedResponse):
    """N-DELETE-RSP (PS3.7 10.3.6.2)."""


def decode_message(data: bytes) -> Message:
    """The message of a Command Set. Raises as `message_of` does."""
    return message_of(command_set.decode(data))


def message_of(elements: Mapping[int, CommandValue]) -> Message:
    """The message of the elements of a Command Set.

    Raises `RemoteProtocolError` for an unknown Command Field, and for a message that lacks a mandatory field: neither
    can be answered. Without Command Data Set Type a message has a data set if messages of its kind do.
    """
    number = elements.get(COMMAND_FIELD)
    kind = MESSAGES.get(number) if isinstance(number, int) else None
    if kind is None:
        raise RemoteProtocolError(f"command field {number!r} is not a DIMSE message", reason=5)
    values: dict[str, Any] = {name: elements[element] for name, element in kind.layout if element in elements}
    if not values.keys() >= kind.mandatory:
        missing = [element for name, element in kind.layout if name in kind.mandatory and name not in values]
        tags = ", ".join(f"(0000,{element:04X})" for element in missing)
        raise RemoteProtocolError(f"{kind.name} lacks the mandatory {tags}", reason=6)
    if "status" in values:
        values["status"] = Status(values["status"])
    if COMMAND_DATA_SET_TYPE in elements:
        values["dataset_follows"] = elements[COMMAND_DATA_SET_TYPE] != NO_DATA_SET
    elif kind is C_FIND_RSP:
        values["dataset_follows"] = values["status"].category is StatusCategory.PENDING
    return kind(**values)
