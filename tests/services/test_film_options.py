"""What films are to look like."""

from __future__ import annotations

from typing import Any

import pytest

from dimse.services.film_layout import FilmLayout
from dimse.services.film_options import (
    FilmOptions,
    FilmOrientation,
    Magnification,
    PrintPriority,
    film_attributes,
    session_attributes,
)


def test_what_is_not_given_is_not_sent() -> None:
    film = FilmOptions()
    assert {each.keyword for each in session_attributes(film)} == {"NumberOfCopies"}
    assert {each.keyword for each in film_attributes(film, FilmLayout.of(1))} == {
        "ImageDisplayFormat",
        "FilmOrientation",
    }


def test_what_is_given_is_sent() -> None:
    film = FilmOptions(
        orientation=FilmOrientation.LANDSCAPE,
        size="14INX17IN",
        magnification=Magnification.CUBIC,
        copies=2,
        priority=PrintPriority.MEDIUM,
        medium="BLUE FILM",
        destination="BIN_1",
        label="Zürich",
        annotation_format="LABEL",
        annotations=["a"],
        border_density="BLACK",
        empty_density="20",
        trim=False,
    )
    session, box = session_attributes(film), film_attributes(film, FilmLayout.parse("3x4"))
    assert (session.NumberOfCopies, session.PrintPriority, session.FilmDestination) == (2, "MED", "BIN_1")
    assert (session.FilmSessionLabel, session.SpecificCharacterSet) == ("Zürich", "ISO_IR 192")
    assert (box.ImageDisplayFormat, box.FilmOrientation, box.FilmSizeID) == ("STANDARD\\3,4", "LANDSCAPE", "14INX17IN")
    assert (box.Trim, box.BorderDensity, box.EmptyImageDensity) == ("NO", "BLACK", "20")
    assert (box.MagnificationType, box.AnnotationDisplayFormatID) == ("CUBIC", "LABEL")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"copies": 0}, "copies"),
        ({"bits": 10}, "bits"),
        ({"layout": "many"}, "layout"),
        ({"annotations": ["a"]}, "annotation_format"),
        ({"size": "A" * 17}, "size"),
        ({"medium": "A\\B"}, "medium"),
        ({"label": "a" * 65}, "label"),
    ],
)
def test_what_is_not_valid_is_refused(options: dict[str, Any], text: str) -> None:
    with pytest.raises(ValueError, match=text):
        FilmOptions(**options)
