"""TLS: certificates and profiles (PS3.15 Annex B), as contexts of `ssl`."""

from __future__ import annotations

import logging
import os
import ssl
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass, field
from enum import Enum
from typing import Final, TypeAlias

_FilePath: TypeAlias = str | os.PathLike[str]

logger = logging.getLogger("dimse.network")

# The rules
# ---------
# 1. TLS 1.2 and 1.3 only; cipher suites with AEAD and ephemeral elliptic curves only; security level 2 of OpenSSL, so
#    RSA keys of 2048 bits and no SHA-1. Nothing can change that, and nothing falls back to less.
# 2. A client always verifies the server's certificate and name. A server with a CA requires a certificate.
# 3. No sessions are resumed: each handshake verifies the certificates, so one that was revoked counts from then on.
# 4. A context is made from the files when one of them has changed, and never changed afterwards: what a file no longer
#    has, such as a CA, does not stay. If the files cannot be used, the last context stays.

_RECOMMENDED: Final = (
    "ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256"
)
_FURTHER: Final = (
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:ECDHE-ECDSA-AES256-CCM:ECDHE-ECDSA-AES128-CCM:"
    "ECDHE-ECDSA-AES256-CCM8:ECDHE-ECDSA-AES128-CCM8"
)
_SECURITY_LEVEL: Final = ":@SECLEVEL=2"


class TLSProfile(Enum):
    """A Secure Transport Connection Profile of PS3.15 Annex B.

    All are TLS 1.2 and 1.3. They differ in the cipher suites of TLS 1.2; those of TLS 1.3 are OpenSSL's.
    """

    BCP195 = "bcp195"
    """BCP 195 RFC 8996, 9325 (B.12): the cipher suites that RFC 9325 4.2 recommends."""
    BCP195_MODIFIED = "bcp195-modified"
    """Modified BCP 195 RFC 8996, 9325 (B.13): these, and those with ChaCha20-Poly1305 and AES-CCM."""
    BCP195_ND = "bcp195-nd"
    """Non-Downgrading BCP 195 (B.10, retired): the same suites as `BCP195`, which never downgrades either."""

    @property
    def ciphers(self) -> str:
        """The cipher suites of TLS 1.2, as OpenSSL names them."""
        return f"{_RECOMMENDED}:{_FURTHER}" if self is TLSProfile.BCP195_MODIFIED else _RECOMMENDED


