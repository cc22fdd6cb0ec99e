"""Where an SCP keeps its Unified Procedure Steps and who subscribed to them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from dimse.dataset.pydicom_names import Dataset
from dimse.errors import StatusError
from dimse.services.ups_states import UPSState

MAXIMUM_STEPS: Final = 10_000
"""Steps in memory, unless `MemoryUPSStore` is given another number."""

RESOURCE_LIMITATION: Final = 0x0213


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

    It has room for `maximum` steps. A new one takes the place of the oldest that may be deleted; if there is none, it
    is refused with Resource Limitation (0x0213).
    """

    is_persistent = False

    def __init__(self, maximum: int = MAXIMUM_STEPS) -> None:
        if maximum < 1:
            raise ValueError(f"maximum must be at least 1, not {maximum}")
        self._maximum = maximum
        self._steps: dict[str, StoredUPS] = {}
        self._subscriptions: dict[str, UPSSubscription] = {}

    async def get(self, sop_instance_uid: str) -> StoredUPS | None:
        return self._steps.get(sop_instance_uid)

    async def put(self, step: StoredUPS) -> None:
        uid = step.sop_instance_uid
        if uid not in self._steps and len(self._steps) >= self._maximum:
            oldest = next((each for each in self._steps.values() if each.may_be_deleted), None)
            if oldest is None:
                raise StatusError(RESOURCE_LIMITATION, f"the worklist is full: it has {self._maximum} steps")
            del self._steps[oldest.sop_instance_uid]
        self._steps[uid] = step

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
