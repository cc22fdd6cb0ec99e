"""The JSON API of the page, under /api/. It changes nothing in the archive.

1. A search is a POST: its keys are data of patients, and must not be in the URL, which proxies and browsers keep.
2. A failure is an object with `problem`: what happened and what to do, in words.
"""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dimse.dataset.threads import beside_the_loop
from dimse.errors import DatasetError
from dimse.node.index import Index
from dimse.node.keys import UID
from dimse.node.places import place
from dimse.node.web import browsing
from dimse.node.web.browsing import Wanted
from dimse.node.web.login import refused
from dimse.node.web.metrics import Exposition
from dimse.node.web.rendering import MAX_SIZE, Busy, IsWanted, Picture, Renderer
from dimse.node.web.thumbnails import THUMBNAIL, Thumbnails
from dimse.node.web.transfers import echo_peer, peers, transfers
from dimse.services.move_scp import MoveDestination
from dimse.services.server import Server

MAX_KEY: Final = 200
"""Characters of a key of a search."""
MAX_WINDOW: Final = 1e9
"""Center and width of a window."""
EVENTS: Final = 200
"""Events that are given at once."""

_LARGEST: Final = 2**63 - 1
"""The number of a row, at most."""
_NUMBER: Final = re.compile("[0-9]{1,18}")

