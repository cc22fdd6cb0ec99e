"""Webhooks and commands: what other programs are told of events, whatever the web server does."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Connection, select

from dimse.node import webhooks
from dimse.node.events import EventKind, record, since
from dimse.node.index import Index
from dimse.node.jobs import Jobs, QueueState, queues
from dimse.node.options import CommandOptions, NodeOptions, WebhookOptions
from dimse.node.schema import job, subscription
from dimse.node.webhooks import Hooks
from dimse.options import RetryPolicy

OK = b"HTTP/1.1 204 No Content\r\n\r\n"


class WebServer:
    """Notes what it gets, and answers in turn; then with 204."""

    def __init__(self, *answers: bytes) -> None:
        self.answers = list(answers)
        self.requests: list[tuple[str, dict[str, str], bytes]] = []
        self.port = 0

    @asynccontextmanager
    async def listening(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", self.port, ssl=tls)
        self.port = server.sockets[0].getsockname()[1]
        try:
            yield f"http{'s' if tls else ''}://127.0.0.1:{self.port}/hook?token=secret"
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        line, *fields = head.strip().split("\r\n")
        named = {name.lower(): value for name, value in (field.split(": ", 1) for field in fields)}
        self.requests.append((line, named, await reader.readexactly(int(named["content-length"]))))
        writer.write(self.answers.pop(0) if self.answers else OK)
        writer.close()

    @property
    def told(self) -> list[Any]:
        return [json.loads(body) for _, _, body in self.requests]


class Archive:
    """An index in which events happen, and whose jobs run when they are told to."""

    def __init__(self, index: Index, data: Path) -> None:
        self.index, self.data = index, data
        self.now = 4e9
        self.jobs: Jobs

    async def begin(self, *hooks: WebhookOptions | CommandOptions) -> None:
        made = Hooks(
            self.index,
            self.data,
            [each for each in hooks if isinstance(each, WebhookOptions)],
            [each for each in hooks if isinstance(each, CommandOptions)],
        )
        await self.index.write(made.subscribe)
        retry = RetryPolicy(retries=2, delay=10, factor=1)
        self.jobs = Jobs(self.index, made.handlers, retry=retry, clock=lambda: self.now)

    async def happen(self, kind: EventKind = EventKind.STUDY_SETTLED, **about: Any) -> None:
        about = {"study_uid": "1.2.3", "detail": {"because": "quiet", "instances": 7}} | about
        await self.index.write(lambda connection: record(connection, kind, **about))

    async def run(self) -> list[QueueState]:
        """Run what is due, and return what waits."""
        while await self.jobs.start_due() == 0:
            await self.jobs.until_idle()
        return await self.waiting()

    async def waiting(self) -> list[QueueState]:
        return list(await self.index.read(queues))

    async def failures(self) -> list[dict[str, Any]]:
        found = await self.index.read(lambda connection: since(connection, 0))
        return [dict(each.detail) for each in found if each.kind is EventKind.JOB_FAILED]


@pytest.fixture
def archive(index: Index, tmp_path: Path) -> Archive:
    return Archive(index, tmp_path)


async def test_what_a_webhook_is_told(archive: Archive) -> None:
    server = WebServer()
    async with server.listening() as url:
        await archive.begin(WebhookOptions(url=url, secret="key", on=[EventKind.STUDY_SETTLED, EventKind.DUPLICATE]))  # noqa: S106
        await archive.happen()
        await archive.happen(EventKind.STUDY_CREATED)
        await archive.happen(EventKind.DUPLICATE, series_uid="1.2.3.4", instance_uid="1.2.3.4.5")
        assert await archive.run() == []
    (line, fields, body), _ = server.requests
    assert line == "POST /hook?token=secret HTTP/1.1"
    assert fields["host"] == f"127.0.0.1:{server.port}"
    assert fields["content-type"] == "application/json"
    assert fields["dimse-event"] == "1"
    assert fields["dimse-signature"] == f"sha256={hmac.new(b'key', body, hashlib.sha256).hexdigest()}"
    first, second = server.told
    assert first.pop("at").endswith("+00:00")
    assert first == {
        "event": "study-settled",
        "id": 1,
        "study_instance_uid": "1.2.3",
        "series_instance_uid": None,
        "sop_instance_uid": None,
        "detail": {"because": "quiet", "instances": 7},
    }
    assert (second["event"], second["sop_instance_uid"]) == ("duplicate", "1.2.3.4.5")


async def test_of_an_event_that_was_not_committed_nobody_is_told(archive: Archive) -> None:
    server = WebServer()

    def work(connection: Connection) -> None:
        record(connection, EventKind.STUDY_SETTLED, study_uid="1")
        raise RuntimeError("killed")

    async with server.listening() as url:
        await archive.begin(WebhookOptions(url=url))
        with pytest.raises(RuntimeError):
            await archive.index.write(work)
        await archive.run()
    assert server.requests == []


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 500 Internal Server Error\r\n\r\n", "HTTP status 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1/\r\n\r\n", "HTTP status 302"),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", "HTTP status 404"),
        (b"SSH-2.0-OpenSSH_9.2\r\n", "the answer is not HTTP"),
        (b"", "the answer is not HTTP"),
        (b"x" * webhooks.MAXIMUM_LINE * 2, "the answer is not HTTP"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 1000, "the answer is not HTTP"),
    ],
)
async def test_a_server_that_fails_is_told_again(archive: Archive, answer: bytes, problem: str) -> None:
    server = WebServer(answer)
    async with server.listening() as url:
        await archive.begin(WebhookOptions(url=url))
        await archive.happen()
        queue = f"webhook http://127.0.0.1:{server.port}/hook"
        assert await archive.run() == [QueueState(queue, 1, 1, problem)], "without the token"
        archive.now += 10
        await archive.begin(WebhookOptions(url=url))  # after a restart, too
        assert await archive.run() == []
    assert [each["id"] for each in server.told] == [1, 1]


async def test_a_server_that_does_not_answer_is_told_again(archive: Archive) -> None:
    server = WebServer()
    with socket.create_server(("127.0.0.1", 0)) as silent:
        server.port = silent.getsockname()[1]
        url = f"http://127.0.0.1:{server.port}/hook"
        await archive.begin(WebhookOptions(url=url, timeout=0.05))
        await archive.happen()
        assert await archive.run() == [QueueState(f"webhook {url}", 1, 1, "no answer in 0.05 s")]
    archive.now += 10
    async with server.listening():
        await archive.begin(WebhookOptions(url=url))
        assert await archive.run() == []
    assert [each["id"] for each in server.told] == [1]


async def test_a_server_that_answers_in_pieces(archive: Archive) -> None:
    server = WebServer(b"HTTP/1.1 100 Continue\r\nX: y\r\n\r\nHTTP/1.0 200 OK\r\nContent-Length: 10000\r\n\r\n")
    async with server.listening() as url:
        await archive.begin(WebhookOptions(url=url))
        await archive.happen()
        assert await archive.run() == []


async def test_a_server_that_is_down_delays_no_other_and_gets_all_when_it_is_back(archive: Archive) -> None:
    dead, alive = WebServer(), WebServer()
    async with dead.listening() as url_of_dead:
        pass
    async with alive.listening() as url:
        await archive.begin(WebhookOptions(url=url_of_dead), WebhookOptions(url=url))
        for _ in range(3):
            await archive.happen()
        (state,) = await archive.run()
        assert [each["id"] for each in alive.told] == [1, 2, 3]
        assert state.waiting == 3
        assert (state.problem or "").startswith("no connection: ")
        async with dead.listening():
            archive.now += 10
            assert await archive.run() == []
    assert sorted(each["id"] for each in dead.told) == [1, 2, 3]


async def test_one_that_stays_down_is_given_up(archive: Archive) -> None:
    server = WebServer()
    async with server.listening() as url:
        pass
    await archive.begin(WebhookOptions(url=url))
    await archive.happen()
    for _ in range(3):
        await archive.run()
        archive.now += 10
    assert await archive.waiting() == []
    (failure,) = await archive.failures()
    assert (failure["attempts"], failure["event"]) == (3, 1)


async def test_one_that_stays_down_is_not_told_of_that_for_ever(archive: Archive) -> None:
    """The end of a job that told of the end of a job is no event."""
    server = WebServer()
    async with server.listening() as url:
        pass
    await archive.begin(WebhookOptions(url=url, on=[EventKind.STUDY_SETTLED, EventKind.JOB_FAILED]))
    await archive.happen()
    for _ in range(5):
        assert len(await archive.run()) == 1
        archive.now += 10
    assert await archive.run() == []
    (failure,) = await archive.failures()
    assert failure["event"] == 1


async def test_the_certificate_is_verified(archive: Archive, pki: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pki / "server.pem", pki / "server.key")
    server = WebServer()
    async with server.listening(context) as url:
        await archive.begin(WebhookOptions(url=url))
        await archive.happen()
        (state,) = await archive.run()
        assert "CERTIFICATE_VERIFY_FAILED" in (state.problem or "")
        archive.now += 10
        await archive.begin(WebhookOptions(url=url, ca=pki / "ca.pem"))
        assert await archive.run() == []
    assert len(server.requests) == 1


async def test_jobs_of_what_is_configured_no_more_are_forgotten(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    await archive.begin(WebhookOptions(url="http://127.0.0.1:9/a"), WebhookOptions(url="http://127.0.0.1:9/b"))
    await archive.happen()
    await archive.begin(WebhookOptions(url="http://127.0.0.1:9/b"))
    assert [each.queue for each in await archive.waiting()] == ["webhook http://127.0.0.1:9/b"]
    assert "1 jobs of webhooks and commands" in caplog.text
    await archive.begin()
    assert await archive.waiting() == []
    assert await archive.index.read(lambda c: c.execute(select(subscription)).all()) == []
    await archive.happen()
    assert await archive.index.read(lambda c: c.execute(select(job)).all()) == []


EXEC = 'import sys, pathlib; pathlib.Path(sys.argv[1]).write_text("\\n".join(sys.argv[2:]))'


async def test_a_command_has_its_values(archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    out, script = tmp_path / "out", tmp_path / "script.py"
    script.write_text(EXEC)
    names = ("{event}", "{kind}", "{StudyInstanceUID}", "{folder}", "{SeriesInstanceUID}")
    await archive.begin(CommandOptions(run=[sys.executable, str(script), str(out), *names]))
    await archive.happen()
    assert await archive.run() == []
    assert out.read_text().split("\n") == ["1", "study-settled", "1.2.3", str(tmp_path / "studies" / "1.2.3"), ""]


@pytest.mark.parametrize(
    ("run", "timeout", "problem"),
    [
        (["sh", "-c", "exit 3"], 60, "exit code 3"),
        (["sleep", "60"], 0.01, "killed after 0.01 s"),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="needs sh")
async def test_a_command_that_fails_is_run_again(
    archive: Archive, monkeypatch: pytest.MonkeyPatch, run: list[str], timeout: float, problem: str
) -> None:
    monkeypatch.setattr(sys, "stderr", None)
    await archive.begin(CommandOptions(run=run, timeout=timeout))
    await archive.happen()
    (state,) = await archive.run()
    assert (state.attempts, state.problem) == (1, problem)


async def test_a_value_that_would_be_an_option_is_given_up(archive: Archive) -> None:
    await archive.begin(CommandOptions(run=[sys.executable, "{StudyInstanceUID}"]))
    await archive.happen(study_uid="-c")
    assert await archive.run() == []
    (failure,) = await archive.failures()
    assert failure["problem"] == "the value of {StudyInstanceUID} begins with a hyphen, and would be an option"


@pytest.mark.parametrize(
    "url",
    ["ftp://a/b", "http:///a", "http://a b/", "http://é/", "http://u:p@a/", "http://a:70000/", "http://a/\r\nX: y"],
)
def test_urls_that_are_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"url|[Pp]ort"):
        WebhookOptions(url=url)


def test_hooks_that_cannot_be_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="different URLs"):
        NodeOptions(data=tmp_path, webhooks=[WebhookOptions(url=f"http://a/?{each}") for each in "12"])
    with pytest.raises(ValueError, match="commands must have different programs"):
        NodeOptions(data=tmp_path, commands=[CommandOptions(run=["sh"])] * 2)
