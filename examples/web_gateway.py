"""Instances of an archive over HTTP: each is passed on while it arrives, in constant memory.

    ARCHIVE=ARCHIVE@localhost:11112 python -m uvicorn web_gateway:app

Then http://localhost:8000/studies/1.2.3/series/1.2.4/instances/1.2.5 is a DICOM file.
"""

import os
from collections.abc import AsyncIterator

from fastapi import FastAPI, HTTPException
from fastapi.responses import StreamingResponse

import dimse
from dimse import CGetSCU, Query, retrieval_contexts

app = FastAPI()
archive = dimse.Client(os.environ.get("ARCHIVE", "ARCHIVE@localhost:11112"))  # keeps its associations


async def file_of(query: Query) -> AsyncIterator[bytes]:
    async with archive.connect(retrieval_contexts()) as association:
        async for instance in CGetSCU(association).get(query):
            async for chunk in instance.chunks():
                yield chunk


@app.get("/studies/{study}/series/{series}/instances/{uid}")
async def retrieve(study: str, series: str, uid: str) -> StreamingResponse:
    try:
        chunks = file_of(Query.instances(StudyInstanceUID=study, SeriesInstanceUID=series, SOPInstanceUID=uid))
        first = await anext(chunks)  # before the status is sent: what fails now is not a 200
    except (StopAsyncIteration, ValueError):
        raise HTTPException(404) from None
    except (dimse.DimseError, ExceptionGroup) as error:
        raise HTTPException(502, str(error)) from None

    async def body() -> AsyncIterator[bytes]:
        yield first
        async for chunk in chunks:
            yield chunk

    return StreamingResponse(body(), media_type="application/dicom")
