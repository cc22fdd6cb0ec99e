"""Help, and wrong usage of every command. It runs in this process, as there is much of it."""

from __future__ import annotations

import argparse
import re
from pathlib import Path

import pytest

from dimse.cli import arguments as common
from dimse.cli.app import COMMANDS, run


@pytest.mark.parametrize("command", COMMANDS)
def test_defaults_are_shown_as_they_are_typed(capfd: pytest.CaptureFixture[str], command: str) -> None:
    assert run([*command.split(), "--help"]) == 0
    defaults = re.findall(r"\[default: ([^]]*)\]", " ".join(capfd.readouterr().out.split()))
    assert [text for text in defaults if re.match(r"[A-Z]\w+\.|<", text)] == []


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "there is no command nope"),
        (["receive", "--into", "x", "--proxy-from", "pacs"], "argument --proxy-from: 'pacs' is not a network"),
        (["receive", "--into", "x", "--allow", "10.1.0.0/16"], "write a network as @10.1.0.0/16"),
        (["-v"], "required: COMMAND"),
        (["-q", "echo", "A@host:104"], "there is no option -q of dimse echo"),
        (["echo"], "echo needs one peer"),
        (["echo", "A@host:104", "--time", "3"], "there is no option --time of dimse echo; did you mean --timeout?"),
        (["echo", "A@host:104", "B@host:104"], "unrecognized arguments: B@host:104"),
        (["send", "A@host:104"], "required: PATH"),
        (["receive"], "needs one folder to write to"),
        (["receive", "x", "--into", "y"], "needs one folder to write to"),
        (["echo", "A@:1"], "'A@:1' is not an address"),
        (["echo", "A@host:99999"], "99999"),
        (["echo", "A_TITLE_THAT_IS_TOO_LONG@host:104"], "is not an AE title"),
        (["echo", "A@host:104", "--calling", "A_TITLE_THAT_IS_TOO_LONG"], "is not an AE title"),
        (["echo", "A@host:104", "--timeout", "0"], "argument --timeout: must be a positive number of seconds, not 0"),
        (["send", "A@host:104", "file", "--retries", "-1"], "argument --retries: must be at least 0, not -1"),
        (["send", "A@host:104", "file", "--max-pdu", "3"], "argument --max-pdu: must be 0 or at least 8, not 3"),
        (["send", "A@host:104", "file", "--associations", "0"], "--associations"),
        (["send", "A@host:104", "file", "--associations", "many"], "--associations"),
        (["send", "A@host:104", "-", "-"], "standard input (-) can be given only once"),
        (["receive", "--into", "x", "--title", "A\\B"], "is not an AE title"),
        (["receive", "--into", "x", "--port", "70000"], "argument --port: must be at most 65535, not 70000"),
        (
            ["receive", "--into", "x", "--allow", "CT1@hospital"],
            "argument --allow: 'hospital' is not a network, such as",
        ),
        (
            ["receive", "--into", "x", "--allow", ""],
            "argument --allow: '' is not a peer; write it TITLE, TITLE@NETWORK",
        ),
        (["receive", "--into", "x", "--max-per-host", "-1"], "--max-per-host: must be at least 0, not -1"),
        (["receive", "--into", "x", "--max-associations", "0"], "--max-associations: must be at least 1, not 0"),
        (["receive", "--into", "x", "--proxy-from", "10.0.0.1/8"], "10.0.0.1/8"),
        (["receive", "--into", "x", "--max-connection-rate", "-1"], "must be at least 0, not -1"),
        (["receive", "--into", "x", "--template", "../{SOPInstanceUID}"], "'..'"),
        (["receive", "--into", "x", "--template", "/{SOPInstanceUID}"], "absolute"),
        (["receive", "--into", "x", "--template", "{NoSuchKeyword}"], "is not a keyword of PS3.6"),
        (["receive", "--into", "x", "--template", "{PatientID}.dcm"], "the same name"),
        (["receive", "--into", __file__], "not a folder"),
        (["find", "A@host:104", "-k", "Nope"], "unknown keyword 'Nope'"),
        (["find", "A@host:104", "-k", "StudyDate=20241399"], "StudyDate (DA): invalid value"),
        (["find", "A@host:104", "--level", "wrong"], "must be one of PATIENT, STUDY, SERIES, IMAGE, not 'wrong'"),
        (["find", "A@host:104", "--level", "patient", "--model", "study"], "no PATIENT level"),
        (["find", "A@host:104", "--json", "--csv"], "argument --csv: not allowed with argument --json"),
        (["find", "A@host:104", "--timeout", "0"], "timeout"),
        (["get", "A@host:104", "-k", "StudyInstanceUID=1.2"], "required: -o/--into"),
        (["get", "A@host:104", "--into", "x"], "give the keys to match"),
        (["get", "A@host:104", "--into", "x", "-k", "PatientName=A"], "only unique keys"),
        (["get", "A@host:104", "--into", "x", "-k", "StudyInstanceUID"], "needs one StudyInstanceUID"),
        (
            ["get", "A@host:104", "--into", "x", "-k", "StudyInstanceUID=1.2", "--on-cancel", "x"],
            "argument --on-cancel: must be one of",
        ),
        (["get", "A@host:104", "--into", __file__, "-k", "StudyInstanceUID=1.2"], "not a folder"),
        (["move", "A@host:104", "-k", "StudyInstanceUID=1.2"], "required: --destination"),
        (["move", "A@host:104", "-k", "StudyInstanceUID=1.2", "--destination", "A\\B"], "is not an AE title"),
        (["retrieve", "A@host:104", "--into", "x"], "give the keys to match"),
        (
            ["retrieve", "A@host:104", "--into", "x", "-k", "PatientID=1", "--receiver", "@:"],
            "argument --receiver: '@:' is not an address",
        ),
    ],
)
def test_wrong_usage(
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    arguments: list[str],
    said: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert ('"event": "error"' in out) if "--json" in arguments else out == ""
    assert err.startswith("dimse: ")
    assert len(err.splitlines()) == 1
    assert said in err
    assert list(tmp_path.iterdir()) == []


def test_an_integer_within_bounds() -> None:
    convert = common.integer_from(1, 9)
    assert convert("9") == 9
    for text, said in (("0", "must be at least 1, not 0"), ("10", "must be at most 9, not 10")):
        with pytest.raises(argparse.ArgumentTypeError, match=said):
            convert(text)


def test_names_ignore_case() -> None:
    assert common.one_of({"Study": 1})("STUDY") == 1
    with pytest.raises(argparse.ArgumentTypeError, match="must be one of Study, not 'x'"):
        common.one_of({"Study": 1})("x")


def test_help_breaks_no_name_at_a_hyphen(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["send", "--help"]) == 0
    assert not re.search(r"[a-z]-$", capfd.readouterr().out, re.MULTILINE)


def test_help_breaks_a_path_after_a_slash(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert run(["receive", "--help"]) == 0
    lines = [line.strip() for line in capfd.readouterr().out.splitlines()]
    assert "{StudyInstanceUID}/{SeriesInstanceUID}/" in lines
    assert "{SOPInstanceUID}.dcm]" in lines


@pytest.mark.parametrize(
    ("text", "rate"),
    [("10MB", 10_000_000), ("500KB", 500_000), ("1.5 mb", 1_500_000), ("2G", 2_000_000_000), ("9000B", 9000)],
)
def test_a_rate_has_the_units_of_the_output(text: str, rate: int) -> None:
    assert common.rate_limit(text).bytes_per_second == rate


@pytest.mark.parametrize("text", ["", "fast", "-1MB", "10Mbit", "1K"])
def test_what_is_no_rate(text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["send", "A@host", "file", f"--max-rate={text}"]) == 2
    assert "--max-rate: " in capfd.readouterr().err
