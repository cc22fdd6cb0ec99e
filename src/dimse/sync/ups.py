"""Unified Procedure Steps without asyncio."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from dimse.address import Address
from dimse.dataset.pydicom_names import Dataset
from dimse.network.application_entity import ApplicationEntity
from dimse.options import ClientOptions, RetryPolicy
from dimse.services import ups_performing, ups_requests, ups_scu
from dimse.services.query import Query
from dimse.services.ups_datasets import IMAGE_PROCESSING, CodedConcept
from dimse.services.ups_events import UPSEvent
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_scu import READY
from dimse.services.ups_states import UPSState
from dimse.sync.facade import Facade, Iteration, blocking_method, in_loop, run, same


class ClaimedUPS(Facade[ups_performing.ClaimedUPS]):
    """A step that this side has claimed; see `dimse.ClaimedUPS`."""

    @property
    def sop_instance_uid(self) -> str:
        """Its SOP Instance UID."""
        return self._asynchronous.sop_instance_uid

    @property
    def transaction_uid(self) -> str:
        """What allows to change the step: keep it to go on with the step after a crash."""
        return self._asynchronous.transaction_uid

    @property
    def dataset(self) -> Dataset:
        """The attributes of the step as they were when it was claimed."""
        return self._asynchronous.dataset

    @property
    def state(self) -> UPSState:
        """Its state."""
        return self._asynchronous.state

    @property
    def cancel_requested(self) -> UPSEvent | None:
        """The request of another system to cancel the step, if one came; needs a subscription to its events."""
        return self._asynchronous.cancel_requested

    @property
    def was_left(self) -> bool:
        """Whether it has ended, its `with` has, or it was handed over."""
        return self._asynchronous.was_left

    progress = blocking_method(ups_performing.ClaimedUPS.progress)
    complete = blocking_method(ups_performing.ClaimedUPS.complete)
    cancel = blocking_method(ups_performing.ClaimedUPS.cancel)
    give_up = blocking_method(ups_performing.ClaimedUPS.give_up)

    def add_output(self, instances: Iterable[Dataset], *, retrieve_ae_title: str) -> None:
        """Note instances that the step has made; see `dimse.ClaimedUPS.add_output`."""
        self._asynchronous.add_output(instances, retrieve_ae_title=retrieve_ae_title)

    def hand_over(self) -> None:
        """Leave the step IN PROGRESS; see `dimse.ClaimedUPS.hand_over`."""
        in_loop(self._asynchronous.hand_over)

    def __enter__(self) -> Self:
        run(self._asynchronous.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        return run(self._asynchronous.__aexit__(kind, error, traceback))

    def __repr__(self) -> str:
        return repr(self._asynchronous)


class UPSClaims(Iteration[ups_performing.ClaimedUPS, ClaimedUPS]):
    """Claims the steps that match, one after the other; see `dimse.UPSClaims`."""

    def __init__(self, claims: ups_performing.UPSClaims) -> None:
        super().__init__(claims, ClaimedUPS)
        self._claims = claims

    def stop(self) -> None:
        """End the iteration, after the step that is being performed. Any thread may call it, no handler of signals."""
        in_loop(self._claims.stop)


class UPS(Facade[ups_requests.UPSRequests]):
    """A worklist manager and its Unified Procedure Steps; see `dimse.UPS`. Events come on its association."""

    def __init__(
        self,
        address: str | Address | ApplicationEntity,
        *,
        calling_ae_title: str | None = None,
        options: ClientOptions | None = None,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
    ) -> None:
        self._ups = ups_scu.UPS(
            address, calling_ae_title=calling_ae_title, options=options, timeout=timeout, retry=retry
        )
        super().__init__(self._ups)

    @property
    def address(self) -> Address:
        """The address of the worklist manager."""
        return self._asynchronous.address

    @property
    def calling_ae_title(self) -> str:
        """The AE title of this side."""
        return self._asynchronous.calling_ae_title

    create = blocking_method(ups_requests.UPSRequests.create)
    get = blocking_method(ups_requests.UPSRequests.get)
    set = blocking_method(ups_requests.UPSRequests.set)
    change_state = blocking_method(ups_requests.UPSRequests.change_state)
    request_cancel = blocking_method(ups_requests.UPSRequests.request_cancel)
    subscribe = blocking_method(ups_requests.UPSRequests.subscribe)
    unsubscribe = blocking_method(ups_requests.UPSRequests.unsubscribe)
    suspend = blocking_method(ups_requests.UPSRequests.suspend)

    def find(self, keys: UPSKeys | Query | None = None) -> Iterator[Dataset]:
        """The steps that match (C-FIND), as they arrive; see `dimse.UPS.find`."""
        return Iteration(self._asynchronous.find(keys), same)

    def events(self) -> Iterator[UPSEvent]:
        """The events that the peer reports from now on; see `dimse.UPS.events`."""
        return in_loop(lambda: Iteration(self._asynchronous.events(), same))

    def start(
        self,
        sop_instance_uid: str,
        *,
        station: CodedConcept | None = None,
        workitem: CodedConcept = IMAGE_PROCESSING,
        transaction_uid: str | None = None,
    ) -> ClaimedUPS:
        """Claim a step; see `dimse.UPS.start`."""
        claiming = self._ups.start(
            sop_instance_uid, station=station, workitem=workitem, transaction_uid=transaction_uid
        )
        return ClaimedUPS(run(claiming))

    def claim(
        self,
        keys: UPSKeys = READY,
        *,
        station: CodedConcept | None = None,
        workitem: CodedConcept = IMAGE_PROCESSING,
        pause: float = 5,
        maximum_pause: float = 60,
    ) -> UPSClaims:
        """Claim the steps that match, one after the other; see `dimse.UPS.claim`."""

        def claims() -> UPSClaims:
            return UPSClaims(
                self._ups.claim(keys, station=station, workitem=workitem, pause=pause, maximum_pause=maximum_pause)
            )

        return in_loop(claims)

    def __enter__(self) -> Self:
        run(self._asynchronous.__aenter__())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        run(self._asynchronous.__aexit__(kind, error, traceback))
