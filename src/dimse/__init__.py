"""DICOM networking for Python: asyncio, streaming, typed."""

from dimse.ae import (
    Address,
    ClientOptions,
    Malformed,
    RetryPolicy,
    ServerOptions,
    StoreMode,
    Timeouts,
)
from dimse.dataset import DatasetSource, EncapsulatedFrames, FileSource, NativePixels, PixelSource, StreamSource
from dimse.errors import (
    AssociationAborted,
    AssociationError,
    AssociationRejected,
    AssociationTimeout,
    ConnectionLost,
    DatasetError,
    DimseError,
    LocalProtocolError,
    PresentationContextError,
    ProtocolError,
    RemoteProtocolError,
    StatusError,
)
from dimse.messages.status import Status, StatusCategory
from dimse.network.association import Association
from dimse.network.client import connect
from dimse.services.sending import SendReport, SendResult, send
from dimse.services.server import Server
from dimse.services.storage import CStoreSCU, StoreRequest, TransferProgress, presentation_contexts
from dimse.services.verification import CEchoSCU
from dimse.upper_layer.items import UserIdentityRQ, UserIdentityType

__all__ = [
    "Address",
    "Association",
    "AssociationAborted",
    "AssociationError",
    "AssociationRejected",
    "AssociationTimeout",
    "CEchoSCU",
    "CStoreSCU",
    "ClientOptions",
    "ConnectionLost",
    "DatasetError",
    "DatasetSource",
    "DimseError",
    "EncapsulatedFrames",
    "FileSource",
    "LocalProtocolError",
    "Malformed",
    "NativePixels",
    "PixelSource",
    "PresentationContextError",
    "ProtocolError",
    "RemoteProtocolError",
    "RetryPolicy",
    "SendReport",
    "SendResult",
    "Server",
    "ServerOptions",
    "Status",
    "StatusCategory",
    "StatusError",
    "StoreMode",
    "StoreRequest",
    "StreamSource",
    "Timeouts",
    "TransferProgress",
    "UserIdentityRQ",
    "UserIdentityType",
    "connect",
    "presentation_contexts",
    "send",
]
