"""When studies are settled, and why."""

from __future__ import annotations

import asyncio
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test
from sqlalchemy import delete
from tests.node import commits
from tests.node.commits import until
from tests.node.studies import arrive, settled

from dimse.node import procedure_steps, settling
from dimse.node.events import EventKind, since
from dimse.node.index import Index
from dimse.node.options import SettlingOptions
from dimse.node.schema import event, expected, instance, procedure_step, series, study
from dimse.node.settling import Because, Senders, Settling

OPTIONS = SettlingOptions(quiet=60, quiet_after_association=5)


class Clock:
    """The time, which tests set."""

    def __init__(self) -> None:
        self.now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


@dataclass(eq=False)
class Peer:
    """Of an association, what settling sees."""

    calling_ae_title: str = "CT1"
    is_open: bool = True


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def subject(index: Index, clock: Clock) -> Settling:
    return Settling(index, OPTIONS, clock=clock)


def come(index: Index, clock: Clock, study_uid: str, instance_uid: str, announced: int | None = None) -> None:
    with index.writing() as connection:
        arrive(connection, study_uid, instance_uid, clock.now, announced)


def perform(index: Index, step: str, studies: list[str], listed: list[str] | None) -> None:
    """A procedure step begins (`listed` is None), or ends and lists instances."""
    with index.writing() as connection:
        row = {"status": "", "dataset": b"", "bytes": 0, "changed_at": 0.0}
        procedure_steps._keep(connection, step, row)
        procedure_steps._expect(connection, step, studies, listed)


def events(index: Index) -> list[tuple[str | None, dict[str, Any]]]:
    with index.reading() as connection:
        found = since(connection, 0)
    assert {each.kind for each in found} <= {EventKind.STUDY_SETTLED}
    return [(each.study_uid, dict(each.detail)) for each in found]


async def test_quiet_time_settles_once_for_each_change(index: Index, subject: Settling, clock: Clock) -> None:
    come(index, clock, "1", "1.1")
    clock.now += 59.9
    await subject.look()
    assert settled(index) == {}
    clock.now += 0.1
    for _ in range(2):
        await subject.look()
        assert settled(index) == {"1": "quiet"}
        evidence = {"because": "quiet", "quiet_seconds": 60.0, "series": 1, "instances": 1, "bytes": 1000}
        assert events(index) == [("1", evidence)]
    come(index, clock, "1", "1.2")
    assert settled(index) == {}
    clock.now += 60
    await subject.look()
    assert [detail["instances"] for _, detail in events(index)] == [1, 2]


async def test_an_instance_under_way_is_waited_for(index: Index, clock: Clock) -> None:
    arriving = Counter({"1": 1, "2": 1})
    subject, peer = Settling(index, OPTIONS, arriving=arriving, clock=clock), Peer()
    for uid in "123":
        come(index, clock, uid, f"{uid}.1")
    subject.stored(peer, "1")  # type: ignore[arg-type]
    peer.is_open = False
    for _ in range(2):
        await subject.look()
        clock.now += 61
    await subject.look()
    assert settled(index) == {"3": "quiet"}
    arriving.clear()
    await subject.look()
    assert settled(index) == {"1": "association-end", "2": "quiet", "3": "quiet"}


async def test_the_last_association_that_sent_it_has_ended(index: Index, subject: Settling, clock: Clock) -> None:
    ct, pet = Peer("CT1"), Peer("PET")
    for number, peer in enumerate((ct, pet)):
        come(index, clock, "1", f"1.{number}")
        subject.stored(peer, "1")  # type: ignore[arg-type]
    ct.is_open = False
    await subject.look()
    clock.now += 10
    await subject.look()
    assert settled(index) == {}, "one is open"
    pet.is_open = False
    await subject.look()
    assert settled(index) == {}, "it may come back at once"
    clock.now += 5
    await subject.look()
    assert settled(index) == {"1": "association-end"}
    ((_, detail),) = events(index)
    assert detail == {
        "because": "association-end",
        "senders": ["CT1", "PET"],
        "series": 1,
        "instances": 2,
        "bytes": 2000,
    }


