"""A wrong command line is answered with what to type instead."""

from __future__ import annotations

import pytest

from dimse.cli.app import run


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("sned A@b x", "there is no command sned; did you mean send?"),
        ("xyzzy", "there is no command xyzzy; dimse --help lists them"),
        ("-v", "the following arguments are required: COMMAND; dimse --help lists the commands"),
        ("find A@b --lvel SERIES", "there is no option --lvel of dimse find; did you mean --level?"),
        ("find A@b --xyzzy=1", "there is no option --xyzzy of dimse find; dimse find --help lists them"),
        ("find", "the following arguments are required: TITLE@HOST:PORT; write dimse find [options] TITLE@HOST:PORT"),
        (
            "send A@b",
            "the following arguments are required: PATH; write dimse send [options] TITLE@HOST:PORT PATH [PATH ...]",
        ),
        ("find A@b C@d", "unrecognized arguments: C@d; write dimse find [options] TITLE@HOST:PORT"),
        ("find A@b --level", "argument -l/--level: expected one argument; write -l PATIENT|STUDY|SERIES|IMAGE"),
        ("node improt x", "there is no command node improt; did you mean import?"),
        ("node --quiet improt", "there is no command node improt; did you mean import?"),
        ("node /data", "there is no command node /data; for a data folder, write dimse node --data /data"),
        ("node .", "there is no command node .; for a data folder, write dimse node --data ."),
        ("node --web x", "argument --web: must be a port, 0 to 65535, or off, not x"),
        ("node --web 65536", "argument --web: must be a port, 0 to 65535, or off, not 65536"),
        ("node --prot 104", "there is no option --prot of dimse node; did you mean --port?"),
        ("node -p 104", "there is no option -p of dimse node; dimse node --help lists them"),
        ("echo A@b --timeout 0", "argument --timeout: must be a positive number of seconds, not 0"),
    ],
)
def test_the_next_step(capfd: pytest.CaptureFixture[str], line: str, said: str) -> None:
    assert run(line.split()) == 2
    assert capfd.readouterr() == ("", f"dimse: {said}\n")
