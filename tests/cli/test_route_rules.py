"""The file of `dimse route`: what it must have, and which destinations its rules choose."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Dimse = Callable[..., Any]

DESTINATION = '[destinations.archive]\npeer = "ARCHIVE@localhost:104"\n'
START = 'spool = "spool"\ndefault = "archive"\n'


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("spool = ", "is not TOML"),
        (START, "destinations: is missing"),
        (START + "[destinations]", "destinations: must have at least one table"),
        ('default = "archive"\n' + DESTINATION, "spool: must be the path of a folder"),
        ('spool = "spool"\n' + DESTINATION, "rules: must have at least one rule, unless there is a default"),
        (START.replace("archive", "pacs") + DESTINATION, "default: must be of the destinations archive, not 'pacs'"),
        (START + "maximum-bytes = 0\n" + DESTINATION, "maximum-bytes: must be an integer from 1 on, not 0"),
        (START + "spol = 1\n" + DESTINATION, "spol: is not known; known are spool"),
        (START + DESTINATION + 'address = "x"', "[destinations.archive] address: is not known; known are peer"),
        (START + "[destinations.archive]\npeer = 1", "[destinations.archive] peer: must be an address, or the name"),
        (START + '[destinations.archive]\npeer = "a b"', "[destinations.archive] peer: 'a b' is not an address"),
        (START + DESTINATION + "associations = 0", "[destinations.archive] associations: must be an integer from 1"),
        (START + DESTINATION + 'decompress = "yes"', "[destinations.archive] decompress: must be true or false"),
        (START + DESTINATION + "remove = 'PatientNam'", "[destinations.archive] set, remove: "),
        (START + DESTINATION + "set = {PatientID = 1}", "[destinations.archive] set: must have strings as values"),
        (START + DESTINATION + "[[rules]]\ncalling = 'CT1'", "[rule 1] to: is missing"),
        (
            START + DESTINATION + "[[rules]]\nto = 'pacs'",
            "[rule 1] to: must be of the destinations archive, not 'pacs'",
        ),
        (START + DESTINATION + "[[rules]]\nto = []", "[rule 1] to: must be a string, or an array of strings"),
        (
            START + DESTINATION + "[[rules]]\nto = 'archive'\n[[rules]]\nto = 'archive'\nmodalities = 'CT'",
            "[rule 2] modalities: is not known; known are calling, called, modality, sop-class, to",
        ),
        (
            START + DESTINATION + "[[rules]]\nto = 'archive'\nsop-class = 'XYZ'",
            "[rule 1] sop-class: 'XYZ' is not a storage SOP class",
        ),
    ],
)
def test_a_wrong_file_is_refused_with_place_and_reason(dimse: Dimse, tmp_path: Path, text: str, reason: str) -> None:
    file = tmp_path / "route.toml"
    file.write_text(text)
    done = dimse("route", "--config", file, "--check")
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith(f"dimse: {file}: {reason}")
    assert done.err.count("\n") == 1
    assert not (tmp_path / "spool").exists()


def test_a_missing_file_is_refused(dimse: Dimse, tmp_path: Path) -> None:
    done = dimse("route", "--config", tmp_path / "missing.toml", "--check")
    assert (done.code, done.err) == (2, f"dimse: {tmp_path / 'missing.toml'}: No such file or directory\n")


def test_a_right_file_is_only_checked(dimse: Dimse, tmp_path: Path) -> None:
    file = tmp_path / "route.toml"
    file.write_text(START + DESTINATION + "[[rules]]\nto = 'archive'\nsop-class = ['CT', 'MRImageStorage']")
    done = dimse("route", "--config", file, "--check")
    assert (done.code, done.out, done.err) == (0, f"{file}: 1 destination, 1 rule; no errors\n", "")
    assert dimse("route", "--config", file, "--check", "--json").lines == [
        {"event": "checked", "destinations": 1, "rules": 1}
    ]
    assert not (tmp_path / "spool").exists()


def test_destinations_may_be_peers_of_the_configuration(dimse: Dimse, tmp_path: Path) -> None:
    file, peers = tmp_path / "route.toml", tmp_path / "peers.toml"
    peers.write_text('[peers.archive]\naddress = "ARCHIVE@localhost:104"\n')
    file.write_text(START + "[destinations.archive]\n")
    assert dimse("route", "--config", file, "--check", DIMSE_CONFIG=str(peers)).code == 0
    file.write_text(START + "[destinations.archive]\npeer = 'archiv'\n")
    done = dimse("route", "--config", file, "--check", DIMSE_CONFIG=str(peers))
    assert done.code == 2
    assert "[destinations.archive] peer: 'archiv' is not a peer of" in done.err
