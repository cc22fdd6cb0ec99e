"""`dimse node stats` prints figures, as text and as JSON."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from sqlalchemy import update

from dimse.node.index import Index
from dimse.node.jobs import defer
from dimse.node.schema import job

Run = Callable[..., Any]


def test_figures(dimse: Run, tmp_path: Path) -> None:
    Index.at(tmp_path / "index.sqlite").close()
    done = dimse("node", "stats", "--data", tmp_path)
    assert done.code == 0
    assert "instances:        0, 0 bytes\n" in done.out
    assert "jobs waiting:     0\n" in done.out
    (line,) = dimse("node", "stats", "--data", tmp_path, "--json").lines
    assert (line["event"], line["studies"], line["instances"], line["oldest"]) == ("statistics", 0, 0, None)


def test_what_fails_is_said(dimse: Run, tmp_path: Path) -> None:
    index = Index.at(tmp_path / "index.sqlite")
    with index.writing() as connection:
        defer(connection, "webhook", {}, queue="webhook https://ris.example/dimse")
        connection.execute(update(job).values(attempts=3, problem="HTTP status 500"))
    index.close()
    done = dimse("node", "stats", "--data", tmp_path)
    problem = "webhook https://ris.example/dimse: 1 waiting, tried 3 times: HTTP status 500"
    assert f"failing:          {problem}\n" in done.out
    (line,) = dimse("node", "stats", "--data", tmp_path, "--json").lines
    assert [(each["queue"], each["problem"]) for each in line["failing"]] == [
        (problem.split(": ")[0], "HTTP status 500")
    ]
