"""The configuration file: peers by name, each with its address and the options that it needs."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from dataclasses import field, fields, replace
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final, NoReturn

from dimse.address import Address, check_ae_title, parse_with_tls
from dimse.options import ClientOptions, Strictness, Timeouts
from dimse.records import record
from dimse.tls import TLSOptions, TLSProfile
from dimse.uids import transfer_syntax
from dimse.upper_layer.items import MAXIMUM_IDENTITY, UserIdentityRQ

if TYPE_CHECKING:
    from dimse.network.application_entity import ApplicationEntity

_TIMERS: Final = ("connect", "association", "store", "find", "get", "move")
"""The timeouts that `timeout` sets if it is a number."""

_NAME: Final = re.compile(r"\w[\w.-]*")
_ACCEPTOR_ONLY: Final = ("idle", "admission")


def default_path() -> Path:
    """The configuration file: `dimse/config.toml` in the folder for configuration of the platform.

    That is `$XDG_CONFIG_HOME` or `~/.config`, also on macOS as for other commands, and `%APPDATA%` on Windows.
    """
    variable, folder = ("APPDATA", "AppData/Roaming") if sys.platform == "win32" else ("XDG_CONFIG_HOME", ".config")
    return Path(os.environ.get(variable) or Path.home() / folder, "dimse", "config.toml")


def configuration_path() -> Path:
    """The file that `Configuration.load` reads: `$DIMSE_CONFIG`, or `default_path`."""
    given = os.environ.get("DIMSE_CONFIG")
    return Path(given).expanduser() if given else default_path()


def check_name(name: str) -> str:
    """Return the name of a peer. Raises `ValueError` if it could be taken for an address or an option."""
    if _NAME.fullmatch(name) is None:
        raise ValueError(f"{name!r} is not a name for a peer; it must consist of letters, digits, _, . and -")
    return name


# Values, with the place of each for messages


class _RefusedError(ValueError):
    """An error that has its place already."""


@record()
class _Place:
    """A table of the file."""

    file: Path
    table: str

    def refuse(self, key: str, reason: object) -> NoReturn:
        raise _RefusedError(f"{self.file}: [{self.table}] {key}: {reason}") from None

    def table_in(self, key: str) -> _Place:
        return _Place(self.file, f"{self.table}.{key}")

    def path(self, text: str) -> str:
        """A path of the file, which is relative to the folder of the file."""
        return str(self.file.parent / Path(text).expanduser())


_TYPES: Final = {bool: "a boolean", int: "an integer", float: "a float", str: "a string", list: "an array"}


def _type(value: object) -> str:
    return _TYPES.get(type(value), "a table" if isinstance(value, dict) else "a date or a time")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"must be a string, not {_type(value)}")  # noqa: TRY004 - all are wrong values of a file
    return value


def _integer(least: int, most: int) -> Callable[[object], int]:
    def integer(value: object) -> int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"must be an integer, not {_type(value)}")  # noqa: TRY004
        if not least <= value <= most:
            raise ValueError(f"must be {least} to {most}, not {value}")
        return value

    return integer


def _one_of(members: Mapping[str, Any]) -> Callable[[object], Any]:
    def member(value: object) -> object:
        if (text := _text(value)) not in members:
            raise ValueError(f"must be one of {', '.join(members)}, not {text!r}")
        return members[text]

    return member


def _syntaxes(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise ValueError(f"must be an array of strings, not {_type(value)}")  # noqa: TRY004
    return tuple(transfer_syntax(_text(name)) for name in value)


def _timers(value: object, place: _Place) -> Mapping[str, float]:
    """A number for all, or a table of some."""
    if isinstance(value, dict):
        known = [timer.name for timer in fields(Timeouts) if timer.name not in _ACCEPTOR_ONLY]
        return _checked(value, dict.fromkeys(known, _seconds), place)
    return dict.fromkeys(_TIMERS, _seconds(value))


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"must be a number of seconds, not {_type(value)}")  # noqa: TRY004
    if not value > 0:
        raise ValueError(f"must be a positive number of seconds, not {value}")
    return value


def _tls(value: object, place: _Place) -> Mapping[str, Any] | None:
    """None without TLS."""
    if isinstance(value, bool):
        return {} if value else None
    if not isinstance(value, dict):
        raise ValueError(f"must be a boolean or a table, not {_type(value)}")  # noqa: TRY004
    found = _checked(value, _TLS_KEYS, place)
    for owned in ("key", "password-file"):
        if owned in found and "cert" not in found:
            place.refuse(owned, "needs cert")
    return found


def _identity(value: object, place: _Place) -> Mapping[str, str]:
    if not isinstance(value, dict):
        raise ValueError(f"must be a table, not {_type(value)}")  # noqa: TRY004
    found = _checked(value, _IDENTITY_KEYS, place)
    named = [key for key in found if key != "password-file"]
    if len(named) != 1:
        raise ValueError(f"must have one of {', '.join(key for key in _IDENTITY_KEYS if key != 'password-file')}")
    if "password-file" in found and "user" not in found:
        place.refuse("password-file", "needs user")
    return found


_TLS_KEYS: Final[Mapping[str, Callable[[object], Any]]] = {
    "ca": _text,
    "cert": _text,
    "key": _text,
    "password-file": _text,
    "crl": _text,
    "profile": _one_of({profile.value: profile for profile in TLSProfile}),
    "name": _text,
}
_IDENTITY_KEYS: Final = dict.fromkeys(("user", "password-file", "jwt-file", "saml-file", "kerberos-file"), _text)
_SIMPLE_KEYS: Final[Mapping[str, Callable[[object], Any]]] = {
    "calling": lambda value: check_ae_title(_text(value)),
    "strictness": _one_of({choice.value: choice for choice in Strictness}),
    "window": _integer(1, 0xFFFF),
    "associations": _integer(1, 100),
    "syntaxes": _syntaxes,
}
_TABLE_KEYS: Final[Mapping[str, Callable[[object, _Place], Any]]] = {
    "timeout": _timers,
    "tls": _tls,
    "identity": _identity,
}
_FIELDS: Final = {"calling": "calling_ae_title", "strictness": "strictness", "window": "operations_window"}
"""The fields of `ClientOptions` that simple keys set."""
KEYS: Final = (*_SIMPLE_KEYS, *_TABLE_KEYS)
"""The keys of `[defaults]` and of each peer, which has its `address`, too."""


def _checked(table: Mapping[str, Any], keys: Mapping[str, Callable[[object], Any]], place: _Place) -> dict[str, Any]:
    found = {}
    for key, value in table.items():
        if key not in keys:
            _refuse_unknown(place, key, keys)
        try:
            found[key] = keys[key](value)
        except _RefusedError:
            raise
        except ValueError as error:
            place.refuse(key, error)
    return found


def _settings(table: Mapping[str, Any], place: _Place) -> dict[str, Any]:
    """The values of `KEYS` in a table. Files are read when the options are made."""

    def nested(key: str) -> Callable[[object], Any]:
        def setting(value: object) -> Any:
            inner = place.table_in(key)
            return (inner, _TABLE_KEYS[key](value, inner))

        return setting

    return _checked(table, {**_SIMPLE_KEYS, **{key: nested(key) for key in _TABLE_KEYS}}, place)


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that was probably meant."""
    from difflib import get_close_matches  # only mistakes need it

    by_small_letters = {each.lower(): each for each in known}
    return next((by_small_letters[each] for each in get_close_matches(name.lower(), by_small_letters, 1)), None)


