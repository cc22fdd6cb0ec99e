"""Procedure steps and availability notifications; see `dimse.performed_step` and `dimse.notify_availability`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from functools import wraps
from typing import ParamSpec

from dimse.dataset.pydicom_names import Dataset
from dimse.services import instance_availability, procedure_step_scu
from dimse.services.procedure_step import StepStatus
from dimse.sync.facade import Blocking, Facade, blocking, blocking_method, in_loop

P = ParamSpec("P")


class PerformedStep(Facade[procedure_step_scu.PerformedStep]):
    """A procedure step at the peer; see `dimse.PerformedStep`."""

    @property
    def sop_instance_uid(self) -> str:
        """What names the step at the peer."""
        return self._asynchronous.sop_instance_uid

    @property
    def status(self) -> StepStatus:
        """The state of the step."""
        return self._asynchronous.status

    def add(self, *instances: Dataset) -> None:
        """Add instances that the step has made; see `dimse.PerformedSeries.add`."""
        in_loop(lambda: self._asynchronous.add(*instances))

    add_files = blocking_method(procedure_step_scu.PerformedStep.add_files)
    update = blocking_method(procedure_step_scu.PerformedStep.update)
    complete = blocking_method(procedure_step_scu.PerformedStep.complete)
    discontinue = blocking_method(procedure_step_scu.PerformedStep.discontinue)


def _blocking_step(
    make: Callable[P, AbstractAsyncContextManager[procedure_step_scu.PerformedStep]],
) -> Callable[P, AbstractContextManager[PerformedStep]]:
    @wraps(make)
    def function(*args: P.args, **kwargs: P.kwargs) -> AbstractContextManager[PerformedStep]:
        return Blocking(make(*args, **kwargs), PerformedStep)

    return function


performed_step = _blocking_step(procedure_step_scu.performed_step)
notify_availability = blocking(instance_availability.notify_availability)
