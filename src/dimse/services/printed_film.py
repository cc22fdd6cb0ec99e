"""A film that was printed, as its handler sees it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from os import PathLike, fspath
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.dataset.part10_file import Part10File
from dimse.dataset.threads import beside_the_loop
from dimse.services.film_layout import FilmLayout
from dimse.services.film_options import FilmOrientation
from dimse.services.film_pdf import pdf_of
from dimse.services.print_image import FilmImage

if TYPE_CHECKING:
    from PIL.Image import Image

    from dimse.dataset.pydicom_names import Dataset

DEFAULT_DPI: Final = 150


@dataclass(frozen=True, eq=False)
class PrintedFilm:
    """A film that an SCU has printed.

    >>> async def keep(film):
    ...     await film.save_png(f"films/{film.sop_instance_uid}.png")
    """

    sop_instance_uid: str
    """That of its film box."""
    job_uid: str
    """The SOP Instance UID of its print job."""
    calling_ae_title: str
    layout: FilmLayout
    images: tuple[FilmImage, ...]
    """The images, by their positions. Places without an image are empty."""
    annotations: tuple[str, ...]
    """The texts of its annotation boxes, by their positions."""
    session: Dataset
    """The attributes of its film session: copies, medium and so on."""
    attributes: Dataset
    """The attributes of its film box."""

    @property
    def orientation(self) -> FilmOrientation:
        """Portrait or landscape."""
        return FilmOrientation(self.attributes.get("FilmOrientation") or FilmOrientation.PORTRAIT)

    @property
    def copies(self) -> int:
        """How many copies the SCU wants."""
        return int(self.session.get("NumberOfCopies") or 1)

    @property
    def size(self) -> int:
        """Bytes of its images."""
        return sum(len(each.image.PixelData) for each in self.images)

    def picture(self, dpi: int = DEFAULT_DPI, *, font: str | PathLike[str] | None = None) -> Image:
        """The film as an image of Pillow, of `dpi` pixels per inch. Blocks. Needs numpy and Pillow.

        `font` is a TrueType or OpenType file for the annotations: that of Pillow, which is used without one, has
        Latin letters only. Raises `OSError` if it cannot be read.
        """
        from dimse.services.film_rendering import render  # imports Pillow

        path = None if font is None else fspath(font)
        return render(self.layout, self.images, self.attributes, self.annotations, dpi, path)

    async def save_png(
        self, path: str | PathLike[str], *, dpi: int = DEFAULT_DPI, font: str | PathLike[str] | None = None
    ) -> None:
        """Write it to a PNG file, which has its name when it is whole. Raises `OSError`."""
        await beside_the_loop(lambda: _write(Path(path), _png(self.picture(dpi, font=font))))

    async def save_pdf(
        self, path: str | PathLike[str], *, dpi: int = DEFAULT_DPI, font: str | PathLike[str] | None = None
    ) -> None:
        """Write it to a PDF file of the size of the film, without loss. It has its name when it is whole.

        Raises `OSError`.
        """
        await beside_the_loop(lambda: _write(Path(path), pdf_of(self.picture(dpi, font=font))))


def _png(picture: Image) -> bytes:
    data = BytesIO()
    picture.save(data, "PNG", dpi=picture.info["dpi"])
    return data.getvalue()


def _write(path: Path, content: bytes) -> None:
    file = Part10File(str(path.parent), b"")
    try:
        file.write([memoryview(content)])
        if not file.commit(path.name):
            file.take(path.name, replace=True)
    except BaseException:
        file.discard()
        raise
