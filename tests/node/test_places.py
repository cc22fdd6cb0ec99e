"""Where files belong."""

from __future__ import annotations

from pathlib import Path

from dimse.node.places import place


def test_the_usual_place_and_others() -> None:
    data = Path("/srv/archive")
    assert place(data, "1.2", "1.3", "1.4") == data / "studies" / "1.2" / "1.3" / "1.4.dcm"
    assert place(data, "1.2", "1.3", "1.4", "studies/other.dcm") == data / "studies" / "other.dcm"
    assert place(data, "1.2", "1.3", "1.4", "/import/a.dcm") == Path("/import/a.dcm")
