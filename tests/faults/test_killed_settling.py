"""An archive that is killed again and again, as by `kill -9`, while it settles studies and tells of it."""

from __future__ import annotations

import random
import sys
from collections import Counter
from pathlib import Path
from subprocess import PIPE, Popen

from tests.node.studies import settled

from dimse.node.events import since
from dimse.node.index import Index
from dimse.node.jobs import queues

ROOT = Path(__file__).parents[2]
STUDIES = 30


def test_each_change_is_settled_once_and_told_at_least_once(tmp_path: Path) -> None:
    path, told = tmp_path / "index.sqlite", tmp_path / "told"
    chance = random.Random(1)
    command = [sys.executable, "-m", "tests.faults.settling_archive", str(path), str(told), str(STUDIES)]
    for _ in range(3):
        with Popen(command, cwd=ROOT, stdout=PIPE, text=True) as archive:  # noqa: S603 - our own
            assert archive.stdout is not None
            for _ in range(chance.randrange(1, 30)):
                assert archive.stdout.readline()
            archive.kill()
    with Popen(command, cwd=ROOT, stdout=PIPE, text=True) as archive:  # noqa: S603 - our own
        archive.communicate()
    assert archive.returncode == 0
    index = Index.at(path)
    assert settled(index) == {str(number): "quiet" for number in range(STUDIES)}
    with index.reading() as connection:
        events = since(connection, 0)
        assert list(queues(connection)) == []
    index.close()
    assert Counter(each.study_uid for each in events) == {str(number): 1 for number in range(STUDIES)}
    assert set(told.read_text().splitlines()) == {f"{queue} {each.id}" for each in events for queue in "ab"}
