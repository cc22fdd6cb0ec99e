"""TLS 1.3 for the pairs that are measured with it, with the certificate and key in certificate.pem."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

PEM: Final = Path(__file__).with_name("certificate.pem")


def server_context() -> ssl.SSLContext:
    """The context of the listening side."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.load_cert_chain(PEM)
    return context


def client_context() -> ssl.SSLContext:
    """The context of the sending side: it checks the server's certificate, and its name."""
    context = ssl.create_default_context(cafile=str(PEM))
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    return context
