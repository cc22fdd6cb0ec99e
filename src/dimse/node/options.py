"""The options of a node: frozen, keyword-only, checked when made."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from ipaddress import ip_address
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from dimse.address import DEFAULT_PORT, Address, check_ae_title
from dimse.node.arrival import OnDuplicate
from dimse.node.events import EventKind
from dimse.options import ServerOptions, check_type, with_fields_of
from dimse.programs import CommandLine
from dimse.records import record
from dimse.services.move_scp import MoveDestination
from dimse.tls import TLSOptions


def check_port(name: str, port: int, least: int = 0) -> None:
    """Raise `ValueError` for a number that is not that of a port."""
    if not least <= port <= 65535:
        raise ValueError(f"{name} must be {least} to 65535, not {port}")


def check_index_url(name: str, url: str | None) -> None:
    """Raise `ValueError` for the URL of another database than PostgreSQL; None may be given."""
    if url is not None and not url.startswith("postgresql://"):
        raise ValueError(f"{name} must be the URL of a PostgreSQL database, such as postgresql://dimse@db/archive")


def check_seconds(name: str, seconds: float) -> None:
    """Raise `ValueError` unless a time is positive and finite."""
    if not 0 < seconds < math.inf:
        raise ValueError(f"{name} must be a positive number of seconds, not {seconds!r}")


def check_not_empty(options: object, *names: str) -> None:
    """Raise `ValueError` for a text or a list that is empty; None may be given."""
    for name in names:
        if getattr(options, name) is not None and not getattr(options, name):
            raise ValueError(f"{name} must not be empty")


@dataclass(frozen=True, slots=True, kw_only=True)
class StorageOptions:
    """How instances are stored.

    :param on_duplicate: What to do with an instance that is stored already, with other content.
    :param answer_duplicate: Whether the sender of an instance that was set aside is told with a failure (0x0111), not
        with Success.
    :param fsync: Whether files and index are forced to the disk before Success is sent.
    :param minimum_free: Bytes that stay free on the file system: at less, instances are refused with Out of Resources
        (0xA700).
    """

    on_duplicate: OnDuplicate = OnDuplicate.KEEP
    answer_duplicate: bool = False
    fsync: bool = True
    minimum_free: int = 256 * 1024 * 1024

    def __post_init__(self) -> None:
        check_type(self, "on_duplicate", OnDuplicate)
        if self.minimum_free < 0:
            raise ValueError(f"minimum_free must be at least 0 bytes, not {self.minimum_free}")


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """How queries are answered.

    :param unknown_matches: Whether an entity without a value for a key matches it, as PS3.4 C.2.2.1.2 has it. If not, a
        value that the index cannot hold, such as an invalid date, counts as none.
    :param scan_limit: Candidates that are compared one by one, for keys that the index does not have; beyond it, these
        keys are not matched, and the answers say so (0xFF01).
    """

    unknown_matches: bool = True
    scan_limit: int = 100_000

    def __post_init__(self) -> None:
        if self.scan_limit < 0:
            raise ValueError(f"scan_limit must be at least 0, not {self.scan_limit}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingOptions:
    """When nothing more is expected of a study.

    :param quiet: Seconds without anything of it.
    :param quiet_after_association: Seconds without anything of it after the last association ended that sent it.
    """

    quiet: float = 60
    quiet_after_association: float = 5

    def __post_init__(self) -> None:
        for name in ("quiet", "quiet_after_association"):
            check_seconds(name, getattr(self, name))


def is_loopback(host: str) -> bool:
    """Whether a host is this machine alone: "localhost", or a loopback address.

    >>> is_loopback("127.0.0.1"), is_loopback("0.0.0.0")
    (True, False)
    """
    try:
        return host == "localhost" or ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """The page.

    Raises `ValueError` for a host that others can reach, without anything that keeps them out, and for files that
    cannot be used.

    :param host: The address to listen on. Any other than a loopback address needs a password, a token or
        `client_authorities`.
    :param port: The port; 0 picks a free one.
    :param password: The password of the user "dimse".
    :param token: A bearer token.
    :param certificate: A file with the certificate of the server, for HTTPS. It keeps nobody out.
    :param key: A file with its key, if that is not in the file of the certificate.
    :param client_authorities: A file with the authorities that certify clients: then each needs a certificate of one.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None
    client_authorities: Path | None = None

    def __post_init__(self) -> None:
        check_port("port", self.port)
        check_not_empty(self, "password", "token")
        for name in ("certificate", "key", "client_authorities"):
            if (given := getattr(self, name)) is not None:
                object.__setattr__(self, name, Path(given))
        for name in ("key", "client_authorities"):
            if getattr(self, name) is not None and self.certificate is None:
                raise ValueError(f"{name} needs a certificate of the server")
        if not self.has_login and not is_loopback(self.host):
            raise ValueError(
                f"host must be a loopback address, not {self.host!r}, unless there is a password, a token or "
                "client_authorities"
            )
        if self.certificate is not None:
            files = TLSOptions(certificate=self.certificate, key=self.key, ca=self.client_authorities)
            files.context(server_side=True)

    @property
    def has_login(self) -> bool:
        """Whether it takes more than to reach the page to use it."""
        return bool(self.password or self.token or self.client_authorities)


@with_fields_of(ServerOptions)
@record(kw_only=True)
class NodeServerOptions(ServerOptions):
    """Options of the associations of a node, which many senders use at once: its limits are higher than a server's."""

    maximum_associations: int = 250
    maximum_associations_per_host: int | None = 100
    maximum_associations_per_title: int | None = 100
    maximum_connections_per_second: int | None = 200


