"""The audit trail: messages of PS3.15 A.5, as syslog lines of PS3.15 A.6 (RFC 5424) in a file.

The event loop never waits for the file: a thread writes what a bounded queue holds. If the file cannot be written,
messages are lost, the log says so once, and the associations go on: an archive must not stop because a log is full.
"""

from __future__ import annotations

import atexit
import base64
import logging
import os
import re
import socket
import threading
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import Final

logger = logging.getLogger("dimse.audit")

MAXIMUM_WAITING: Final = 10_000
"""Audit messages that wait to be written; more are lost."""

MAXIMUM_WAITING_BYTES: Final = 64 * 1024 * 1024
"""Bytes of all of them, likewise: a message may quote long values of a peer."""

MAXIMUM_VALUE: Final = 1024
"""Characters of a value, such as a title or a UID; a longer one is cut."""

MAXIMUM_QUERY: Final = 1024 * 1024
"""Bytes of the identifier of a query; a longer one is cut."""

CLOSE_TIMEOUT: Final = 5.0
"""Seconds that a process waits at its end for its audit messages to be written."""

_PRIORITY: Final = 10 * 8 + 5
"""Facility 10 (security), severity 5 (notice), of PS3.15 A.6."""
_NOT_XML: Final = re.compile("[^ -~\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


class Outcome(Enum):
    """Event Outcome Indicator (PS3.15 A.5.1)."""

    SUCCESS = "0"
    MINOR_FAILURE = "4"
    SERIOUS_FAILURE = "8"


class Event(Enum):
    """What is audited: the code and meaning of Event ID, and Event Action Code (PS3.15 A.5.3)."""

    APPLICATION_ACTIVITY = ("110100", "Application Activity", "E")
    INSTANCES_TRANSFERRED = ("110104", "DICOM Instances Transferred", "C")
    QUERY = ("110112", "Query", "E")
    SECURITY_ALERT = ("110113", "Security Alert", "E")
    USER_AUTHENTICATION = ("110114", "User Authentication", "E")


class EventType(Enum):
    """The code and meaning of Event Type Code (PS3.16 CID 401)."""

    APPLICATION_START = ("110120", "Application Start")
    APPLICATION_STOP = ("110121", "Application Stop")
    LOGIN = ("110122", "Login")
    NODE_AUTHENTICATION = ("110126", "Node Authentication")


class Role(Enum):
    """The code and meaning of Role ID Code (PS3.16 CID 402)."""

    APPLICATION = ("110150", "Application")
    DESTINATION = ("110152", "Destination Role ID")
    SOURCE = ("110153", "Source Role ID")


@dataclass(frozen=True, slots=True)
class Participant:
    """An application entity or a user that took part (PS3.15 A.5.2)."""

    user_id: str
    ae_title: str | None = None
    host: str | None = None
    is_requestor: bool = False
    role: Role | None = None

    def xml(self) -> str:
        """As an ActiveParticipant element."""
        title = None if self.ae_title is None else f"AETITLES={self.ae_title}"
        attributes = _attributes(
            UserID=self.user_id,
            AlternativeUserID=title,
            UserIsRequestor=str(self.is_requestor).lower(),
            NetworkAccessPointID=self.host,
            NetworkAccessPointTypeCode=None if self.host is None else "2",
        )
        role = "" if self.role is None else _coded("RoleIDCode", *self.role.value)
        return f"<ActiveParticipant{attributes}>{role}</ActiveParticipant>"


class AuditLog:
    """An audit trail in the file `path`, to which messages are appended; `source_id` names this system in them.

    Give it to `ServerOptions` and `ClientOptions`, which may share one. It is off unless it is given. `close` waits
    until everything is written; at the end of the process that is done for all.
    """

    def __init__(self, path: str | os.PathLike[str], *, source_id: str = "dimse") -> None:
        self.path: Final = Path(path)
        self.source_id: Final = source_id
        self._host = socket.gethostname() or "-"
        self._waiting: deque[str] = deque()
        self._waiting_bytes = 0
        self._lost = 0
        self._is_failing = False
        self._line_break = b""
        self._wake = threading.Condition()
        self._thread: threading.Thread | None = None

    def __repr__(self) -> str:
        return f"AuditLog({str(self.path)!r})"

    def close(self) -> None:
        """Wait until everything is written, or cannot be; `CLOSE_TIMEOUT` seconds at most, as a disk may hang."""
        with self._wake:
            thread, self._thread = self._thread, None
            self._wake.notify_all()
        if thread is not None:
            thread.join(CLOSE_TIMEOUT)
            atexit.unregister(self.close)

    def _queue(self, now: str, message: str) -> None:
        """Queue a message. Never blocks."""
        head = f"<{_PRIORITY}>1 {now} {self._host} dimse {os.getpid()} DICOM+RFC3881 -"
        line = f"{head} {message.encode('ascii', 'xmlcharrefreplace').decode()}\n"
        with self._wake:
            if len(self._waiting) >= MAXIMUM_WAITING:
                self._lose(1, f"more than {MAXIMUM_WAITING} messages wait")
                return
            if self._waiting_bytes + len(line) > MAXIMUM_WAITING_BYTES:
                self._lose(1, f"more than {MAXIMUM_WAITING_BYTES} bytes wait")
                return
            self._waiting.append(line)
            self._waiting_bytes += len(line)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="dimse-audit", daemon=True)
                self._thread.start()
                atexit.register(self.close)
            self._wake.notify_all()

    def _run(self) -> None:
        own = threading.current_thread()
        while True:
            with self._wake:
                self._wake.wait_for(lambda: self._waiting or self._thread is not own)
                lines = list(self._waiting)
                self._waiting.clear()
                self._waiting_bytes = 0
            if not lines:
                return
            try:
                self._append("".join(lines).encode("ascii"))
            except OSError as error:
                with self._wake:
                    self._lose(len(lines), os.strerror(error.errno or 0))
            else:
                with self._wake:
                    self._recover()

    def _append(self, lines: bytes) -> None:
        """Append lines. After a part of them that a full disk took, the next ones begin on a new line."""
        view = memoryview(self._line_break + lines)
        file = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        try:
            while view:
                view = view[os.write(file, view) :]
                self._line_break = b"\n"
            self._line_break = b""
        finally:
            os.close(file)

    def _lose(self, count: int, why: str) -> None:
        self._lost += count
        if not self._is_failing:
            self._is_failing = True
            logger.error("audit messages are lost: %s: %s", self.path, why)

    def _recover(self) -> None:
        if self._is_failing:
            logger.error("%s is written again; %d audit messages were lost", self.path, self._lost)
            self._is_failing, self._lost = False, 0