async def test_an_association_that_stays_open_leaves_it_to_quiet_time(
    index: Index, subject: Settling, clock: Clock
) -> None:
    peer = Peer()
    come(index, clock, "1", "1.1")
    subject.stored(peer, "1")  # type: ignore[arg-type]
    clock.now += 60
    await subject.look()
    peer.is_open = False
    for _ in range(3):
        clock.now += 5
        await subject.look()
    assert [detail["because"] for _, detail in events(index)] == ["quiet"]


async def test_as_many_as_were_announced(index: Index, subject: Settling, clock: Clock) -> None:
    for number in range(3):
        await subject.look()
        assert settled(index) == {}
        come(index, clock, "1", f"1.{number}", announced=3)
    await subject.look()
    assert settled(index) == {"1": "count"}
    assert events(index)[0][1]["announced"] == 3


async def test_all_that_the_steps_of_a_study_list(index: Index, subject: Settling, clock: Clock) -> None:
    come(index, clock, "1", "1.1")
    perform(index, "8.1", ["1"], None)
    perform(index, "8.2", ["1"], ["1.1"])
    await subject.look()
    assert settled(index) == {}, "a step is in progress"
    perform(index, "8.1", ["1"], ["1.2", "1.3"])
    come(index, clock, "1", "1.2")
    await subject.look()
    assert settled(index) == {}, "one instance is missing"
    come(index, clock, "1", "1.3")
    await subject.look()
    assert settled(index) == {"1": "mpps"}
    ((_, detail),) = events(index)
    assert (sorted(detail["steps"]), detail["listed"]) == (["8.1", "8.2"], 3)
    come(index, clock, "1", "1.4")
    await subject.look()
    assert settled(index) == {}, "the steps have been used"


async def test_a_step_of_two_studies(index: Index, subject: Settling, clock: Clock) -> None:
    perform(index, "8.1", ["1", "2"], ["1.1", "2.1"])
    come(index, clock, "1", "1.1")
    await subject.look()
    assert settled(index) == {}
    come(index, clock, "2", "2.1")
    await subject.look()
    assert settled(index) == {"1": "mpps", "2": "mpps"}


async def test_a_step_in_progress_is_waited_for_but_not_forever(index: Index, subject: Settling, clock: Clock) -> None:
    peer = Peer()
    come(index, clock, "1", "1.1")
    subject.stored(peer, "1")  # type: ignore[arg-type]
    peer.is_open = False
    perform(index, "8.1", ["1"], None)
    await subject.look()
    clock.now += 59
    await subject.look()
    assert settled(index) == {}
    clock.now += 1
    await subject.look()
    assert settled(index) == {"1": "quiet"}


async def test_a_long_list(index: Index, subject: Settling, clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "_UIDS", 2)
    uids = [f"1.{number}" for number in range(5)]
    perform(index, "8.1", ["1"], uids)
    for uid in uids:
        await subject.look()
        assert settled(index) == {}
        come(index, clock, "1", uid)
    await subject.look()
    assert settled(index) == {"1": "mpps"}


async def test_more_studies_than_a_page(
    index: Index, subject: Settling, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settling, "PAGE", 2)
    peer = Peer()
    for number in range(5):
        come(index, clock, f"quiet {number}", "1")
        come(index, clock, f"count {number}", "1", announced=1)
        perform(index, f"8.{number}", [f"mpps {number}"], ["1"])
        come(index, clock, f"mpps {number}", "1")
    await subject.look()
    clock.now += 60
    for number in range(5):
        come(index, clock, f"ended {number}", "1")
        subject.stored(peer, f"ended {number}")  # type: ignore[arg-type]
    peer.is_open = False
    await subject.look()
    clock.now += 5
    await subject.look()
    assert Counter(settled(index).values()) == dict.fromkeys(("quiet", "count", "mpps", "association-end"), 5)
    assert len(events(index)) == 20


