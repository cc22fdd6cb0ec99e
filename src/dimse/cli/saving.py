"""Writes a peer that `dimse explain` has talked to into the configuration file."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from ssl import SSLContext
from typing import Any, Final

from dimse.address import Address
from dimse.cli import arguments
from dimse.cli.parser import UsageError
from dimse.cli.secrets import PROMPT
from dimse.configuration import check_name, configuration_path
from dimse.options import ClientOptions, Strictness
from dimse.services.explanation import ExplainStepName, Explanation
from dimse.tls import TLSOptions, TLSProfile

Table = dict[str, Any]

_IDENTITY: Final = ("user", "password_file", "jwt_file", "saml_file", "kerberos_file")


def check(name: str) -> str:
    """Return a name that no peer has yet. Raises `ValueError`, or `UsageError` for a wrong configuration."""
    if check_name(name) in arguments.configuration().peers:
        raise ValueError(f"{configuration_path()} has a peer {name} already; edit it there, or choose another name")
    return name


def save(name: str, explanation: Explanation, options: ClientOptions, given: Mapping[str, Any]) -> Path | None:
    """Append a table for the peer to the configuration file, and return its path; None if no titles were accepted.

    It has what was found out, and what the options say; the names of the files with secrets are in `given`, the
    arguments of the command. All else in the file stays as it is.
    """
    tried = explanation[ExplainStepName.TITLES].facts.get("tried", ())
    accepted = next((each for each in tried if each["accepted"]), None)
    if accepted is None:
        return None
    found = Address(accepted["called"], explanation.address.host, explanation.address.port)
    table = {"address": str(found), "calling": accepted["calling"], **_quirks(explanation, options)}
    tls, identity = _tls(options.tls, given.get("tls_password_file")), _table(_IDENTITY, given)
    table |= ({} if tls is None else {"tls": tls or True}) | ({"identity": identity} if identity else {})
    with arguments.usage():
        check(name)  # another command may have saved it by now
    return _append(_as_toml(name, table))


def _append(text: str) -> Path:
    path = configuration_path()
    before = path.read_bytes() if path.exists() else b""
    separator = b"" if not before else b"\n" if before.endswith(b"\n") else b"\n\n"
    added = separator + text.encode()
    try:
        tomllib.loads((before + added).decode("utf-8-sig"))
    except ValueError:
        raise UsageError(f"{path}: its peers must be tables, such as [peers.pacs1], to add one") from None
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as file:
        file.write(added)
    return path


def _quirks(explanation: Explanation, options: ClientOptions) -> Table:
    quirks: Table = {}
    if options.strictness is Strictness.LENIENT or explanation[ExplainStepName.ANSWER].facts.get("violations"):
        quirks["strictness"] = Strictness.LENIENT.value
    parallel = explanation[ExplainStepName.PARALLEL].facts
    if parallel.get("opened") and parallel["opened"] < parallel["tried"]:
        quirks["associations"] = parallel["opened"]
    return quirks


def _tls(tls: TLSOptions | SSLContext | None, password_file: str | None) -> Table | None:
    """What differs from the defaults; None without TLS."""
    if not isinstance(tls, TLSOptions):
        return None
    paths = {"ca": tls.ca, "cert": tls.certificate, "key": tls.key, "crl": tls.crl, "password-file": password_file}
    table = _table(paths, paths)
    if tls.profile is not TLSProfile.BCP195:
        table["profile"] = tls.profile.value
    if tls.server_name is not None:
        table["name"] = tls.server_name
    return table


def _table(names: Iterable[str], values: Mapping[str, Any]) -> Table:
    """What is given: paths in full, and no password that is entered."""
    found = {name.replace("_", "-"): values[name] for name in names if values.get(name) not in (None, PROMPT)}
    return {key: value if key == "user" else str(Path(value).absolute()) for key, value in found.items()}


def _as_toml(name: str, table: Table) -> str:
    lines = [f"[peers.{_toml(name) if '.' in name or not name.isascii() else name}]"]
    lines += [f"{key} = {_toml(value)}" for key, value in table.items()]
    return "\n".join(lines) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{key} = {_toml(each)}" for key, each in value.items()) + " }"
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")  # alike but for this character
