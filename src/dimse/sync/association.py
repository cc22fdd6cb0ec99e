"""Associations, and the services that this side uses on them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import Any, ParamSpec, overload

from dimse.dataset.pydicom_names import Dataset
from dimse.network import association, client
from dimse.options import RetryPolicy, StoreOptions
from dimse.services import find_scu, get_scu, move_scu, normalized_scu, store_scu, verification
from dimse.services.query import Query
from dimse.services.query_models import QueryRetrieveLevel, QueryRetrieveModel
from dimse.services.worklist import Worklist
from dimse.sync.facade import Blocking, Facade, blocking_method, in_loop, made_by
from dimse.sync.results import FindResults, GetResults, MoveResults
from dimse.upper_layer.extended import QueryFeatures, StorageFeatures
from dimse.upper_layer.negotiation import AcceptedContext

P = ParamSpec("P")


class Association(Facade[association.Association]):
    """An association with a peer; see `dimse.Association`."""

    @property
    def called_ae_title(self) -> str:
        """The AE title that the requestor called."""
        return self._asynchronous.called_ae_title

    @property
    def calling_ae_title(self) -> str:
        """The AE title of the requestor."""
        return self._asynchronous.calling_ae_title

    @property
    def peer_ae_title(self) -> str:
        """The AE title of the peer."""
        return self._asynchronous.peer_ae_title

    @property
    def own_ae_title(self) -> str:
        """The AE title of this side."""
        return self._asynchronous.own_ae_title

    @property
    def peer_name(self) -> str:
        """The peer's host and port."""
        return self._asynchronous.peer_name

    @property
    def contexts(self) -> Mapping[int, AcceptedContext]:
        """The accepted presentation contexts by Presentation Context ID."""
        return self._asynchronous.contexts

    @property
    def operations_window(self) -> int:
        """How many operations of the requestor may be outstanding at once."""
        return self._asynchronous.operations_window

    @property
    def is_open(self) -> bool:
        """Whether the association has not ended."""
        return self._asynchronous.is_open

    @property
    def error(self) -> Exception | None:
        """Why the association ended; None while it lasts, and after a release."""
        return self._asynchronous.error

    @property
    def user_identity_response(self) -> bytes | None:
        """The acceptor's response to the user identity; see `dimse.Association.user_identity_response`."""
        return self._asynchronous.user_identity_response

    def context_for(self, abstract_syntax: str, transfer_syntaxes: Iterable[str] | None = None) -> AcceptedContext:
        """The accepted context for a SOP class; see `dimse.Association.context_for`."""
        return self._asynchronous.context_for(abstract_syntax, transfer_syntaxes)

    def query_features(self, sop_class_uid: str) -> QueryFeatures:
        """What both sides agreed on for a query or retrieval class; see `dimse.Association.query_features`."""
        return self._asynchronous.query_features(sop_class_uid)

    def storage_features(self, sop_class_uid: str) -> StorageFeatures | None:
        """What the peer said of itself as SCP of a storage class; see `dimse.Association.storage_features`."""
        return self._asynchronous.storage_features(sop_class_uid)

    release = blocking_method(association.Association.release)

    def abort(self) -> None:
        """End the association at once with an A-ABORT (PS3.8 7.3)."""
        in_loop(self._asynchronous.abort)

    def __repr__(self) -> str:
        return repr(self._asynchronous)


def _blocking_connect(
    connect: Callable[P, AbstractAsyncContextManager[association.Association]],
) -> Callable[P, AbstractContextManager[Association]]:
    @wraps(connect)
    def function(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[Association]:
        return Blocking(connect(*args, **kwargs), Association)

    return function


connect = _blocking_connect(client.connect)


class CEchoSCU(Facade[verification.CEchoSCU]):
    """C-ECHO; see `dimse.CEchoSCU`."""

    def __init__(self, association: Association) -> None:
        super().__init__(verification.CEchoSCU(association._asynchronous))

    echo = blocking_method(verification.CEchoSCU.echo)


class CStoreSCU(Facade[store_scu.CStoreSCU]):
    """C-STORE; see `dimse.CStoreSCU`."""

    def __init__(
        self, association: Association, *, retry: RetryPolicy | None = None, allow_decompression: bool = False
    ) -> None:
        asynchronous = association._asynchronous
        super().__init__(store_scu.CStoreSCU(asynchronous, retry=retry, allow_decompression=allow_decompression))

    send = blocking_method(store_scu.CStoreSCU.send)


class CFindSCU(Facade[find_scu.CFindSCU]):
    """C-FIND; see `dimse.CFindSCU`."""

    def __init__(self, association: Association) -> None:
        super().__init__(find_scu.CFindSCU(association._asynchronous))

    @overload
    def find(
        self, query: Query | Worklist, /, *, total_timeout: float | None = None, raise_failures: bool = True
    ) -> FindResults: ...

    @overload
    def find(
        self,
        level: QueryRetrieveLevel | None,
        identifier: Dataset,
        /,
        *,
        model: QueryRetrieveModel | str = QueryRetrieveModel.STUDY_ROOT,
        total_timeout: float | None = None,
        raise_failures: bool = True,
    ) -> FindResults: ...

    def find(self, query: Any, /, *identifier: Any, **options: Any) -> FindResults:
        """The matches of a query; see `dimse.CFindSCU.find`."""
        return FindResults(in_loop(lambda: self._asynchronous.find(query, *identifier, **options)))


class NormalizedSCU(Facade[normalized_scu.NormalizedSCU]):
    """DIMSE-N; see `dimse.NormalizedSCU`."""

    def __init__(self, association: Association) -> None:
        super().__init__(normalized_scu.NormalizedSCU(association._asynchronous))

    create = blocking_method(normalized_scu.NormalizedSCU.create)
    set = blocking_method(normalized_scu.NormalizedSCU.set)
    get = blocking_method(normalized_scu.NormalizedSCU.get)
    action = blocking_method(normalized_scu.NormalizedSCU.action)
    delete = blocking_method(normalized_scu.NormalizedSCU.delete)
    event_report = blocking_method(normalized_scu.NormalizedSCU.event_report)


class CGetSCU(Facade[get_scu.CGetSCU]):
    """C-GET; see `dimse.CGetSCU`."""

    def __init__(self, association: Association, *, store: StoreOptions | None = None) -> None:
        super().__init__(get_scu.CGetSCU(association._asynchronous, store=store))

    get = made_by(get_scu.CGetSCU.get, GetResults)


class CMoveSCU(Facade[move_scu.CMoveSCU]):
    """C-MOVE; see `dimse.CMoveSCU`."""

    def __init__(self, association: Association) -> None:
        super().__init__(move_scu.CMoveSCU(association._asynchronous))

    move = made_by(move_scu.CMoveSCU.move, MoveResults)
