"""Webhooks and commands: what other programs are told of events.

1. Each is a queue of jobs. `events.record` adds a job to it in the transaction of an event whose kind it wants, also in
   other processes: the table `subscription` says which. So what is told is what was committed, and nothing is missed.
2. A webhook is a POST of the event in JSON, without data of patients. The field `Dimse-Event` has its number; with a
   secret, `Dimse-Signature` is "sha256=" and the HMAC of the body in hex. A status of 2xx ends it. All else is tried
   again, also a redirection, which is not followed.
3. A command is a program without a shell, and an exit code of 0 ends it.
4. Both may be told of an event twice, since a node may be killed before it has noted the end: tell by its number.
5. The time for an answer is bounded, and no more is read of it than its status.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import logging
import re
import shlex
import ssl
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from sqlalchemy import Connection, delete, insert

from dimse import programs
from dimse.node.events import Event, as_json, by_id
from dimse.node.index import Index
from dimse.node.jobs import GiveUp, Handler, Job
from dimse.node.options import COMMAND_PLACEHOLDERS, CommandOptions, WebhookOptions
from dimse.node.schema import job, subscription
from dimse.programs import CommandLine
from dimse.version import __version__

logger = logging.getLogger("dimse.node")

WEBHOOK: Final = "webhook"
"""The kind of the jobs of webhooks."""

COMMAND: Final = "command"
"""The kind of the jobs of commands."""

MAXIMUM_LINE: Final = 64 * 1024
"""Bytes of a line in the answer to a webhook."""

_MAXIMUM_LINES: Final = 1000
"""Lines before the status of the answer: those of interim responses."""

_STATUS: Final = re.compile(rb"HTTP/1\.\d ([2-5]\d\d)\b")
"""The first line of a response that is not an interim one."""


class NotTold(Exception):
    """A webhook or a command has failed."""


class Hooks:
    """The webhooks and commands of a node."""

    def __init__(
        self, index: Index, data: Path, webhooks: Sequence[WebhookOptions], commands: Sequence[CommandOptions]
    ) -> None:
        self._index = index
        self._studies = data.absolute() / "studies"
        self._webhooks = {_queue_of_webhook(each): Webhook(each) for each in webhooks}
        self._commands = {f"{COMMAND} {shlex.join(each.run)}": each for each in commands}

    @property
    def handlers(self) -> Mapping[str, Handler]:
        """The handlers of their jobs."""
        return {WEBHOOK: self._call, COMMAND: self._run}

    def subscribe(self, connection: Connection) -> None:
        """From now on events make jobs for these webhooks and commands. Jobs of others are forgotten."""
        wanted = {
            (kind.value, queue, job_kind)
            for job_kind, hooks in ((WEBHOOK, self._webhooks), (COMMAND, self._commands))
            for queue, hook in hooks.items()
            for kind in hook.on
        }
        connection.execute(delete(subscription))
        if wanted:
            columns = ("event_kind", "queue", "job_kind")
            connection.execute(insert(subscription), [dict(zip(columns, row, strict=True)) for row in sorted(wanted)])
        others = job.c.queue.not_in([*self._webhooks, *self._commands])
        forgotten = connection.execute(delete(job).where(job.c.kind.in_([WEBHOOK, COMMAND]), others)).rowcount
        if forgotten:
            logger.warning("%d jobs of webhooks and commands that are no longer configured are forgotten", forgotten)

    async def _event(self, each: Job) -> Event:
        event = await self._index.read(partial(by_id, number=each.event_id or 0))
        if event is None:
            raise GiveUp("its event is no longer kept")
        return event

    async def _call(self, each: Job) -> None:
        await self._webhooks[each.queue].post(await self._event(each))

    async def _run(self, each: Job) -> None:
        options, event = self._commands[each.queue], await self._event(each)
        study = event.study_uid or ""
        values = {
            "StudyInstanceUID": study,
            "SeriesInstanceUID": event.series_uid or "",
            "SOPInstanceUID": event.instance_uid or "",
            "folder": str(self._studies / study) if study else "",
            "kind": event.kind.value,
            "event": str(event.id),
        }
        try:
            words = CommandLine(options.run, COMMAND_PLACEHOLDERS).filled(values)
        except ValueError as error:
            raise GiveUp(str(error)) from None
        try:
            problem = programs.failure(await programs.run(words, options.timeout))
        except TimeoutError:
            problem = f"killed after {options.timeout:g} s"
        if problem is not None:
            raise NotTold(problem)


def _queue_of_webhook(options: WebhookOptions) -> str:
    """Its queue, without what may be a secret in its query."""
    return f"{WEBHOOK} {options.place}"


class Webhook:
    """One webhook."""

    def __init__(self, options: WebhookOptions) -> None:
        parts = urlsplit(options.url)
        self.on = options.on
        self._options = options
        self._host = parts.hostname or ""
        self._name = parts.netloc
        self._is_secure = parts.scheme == "https"
        self._port = parts.port or (443 if self._is_secure else 80)
        self._target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        self._tls = ssl.create_default_context(cafile=options.ca) if self._is_secure else None

    async def post(self, event: Event) -> None:
        """Tell of an event. Raises `NotTold`."""
        body = json.dumps(as_json(event)).encode()
        try:
            async with asyncio.timeout(self._options.timeout):
                status = await self._post(self._head(event, body) + body)
        except TimeoutError:
            raise NotTold(f"no answer in {self._options.timeout:g} s") from None
        except OSError as error:
            raise NotTold(f"no connection: {error.strerror or error}") from None
        if not 200 <= status < 300:
            raise NotTold(f"HTTP status {status}")

    def _head(self, event: Event, body: bytes) -> bytes:
        fields = {
            "Host": self._name,
            "User-Agent": f"dimse/{__version__}",
            "Content-Type": "application/json",
            "Content-Length": str(len(body)),
            "Dimse-Event": str(event.id),
            "Connection": "close",
        }
        if self._options.secret is not None:
            signature = hmac.new(self._options.secret.encode(), body, hashlib.sha256)
            fields["Dimse-Signature"] = f"sha256={signature.hexdigest()}"
        lines = [f"POST {self._target} HTTP/1.1", *(f"{name}: {value}" for name, value in fields.items()), "", ""]
        return "\r\n".join(lines).encode("ascii")

    async def _post(self, request: bytes) -> int:
        """Send a request, and return the status of its answer (RFC 9112)."""
        reader, writer = await asyncio.open_connection(self._host, self._port, ssl=self._tls, limit=MAXIMUM_LINE)
        try:
            writer.write(request)
            with suppress(ConnectionError):  # it may answer before it has read all
                await writer.drain()
            return await _status(reader)
        finally:
            writer.transport.abort()


async def _status(reader: asyncio.StreamReader) -> int:
    """The status of a response, after interim responses. Raises `NotTold` for what is none."""
    with suppress(ValueError):  # a line that is too long
        for _ in range(_MAXIMUM_LINES):
            found = _STATUS.match(line := await reader.readline())
            if found is not None:
                return int(found[1])
            if not line:
                break
    raise NotTold("the answer is not HTTP")
