"""A server with a handler for each service."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from typing import Any, overload

from dimse import uids
from dimse.address import DEFAULT_PORT
from dimse.messages.message import (
    C_ECHO_RQ,
    C_FIND_RQ,
    C_GET_RQ,
    C_MOVE_RQ,
    C_STORE_RQ,
    N_ACTION_RQ,
    N_CREATE_RQ,
    N_DELETE_RQ,
    N_EVENT_REPORT_RQ,
    N_GET_RQ,
    N_SET_RQ,
    Request,
)
from dimse.network.admission import AssociationHandler
from dimse.network.incoming_data import MAXIMUM_IDENTIFIER_LENGTH
from dimse.network.server import AssociationServer
from dimse.network.signals import run_until_signal
from dimse.options import ServerOptions
from dimse.services.find_scp import FindHandler, FindService
from dimse.services.get_scp import GetService
from dimse.services.move_scp import Destinations, MoveService
from dimse.services.normalized_scp import NormalizedHandler, NormalizedService
from dimse.services.outgoing import Outgoing
from dimse.services.query_models import DEFAULT_MODELS, QueryRetrieveModel
from dimse.services.query_request import ModelHandlers
from dimse.services.retrieve_scp import RetrieveHandler
from dimse.services.store_scp import StoreHandler, StoreService
from dimse.services.study_completion import Studies, StudyHandler
from dimse.services.verification import EchoHandler, EchoService
from dimse.upper_layer.extended import QueryFeatures


class Server(AssociationServer):
    """Accepts associations, and calls a handler for each request.

    `host` "localhost" listens on the loopback address, "::" on every interface, each with IPv4 and IPv6; "0.0.0.0" is
    every IPv4 interface. `port` 0 picks a free port, which `server.port` then names. `destinations` says where C-MOVE
    may send instances: it maps AE titles to addresses (`"WS1@host:port"`, an `Address`, or a `MoveDestination` with
    TLS and other options), or is a function, which may be async, from an AE title to one of those or to None.

    All handlers are registered in the same way, by a decorator that returns the handler unchanged, so that one handler
    can serve two services. A handler is called with the request; its class and the kind of function differ:

    ============ =================== ============================================================
    decorator    request             function
    ============ =================== ============================================================
    `on_c_echo`  `EchoRequest`       `async def`, returns a `Status`
    `on_c_store` `StoreRequest`      `async def`, returns a `Status`
    `on_c_find`  `QueryRequest`      `async def` with `yield`: a `Dataset` or `Match` each
    `on_c_get`   `QueryRequest`      `async def` with `yield`: each instance, as for `dimse.send`
    `on_c_move`  `QueryRequest`      `async def` with `yield`: each instance, as for `dimse.send`
    `on_n_...`   `NormalizedRequest` `async def`, returns a `NormalizedReply` or a `Status`
    ============ =================== ============================================================

    The six of DIMSE-N, `on_n_create` to `on_n_event_report`, name the SOP classes that their handler is for.

    `on_association` registers, in the same way, who decides about each association, and `on_study_complete` the handler
    of studies of which nothing arrives any more.

    Every handler may raise `StatusError(status, comment)` to answer with that status and Error Comment. Each
    decorator names the status for other exceptions, which are logged with their tracebacks. C-ECHO is answered with
    Success if it has no handler; presentation contexts of the other services are accepted only with a handler.

    >>> server = Server("ARCHIVE", port=11112)
    >>> @server.on_c_store
    ... async def store(request):
    ...     await request.save_under("received")
    ...     return Status.SUCCESS
    >>> server.run()  # doctest: +SKIP
    """

    def __init__(
        self,
        ae_title: str = "DIMSE",
        *,
        host: str = "localhost",
        port: int = DEFAULT_PORT,
        options: ServerOptions | None = None,
        destinations: Destinations | None = None,
    ) -> None:
        super().__init__(ae_title, host=host, port=port, options=options)
        self.destinations = destinations
        """Where C-MOVE may send instances; read when its handler is registered."""
        self._services[C_ECHO_RQ] = EchoService()
        self._studies = Studies()
        self._outgoing = Outgoing()
        self._find_handlers: ModelHandlers[FindHandler] = ModelHandlers("find")
        self._get_handlers: ModelHandlers[RetrieveHandler] = ModelHandlers("get")
        self._move_handlers: ModelHandlers[RetrieveHandler] = ModelHandlers("move")

    async def stop(self) -> None:
        """Let associations finish for `stop_timeout` seconds, abort those that did not, and stop listening.

        Until then new ones are rejected as transient, so that their requestors try again. Then the studies that are
        open are complete: their handlers have `stop_timeout` seconds too.
        """
        seconds = 0.0
        try:
            await super().stop()
            seconds = self.options.stop_timeout
        finally:
            await self._studies.finish(seconds)

    def run(
        self,
        alongside: Callable[[], Coroutine[Any, Any, object]] | None = None,
        *,
        within: AbstractAsyncContextManager[object] | None = None,
        loop_factory: Callable[[], asyncio.AbstractEventLoop] | None = None,
    ) -> None:
        """Serve until Ctrl-C or SIGTERM, in an event loop of its own; call it from the main thread.

        Then the server stops: open associations may finish for `ServerOptions.stop_timeout` seconds. A second signal
        aborts them at once. Either way `run` returns normally. `alongside` is called once the server listens, and its
        coroutine is cancelled when the server stops; an exception in it stops the server and is raised. `within` is
        what handlers need, such as a `Forwarder`: it is entered before the server listens, and left when it has
        stopped. `loop_factory` is that of `asyncio.Runner`, for another event loop than asyncio's.
        """

        async def serve() -> None:
            async with within or nullcontext(), self:
                if alongside is not None:
                    await alongside()
                await asyncio.get_running_loop().create_future()

        run_until_signal(serve, loop_factory)

    def on_association(self, handler: AssociationHandler) -> AssociationHandler:
        """Register the handler of associations: `async def handler(request: AssociationRequest)`.

        It is called for each association that the rules of `ServerOptions.access` and the limits admit, and before it
        is accepted. It returns the `VerifiedUser`, which handlers of requests read in `association.user`, or None to
        admit the peer without one. It raises `RejectAssociation` to reject it. Any other exception, and more than
        `Timeouts.admission` seconds, reject it as transient. An association that waits for the handler counts as one.

        >>> server = Server()
        >>> @server.on_association
        ... async def admit(request):
        ...     identity = request.user_identity
        ...     if identity is None or identity.secondary_field != b"secret":
        ...         raise RejectAssociation("wrong password")
        ...     return VerifiedUser(identity.primary_field.decode())
        """
        _check_is_async(handler)
        self._admission.handler = handler
        return handler

    def on_c_echo(self, handler: EchoHandler) -> EchoHandler:
        """Register the C-ECHO handler: `async def handler(request: EchoRequest) -> Status`.

        An exception other than `StatusError` is answered with Processing Failure (0x0110).
        """
        _check_is_async(handler)
        self._services[C_ECHO_RQ] = EchoService(handler)
        return handler

    def on_c_store(self, handler: StoreHandler) -> StoreHandler:
        """Register the C-STORE handler: `async def handler(request: StoreRequest) -> Status`.

        The response is sent when the data set has been read to its end. An exception other than `StatusError` is
        answered with Out of Resources (0xA700) for a full disk or memory, Cannot Understand (0xC000) for a
        `DatasetError`, and Processing Failure (0x0110) otherwise.
        """
        _check_is_async(handler)
        self._services[C_STORE_RQ] = StoreService(handler, self.options.store, self._studies)
        return handler

    def on_study_complete(self, *, quiet: float = 30) -> Callable[[StudyHandler], StudyHandler]:
        """Register the handler of complete studies: `async def handler(study: StudyComplete) -> None`.

        It is called once for each study, when none of its instances has arrived for `quiet` seconds, from any peer and
        on any association. Instances that arrive later count for the next call for that study, which comes after the
        handler has returned. Handlers of different studies run at the same time. An instance counts if its C-STORE was
        answered with Success or a warning, unless `save` found that it was stored already.

        When the server stops, studies that are not complete yet are: the handler is called at once. Studies are not
        remembered if the process is killed. An exception is logged. At most 100 000 instances wait for their studies to
        be complete; beyond it the study that was quiet longest is complete early.

        >>> server = Server()
        >>> @server.on_study_complete(quiet=60)
        ... async def complete(study):
        ...     print(f"{study.study_instance_uid}: {study.instances} instances")
        """
        if not quiet > 0:
            raise ValueError(f"quiet must be a positive number of seconds, not {quiet!r}")

        def register(handler: StudyHandler) -> StudyHandler:
            _check_is_async(handler)
            self._studies.handler, self._studies.quiet = handler, quiet
            return handler

        return register

    @overload
    def on_c_find(self, handler: FindHandler, /) -> FindHandler: ...

    @overload
    def on_c_find(
        self, *models: QueryRetrieveModel, features: QueryFeatures | None = None
    ) -> Callable[[FindHandler], FindHandler]: ...

    def on_c_find(self, *given: Any, features: QueryFeatures | None = None) -> Any:
        """Register the C-FIND handler: `async def handler(request: QueryRequest)`, which yields a `Dataset` per match.

        Each match is sent when it is yielded, as fast as the peer reads. On C-CANCEL the generator is closed. An
        exception other than `StatusError` is answered with Unable to Process (0xC000). Instead of a data set, a `Match`
        also says that the handler did not support some of the keys.

        `features` are what the handler supports of extended negotiation (PS3.4 C.5.1.1), by default nothing. What a
        peer has agreed to is in `request.features`.

        It is the handler of Patient Root and Study Root, or, with arguments, of those models: worklists, hanging
        protocols, private SOP classes and so on. Each model may have a handler of its own.

        >>> server = Server()
        >>> @server.on_c_find
        ... async def find(request):
        ...     for match in []:
        ...         yield match
        >>> @server.on_c_find(QueryRetrieveModel.MODALITY_WORKLIST)
        ... async def scheduled(request):
        ...     for match in []:
        ...         yield match
        """

        def register(handler: FindHandler, models: Iterable[QueryRetrieveModel]) -> FindHandler:
            _check_is_generator(handler)
            self._find_handlers.register(handler, models)
            self._offer((model.find for model in models), features)
            self._services[C_FIND_RQ] = FindService(self._find_handlers)
            return handler

        return _for_models(register, given)

    @overload
    def on_c_get(self, handler: RetrieveHandler, /) -> RetrieveHandler: ...

    @overload
    def on_c_get(
        self, *models: QueryRetrieveModel, features: QueryFeatures | None = None
    ) -> Callable[[RetrieveHandler], RetrieveHandler]: ...

    def on_c_get(self, *given: Any, features: QueryFeatures | None = None) -> Any:
        """Register the C-GET handler: `async def handler(request: QueryRequest)`, which yields the instances.

        An instance is anything that `dimse.send` accepts: a path, a stream, a data set, or a `Located` object of an
        index, which costs no look at a file. All are collected before the
        first is sent, so that they can be counted; each is then streamed on the requestor's association. The final
        response names those that failed. On C-CANCEL the generator is closed, or sending ends between two instances.
        An exception other than `StatusError` is answered with Unable to Process (0xC000). `features` are what the
        handler supports of extended negotiation (PS3.4 C.5.3.1), by default nothing. Arguments are models, as of
        `on_c_find`. For `QueryRetrieveModel.WITHOUT_BULK_DATA`, the bulk data of what the handler yields is left out
        (PS3.4 Table Z.1-1); pixel data in files is not read.

        >>> server = Server()
        >>> @server.on_c_get
        ... async def get(request):
        ...     yield "ct.dcm"
        """

        def register(handler: RetrieveHandler, models: Iterable[QueryRetrieveModel]) -> RetrieveHandler:
            _check_is_generator(handler)
            self._get_handlers.register(handler, models)
            self._offer((model.get for model in models), features)
            self._services[C_GET_RQ] = GetService(self._get_handlers, self.options.send)
            return handler

        return _for_models(register, given)

    @overload
    def on_c_move(self, handler: RetrieveHandler, /) -> RetrieveHandler: ...

    @overload
    def on_c_move(
        self, *models: QueryRetrieveModel, features: QueryFeatures | None = None
    ) -> Callable[[RetrieveHandler], RetrieveHandler]: ...

    def on_c_move(self, *given: Any, features: QueryFeatures | None = None) -> Any:
        """Register the C-MOVE handler: `async def handler(request: QueryRequest)`, which yields the instances.

        It is like that of C-GET, but the instances are sent to `request.move_destination` as `dimse.send` sends them;
        `ServerOptions.send` says how. An AE title unknown to `destinations` is answered with Move Destination
        Unknown (0xA801). Raises `ValueError` if the server has no `destinations`.

        >>> server = Server(destinations={"WS1": "WS1@workstation:11112"})
        >>> @server.on_c_get
        ... @server.on_c_move
        ... async def retrieve(request):
        ...     yield "ct.dcm"
        """

        def register(handler: RetrieveHandler, models: Iterable[QueryRetrieveModel]) -> RetrieveHandler:
            _check_is_generator(handler)
            if self.destinations is None:
                raise ValueError("C-MOVE needs destinations: pass destinations={'TITLE': 'TITLE@host:port'} to Server")
            self._move_handlers.register(handler, models)
            self._offer((model.move for model in models), features)
            self._services[C_MOVE_RQ] = MoveService(
                self._move_handlers, self.ae_title, self.destinations, self.options.send, self._outgoing
            )
            return handler

        return _for_models(register, given)

    def _offer(self, sop_classes: Iterable[str | None], features: QueryFeatures | None) -> None:
        """Answer extended negotiation of these SOP classes, which are those of a handler, with what it supports."""
        offered = features or QueryFeatures()
        self._admission.features |= {uid: offered for uid in sop_classes if uid is not None}

    # DIMSE-N, each for the SOP classes of the standard or of a vendor that it names

    def on_n_create(
        self, *sop_class_uids: str, maximum_length: int = MAXIMUM_IDENTIFIER_LENGTH
    ) -> Callable[[NormalizedHandler], NormalizedHandler]:
        """Register the N-CREATE handler of SOP classes (PS3.7 10.1.5).

        It is `async def handler(request: NormalizedRequest)`, and returns a `NormalizedReply` or a `Status`. Data sets
        of more than `maximum_length` bytes are answered with Resource Limitation (0x0213), those that cannot be read,
        and an exception other than `StatusError`, with Processing Failure (0x0110).

        >>> server = Server()
        >>> @server.on_n_create(uids.PERFORMED_PROCEDURE_STEP)
        ... async def create(request):
        ...     print(request.sop_instance_uid, request.dataset.PerformedProcedureStepStatus)
        ...     return Status.SUCCESS
        """
        return self._on_normalized(N_CREATE_RQ, sop_class_uids, maximum_length)

    def on_n_set(
        self, *sop_class_uids: str, maximum_length: int = MAXIMUM_IDENTIFIER_LENGTH
    ) -> Callable[[NormalizedHandler], NormalizedHandler]:
        """Register the N-SET handler of SOP classes (PS3.7 10.1.3); see `on_n_create`."""
        return self._on_normalized(N_SET_RQ, sop_class_uids, maximum_length)

    def on_n_get(self, *sop_class_uids: str) -> Callable[[NormalizedHandler], NormalizedHandler]:
        """Register the N-GET handler of SOP classes (PS3.7 10.1.2); see `on_n_create`.

        `NormalizedRequest.attributes` are the tags that the peer asks for.
        """
        return self._on_normalized(N_GET_RQ, sop_class_uids, MAXIMUM_IDENTIFIER_LENGTH)

    def on_n_action(
        self, *sop_class_uids: str, maximum_length: int = MAXIMUM_IDENTIFIER_LENGTH
    ) -> Callable[[NormalizedHandler], NormalizedHandler]:
        """Register the N-ACTION handler of SOP classes (PS3.7 10.1.4); see `on_n_create`."""
        return self._on_normalized(N_ACTION_RQ, sop_class_uids, maximum_length)

    def on_n_delete(self, *sop_class_uids: str) -> Callable[[NormalizedHandler], NormalizedHandler]:
        """Register the N-DELETE handler of SOP classes (PS3.7 10.1.6); see `on_n_create`."""
        return self._on_normalized(N_DELETE_RQ, sop_class_uids, MAXIMUM_IDENTIFIER_LENGTH)

    def on_n_event_report(
        self, *sop_class_uids: str, maximum_length: int = MAXIMUM_IDENTIFIER_LENGTH
    ) -> Callable[[NormalizedHandler], NormalizedHandler]:
        """Register the handler of events of SOP classes (PS3.7 10.1.1), which their SCPs report; see `on_n_create`.

        An SCP reports them on an association that it requests, or on one that this side has requested with
        `connect(..., services=server)`.
        """
        return self._on_normalized(N_EVENT_REPORT_RQ, sop_class_uids, maximum_length)

    def _on_normalized(
        self, kind: type[Request], sop_class_uids: Sequence[str], maximum_length: int
    ) -> Callable[[NormalizedHandler], NormalizedHandler]:
        if not sop_class_uids or not all(isinstance(uid, str) and uids.is_uid(uid) for uid in sop_class_uids):
            raise ValueError(f"the SOP classes of a handler must be one UID or more, not {sop_class_uids!r}")

        def register(handler: NormalizedHandler) -> NormalizedHandler:
            _check_is_async(handler)
            service = self._services.get(kind)
            if not isinstance(service, NormalizedService):
                service = self._services[kind] = NormalizedService(kind)
            for uid in sop_class_uids:
                service.register(handler, uid, maximum_length)
            return handler

        return register


def outgoing_of(server: Server) -> Outgoing:
    """What a server sends for C-MOVE, for the page of a node; programs have the events of `ServerOptions.on_event`."""
    return server._outgoing


def _for_models(register: Callable[[Any, Iterable[QueryRetrieveModel]], Any], given: Sequence[Any]) -> Any:
    """Register the handler that was given, or return the decorator that registers one for the models given."""
    if len(given) == 1 and not isinstance(given[0], QueryRetrieveModel):
        return register(given[0], DEFAULT_MODELS)
    for each in given:
        if not isinstance(each, QueryRetrieveModel):
            raise TypeError(f"a model must be a QueryRetrieveModel, not {type(each).__name__}")
    return lambda handler: register(handler, given or DEFAULT_MODELS)


def _check_is_generator(handler: object) -> None:
    if not inspect.isasyncgenfunction(handler):
        raise TypeError(f"the handler {getattr(handler, '__name__', handler)} must be an async def that yields")


def _check_is_async(handler: object) -> None:
    if not inspect.iscoroutinefunction(handler):
        raise TypeError(f"the handler {getattr(handler, '__name__', handler)} must be an async def")
