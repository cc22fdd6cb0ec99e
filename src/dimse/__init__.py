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
    OperationTimeout,
    PresentationContextError,
    ProtocolError,
    RemoteProtocolError,
    StatusError,
    SubOperationFailed,
)
from dimse.messages.status import Status, StatusCategory
from dimse.network.association import Association
from dimse.network.client import connect
from dimse.services.find import CFindSCU
from dimse.services.get import CancelBehavior, CGetSCU, retrieval_contexts
from dimse.services.move import CMoveSCU, MoveDestination
from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.query_request import QueryRequest
from dimse.services.retrieving import RetrieveReport, RetrieveResult, RetrieveWay, retrieve
from dimse.services.sending import SendReport, SendResult, send
from dimse.services.server import Server
from dimse.services.storage import CStoreSCU, StoreRequest, TransferProgress, presentation_contexts
from dimse.services.suboperations import SubOperations
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
    "CFindSCU",
    "CGetSCU",
    "CMoveSCU",
    "CStoreSCU",
    "CancelBehavior",
    "ClientOptions",
    "ConnectionLost",
    "DatasetError",
    "DatasetSource",
    "DimseError",
    "EncapsulatedFrames",
    "FileSource",
    "LocalProtocolError",
    "Malformed",
    "MoveDestination",
    "NativePixels",
    "OperationTimeout",
    "PixelSource",
    "PresentationContextError",
    "ProtocolError",
    "Query",
    "QueryRequest",
    "QueryRetrieveLevel",
    "QueryRetrieveModel",
    "RemoteProtocolError",
    "RetrieveReport",
    "RetrieveResult",
    "RetrieveWay",
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
    "SubOperationFailed",
    "SubOperations",
    "Timeouts",
    "TransferProgress",
    "UserIdentityRQ",
    "UserIdentityType",
    "connect",
    "presentation_contexts",
    "retrieval_contexts",
    "retrieve",
    "send",
]
