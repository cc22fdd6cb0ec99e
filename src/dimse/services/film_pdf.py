"""A picture of a film as a PDF file, without any loss: Pillow would compress it as JPEG."""

from __future__ import annotations

from typing import TYPE_CHECKING
from zlib import compress

if TYPE_CHECKING:
    from PIL.Image import Image


def pdf_of(picture: Image) -> bytes:
    """A PDF file (ISO 32000) of one page, which the picture fills: grayscale or RGB, with its pixels per inch."""
    resolution = picture.info["dpi"]
    width, height = (f"{pixels * 72 / dpi:.2f}" for pixels, dpi in zip(picture.size, resolution, strict=True))
    space = "DeviceGray" if picture.mode == "L" else "DeviceRGB"
    image = (
        f"/Type /XObject /Subtype /Image /Width {picture.width} /Height {picture.height} /ColorSpace /{space} "
        "/BitsPerComponent 8 /Filter /FlateDecode"
    )
    return _file(
        _object("/Type /Catalog /Pages 2 0 R"),
        _object("/Type /Pages /Kids [3 0 R] /Count 1"),
        _object(
            f"/Type /Page /Parent 2 0 R /MediaBox [0 0 {width} {height}] /Contents 4 0 R "
            "/Resources << /XObject << /Film 5 0 R >> >>"
        ),
        _object("", f"{width} 0 0 {height} 0 0 cm /Film Do".encode()),
        _object(image, compress(picture.tobytes())),
    )


def _object(entries: str, stream: bytes | None = None) -> bytes:
    """A dictionary, or a stream with one."""
    if stream is None:
        return f"<< {entries} >>".encode()
    return f"<< {entries} /Length {len(stream)} >>\nstream\n".encode() + stream + b"\nendstream"


def _file(*objects: bytes) -> bytes:
    """The objects, numbered from 1, of which the first is the catalog, and the table of their places."""
    data, places = bytearray(b"%PDF-1.4\n%\xe2\xe3\xcf\xd3\n"), []
    for number, each in enumerate(objects, 1):
        places.append(len(data))
        data += b"%d 0 obj\n%b\nendobj\n" % (number, each)
    table, size = len(data), len(objects) + 1
    data += b"xref\n0 %d\n0000000000 65535 f \n" % size
    data += b"".join(b"%010d 00000 n \n" % place for place in places)
    data += b"trailer\n<< /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (size, table)
    return bytes(data)
