"""Storage commitment by the index: what is committed, and what is kept until it is reported."""

from __future__ import annotations

import asyncio
import itertools
import sys
from pathlib import Path
from subprocess import PIPE, Popen

from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event
from sqlalchemy.exc import OperationalError
from tests.commitment_steps import INSTANCES, UIDS, Step, does
from tests.ports import free_port
from tests.sample_objects import CT, MR

import dimse
from dimse import (
    CommitmentFailure,
    Commitments,
    CommitmentSCP,
    CommitmentSCU,
    InstanceReference,
    OpenTransaction,
    RetryPolicy,
    Server,
    uids,
)
from dimse.node import commitment
from dimse.node.commitment import IndexTransactions, committing
from dimse.node.destinations import Destinations
from dimse.node.index import Index

from .rows import member, put

SCRIPT = Path(__file__).with_name("committing_node.py")
NO_SUCH, CONFLICT = CommitmentFailure.NO_SUCH_INSTANCE, CommitmentFailure.CLASS_INSTANCE_CONFLICT


async def outcomes(index: Index, data: Path, *instances: tuple[str, str]) -> list[int | None]:
    """What is reported of each: a Failure Reason, or None if it is committed."""
    server = Server("DIMSE", host="127.0.0.1", port=0)
    async with committing(server, index, data, Destinations({})), server:
        report = await dimse.commit(f"DIMSE@127.0.0.1:{server.port}", instances, raise_failures=False)
    errors = {result.sop_instance_uid: result.error for result in report.results}
    return [getattr(errors[uid], "reason", None) for _, uid in instances]


async def test_what_is_there_is_committed_and_the_rest_is_named(index: Index, tmp_path: Path) -> None:
    _, missing, short, _, _ = put(index, tmp_path, *(member("1.1", "1", number) for number in range(1, 6)))
    missing.unlink()
    short.write_bytes(short.read_bytes()[:-2])
    asked = [(CT, "1.1.1.1"), (CT, "1.1.1.2"), (CT, "1.1.1.3"), (MR, "1.1.1.4"), (CT, "1.1.1.5"), (CT, "1.9")]
    expected = [None, NO_SUCH, NO_SUCH, CONFLICT, None, NO_SUCH]
    assert await outcomes(index, tmp_path, *asked) == expected


async def decided(index: Index, data: Path, *asked: tuple[str, str]) -> dict[str, int | None]:
    decide = commitment.Decision(index, data)
    instances = tuple(InstanceReference(*each) for each in asked)
    return dict(await decide(dimse.CommitmentRequest("1.2", "WS1", instances)))


async def test_an_index_that_cannot_be_read_is_read_again(index: Index, tmp_path: Path) -> None:
    """What is there must not be reported as not committed, as a database was restarted."""
    put(index, tmp_path, member("1.1", "1", 1))
    failures = [OperationalError("", None, Exception("gone")) for _ in range(2)]

    def fail(_: object, __: object, statement: str, *___: object) -> None:
        if "FROM instance" in statement and failures:
            raise failures.pop()

    event.listen(index.engine, "before_cursor_execute", fail)
    server, retry = Server("DIMSE", host="127.0.0.1", port=0), RetryPolicy(retries=9, delay=0.01, factor=1)
    decide, transactions = commitment.Decision(index, tmp_path), IndexTransactions(index, Destinations({}))
    async with CommitmentSCP(server, decide, transactions, retry=retry, same_association=0), server:
        await dimse.commit(f"DIMSE@127.0.0.1:{server.port}", [(CT, "1.1.1.1")])
    assert not failures


async def test_an_instance_in_two_series_is_committed_if_one_is_whole(index: Index, tmp_path: Path) -> None:
    other = member("1.1", "2", 1, SOPInstanceUID="1.1.1.1", SOPClassUID=MR)
    damaged = [member("1.1", series, 1, SOPInstanceUID="1.1.1.1") for series in ("0", "3")]
    first, second, *files = put(index, tmp_path, member("1.1", "1", 1), other, *damaged)
    for file in files:
        file.write_bytes(b"")
    assert await decided(index, tmp_path, (CT, "1.1.1.1")) == {"1.1.1.1": None}
    assert await decided(index, tmp_path, (MR, "1.1.1.1")) == {"1.1.1.1": None}
    second.unlink()
    assert await decided(index, tmp_path, (CT, "1.1.1.1")) == {"1.1.1.1": None}
    first.unlink()
    assert (await decided(index, tmp_path, (CT, "1.1.1.1")))["1.1.1.1"] is not None


