"""The same library for programs that are not asynchronous: scripts, notebooks, worker threads.

The names are those of `dimse`, the parameters too, and nothing has to be awaited: `async with` and `async for` become
`with` and `for`. The work is done in an event loop that runs in a thread of its own, so that it goes on where another
loop runs already, as in Jupyter. Ctrl-C cancels what is under way. Callbacks such as `progress` are called in that
thread, and must not call this module.

>>> from dimse import sync
>>> report = sync.send("ARCHIVE@localhost:11112", ["study/"])
>>> for match in sync.find("ARCHIVE@localhost:11112", Query.studies(PatientName="Smith*")):
...     print(match.StudyInstanceUID)
"""

from dimse.sync.association import Association, CEchoSCU, CFindSCU, CGetSCU, CMoveSCU, CStoreSCU, NormalizedSCU, connect
from dimse.sync.client import Client
from dimse.sync.jobs import commit, echo, explain, find, get, move, print_images, printer_status, retrieve, send
from dimse.sync.procedure_step import PerformedStep, notify_availability, performed_step
from dimse.sync.results import Finding, FindResults, GetResults, MoveResults
from dimse.sync.store_request import StoreRequest
from dimse.sync.ups import UPS, ClaimedUPS, UPSClaims

__all__ = [
    "UPS",
    "Association",
    "CEchoSCU",
    "CFindSCU",
    "CGetSCU",
    "CMoveSCU",
    "CStoreSCU",
    "ClaimedUPS",
    "Client",
    "FindResults",
    "Finding",
    "GetResults",
    "MoveResults",
    "NormalizedSCU",
    "PerformedStep",
    "StoreRequest",
    "UPSClaims",
    "commit",
    "connect",
    "echo",
    "explain",
    "find",
    "get",
    "move",
    "notify_availability",
    "performed_step",
    "print_images",
    "printer_status",
    "retrieve",
    "send",
]