def _refuse_unknown(place: _Place, key: str, known: Iterable[str]) -> NoReturn:
    meant = nearest(key, known)
    hint = f"did you mean {meant}?" if meant is not None else f"known are {', '.join(known)}"
    place.refuse(key, f"this key is not known; {hint}")


# Peers


@record(kw_only=True)
class KnownPeer:
    """A peer of the configuration, or another with the defaults of the configuration."""

    name: str | None
    """Its name in the configuration; None for an address that has none."""
    address: Address
    """Its address."""
    _settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @property
    def options(self) -> ClientOptions:
        """The options for associations with it.

        Certificates and secrets are read now. Raises `ValueError` with the place in the configuration if a file cannot
        be used.
        """
        return self.options_over(ClientOptions())

    @property
    def entity(self) -> ApplicationEntity:
        """Its address and its `options`, as the whole jobs take them."""
        from dimse.network.application_entity import ApplicationEntity  # few commands need it

        return ApplicationEntity(self.address, self.options)

    @property
    def associations(self) -> int | None:
        """Associations that it takes at once; None if that is not configured."""
        found: int | None = self._settings.get("associations")
        return found

    @property
    def transfer_syntaxes(self) -> tuple[str, ...]:
        """UIDs of the only transfer syntaxes to propose when sending; empty if that is not configured."""
        found: tuple[str, ...] = self._settings.get("syntaxes", ())
        return found

    def options_over(self, built_in: ClientOptions) -> ClientOptions:
        """`options`, with `built_in` in place of the default ones."""
        changes = {name: self._settings[key] for key, name in _FIELDS.items() if key in self._settings}
        if "timeout" in self._settings:
            changes["timeouts"] = replace(built_in.timeouts, **self._settings["timeout"][1])
        if "identity" in self._settings:
            changes["user_identity"] = _make_identity(*self._settings["identity"])
        if "tls" in self._settings:
            place, values = self._settings["tls"]
            changes["tls"] = values if values is None else _make_tls(place, values)
            try:
                return replace(built_in, **changes)
            except ValueError as error:  # about the certificates: all else was checked before
                raise ValueError(f"{place.file}: [{place.table}]: {error}") from None
        return replace(built_in, **changes)


