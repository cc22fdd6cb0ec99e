"""The file of `dimse route`: its spool, its destinations, and the rules that choose among them."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dimse.cli.arguments import classes, configuration, edits
from dimse.cli.parser import ConfigurationError
from dimse.cli.receive_spool import destination_of
from dimse.configuration import Configuration, check_name
from dimse.errors import DatasetError, StatusError
from dimse.services.forwarding import MINIMUM_FREE
from dimse.services.forwarding_destination import ForwardDestination
from dimse.services.store_request import StoreRequest
from dimse.status import Status

if TYPE_CHECKING:
    from dimse.dataset.edits import Edits

_KEYS: Final = ("spool", "default", "maximum-bytes", "minimum-free", "destinations", "rules")
_DESTINATION_KEYS: Final = ("peer", "associations", "decompress", "set", "remove")
_RULE_KEYS: Final = ("calling", "called", "modality", "sop-class", "to")


def _modality(request: StoreRequest) -> str:
    try:
        return str(request.dataset.get("Modality") or "")
    except DatasetError:
        return ""


_VALUES: Final[Mapping[str, Callable[[StoreRequest], str]]] = {
    "calling": lambda request: request.association.calling_ae_title,
    "called": lambda request: request.association.called_ae_title,
    "sop-class": lambda request: request.sop_class_uid,
    "modality": _modality,
}
"""What rules look at. The modality is last: the data set is decoded for it."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Where instances go that have all of its values."""

    to: tuple[str, ...]
    patterns: Mapping[str, tuple[str, ...]]
    """By key, alternatives, in which * and ? are wild cards."""

    def fits(self, request: StoreRequest) -> bool:
        """Whether an instance is one of those."""
        return all(
            any(fnmatchcase(value_of(request), pattern) for pattern in self.patterns[key])
            for key, value_of in _VALUES.items()
            if key in self.patterns
        )


@dataclass(frozen=True, slots=True)
class Routes:
    """What the file says."""

    spool: Path
    destinations: Mapping[str, ForwardDestination]
    rules: tuple[Rule, ...]
    default: tuple[str, ...]
    """The destinations of what no rule fits."""
    maximum_bytes: int | None
    minimum_free: int

    def destinations_of(self, request: StoreRequest) -> list[str]:
        """The destinations of all rules that fit, each once, or the default ones. Raises `StatusError` if none is."""
        found = [name for rule in self.rules if rule.fits(request) for name in rule.to] or self.default
        if not found:
            raise StatusError(Status.NOT_AUTHORIZED, "no rule is for this object")
        return list(dict.fromkeys(found))


def read(path: Path, calling: str) -> Routes:
    """Read the file, and check all of it. `calling` is our AE title for peers that have no other.

    Raises `ConfigurationError` with the file, the place and the reason.
    """
    try:
        content = tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror}") from None
    except ValueError as error:
        raise ConfigurationError(f"{path}: is not TOML: {error}") from None
    return _Reader(path, calling, configuration()).routes(content)


