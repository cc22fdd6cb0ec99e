"""Few titles are tried, and the one that is wrong is named."""

from __future__ import annotations

from dimse import ExplainSide, ExplainVerdict
from dimse.services.explaining_titles import MAXIMUM_TITLES, Titles, others, step
from dimse.upper_layer.pdu import A_ASSOCIATE_RJ

CALLED, CALLING = A_ASSOCIATE_RJ(1, 1, 7), A_ASSOCIATE_RJ(1, 1, 3)
GIVEN = Titles("Pacs", "Me", "rejected")


def test_the_title_that_the_archive_complains_about_is_changed_first() -> None:
    assert others("Pacs", "Me", [], [], CALLED) == [("PACS", "Me"), ("ANY-SCP", "Me"), ("Pacs", "ME")]
    assert others("Pacs", "Me", ["X"], ["Y"], CALLING) == [
        ("Pacs", "Y"),
        ("Pacs", "ME"),
        ("X", "Me"),
        ("PACS", "Me"),
        ("ANY-SCP", "Me"),
        ("X", "Y"),
    ]
    assert others("ANY-SCP", "ME", [], [], CALLED) == []
    many = [f"T{number}" for number in range(100)]
    assert len(others("A", "B", many, many, CALLED)) == MAXIMUM_TITLES


def test_results() -> None:
    cases = [
        (None, [], "both titles are accepted", []),
        (CALLED, [], "the archive does not know its own title as Pacs: rejected", ["here", "archive"]),
        (CALLING, [], "the archive does not know our title Me: rejected", ["archive", "here"]),
        (A_ASSOCIATE_RJ(2, 3, 2), [], "rejected", ["archive", "here"]),
        (A_ASSOCIATE_RJ(1, 1, 1), [], "rejected", ["archive", "here"]),
        (
            CALLED,
            [Titles("PACS", "Me", "rejected"), Titles("ANY-SCP", "Me", "accepted", True)],
            "the archive rejects these titles: as its own title it accepts ANY-SCP, not Pacs",
            ["here"],
        ),
        (
            CALLED,
            [Titles("Pacs", "ME", "accepted", True)],
            "the archive rejects these titles: it knows the calling title ME, not Me",
            ["here", "archive"],
        ),
    ]
    for rejection, tried, words, sides in cases:
        found = step(GIVEN, rejection, tried)
        assert (found.result, [each.side for each in found.advice]) == (words, [ExplainSide(side) for side in sides])
        assert (found.verdict is ExplainVerdict.OK) == (rejection is None)
        assert len(found.facts["tried"]) == 1 + len(tried)
