"""An archive to kill: each study gets one instance, is settled at once, and two programs are told of it.

python settling_archive.py INDEX LIST STUDIES

It goes on with the studies that the index does not have, up to a number of them, and prints a line for each thing that
it has done. LIST gets a line for each time that a program was told of an event.
"""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

from sqlalchemy import func, insert, select
from tests.node.studies import arrive

from dimse.node.events import EventKind
from dimse.node.index import Index
from dimse.node.jobs import Job, Jobs
from dimse.node.options import SettlingOptions
from dimse.node.schema import study, subscription
from dimse.node.settling import Settling


def say(what: str) -> None:
    sys.stdout.write(f"{what}\n")
    sys.stdout.flush()


async def main(path: Path, told: Path, studies: int) -> None:
    index = Index.at(path)

    async def tell(job: Job) -> None:
        with told.open("a") as file:
            file.write(f"{job.queue} {job.event_id}\n")
        say("told")

    settling = Settling(index, SettlingOptions(quiet=0.0001), clock=lambda: 2e9)
    jobs = Jobs(index, {"tell": tell})
    count = await index.read(lambda c: c.scalar(select(func.count()).select_from(study)) or 0)
    if count == 0:
        rows = [{"event_kind": EventKind.STUDY_SETTLED.value, "queue": queue, "job_kind": "tell"} for queue in "ab"]
        await index.write(lambda c: c.execute(insert(subscription).prefix_with("OR IGNORE"), rows))
    for number in range(count, studies + 1):
        if number < studies:
            await index.write(lambda c, uid=str(number): arrive(c, uid, f"{uid}.1", 1e9))  # type: ignore[misc]
            say("arrived")
        await settling.look()
        say("looked")
        while await jobs.start_due() == 0:
            await jobs.until_idle()
    index.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))