def _make_tls(place: _Place, values: Mapping[str, Any]) -> TLSOptions:
    paths = {key: place.path(values[key]) for key in ("ca", "cert", "key", "crl") if key in values}
    password = None
    if "password-file" in values:
        password = _password(place, values["password-file"]).decode("utf-8", "surrogateescape")
    return TLSOptions(
        ca=paths.get("ca"),
        certificate=paths.get("cert"),
        key=paths.get("key"),
        crl=paths.get("crl"),
        password=password,
        profile=values.get("profile", TLSProfile.BCP195),
        server_name=values.get("name"),
    )


def _make_identity(place: _Place, values: Mapping[str, str]) -> UserIdentityRQ:
    key = next(key for key in values if key != "password-file")
    try:
        if key == "user":
            if "password-file" not in values:
                return UserIdentityRQ.username(values[key])
            return UserIdentityRQ.username_and_passcode(values[key], _password(place, values["password-file"]))
        content = _secret(place, key, values[key])
        if key == "jwt-file":
            return UserIdentityRQ.jwt(content.rstrip())
        return UserIdentityRQ.saml(content) if key == "saml-file" else UserIdentityRQ.kerberos(content)
    except _RefusedError:
        raise
    except ValueError as error:
        place.refuse(key, error)


def _password(place: _Place, path: str) -> bytes:
    """A password without the line break of editors."""
    found = _secret(place, "password-file", path).removesuffix(b"\n").removesuffix(b"\r")
    return found or place.refuse("password-file", "the password must not be empty")


def _secret(place: _Place, key: str, path: str) -> bytes:
    try:
        with Path(place.path(path)).open("rb") as file:
            return file.read(MAXIMUM_IDENTITY + 1)
    except OSError as error:
        place.refuse(key, f"cannot read {place.path(path)}: {error.strerror}")


