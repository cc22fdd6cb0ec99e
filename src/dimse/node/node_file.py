"""`node.toml`: the options of a node in a file.

1. A table is a dataclass, and its keys are the fields. What the file does not have keeps its default.
2. Everything is checked when the file is read. An error has the file, the place, the key and the reason.
3. Paths are relative to the folder of the file.
4. With peers, only they may associate, each for what it may.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import MISSING, dataclass, field, fields, replace
from enum import Enum
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Final, NoReturn, TypeVar, get_args, get_type_hints

import msgspec

from dimse.access import Access, Operation, Peer, checked_networks
from dimse.address import DEFAULT_PORT, Address, check_ae_title
from dimse.audit import AuditLog
from dimse.configuration import nearest
from dimse.node.options import (
    CommandOptions,
    NodeOptions,
    NodeServerOptions,
    QueryOptions,
    SettlingOptions,
    StorageOptions,
    WebhookOptions,
    WebOptions,
    check_index_url,
    check_not_empty,
    check_port,
)
from dimse.options import ClientOptions, ServerOptions, Timeouts
from dimse.services.move_scp import MoveDestination
from dimse.tls import TLSOptions, TLSProfile
from dimse.uids import transfer_syntaxes

T = TypeVar("T")

ARTIM: Final = ServerOptions().timeouts.artim


class May(Enum):
    """What a peer may do, besides C-ECHO."""

    STORE = "store"
    FIND = "find"
    GET = "get"
    MOVE = "move"
    COMMIT = "commit"
    """Storage commitment, and reports of performed procedure steps."""


_OPERATIONS: Final = {
    May.STORE: Operation.STORE,
    May.FIND: Operation.FIND,
    May.GET: Operation.GET,
    May.MOVE: Operation.MOVE,
    May.COMMIT: Operation.NORMALIZED,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Node:
    """The table [node]."""

    ae_title: str = "DIMSE"
    called_ae_titles: Sequence[str] | None = None
    host: str = "localhost"
    port: int = DEFAULT_PORT
    data: Path | None = None
    audit: Path | None = None
    proxy_networks: Sequence[str] = ()

    def __post_init__(self) -> None:
        with _named("ae_title"):
            check_ae_title(self.ae_title)
        check_port("port", self.port)
        check_not_empty(self, "called_ae_titles")
        with _named("called_ae_titles"):
            Access(called_ae_titles=self.called_ae_titles)
        with _named("proxy_networks"):
            checked_networks("proxy_networks", self.proxy_networks)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Index:
    """The table [index]."""

    url: str | None = None

    def __post_init__(self) -> None:
        check_index_url("url", self.url)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Peer:
    """A table [[peer]]."""

    ae_title: str
    host: str | None = None
    port: int | None = None
    may: Sequence[May] = tuple(May)
    networks: Sequence[str] | None = None
    certificate_names: Sequence[str] | None = None
    maximum_associations: int | None = None
    tls: bool = False
    window: int | None = None
    syntaxes: Sequence[str] | None = None

    def __post_init__(self) -> None:
        with _named("ae_title"):
            check_ae_title(self.ae_title)
        with _named("networks"):
            checked_networks("networks", self.networks)
        if self.port is not None:
            check_port("port", self.port, 1)
        if self.window is not None and not 1 <= self.window <= 0xFFFF:
            raise ValueError(f"window must be 1 to 65535, not {self.window}")
        check_not_empty(self, "networks", "certificate_names", "syntaxes")
        for name in ("port", "tls", "window", "syntaxes"):
            if self.host is None and getattr(self, name):
                raise ValueError(f"{name}: needs a host, to which the node connects")
        if self.host is not None and not _is_host(self.host):
            raise ValueError(f"host must be a host name or an address, not {self.host!r}; its port is a key of its own")


@contextmanager
def _named(key: str) -> Iterator[None]:
    """In the block, an error is about the value of this key, which it does not name."""
    try:
        yield
    except ValueError as error:
        raise ValueError(f"{key}: {error}") from error


def _is_host(text: str) -> bool:
    """Whether a text may be a host name, or is an IP address, in brackets or not; not one with a port."""
    if ":" not in text:
        return re.fullmatch(r"[\w.-]+", text) is not None
    try:
        return ip_address(text.strip("[]")).version == 6
    except ValueError:
        return False


@dataclass(frozen=True, slots=True, kw_only=True)
class _Limits:
    """The table [limits]; 0 means no limit."""

    maximum_associations: int | None = None
    maximum_associations_per_host: int | None = None
    maximum_associations_per_title: int | None = None
    maximum_connections_per_second: int | None = None
    maximum_rate_per_host: int | None = None
    maximum_rate_per_association: int | None = None
    idle: float | None = None
    stop_timeout: float | None = None

    def __post_init__(self) -> None:
        for name in ("idle", "stop_timeout"):
            seconds = getattr(self, name)
            if seconds is not None and not 0 <= seconds < math.inf:
                raise ValueError(f"{name} must be at least 0 seconds, not {seconds:g}")


@dataclass(frozen=True, slots=True, kw_only=True)
class _TLS:
    """The table [tls]."""

    certificate: Path
    key: Path | None = None
    password_file: Path | None = None
    ca: Path | None = None
    crl: Path | None = None
    profile: TLSProfile = TLSProfile.BCP195


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    """The tables."""

    node: _Node = field(default_factory=_Node)
    index: _Index = field(default_factory=_Index)
    storage: StorageOptions = field(default_factory=StorageOptions)
    peer: Sequence[_Peer] = ()
    limits: _Limits = field(default_factory=_Limits)
    tls: _TLS | None = None
    query: QueryOptions = field(default_factory=QueryOptions)
    settling: SettlingOptions = field(default_factory=SettlingOptions)
    web: WebOptions | None = field(default_factory=WebOptions)
    webhook: Sequence[WebhookOptions] = ()
    command: Sequence[CommandOptions] = ()


_TABLES: Final = {
    "node": _Node,
    "index": _Index,
    "storage": StorageOptions,
    "limits": _Limits,
    "tls": _TLS,
    "query": QueryOptions,
    "settling": SettlingOptions,
    "web": WebOptions,
}
"""The tables of which there is one."""

_ARRAYS: Final = {"peer": _Peer, "webhook": WebhookOptions, "command": CommandOptions}
"""The tables of which there are several."""


def read(path: Path, data: Path) -> NodeOptions:
    """The options of a node in a file; `data` is its folder unless the file has another.

    Raises `ValueError` with the file, the place and the reason.
    """
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{path}: must be UTF-8 text") from None
    except ValueError as error:
        raise ValueError(f"{path}: is not TOML: {error}") from None
    reader = _Reader(path)
    return reader.options(reader.file(content), data)


class _Reader:
    """Reads the tables of a file."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def file(self, content: Mapping[str, Any]) -> _File:
        """All tables, each checked by itself."""
        self._check_keys("", content, [*_TABLES, *_ARRAYS])
        found: dict[str, Any] = {}
        for name, value in content.items():
            if name == "web" and value is False:
                found[name] = None
            elif name in _TABLES:
                found[name] = self._table(f"[{name}]", value, _TABLES[name])
            elif not isinstance(value, list):
                self._refuse("", f"{name}: must be tables [[{name}]]")
            else:
                kind = _ARRAYS[name]
                found[name] = [self._table(f"[[{name}]] {n}", each, kind) for n, each in enumerate(value, 1)]
        return _File(**found)

    def _table(self, place: str, content: object, kind: type[T]) -> T:
        if not isinstance(content, dict):
            self._refuse(place, "must be a table")
        known = [each for each in fields(kind) if each.init]  # type: ignore[arg-type]
        self._check_keys(place, content, [each.name for each in known])
        for each in known:
            if each.name not in content and each.default is MISSING and each.default_factory is MISSING:
                self._refuse(place, f"{each.name}: is missing")
        try:
            return msgspec.convert(content, kind, dec_hook=self._convert)
        except msgspec.ValidationError as error:
            self._refuse(place, _in_words(str(error), kind))

    def _check_keys(self, place: str, content: Mapping[str, Any], known: Sequence[str]) -> None:
        for key in content:
            if key not in known:
                meant = nearest(key, known)
                help_ = f"did you mean {meant}?" if meant is not None else f"known are {', '.join(known)}"
                self._refuse(place, f"{key}: is not known; {help_}")

    def _convert(self, kind: type, value: object) -> object:
        """A path, for msgspec, which converts all other types itself."""
        if kind is not Path or not isinstance(value, str) or not value:
            raise TypeError("must be the path of a file or folder")
        return self._path.parent / Path(value).expanduser()

    def _refuse(self, place: str, why: object) -> NoReturn:
        where = f"{place}: " if place else ""
        raise ValueError(f"{self._path}: {where}{why}") from None

    # What the tables say together

    def options(self, file: _File, data: Path) -> NodeOptions:
        """The options of the node."""
        tls = self._tls(file.tls)
        destinations = self._destinations(file.peer, tls)
        server = self._server(file, tls)
        with self._refusing(""):
            return NodeOptions(
                data=file.node.data or data,
                ae_title=file.node.ae_title,
                host=file.node.host,
                port=file.node.port,
                index=file.index.url,
                server=server,
                destinations=destinations,
                storage=file.storage,
                query=file.query,
                settling=file.settling,
                web=file.web,
                webhooks=file.webhook,
                commands=file.command,
            )

    def _server(self, file: _File, tls: TLSOptions | None) -> NodeServerOptions:
        node = file.node
        rules = [self._rule(number, peer, tls) for number, peer in enumerate(file.peer, 1)]
        with self._refusing("[node]"):
            own: dict[str, Any] = {
                "access": Access(peers=rules or None, called_ae_titles=node.called_ae_titles),
                "proxy_networks": checked_networks("proxy_networks", node.proxy_networks) or frozenset(),
                "audit": None if node.audit is None else AuditLog(node.audit),
            }
        with self._refusing("[tls]"):
            NodeServerOptions(tls=tls)
        with self._refusing("[limits]"):
            return NodeServerOptions(**own, tls=tls, **_limits(file.limits))

    def _rule(self, number: int, peer: _Peer, tls: TLSOptions | None) -> Peer:
        with self._refusing(f"[[peer]] {number}"):
            if peer.certificate_names is not None and (tls is None or tls.ca is None):
                raise ValueError("certificate_names: needs [tls] with a ca, which verifies certificates")
            return Peer(
                calling_ae_titles=[peer.ae_title],
                networks=peer.networks,
                certificate_names=peer.certificate_names,
                operations={Operation.ECHO, *(_OPERATIONS[each] for each in peer.may)},
                maximum_associations=peer.maximum_associations,
            )

    def _destinations(self, peers: Sequence[_Peer], tls: TLSOptions | None) -> dict[str, MoveDestination]:
        found: dict[str, MoveDestination] = {}
        for number, peer in enumerate(peers, 1):
            if peer.host is None:
                continue
            with self._refusing(f"[[peer]] {number}"):
                address = Address(peer.ae_title, peer.host.strip("[]"), peer.port or DEFAULT_PORT)
                if address.ae_title in found:
                    raise ValueError(f"ae_title: another peer has {address.ae_title} and a host too")
                found[address.ae_title] = MoveDestination(address, _client(peer, tls), _syntaxes(peer))
        return found

    def _tls(self, table: _TLS | None) -> TLSOptions | None:
        if table is None:
            return None
        password = None
        if table.password_file is not None:
            try:
                password = table.password_file.read_text(encoding="utf-8").removesuffix("\n").removesuffix("\r")
            except (OSError, UnicodeDecodeError) as error:
                self._refuse("[tls]", f"password_file: {getattr(error, 'strerror', None) or 'must be UTF-8 text'}")
        with self._refusing("[tls]"):
            return TLSOptions(
                certificate=table.certificate,
                key=table.key,
                password=password,
                ca=table.ca,
                crl=table.crl,
                profile=table.profile,
            )

    @contextmanager
    def _refusing(self, place: str) -> Iterator[None]:
        """In the block, options are made, whose errors are of this place."""
        try:
            yield
        except (TypeError, ValueError) as error:
            self._refuse(place, _with_colon(str(error)))


