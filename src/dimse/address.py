"""The address of an application entity: its AE title, host and port."""

from __future__ import annotations

import re
from typing import Final

from dimse.records import record

DEFAULT_PORT: Final = 11112
"""The port registered for DICOM (PS3.8 9.1.1)."""

DEFAULT_TLS_PORT: Final = 2762
"""The port registered for DICOM with TLS (PS3.15 B.12)."""

_ADDRESS = re.compile(r"(?:(?P<title>.*)@)?(?P<host>\[[\w.:%-]+\]|[\w.-]+)(?::(?P<port>\d+))?")


def check_ae_title(title: str) -> str:
    """Return `title` without insignificant spaces (PS3.5 6.2, AE). Raises `ValueError` if it is not an AE title."""
    if not isinstance(title, str):
        raise TypeError(f"an AE title must be a str, not {type(title).__name__}")
    stripped = title.strip(" ")
    if not stripped or len(stripped) > 16 or not stripped.isascii() or not stripped.isprintable() or "\\" in stripped:
        shown = repr(title).replace("\\\\", "\\")
        raise ValueError(f"{shown} is not an AE title: 1 to 16 printable ASCII characters, no backslash")
    return stripped


def host_and_port(host: str, port: int) -> str:
    """Format as `host:port`, with an IPv6 address in brackets (RFC 3986 3.2.2).

    >>> host_and_port("::1", 104)
    '[::1]:104'
    """
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


@record()
class Address:
    """The address of an application entity: its AE title, host and port."""

    ae_title: str
    host: str
    port: int = DEFAULT_PORT

    def __post_init__(self) -> None:
        object.__setattr__(self, "ae_title", check_ae_title(self.ae_title))
        if not 0 < self.port < 65536:
            raise ValueError(f"port must be 1 to 65535, not {self.port}")

    @classmethod
    def parse(cls, text: str | Address) -> Address:
        """Parse `TITLE@host:port` or `dicom://TITLE@host:port`. The default port is 11112, the default title `ANY-SCP`.

        An AE title may contain an `@`: the last one separates it from the host.

        >>> Address.parse("ARCHIVE@pacs:104")
        Address(ae_title='ARCHIVE', host='pacs', port=104)
        """
        if isinstance(text, Address):
            return text
        if not isinstance(text, str):
            raise TypeError(f"an address must be a str or an Address, not {type(text).__name__}")
        address, with_tls = parse_with_tls(text)
        if with_tls:
            raise ValueError(f"{text!r} asks for TLS: write {address}, and give the options `tls`")
        return address

    def __str__(self) -> str:
        return f"{self.ae_title}@{host_and_port(self.host, self.port)}"


_SCHEMES: Final = {"dicom": DEFAULT_PORT, "dicoms": DEFAULT_TLS_PORT}


def parse_with_tls(text: str) -> tuple[Address, bool]:
    """Parse an address that may begin with `dicom://` or `dicoms://`. Returns also whether that asks for TLS.

    >>> parse_with_tls("dicoms://ARCHIVE@pacs")
    (Address(ae_title='ARCHIVE', host='pacs', port=2762), True)
    """
    scheme, separator, rest = text.partition("://")
    scheme = scheme.lower() if separator else "dicom"
    if scheme not in _SCHEMES:
        raise ValueError(f"{text!r} begins with {scheme}://; it must be dicom:// or dicoms://")
    match = _ADDRESS.fullmatch(rest.removesuffix("/") if separator else text)
    if match is None:
        raise ValueError(f"{text!r} is not an address; write it TITLE@host:port, such as ARCHIVE@localhost:11112")
    title = "ANY-SCP" if match["title"] is None else match["title"]
    return Address(title, match["host"].strip("[]"), int(match["port"] or _SCHEMES[scheme])), scheme == "dicoms"
