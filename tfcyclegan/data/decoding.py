"""From picture files to 8-bit RGB, with the pixels that Pillow gives."""

from __future__ import annotations

import contextlib
import io
import struct
from dataclasses import dataclass

import numpy as np
from PIL import Image, ImageOps

from ..errors import InputError

#: Endings of the files a folder is searched for.
SUFFIXES = (".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp")


#: Pillow's names of the formats that are read. (JPEG covers MPO, what many phones write.)
_FORMATS = ("JPEG", "PNG", "BMP", "GIF", "WEBP")


@dataclass(frozen=True)
class Opened:
    """A decoded picture, and what a file drawn from it should keep.

    Attributes:
        image: upright 8-bit RGB, transparency laid on white.
        alpha: how opaque each pixel is, of mode L, or None.
        format: Pillow's name of the file's format.
        keep: metadata for the translation's file: EXIF without the orientation, which is applied,
            and an RGB colour profile.
    """

    image: Image.Image
    alpha: Image.Image | None
    format: str
    keep: dict[str, bytes]


def decode(data: bytes, name: str) -> Image.Image:
    """Decodes a JPEG, PNG, BMP, GIF (first frame) or WebP to 8-bit RGB.

    EXIF orientation is applied. Transparency is blended with white. Greyscale, palette, CMYK and
    16-bit pictures become 8-bit RGB.

    Args:
        data: the file's bytes, which are not trusted.
        name: what to call it in a message.

    Returns:
        A Pillow image of mode RGB.

    Raises:
        InputError: not such a picture, a truncated one, or one that claims more than 179 million
            pixels (Pillow's limit: a small file can claim any size).
    """
    return open_picture(data, name).image


def open_picture(data: bytes, name: str) -> Opened:
    """As `decode`, with alpha, format and metadata.

    Raises:
        InputError: as `decode`.
    """
    try:
        image: Image.Image = Image.open(io.BytesIO(data), formats=_FORMATS)
        kind = image.format or "PNG"
        image.load()
        image = _upright(image)
        keep = _kept(image)
        image, alpha = _to_rgb(image)
        return Opened(image, alpha, kind, keep)
    except (
        OSError,
        EOFError,
        SyntaxError,
        ValueError,
        TypeError,
        IndexError,
        KeyError,
        struct.error,
        Image.DecompressionBombError,
    ) as problem:
        # Pillow's readers raise all of these on damaged files.
        raise InputError(
            f"{name}: cannot be decoded as a picture ({_first_line(problem)}): "
            "remove it, or pass skip_bad_images=True"
        ) from problem


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:  # damaged EXIF raises anything, but the picture itself is intact
        return image


def _kept(image: Image.Image) -> dict[str, bytes]:
    keep = {}
    with contextlib.suppress(Exception):  # as above
        if len(image.getexif()):
            keep["exif"] = image.getexif().tobytes()
    if image.mode in ("RGB", "RGBA", "P") and isinstance(image.info.get("icc_profile"), bytes):
        keep["icc_profile"] = image.info["icc_profile"]
    return keep


def _first_line(problem: Exception) -> str:
    if isinstance(problem, Image.UnidentifiedImageError):
        return "not a JPEG, PNG, BMP, GIF or WebP"
    return (str(problem).splitlines() or [type(problem).__name__])[0]


def _to_rgb(image: Image.Image) -> tuple[Image.Image, Image.Image | None]:
    """8-bit RGB on white, and the alpha channel where there is one."""
    if image.mode.startswith("I"):
        # 16 bits: Pillow would clip to 255 instead of scaling.
        wide = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip((wide * 255 + 32767) // 65535, 0, 255).astype(np.uint8))
    if image.mode in ("RGBA", "LA", "PA", "RGBa", "La") or "transparency" in image.info:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(white, image).convert("RGB"), image.getchannel("A")
    return image.convert("RGB"), None
