"""DICOM networking for Python: asyncio, streaming, typed."""

from importlib import import_module
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from dimse.address import Address
    from dimse.dataset.file_writer import Stored
    from dimse.dataset.pydicom_source import EncapsulatedFrames, NativePixels, PixelSource
    from dimse.dataset.sources import DatasetSource, FileSource, StreamSource
    from dimse.errors import (
        AssociationAborted,
        AssociationError,
        AssociationRejected,
        AssociationTimeout,
        ConnectionLost,
        DatasetError,
        DimseError,
        LocalProtocolError,
        NothingRetrieved,
        OperationCancelled,
        OperationTimeout,
        PresentationContextError,
        ProtocolError,
        RemoteProtocolError,
        StatusError,
        SubOperationFailed,
    )
    from dimse.network.association import Association
    from dimse.network.client import connect
    from dimse.options import (
        ClientOptions,
        Duplicates,
        RetryPolicy,
        SendOptions,
        ServerOptions,
        StoreMode,
        StoreOptions,
        Strictness,
        Timeouts,
    )
    from dimse.services.collecting import SendResult
    from dimse.services.contexts import retrieval_contexts
    from dimse.services.find_scu import CFindSCU, FindResults
    from dimse.services.get_scu import CancelBehavior, CGetSCU, GetResults
    from dimse.services.matching import Matcher
    from dimse.services.move_scp import MoveDestination
    from dimse.services.move_scu import CMoveSCU, MoveResults
    from dimse.services.query import Query, QueryRetrieveLevel, QueryRetrieveModel
    from dimse.services.query_request import QueryRequest
    from dimse.services.retrieving import RetrieveMethod, RetrieveReport, RetrieveResult, retrieve
    from dimse.services.sending import SendReport, send
    from dimse.services.server import Server
    from dimse.services.store_request import StoreRequest
    from dimse.services.store_scu import CStoreSCU, presentation_contexts
    from dimse.services.suboperations import SubOperations
    from dimse.services.transfer_progress import TransferProgress
    from dimse.services.verification import CEchoSCU
    from dimse.status import Status, StatusCategory
    from dimse.upper_layer.items import UserIdentityRQ, UserIdentityType
    from dimse.upper_layer.negotiation import ProposedContext

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
    "Duplicates",
    "EncapsulatedFrames",
    "FileSource",
    "FindResults",
    "GetResults",
    "LocalProtocolError",
    "Matcher",
    "MoveDestination",
    "MoveResults",
    "NativePixels",
    "NothingRetrieved",
    "OperationCancelled",
    "OperationTimeout",
    "PixelSource",
    "PresentationContextError",
    "ProposedContext",
    "ProtocolError",
    "Query",
    "QueryRequest",
    "QueryRetrieveLevel",
    "QueryRetrieveModel",
    "RemoteProtocolError",
    "RetrieveMethod",
    "RetrieveReport",
    "RetrieveResult",
    "RetryPolicy",
    "SendOptions",
    "SendReport",
    "SendResult",
    "Server",
    "ServerOptions",
    "Status",
    "StatusCategory",
    "StatusError",
    "StoreMode",
    "StoreOptions",
    "StoreRequest",
    "Stored",
    "StreamSource",
    "Strictness",
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

_NAMES_OF: Final = {
    "dimse.address": "Address",
    "dimse.options": """
        ClientOptions Duplicates RetryPolicy SendOptions ServerOptions StoreMode StoreOptions Strictness Timeouts
    """,
    "dimse.dataset.file_writer": "Stored",
    "dimse.dataset.pydicom_source": "EncapsulatedFrames NativePixels PixelSource",
    "dimse.dataset.sources": "DatasetSource FileSource StreamSource",
    "dimse.errors": """
        AssociationAborted AssociationError AssociationRejected AssociationTimeout ConnectionLost
        DatasetError DimseError LocalProtocolError NothingRetrieved OperationCancelled OperationTimeout
        PresentationContextError ProtocolError RemoteProtocolError StatusError SubOperationFailed
    """,
    "dimse.status": "Status StatusCategory",
    "dimse.network.association": "Association",
    "dimse.network.client": "connect",
    "dimse.services.collecting": "SendResult",
    "dimse.services.contexts": "retrieval_contexts",
    "dimse.services.find_scu": "CFindSCU FindResults",
    "dimse.services.get_scu": "CGetSCU CancelBehavior GetResults",
    "dimse.services.matching": "Matcher",
    "dimse.services.move_scp": "MoveDestination",
    "dimse.services.move_scu": "CMoveSCU MoveResults",
    "dimse.services.query": "Query QueryRetrieveLevel QueryRetrieveModel",
    "dimse.services.query_request": "QueryRequest",
    "dimse.services.retrieving": "RetrieveReport RetrieveResult RetrieveMethod retrieve",
    "dimse.services.sending": "SendReport send",
    "dimse.services.server": "Server",
    "dimse.services.store_request": "StoreRequest",
    "dimse.services.store_scu": "CStoreSCU presentation_contexts",
    "dimse.services.suboperations": "SubOperations",
    "dimse.services.transfer_progress": "TransferProgress",
    "dimse.services.verification": "CEchoSCU",
    "dimse.upper_layer.items": "UserIdentityRQ UserIdentityType",
    "dimse.upper_layer.negotiation": "ProposedContext",
}
_HOME_OF: Final = {name: module for module, names in _NAMES_OF.items() for name in names.split()}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import what is used when it is used: pydicom alone takes a fifth of a second, which an echo does without."""
        if name not in _HOME_OF:
            raise AttributeError(f"module 'dimse' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
