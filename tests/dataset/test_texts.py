"""The texts of a data set, and a note of those that are not in their character set."""

from __future__ import annotations

from tests.dataset.test_json_model import raw

from dimse.dataset.json_model import json_model
from dimse.dataset.texts import Texts


def test_texts_that_are_not_in_their_character_set_are_noted() -> None:
    texts, match = Texts(), raw((0x00080005, "CS", b"ISO_IR 192"), (0x00100010, "PN", b"M\xfcller"))
    match.ProcedureCodeSequence = [raw((0x00080104, "LO", "Kopf: ü".encode()), (0x00080100, "SH", b"\xff"))]
    model = json_model(match, texts)
    assert model["00080005"] == {"vr": "CS", "Value": ["ISO_IR 192"]}
    assert model["00100010"] == {"vr": "PN", "Value": [{"Alphabetic": "M\ufffdller"}]}
    assert model["00081032"]["Value"][0]["00080104"]["Value"] == ["Kopf: ü"]
    assert texts.garbled == {0x00100010, 0x00080100}
