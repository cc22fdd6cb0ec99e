"""The states of a Unified Procedure Step, and what a request does in each (PS3.4 CC.1.1)."""

from __future__ import annotations

from collections.abc import Mapping
from enum import Enum, StrEnum
from typing import ClassVar, Final

from dimse import uids
from dimse.errors import StatusError
from dimse.status import Status


class UPSState(StrEnum):
    """Procedure Step State (0074,1000) (PS3.4 Table CC.1.1-1)."""

    SCHEDULED = "SCHEDULED"
    IN_PROGRESS = "IN PROGRESS"
    """A performer has claimed it: only requests with its Transaction UID change it."""
    COMPLETED = "COMPLETED"
    CANCELED = "CANCELED"

    @property
    def is_final(self) -> bool:
        """Whether it stays as it is: COMPLETED or CANCELED."""
        return self in (UPSState.COMPLETED, UPSState.CANCELED)


_MEANINGS: Final = {
    0xB300: "The step was created with modifications",
    0xB301: "Deletion lock not granted",
    0xB304: "The step is already CANCELED",
    0xB305: "Invalid values were coerced to valid ones",
    0xB306: "The step is already COMPLETED",
    0xC300: "The step may no longer be updated: it is COMPLETED or CANCELED",
    0xC301: "The Transaction UID is not that of the performer",
    0xC302: "The step is already IN PROGRESS",
    0xC303: "A step becomes SCHEDULED only by N-CREATE",
    0xC304: "The step does not meet the requirements of the final state",
    0xC307: "The SCP has no such step",
    0xC308: "The SCP does not know the AE title that is to receive events",
    0xC309: "A step must be created as SCHEDULED",
    0xC310: "The step is not IN PROGRESS",
    0xC311: "The step is already COMPLETED",
    0xC312: "The performer cannot be contacted",
    0xC313: "The performer chooses not to cancel",
    0xC314: "This action is not for this instance",
    0xC315: "The SCP does not send events",
}
"""PS3.4 Tables CC.2.1-2, CC.2.2-2, CC.2.3-3, CC.2.5-4 and CC.2.6-1."""


class UPSStatus(Status):
    """A status of a Unified Procedure Step service: other services use the same codes with other meanings.

    >>> print(UPSStatus(0xC302))
    0xC302 The step is already IN PROGRESS
    """

    CREATED_WITH_MODIFICATIONS: ClassVar[UPSStatus]
    DELETION_LOCK_NOT_GRANTED: ClassVar[UPSStatus]
    ALREADY_CANCELED: ClassVar[UPSStatus]
    COERCED_VALUES: ClassVar[UPSStatus]
    ALREADY_COMPLETED_AS_REQUESTED: ClassVar[UPSStatus]
    NO_LONGER_UPDATABLE: ClassVar[UPSStatus]
    WRONG_TRANSACTION_UID: ClassVar[UPSStatus]
    ALREADY_IN_PROGRESS: ClassVar[UPSStatus]
    ONLY_CREATED_SCHEDULED: ClassVar[UPSStatus]
    FINAL_STATE_NOT_MET: ClassVar[UPSStatus]
    NO_SUCH_STEP: ClassVar[UPSStatus]
    UNKNOWN_RECEIVER: ClassVar[UPSStatus]
    NOT_CREATED_SCHEDULED: ClassVar[UPSStatus]
    NOT_IN_PROGRESS: ClassVar[UPSStatus]
    ALREADY_COMPLETED: ClassVar[UPSStatus]
    PERFORMER_UNREACHABLE: ClassVar[UPSStatus]
    PERFORMER_DECLINES: ClassVar[UPSStatus]
    WRONG_ACTION: ClassVar[UPSStatus]
    NO_EVENTS: ClassVar[UPSStatus]

    @property
    def meaning(self) -> str:
        """What it means for a step."""
        return _MEANINGS.get(int(self)) or super().meaning


UPSStatus.CREATED_WITH_MODIFICATIONS = UPSStatus(0xB300)
UPSStatus.DELETION_LOCK_NOT_GRANTED = UPSStatus(0xB301)
UPSStatus.ALREADY_CANCELED = UPSStatus(0xB304)
UPSStatus.COERCED_VALUES = UPSStatus(0xB305)
UPSStatus.ALREADY_COMPLETED_AS_REQUESTED = UPSStatus(0xB306)
UPSStatus.NO_LONGER_UPDATABLE = UPSStatus(0xC300)
UPSStatus.WRONG_TRANSACTION_UID = UPSStatus(0xC301)
UPSStatus.ALREADY_IN_PROGRESS = UPSStatus(0xC302)
UPSStatus.ONLY_CREATED_SCHEDULED = UPSStatus(0xC303)
UPSStatus.FINAL_STATE_NOT_MET = UPSStatus(0xC304)
UPSStatus.NO_SUCH_STEP = UPSStatus(0xC307)
UPSStatus.UNKNOWN_RECEIVER = UPSStatus(0xC308)
UPSStatus.NOT_CREATED_SCHEDULED = UPSStatus(0xC309)
UPSStatus.NOT_IN_PROGRESS = UPSStatus(0xC310)
UPSStatus.ALREADY_COMPLETED = UPSStatus(0xC311)
UPSStatus.PERFORMER_UNREACHABLE = UPSStatus(0xC312)
UPSStatus.PERFORMER_DECLINES = UPSStatus(0xC313)
UPSStatus.WRONG_ACTION = UPSStatus(0xC314)
UPSStatus.NO_EVENTS = UPSStatus(0xC315)


