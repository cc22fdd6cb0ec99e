"""Lines in the spelling of DCMTK, dcm4che and pynetdicom are answered with the same line as it is written here."""

from __future__ import annotations

import shlex

import pytest

from dimse.cli.app import COMMANDS, make_parser, run
from dimse.cli.old_spellings import ADDRESS, SPELLINGS
from dimse.cli.old_spellings import COMMANDS as THEIRS
from dimse.cli.usage_errors import commands_of, options_of


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("echo -aec TITLE 127.0.0.1 31242", "echo TITLE@127.0.0.1:31242"),
        ("echo 127.0.0.1 31242", "echo 127.0.0.1:31242"),
        ("echoscu -aet ME -aec PACS pacs 104 -v", "-v echo PACS@pacs:104 -c ME"),
        ("echoscu -d pacs 104", "-vv echo pacs:104"),
        (
            "findscu -S -aec PACS pacs 104 -k 0010,0020=1 -k QueryRetrieveLevel=STUDY",
            "find PACS@pacs:104 --model study -k 0010,0020=1 -k QueryRetrieveLevel=STUDY",
        ),
        (
            "find -c PACS@pacs:104 -m PatientID=1 -r StudyDate -L SERIES",
            "find PACS@pacs:104 -k PatientID=1 -k StudyDate -l SERIES",
        ),
        ("find PACS@pacs:104 -M PatientRoot", "find PACS@pacs:104 --model patient"),
        ("storescu +sd -R -xs -aec PACS pacs 104 'a b/'", "send PACS@pacs:104 'a b/' --syntax jpeg-lossless"),
        ("send pacs 104 x -ta 5 -td 60", "send pacs:104 x --timeout 5"),
        ("send -c PACS@pacs:104 -b ME:11113 x --not-async", "send PACS@pacs:104 x -c ME --window 1"),
        (
            "send pacs 104 x +tls k.pem c.pem +cf ca.pem",
            "send pacs:104 x --tls --tls-key k.pem --tls-cert c.pem --tls-ca ca.pem",
        ),
        (
            "getscu -P -od in -aec PACS pacs 104 -k PatientID=1",
            "get PACS@pacs:104 --model patient -o in -k PatientID=1",
        ),
        ("findscu -W -aec RIS ris 104 -k PatientID=1", "worklist RIS@ris:104 -k PatientID=1"),
        ("find ris:104 --worklist", "worklist ris:104"),
        ("findscu -O pacs 104 -k PatientID=1", "find pacs:104 --model patient-study-only -k PatientID=1"),
        ("find -c PACS@pacs:104 -M HangingProtocol", "find PACS@pacs:104 --model hanging-protocol"),
        ("find -c PACS@pacs:104 -M MWL", "find PACS@pacs:104 --model modality-worklist"),
        ("get pacs:104 -M CompositeInstanceRoot --directory in", "get pacs:104 --model composite-instance -o in"),
        ("stgcmtscu -c PACS@pacs:104 x", "commit PACS@pacs:104 x"),
        ("dcmprscu -aec PRINTER printer 104 x", "print PRINTER@printer:104 x"),
        ("movescu -aem DEST -aec PACS pacs 104", "move PACS@pacs:104 --destination DEST"),
        ("storescp -od in -aet ME +x= 11112", "receive -o in --title ME --port 11112"),
        ("receive -b ME@0.0.0.0:104 --directory=in", "receive --title ME --port 104 -o in"),
        ("store -c PACS@pacs:104 --user-pass joe:secret x", "send PACS@pacs:104 x --user joe --password-file -"),
    ],
)
def test_the_line_as_it_is_written_here(capfd: pytest.CaptureFixture[str], theirs: str, ours: str) -> None:
    assert run(shlex.split(theirs)) == 2
    out, err = capfd.readouterr()
    assert out == ""
    assert err.startswith("dimse: ")
    assert err.endswith(f" here: dimse {ours}\n")
    make_parser().parse_args([word for word in shlex.split(ours) if word != "-k QueryRetrieveLevel=STUDY"])


def test_what_is_written_in_another_way_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["echo", "-aet", "ME", "-aec", "TITLE", "127.0.0.1", "31242"]) == 2
    assert capfd.readouterr().err == (
        "dimse: DCMTK's -aet TITLE is -c TITLE, -aec TITLE is TITLE@HOST:PORT, HOST PORT is HOST:PORT here: "
        "dimse echo TITLE@127.0.0.1:31242 -c ME\n"
    )


def test_secrets_are_not_repeated(capfd: pytest.CaptureFixture[str]) -> None:
    for line in ("echo a 104 -usr joe -pwd secret", "echo a:104 --user-pass joe:secret"):
        assert run(line.split()) == 2
        assert "secret" not in capfd.readouterr().err


def test_what_has_no_counterpart_is_said(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["find", "+P", "11113", "a:104"]) == 2
    err = capfd.readouterr().err
    assert err == "dimse: DCMTK's +P PORT has no counterpart except in dimse retrieve here: dimse find a:104\n"


def test_a_query_of_a_worklist_is_a_command_of_its_own(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["find", "-W", "a:104"]) == 2
    assert capfd.readouterr().err == "dimse: find -W is dimse worklist here: dimse worklist a:104\n"


def test_our_own_spelling_is_not_taken_for_theirs(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["send", "A@b:104", "-c", "ME"]) == 2
    assert "required: PATH" in capfd.readouterr().err


def test_the_table_has_only_what_is_here() -> None:
    commands = {name: options_of(parser) for name, parser in commands_of(make_parser()).items()}
    known = {ADDRESS, "-v", "-vv"}.union(*commands.values())
    assert set(THEIRS.values()) <= set(COMMANDS)
    for name, spelling in SPELLINGS.items():
        for ours in spelling.ours:
            words = ours.split()
            assert {word for word in words if word.startswith("-") and word != "-"} <= known, name
            assert words.count("{}") <= max(len(spelling.values.split()), 2), name
