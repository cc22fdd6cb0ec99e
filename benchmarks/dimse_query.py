"""`dimse_query.py find|get|move PORT TITLE LOAD PLACE`: print how long it took.

PLACE is the file for the responses or empty, the folder for the instances, or the AE title of the destination.
"""

from __future__ import annotations

import sys
import time

import responses
import workloads
from loops import run

from dimse import (
    CFindSCU,
    CGetSCU,
    ClientOptions,
    CMoveSCU,
    Query,
    QueryRetrieveLevel,
    StoreOptions,
    connect,
    retrieval_contexts,
    uids,
)

OPTIONS = ClientOptions(calling_ae_title="BENCH")


async def find(address: str, load: str, place: str) -> None:
    contexts = [(uids.STUDY_ROOT_FIND, uids.LITTLE_ENDIAN)]
    identifier = responses.identifier(load)
    async with connect(address, contexts=contexts, options=OPTIONS) as association:
        scu = CFindSCU(association)
        start = time.perf_counter()
        async with scu.find(QueryRetrieveLevel.IMAGE, identifier) as matches:
            found = [match async for match in matches]
        print("transfer", time.perf_counter() - start)
    responses.write(place, found)


def study(load: str) -> Query:
    return Query.studies(StudyInstanceUID=f"{workloads.root_of(responses.workload(load))}.1")


async def get(address: str, load: str, place: str) -> None:
    contexts = retrieval_contexts(["1.2.840.10008.5.1.4.1.1.2"])
    async with connect(address, contexts=contexts, options=OPTIONS) as association:
        start = time.perf_counter()
        async with CGetSCU(association, store=StoreOptions(fsync=False)).get(study(load), into=place) as instances:
            async for _ in instances:
                pass
        print("transfer", time.perf_counter() - start)


async def move(address: str, load: str, place: str) -> None:
    contexts = [(uids.STUDY_ROOT_MOVE, uids.LITTLE_ENDIAN)]
    async with connect(address, contexts=contexts, options=OPTIONS) as association:
        scu = CMoveSCU(association)
        start = time.perf_counter()
        async with scu.move(study(load), place) as counters:
            async for _ in counters:
                pass
        print("transfer", time.perf_counter() - start)


operation, port, title, *rest = sys.argv[1:]
run({"find": find, "get": get, "move": move}[operation](f"{title}@127.0.0.1:{port}", *rest))
