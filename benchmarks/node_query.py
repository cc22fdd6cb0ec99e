"""`node_query.py PORT TITLE LEVEL KEY=VALUE...`: a C-FIND; prints the seconds to the first match and to the end."""

from __future__ import annotations

import sys
import time

from loops import run

from dimse import CFindSCU, ClientOptions, Query, connect, uids


async def find(address: str, level: str, *keys: str) -> None:
    query = {"STUDY": Query.studies, "SERIES": Query.series, "IMAGE": Query.instances}[level]()
    given = dict(key.split("=", 1) for key in reversed(keys))  # the first of a key counts
    query = query.where(**{key: value for key, value in given.items() if value})
    query = query.returning(*(key for key, value in given.items() if not value))
    contexts = [(uids.STUDY_ROOT_FIND, uids.LITTLE_ENDIAN)]
    async with connect(address, contexts=contexts, options=ClientOptions(calling_ae_title="BENCH")) as association:
        start, first, count = time.perf_counter(), 0.0, 0
        async with CFindSCU(association).find(query) as matches:
            async for _ in matches:
                count += 1
                first = first or time.perf_counter() - start
        print("matches", count, "first", first, "transfer", time.perf_counter() - start)


port, title, *rest = sys.argv[1:]
run(find(f"{title}@127.0.0.1:{port}", *rest))
