"""What `explain` has found out: steps, their verdicts, and what to change on which side."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from dimse.address import Address


class ExplainSide(StrEnum):
    """Who has to change something."""

    HERE = "here"
    """The requestor: the options of this program, its network and its trusted certificates."""
    ARCHIVE = "archive"
    """The acceptor that was asked."""
    NETWORK = "network"
    """What is in between, such as name servers, routers and firewalls."""


class ExplainVerdict(StrEnum):
    """How a step ended."""

    OK = "ok"
    NOTE = "note"
    """It works, with something that others may stumble over."""
    FAILED = "failed"
    NOT_TRIED = "not tried"


class ExplainStepName(StrEnum):
    """The steps, in their order."""

    NAME = "name"
    """The addresses of the host."""
    CONNECTION = "connection"
    """TCP."""
    TLS = "tls"
    """The handshake and the certificates."""
    ANSWER = "answer"
    """Whether DICOM or something else answers an A-ASSOCIATE-RQ."""
    TITLES = "titles"
    """Whether the called and the calling AE title are accepted."""
    ECHO = "echo"
    """C-ECHO, its round trips, and stalls."""
    PARALLEL = "parallel"
    """Simultaneous associations."""
    SERVICES = "services"
    """Presentation contexts, transfer syntaxes, roles and what else is negotiated."""


class ExplainOutcome(StrEnum):
    """The result of all steps."""

    WORKS = "works"
    """The wanted services are accepted."""
    REFUSED = "refused"
    """There is an association, but something that was wanted is refused."""
    NO_ASSOCIATION = "no association"


@dataclass(frozen=True, slots=True)
class ExplainAdvice:
    """What to change, and on which side."""

    side: ExplainSide
    text: str


def here(text: str) -> ExplainAdvice:
    """What the requestor has to change."""
    return ExplainAdvice(ExplainSide.HERE, text)


def on_archive(text: str) -> ExplainAdvice:
    """What the acceptor has to change."""
    return ExplainAdvice(ExplainSide.ARCHIVE, text)


def in_between(text: str) -> ExplainAdvice:
    """What has to change in between."""
    return ExplainAdvice(ExplainSide.NETWORK, text)


@dataclass(frozen=True, slots=True)
class ExplainStep:
    """What was tried, and what came back. Texts may quote the peer: escape them before they are shown."""

    name: ExplainStepName
    verdict: ExplainVerdict
    result: str
    """What came back, in words."""
    tried: str = ""
    """What was tried, in words."""
    advice: tuple[ExplainAdvice, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    """The same for programs: strings, numbers, and lists and dicts of these."""


@dataclass(frozen=True, slots=True)
class Explanation:
    """Why an archive can be used, or why not."""

    address: Address
    outcome: ExplainOutcome
    summary: str
    """The result in one sentence."""
    steps: tuple[ExplainStep, ...]
    """All steps in the order of `ExplainStepName`, those that were not tried too."""
    seconds: float

    @property
    def advice(self) -> tuple[ExplainAdvice, ...]:
        """What to change, the most important first."""
        order = (ExplainVerdict.FAILED, ExplainVerdict.NOTE, ExplainVerdict.OK)
        steps = [step for verdict in order for step in self.steps if step.verdict is verdict]
        return tuple(dict.fromkeys(advice for step in steps for advice in step.advice))

    def __getitem__(self, name: ExplainStepName) -> ExplainStep:
        return next(step for step in self.steps if step.name is name)
