"""What an SCU may do at a print server, in every state: each request against a model."""

from __future__ import annotations

from collections.abc import Callable
from itertools import count

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from pydicom.dataset import Dataset
from tests.print_samples import gray, image, printed

from dimse import StatusError, uids
from dimse.services import print_session
from dimse.services.film_layout import FilmLayout
from dimse.services.film_options import FilmOptions, film_attributes, reference
from dimse.services.print_session import PRINT, PrintSession

UIDS = ("1.1", "1.2", "1.3")
INSTANCES = st.sampled_from(UIDS)
GRAY = printed(gray(40, 4, 4)).attributes()


def film_box(session: str = "1.1", layout: str = "1x2", **more: object) -> Dataset:
    given = film_attributes(FilmOptions(), FilmLayout.parse(layout))
    given.ReferencedFilmSessionSequence = [reference(uids.FILM_SESSION, session)]
    for keyword, value in more.items():
        setattr(given, keyword, value)
    return given


def image_box(position: int = 1, *images: Dataset) -> Dataset:
    given = Dataset()
    given.ImageBoxPosition = position
    given.BasicGrayscaleImageSequence = list(images)
    return given


def identity() -> Dataset:
    given = Dataset()
    given.PresentationLUTShape = "IDENTITY"
    return given


def status_of(request: Callable[[], object]) -> int:
    """The status that a request is answered with."""
    try:
        answered = request()
    except StatusError as error:
        return error.status
    return answered[1] if isinstance(answered, tuple) else 0


