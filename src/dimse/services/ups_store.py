"""Where an SCP keeps its Unified Procedure Steps and the subscriptions to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from dimse.dataset.codec import encode
from dimse.dataset.pydicom_names import Dataset
from dimse.errors import StatusError
from dimse.services.ups_states import UPSState
from dimse.status import Status
from dimse.uids import EXPLICIT_VR_LITTLE_ENDIAN

MAXIMUM_STEPS: Final = 10_000
"""Steps in memory, unless `MemoryUPSStore` is given another number."""

MAXIMUM_STEP_BYTES: Final = 256 * 1024 * 1024
"""Bytes of their data sets, as they would be encoded. In memory they take some ten times of that."""


@dataclass(frozen=True, slots=True)
class StoredUPS:
    """A step as an SCP keeps it. It is replaced as a whole, so that no reader sees half of a change."""

    sop_instance_uid: str
    dataset: Dataset = field(repr=False)
    """Its attributes, without the Transaction UID, which the SCP tells nobody."""
    transaction_uid: str | None = field(default=None, repr=False)
    """That of the performer, since it was claimed."""
    subscribers: Mapping[str, bool] = field(default_factory=dict)
    """The AE titles that get its events, each with whether it has a deletion lock (PS3.4 CC.2.3)."""

    @property
    def state(self) -> UPSState:
        """Its Procedure Step State."""
        return UPSState(self.dataset.ProcedureStepState)

    @property
    def may_be_deleted(self) -> bool:
        """Whether it is at its end, and without a deletion lock."""
        return self.state.is_final and not any(self.subscribers.values())


@dataclass(frozen=True, slots=True)
class UPSSubscription:
    """The subscription of an application entity to all steps, also future ones, or to those that match keys."""

    deletion_lock: bool
    keys: Dataset | None = field(default=None, repr=False)
    """The keys of a Filtered Global Subscription; None subscribes to all."""


class UPSStore(Protocol):
    """What a `UPSManager` keeps its steps in: its methods are called one after the other.

    A step that was put must survive what the store is to survive before `put` returns. A store deletes steps when it
    likes to, but only those with `may_be_deleted`.
    """

    is_persistent: bool
    """Whether its content survives a restart."""

    async def get(self, sop_instance_uid: str) -> StoredUPS | None:
        """The step, if there is one."""

    async def put(self, step: StoredUPS) -> None:
        """Keep a step, in place of the one with its UID. Raises `StatusError` if there is no room for it."""

    def steps(self) -> AsyncIterator[StoredUPS]:
        """All steps. They may change while the caller iterates."""

    async def global_subscriptions(self) -> Mapping[str, UPSSubscription]:
        """The global subscriptions by AE title."""

    async def put_global_subscription(self, ae_title: str, subscription: UPSSubscription | None) -> None:
        """Keep the global subscription of an AE title in place of its former one; None removes it."""


class MemoryUPSStore:
    """A `UPSStore` in memory: everything is lost when the process ends.

    It has room for `maximum` steps, with `MAXIMUM_STEP_BYTES` in all. What is put beyond that takes the place of the
    oldest that may be deleted; if there is none, it is refused with Resource Limitation (0x0213).
    """

    is_persistent = False

    def __init__(self, maximum: int = MAXIMUM_STEPS) -> None:
        if maximum < 1:
            raise ValueError(f"maximum must be at least 1, not {maximum}")
        self._maximum = maximum
        self._steps: dict[str, StoredUPS] = {}
        self._sizes: dict[str, int] = {}
        self._bytes = 0
        """Those of all steps."""
        self._subscriptions: dict[str, UPSSubscription] = {}

    async def get(self, sop_instance_uid: str) -> StoredUPS | None:
        return self._steps.get(sop_instance_uid)

    async def put(self, step: StoredUPS) -> None:
        uid, former = step.sop_instance_uid, self._steps.get(step.sop_instance_uid)
        if former is not None and former.dataset is step.dataset:
            self._steps[uid] = step
            return
        size = len(encode(step.dataset, EXPLICIT_VR_LITTLE_ENDIAN))
        self._make_room(uid, size)
        self._bytes += size - self._sizes.get(uid, 0)
        self._steps[uid], self._sizes[uid] = step, size

    def _make_room(self, uid: str, size: int) -> None:
        """Delete the oldest steps that may be, until there is room for one. Raises `StatusError` if there is none."""
        is_new, more = uid not in self._steps, size - self._sizes.get(uid, 0)
        deletable = (each.sop_instance_uid for each in [*self._steps.values()] if each.may_be_deleted)
        while len(self._steps) + is_new > self._maximum or self._bytes + more > MAXIMUM_STEP_BYTES:
            oldest = next((each for each in deletable if each != uid), None)
            if oldest is None:
                raise StatusError(Status.RESOURCE_LIMITATION, f"the worklist is full: it has {len(self._steps)} steps")
            del self._steps[oldest]
            self._bytes -= self._sizes.pop(oldest)

    async def steps(self) -> AsyncIterator[StoredUPS]:
        for step in [*self._steps.values()]:
            yield step

    async def global_subscriptions(self) -> Mapping[str, UPSSubscription]:
        return dict(self._subscriptions)

    async def put_global_subscription(self, ae_title: str, subscription: UPSSubscription | None) -> None:
        if subscription is None:
            self._subscriptions.pop(ae_title, None)
        else:
            self._subscriptions[ae_title] = subscription
