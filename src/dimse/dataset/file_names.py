"""Names for received objects, made from their attributes, that stay in their folder."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from operator import itemgetter
from pathlib import PurePosixPath, PureWindowsPath
from string import Formatter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping
    from os import PathLike

MAX_NAME: Final = 100
"""Characters that one value may add to a path: a UID has 64, and file systems stop at 255 for a name."""

_UNSAFE = re.compile(r"[^][A-Za-z0-9._^ +,@()=-]")
_UID = re.compile(r"[0-9][0-9.]*[0-9]", re.ASCII)
"""Safe as it is, and mostly what there is."""
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)
_EMPTY: Final = "NONE"


def validate_template(template: str) -> None:
    """Raise `ValueError` for a template that names no file, gives several instances one name, leaves its folder, or
    has something other than keywords of PS3.6 in braces.
    """
    if not template or template.endswith("/"):
        raise ValueError(f"the file name template {template!r} names no file")
    if "\\" in template or "\0" in template:
        raise ValueError(f"the file name template {template!r} has a backslash or NUL: separate folders by /")
    if PurePosixPath(template).is_absolute() or PureWindowsPath(template).drive:
        raise ValueError(f"the file name template {template!r} is absolute: it must be relative")
    if any(part.strip(". ") == "" for part in template.split("/")):
        raise ValueError(f"the file name template {template!r} has a part that is empty, '.' or '..'")
    from pydicom.datadict import tag_for_keyword

    for _, keyword in _parsed(template):
        if keyword is not None and (not keyword or tag_for_keyword(keyword) is None):
            raise ValueError(f"the file name template {template!r}: {{{keyword}}} is not a keyword of PS3.6")
    if all(keyword != "SOPInstanceUID" for _, keyword in _parsed(template)):
        raise ValueError(f"the file name template {template!r} gives instances the same name: add {{SOPInstanceUID}}")


@lru_cache(maxsize=64)
def template_keywords(template: str) -> tuple[tuple[str, int], ...]:
    """(keyword, tag) of the elements whose values a template needs, by tag. Raises as `validate_template`."""
    from pydicom.datadict import tag_for_keyword

    validate_template(template)
    keywords = {keyword for _, keyword in _parsed(template) if keyword is not None}
    tags = ((keyword, tag_for_keyword(keyword)) for keyword in keywords)
    return tuple(sorted(((keyword, tag) for keyword, tag in tags if tag is not None), key=itemgetter(1)))


def safe_path(root: str | PathLike[str], template: str, values: Mapping[str, str]) -> str:
    """Expand `{StudyInstanceUID}/{SOPInstanceUID}.dcm` and the like, below `root` whatever the values are.

    A value that is missing or empty reads NONE. One that has to be changed gets a hash of itself at the end, so that
    two objects never share a name that neither has.
    """
    path = os.path.join(root, "")
    for literal, keyword in _parsed(template):
        path += literal if keyword is None else literal + _safe(values.get(keyword, ""))
    return path


def other_name(path: str, uid: str) -> str:
    """Where an instance goes whose name another has, as on file systems that take a and A for the same."""
    stem, extension = os.path.splitext(path)
    return f"{stem}-{_digest(uid)}{extension}"


@lru_cache(maxsize=64)
def _parsed(template: str) -> tuple[tuple[str, str | None], ...]:
    fields, wrong = [], None
    try:
        fields = list(Formatter().parse(template))
    except ValueError as error:
        wrong = str(error)
    if wrong is not None:
        raise ValueError(f"the file name template {template!r}: {wrong}")
    parts = []
    for literal, keyword, form, conversion in fields:
        if form or conversion:
            raise ValueError(f"the file name template {template!r}: {{{keyword}}} takes no format")
        parts.append((literal.replace("/", os.sep), keyword))
    return tuple(parts)


def _safe(value: str) -> str:
    if _UID.fullmatch(value) and len(value) <= MAX_NAME:
        return value
    if not value:
        return _EMPTY
    safe = _UNSAFE.sub("_", value)[:MAX_NAME]
    # Windows drops spaces and dots at the end; a dot at the beginning hides a file or makes a '..'.
    safe = "_" + safe[1:] if safe[0] in ". " else safe
    safe = safe[:-1] + "_" if safe[-1] in ". " else safe
    if _RESERVED.fullmatch(safe):
        safe = "_" + safe
    if safe == value and value != _EMPTY:
        return safe
    return f"{safe}-{_digest(value)}"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:12]