async def test_long_requests_are_looked_up_in_parts(index: Index, tmp_path: Path) -> None:
    put(index, tmp_path, *(member("1.1", "1", number) for number in (1, 1200)))
    found = await decided(index, tmp_path, *((CT, f"1.1.1.{number}") for number in range(1, 1301)))
    assert len(found) == 1300
    assert [uid for uid, outcome in found.items() if outcome is None] == ["1.1.1.1", "1.1.1.1200"]


# Open transactions

_numbers = itertools.count()
STEPS = st.lists(
    st.tuples(st.sampled_from(("add", "add again", "get", "decide", "remove", "open")), st.sampled_from(UIDS)),
    max_size=12,
)


async def do(store: IndexTransactions, prefix: str, steps: list[Step]) -> None:
    """Do the steps with the index and with a dictionary, and compare."""
    model: dict[str, OpenTransaction] = {}
    for what, each in steps:
        await does(store, (what, f"{prefix}.{each}"), model)
        if what == "open":
            found = [each for each in await store.open() if each[0].startswith(f"{prefix}.")]
            assert found == [(each, model[each].requestor, 2) for each in model]


async def test_open_transactions_are_what_a_dictionary_has(index: Index) -> None:
    loop, store = asyncio.get_running_loop(), IndexTransactions(index, Destinations({}))

    @settings(max_examples=30, deadline=None)
    @given(steps=STEPS)
    def check(steps: list[Step]) -> None:
        asyncio.run_coroutine_threadsafe(do(store, f"2.25.{next(_numbers)}", steps), loop).result()

    await asyncio.to_thread(check)


async def test_the_host_of_a_requestor_is_known_after_a_restart(index: Index) -> None:
    known = {"WS1": "WS1@from-association:104", "WS2": "WS2@10.0.0.2:104"}
    destinations = Destinations(known)
    for title in known:
        destinations.called(title, "10.0.0.7")
        await IndexTransactions(index, destinations).add(OpenTransaction(f"1.{title[-1]}", title, INSTANCES))
    later = Destinations(known)
    assert later("WS1") is None
    await IndexTransactions(index, later).open()
    found = [later(title) for title in known]
    assert [str(each and each.address) for each in found] == ["WS1@10.0.0.7:104", "WS2@10.0.0.2:104"]


# A node that is killed


def start(destination: str, data: Path) -> Popen[str]:
    return Popen([sys.executable, str(SCRIPT), destination, str(data)], stdout=PIPE, text=True)  # noqa: S603 - our own


async def listens(provider: Popen[str]) -> str:
    """The address of a provider that has just been started."""
    assert provider.stdout is not None
    line = await asyncio.to_thread(provider.stdout.readline)
    return f"DIMSE@127.0.0.1:{int(line)}"


async def test_the_report_is_delivered_after_kill_and_restart(tmp_path: Path) -> None:
    index = Index.at(tmp_path / "index.sqlite")
    put(index, tmp_path, member("1.1", "1", 1))
    index.close()
    requestor = Server("WS1", host="127.0.0.1", port=free_port())
    commitments, destination = Commitments(requestor), f"WS1@127.0.0.1:{requestor.port}"
    contexts = [(uids.STORAGE_COMMITMENT, uids.LITTLE_ENDIAN)]
    with start(destination, tmp_path) as killed:
        async with dimse.connect(await listens(killed), contexts=contexts, calling_ae_title="WS1") as association:
            asked = [InstanceReference(CT, "1.1.1.1"), InstanceReference(CT, "1.9")]
            pending = await CommitmentSCU(association, commitments).request(asked)
            killed.kill()
            association.abort()
    async with requestor:
        with start(destination, tmp_path) as provider:
            results = await pending.results(50)
            provider.kill()
    assert {each.sop_instance_uid: each.committed for each in results} == {"1.1.1.1": True, "1.9": False}