class Requests(RuleBasedStateMachine):
    """Requests in any order, about instances that exist and others."""

    def __init__(self) -> None:
        super().__init__()
        numbers = count(1)
        self.server = PrintSession(lambda: f"9.{next(numbers)}")
        self.session: str | None = None
        self.films: dict[str, dict[str, tuple[int, bool]]] = {}
        """The image boxes of each film box: position, and whether they have an image."""
        self.luts: set[str] = set()

    @rule(uid=INSTANCES)
    def create_session(self, uid: str) -> None:
        expected = 0 if self.session is None else 0x0111 if uid == self.session else 0x0213
        assert status_of(lambda: self.server.create_session(uid, Dataset())) == expected
        self.session = self.session or uid

    @rule(uid=INSTANCES)
    def set_session(self, uid: str) -> None:
        assert status_of(lambda: self.server.set_session(uid, Dataset())) == (0 if uid == self.session else 0x0112)

    @rule(uid=INSTANCES)
    def delete_session(self, uid: str) -> None:
        assert status_of(lambda: self.server.delete_session(uid)) == (0 if uid == self.session else 0x0112)
        if uid == self.session:
            self.session, self.films = None, {}

    @rule(uid=INSTANCES, action=st.sampled_from([PRINT, 2, None]))
    def print_session(self, uid: str, action: int | None) -> None:
        has_images = any(there for film in self.films.values() for _, there in film.values())
        expected = 0x0112 if uid != self.session else 0x0123 if action != PRINT else 0
        if expected == 0 and not has_images:
            expected = 0xB602 if self.films else 0xC600
        assert status_of(lambda: self.server.films_of_session(uid, action)) == expected

    @rule(uid=INSTANCES, session=INSTANCES)
    def create_film(self, uid: str, session: str) -> None:
        expected = 0x0111 if uid in self.films or uid == self.session else 0 if session == self.session else 0x0106
        assert status_of(lambda: self._create_film(uid, session)) == expected

    def _create_film(self, uid: str, session: str) -> None:
        answer, _ = self.server.create_film(uid, film_box(session), uids.GRAYSCALE_IMAGE_BOX)
        boxes = [each.ReferencedSOPInstanceUID for each in answer.ReferencedImageBoxSequence]
        self.films[uid] = {box: (number, False) for number, box in enumerate(boxes, 1)}

    @rule(uid=INSTANCES, lut=INSTANCES)
    def set_film(self, uid: str, lut: str) -> None:
        given = Dataset()
        given.ReferencedPresentationLUTSequence = [reference(uids.PRESENTATION_LUT, lut)]
        expected = 0x0112 if uid not in self.films else 0 if lut in self.luts else 0x0106
        assert status_of(lambda: self.server.set_film(uid, given)) == expected

    @rule(uid=INSTANCES)
    def delete_film(self, uid: str) -> None:
        assert status_of(lambda: self.server.delete_film(uid)) == (0 if uid in self.films else 0x0112)
        self.films.pop(uid, None)

    @rule(uid=INSTANCES, action=st.sampled_from([PRINT, 2]))
    def print_film(self, uid: str, action: int) -> None:
        film = self.films.get(uid)
        expected = 0x0112 if film is None else 0x0123 if action != PRINT else 0
        if expected == 0 and film is not None and not any(there for _, there in film.values()):
            expected = 0xB603
        assert status_of(lambda: self.server.film_to_print(uid, action)) == expected

    @rule(number=st.integers(1, 8), position=st.integers(0, 3), has_image=st.booleans(), color=st.booleans())
    def set_image(self, number: int, position: int, has_image: bool, color: bool) -> None:
        uid, given = f"9.{number}", image_box(position, *[GRAY][: int(has_image)])
        film = next((each for each in self.films.values() if uid in each), None)
        kind = uids.COLOR_IMAGE_BOX if color else uids.GRAYSCALE_IMAGE_BOX
        expected = 0x0112 if film is None else 0x0119 if color else 0 if 1 <= position <= 2 else 0x0106
        assert status_of(lambda: self.server.set_image(kind, uid, given)) == expected
        if film is not None and expected == 0:
            film[uid] = (position, has_image)

    @rule(uid=INSTANCES)
    def create_lut(self, uid: str) -> None:
        expected = 0x0111 if uid in self.luts else 0
        assert status_of(lambda: self.server.create_lut(uid, identity())) == expected
        self.luts.add(uid)

    @rule(uid=INSTANCES)
    def delete_lut(self, uid: str) -> None:
        assert status_of(lambda: self.server.delete_lut(uid)) == (0 if uid in self.luts else 0x0112)
        self.luts.discard(uid)

    @invariant()
    def the_server_has_what_was_made(self) -> None:
        for uid, film in self.films.items():
            there = {position for position, has_image in film.values() if has_image}
            given = self.server.printed(uid, "1.9", "CT1")
            assert {each.position for each in given.images} <= there
            if len({position for position, _ in film.values()}) == len(film):
                assert [each.position for each in given.images] == sorted(there)
        assert (self.server.size > 0) == any(there for film in self.films.values() for _, there in film.values())


Requests.TestCase.settings = settings(max_examples=60, stateful_step_count=25)
TestRequests = Requests.TestCase


def started(**more: object) -> tuple[PrintSession, Dataset]:
    """A session with a film box, and the attributes of the answer."""
    numbers = count(1)
    session = PrintSession(lambda: f"9.{next(numbers)}")
    session.create_session("1.1", Dataset())
    answer, _ = session.create_film("1.2", film_box(**more), uids.GRAYSCALE_IMAGE_BOX, 2)  # type: ignore[arg-type]
    return session, answer