async def test_a_clock_that_was_set_back_delays_nothing(index: Index, subject: Settling, clock: Clock) -> None:
    come(index, clock, "1", "1.1")
    clock.now -= 24 * 3600
    await subject.look()
    clock.now += 60
    await subject.look()
    assert settled(index) == {"1": "quiet"}


async def test_what_changed_since_its_evidence_was_found_is_not_settled(index: Index, clock: Clock) -> None:
    come(index, clock, "1", "1.1")
    clock.now += 60
    found = await index.read(lambda c: settling.by_quiet(c, clock.now, 60))
    come(index, clock, "1", "1.2")
    await index.write(lambda c: settling.settle(c, found, clock.now))
    assert settled(index) == {}
    assert events(index) == []


async def test_two_that_find_the_same_settle_it_once(index: Index, clock: Clock) -> None:
    come(index, clock, "1", "1.1")
    found = await index.read(lambda c: settling.by_quiet(c, clock.now, 0))
    for _ in range(2):
        await index.write(lambda c: settling.settle(c, found, clock.now))
    assert len(events(index)) == 1


async def test_what_comes_by_another_way_is_waited_for_after_an_association(
    index: Index, subject: Settling, clock: Clock
) -> None:
    peer = Peer()
    come(index, clock, "1", "1.1")
    subject.stored(peer, "1")  # type: ignore[arg-type]
    peer.is_open = False
    await subject.look()
    clock.now += 5
    come(index, clock, "1", "1.2")  # imported
    await subject.look()
    assert settled(index) == {}
    clock.now += 5
    await subject.look()
    assert settled(index) == {"1": "association-end"}


def test_no_more_studies_are_remembered_than_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "MAXIMUM_WATCHED", 3)
    senders, peer = Senders(), Peer()
    for number in range(5):
        senders.stored(peer, str(number))  # type: ignore[arg-type]
    peer.is_open = False
    senders.look(1)
    assert senders.ended(1) == {uid: ["CT1"] for uid in "012"}
    senders.forget("012")
    senders.stored(peer, "3")  # type: ignore[arg-type]
    senders.look(2)
    assert list(senders.ended(2)) == ["3"]


async def test_inside_its_block_it_looks_by_itself(index: Index) -> None:
    come(index, Clock(), "1", "1.1")  # long ago
    async with Settling(index, OPTIONS):
        assert await until(index, commits.settled)


@dataclass
class Known:
    """A study as the model has it."""

    changed: float
    instances: set[str] = field(default_factory=set)
    announced: int | None = None
    because: Because | None = None
    peers: set[Peer] = field(default_factory=set)
    ended: float | None = None


STUDIES = st.sampled_from(["1", "2", "3"])


