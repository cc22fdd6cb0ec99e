"""The statuses of the Print Management service class, whose codes mean something else in others (PS3.4 H.4)."""

from __future__ import annotations

from typing import Final

from dimse.status import Status

_TOO_LARGE: Final = "The image is larger than its image box"
_MEANINGS: Final = {
    0xB600: "Memory allocation is not supported",
    0xB601: "The printer cannot print the films of a session together",
    0xB602: "The film session has no images: an empty page",
    0xB603: "The film box has no images: an empty page",
    0xB604: f"{_TOO_LARGE}, and was made smaller",
    0xB605: "The density is beyond what the printer can print, and was limited",
    0xB609: f"{_TOO_LARGE}, and was cropped",
    0xB60A: f"{_TOO_LARGE}, and was reduced to fit",
    0xC600: "The film session has no film boxes",
    0xC601: "The print queue is full",
    0xC602: "The print queue is full",
    0xC603: _TOO_LARGE,
    0xC605: "The printer has too little memory for the image",
    0xC613: "The combined image is larger than its image box",
    0xC616: "A film box that is not printed exists, and the printer cannot print several together",
}


class PrintStatus(Status):
    """A status of Print Management.

    >>> str(PrintStatus(0xC602))
    '0xC602 The print queue is full'
    """

    @property
    def meaning(self) -> str:
        return _MEANINGS.get(int(self)) or super().meaning


SESSION_QUEUE_FULL: Final = PrintStatus(0xC601)
FILM_QUEUE_FULL: Final = PrintStatus(0xC602)
NO_FILM_BOXES: Final = PrintStatus(0xC600)
NO_MEMORY: Final = PrintStatus(0xC605)
EMPTY_SESSION: Final = PrintStatus(0xB602)
EMPTY_FILM: Final = PrintStatus(0xB603)
