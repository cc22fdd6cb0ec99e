"""The metrics of a node for Prometheus: numbers alone, without AE titles, hosts, UIDs and data of patients.

Counters and histograms are kept here and told by the pieces of the node; gauges are read when they are asked for.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector
from sqlalchemy import Connection, func, select

from dimse.events import AssociationEvent, OperationEnded
from dimse.network.tally import ServerStats
from dimse.node.arrival import Outcome, Placed
from dimse.node.index import Index
from dimse.node.jobs import queues
from dimse.node.schema import event, study
from dimse.node.web.health import Health, State

TOTALS_SHARE: Final = 0.02
"""The share of the time in which the studies are counted, at most."""

_COMMIT_BUCKETS: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10)
_OPERATION_BUCKETS: Final = (0.001, 0.005, 0.01, 0.05, 0.1, 0.5, 1, 5, 10, 60, 600)
_BATCH_BUCKETS: Final = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)
_TIMED: Final = frozenset(("C-FIND", "C-GET", "C-MOVE"))
"""Operations whose time is kept; that of a C-STORE is the peer's."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What the index holds."""

    studies: int
    series: int
    instances: int
    bytes: int
    events: int
    """Ever recorded."""
    jobs: int
    """Waiting."""


def totals(connection: Connection) -> Totals:
    """Count what the index holds."""
    sums = (
        func.coalesce(func.sum(column), 0) for column in (study.c.series_count, study.c.instance_count, study.c.bytes)
    )
    studies, series, instances, size = connection.execute(select(func.count(), *sums).select_from(study)).one()
    events = connection.execute(select(func.coalesce(func.max(event.c.id), 0))).scalar_one()
    jobs = sum(each.waiting for each in queues(connection))
    return Totals(studies, int(series), int(instances), int(size), events, jobs)


class Metrics:
    """Counts what a node does. Its methods are called from the event loop."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        here = self.registry
        self._stored = Counter(
            "dimse_instances_stored", "Instances that arrived, by what became of them", ["outcome"], registry=here
        )
        self._stored_bytes = Counter("dimse_stored_bytes", "Bytes of new instances", registry=here)
        self._batch = Histogram(
            "dimse_batch_instances", "Instances of a transaction", buckets=_BATCH_BUCKETS, registry=here
        )
        self._commit = Histogram(
            "dimse_commit_seconds", "Seconds of a transaction", buckets=_COMMIT_BUCKETS, registry=here
        )
        self._operation = Histogram(
            "dimse_operation_seconds",
            "Seconds of a query or retrieval",
            ["operation"],
            buckets=_OPERATION_BUCKETS,
            registry=here,
        )
        for outcome in Outcome:
            self._stored.labels(outcome.value)
        for name in sorted(_TIMED):
            self._operation.labels(name)

    def committed(self, placed: Sequence[Placed], seconds: float) -> None:
        """A batch was committed, in so many seconds."""
        self._batch.observe(len(placed))
        self._commit.observe(seconds)
        for each in placed:
            self._stored.labels(each.outcome.value).inc()
            if each.outcome in (Outcome.NEW, Outcome.REPLACED):
                self._stored_bytes.inc(each.arrival.size)

    def note(self, event: AssociationEvent) -> None:
        """An event of an association; for `ServerOptions.on_event`."""
        if isinstance(event, OperationEnded) and event.request.is_requested_by_peer and event.request.name in _TIMED:
            self._operation.labels(event.request.name).observe(event.seconds)


class Exposition:
    """The text of `/metrics`."""

    def __init__(
        self,
        metrics: Metrics,
        index: Index,
        health: Health,
        stats: Callable[[], ServerStats],
        queue: Callable[[], int],
    ) -> None:
        self._metrics = metrics
        self._index = index
        self._health = health
        self._stats = stats
        self._queue = queue
        self._totals: Totals | None = None
        self._count_at = 0.0
        """When they are counted again."""

    async def text(self) -> bytes:
        """All metrics, in the text format of Prometheus."""
        state = await self._health.state()
        gauges = CollectorRegistry()
        gauges.register(_Once([*_of_server(self._stats()), *self._of_node(state, await self._counted(state))]))
        return generate_latest(self._metrics.registry) + generate_latest(gauges)

    async def summary(self) -> dict[str, Any]:
        """What the page says of the node: what it holds, and what is wrong with it."""
        state = await self._health.state()
        return {"problems": state.problems, "free": state.free, **_held(await self._counted(state))}

    async def _counted(self, state: State) -> Totals | None:
        """The totals; old ones while the index has a problem."""
        time = asyncio.get_running_loop().time
        began = time()
        if "index" not in state.problems and (self._totals is None or began > self._count_at):
            self._totals = await self._index.read(totals)
            self._count_at = began + (time() - began) / TOTALS_SHARE
        return self._totals

    def _of_node(self, state: State, held: Totals | None) -> Iterator[Metric]:
        yield _gauge("ingest_queue", "Instances that wait for their transaction", self._queue())
        if state.free is not None:
            yield _gauge("disk_free_bytes", "Bytes free on the file system of the data folder", state.free)
        problem = GaugeMetricFamily("dimse_problem", "1 while something keeps the node from storing", labels=["where"])
        for where in ("disk", "index", "ingest"):
            problem.add_metric([where], int(where in state.problems))
        yield problem
        if held is not None:
            yield _gauge("studies", "Studies in the index", held.studies)
            yield _gauge("series", "Series in the index", held.series)
            yield _gauge("instances", "Instances in the index", held.instances)
            yield _gauge("instances_bytes", "Bytes of the instances in the index", held.bytes)
            yield _gauge("jobs", "Work that waits", held.jobs)
            yield CounterMetricFamily("dimse_events", "Events ever recorded", held.events)


def _of_server(stats: ServerStats) -> Iterator[Metric]:
    yield _gauge("associations", "Associations that are established", stats.associations)
    yield CounterMetricFamily("dimse_associations_accepted", "Associations that were accepted", stats.accepted)
    rejected = sum(stats.rejected.values())
    yield CounterMetricFamily("dimse_associations_rejected", "Associations that were rejected", rejected)
    yield CounterMetricFamily(
        "dimse_received_bytes", "Bytes received on associations that peers requested", stats.bytes_received
    )
    yield CounterMetricFamily("dimse_sent_bytes", "Bytes sent on associations that peers requested", stats.bytes_sent)
    operations = CounterMetricFamily(
        "dimse_operations", "Operations that were answered", labels=["operation", "status"]
    )
    for (name, category), number in sorted(stats.operations.items(), key=str):
        operations.add_metric([name, category.name.lower()], number)
    yield operations


def _held(held: Totals | None) -> dict[str, int]:
    return {} if held is None else asdict(held)


def _gauge(name: str, says: str, value: float) -> Metric:
    return GaugeMetricFamily(f"dimse_{name}", says, value)


class _Once(Collector):
    """Metrics that were read already."""

    def __init__(self, metrics: Iterable[Metric]) -> None:
        self._metrics = metrics

    def collect(self) -> Iterable[Metric]:
        return self._metrics