class Settlements(RuleBasedStateMachine):
    """Any order of arrivals, steps, ends, looks, failures and restarts, beside a model that settles one by one."""

    index: Index

    @initialize()
    def begin(self) -> None:
        with self.index.writing() as connection:
            for table in (event, expected, procedure_step, instance, series, study):
                connection.execute(delete(table))
        self.clock = Clock()
        self.studies: dict[str, Known] = {}
        self.steps: dict[tuple[str, str], list[str] | None] = {}
        self.peers = [Peer("CT1"), Peer("CT2")]
        self.told: Counter[tuple[str, str]] = Counter()
        self.uids = 0
        self.restart()

    @rule()
    def restart(self) -> None:
        """As after kill -9: what was in memory is gone."""
        self.subject = Settling(self.index, OPTIONS, clock=self.clock)
        self.peers = [Peer("CT1"), Peer("CT2")]
        for known in self.studies.values():
            known.peers, known.ended = set(), None

    @rule(uid=STUDIES, peer=st.sampled_from([None, 0, 1]), announced=st.sampled_from([None, 2, 3]))
    def arrive(self, uid: str, peer: int | None, announced: int | None) -> None:
        self.clock.now += 0.001
        self.uids += 1
        come(self.index, self.clock, uid, str(self.uids), announced)
        known = self.studies.setdefault(uid, Known(self.clock.now, announced=announced))
        known.instances.add(str(self.uids))
        known.changed, known.because = self.clock.now, None
        if peer is not None:
            self.subject.stored(self.peers[peer], uid)  # type: ignore[arg-type]
            known.peers.add(self.peers[peer])
            known.ended = None

    @rule(number=st.sampled_from([0, 1]))
    def end_association(self, number: int) -> None:
        self.peers[number].is_open = False
        self.peers[number] = Peer(self.peers[number].calling_ae_title)

    @rule(step=st.sampled_from(["8.1", "8.2"]), studies=st.sets(STUDIES, min_size=1), more=st.integers(0, 2))
    def step(self, step: str, studies: set[str], more: int) -> None:
        """A step begins; or ends, and lists what is here and `more` that is to come."""
        here = {uid for each in studies if each in self.studies for uid in self.studies[each].instances}
        listed = None if more == 2 else sorted(here) + [str(self.uids + 1)] * more
        perform(self.index, step, sorted(studies), listed)
        self.steps = {key: value for key, value in self.steps.items() if key[0] != step}
        if listed != []:
            self.steps |= {(step, uid): listed for uid in studies}

    @rule(seconds=st.sampled_from([1, 5, 60]))
    def wait(self, seconds: int) -> None:
        self.clock.now += seconds

    @rule()
    def look(self) -> None:
        asyncio.run(self.subject.look())
        self._look()
        self._check()

    @rule()
    def fail(self) -> None:
        """The transaction that settles fails: nothing of it is kept."""
        with self.index.reading() as connection:
            found = settling.by_quiet(connection, self.clock.now, 0)
        with pytest.MonkeyPatch.context() as patch, suppress(RuntimeError), self.index.writing() as connection:
            patch.setattr(settling, "record", _fail)
            settling.settle(connection, found, self.clock.now)
        self._check()

    def _look(self) -> None:
        now, studies = self.clock.now, self.studies.items()
        for known in self.studies.values():
            if known.peers and known.ended is None and not any(peer.is_open for peer in known.peers):
                known.ended = now
        for uid in [uid for uid, known in studies if not known.because and self._is_listed(uid)]:
            self._settle(uid, Because.MPPS)
            self.steps = {key: value for key, value in self.steps.items() if key[1] != uid}
        for uid, known in studies:
            if not known.because and known.announced == len(known.instances):
                self._settle(uid, Because.COUNT)
        for uid, known in studies:
            in_progress = any(key[1] == uid and value is None for key, value in self.steps.items())
            if known.ended is not None and known.ended <= now - 5:
                if not known.because and known.changed <= now - 5 and not in_progress:
                    self._settle(uid, Because.ASSOCIATION_END)
                if known.because:
                    known.peers, known.ended = set(), None
        for uid, known in studies:
            if not known.because and known.changed <= now - 60:
                self._settle(uid, Because.QUIET)

    def _is_listed(self, uid: str) -> bool:
        mine = {step: listed for (step, study_uid), listed in self.steps.items() if study_uid == uid}
        return bool(mine) and all(listed is not None and self._are_here(step, listed) for step, listed in mine.items())

    def _are_here(self, step: str, listed: list[str]) -> bool:
        of_step = [uid for each, uid in self.steps if each == step and uid in self.studies]
        return set(listed) <= {uid for each in of_step for uid in self.studies[each].instances}

    def _settle(self, uid: str, because: Because) -> None:
        self.studies[uid].because = because
        self.told[uid, because] += 1

    def _check(self) -> None:
        assert settled(self.index) == {uid: known.because for uid, known in self.studies.items() if known.because}
        assert Counter((uid, detail["because"]) for uid, detail in events(self.index)) == self.told


def _fail(*_: object, **__: object) -> None:
    raise RuntimeError("killed")


def test_each_change_is_settled_once_whatever_happens(index: Index) -> None:
    class OfIndex(Settlements):
        pass

    OfIndex.index = index
    few = settings(max_examples=30 if index.is_sqlite else 10, stateful_step_count=25, deadline=None)
    run_state_machine_as_test(OfIndex, settings=few)