@record(kw_only=True)
class Configuration:
    """Peers by name, and the defaults for all peers.

    >>> Configuration().peer("ARCHIVE@pacs:104").address
    Address(ae_title='ARCHIVE', host='pacs', port=104)
    """

    path: Path | None = None
    """The file that it was read from."""
    peers: Mapping[str, KnownPeer] = field(default_factory=dict)
    """The peers by their names, in the order of the file."""
    _defaults: Mapping[str, Any] = field(default_factory=dict, repr=False)

    @classmethod
    def load(cls, path: str | os.PathLike[str] | None = None) -> Configuration:
        """Read the file, and check all of it. A key of a peer overrides the environment, and that `[defaults]`.

        Without `path` it is `$DIMSE_CONFIG`, or else the file of the platform, such as `~/.config/dimse/config.toml`,
        which need not exist. `$DIMSE_CALLING` is the calling AE title. Raises `ValueError` with the file, the table,
        the key and the reason.
        """
        file = configuration_path() if path is None else Path(path).expanduser()
        content = _read(file, is_given=path is not None or file != default_path())
        place = _Place(file, "")
        for name, table in content.items():
            if name not in ("defaults", "peers") or not isinstance(table, dict):
                raise ValueError(f"{file}: {name}: must be in the table [defaults] or [peers.NAME]")
        defaults = _settings(content.get("defaults", {}), replace(place, table="defaults")) | _environment()
        peers = {
            name: _peer(name, table, defaults, replace(place, table=f"peers.{name}"))
            for name, table in content.get("peers", {}).items()
        }
        return cls(path=file if content else None, peers=MappingProxyType(peers), _defaults=MappingProxyType(defaults))

    def peer(self, text: str) -> KnownPeer:
        """The peer with this name, or at this address, which may begin with `dicom://` or with `dicoms://` for TLS.

        A known name wins over a host of that name, which is written `@host`. Raises `ValueError`.
        """
        known = self.peers.get(text)
        if known is not None:
            return known
        is_bare = _NAME.fullmatch(text) is not None
        if is_bare and (meant := nearest(text, self.peers)) is not None:
            raise ValueError(f"{text!r} is not a peer of {self.path}; did you mean {meant}? (the host is @{text})")
        address, with_tls = parse_with_tls(text.removeprefix("@") if text.rfind("@") == 0 else text)
        return KnownPeer(
            name=None, address=address, _settings=_with_tls(self._defaults) if with_tls else self._defaults
        )


def _read(file: Path, *, is_given: bool) -> dict[str, Any]:
    try:
        content = file.read_bytes()
    except OSError as error:
        if isinstance(error, FileNotFoundError | NotADirectoryError) and not is_given:
            return {}
        raise ValueError(f"{file}: {error.strerror}") from None
    import tomllib  # only those who have a file need it

    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{file}: is not TOML: {error}") from None


def _environment() -> dict[str, Any]:
    calling = os.environ.get("DIMSE_CALLING")
    try:
        return {"calling": check_ae_title(calling)} if calling else {}
    except ValueError as error:
        raise ValueError(f"DIMSE_CALLING: {error}") from None


def _peer(name: str, table: object, defaults: Mapping[str, Any], place: _Place) -> KnownPeer:
    try:
        check_name(name)
        if not isinstance(table, dict):
            raise ValueError(f"must be a table, not {_type(table)}")  # noqa: TRY004, TRY301
    except ValueError as error:
        raise ValueError(f"{place.file}: [{place.table}]: {error}") from None
    others = {key: value for key, value in table.items() if key != "address"}
    unknown = next((key for key in others if key not in KEYS), None)
    if unknown is not None:
        _refuse_unknown(place, unknown, ("address", *KEYS))
    settings = {**defaults, **_settings(others, place)}
    try:
        if "address" not in table:
            raise ValueError("is missing; write it TITLE@host:port")  # noqa: TRY301
        address, with_tls = parse_with_tls(_text(table["address"]))
    except ValueError as error:
        place.refuse("address", error)
    return KnownPeer(name=name, address=address, _settings=_with_tls(settings) if with_tls else settings)


def _with_tls(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """The same for an address that begins with `dicoms://`."""
    place, values = settings.get("tls", (_Place(Path(), ""), None))
    return {**settings, "tls": (place, values or {})}
