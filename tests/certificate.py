"""A certificate for localhost and its key, and contexts with them."""

from __future__ import annotations

import ssl
from pathlib import Path
from typing import Final

# Made for these tests, for localhost, with openssl. It protects nothing.
CERTIFICATE: Final = """\
-----BEGIN CERTIFICATE-----
MIIBqzCCAVGgAwIBAgIUK3b55tOyKLPFx01ELD0UoAqiS5gwCgYIKoZIzj0EAwIw
FDESMBAGA1UEAwwJbG9jYWxob3N0MCAXDTI2MTEyMjIzNTk0NloYDzIxMjYxMDI5
MjM1OTQ2WjAUMRIwEAYDVQQDDAlsb2NhbGhvc3QwWTATBgcqhkjOPQIBBggqhkjO
PQMBBwNCAAT1fNHuVJtGfLNpIsZxinnekVxAoejEeyDkKC3nOkX+zXeNru1yX1Ee
6G+ZTtkEpn9xa2A3kNV8EsfD2fU6Dn7po38wfTAdBgNVHQ4EFgQUPLQTpzBQGlZI
XbIs1cTgj+WQK0QwHwYDVR0jBBgwFoAUPLQTpzBQGlZIXbIs1cTgj+WQK0QwDwYD
VR0TAQH/BAUwAwEB/zAaBgNVHREEEzARgglsb2NhbGhvc3SHBH8AAAEwDgYDVR0P
AQH/BAQDAgKEMAoGCCqGSM49BAMCA0gAMEUCIHIfOHsK6fTsbzYLOJxzK1bHq5au
ewjXT/o3p15MCyKYAiEAlTbXygewlK3SFHX7etTk6ACWs8i9JK0kQ9P46V2OKr8=
-----END CERTIFICATE-----
"""
KEY: Final = """\
-----BEGIN PRIVATE KEY-----
MIGHAgEAMBMGByqGSM49AgEGCCqGSM49AwEHBG0wawIBAQQghN2QiTkqNpmlUBKq
VcXaSQASUTe1vhRa/5s7JsAOINChRANCAAT1fNHuVJtGfLNpIsZxinnekVxAoejE
eyDkKC3nOkX+zXeNru1yX1Ee6G+ZTtkEpn9xa2A3kNV8EsfD2fU6Dn7p
-----END PRIVATE KEY-----
"""


def contexts_in(folder: Path) -> tuple[ssl.SSLContext, ssl.SSLContext]:
    """The context of a server with this certificate, and that of a client that trusts it; the files are in `folder`."""
    (folder / "cert.pem").write_text(CERTIFICATE)
    (folder / "key.pem").write_text(KEY)
    server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    server.load_cert_chain(folder / "cert.pem", folder / "key.pem")
    return server, ssl.create_default_context(cafile=folder / "cert.pem")
