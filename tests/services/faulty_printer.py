"""A printer that answers as a test wants."""

from __future__ import annotations

import asyncio
from typing import Any

from pydicom.dataset import Dataset

from dimse import NormalizedReply, NormalizedRequest, Server, Status, StatusError, uids
from dimse.services.film_options import reference

SESSION, FILM, IMAGE = "Basic Film Session", "Basic Film Box", "Basic Grayscale Image Box"


class Printer:
    """A printer that answers as a test wants, and remembers what it was asked."""

    def __init__(self) -> None:
        self.server = Server("FAULTY", port=0)
        self.asked: list[str] = []
        self.answers: dict[str, Any] = {}
        self.boxes = 1
        self.job: list[str] = ["DONE"]
        """The states of the job, one for each time that it is asked for; the last stays."""
        self.go_on = asyncio.Event()
        server, every = self.server, (uids.FILM_SESSION, uids.FILM_BOX)
        server.on_n_create(*every)(self._create)
        server.on_n_set(uids.GRAYSCALE_IMAGE_BOX)(self._answer)
        server.on_n_delete(*every)(self._answer)
        server.on_n_action(*every)(self._action)

    def has_jobs(self) -> None:
        """Let it tell of its jobs."""
        self.server.on_n_get(uids.PRINT_JOB)(self._job)

    async def _answer(self, request: NormalizedRequest) -> NormalizedReply:
        name = f"{request.command.name} {uids.name_of(request.sop_class_uid).removesuffix(' SOP Class')}"
        self.asked.append(name)
        answer = self.answers.get(name, Status.SUCCESS)
        if isinstance(answer, asyncio.Event):
            answer.set()
            await self.go_on.wait()
            answer = Status.SUCCESS
        return NormalizedReply(status=answer)

    async def _create(self, request: NormalizedRequest) -> NormalizedReply:
        reply, dataset = await self._answer(request), Dataset()
        boxes = [reference(uids.GRAYSCALE_IMAGE_BOX, f"1.2.{each}") for each in range(1, self.boxes + 1)]
        dataset.ReferencedImageBoxSequence = boxes
        return NormalizedReply(dataset, status=reply.status)

    async def _action(self, request: NormalizedRequest) -> NormalizedReply:
        reply, dataset = await self._answer(request), Dataset()
        dataset.ReferencedPrintJobSequence = [reference(uids.PRINT_JOB, "1.9")]
        return NormalizedReply(dataset, status=reply.status)

    async def _job(self, request: NormalizedRequest) -> NormalizedReply:
        await self._answer(request)
        state = self.job.pop(0) if len(self.job) > 1 else self.job[0]
        if state == "forgotten":
            raise StatusError(0x0112)
        dataset = Dataset()
        dataset.ExecutionStatus, dataset.ExecutionStatusInfo = state, "SUPPLY EMPTY"
        return NormalizedReply(dataset)

    @property
    def address(self) -> str:
        return f"FAULTY@localhost:{self.server.port}"
