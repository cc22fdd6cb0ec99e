"""What answers on a port instead of DICOM, by its first bytes."""

from __future__ import annotations

from typing import Final

_PREFIXES: Final = (
    (b"HTTP/", "an HTTP server"),
    (b"SSH-", "an SSH server"),
    (b"RFB ", "a VNC server"),
    (b"+OK", "a POP3 server"),
    (b"* OK", "an IMAP server"),
    (b"-ERR", "a Redis or POP3 server"),
    (b"\x15\x03", "a TLS server"),
    (b"\x16\x03", "a TLS server"),
    (b"\x03\x00\x00", "a remote desktop (RDP) server"),
    (b"\x0bMSH|", "an HL7 server"),
    (b"MSH|", "an HL7 server"),
    (b"\xff\xfb", "a Telnet server"),
    (b"\xff\xfc", "a Telnet server"),
    (b"\xff\xfd", "a Telnet server"),
    (b"\xff\xfe", "a Telnet server"),
    (b"\xffSMB", "a Windows file server (SMB)"),
    (b"\xfeSMB", "a Windows file server (SMB)"),
)

_WORDS: Final = (
    (b"<html", "an HTTP server"),
    (b"<!doctype html", "an HTTP server"),
    (b"smtp", "a mail server (SMTP)"),
    (b"ftp", "an FTP server"),
    (b"postgres", "a PostgreSQL server"),
    (b"invalid length of startup packet", "a PostgreSQL server"),
    (b"mysql", "a MySQL or MariaDB server"),
    (b"mariadb", "a MySQL or MariaDB server"),
)
"""Words in the first bytes, in lower case. They are looked for only where no prefix fits."""


def is_tls(data: bytes) -> bool:
    """Whether `data` are the first bytes of a TLS record: an alert or a handshake."""
    return data[:2] in (b"\x15\x03", b"\x16\x03")


def speaker_of(data: bytes) -> str:
    """The kind of server that sends `data`, its first bytes, with an article: for instance "an SSH server"."""
    for prefix, name in _PREFIXES:
        if data.startswith(prefix):
            return name
    lower = data.lower()
    for word, name in _WORDS:
        if word in lower:
            return name
    if data[4:5] == b"\x0a" and data[3:4] == b"\x00":  # a packet header, and protocol version 10
        return "a MySQL or MariaDB server"
    return "something that is not DICOM"
