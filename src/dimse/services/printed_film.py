"""A film that was printed, as its handler sees it."""

from __future__ import annotations

from dataclasses import dataclass
from io import BytesIO
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dimse.dataset.part10_file import Part10File
from dimse.dataset.threads import beside_the_loop
from dimse.services.film_layout import FilmLayout
from dimse.services.film_options import FilmOrientation
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

    def picture(self, dpi: int = DEFAULT_DPI) -> Image:
        """The film as an image of Pillow, of `dpi` pixels per inch. Blocks. Needs numpy and Pillow."""
        from dimse.services.film_rendering import render  # imports Pillow

        return render(self.layout, self.images, self.attributes, self.annotations, dpi)

    async def save_png(self, path: str | PathLike[str], *, dpi: int = DEFAULT_DPI) -> None:
        """Write it to a PNG file, which has its name when it is whole. Raises `OSError`."""
        await self._save(Path(path), dpi, "PNG")

    async def save_pdf(self, path: str | PathLike[str], *, dpi: int = DEFAULT_DPI) -> None:
        """Write it to a PDF file of the size of the film, which has its name when it is whole. Raises `OSError`."""
        await self._save(Path(path), dpi, "PDF")

    async def _save(self, path: Path, dpi: int, form: str) -> None:
        await beside_the_loop(lambda: self._write(path, dpi, form))

    def _write(self, path: Path, dpi: int, form: str) -> None:
        picture, data = self.picture(dpi), BytesIO()
        resolution = picture.info["dpi"][0]
        if form == "PDF":
            picture.save(data, form, resolution=resolution)
        else:
            picture.save(data, form, dpi=(resolution, resolution))
        file = Part10File(str(path.parent), b"")
        try:
            file.write([data.getbuffer()])
            if not file.commit(path.name):
                file.take(path.name, replace=True)
        except BaseException:
            file.discard()
            raise
