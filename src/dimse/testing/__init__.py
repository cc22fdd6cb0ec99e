"""Test doubles for programs that use DICOM networking: an archive that can fail, and a peer that follows a script.

The names exported here are public. None of this needs pytest; `dimse.pytest_plugin` has the fixtures.
"""

from dimse.testing.archive import ArchiveRequest, FakeArchive
from dimse.testing.faults import Abort, Answer, Delay, Drop, Fault, Refuse
from dimse.testing.scripted_peer import Script, ScriptedPeer, listening, listening_in_thread
from dimse.testing.wire import (
    INFORMATION,
    Received,
    associate_request,
    echo_request,
    message_pdvs,
    response,
    store_request,
    wire,
)

__all__ = [
    "INFORMATION",
    "Abort",
    "Answer",
    "ArchiveRequest",
    "Delay",
    "Drop",
    "FakeArchive",
    "Fault",
    "Received",
    "Refuse",
    "Script",
    "ScriptedPeer",
    "associate_request",
    "echo_request",
    "listening",
    "listening_in_thread",
    "message_pdvs",
    "response",
    "store_request",
    "wire",
]