@dataclass(frozen=True, slots=True, kw_only=True)
class TLSOptions:
    """TLS of a requestor or an acceptor: PEM files, and the profile (PS3.15 Annex B).

    Files that change are read again at the next handshake. If they cannot be used then, the former ones stay in use,
    and an error is logged. Options that have a `TLSOptions` read the files when they are made, and raise `ValueError`
    for those that cannot be used.

    :param ca: The certificates that the peer's must be issued by, or be one of. A requestor without them trusts the
        CAs of the system. An acceptor with them requires a certificate of each peer; without them it asks for none,
        and any peer may connect.
    :param certificate: Our certificate, followed by those of intermediate CAs. An acceptor must have one.
    :param key: The private key of our certificate; None if it is in the same file.
    :param password: The password of the private key, if it is encrypted.
    :param profile: Which cipher suites to use.
    :param crl: Certificate revocation lists: one of each CA in the peer's chain, or the peer is refused.
    :param server_name: The name that the acceptor's certificate must have, if it is not the host of the address;
        requestors only.

    >>> ClientOptions(tls=TLSOptions(ca="ca.pem", certificate="me.pem", key="me.key"))  # doctest: +SKIP
    """

    ca: str | os.PathLike[str] | None = None
    certificate: str | os.PathLike[str] | None = None
    key: str | os.PathLike[str] | None = None
    password: str | None = field(default=None, repr=False)
    profile: TLSProfile = TLSProfile.BCP195
    crl: str | os.PathLike[str] | None = None
    server_name: str | None = None
    _contexts: dict[bool, _Loaded] = field(init=False, repr=False, compare=False, default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("ca", "certificate", "key", "crl"):
            value = getattr(self, name)
            if value is not None:
                if not isinstance(value, str | os.PathLike):
                    raise TypeError(f"{name} must be a path or None, not {type(value).__name__}")
                object.__setattr__(self, name, os.fspath(value))
        if not isinstance(self.profile, TLSProfile):
            raise TypeError(f"profile must be a TLSProfile, not {type(self.profile).__name__}")
        for name in ("password", "server_name"):
            value = getattr(self, name)
            if value is not None and not isinstance(value, str):
                raise TypeError(f"{name} must be a str or None, not {type(value).__name__}")
        if self.certificate is None and (self.key is not None or self.password is not None):
            raise ValueError("a key needs the certificate that it belongs to")

    def context(self, *, server_side: bool) -> ssl.SSLContext:
        """The context of an acceptor (`server_side`) or a requestor, made from the files as they are now.

        Raises `ValueError` if they could never be used.
        """
        stamp = tuple(map(_stamp, (self.ca, self.certificate, self.key, self.crl)))
        loaded = self._contexts.get(server_side)
        if loaded is not None and loaded.stamp == stamp:
            return loaded.context
        try:
            context = self._load(server_side)
        except ValueError as error:
            if loaded is None:
                raise
            logger.error("TLS: %s; the former files stay in use", error)  # noqa: TRY400 - the message says it all
            context = loaded.context
        else:
            if loaded is not None:
                logger.info("TLS: the files have changed and are in use from now on")
        self._contexts[server_side] = _Loaded(context, stamp)
        return context

    def context_without_name_check(self) -> ssl.SSLContext:
        """A context of a requestor that wants to know the acceptor's names, and sends nothing."""
        context = self._load(server_side=False)
        context.check_hostname = False
        return context

    def _load(self, server_side: bool) -> ssl.SSLContext:
        if server_side and self.certificate is None:
            raise ValueError("an acceptor needs a certificate and its key for TLS")
        context = _Context(ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(self.profile.ciphers + _SECURITY_LEVEL)
        context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_TICKET
        context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
        if server_side:
            context.num_tickets = 0
        if self.ca is not None:
            _trust(context, self.ca)
            context.verify_mode = ssl.CERT_REQUIRED
        elif not server_side:
            context.load_default_certs()
        if self.certificate is not None:
            _load_key(context, self.certificate, self.key, self.password)
        if self.crl is not None:
            if context.verify_mode is not ssl.CERT_REQUIRED:
                raise ValueError("an acceptor with revocation lists needs a CA, or it asks for no certificate")
            _load_crls(context, self.crl)
        return context


def context_of(tls: TLSOptions | ssl.SSLContext, *, server_side: bool) -> ssl.SSLContext:
    """The context for the next handshake."""
    return tls.context(server_side=server_side) if isinstance(tls, TLSOptions) else tls


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A context, and what the files were like when it was made."""

    context: ssl.SSLContext
    stamp: tuple[object, ...]


def _stamp(path: _FilePath | None) -> object:
    """What differs when the file has been changed or replaced."""
    try:
        status = os.stat(path) if path is not None else None  # noqa: PTH116 - at each handshake
    except OSError:
        return "missing"
    return status and (status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev)


def _trust(context: ssl.SSLContext, ca: _FilePath) -> None:
    _check_readable(ca)
    try:
        context.load_verify_locations(ca)
    except (ssl.SSLError, OSError):
        raise ValueError(f"{ca} has no certificate in PEM, or a damaged one") from None


def _load_crls(context: ssl.SSLContext, crl: _FilePath) -> None:
    _check_readable(crl)
    if _has_block(crl, b"CERTIFICATE"):  # it would be trusted
        raise ValueError(f"{crl} must have certificate revocation lists only, and has a certificate")
    try:
        context.load_verify_locations(crl)
    except (ssl.SSLError, OSError):
        raise ValueError(f"{crl} has no certificate revocation list in PEM, or a damaged one") from None
    context.verify_flags |= ssl.VERIFY_CRL_CHECK_CHAIN


class _PasswordNeeded(Exception):
    """OpenSSL asks for a password, which it would else ask for on the terminal."""


def _load_key(
    context: ssl.SSLContext,
    certificate: _FilePath,
    key: _FilePath | None,
    password: str | None,
) -> None:
    for path in (certificate, key):
        if path is not None:
            _check_readable(path)
    key = certificate if key is None else key

    def answer() -> bytes:
        if password is None:
            raise _PasswordNeeded
        return password.encode("utf-8", "surrogateescape")  # an error of `ssl` would quote it

    try:
        context.load_cert_chain(certificate, key, answer)
    except _PasswordNeeded:
        raise ValueError(f"{key} is encrypted; its password is needed") from None
    except ssl.SSLError as error:
        raise ValueError(_key_problem(error, certificate, key, password)) from None
    except (OSError, ValueError) as error:
        raise ValueError(f"{key} cannot be used: {error}") from None


def _key_problem(error: ssl.SSLError, certificate: _FilePath, key: _FilePath, password: str | None) -> str:
    """Why OpenSSL does not take a certificate and its key."""
    reason = error.reason or ""
    if "MISMATCH" in reason:
        return f"the key in {key} does not belong to the first certificate in {certificate}"
    if "TOO_SMALL" in reason or "TOO_WEAK" in reason:
        return f"the certificate in {certificate} is too weak: {reason.replace('_', ' ').lower()}"
    if not _has_block(certificate, b"CERTIFICATE"):
        return f"{certificate} has no certificate in PEM"
    if not _has_block(key, b"PRIVATE KEY"):
        return f"{key} has no private key in PEM"
    if password is not None and b"ENCRYPTED" in _content(key):
        return f"{key} cannot be decrypted with this password"
    return f"{certificate} or {key} is damaged"


def _content(path: _FilePath) -> bytes:
    with open(path, "rb") as file:  # noqa: PTH123 - it may be any path
        return file.read()


def _has_block(path: _FilePath, kind: bytes) -> bool:
    return kind + b"-----" in _content(path)


def _check_readable(path: _FilePath) -> None:
    """Raise `ValueError` with the path, which `ssl` leaves out."""
    try:
        with open(path, "rb"):  # noqa: PTH123 - it may be any path
            pass
    except OSError as error:
        raise ValueError(f"cannot read {path}: {error.strerror or error}") from None


# The alert of a failed handshake
# -------------------------------
# asyncio and uvloop drop the alert that OpenSSL has prepared for the peer, which then sees a closed connection, and not
# why. So the contexts made here make objects that pass the alert on before the failure is reported.

on_alert: Final[ContextVar[Callable[[bytes], None] | None]] = ContextVar("on_alert", default=None)
"""Takes the bytes of the alert of a handshake that begins where this is set, or takes its first bytes there."""


class _Negotiation(ssl.SSLObject):
    outgoing: ssl.MemoryBIO
    send_alert: Callable[[bytes], None] | None = None

    def do_handshake(self) -> None:
        self.send_alert = self.send_alert or on_alert.get()
        try:
            super().do_handshake()
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError:
            if self.send_alert is not None:
                self.send_alert(self.outgoing.read())
            raise
        self.send_alert = None  # it holds the handshake, with the first bytes


class _Context(ssl.SSLContext):
    sslobject_class = _Negotiation

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        made = super().wrap_bio(incoming, outgoing, server_side, server_hostname, session)
        assert isinstance(made, _Negotiation)  # noqa: S101 - see above
        made.outgoing = outgoing
        return made