def write(
    log: AuditLog,
    event: Event,
    outcome: Outcome,
    participants: Iterable[Participant],
    objects: Iterable[str] = (),
    event_type: EventType | None = None,
) -> None:
    """Add a message; `objects` are its ParticipantObjectIdentification elements. Never blocks."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    code, meaning, action = event.value
    kind = "" if event_type is None else _coded("EventTypeCode", *event_type.value)
    attributes = _attributes(EventActionCode=action, EventDateTime=now, EventOutcomeIndicator=outcome.value)
    source = _attributes(AuditSourceID=log.source_id)
    log._queue(
        now,
        f"<AuditMessage><EventIdentification{attributes}>{_coded('EventID', code, meaning)}{kind}"
        f"</EventIdentification>{''.join(each.xml() for each in participants)}"
        f'<AuditSourceIdentification{source}><AuditSourceTypeCode csd-code="4"/></AuditSourceIdentification>'
        f"{''.join(objects)}</AuditMessage>",
    )


def shortened(text: str) -> str:
    """A value as far as it is written."""
    return text if len(text) <= MAXIMUM_VALUE else f"{text[:MAXIMUM_VALUE]}..."


def _escaped(text: str) -> str:
    """`text` as the value of an attribute; control characters, and what XML cannot have, are shown as `\\x1b`."""
    text = _NOT_XML.sub(lambda found: f"\\x{ord(found[0]):02x}", text)
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace('"', "&quot;")


def _attributes(**values: str | None) -> str:
    return "".join(f' {name}="{_escaped(shortened(value))}"' for name, value in values.items() if value is not None)


def _coded(element: str, code: str, meaning: str, system: str = "DCM") -> str:
    return f'<{element} csd-code="{code}" codeSystemName="{system}" originalText="{meaning}"/>'


def study(uid: str, counts: Mapping[str, int]) -> str:
    """A study, and the number of instances by SOP Class UID (PS3.15 A.5.3.7)."""
    attributes = _attributes(ParticipantObjectID=uid, ParticipantObjectTypeCode="2", ParticipantObjectTypeCodeRole="3")
    classes = "".join(f"<SOPClass{_attributes(UID=c, NumberOfInstances=str(n))}/>" for c, n in counts.items())
    return (
        f"<ParticipantObjectIdentification{attributes}>"
        f"{_coded('ParticipantObjectIDTypeCode', '110180', 'Study Instance UID')}<ParticipantObjectName/>"
        f"<ParticipantObjectDescription>{classes}</ParticipantObjectDescription></ParticipantObjectIdentification>"
    )


def patient(patient_id: str) -> str:
    """The patient, by ID alone (PS3.15 A.5.3.7)."""
    attributes = _attributes(
        ParticipantObjectID=patient_id or "none", ParticipantObjectTypeCode="1", ParticipantObjectTypeCodeRole="1"
    )
    return (
        f"<ParticipantObjectIdentification{attributes}>"
        f"{_coded('ParticipantObjectIDTypeCode', '2', 'Patient Number', 'RFC-3881')}<ParticipantObjectName/>"
        "</ParticipantObjectIdentification>"
    )


def query(sop_class_uid: str, identifier: bytes, transfer_syntax_uid: str) -> str:
    """A query: its identifier as it was sent (PS3.15 A.5.3.10), the first `MAXIMUM_QUERY` bytes of it."""
    attributes = _attributes(
        ParticipantObjectID=sop_class_uid, ParticipantObjectTypeCode="2", ParticipantObjectTypeCodeRole="3"
    )
    syntax = base64.b64encode(transfer_syntax_uid.encode("latin-1")).decode()
    return (
        f"<ParticipantObjectIdentification{attributes}>"
        f"{_coded('ParticipantObjectIDTypeCode', '110181', 'SOP Class UID')}"
        f"<ParticipantObjectQuery>{base64.b64encode(identifier[:MAXIMUM_QUERY]).decode()}</ParticipantObjectQuery>"
        f'<ParticipantObjectDetail type="TransferSyntax" value="{syntax}"/></ParticipantObjectIdentification>'
    )


def node(address: str, why: str) -> str:
    """The node that a security alert is about, and what happened (PS3.15 A.5.3.11)."""
    attributes = _attributes(
        ParticipantObjectID=address, ParticipantObjectTypeCode="2", ParticipantObjectTypeCodeRole="13"
    )
    value = base64.b64encode(why.encode()).decode()
    return (
        f"<ParticipantObjectIdentification{attributes}>"
        f"{_coded('ParticipantObjectIDTypeCode', '110182', 'Node ID')}<ParticipantObjectName/>"
        f'<ParticipantObjectDetail type="Alert Description" value="{value}"/></ParticipantObjectIdentification>'
    )


def process(
    ae_title: str, host: str | None = None, *, is_requestor: bool = False, role: Role | None = None
) -> Participant:
    """This process, named by its process ID (PS3.15 A.5.2.1)."""
    return Participant(str(os.getpid()), ae_title, host, is_requestor, role)
