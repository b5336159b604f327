"""From picture files to 8-bit RGB, with the pixels that Pillow gives."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError, first_line

#: Endings of picture files.
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp")

#: Pillow's names of the formats that are read. (JPEG covers MPO, which many phones write.)
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")

#: What Pillow's readers raise on damaged files, besides their own errors.
_DAMAGED = (OSError, EOFError, SyntaxError, ValueError, TypeError, LookupError, struct.error)


@dataclass(frozen=True)
class Opened:
    """A decoded picture, and what a file of its translation should keep.

    Attributes:
        image: upright 8-bit RGB; transparency is blended with white.
        alpha: the opacity of each pixel, of mode L, or None.
        format: Pillow's name of the file's format.
        keep: metadata: EXIF without the orientation, which is applied, and an RGB colour profile.
    """

    image: Image.Image
    alpha: Image.Image | None
    format: str
    keep: dict[str, bytes]


def open_picture(data: bytes, name: str) -> Opened:
    """Decodes a JPEG, PNG, BMP, GIF (first frame) or WebP to 8-bit RGB.

    EXIF orientation is applied. Transparency is blended with white. Greyscale, palette, CMYK and
    16-bit pictures become 8-bit RGB.

    Args:
        data: the file's bytes, which are not trusted.
        name: what to call it in a message.

    Returns:
        The picture, with its alpha, format and metadata.

    Raises:
        InputError: not such a picture, a truncated one, or one that claims more than 179 million
            pixels (Pillow's limit: a small file can claim any size).
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        kind = image.format or "PNG"
        image.load()
        with contextlib.suppress(Exception):  # damaged EXIF raises anything; the pixels are intact
            image = ImageOps.exif_transpose(image)
        keep = _metadata(image)
        return Opened(*_to_rgb(image), kind, keep)
    except (*_DAMAGED, Image.DecompressionBombError) as problem:
        unknown = isinstance(problem, Image.UnidentifiedImageError)
        reason = "not a JPEG, PNG, BMP, GIF or WebP" if unknown else first_line(problem)
        raise InputError(
            f"{name}: cannot be decoded as a picture ({reason}): "
            "remove it, or pass skip_bad_images=True"
        ) from problem


def _metadata(image: Image.Image) -> dict[str, bytes]:
    keep = {}
    with contextlib.suppress(Exception):  # damaged EXIF, as above
        if exif := image.getexif():
            keep["exif"] = exif.tobytes()
    if image.mode in ("RGB", "RGBA", "P") and isinstance(image.info.get("icc_profile"), bytes):
        keep["icc_profile"] = image.info["icc_profile"]
    return keep


def _to_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """8-bit RGB on white, and the alpha channel if there is one."""
    if image.mode.startswith("I"):
        # 16 bits: Pillow would clip to 255 instead of scaling.
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip((wide * 255 + 32767) // 65535, 0, 255).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB"), image.getchannel("A")
    return image.convert("RGB"), None
