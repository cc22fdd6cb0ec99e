"""Retrievals from a server under test, by any identifier."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any

from pydicom import Dataset
from tests.sample_objects import CT

import dimse
from dimse import CGetSCU, Query, QueryRetrieveLevel, QueryRetrieveModel, Status, retrieval_contexts
from dimse.upper_layer.extended import QueryFeatures

MODELS = (
    QueryRetrieveModel.PATIENT_ROOT,
    QueryRetrieveModel.STUDY_ROOT,
    QueryRetrieveModel.PATIENT_STUDY_ONLY,
    QueryRetrieveModel.COMPOSITE_INSTANCE_ROOT,
    QueryRetrieveModel.WITHOUT_BULK_DATA,
)


@dataclass(frozen=True, slots=True, repr=False)
class Raw(Query):
    """A query that sends any identifier."""

    raw: tuple[tuple[str, Any], ...] = ()

    def retrieve_identifier(self) -> Dataset:
        identifier = Dataset()
        for keyword, value in self.raw:
            setattr(identifier, keyword, list(value) if isinstance(value, tuple) else value)
        return identifier


def raw(model: QueryRetrieveModel, level: QueryRetrieveLevel, **keys: Any) -> Raw:
    return Raw(level, model, raw=tuple({"QueryRetrieveLevel": str(level), **keys}.items()))


def getting(port: int, features: QueryFeatures | None = None) -> AbstractAsyncContextManager[dimse.Association]:
    """An association for C-GET of CT instances."""
    contexts = retrieval_contexts([CT], models=MODELS)
    if features:
        proposed = [dimse.ProposedContext(uid, dimse.uids.LITTLE_ENDIAN, features=features) for uid in _gets()]
        contexts = [each for each in contexts if each.abstract_syntax not in _gets()] + proposed
    return dimse.connect(f"DIMSE@127.0.0.1:{port}", contexts=contexts)


def _gets() -> list[str]:
    return [model.sop_class("get") for model in MODELS]


@dataclass
class Got:
    """What came of a C-GET."""

    status: int
    uids: list[str] = field(default_factory=list)
    """In their order."""
    data: dict[str, bytes] = field(default_factory=dict)
    """As files."""
    failed: list[str] = field(default_factory=list)


async def got(association: dimse.Association, query: Query, before: Callable[[str], object] = str) -> Got:
    """Get it, and keep all of it. `before` is called with each SOP Instance UID, before its C-STORE is answered."""
    came = Got(-1)

    async def store(request: dimse.StoreRequest) -> Status:
        came.data[request.sop_instance_uid] = b"".join([bytes(chunk) async for chunk in request.chunks()])
        came.uids.append(request.sop_instance_uid)
        before(request.sop_instance_uid)
        return Status.SUCCESS

    results = CGetSCU(association).get(query, handler=store, raise_failures=False)
    async for _ in results:
        pass
    assert results.status is not None
    came.status = results.status
    came.failed = [
        str(each.sop_instance_uid) for each in results.failures if isinstance(each, dimse.SubOperationFailed)
    ]
    return came