def test_a_film_has_what_was_set() -> None:
    session, answer = started(AnnotationDisplayFormatID="LABEL")
    session.create_lut("1.3", identity())
    boxes = [each.ReferencedSOPInstanceUID for each in answer.ReferencedImageBoxSequence]
    given = image_box(2, GRAY)
    given.ReferencedPresentationLUTSequence = [reference(uids.PRESENTATION_LUT, "1.3")]
    given.Polarity = "REVERSE"
    answered, _ = session.set_image(uids.GRAYSCALE_IMAGE_BOX, boxes[1], given)
    assert answered.ImageBoxPosition == 2
    text = Dataset()
    text.AnnotationPosition, text.TextString = 2, "below"
    notes = [each.ReferencedSOPInstanceUID for each in answer.ReferencedBasicAnnotationBoxSequence]
    session.set_annotation(notes[1], text)
    first = Dataset()
    first.AnnotationPosition, first.TextString = 1, "above"
    session.set_annotation(notes[1], first)
    text.AnnotationPosition = 2
    session.set_annotation(notes[0], text)
    copies = Dataset()
    copies.NumberOfCopies = 3
    session.set_session("1.1", copies)
    film = session.printed("1.2", "1.9", "CT1")
    assert (film.job_uid, film.calling_ae_title, film.copies, str(film.layout)) == ("1.9", "CT1", 3, "STANDARD\\1,2")
    assert ([each.position for each in film.images], film.annotations) == ([2], ("above", "below"))
    assert film.images[0].attributes.Polarity == "REVERSE"
    assert film.images[0].presentation_lut == identity()
    with pytest.raises(StatusError, match="no such annotation box"):
        session.set_annotation("9.99", text)


def test_values_that_are_out_of_range_are_replaced_and_warned_of() -> None:
    numbers = count(1)
    session = PrintSession(lambda: f"9.{next(numbers)}")
    given = Dataset()
    given.NumberOfCopies, given.FilmSessionLabel = 5000, "label"
    answer, status = session.create_session("1.1", given)
    assert (status, answer.NumberOfCopies, answer.FilmSessionLabel) == (0x0116, 1, "label")
    answer, status = session.create_film("1.2", film_box(FilmSizeID="HUGE"), uids.GRAYSCALE_IMAGE_BOX)
    assert (status, answer.FilmSizeID, answer.FilmOrientation) == (0x0116, "14INX17IN", "PORTRAIT")


@pytest.mark.parametrize("missing", ["ImageDisplayFormat", "ReferencedFilmSessionSequence"])
def test_a_film_box_needs(missing: str) -> None:
    session, _ = started()
    given = film_box()
    del given[missing]
    assert status_of(lambda: session.create_film("1.3", given, uids.GRAYSCALE_IMAGE_BOX)) == 0x0120
    assert status_of(lambda: session.create_film("1.3", film_box(layout="1x1"), uids.GRAYSCALE_IMAGE_BOX)) == 0


def test_layouts_that_are_not_known_are_refused() -> None:
    session, _ = started()
    for text in ("SLIDE", "CUSTOM\\1", "STANDARD\\99,99"):
        given = film_box(ImageDisplayFormat=text)
        assert status_of(lambda given=given: session.create_film("1.3", given, uids.GRAYSCALE_IMAGE_BOX)) == 0x0106  # type: ignore[misc]


def test_what_an_scu_makes_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(print_session, "MAX_FILM_BOXES", 2)
    monkeypatch.setattr(print_session, "MAX_LUTS", 1)
    monkeypatch.setattr(print_session, "MAX_IMAGE_BYTES", 40)
    session, answer = started()
    assert status_of(lambda: session.create_film("1.3", film_box(), uids.GRAYSCALE_IMAGE_BOX)) == 0
    assert status_of(lambda: session.create_film("1.4", film_box(), uids.GRAYSCALE_IMAGE_BOX)) == 0x0213
    assert [status_of(lambda uid=uid: session.create_lut(uid, identity())) for uid in UIDS[:2]] == [0, 0x0213]  # type: ignore[misc]
    boxes = [each.ReferencedSOPInstanceUID for each in answer.ReferencedImageBoxSequence]
    kind = uids.GRAYSCALE_IMAGE_BOX
    large = printed(image(np.zeros((5, 5)), bits=8)).attributes()
    assert status_of(lambda: session.set_image(kind, boxes[0], image_box(1, GRAY))) == 0
    assert status_of(lambda: session.set_image(kind, boxes[1], image_box(2, large))) == 0xC605
    assert status_of(lambda: session.set_image(kind, boxes[0], image_box(1, large))) == 0
    assert status_of(lambda: session.set_image(kind, boxes[0], image_box(1))) == 0
    assert session.size == 0
