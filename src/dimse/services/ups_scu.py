"""Unified Procedure Step as SCU: UPS Push, Pull, Watch, Event and Query (PS3.4 Annex CC)."""

from __future__ import annotations

from typing import Final

from dimse import uids
from dimse.services.ups_datasets import IMAGE_PROCESSING, CodedConcept
from dimse.services.ups_keys import UPSKeys
from dimse.services.ups_performing import ClaimedUPS, UPSClaims
from dimse.services.ups_requests import UPSRequests
from dimse.services.ups_states import UPSState

READY: Final = UPSKeys(input_readiness="READY")
"""The steps that a worker claims by default."""


class UPS(UPSRequests):
    """A worklist manager and its Unified Procedure Steps: to create, find, perform, cancel and watch them.

    `address` is the worklist manager. The association with it is opened when it is first needed, and again when it was
    lost: a request that loses it is sent once more, which does no harm if it was carried out before; `retry` says how
    often, and when, it is opened again. The arguments are those of `dimse.connect`.

    Events come on that association if the peer sends them there. For peers that open a new one, pass a `server` that
    listens, whose AE title and address the peer knows; its N-EVENT-REPORT handler for UPS is then this object's.

    Each method raises `StatusError` with a `UPSStatus` if the peer refuses, `PresentationContextError` if it does not
    have the service, and `AssociationError` if there is no association.

    >>> async def main():
    ...     async with UPS("WORKLIST@localhost:11112", calling_ae_title="AI1") as ups:
    ...         async for step in ups.claim(UPSKeys(workitem="110004")):
    ...             async with step:
    ...                 await step.progress(50)
    """

    async def start(
        self,
        sop_instance_uid: str,
        *,
        station: CodedConcept | None = None,
        workitem: CodedConcept = IMAGE_PROCESSING,
        transaction_uid: str | None = None,
    ) -> ClaimedUPS:
        """Claim a step: it becomes IN PROGRESS, and only this side can change it (N-ACTION, Change UPS State).

        Use it in an `async with`, which ends the step. `station` is the code of the system that performs it, by default
        the calling AE title; `workitem` is what was performed, if the step does not say what was scheduled.

        With the `transaction_uid` of a step that this side has claimed before, it goes on with that step, such as after
        a crash. Raises `StatusError` if it cannot be claimed.
        """
        title = self.calling_ae_title
        performer = (title, "L", title) if station is None else station
        given = transaction_uid or uids.new_uid()
        if transaction_uid is None:
            await self.change_state(sop_instance_uid, UPSState.IN_PROGRESS, given)
        step = ClaimedUPS(self, sop_instance_uid, given, station=performer, workitem=workitem)
        self._performing[sop_instance_uid] = step
        try:
            step.dataset = await self.get(sop_instance_uid)
        except BaseException as error:
            if transaction_uid is None:
                await step.give_up(error)
            else:
                step.hand_over()  # it was IN PROGRESS before: the caller can go on with it later
            raise
        return step

    def claim(
        self,
        keys: UPSKeys = READY,
        *,
        station: CodedConcept | None = None,
        workitem: CodedConcept = IMAGE_PROCESSING,
        pause: float = 5,
        maximum_pause: float = 60,
    ) -> UPSClaims:
        """Claim the steps that are SCHEDULED and match `keys`, one after the other, for an `async for`.

        By default these are all whose input is READY. The most urgent is claimed first. A step that another performer
        claims first is skipped; while there is none, the worklist is asked again after `pause` seconds, then after
        twice as long, up to `maximum_pause`. After `subscribe`, an event ends the pause. `UPSClaims.stop` ends the
        iteration after the step that is being performed; the other arguments are those of `start`.

        Perform each step in `async with step:`, which ends it. One that was claimed, and not ended, is CANCELED, and
        the iteration raises `LocalProtocolError`.

        >>> async def main(ups):
        ...     async for step in ups.claim():
        ...         async with step:
        ...             await step.progress(50)
        """

        async def start(uid: str) -> ClaimedUPS:
            return await self.start(uid, station=station, workitem=workitem)

        return UPSClaims(self, start, keys, pause=pause, maximum_pause=maximum_pause)
