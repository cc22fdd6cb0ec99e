"""Servers that accept less than they could, as some archives do."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dimse import Server
from dimse.upper_layer.pdu import A_ASSOCIATE_AC, A_ASSOCIATE_RQ


def change_acceptances(server: Server, change: Callable[[A_ASSOCIATE_RQ, A_ASSOCIATE_AC], A_ASSOCIATE_AC]) -> None:
    """Let `server` answer each request with what `change` makes of its acceptance."""
    admission = server._admission
    acceptance = admission.acceptance

    def changed(request: A_ASSOCIATE_RQ, *rest: Any) -> A_ASSOCIATE_AC:
        return change(request, acceptance(request, *rest))

    admission.acceptance = changed  # type: ignore[method-assign, assignment]
