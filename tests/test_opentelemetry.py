"""The how-to's spans: what is part of what, and which C-STORE is linked to which C-MOVE."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode, Tracer

import dimse
from dimse import (
    CMoveSCU,
    CStoreSCU,
    Query,
    QueryRequest,
    RetryPolicy,
    Server,
    ServerOptions,
    Source,
    Status,
    StatusError,
    StoreRequest,
)
from tests.ports import free_port
from tests.sample_objects import instance
from tests.test_docs import all_blocks

EXPORTER = InMemorySpanExporter()


@pytest.fixture
def tracer() -> Tracer:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(EXPORTER))
    EXPORTER.clear()
    return provider.get_tracer("test")


def in_the_how_to(beginning: str, **given: object) -> dict[str, Any]:
    """The names that a block defines, up to its use."""
    (block,) = [block for block in all_blocks("python") if beginning in block.source]
    source = block.source.partition("\ntracing = ")[0]
    exec(source, given)  # noqa: S102 - it is our own
    return given


def spans() -> dict[tuple[str, SpanKind], ReadableSpan]:
    return {(span.name, span.kind): span for span in EXPORTER.get_finished_spans()}


async def test_a_c_move_and_its_c_stores(tracer: Tracer) -> None:
    tracing = in_the_how_to("class Tracing")["Tracing"](tracer)
    port = free_port()
    archive = Server(
        "ARCHIVE", port=port, options=ServerOptions(on_event=tracing), destinations={"ME": f"127.0.0.1:{port}"}
    )

    @archive.on_c_store
    async def store(request: StoreRequest) -> Status:
        with tracer.start_as_current_span("of the handler"):
            return Status.SUCCESS

    @archive.on_c_move
    async def move(request: QueryRequest) -> AsyncIterator[Source]:
        yield instance()

    options = dimse.ClientOptions(calling_ae_title="CT1", on_event=tracing)
    async with archive:
        with tracer.start_as_current_span("of the caller"):
            async with dimse.connect(f"ARCHIVE@127.0.0.1:{port}", options=options) as association:
                async for _ in CMoveSCU(association).move(Query.studies(StudyInstanceUID="1.2.3.1"), "ME"):
                    pass
    found = spans()
    caller = found["of the caller", SpanKind.INTERNAL].context
    asked, served = found["C-MOVE", SpanKind.CLIENT], found["C-MOVE", SpanKind.SERVER]
    sent, arrived = found["C-STORE", SpanKind.CLIENT], found["C-STORE", SpanKind.SERVER]
    of_handler = found["of the handler", SpanKind.INTERNAL]
    assert asked.parent == caller
    assert sent.parent == served.context
    assert of_handler.parent == arrived.context
    assert [link.context for link in arrived.links] == [asked.context]
    assert asked.attributes is not None
    assert asked.attributes["dicom.status"] == "0x0000"


async def test_a_failure_is_an_error(tracer: Tracer) -> None:
    tracing = in_the_how_to("class Tracing")["Tracing"](tracer)
    server = Server("ARCHIVE", port=0)

    @server.on_c_store
    async def store(request: StoreRequest) -> Status:
        return Status.CANNOT_UNDERSTAND

    async with server:
        options = dimse.ClientOptions(on_event=tracing)
        async with dimse.connect(f"ARCHIVE@127.0.0.1:{server.port}", options=options) as association:
            with pytest.raises(StatusError):
                await CStoreSCU(association, retry=RetryPolicy(retries=0)).send(instance())
    span = spans()["C-STORE", SpanKind.CLIENT]
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description == "0xC000 Cannot understand"


async def test_the_metrics_of_a_server(monkeypatch: pytest.MonkeyPatch) -> None:
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    monkeypatch.setattr("opentelemetry.metrics.get_meter", provider.get_meter)
    server: Server = in_the_how_to("create_observable_counter")["server"]
    server.port = 0
    async with server:
        await dimse.echo(f"ARCHIVE@127.0.0.1:{server.port}")
        data = reader.get_metrics_data()
    assert data is not None
    points = {
        metric.name: [(dict(point.attributes or {}), point.value) for point in metric.data.data_points]  # type: ignore[union-attr]
        for metric in data.resource_metrics[0].scope_metrics[0].metrics
    }
    assert points["dimse.operations"] == [({"operation": "C-ECHO", "status": "success"}, 1)]
    provider.shutdown()
