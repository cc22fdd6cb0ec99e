"""The options of the log stand before or after the command."""

from __future__ import annotations

import pytest

from dimse.cli.app import make_parser


@pytest.mark.parametrize(
    ("words", "before", "after"),
    [
        (["-vv", "echo", "A@b"], 2, 0),
        (["echo", "A@b", "-v", "--json", "-v"], 0, 2),
        (["-v", "echo", "-vv", "A@b"], 1, 2),
        (["echo", "A@b"], 0, 0),
    ],
)
def test_v_is_counted_on_both_sides_of_the_command(words: list[str], before: int, after: int) -> None:
    parameters = vars(make_parser(["echo"]).parse_args(words))
    assert (parameters["verbose"], parameters["more_verbose"]) == (before, after)


@pytest.mark.parametrize("command", ["echo", "send", "receive", "find", "get", "move", "retrieve", "explain"])
def test_each_command_has_them(command: str) -> None:
    text = make_parser([command])._subparsers._group_actions[0].choices[command].format_help()  # type: ignore[union-attr,index]
    assert "--log-file FILE" in text
    assert "--log-json" in text
