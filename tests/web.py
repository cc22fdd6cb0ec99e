"""The other side of programs that stream: an HTTP client that calls an application, and an S3 that keeps objects."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from typing import Any

Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An ASGI application."""


class Response:
    """What an application answers, with each piece of the body as it was sent."""

    def __init__(self) -> None:
        self.status = 0
        self.pieces: list[bytes] = []

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)


async def get(
    application: Application, path: str, took: Callable[[Response], Awaitable[None]] | None = None
) -> Response:
    """GET `path`; `took` is called after each piece of the body, before the application may send another."""
    response = Response()

    async def receive() -> dict[str, object]:
        await asyncio.Event().wait()  # the client does not hang up
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            response.status = message["status"]
        elif message["body"]:
            response.pieces.append(message["body"])
            if took is not None:
                await took(response)

    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET", "headers": []}
    await application({**scope, "path": path, "raw_path": path.encode(), "query_string": b""}, receive, send)
    return response


class S3:
    """The operations of boto3's client that a multipart upload needs, with its rules."""

    def __init__(self) -> None:
        self.objects: dict[str, bytes] = {}
        self.open: dict[str, dict[int, bytes]] = {}
        self.aborted = 0
        self._lock = threading.Lock()

    def client(self, service: str) -> S3:
        assert service == "s3"
        return self

    def create_multipart_upload(self, **request: Any) -> dict[str, str]:
        with self._lock:
            upload = f"{request['Bucket']}/{request['Key']}/{len(self.open) + len(self.objects)}"
            self.open[upload] = {}
        return {"UploadId": upload}

    def upload_part(self, **request: Any) -> dict[str, str]:
        assert isinstance(request["Body"], bytes)
        self.open[request["UploadId"]][request["PartNumber"]] = request["Body"]
        return {"ETag": str(hash(request["Body"]))}

    def complete_multipart_upload(self, **request: Any) -> None:
        parts = self.open.pop(request["UploadId"])
        named = [(each["PartNumber"], each["ETag"]) for each in request["MultipartUpload"]["Parts"]]
        assert named == [(number, str(hash(part))) for number, part in sorted(parts.items())]
        bodies = [parts[number] for number in sorted(parts)]
        assert all(len(body) >= 5 * 1024 * 1024 for body in bodies[:-1])
        self.objects[request["Key"]] = b"".join(bodies)

    def abort_multipart_upload(self, **request: Any) -> None:
        del self.open[request["UploadId"]]
        self.aborted += 1
