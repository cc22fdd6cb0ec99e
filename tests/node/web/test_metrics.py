"""Metrics for Prometheus."""

from __future__ import annotations

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families
from pydicom.data import get_testdata_file
from tests.node.web.archive import Answer, add, ask, problem, serving

import dimse
from dimse.node.arrival import Outcome, Placed
from dimse.node.examining import examine
from dimse.node.index import Index
from dimse.node.web.metrics import Metrics

CT = Path(str(get_testdata_file("CT_small.dcm", download=False)))
SIZE = CT.stat().st_size


def samples(answer: Answer) -> dict[tuple[str, ...], float]:
    """Samples by name and the values of labels."""
    found = text_string_to_metric_families(answer.body.decode())
    return {(each.name, *each.labels.values()): each.value for family in found for each in family.samples}


async def test_what_the_node_holds_and_whether_it_can_store(index: Index, tmp_path: Path) -> None:
    add(index, tmp_path, CT)
    async with serving(index, tmp_path, queue=lambda: 7, problem=problem("no")) as web:
        answer = await ask(web, "/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
        found = samples(answer)
        for name in ("studies", "series", "instances"):
            assert found[f"dimse_{name}",] == 1
        assert found["dimse_instances_bytes",] == SIZE
        assert found["dimse_ingest_queue",] == 7
        assert found["dimse_disk_free_bytes",] > 0
        assert [found["dimse_problem", where] for where in ("disk", "index", "ingest")] == [0, 0, 1]


async def test_batches_are_counted_by_what_became_of_their_instances(sqlite_index: Index, tmp_path: Path) -> None:
    metrics, arrival = Metrics(), examine(CT, "test")
    async with serving(sqlite_index, tmp_path, metrics=metrics) as web:
        placed = [Placed(arrival, outcome, None) for outcome in (Outcome.NEW, Outcome.SAME, Outcome.SAME)]
        metrics.committed(placed, 0.02)
        found = samples(await ask(web, "/metrics"))
        assert found["dimse_instances_stored_total", "new"] == 1
        assert found["dimse_instances_stored_total", "same"] == 2
        assert found["dimse_instances_stored_total", "rejected"] == 0
        assert found["dimse_stored_bytes_total",] == arrival.size
        assert found["dimse_batch_instances_sum",] == 3
        assert (found["dimse_commit_seconds_bucket", "0.025"], found["dimse_commit_seconds_bucket", "0.01"]) == (1, 0)


async def test_associations_and_operations_of_the_server(sqlite_index: Index, tmp_path: Path) -> None:
    async with serving(sqlite_index, tmp_path) as web:
        await dimse.echo(f"NODE@127.0.0.1:{web.server.port}", calling_ae_title="SECRET_CALLER")
        answer = await ask(web, "/metrics")
        found = samples(answer)
        assert found["dimse_operations_total", "C-ECHO", "success"] == 1
        assert found["dimse_associations_accepted_total",] == 1
        assert found["dimse_received_bytes_total",] > 0
        assert b"SECRET" not in answer.body


async def test_an_index_that_is_gone_leaves_the_other_metrics(tmp_path: Path) -> None:
    opened = Index.at(tmp_path / "index.sqlite")
    opened.close()
    async with serving(opened, tmp_path) as web:
        found = samples(await ask(web, "/metrics"))
        assert found["dimse_problem", "index"] == 1
        assert ("dimse_studies",) not in found
