"""Who may use the page."""

from __future__ import annotations

import base64
import logging
import ssl
import urllib.error
import urllib.request
from asyncio import to_thread
from collections.abc import Mapping
from pathlib import Path

import pytest
from starlette.responses import JSONResponse
from starlette.types import Message
from tests.certificate import CERTIFICATE, KEY
from tests.node.web.archive import ask, serving

from dimse.node.index import Index
from dimse.node.options import WebOptions
from dimse.node.web.login import MAX_FAILURES, Gate

PASSWORD = WebOptions(port=0, password="pass wörd:x")  # noqa: S106 - of a test
NOT_BASE64 = [{"Authorization": "Basic %"}, {"Authorization": "Basic é"}]
TOKEN = WebOptions(port=0, token="a.b-c")  # noqa: S106 - of a test


def basic(password: str, user: str = "dimse") -> dict[str, str]:
    return {"Authorization": f"Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}"}


async def test_without_a_login_it_answers_to_loopback_names_alone(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        for host in (f"localhost:{web.port}", "127.0.0.1:9999", "[::1]:80", "localhost"):
            assert (await ask(web, "/api/node", headers={"Host": host})).status == 200, host
        for host in ("evil.example", f"evil.example:{web.port}", "localhost.evil.example", "[::", ""):
            answer = await ask(web, "/api/node", headers={"Host": host})
            assert answer.status in (400, 421), host
            assert "localhost" in answer.json["problem"]


@pytest.mark.parametrize(
    ("options", "right", "wrong"),
    [
        (PASSWORD, basic("pass wörd:x"), [basic("pass"), basic("pass wörd:x", "root"), *NOT_BASE64]),
        (TOKEN, {"Authorization": "bearer a.b-c"}, [{"Authorization": "Bearer a.b-d"}, basic("a.b-c"), {}]),
    ],
    ids=["password", "token"],
)
async def test_with_a_login_it_takes_that_alone(
    options: WebOptions, right: Mapping[str, str], wrong: list[Mapping[str, str]], sqlite_index: Index, tmp_path: Path
) -> None:
    async with serving(sqlite_index, tmp_path, options) as web:
        for headers in ({}, *wrong):
            for path in ("/", "/api/node", "/metrics", "/page.js")[:: 1 if not headers else 2]:
                answer = await ask(web, path, headers=headers)
                assert answer.status == 401
                assert answer.headers["www-authenticate"]
        assert (await ask(web, "/healthz")).status == 200
        assert (await ask(web, "/readyz")).status == 200


async def test_the_right_login_is_let_in_under_any_name(sqlite_index: Index, tmp_path: Path) -> None:
    for options, headers in ((PASSWORD, basic("pass wörd:x")), (TOKEN, {"Authorization": "Bearer a.b-c"})):
        async with serving(sqlite_index, tmp_path, options) as web:
            assert (await ask(web, "/api/node", headers={**headers, "Host": "archive.example"})).status == 200


async def test_who_guesses_is_stopped_even_with_the_right_one(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path, PASSWORD) as web:
        for number in range(MAX_FAILURES):
            assert (await ask(web, "/api/node", headers=basic(f"guess{number}"))).status == 401
        answer = await ask(web, "/api/node", headers=basic("pass wörd:x"))
        assert (answer.status, answer.headers["retry-after"]) == (429, "60")


async def test_a_right_login_forgets_the_wrong_ones(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path, PASSWORD) as web:
        for _ in range(2):
            for number in range(MAX_FAILURES - 1):
                assert (await ask(web, "/api/node", headers=basic(f"guess{number}"))).status == 401
            assert (await ask(web, "/api/node", headers=basic("pass wörd:x"))).status == 200


async def test_other_sites_may_only_link_to_the_page(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"}
        assert (await ask(web, "/", headers=link)).status == 200
        own = {"Sec-Fetch-Site": "same-origin", "Origin": f"http://127.0.0.1:{web.port}"}
        assert (await ask(web, "/api/search", {}, headers=own)).status == 200
        for foreign in (link, {"Sec-Fetch-Site": "same-site"}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
            assert (await ask(web, "/api/node", headers=foreign)).status == 403
            assert (await ask(web, "/api/search", {}, headers=foreign)).status == 403


async def test_a_post_is_json_of_a_bounded_length(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        form = {"Content-Type": "application/x-www-form-urlencoded"}
        assert (await ask(web, "/api/search", {}, headers=form)).status == 415
        assert (await ask(web, "/api/search", {"name": "x" * 70_000})).status == 413
        assert (await ask(web, "/api/search", {}, headers={"Transfer-Encoding": "chunked"})).status in (400, 411)


async def test_each_answer_has_the_headers_of_safety(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        for path in ("/", "/page.js", "/api/node", "/nothing", "/metrics"):
            headers = (await ask(web, path)).headers
            assert "default-src 'self'" in headers["content-security-policy"]
            assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
            assert "server" not in headers


async def test_https_with_a_certificate_of_the_client(sqlite_index: Index, tmp_path: Path) -> None:
    certificate, key = tmp_path / "certificate.pem", tmp_path / "key.pem"
    certificate.write_text(CERTIFICATE)
    key.write_text(KEY)
    options = WebOptions(port=0, certificate=certificate, key=key, client_authorities=certificate)
    async with serving(sqlite_index, tmp_path, options) as web:
        context = ssl.create_default_context(cafile=str(certificate))
        context.check_hostname = False

        def get() -> int:
            with urllib.request.urlopen(f"{web.url}api/node", context=context, timeout=10) as answer:  # noqa: S310
                status: int = answer.status
                return status

        with pytest.raises((urllib.error.URLError, ssl.SSLError, ConnectionError)):
            await to_thread(get)
        context.load_cert_chain(certificate, key)
        assert await to_thread(get) == 200


async def test_a_password_in_clear_text_is_warned_of(
    sqlite_index: Index, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "dimse.node"):
        async with serving(sqlite_index, tmp_path, WebOptions(host="0.0.0.0", port=0, token="t")):  # noqa: S104, S106
            pass
    assert "clear text" in caplog.text


@pytest.mark.parametrize(
    "given",
    [
        {"host": "0.0.0.0"},  # noqa: S104
        {"host": "archive.example"},
        {"host": "0.0.0.0", "certificate": Path("a"), "key": Path("b")},  # noqa: S104
        {"password": ""},
        {"key": Path("a")},
        {"client_authorities": Path("a")},
    ],
)
def test_options_that_keep_nobody_out_are_refused(given: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"must|need"):
        WebOptions(**given)  # type: ignore[arg-type]


async def test_a_network_of_ipv6_is_one_host() -> None:
    """It has more addresses than anyone could count the wrong passwords of."""
    gate = Gate(JSONResponse({}), PASSWORD)

    async def status(address: str) -> int:
        said: list[int] = []

        async def send(message: Message) -> None:
            said.append(message.get("status", 0))

        async def receive() -> Message:
            raise AssertionError

        headers = [(b"authorization", b"Basic eA==")]
        scope = {"type": "http", "method": "GET", "path": "/", "headers": headers, "client": (address, 1)}
        await gate(scope, receive, send)
        return said[0]

    tried = [await status(f"2001:db8::{number:x}") for number in range(MAX_FAILURES + 1)]
    assert tried == [401] * MAX_FAILURES + [429]
    assert await status("2001:db8:0:1::1") == 401


async def test_an_origin_that_is_no_url_is_another_site(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        assert (await ask(web, "/api/node", headers={"Origin": "http://["})).status == 403
