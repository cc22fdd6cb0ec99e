"""The options of a node: frozen, keyword-only, checked when made."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from dimse.address import DEFAULT_PORT, Address, check_ae_title
from dimse.node.arrival import OnDuplicate
from dimse.options import ServerOptions
from dimse.services.move_scp import MoveDestination


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


@dataclass(frozen=True, slots=True, kw_only=True)
class QueryOptions:
    """How queries are answered.

    :param unknown_matches: Whether a study without a value for a key matches it, as PS3.4 C.2.2.1.2 has it.
    :param scan_limit: Candidates that are compared one by one, for keys that the index does not have; beyond it, these
        keys are not matched, and the answers say so (0xFF01).
    """

    unknown_matches: bool = True
    scan_limit: int = 100_000


@dataclass(frozen=True, slots=True, kw_only=True)
class SettlingOptions:
    """When nothing more is expected of a study.

    :param quiet: Seconds without anything of it.
    :param quiet_after_association: Seconds without anything of it after the last association ended that sent it.
    """

    quiet: float = 60
    quiet_after_association: float = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class WebOptions:
    """The page.

    :param host: The address to listen on. Any other than a loopback address needs a password, a token or a certificate.
    :param port: The port; 0 picks a free one.
    :param password: The password of the user "dimse".
    :param token: A bearer token.
    :param certificate: A file with the certificate of the server, for HTTPS.
    :param key: A file with its key.
    """

    host: str = "127.0.0.1"
    port: int = 8080
    password: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    certificate: Path | None = None
    key: Path | None = None


def server_options(**given: Any) -> ServerOptions:
    """The options of associations of a node, which many senders use at once: its limits are higher than a server's."""
    limits = {
        "maximum_associations": 250,
        "maximum_associations_per_host": 100,
        "maximum_associations_per_title": 100,
        "maximum_connections_per_second": 200,
    }
    return ServerOptions(**(limits | given))


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
    """

    data: Path
    ae_title: str = "DIMSE"
    host: str = "localhost"
    port: int = DEFAULT_PORT
    index: str | None = None
    server: ServerOptions = field(default_factory=server_options)
    destinations: Mapping[str, str | Address | MoveDestination] = field(default_factory=dict)
    storage: StorageOptions = field(default_factory=StorageOptions)
    query: QueryOptions = field(default_factory=QueryOptions)
    settling: SettlingOptions = field(default_factory=SettlingOptions)
    web: WebOptions | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "data", Path(self.data))
        object.__setattr__(self, "ae_title", check_ae_title(self.ae_title))