def _check_kinds(on: Sequence[EventKind]) -> None:
    if not all(isinstance(each, EventKind) for each in on):
        raise TypeError(f"on must have EventKinds, such as EventKind.{EventKind.STUDY_SETTLED.name}")
    if not on:
        raise ValueError("on must have at least one kind of event")


@dataclass(frozen=True, slots=True, kw_only=True)
class WebhookOptions:
    """An HTTP request for each event of some kinds: a POST with the event in JSON, without data of patients.

    :param url: Where it goes, by http or https. Its certificate is verified.
    :param on: The kinds of events.
    :param secret: The key of an HMAC-SHA256 of the body, in the header `Dimse-Signature`.
    :param ca: A file with the certificates of the authorities that its certificate may be of; None takes those of the
        system.
    :param timeout: Seconds to wait for the answer.
    """

    url: str
    on: Sequence[EventKind] = (EventKind.STUDY_SETTLED,)
    secret: str | None = field(default=None, repr=False)
    ca: Path | None = None
    timeout: float = 10

    def __post_init__(self) -> None:
        _check_kinds(self.on)
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname or not _URL.fullmatch(self.url):
            raise ValueError(f"url must be an http or https URL, in ASCII and without spaces, not {self.url!r}")
        try:
            parts.port  # noqa: B018 - it is checked when it is read
        except ValueError as error:
            raise ValueError(f"url is not valid: {error}") from None
        if parts.username is not None or parts.password is not None:
            raise ValueError("url must not have a user or a password; use secret, which signs the body")
        check_not_empty(self, "secret")
        if self.ca is not None:
            try:
                TLSOptions(ca=self.ca).context(server_side=False)
            except ValueError as error:
                raise ValueError(f"ca: {error}") from None
        check_seconds("timeout", self.timeout)

    @property
    def place(self) -> str:
        """The URL without its query, which may have secrets."""
        return urlsplit(self.url)._replace(query="", fragment="").geturl()


_URL: Final = re.compile(r"[!-~]+")
"""The characters that a URL may have."""

COMMAND_PLACEHOLDERS: Final = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "folder", "kind", "event")


@dataclass(frozen=True, slots=True, kw_only=True)
class CommandOptions:
    """A program that runs for each event of some kinds. There is no shell.

    :param run: The program and its arguments, with {StudyInstanceUID}, {SeriesInstanceUID}, {SOPInstanceUID}, {folder}
        (that of the study), {kind} (of the event) and {event} (its number) where their values belong.
    :param on: The kinds of events.
    :param timeout: Seconds after which it is killed.
    """

    run: Sequence[str]
    on: Sequence[EventKind] = (EventKind.STUDY_SETTLED,)
    timeout: float = 600

    def __post_init__(self) -> None:
        _check_kinds(self.on)
        CommandLine(self.run, COMMAND_PLACEHOLDERS)
        check_seconds("timeout", self.timeout)


def _check_members(name: str, values: Sequence[object], kind: type) -> None:
    """Raise `TypeError` for members of another type. What they are may be secret."""
    if not all(isinstance(each, kind) for each in values):
        raise TypeError(f"{name} must have {kind.__name__} only")


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeOptions:
    """The options of a node.

    :param data: The folder with everything: `index.sqlite`, `incoming/`, `studies/`, `set-aside/`.
    :param ae_title: The AE title.
    :param host: The address to listen on.
    :param port: The port; 0 picks a free one.
    :param index: The URL of a PostgreSQL database; None is the SQLite file in `data`.
    :param server: The options of associations: who may associate, limits, TLS.
    :param destinations: Where C-MOVE and reports of storage commitment may go, by AE title. The host
        "from-association" stands for the one from which that application entity called last.
    :param storage: How instances are stored.
    :param query: How queries are answered.
    :param settling: When nothing more is expected of a study.
    :param web: The page; None has none.
    :param webhooks: HTTP requests for events.
    :param commands: Programs for events.
    """

    data: Path
    ae_title: str = "DIMSE"
    host: str = "localhost"
    port: int = DEFAULT_PORT
    index: str | None = None
    server: NodeServerOptions = field(default_factory=NodeServerOptions)
    destinations: Mapping[str, str | Address | MoveDestination] = field(default_factory=dict)
    storage: StorageOptions = field(default_factory=StorageOptions)
    query: QueryOptions = field(default_factory=QueryOptions)
    settling: SettlingOptions = field(default_factory=SettlingOptions)
    web: WebOptions | None = None
    webhooks: Sequence[WebhookOptions] = ()
    commands: Sequence[CommandOptions] = ()

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", Path(self.data))
        object.__setattr__(self, "ae_title", check_ae_title(self.ae_title))
        check_port("port", self.port)
        for name, kind in (("server", NodeServerOptions), ("storage", StorageOptions), ("query", QueryOptions)):
            check_type(self, name, kind)
        check_type(self, "settling", SettlingOptions)
        check_type(self, "web", WebOptions, or_none=True)
        check_index_url("index", self.index)
        _check_members("webhooks", self.webhooks, WebhookOptions)
        _check_members("commands", self.commands, CommandOptions)
        if len({each.place for each in self.webhooks}) < len(self.webhooks):
            raise ValueError("webhooks must have different URLs, apart from their queries")
        if len({tuple(each.run) for each in self.commands}) < len(self.commands):
            raise ValueError("commands must have different programs or arguments")
