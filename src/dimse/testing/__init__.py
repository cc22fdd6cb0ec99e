"""Test doubles for programs that use DICOM networking: an archive that can fail, and a peer that follows a script.

The names exported here are public. None of this needs pytest; `dimse.pytest_plugin` has the fixtures.
"""

from dimse.testing.scripted_peer import Script, ScriptedPeer, listening
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
    "Received",
    "Script",
    "ScriptedPeer",
    "associate_request",
    "echo_request",
    "listening",
    "message_pdvs",
    "response",
    "store_request",
    "wire",
]
