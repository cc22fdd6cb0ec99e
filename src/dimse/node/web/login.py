"""Who may use the page: the gate before each request. An ASGI middleware.

1. Without a login, only a loopback address is served (`WebOptions` refuses others), and the request must be for a
   loopback host: else a foreign site could reach it through a name that it points to this machine. Certificates of
   clients are looked at before this, by TLS.
2. With a password or a token, a request has the password of the user "dimse" (HTTP Basic, RFC 7617) or the token
   (Bearer, RFC 6750). Both are compared in constant time. A host, or network of IPv6, with `MAX_FAILURES` wrong ones
   in `FAILURE_TIME` seconds is answered 429.
3. A browser says where a request comes from (Sec-Fetch-Site, Origin). Other sites may only link to the page.
4. A POST has JSON, which no form of another site can send. Bodies have a limit.
5. `/healthz` and `/readyz` are open to all who can connect: they say nothing about what is stored.
6. Each response has headers that keep browsers from guessing types, framing the page, and keeping what it shows.
"""

from __future__ import annotations

import base64
import hmac
import time
from collections import OrderedDict
from typing import Final
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dimse.network.arrivals import holder
from dimse.node.options import WebOptions, is_loopback

USER: Final = "dimse"
"""The user of the password."""
MAX_FAILURES: Final = 10
"""Wrong passwords or tokens from one host, in `FAILURE_TIME` seconds."""
FAILURE_TIME: Final = 60.0
MAX_HOSTS: Final = 1000
"""Hosts whose wrong passwords are counted."""
MAX_BODY: Final = 64 * 1024
"""Bytes of the body of a request."""

OPEN_PATHS: Final = frozenset(("/healthz", "/readyz"))
_SECURITY: Final = {
    "Content-Security-Policy": "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}


class Gate:
    """Lets in those who may use `app`."""

    def __init__(self, app: ASGIApp, options: WebOptions) -> None:
        self._app = app
        self._has_login = options.has_login
        self._password = options.password and f"{USER}:{options.password}".encode()
        self._token = options.token and options.token.encode()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """By host: the number of wrong ones, and when they began."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        refusal = self._refusal(scope, Headers(scope=scope))

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_SECURITY)
            await send(message)

        await (refusal or self._app)(scope, receive, send_safely)

    def _refusal(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        if scope["path"] in OPEN_PATHS:
            return None
        return self._who(scope, headers) or _where_from(scope, headers) or _what(scope, headers)

    def _who(self, scope: Scope, headers: Headers) -> JSONResponse | None:
        """Why this client may not come in."""
        if not self._password and not self._token:
            if self._has_login or is_loopback(_hostname(headers.get("host", ""))):
                return None
            return refused(421, "this page answers to localhost alone; set a password or a token to use other names")
        client = holder(scope["client"][0]) if scope.get("client") else ""
        failures, began = self._failures.get(client, (0, 0.0))
        now = time.monotonic()
        if now - began >= FAILURE_TIME:
            failures, began = 0, now
        if failures >= MAX_FAILURES:
            return refused(429, "too many wrong passwords; wait a minute", {"Retry-After": f"{FAILURE_TIME:.0f}"})
        given = headers.get("authorization", "")
        if self._is_right(given):
            self._failures.pop(client, None)
            return None
        if given:
            self._failures[client] = (failures + 1, began)
            self._failures.move_to_end(client)
            if len(self._failures) > MAX_HOSTS:
                self._failures.popitem(last=False)
        schemes = 'Basic realm="dimse", charset="UTF-8"' if self._password else 'Bearer realm="dimse"'
        return refused(401, "a password or a token is needed", {"WWW-Authenticate": schemes})

    def _is_right(self, given: str) -> bool:
        scheme, _, credentials = given.partition(" ")
        if scheme.lower() == "bearer" and self._token:
            return hmac.compare_digest(credentials.strip().encode(), self._token)
        if scheme.lower() == "basic" and self._password:
            try:
                decoded = base64.b64decode(credentials, validate=True)
            except ValueError:  # also for what is not ASCII
                return False
            return hmac.compare_digest(decoded, self._password)
        return False


def _where_from(scope: Scope, headers: Headers) -> JSONResponse | None:
    """Why a request from this site is not taken."""
    site, origin = headers.get("sec-fetch-site", "same-origin"), headers.get("origin")
    is_link = headers.get("sec-fetch-mode") == "navigate" and scope["method"] == "GET" and scope["path"] == "/"
    if site not in ("same-origin", "none") and not is_link:
        return refused(403, "other sites may not use this page")
    if origin is not None and origin.partition("://")[2] != headers.get("host"):
        return refused(403, "other sites may not use this page")
    return None


def _what(scope: Scope, headers: Headers) -> JSONResponse | None:
    """Why such a request is not taken."""
    if scope["method"] != "POST":
        return None
    if headers.get("content-type", "").partition(";")[0].strip() != "application/json":
        return refused(415, "the body must be application/json")
    length = headers.get("content-length", "")
    if not length.isdecimal():
        return refused(411, "Content-Length is needed")
    return refused(413, f"the body must have at most {MAX_BODY} bytes") if int(length) > MAX_BODY else None


def refused(status: int, problem: str, headers: dict[str, str] | None = None) -> JSONResponse:
    """An answer that says why there is no other."""
    return JSONResponse({"problem": problem}, status, headers)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""
