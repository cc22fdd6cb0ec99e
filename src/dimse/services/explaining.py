"""`explain`: tries to talk to an archive, step by step, and says in words why that does not work."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from time import perf_counter
from typing import Final, TypeVar

from dimse.address import Address, check_ae_title
from dimse.callbacks import Callback
from dimse.network.application_entity import ApplicationEntity, entity_of
from dimse.options import ClientOptions
from dimse.services import (
    explaining_answer,
    explaining_connection,
    explaining_services,
    explaining_speed,
    explaining_titles,
)
from dimse.services.explaining_association import Asked, Asker
from dimse.services.explaining_connection import Tried
from dimse.services.explaining_services import ExplainPurpose, Wanted
from dimse.services.explaining_speed import EchoFailed
from dimse.services.explaining_titles import Titles
from dimse.services.explanation import (
    ExplainOutcome,
    ExplainStep,
    ExplainStepName,
    ExplainVerdict,
    Explanation,
    on_archive,
)
from dimse.uids import is_uid
from dimse.upper_layer.negotiation import accepted_contexts
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ

logger = logging.getLogger("dimse.network")

T = TypeVar("T")

TOTAL_TIME: Final = 60.0
"""Seconds for all steps together."""

_TRANSIENT_PAUSE: Final = 1.0
"""Seconds after which a request is repeated that may be accepted later."""


async def explain(
    address: str | Address | ApplicationEntity,
    *,
    options: ClientOptions | None = None,
    purposes: Collection[ExplainPurpose] = (ExplainPurpose.ECHO,),
    sop_classes: Sequence[str] = (),
    transfer_syntaxes: Sequence[str] = (),
    called_ae_titles: Sequence[str] = (),
    calling_ae_titles: Sequence[str] = (),
    step_timeout: float = 5,
    on_step: Callable[[ExplainStep], object] | None = None,
) -> Explanation:
    """Try to talk to the application entity at `address`, and find out why that does not work.

    It works if the services of `purposes` are accepted, and C-ECHO succeeds where it is one of them. `sop_classes` are
    Storage SOP Classes and `transfer_syntaxes` transfer syntaxes that have to be accepted; without any, it is reported
    which of the usual ones are. After a rejection, the other `called_ae_titles` and `calling_ae_titles` are tried,
    without the user identity of `options`. `on_step` is called with each step when it has ended.

    No objects and no queries are sent. At most 24 associations are requested, and at most three are open at once. Each
    connection, handshake and answer has `step_timeout` seconds, all together have 60. Whatever fails is in the result;
    only `TypeError` and `ValueError` are raised, for wrong arguments.

    >>> explanation = await explain("ARCHIVE@localhost:11112")
    >>> print(explanation.summary)
    It works: ARCHIVE@localhost:11112 answers C-ECHO in 0.4 ms
    """
    if options is not None and not isinstance(options, ClientOptions):
        raise TypeError(f"options must be a ClientOptions or None, not {type(options).__name__}")
    if not all(isinstance(purpose, ExplainPurpose) for purpose in _each("purposes", purposes)):
        raise TypeError("purposes must be a collection of ExplainPurpose members")
    entity, reported = entity_of(address, options), Callback("on_step", on_step, logger)
    classes, syntaxes = _uids("sop_classes", sop_classes), _uids("transfer_syntaxes", transfer_syntaxes)
    wanted = Wanted(frozenset(purposes), classes, syntaxes)
    titles = (
        [check_ae_title(title) for title in _each("called_ae_titles", called_ae_titles)],
        [check_ae_title(title) for title in _each("calling_ae_titles", calling_ae_titles)],
    )
    run = _Explaining(entity.address, entity.options, wanted, *titles, step_timeout, reported)
    return await run.run()


def _each(name: str, values: Collection[T]) -> Collection[T]:
    """The values of an argument. Raises `TypeError` for a single one."""
    if isinstance(values, str) or not isinstance(values, Collection):
        raise TypeError(f"{name} must be a collection, not one {type(values).__name__}")
    return values


def _uids(name: str, values: Collection[str]) -> tuple[str, ...]:
    for value in _each(name, values):
        if not isinstance(value, str) or not is_uid(value):
            raise ValueError(f"{name} must be UIDs, not {value!r}")
    return tuple(values)


class _Explaining:
    """The steps in their order; each that fails ends those that need it."""

    def __init__(
        self,
        address: Address,
        options: ClientOptions,
        wanted: Wanted,
        called: Sequence[str],
        calling: Sequence[str],
        seconds: float,
        reported: Callback[ExplainStep],
    ) -> None:
        self._address = address
        self._options = options
        self._wanted = wanted
        self._called = called
        self._calling = calling
        self._seconds = seconds
        self._reported = reported
        self._steps: dict[ExplainStepName, ExplainStep] = {}
        self._current = ExplainStepName.NAME
        self._outcome = ExplainOutcome.NO_ASSOCIATION

    async def run(self) -> Explanation:
        start = perf_counter()
        try:
            async with asyncio.timeout(TOTAL_TIME):
                await self._connect()
        except TimeoutError:
            words = f"stopped: all steps together took more than {TOTAL_TIME:g} s"
            advice = (on_archive("see what it is busy with"),)
            self._add(ExplainStep(self._current, ExplainVerdict.FAILED, words, advice=advice))
        steps = tuple(
            self._steps.get(name) or ExplainStep(name, ExplainVerdict.NOT_TRIED, "needs what failed before")
            for name in ExplainStepName
        )
        if self._outcome is not ExplainOutcome.NO_ASSOCIATION:
            failed = any(step.verdict is ExplainVerdict.FAILED for step in steps)
            self._outcome = ExplainOutcome.REFUSED if failed else ExplainOutcome.WORKS
        seconds = perf_counter() - start
        return Explanation(self._address, self._outcome, self._summary(steps), steps, seconds)

    def _add(self, step: ExplainStep) -> bool:
        """Add a step. Returns whether those that need it can be tried."""
        self._steps[step.name] = step
        self._reported(step)
        return step.verdict is not ExplainVerdict.FAILED

    async def _connect(self) -> None:
        step, endpoints = await explaining_connection.name(self._address, self._seconds)
        if not self._add(step):
            return
        self._current = ExplainStepName.CONNECTION
        step, tried = await explaining_connection.connection(self._address, endpoints, self._seconds)
        if not self._add(step) or tried is None:
            return
        asker = Asker(self._address, tried.endpoint, self._options, self._seconds)
        self._current = ExplainStepName.TLS
        if self._add(await explaining_answer.tls(asker)):
            await self._associate(asker, tried)

    async def _associate(self, asker: Asker, tried: Tried) -> None:
        self._current = ExplainStepName.ANSWER
        async with asker.ask(asker.request()) as asked:
            answered, tls = await explaining_answer.answer(asker, asked)
            if tls is not None:
                self._add(tls)
            if not self._add(answered):
                return
            self._current = ExplainStepName.TITLES
            if asked.acceptance is not None:
                self._outcome = ExplainOutcome.WORKS
                self._add(explaining_titles.step(_titles(asked), None, ()))
                await self._use(asker, asked, tried)
        if asked.rejection is not None and not await self._try_titles(asker, asked, asked.rejection):
            return
        if asked.rejection is not None:
            async with asker.ask(asker.request()) as asked:
                if asked.acceptance is None:
                    self._add(explaining_answer.unsteady(asked))
                    return
                self._add(explaining_answer.accepted(asked, asked.acceptance))
                await self._use(asker, asked, tried)
        self._current = ExplainStepName.SERVICES
        self._add(await explaining_services.ask(asker, self._wanted))

    async def _try_titles(self, asker: Asker, first: Asked, rejection: A_ASSOCIATE_RJ) -> bool:
        """Ask again after a rejection: the same if that may help, else with other titles.

        Returns whether an association was accepted. The following steps then use its titles.
        """
        if first.is_transient:
            await asyncio.sleep(_TRANSIENT_PAUSE)
            again = await asker.ask_again(asker.request())
            is_accepted = again.acceptance is not None
            self._add(explaining_titles.step(_titles(again), None if is_accepted else again.rejection or rejection, ()))
            self._outcome = ExplainOutcome.WORKS if is_accepted else ExplainOutcome.NO_ASSOCIATION
            return is_accepted
        asker.user_identity = None  # a password that is tried many times may lock its user out
        given, tried = _titles(first), list[Titles]()
        if self._options.user_identity is not None and (await asker.ask_again(asker.request())).acceptance is not None:
            self._add(explaining_titles.user_refused(given, rejection))
            return False
        pairs = explaining_titles.others(given.called, given.calling, self._called, self._calling, rejection)
        for called, calling in pairs:
            asker.called_ae_title, asker.calling_ae_title = called, calling
            tried.append(_titles(await asker.ask_again(asker.request())))
            if tried[-1].is_accepted:
                break
        asker.user_identity = self._options.user_identity
        self._add(explaining_titles.step(given, rejection, tried))
        return bool(tried) and tried[-1].is_accepted

    async def _use(self, asker: Asker, asked: Asked, tried: Tried) -> None:
        """What can be done on an accepted association, and beside it."""
        self._current = ExplainStepName.ECHO
        self._add(await self._echo(asker, asked, tried))
        self._current = ExplainStepName.PARALLEL
        self._add(await explaining_answer.parallel(asker))

    async def _echo(self, asker: Asker, asked: Asked, tried: Tried) -> ExplainStep:
        is_wanted = ExplainPurpose.ECHO in self._wanted.purposes
        acceptance, line = asked.acceptance, asked.line
        contexts = accepted_contexts(asked.request, acceptance) if acceptance is not None else {}
        if not contexts or line is None:
            verdict = ExplainVerdict.FAILED if is_wanted else ExplainVerdict.NOTE
            advice = (on_archive("enable the Verification SOP class"),)
            return ExplainStep(ExplainStepName.ECHO, verdict, "the archive refuses C-ECHO", "Verification", advice)
        try:
            times = await explaining_speed.measure(line, next(iter(contexts)), asker.seconds, tried.milliseconds)
        except EchoFailed as error:
            advice = (on_archive("its log says why it does not answer C-ECHO"),)
            verdict = ExplainVerdict.FAILED if is_wanted else ExplainVerdict.NOTE
            return ExplainStep(ExplainStepName.ECHO, verdict, f"C-ECHO failed: {error}", "C-ECHO", advice)
        return explaining_speed.step(times)

    def _summary(self, steps: Sequence[ExplainStep]) -> str:
        failed = next((step for step in steps if step.verdict is ExplainVerdict.FAILED), None)
        if failed is not None:
            begin = "It does not work" if self._outcome is ExplainOutcome.NO_ASSOCIATION else "It works in part"
            return f"{begin}: {failed.result}"
        milliseconds = self._steps[ExplainStepName.ECHO].facts.get("round_trip_ms")
        if milliseconds is not None:
            return f"It works: {self._address} answers C-ECHO in {milliseconds:.1f} ms"
        return f"It works: {self._address} accepts what is wanted"


def _titles(asked: Asked) -> Titles:
    request = asked.request
    return Titles(request.called_ae_title, request.calling_ae_title, asked.words, asked.acceptance is not None)
