"""File names from templates: unique, and never outside their folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dimse.dataset.file_names import other_name, safe_name, template_keywords, validate_template
from dimse.dataset.folders import TEMPORARY_NAME


def expanded(root: str | Path, template: str, values: Mapping[str, str]) -> Path:
    return Path(root, safe_name(template, values))


TEMPLATE = "{StudyInstanceUID}/{SeriesInstanceUID}/{SOPInstanceUID}.dcm"


def test_the_usual_name() -> None:
    values = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.3", "SOPInstanceUID": "1.4"}
    assert expanded("out", TEMPLATE, values) == Path("out/1.2/1.3/1.4.dcm")
    assert expanded("out", TEMPLATE, {"SOPInstanceUID": "1.4", "StudyInstanceUID": ""}) == Path("out/NONE/NONE/1.4.dcm")
    assert expanded("out", "{PatientName}.dcm", {"PatientName": "Doe^Jane"}) == Path("out/Doe^Jane.dcm")


@pytest.mark.parametrize(
    "value",
    [
        *("..", ".", "../../etc/passwd", "/etc/passwd", "a/b", "a\\b", "..\\..", "C:\\x", "C:x", "\\\\host\\share"),
        *("a\0b", "\0", "con", "CON", "nul.txt", "COM1", "lpt9.dcm", "a:stream", 'a*?"<>|', "trailing.", "trailing "),
        *(
            " lead",
            ".hidden",
            "x" * 5000,
            "\n",
            "\x1b[2J",
            "é",
            "\uff0f",
            "%2e%2e%2f",
            "~",
            "$HOME",
            "{PatientID}",
            "NONE",
        ),
    ],
)
def test_nothing_leaves_the_folder(tmp_path: Path, value: str) -> None:
    for template in ("{SOPInstanceUID}", "{SOPInstanceUID}/x.dcm", ".{SOPInstanceUID}{SOPInstanceUID}/a.dcm"):
        path = expanded(tmp_path, template, {"SOPInstanceUID": value})
        assert path.resolve().is_relative_to(tmp_path.resolve())
        relative = path.relative_to(tmp_path)
        assert len(relative.parts) == template.count("/") + 1
        for part in relative.parts:
            assert part not in (".", "..")
            assert len(part.encode()) <= 255
            assert part.isprintable()
            assert not set(part) & set('\\/:*?"<>|\0~$%{}')
            assert part.split(".")[0].upper() not in ("CON", "NUL", "COM1", "LPT9")
        assert value not in relative.parts


@pytest.mark.parametrize("value", ["dimse-0123456789abcdef-1-0", "dimse-0123456789abcdef-1"])
def test_no_name_is_that_of_an_unfinished_file(value: str) -> None:
    for template in (".{SOPInstanceUID}.part", "a/.{SOPInstanceUID}.part"):
        name = safe_name(template, {"SOPInstanceUID": value})
        for each in (name, other_name(name, "1.2.3")):
            assert not TEMPORARY_NAME.fullmatch(Path(each).name)


@pytest.mark.parametrize("letter", ["x", "\xe9"])
def test_long_names(letter: str) -> None:
    """Of several values, and of what the template itself says."""
    values = {"PatientID": "a" * 100, "PatientName": "b" * 100, "SOPInstanceUID": "1." * 32 + "1"}
    template = f"{letter * 60}/{letter * 150}-{{PatientID}}{{PatientName}}-{{SOPInstanceUID}}.dcm"
    names = [safe_name(template, values | {"SOPInstanceUID": uid}) for uid in ("1." * 32 + "1", "1." * 32 + "2")]
    assert len({*names}) == 2
    for name in (*names, other_name(names[0], "1.2.3")):
        folder, file = name.split("/")
        assert folder == letter * 60
        assert len(file.encode()) <= 255
        assert file.endswith(".dcm")


@given(st.text(max_size=200), st.text(max_size=200))
def test_two_values_never_share_a_name(one: str, other: str) -> None:
    names = [expanded("out", "{PatientID}", {"PatientID": value}) for value in (one, other)]
    assert (names[0] == names[1]) == (one == other)


@pytest.mark.parametrize(
    "template",
    [
        *("", "/abs/{SOPInstanceUID}", "../{SOPInstanceUID}", "a/../b", "a//b", "./a", "a/", "C:/x", "a\\b", "a\0"),
        *("{NoSuchKeyword}", "{}", "{0}", "{SOPInstanceUID.x}", "{SOPInstanceUID[0]}", "{SOPInstanceUID!r}"),
        *("{SOPInstanceUID:>9}", "{SOPInstanceUID", "SOPInstanceUID}"),
    ],
)
def test_a_template_that_cannot_be(template: str) -> None:
    with pytest.raises(ValueError, match="the file name template"):
        validate_template(template)


def test_templates() -> None:
    for template in (TEMPLATE, "{PatientID}/{SOPInstanceUID}", "flat-{SOPInstanceUID}.dcm", "{{x}}{SOPInstanceUID}"):
        validate_template(template)
    assert template_keywords(TEMPLATE) == (
        ("SOPInstanceUID", 0x00080018),
        ("StudyInstanceUID", 0x0020000D),
        ("SeriesInstanceUID", 0x0020000E),
    )
    twice = template_keywords("{PatientID}{PatientID}{SOPInstanceUID}")
    assert twice == (("SOPInstanceUID", 0x00080018), ("PatientID", 0x00100020))


@pytest.mark.parametrize("template", ["x.dcm", "{PatientID}/{Modality}.dcm", "{{SOPInstanceUID}}"])
def test_templates_that_give_instances_the_same_name(template: str) -> None:
    with pytest.raises(ValueError, match="the same name"):
        validate_template(template)