_INSTANCE: Final = "/api/studies/{study}/series/{series}/instances/{instance}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """The parts of a node that the page shows."""

    index: Index
    server: Server
    data: Path
    destinations: Callable[[], Mapping[str, MoveDestination]]
    exposition: Exposition
    renderer: Renderer
    thumbnails: Thumbnails


class Api:
    """Answers the page."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def routes(self) -> list[Route]:
        """What is answered, by path."""
        return [
            Route("/api/node", _safe(self.node)),
            Route("/api/search", _safe(self.search), methods=["POST"]),
            Route("/api/studies/{study}", _safe(self.study)),
            Route("/api/studies/{study}/series/{series}", _safe(self.series)),
            Route("/api/studies/{study}/series/{series}/thumbnail", _safe(self.thumbnail)),
            Route(f"{_INSTANCE}/frames/{{frame}}", _safe(self.frame)),
            Route(f"{_INSTANCE}/tags", _safe(self.tags)),
            Route("/api/transfers", _safe(self.transfers)),
            Route("/api/peers", _safe(self.peers)),
            Route("/api/peers/echo", _safe(self.echo), methods=["POST"]),
            Route("/api/events", _safe(self.events)),
        ]

    async def node(self, _: Request) -> Response:
        server, exposition = self._parts.server, self._parts.exposition
        summary = await exposition.summary()
        return JSONResponse({"ae_title": server.ae_title, "host": server.host, "port": server.port, **summary})

    async def search(self, request: Request) -> Response:
        keys = await _object(request)
        wanted, after = _wanted(keys), _after(keys.get("after"))
        found, following = await self._parts.index.read(lambda c: browsing.studies(c, wanted, after))
        return JSONResponse({"studies": found, "after": following})

    async def study(self, request: Request) -> Response:
        study = _uid(request, "study")
        found = await self._parts.index.read(lambda c: browsing.study_with_series(c, study))
        return JSONResponse(_existing(found, "study"))

    async def series(self, request: Request) -> Response:
        study, series = _uid(request, "study"), _uid(request, "series")
        found = await self._parts.index.read(lambda c: browsing.instances(c, study, series))
        return JSONResponse({"instances": _existing(found or None, "series")})

    async def thumbnail(self, request: Request) -> Response:
        study, series = _uid(request, "study"), _uid(request, "series")
        middle = await self._parts.index.read(lambda c: browsing.middle_of(c, study, series))
        if middle is None:
            return Response(status_code=204)  # it has no image, which is no failure
        name, kept = f"{middle.digest.hex()}.jpg", self._parts.thumbnails
        jpeg = await beside_the_loop(lambda: kept.get(study, name))
        if jpeg is None:
            path = self._path(study, series, middle)
            render, is_wanted = self._parts.renderer.render, _is_connected(request)
            jpeg = (await render(path, middle.frames // 2, size=THUMBNAIL, is_wanted=is_wanted)).jpeg
            drawn = jpeg
            await beside_the_loop(lambda: kept.put(study, name, drawn))
        return Response(jpeg, media_type="image/jpeg")

    async def frame(self, request: Request) -> Response:
        path = await self._requested(request)
        window, size = _window(request.query_params.get("window")), _size(request.query_params.get("size"))
        frame = _number("frame", request.path_params["frame"])
        render, is_wanted = self._parts.renderer.render, _is_connected(request)
        picture = await render(path, frame - 1, window=window, size=size, is_wanted=is_wanted)
        return Response(picture.jpeg, media_type="image/jpeg", headers=_window_header(picture))

    async def tags(self, request: Request) -> Response:
        path = await self._requested(request)
        tags = await self._parts.renderer.tags(path, is_wanted=_is_connected(request))
        return Response(tags, media_type="application/json")

    async def transfers(self, _: Request) -> Response:
        return JSONResponse(transfers(self._parts.server))

    async def peers(self, _: Request) -> Response:
        return JSONResponse({"peers": peers(self._parts.destinations())})

    async def echo(self, request: Request) -> Response:
        destination = self._parts.destinations().get(str((await _object(request)).get("ae_title")))
        if destination is None:
            raise HTTPException(404, "this peer is not among the destinations of the node")
        return JSONResponse(await echo_peer(self._parts.server, destination))

    async def events(self, request: Request) -> Response:
        after = request.query_params.get("after")
        last = None if after is None else _number("after", after)
        found, failing = await self._parts.index.read(lambda c: (browsing.events(c, last, EVENTS), browsing.failing(c)))
        return JSONResponse({"events": found, "failing": failing})

    async def _requested(self, request: Request) -> Path:
        """The file of the instance that is asked for."""
        study, series, uid = (_uid(request, each) for each in ("study", "series", "instance"))
        found = await self._parts.index.read(lambda c: browsing.place_of(c, study, series, uid))
        return self._path(study, series, _existing(found, "instance"))

    def _path(self, study: str, series: str, found: browsing.Place) -> Path:
        return place(self._parts.data, study, series, found.uid, found.path)


def _safe(endpoint: Callable[[Request], Awaitable[Response]]) -> Callable[[Request], Awaitable[Response]]:
    """The endpoint, with failures that are foreseen as answers."""

    async def answer(request: Request) -> Response:
        try:
            return await endpoint(request)
        except HTTPException as error:
            return refused(error.status_code, error.detail)
        except DatasetError as error:
            return refused(422, f"cannot be shown: {error}")
        except Busy as error:
            return refused(503, str(error), {"Retry-After": "1"})
        except SQLAlchemyError as error:
            return refused(503, f"the index cannot be read: {type(error).__name__}", {"Retry-After": "5"})

    return answer


def _is_connected(request: Request) -> IsWanted:
    """Whether the client is still there."""

    async def is_connected() -> bool:
        return not await request.is_disconnected()

    return is_connected


def _existing(found: Any, what: str) -> Any:
    if found is None:
        raise HTTPException(404, f"the archive has no such {what}: it may have been deleted")
    return found


def _uid(request: Request, name: str) -> str:
    uid: str = request.path_params[name]
    if not UID.fullmatch(uid):
        raise HTTPException(404, f"{name}: not a UID")
    return uid


async def _object(request: Request) -> dict[str, Any]:
    try:
        found = json.loads(await request.body())
    except (ValueError, RecursionError, ClientDisconnect):
        found = None
    if not isinstance(found, dict):
        raise HTTPException(400, "the body must be an object in JSON")
    return found


def _wanted(keys: dict[str, Any]) -> Wanted:
    return Wanted(
        name=_text(keys, "name"),
        patient_id=_text(keys, "patient_id"),
        accession=_text(keys, "accession"),
        first_date=_date(keys, "first_date"),
        last_date=_date(keys, "last_date"),
        modality=_text(keys, "modality"),
        description=_text(keys, "description"),
    )


def _text(keys: dict[str, Any], key: str) -> str:
    text = keys.get(key) or ""
    if not isinstance(text, str) or len(text) > MAX_KEY or not _NOT_TEXT.isdisjoint(text):
        raise HTTPException(400, f"{key} must be a text of at most {MAX_KEY} characters")
    return text.strip()


_NOT_TEXT: Final = frozenset(map(chr, (0, *range(0xD800, 0xE000))))
"""What JSON may have, and a database does not take: NUL and halves of characters."""


def _date(keys: dict[str, Any], key: str) -> int | None:
    date = keys.get(key)
    if date is not None and (type(date) is not int or not 0 < date <= 99991231):
        raise HTTPException(400, f"{key} must be a number, yyyymmdd")
    return date


def _after(given: Any) -> list[int | None] | None:
    if given is None:
        return None
    if isinstance(given, list) and len(given) == 2 and _is_row(given[1]) and (given[0] is None or _is_row(given[0])):
        return given
    raise HTTPException(400, "after must be that of the page before")


def _is_row(given: Any) -> bool:
    return type(given) is int and 0 <= given <= _LARGEST


def _number(name: str, given: str) -> int:
    if not _NUMBER.fullmatch(given):
        raise HTTPException(400, f"{name} must be a number")
    return int(given)


def _window(given: str | None) -> tuple[float, float] | None:
    if given is None:
        return None
    try:
        center, width = (float(each) for each in given.split(","))
    except ValueError:
        raise HTTPException(400, "window must be center,width") from None
    if not abs(center) < MAX_WINDOW or not 0 < width < MAX_WINDOW:
        raise HTTPException(400, "window: the width must be more than 0")
    return center, width


def _window_header(picture: Picture) -> dict[str, str]:
    return {} if picture.window is None else {"X-Window": f"{picture.window[0]:g},{picture.window[1]:g}"}


def _size(given: str | None) -> int:
    if given is None:
        return MAX_SIZE
    size = _number("size", given)
    if not 16 <= size <= MAX_SIZE:
        raise HTTPException(400, f"size must be 16 to {MAX_SIZE}")
    return size
