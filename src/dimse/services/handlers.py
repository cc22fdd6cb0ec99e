"""The status that a handler returns or raises, in the same way for all services."""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Final

from dimse.errors import StatusError
from dimse.status import Status, StatusCategory

_ENDED_EARLY: Final = ("C-FIND", "C-GET", "C-MOVE")
"""Operations that a handler may end with Cancel without a C-CANCEL, as archives that limit their answers do."""


async def answered(handling: Awaitable[int], name: str) -> Status:
    """The status that a handler of `name` returns or raises as a `StatusError`, with its Error Comment.

    Other exceptions of the handler pass through. Raises `TypeError` or `ValueError` if the status is not a final one.
    """
    try:
        status = await handling
    except StatusError as error:
        return raised(error, name)
    return final(status, name)


def raised(error: StatusError, name: str) -> Status:
    """The status of a `StatusError` that a handler of `name` raised. Raises `ValueError` if it is not a final one."""
    status = final(error.status, name)
    return status.with_comment(status.comment if error.comment is None else error.comment, *error.offending)


def final(status: object, name: str) -> Status:
    """`status` as the final one of an operation. Raises `TypeError` or `ValueError` if it cannot be that."""
    if not isinstance(status, int) or isinstance(status, bool):
        raise TypeError(f"the {name} handler must return a status, not {type(status).__name__}")
    if not 0 <= status <= 0xFFFF:
        raise ValueError(f"the {name} handler must return a status of 16 bits, not {status}")
    status = status if isinstance(status, Status) else Status(status)
    is_cancelled = status.category is StatusCategory.CANCEL and name not in _ENDED_EARLY
    if status.category is StatusCategory.PENDING or is_cancelled:
        raise ValueError(f"the {name} handler returned {status}, which a handler must not return")
    return status