class _Reader:
    """Reads the tables of a file."""

    def __init__(self, path: Path, calling: str, peers: Configuration) -> None:
        self._path = path
        self._calling = calling
        self._peers = peers
        self._names: tuple[str, ...] = ()

    def routes(self, content: Mapping[str, Any]) -> Routes:
        self._check_keys("", content, _KEYS)
        destinations = self._table("", "destinations", content.get("destinations"))
        if not destinations:
            self._refuse("", "destinations", "must have at least one table, such as [destinations.archive]")
        found = {
            name: self._destination(name, self._table("destinations", name, table))
            for name, table in destinations.items()
        }
        self._names = tuple(found)
        rules = content.get("rules", [])
        if not isinstance(rules, list):
            self._refuse("", "rules", "must be tables [[rules]]")
        made = tuple(self._rule(f"rule {number}", rule) for number, rule in enumerate(rules, 1))
        default = self._destinations("", "default", content["default"]) if "default" in content else ()
        if not made and not default:
            self._refuse("", "rules", "must have at least one rule, unless there is a default")
        if not isinstance(content.get("spool"), str):
            self._refuse("", "spool", "must be the path of a folder")
        return Routes(
            spool=self._path.parent / Path(content["spool"]).expanduser(),
            destinations=found,
            rules=made,
            default=default,
            maximum_bytes=self._integer("", content, "maximum-bytes", None, least=1),
            minimum_free=self._integer("", content, "minimum-free", MINIMUM_FREE) or 0,
        )

    def _destination(self, name: str, table: Mapping[str, Any]) -> ForwardDestination:
        place = f"destinations.{name}"
        self._check_keys(place, table, _DESTINATION_KEYS)
        given = table.get("peer", name)
        if not isinstance(given, str):
            self._refuse(place, "peer", "must be an address, or the name of a peer of the configuration")
        try:
            check_name(name)
            peer = self._peers.peer(given)
            found = destination_of(peer, self._calling)
        except ValueError as error:
            self._refuse(place, "peer", error)
        decompress = table.get("decompress", False)
        if not isinstance(decompress, bool):
            self._refuse(place, "decompress", f"must be true or false, not {decompress!r}")
        return replace(
            found,
            associations=self._integer(place, table, "associations", found.associations, least=1) or 1,
            allow_decompression=decompress,
            edits=self._edits(place, table),
        )

    def _edits(self, place: str, table: Mapping[str, Any]) -> Edits | None:
        values = self._table(place, "set", table.get("set", {}))
        if not all(isinstance(value, str) for value in values.values()):
            self._refuse(place, "set", "must have strings as values")
        settings = [f"{key}={value}" for key, value in values.items()]
        removals = self._texts(place, "remove", table["remove"]) if "remove" in table else ()
        try:
            return edits(settings, removals)
        except ValueError as error:
            self._refuse(place, "set, remove", error)

    def _rule(self, place: str, table: object) -> Rule:
        table = self._table("", place, table)
        self._check_keys(place, table, _RULE_KEYS)
        if "to" not in table:
            self._refuse(place, "to", "is missing: name one or more destinations")
        patterns = {key: self._texts(place, key, table[key]) for key in _VALUES if key in table}
        if "sop-class" in patterns:
            try:
                patterns["sop-class"] = tuple(uid for text in patterns["sop-class"] for uid in classes(text))
            except ValueError as error:
                self._refuse(place, "sop-class", error)
        return Rule(self._destinations(place, "to", table["to"]), patterns)

    def _destinations(self, place: str, key: str, value: object) -> tuple[str, ...]:
        names = self._texts(place, key, value)
        for name in names:
            if name not in self._names:
                self._refuse(place, key, f"must be of the destinations {', '.join(self._names)}, not {name!r}")
        return names

    def _texts(self, place: str, key: str, value: object) -> tuple[str, ...]:
        values = value if isinstance(value, list) else [value]
        if not values or not all(isinstance(each, str) and each for each in values):
            self._refuse(place, key, "must be a string, or an array of strings")
        return tuple(values)

    def _integer(
        self, place: str, table: Mapping[str, Any], key: str, default: int | None, *, least: int = 0
    ) -> int | None:
        value = table.get(key, default)
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            self._refuse(place, key, f"must be an integer from {least} on, not {value!r}")
        return value

    def _table(self, place: str, key: str, value: object) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            self._refuse(place, key, "must be a table" if value is not None else "is missing")
        return value

    def _check_keys(self, place: str, table: Mapping[str, Any], known: tuple[str, ...]) -> None:
        for key in table:
            if key not in known:
                self._refuse(place, key, f"is not known; known are {', '.join(known)}")

    def _refuse(self, place: str, key: str, why: object) -> NoReturn:
        where = f"[{place}] {key}" if place else key
        raise ConfigurationError(f"{self._path}: {where}: {why}") from None
