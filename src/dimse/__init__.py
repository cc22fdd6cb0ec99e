"""DICOM networking for Python: asyncio, streaming, typed.

Public are the names in `dimse.__all__`, `dimse.__version__`, and the modules `dimse.sync`, `dimse.uids` and
`dimse.testing`.
Everything else may change at any time.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Final

from dimse.version import __version__ as __version__

if TYPE_CHECKING:
    from dimse.access import Access, AssociationRequest, Operation, Peer, VerifiedUser
    from dimse.address import Address
    from dimse.audit import AuditLog
    from dimse.configuration import Configuration, KnownPeer
    from dimse.dataset.edits import Edits, EditValue
    from dimse.dataset.encoding import Buffer
    from dimse.dataset.file_objects import Writable
    from dimse.dataset.file_writer import Stored
    from dimse.dataset.located import Located
    from dimse.dataset.pydicom_source import EncapsulatedFrames, NativePixels, PixelSource
    from dimse.dataset.sources import DatasetSource, FileSource, Reader, StreamSource
    from dimse.dataset.streams import AsyncReadable
    from dimse.errors import (
        AssociationAborted,
        AssociationError,
        AssociationRejected,
        AssociationTimeout,
        ConnectionLost,
        DatasetError,
        DimseError,
        IncompleteAnswer,
        JournalError,
        LocalProtocolError,
        NotCommitted,
        NothingRetrieved,
        OperationCancelled,
        OperationTimeout,
        PresentationContextError,
        PrintFailed,
        ProtocolError,
        RejectAssociation,
        Rejection,
        RemoteProtocolError,
        StatusError,
        StepLeftOpen,
        SubOperationFailed,
    )
    from dimse.events import (
        AssociationEnd,
        AssociationEnded,
        AssociationEvent,
        AssociationFailed,
        AssociationInfo,
        AssociationOpened,
        NegotiatedContext,
        OperationBegan,
        OperationEnded,
        PDUTransferred,
    )
    from dimse.messages.message import (
        C_ECHO_RQ,
        C_ECHO_RSP,
        C_FIND_RQ,
        C_FIND_RSP,
        C_GET_RQ,
        C_GET_RSP,
        C_MOVE_RQ,
        C_MOVE_RSP,
        C_STORE_RQ,
        C_STORE_RSP,
        N_ACTION_RQ,
        N_CREATE_RQ,
        N_DELETE_RQ,
        N_EVENT_REPORT_RQ,
        N_GET_RQ,
        N_SET_RQ,
        Priority,
    )
    from dimse.messages.suboperations import SubOperations
    from dimse.network.admission import AssociationHandler
    from dimse.network.application_entity import ApplicationEntity
    from dimse.network.association import Association
    from dimse.network.client import connect
    from dimse.network.tally import ServerStats
    from dimse.options import (
        AssociationOptions,
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
    from dimse.rate_limit import RateLimit
    from dimse.services.client import Client
    from dimse.services.collecting import SendResult
    from dimse.services.commitment import CommitmentReport, commit
    from dimse.services.commitment_dataset import CommitmentFailure, InstanceReference
    from dimse.services.commitment_scp import CommitmentHandler, CommitmentRequest, CommitmentSCP
    from dimse.services.commitment_scu import CommitmentResult, Commitments, CommitmentSCU, PendingCommitment
    from dimse.services.commitment_store import MemoryTransactions, OpenTransaction, SQLiteTransactions, Transactions
    from dimse.services.contexts import retrieval_contexts
    from dimse.services.explaining import explain
    from dimse.services.explaining_services import ExplainPurpose
    from dimse.services.explanation import (
        ExplainAdvice,
        ExplainOutcome,
        ExplainSide,
        ExplainStep,
        ExplainStepName,
        ExplainVerdict,
        Explanation,
    )
    from dimse.services.film_layout import FilmLayout, FilmPlace
    from dimse.services.film_options import FilmOptions, FilmOrientation, Magnification, PrintPriority
    from dimse.services.find_scp import FindHandler, Match
    from dimse.services.find_scu import CFindSCU, FindResults
    from dimse.services.finding import Finding, find
    from dimse.services.forwarding import Forwarder
    from dimse.services.forwarding_destination import (
        ForwardDestination,
        ForwardOutcome,
        ForwardResult,
        ForwardState,
    )
    from dimse.services.get_scu import CancelBehavior, CGetSCU, GetResults
    from dimse.services.getting import GetReport, get
    from dimse.services.given import InMemory, Source
    from dimse.services.instance_availability import (
        InstanceAvailability,
        availability_notification,
        notify_availability,
    )
    from dimse.services.matching import Matcher
    from dimse.services.move_scp import Destinations, MoveDestination
    from dimse.services.move_scu import CMoveSCU, MoveResults
    from dimse.services.moving import MoveReport, move
    from dimse.services.normalized_scp import NormalizedHandler, NormalizedReply, NormalizedRequest
    from dimse.services.normalized_scu import NormalizedResult, NormalizedSCU
    from dimse.services.performed_series import PerformedSeries
    from dimse.services.print_image import FilmImage
    from dimse.services.print_job import PrintJobState
    from dimse.services.print_server import FilmHandler, PrintServer
    from dimse.services.printed_film import PrintedFilm
    from dimse.services.printing import FilmResult, PrinterInfo, PrintReport, print_images, printer_status
    from dimse.services.procedure_step import StepStatus, started_step
    from dimse.services.procedure_step_scp import MemoryStepStore, ProcedureSteps, StepChange, StepHandler, StepStore
    from dimse.services.procedure_step_scu import PerformedStep, performed_step
    from dimse.services.query import Query
    from dimse.services.query_keys import QueryValue
    from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel
    from dimse.services.query_request import QueryRequest
    from dimse.services.retrieve_scp import RetrieveHandler
    from dimse.services.retrieving import Existing, RetrieveMethod, RetrieveReport, RetrieveResult, retrieve
    from dimse.services.sending import SendReport, send
    from dimse.services.server import Server
    from dimse.services.store_request import StoreRequest
    from dimse.services.store_scp import StoreHandler
    from dimse.services.store_scu import CStoreSCU, presentation_contexts
    from dimse.services.study_completion import StudyComplete, StudyHandler
    from dimse.services.transfer_progress import ProgressCallback, TransferProgress
    from dimse.services.ups_datasets import CodedConcept
    from dimse.services.ups_events import UPSEvent, UPSEventType
    from dimse.services.ups_keys import UPSKeys
    from dimse.services.ups_performing import ClaimedUPS, UPSCancelRequested, UPSClaims
    from dimse.services.ups_scp import UPSHandler, UPSManager
    from dimse.services.ups_scu import UPS
    from dimse.services.ups_states import UPSState, UPSStatus
    from dimse.services.ups_store import MemoryUPSStore, StoredUPS, UPSStore, UPSSubscription
    from dimse.services.verification import CEchoSCU, EchoHandler, EchoReport, EchoRequest, echo
    from dimse.services.worklist import Worklist
    from dimse.services.worklist_folder import WorklistFolder
    from dimse.status import Status, StatusCategory
    from dimse.tls import TLSOptions, TLSProfile
    from dimse.upper_layer.extended import QueryFeatures, StorageFeatures
    from dimse.upper_layer.items import UserIdentityRQ, UserIdentityType
    from dimse.upper_layer.negotiation import AcceptedContext, ProposedContext

__all__ = [
    "C_ECHO_RQ",
    "C_ECHO_RSP",
    "C_FIND_RQ",
    "C_FIND_RSP",
    "C_GET_RQ",
    "C_GET_RSP",
    "C_MOVE_RQ",
    "C_MOVE_RSP",
    "C_STORE_RQ",
    "C_STORE_RSP",
    "N_ACTION_RQ",
    "N_CREATE_RQ",
    "N_DELETE_RQ",
    "N_EVENT_REPORT_RQ",
    "N_GET_RQ",
    "N_SET_RQ",
    "UPS",
    "AcceptedContext",
    "Access",
    "Address",
    "ApplicationEntity",
    "Association",
    "AssociationAborted",
    "AssociationEnd",
    "AssociationEnded",
    "AssociationError",
    "AssociationEvent",
    "AssociationFailed",
    "AssociationHandler",
    "AssociationInfo",
    "AssociationOpened",
    "AssociationOptions",
    "AssociationRejected",
    "AssociationRequest",
    "AssociationTimeout",
    "AsyncReadable",
    "AuditLog",
    "Buffer",
    "CEchoSCU",
    "CFindSCU",
    "CGetSCU",
    "CMoveSCU",
    "CStoreSCU",
    "CancelBehavior",
    "ClaimedUPS",
    "Client",
    "ClientOptions",
    "CodedConcept",
    "CommitmentFailure",
    "CommitmentHandler",
    "CommitmentReport",
    "CommitmentRequest",
    "CommitmentResult",
    "CommitmentSCP",
    "CommitmentSCU",
    "Commitments",
    "Configuration",
    "ConnectionLost",
    "DatasetError",
    "DatasetSource",
    "Destinations",
    "DimseError",
    "Duplicates",
    "EchoHandler",
    "EchoReport",
    "EchoRequest",
    "EditValue",
    "Edits",
    "EncapsulatedFrames",
    "Existing",
    "ExplainAdvice",
    "ExplainOutcome",
    "ExplainPurpose",
    "ExplainSide",
    "ExplainStep",
    "ExplainStepName",
    "ExplainVerdict",
    "Explanation",
    "FileSource",
    "FilmHandler",
    "FilmImage",
    "FilmLayout",
    "FilmOptions",
    "FilmOrientation",
    "FilmPlace",
    "FilmResult",
    "FindHandler",
    "FindResults",
    "Finding",
    "ForwardDestination",
    "ForwardOutcome",
    "ForwardResult",
    "ForwardState",
    "Forwarder",
    "GetReport",
    "GetResults",
    "InMemory",
    "IncompleteAnswer",
    "InstanceAvailability",
    "InstanceReference",
    "JournalError",
    "KnownPeer",
    "LocalProtocolError",
    "Located",
    "Magnification",
    "Match",
    "Matcher",
    "MemoryStepStore",
    "MemoryTransactions",
    "MemoryUPSStore",
    "MoveDestination",
    "MoveReport",
    "MoveResults",
    "NativePixels",
    "NegotiatedContext",
    "NormalizedHandler",
    "NormalizedReply",
    "NormalizedRequest",
    "NormalizedResult",
    "NormalizedSCU",
    "NotCommitted",
    "NothingRetrieved",
    "OpenTransaction",
    "Operation",
    "OperationBegan",
    "OperationCancelled",
    "OperationEnded",
    "OperationTimeout",
    "PDUTransferred",
    "Peer",
    "PendingCommitment",
    "PerformedSeries",
    "PerformedStep",
    "PixelSource",
    "PresentationContextError",
    "PrintFailed",
    "PrintJobState",
    "PrintPriority",
    "PrintReport",
    "PrintServer",
    "PrintedFilm",
    "PrinterInfo",
    "Priority",
    "ProcedureSteps",
    "ProgressCallback",
    "ProposedContext",
    "ProtocolError",
    "Query",
    "QueryFeatures",
    "QueryRequest",
    "QueryRetrieveLevel",
    "QueryRetrieveModel",
    "QueryValue",
    "RateLimit",
    "Reader",
    "RejectAssociation",
    "Rejection",
    "RemoteProtocolError",
    "RetrieveHandler",
    "RetrieveMethod",
    "RetrieveReport",
    "RetrieveResult",
    "RetryPolicy",
    "SQLiteTransactions",
    "SendOptions",
    "SendReport",
    "SendResult",
    "Server",
    "ServerOptions",
    "ServerStats",
    "Source",
    "Status",
    "StatusCategory",
    "StatusError",
    "StepChange",
    "StepHandler",
    "StepLeftOpen",
    "StepStatus",
    "StepStore",
    "StorageFeatures",
    "StoreHandler",
    "StoreMode",
    "StoreOptions",
    "StoreRequest",
    "Stored",
    "StoredUPS",
    "StreamSource",
    "Strictness",
    "StudyComplete",
    "StudyHandler",
    "SubOperationFailed",
    "SubOperations",
    "TLSOptions",
    "TLSProfile",
    "Timeouts",
    "Transactions",
    "TransferProgress",
    "UPSCancelRequested",
    "UPSClaims",
    "UPSEvent",
    "UPSEventType",
    "UPSHandler",
    "UPSKeys",
    "UPSManager",
    "UPSState",
    "UPSStatus",
    "UPSStore",
    "UPSSubscription",
    "UserIdentityRQ",
    "UserIdentityType",
    "VerifiedUser",
    "Worklist",
    "WorklistFolder",
    "Writable",
    "availability_notification",
    "commit",
    "connect",
    "echo",
    "explain",
    "find",
    "get",
    "move",
    "notify_availability",
    "performed_step",
    "presentation_contexts",
    "print_images",
    "printer_status",
    "retrieval_contexts",
    "retrieve",
    "send",
    "started_step",
]

# The same names as above, which only a type checker imports: importing one imports its module, and pydicom with some.
_NAMES_OF: Final = {
    "dimse.access": "Access AssociationRequest Operation Peer VerifiedUser",
    "dimse.address": "Address",
    "dimse.audit": "AuditLog",
    "dimse.configuration": "Configuration KnownPeer",
    "dimse.dataset.edits": "EditValue Edits",
    "dimse.dataset.encoding": "Buffer",
    "dimse.dataset.file_objects": "Writable",
    "dimse.dataset.file_writer": "Stored",
    "dimse.dataset.pydicom_source": "EncapsulatedFrames NativePixels PixelSource",
    "dimse.dataset.located": "Located",
    "dimse.dataset.streams": "AsyncReadable",
    "dimse.dataset.sources": "DatasetSource FileSource Reader StreamSource",
    "dimse.errors": """
        AssociationAborted AssociationError AssociationRejected AssociationTimeout ConnectionLost
        DatasetError DimseError IncompleteAnswer JournalError LocalProtocolError NotCommitted NothingRetrieved
        OperationCancelled OperationTimeout
        PresentationContextError PrintFailed ProtocolError RejectAssociation Rejection RemoteProtocolError StatusError
        SubOperationFailed
        PresentationContextError ProtocolError RejectAssociation Rejection RemoteProtocolError StatusError
        StepLeftOpen SubOperationFailed
    """,
    "dimse.events": """
        AssociationEnd AssociationEnded AssociationEvent AssociationFailed AssociationInfo AssociationOpened
        NegotiatedContext OperationBegan OperationEnded PDUTransferred
    """,
    "dimse.messages.message": """
        C_ECHO_RQ C_ECHO_RSP C_FIND_RQ C_FIND_RSP C_GET_RQ C_GET_RSP C_MOVE_RQ C_MOVE_RSP C_STORE_RQ
        C_STORE_RSP N_ACTION_RQ N_CREATE_RQ N_DELETE_RQ N_EVENT_REPORT_RQ N_GET_RQ N_SET_RQ Priority
    """,
    "dimse.messages.suboperations": "SubOperations",
    "dimse.network.admission": "AssociationHandler",
    "dimse.network.application_entity": "ApplicationEntity",
    "dimse.network.association": "Association",
    "dimse.network.client": "connect",
    "dimse.network.tally": "ServerStats",
    "dimse.options": """
        AssociationOptions ClientOptions Duplicates RetryPolicy SendOptions ServerOptions StoreMode
        StoreOptions Strictness Timeouts
    """,
    "dimse.rate_limit": "RateLimit",
    "dimse.services.client": "Client",
    "dimse.services.collecting": "SendResult",
    "dimse.services.commitment": "CommitmentReport commit",
    "dimse.services.commitment_dataset": "CommitmentFailure InstanceReference",
    "dimse.services.commitment_scp": "CommitmentHandler CommitmentRequest CommitmentSCP",
    "dimse.services.commitment_scu": "CommitmentResult CommitmentSCU Commitments PendingCommitment",
    "dimse.services.commitment_store": "MemoryTransactions OpenTransaction SQLiteTransactions Transactions",
    "dimse.services.contexts": "retrieval_contexts",
    "dimse.services.explaining": "explain",
    "dimse.services.explaining_services": "ExplainPurpose",
    "dimse.services.explanation": """
        ExplainAdvice ExplainOutcome Explanation ExplainSide ExplainStep ExplainStepName ExplainVerdict
    """,
    "dimse.services.find_scp": "FindHandler Match",
    "dimse.services.find_scu": "CFindSCU FindResults",
    "dimse.services.finding": "Finding find",
    "dimse.services.forwarding": "Forwarder",
    "dimse.services.forwarding_destination": "ForwardDestination ForwardOutcome ForwardResult ForwardState",
    "dimse.services.get_scu": "CGetSCU CancelBehavior GetResults",
    "dimse.services.getting": "GetReport get",
    "dimse.services.given": "InMemory Source",
    "dimse.services.instance_availability": "InstanceAvailability availability_notification notify_availability",
    "dimse.services.matching": "Matcher",
    "dimse.services.move_scp": "Destinations MoveDestination",
    "dimse.services.move_scu": "CMoveSCU MoveResults",
    "dimse.services.moving": "MoveReport move",
    "dimse.services.normalized_scp": "NormalizedHandler NormalizedReply NormalizedRequest",
    "dimse.services.normalized_scu": "NormalizedResult NormalizedSCU",
    "dimse.services.film_layout": "FilmLayout FilmPlace",
    "dimse.services.film_options": "FilmOptions FilmOrientation Magnification PrintPriority",
    "dimse.services.print_image": "FilmImage",
    "dimse.services.print_job": "PrintJobState",
    "dimse.services.print_server": "FilmHandler PrintServer",
    "dimse.services.printed_film": "PrintedFilm",
    "dimse.services.printing": "FilmResult PrinterInfo PrintReport print_images printer_status",
    "dimse.services.performed_series": "PerformedSeries",
    "dimse.services.procedure_step": "StepStatus started_step",
    "dimse.services.procedure_step_scp": "MemoryStepStore ProcedureSteps StepChange StepHandler StepStore",
    "dimse.services.procedure_step_scu": "PerformedStep performed_step",
    "dimse.services.query": "Query",
    "dimse.services.query_keys": "QueryValue",
    "dimse.services.query_models": "QueryRetrieveLevel QueryRetrieveModel",
    "dimse.services.query_request": "QueryRequest",
    "dimse.services.retrieve_scp": "RetrieveHandler",
    "dimse.services.retrieving": "Existing RetrieveMethod RetrieveReport RetrieveResult retrieve",
    "dimse.services.sending": "SendReport send",
    "dimse.services.server": "Server",
    "dimse.services.store_request": "StoreRequest",
    "dimse.services.store_scp": "StoreHandler",
    "dimse.services.store_scu": "CStoreSCU presentation_contexts",
    "dimse.services.study_completion": "StudyComplete StudyHandler",
    "dimse.services.transfer_progress": "ProgressCallback TransferProgress",
    "dimse.services.ups_datasets": "CodedConcept",
    "dimse.services.ups_events": "UPSEvent UPSEventType",
    "dimse.services.ups_keys": "UPSKeys",
    "dimse.services.ups_performing": "ClaimedUPS UPSCancelRequested UPSClaims",
    "dimse.services.ups_scp": "UPSHandler UPSManager",
    "dimse.services.ups_scu": "UPS",
    "dimse.services.ups_states": "UPSState UPSStatus",
    "dimse.services.ups_store": "MemoryUPSStore StoredUPS UPSStore UPSSubscription",
    "dimse.services.verification": "CEchoSCU EchoHandler EchoReport EchoRequest echo",
    "dimse.services.worklist": "Worklist",
    "dimse.services.worklist_folder": "WorklistFolder",
    "dimse.status": "Status StatusCategory",
    "dimse.tls": "TLSOptions TLSProfile",
    "dimse.upper_layer.items": "UserIdentityRQ UserIdentityType",
    "dimse.upper_layer.extended": "QueryFeatures StorageFeatures",
    "dimse.upper_layer.negotiation": "AcceptedContext ProposedContext",
}
_HOME_OF: Final = {name: module for module, names in _NAMES_OF.items() for name in names.split()}

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import a public name on first use: pydicom takes 0.2 s, which an echo does not need."""
        if name in ("sync", "testing", "uids"):
            return import_module(f"dimse.{name}")
        if name not in _HOME_OF:
            raise AttributeError(f"module 'dimse' has no attribute {name!r}")
        value = globals()[name] = getattr(import_module(_HOME_OF[name]), name)
        return value

    def __dir__():
        return sorted({*globals(), *__all__})
