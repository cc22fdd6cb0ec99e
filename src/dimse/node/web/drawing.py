"""Draws pictures, and reads elements, in a process of its own: `python -m dimse.node.web.drawing`; see `rendering`.

1. Standard input has a line of JSON for each request. A picture has `path`, `frame`, `window` (center and width, or
   null) and `size`; a request with `path` alone is for the elements of the file.
2. Standard output has a line of JSON for each, and then as many bytes as its `length` says: a JPEG, or JSON. A line
   with `error` says why there is none, without data of patients.
3. The process may take `MAX_MEMORY` bytes of addresses. Its parent ends it when it takes too long. Where Linux has too
   little memory, this process goes first, not the node.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Final

from PIL import Image

from dimse.dataset.displaying import displayed, header_of, tags_of
from dimse.errors import DatasetError

if TYPE_CHECKING:
    from dimse.dataset.pydicom_names import Dataset

MAX_MEMORY: Final = 3 * 1024 * 1024 * 1024
"""Bytes of addresses of a process that draws."""

_QUALITY: Final = 90
_MAX_REASON: Final = 1000
"""Characters of why there is no picture."""
_HEADERS: Final = 4
"""Headers that are kept, as the frames of an image are asked for one after another."""

_Headers = OrderedDict[tuple[str, int, int], "Dataset"]


def main() -> None:
    """Draw until standard input ends."""
    _limit_memory()
    warnings.simplefilter("ignore")
    headers: _Headers = OrderedDict()
    with os.fdopen(os.dup(1), "wb") as answers:
        os.dup2(2, 1)  # what decoders print must not get among the answers
        for line in sys.stdin.buffer:
            _answer(json.loads(line), answers, headers)


def _limit_memory() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("1000")
    with contextlib.suppress(ImportError):
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MAX_MEMORY, MAX_MEMORY))


def _answer(request: dict[str, Any], answers: IO[bytes], headers: _Headers) -> None:
    body = b""
    try:
        answer, body = _draw(request, headers) if "frame" in request else _tags(request)
    except DatasetError as error:
        answer = {"error": str(error)[:_MAX_REASON]}
    except MemoryError:
        answer = {"error": "it needs too much memory"}
    except Exception as error:  # noqa: BLE001 - decoders may raise anything, and its text may have data of patients
        answer = {"error": f"it is not valid: {type(error).__name__}"}
    answers.write(json.dumps({**answer, "length": len(body)}).encode() + b"\n" + body)
    answers.flush()


def _draw(request: dict[str, Any], headers: _Headers) -> tuple[dict[str, Any], bytes]:
    path = Path(request["path"])
    header = _header(path, headers)
    shown = displayed(path, header, request["frame"], request["window"])
    picture = Image.fromarray(shown.pixels)
    width, height = _size(picture.size, shown.aspect, request["size"])
    if (width, height) != picture.size:
        picture = picture.resize((width, height), Image.Resampling.BILINEAR, reducing_gap=2)
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=_QUALITY)
    window = None if shown.window is None else shown.window[:2]
    return {"window": window}, file.getvalue()


def _tags(request: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    tags, is_cut = tags_of(Path(request["path"]))
    return {}, json.dumps({"tags": tags, "is_cut": is_cut}).encode()


def _header(path: Path, headers: _Headers) -> Dataset:
    try:
        stat = path.stat()
    except OSError:
        raise DatasetError("its file is missing") from None
    key = (str(path), stat.st_mtime_ns, stat.st_size)
    header = headers.pop(key, None)
    header = header_of(path) if header is None else header
    headers[key] = header
    if len(headers) > _HEADERS:
        headers.popitem(last=False)
    return header


def _size(size: tuple[int, int], aspect: tuple[int, int], most: int) -> tuple[int, int]:
    """Width and height of the picture: pixels become square, and neither exceeds `most`."""
    width, height = float(size[0]), float(size[1])
    tall, wide = aspect
    width, height = (width, height * tall / wide) if tall > wide else (width * wide / tall, height)
    scale = min(1.0, most / max(width, height))
    return max(1, round(width * scale)), max(1, round(height * scale))


if __name__ == "__main__":
    main()
