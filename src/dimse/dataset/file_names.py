"""Safe names for received files, made from the attributes of the instance."""

from __future__ import annotations

import hashlib
import os
import re
from functools import lru_cache
from operator import itemgetter
from pathlib import PurePosixPath, PureWindowsPath
from string import Formatter
from typing import TYPE_CHECKING, Final

from dimse.dataset.folders import TEMPORARY_PREFIX

if TYPE_CHECKING:
    from collections.abc import Mapping

MAX_NAME: Final = 100
"""Characters of one value in a path: a UID has up to 64, and a file name up to 255."""

MAX_COMPONENT: Final = 240
"""Bytes of a name that a template makes: file systems allow 255, and `other_name` adds some."""

_DIGITS: Final = 12
_MAX_EXTENSION: Final = 16
_REPLACED: Final = "\ufffd"

_UNSAFE = re.compile(r"[^][A-Za-z0-9._^ +,@()=-]")
_UID = re.compile(r"[0-9][0-9.]*[0-9]", re.ASCII)
"""Already safe, and the usual case."""
_RESERVED = re.compile(r"(CON|PRN|AUX|NUL|COM[0-9]|LPT[0-9])(\..*)?", re.IGNORECASE)
_EMPTY: Final = "NONE"


def validate_template(template: str) -> None:
    """Check a file name template. Raises `ValueError` with the reason.

    A template is a relative path with keywords of PS3.6 in braces. It must stay in its folder and contain
    {SOPInstanceUID}, so that each instance gets a name of its own.
    """
    _check_path(template)
    _check_keywords(template)


def _check_path(template: str) -> None:
    if not template or template.endswith("/"):
        raise ValueError(f"the file name template {template!r} names no file")
    if "\\" in template or "\0" in template:
        raise ValueError(f"the file name template {template!r} has a backslash or NUL: separate folders by /")
    if PurePosixPath(template).is_absolute() or PureWindowsPath(template).drive:
        raise ValueError(f"the file name template {template!r} is absolute: it must be relative")
    if any(part.strip(". ") == "" for part in template.split("/")):
        raise ValueError(f"the file name template {template!r} has a part that is empty, '.' or '..'")


def _check_keywords(template: str) -> None:
    from pydicom.datadict import tag_for_keyword

    for _, keyword in _parsed(template):
        if keyword is not None and (not keyword or tag_for_keyword(keyword) is None):
            raise ValueError(f"the file name template {template!r}: {{{keyword}}} is not a keyword of PS3.6")
    if all(keyword != "SOPInstanceUID" for _, keyword in _parsed(template)):
        raise ValueError(f"the file name template {template!r} gives instances the same name: add {{SOPInstanceUID}}")


@lru_cache(maxsize=64)
def template_keywords(template: str) -> tuple[tuple[str, int], ...]:
    """(keyword, tag) of the elements in a template, sorted by tag. Raises `ValueError` for an invalid template."""
    from pydicom.datadict import tag_for_keyword

    validate_template(template)
    keywords = {keyword for _, keyword in _parsed(template) if keyword is not None}
    tags = ((keyword, tag_for_keyword(keyword)) for keyword in keywords)
    return tuple(sorted(((keyword, tag) for keyword, tag in tags if tag is not None), key=itemgetter(1)))


def safe_name(template: str, values: Mapping[str, str]) -> str:
    """Expand a template such as `{StudyInstanceUID}/{SOPInstanceUID}.dcm`, to a relative path that leads down only.

    A missing or empty value becomes `NONE`. An altered value gets a hash suffix, so that different values cannot
    collide.
    """
    path = ""
    for literal, keyword in _parsed(template):
        path += literal if keyword is None else literal + _safe(values.get(keyword, ""))
    if len(path) > MAX_COMPONENT or _has_many_bytes(path):
        path = os.sep.join(_shortened(component) for component in path.split(os.sep))
    folder, separator, name = path.rpartition(os.sep)
    if name.startswith(TEMPORARY_PREFIX):  # a sweep would take it, or `other_name` of it, for that of a dead receiver
        name = "_" + name
    return f"{folder}{separator}{name}"


def _has_many_bytes(path: str) -> bool:
    return not path.isascii() and len(os.fsencode(path)) > MAX_COMPONENT


def _shortened(component: str) -> str:
    if len(os.fsencode(component)) <= MAX_COMPONENT:
        return component
    stem, extension = os.path.splitext(component)
    extension = extension if len(extension) <= _MAX_EXTENSION and extension.isascii() else ""
    stem = os.fsencode(stem)[: MAX_COMPONENT - _MAX_EXTENSION - _DIGITS - 1].decode("ascii", "replace")
    return f"{stem.replace(_REPLACED, '_')}-{_digest(component)}{extension}"


def other_name(name: str, uid: str) -> str:
    """The name of an instance if another one has `name`, as on file systems that ignore case."""
    stem, extension = os.path.splitext(name)
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
            raise ValueError(f"the file name template {template!r}: {{{keyword}}} must not have a format or conversion")
        parts.append((literal.replace("/", os.sep), keyword))
    return tuple(parts)


def _safe(value: str) -> str:
    if _UID.fullmatch(value) and len(value) <= MAX_NAME:
        return value
    if not value:
        return _EMPTY
    safe = _UNSAFE.sub("_", value)[:MAX_NAME]
    # Windows drops trailing spaces and dots; a leading dot hides a file or makes a '..'; a dash looks like an option.
    safe = "_" + safe[1:] if safe[0] in ". -" else safe
    safe = safe[:-1] + "_" if safe[-1] in ". " else safe
    if _RESERVED.fullmatch(safe):
        safe = "_" + safe
    if safe == value and value != _EMPTY:
        return safe
    return f"{safe}-{_digest(value)}"


def _digest(value: str) -> str:
    return hashlib.sha256(value.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