def _client(peer: _Peer, tls: TLSOptions | None) -> ClientOptions:
    """How the node connects to a peer."""
    options = ClientOptions(tls=(tls or TLSOptions()) if peer.tls else None)
    return options if peer.window is None else replace(options, operations_window=peer.window)


def _syntaxes(peer: _Peer) -> list[str] | None:
    """The only transfer syntaxes that a peer is sent."""
    if peer.syntaxes is None:
        return None
    with _named("syntaxes"):
        return [uid for name in peer.syntaxes for uid in transfer_syntaxes(name)]


def _limits(table: _Limits) -> dict[str, Any]:
    """The options of a server that the table sets, with None for 0, which means no limit."""
    given = {each.name: value for each in fields(table) if (value := getattr(table, each.name)) is not None}
    idle = given.pop("idle", None)
    found: dict[str, Any] = {
        name: value or (None if name not in ("maximum_associations", "stop_timeout") else value)
        for name, value in given.items()
    }
    return found if idle is None else {**found, "timeouts": Timeouts(artim=ARTIM, idle=idle or None)}


# Errors in words

_TYPES: Final = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "true or false",
    "array": "an array",
    "object": "a table",
}


def _in_words(message: str, kind: type) -> str:
    """An error of msgspec with the key in front, in words."""
    what, _, path = message.partition(" - at `$.")
    key = path.rstrip("`")
    before = f"{key}: " if key else ""
    if (expected := re.fullmatch(r"Expected `([^`]+)`, got `([^`]+)`", what)) is not None:
        wanted, got = (
            " or ".join(_TYPES.get(each, each) for each in names.split(" | ") if each != "null")
            for names in expected.groups()
        )
        return f"{before}must be {wanted}, not {got}"
    if (wrong := re.fullmatch("Invalid enum value (.+)", what)) is not None:
        return f"{before}must be one of {', '.join(_members(kind, key))}, not {wrong[1]}"
    return before + _with_colon(what)


def _members(kind: type, key: str) -> list[str]:
    """The values of the enumeration that is, or is in, the type of a key."""
    todo = [get_type_hints(kind)[re.split(r"\W", key)[0]]]
    while todo:
        hint = todo.pop()
        if isinstance(hint, type) and issubclass(hint, Enum):
            return [str(each.value) for each in hint]
        todo += get_args(hint)
    return []


def _with_colon(message: str) -> str:
    """`port: must be` for the `port must be` of options."""
    return re.sub(r"^(\w+) must ", r"\1: must ", message)
