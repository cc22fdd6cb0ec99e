"""Films at printers that refuse, warn, or do not answer."""

from __future__ import annotations

import asyncio

import pytest
from tests.print_samples import gray
from tests.services.faulty_printer import FILM, IMAGE, SESSION, Printer

from dimse import PrintFailed, StatusError, print_images


async def test_warnings_are_told_and_the_film_is_printed() -> None:
    printer = Printer()
    printer.answers |= {f"N-CREATE-RQ {FILM}": 0x0116, f"N-SET-RQ {IMAGE}": 0xB604, f"N-ACTION-RQ {FILM}": 0xB603}
    printer.answers |= {f"N-DELETE-RQ {SESSION}": 0x0110}
    async with printer.server:
        report = await print_images(printer.address, gray(1))
    assert report.warnings[1:] == (
        "film 1: 0x0116 Attribute value out of range",
        "film 1, image 1: 0xB604 The image is larger than its image box, and was made smaller",
        "film 1: 0xB603 The film box has no images: an empty page",
        "film session: the printer did not delete it: 0x0110 Processing failure",
    )


@pytest.mark.parametrize(
    ("refused", "status", "text"),
    [
        (f"N-CREATE-RQ {SESSION}", 0x0106, "N-CREATE of film session: 0x0106 Invalid attribute value"),
        (f"N-CREATE-RQ {FILM}", 0xC616, "N-CREATE of film 1: 0xC616 A film box that is not printed exists"),
        (f"N-SET-RQ {IMAGE}", 0xC605, "N-SET of film 1, image 1: 0xC605 The printer has too little memory"),
        (f"N-ACTION-RQ {FILM}", 0xC602, "N-ACTION of film 1: 0xC602 The print queue is full"),
    ],
)
async def test_a_refusal_is_told_in_words_and_the_session_deleted(refused: str, status: int, text: str) -> None:
    printer = Printer()
    printer.answers[refused] = status
    async with printer.server:
        with pytest.raises(StatusError) as raised:
            await print_images(printer.address, gray(1))
    assert str(raised.value).startswith(f"{printer.address}: {text}")
    assert (printer.asked[-1] == f"N-DELETE-RQ {SESSION}") == (refused != f"N-CREATE-RQ {SESSION}")


async def test_too_few_image_boxes_are_a_failure() -> None:
    printer = Printer()
    async with printer.server:
        with pytest.raises(PrintFailed, match="film 1: the printer made 1 image boxes of it for 2 images"):
            await print_images(printer.address, [gray(1), gray(2)])
    assert printer.asked[-1] == f"N-DELETE-RQ {SESSION}"


async def test_cancelling_aborts_the_association() -> None:
    printer, begun = Printer(), asyncio.Event()
    printer.answers[f"N-SET-RQ {IMAGE}"] = begun
    async with printer.server:
        job = asyncio.create_task(print_images(printer.address, gray(1)))
        await begun.wait()
        job.cancel()
        with pytest.raises(asyncio.CancelledError):
            await job
        printer.go_on.set()
    assert printer.asked[-1] == f"N-SET-RQ {IMAGE}"
