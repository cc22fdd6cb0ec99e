"""Counters equal recounts, and each row has a file of its own, after any mixture of stores, duplicates and deletes.

Transactions that fail stand for processes that are killed in them: what a database does then is the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from sqlalchemy import Connection, delete, select
from tests.node.arrivals import CT, MR, Said, arrival

from dimse.node import deleting
from dimse.node.arrival import Arrival, OnDuplicate, Outcome
from dimse.node.index import Index
from dimse.node.places import usual_path
from dimse.node.placing import place, stored_path
from dimse.node.recount import recount
from dimse.node.removing import remove_lost, remove_study
from dimse.node.schema import instance, job, metadata, series, set_aside, study
from dimse.node.shared_texts import SharedTexts

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Content:
    """What an instance has, in one of its versions."""

    number: int

    @property
    def size(self) -> int:
        return (1, 10, 100)[self.number]

    @property
    def sop_class(self) -> str:
        return (CT, MR)[self.number % 2]


class Killed(Exception):
    """The process ends in a transaction."""


@contextmanager
def transaction(index: Index, *, killed: bool) -> Iterator[Connection]:
    with suppress(Killed), index.writing() as connection:
        yield connection
        if killed:
            raise Killed


numbers = st.integers(1, 2)
keys = st.builds(lambda a, b, c: (f"{a}", f"{a}.{b}", f"{c}"), numbers, numbers, st.integers(1, 3))
contents = st.builds(Content, st.integers(0, 2))
ends = st.sampled_from(["committed", "committed", "killed before", "killed after"])


class Archive(RuleBasedStateMachine):
    """An index, a folder, and what should be in both."""

    def __init__(self, index: Index, data: Path) -> None:
        super().__init__()
        self.index = index
        self.data = data
        shutil.rmtree(data, ignore_errors=True)
        data.mkdir()
        with index.writing() as connection:
            for table in reversed(metadata.sorted_tables):
                connection.execute(delete(table))
        self.caches = {1: SharedTexts(), 2: SharedTexts()}  # of two processes
        self.instances: dict[Key, Content] = {}
        self.aside: set[tuple[Key, Content]] = set()
        self.modalities: dict[tuple[str, str], str] = {}

    @rule(
        arriving=st.lists(st.tuples(keys, contents), min_size=1, max_size=6),
        on_duplicate=st.sampled_from(OnDuplicate),
        modality=st.sampled_from(["CT", "SR"]),
        process=numbers,
        end=ends,
    )
    def store(
        self,
        arriving: Sequence[tuple[Key, Content]],
        on_duplicate: OnDuplicate,
        modality: str,
        process: int,
        end: str,
    ) -> None:
        arrivals = [self._arrival(key, content, modality) for key, content in arriving]
        with transaction(self.index, killed=end == "killed before") as connection:
            placed = place(connection, arrivals, on_duplicate, self.caches[process])
        if end == "killed before":
            return
        outcomes = [self._expect(key, content, modality, on_duplicate) for key, content in arriving]
        assert [each.outcome for each in placed] == outcomes
        for (_, content), each in zip(arriving, placed, strict=True):
            path = each.path
            if end == "killed after":  # the next start finds where files in `incoming/` belong
                with self.index.reading() as connection:
                    path = stored_path(connection, each.arrival)
            if path is not None:
                (self.data / path).parent.mkdir(parents=True, exist_ok=True)
                (self.data / path).write_text(str(content.number))

    def _arrival(self, key: Key, content: Content, modality: str) -> Arrival:
        return arrival(Said(*key, content.sop_class, modality), str(content.number), size=content.size)

    def _expect(self, key: Key, content: Content, modality: str, on_duplicate: OnDuplicate) -> Outcome:
        """What becomes of an arrival."""
        if key not in self.instances:
            self.instances[key] = content
            self.modalities.setdefault(key[:2], modality)
            return Outcome.NEW
        if self.instances[key] == content:
            return Outcome.SAME
        if on_duplicate is OnDuplicate.KEEP:
            self.aside.add((key, content))
            return Outcome.SET_ASIDE
        if on_duplicate is OnDuplicate.REPLACE:
            self.instances[key] = content
            return Outcome.REPLACED
        return Outcome.REJECTED

    @rule(number=numbers, end=ends)
    def remove_study(self, number: int, end: str) -> None:
        with transaction(self.index, killed=end == "killed before") as connection:
            removed = remove_study(connection, str(number))
        if end != "killed before":
            assert len(removed) == 0 or any(key[0] == str(number) for key in self.instances)
            if removed:
                self.aside = {each for each in self.aside if each[0][0] != str(number)}
            self._forget({key for key in self.instances if key[0] == str(number)})

    @rule(key=keys, end=ends)
    def remove_lost(self, key: Key, end: str) -> None:
        with transaction(self.index, killed=end == "killed before") as connection:
            assert remove_lost(connection, key[0], {key[1:]}) == (key in self.instances)
        if end != "killed before":
            self._forget({key} & self.instances.keys())

    def _forget(self, gone: set[Key]) -> None:
        for key in gone:
            del self.instances[key]
        left = {key[:2] for key in self.instances}
        self.modalities = {key: value for key, value in self.modalities.items() if key in left}

    @rule()
    def delete_files(self) -> None:
        with self.index.writing() as connection:
            for row in connection.execute(select(job)).all():
                deleting.delete(connection, self.data, [PurePosixPath(path) for path in row.payload["paths"]])
            connection.execute(delete(job))

    @invariant()
    def counters_are_right(self) -> None:
        with self.index.reading() as connection:
            assert recount(connection) == []
            rows = connection.execute(select(study)).all()
        expected = {}
        for uid in {key[0] for key in self.instances}:
            of_study = {key: content for key, content in self.instances.items() if key[0] == uid}
            expected[uid] = (
                len({key[1] for key in of_study}),
                len(of_study),
                sum(content.size for content in of_study.values()),
                {self.modalities[key[:2]] for key in of_study},
                {content.sop_class for content in of_study.values()},
            )
        assert expected == {
            row.uid: (
                row.series_count,
                row.instance_count,
                row.bytes,
                set(row.modalities.strip("\\").split("\\")),
                set(row.sop_classes.strip("\\").split("\\")),
            )
            for row in rows
        }

    @invariant()
    def each_row_has_its_file(self) -> None:
        with self.index.reading() as connection:
            rows = connection.execute(
                select(study.c.uid, series.c.uid, instance.c.uid, instance.c.path).select_from(
                    study.join(series).join(instance)
                )
            ).all()
            aside = connection.execute(select(set_aside)).all()
        files = {row[3] or usual_path(*row[:3]): self.instances[row[0], row[1], row[2]] for row in rows}
        assert len(files) == len(rows) == len(self.instances)
        contents = {arrival(Said("", "", ""), str(number)).digest: Content(number) for number in range(3)}
        found = {row.path: ((row.study_uid, row.series_uid, row.uid), contents[row.digest]) for row in aside}
        assert len(found) == len(aside)
        assert set(found.values()) == self.aside
        files |= {path: content for path, (_, content) in found.items()}
        assert len(files) == len(rows) + len(aside)
        for path, content in files.items():
            assert (self.data / path).read_text() == str(content.number)


@pytest.mark.timeout(120)
def test_any_mixture(index: Index, tmp_path: Path) -> None:
    few = settings(max_examples=15, stateful_step_count=20, phases=[Phase.generate])
    run_state_machine_as_test(lambda: Archive(index, tmp_path / "data"), settings=few)  # type: ignore[arg-type]
