"""Layouts and sizes of films."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dimse.services.film_layout import MAX_IMAGES, FilmLayout, film_size

layouts = st.one_of(
    st.tuples(st.integers(1, 10), st.integers(1, 10)).map(lambda counts: FilmLayout("STANDARD", counts)),
    st.builds(
        FilmLayout, st.sampled_from(["ROW", "COL"]), st.lists(st.integers(1, 9), min_size=1, max_size=9).map(tuple)
    ),
)


@settings(max_examples=30)
@given(layouts)
def test_the_places_fill_the_film_and_do_not_overlap(layout: FilmLayout) -> None:
    places = layout.places
    assert len(places) == layout.images
    assert sum(each.width * each.height for each in places) == pytest.approx(1)
    middles = {(each.left + each.width / 2, each.top + each.height / 2) for each in places}
    for x, y in middles:
        assert sum(_has(each.left, each.width, x) and _has(each.top, each.height, y) for each in places) == 1


def _has(start: float, length: float, value: float) -> bool:
    return start < value < start + length


@settings(max_examples=30)
@given(layouts)
def test_a_layout_is_read_as_it_is_written(layout: FilmLayout) -> None:
    assert FilmLayout.parse(str(layout)) == layout


def test_images_are_counted_as_the_standard_does() -> None:
    def corners(text: str) -> list[tuple[float, float]]:
        return [(each.left, each.top) for each in FilmLayout.parse(text).places]

    assert corners("2x2") == [(0, 0), (0.5, 0), (0, 0.5), (0.5, 0.5)]
    assert corners("ROW\\1,2") == [(0, 0), (0, 0.5), (0.5, 0.5)]
    assert corners("COL\\2,1") == [(0, 0), (0, 0.5), (0.5, 0)]
    assert str(FilmLayout.parse(" 3X4 ")) == "STANDARD\\3,4"


@pytest.mark.parametrize(
    "text", ["", "3", "3x", "0x4", "STANDARD\\3", "STANDARD\\3,4,5", "SLIDE", "CUSTOM\\1", "ROW\\", "11x10", "ROW\\101"]
)
def test_other_layouts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="layout"):
        FilmLayout.parse(text)


@settings(max_examples=30)
@given(st.integers(1, 1000))
def test_the_layout_that_is_chosen_has_room(images: int) -> None:
    chosen = FilmLayout.of(images)
    assert chosen.images >= min(images, 30)
    assert chosen.images <= MAX_IMAGES
    assert all(FilmLayout.of(fewer).images <= chosen.images for fewer in range(1, min(images, 40)))


def test_sizes_of_films() -> None:
    assert film_size("14INX17IN") == pytest.approx((355.6, 431.8))
    assert film_size("8_5INX11IN") == pytest.approx((215.9, 279.4))
    assert film_size("24CMX30CM") == (240, 300)
    assert film_size("a4 ") == (210, 297)
    for wrong in ("", "0CMX30CM", "14X17", "CURRENT"):
        with pytest.raises(ValueError, match="film size"):
            film_size(wrong)