def in_words(error: StatusError) -> StatusError:
    """The error of a peer's answer about a step, in the words of its service."""
    worded = StatusError(UPSStatus(error.status), error.doing or "UPS", error.comment, error.offending)
    return worded.at(error.address, error.doing)


CLASSES_OF: Final[Mapping[str | int, tuple[str, ...]]] = {
    "N-CREATE": (uids.UPS_PUSH,),
    "N-SET": (uids.UPS_PULL,),
    "N-GET": (uids.UPS_PULL, uids.UPS_WATCH, uids.UPS_PUSH),
    1: (uids.UPS_PULL,),
    2: (uids.UPS_PUSH, uids.UPS_WATCH),
    3: (uids.UPS_WATCH,),
    4: (uids.UPS_WATCH,),
    5: (uids.UPS_WATCH,),
}
"""On contexts of which SOP classes a request may be sent, by its name or Action Type ID (PS3.4 Tables CC.2-1 to 3)."""


class UPSRequest(Enum):
    """What is requested of a step: the rows of the table."""

    CREATE = "N-CREATE"
    CLAIM = "N-ACTION to IN PROGRESS"
    SCHEDULE = "N-ACTION to SCHEDULED"
    COMPLETE = "N-ACTION to COMPLETED"
    CANCEL = "N-ACTION to CANCELED"
    REQUEST_CANCEL = "N-ACTION Request Cancel"
    SET = "N-SET"


_TO_STATE: Final = {
    UPSState.IN_PROGRESS: UPSRequest.CLAIM,
    UPSState.SCHEDULED: UPSRequest.SCHEDULE,
    UPSState.COMPLETED: UPSRequest.COMPLETE,
    UPSState.CANCELED: UPSRequest.CANCEL,
}


def request_for(state: UPSState) -> UPSRequest:
    """The request that changes a step to `state`."""
    return _TO_STATE[state]


_SCHEDULED, _IN_PROGRESS, _COMPLETED, _CANCELED = UPSState
_COLUMNS: Final = (None, *UPSState)

_DUPLICATE: Final = UPSStatus(Status.DUPLICATE_SOP_INSTANCE)
_DONE: Final = UPSStatus(Status.SUCCESS)
_NONE: Final = UPSStatus.NO_SUCH_STEP
_C300, _C302, _C303 = UPSStatus(0xC300), UPSStatus(0xC302), UPSStatus(0xC303)
_C310, _C311, _B304, _B306 = UPSStatus(0xC310), UPSStatus(0xC311), UPSStatus(0xB304), UPSStatus(0xB306)

_TABLE: Final[Mapping[UPSRequest, tuple[UPSState | UPSStatus, ...]]] = {
    #                         no such step  SCHEDULED    IN PROGRESS  COMPLETED    CANCELED
    UPSRequest.CREATE:         (_SCHEDULED, _DUPLICATE,  _DUPLICATE,  _DUPLICATE,  _DUPLICATE),
    UPSRequest.CLAIM:          (_NONE,      _IN_PROGRESS, _C302,      _C300,       _C300),
    UPSRequest.SCHEDULE:       (_NONE,      _C303,       _C303,       _C303,       _C303),
    UPSRequest.COMPLETE:       (_NONE,      _C310,       _COMPLETED,  _B306,       _C300),
    UPSRequest.CANCEL:         (_NONE,      _C310,       _CANCELED,   _C300,       _B304),
    UPSRequest.REQUEST_CANCEL: (_NONE,      _CANCELED,   _DONE,       _C311,       _B304),
    UPSRequest.SET:            (_NONE,      _DONE,       _DONE,       _C300,       _C300),
}  # fmt: skip
"""PS3.4 Table CC.1.1-2, and CC.2.6 for N-SET: the state to change to, or the status to answer."""

_NEEDS_TRANSACTION: Final = (UPSRequest.CLAIM, UPSRequest.COMPLETE, UPSRequest.CANCEL)


def outcome(
    request: UPSRequest, state: UPSState | None, given: str | None, recorded: str | None
) -> UPSState | UPSStatus:
    """What a request does to a step: the state that it changes to, or the status to answer.

    `state` is None if there is no such step. `given` is the Transaction UID of the request, `recorded` that of the
    step, which it has since it was claimed. The requirements of the final states are not checked here.

    >>> outcome(UPSRequest.CLAIM, UPSState.SCHEDULED, "2.25.1", None)
    <UPSState.IN_PROGRESS: 'IN PROGRESS'>
    >>> outcome(UPSRequest.COMPLETE, UPSState.IN_PROGRESS, "2.25.2", "2.25.1")
    Status(0xC301)
    """
    if state is not None:
        is_correct = bool(given) and given == (recorded or given)
        if request in _NEEDS_TRANSACTION and not is_correct:
            return UPSStatus.WRONG_TRANSACTION_UID
        if request is UPSRequest.SET and state is _IN_PROGRESS and not is_correct:
            return UPSStatus.WRONG_TRANSACTION_UID
        if request is UPSRequest.SET and state is _SCHEDULED and given:
            return UPSStatus.NOT_IN_PROGRESS  # PS3.4 CC.2.6.2: a scheduled step is set without one
    return _TABLE[request][_COLUMNS.index(state)]
