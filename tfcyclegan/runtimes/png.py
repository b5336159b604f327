"""Pictures as the PNG files that SavedModels and servers exchange."""

from __future__ import annotations

import io
import re

import numpy as np
from PIL import Image

from ..errors import InputError


def to_png(pixels: np.ndarray) -> bytes:
    file = io.BytesIO()
    image = pixels[..., 0] if pixels.shape[-1] == 1 else pixels
    # Lossless at any level; the lowest is the fastest.
    Image.fromarray(image).save(file, "PNG", compress_level=1)
    return file.getvalue()


def from_png(data: bytes, asked: np.ndarray, name: str) -> np.ndarray:
    """The answer to a picture; what a server says is not trusted.

    Raises:
        InputError: it is no 8-bit PNG of the size that was asked for.
    """
    try:
        image = Image.open(io.BytesIO(data), formats=["PNG"])
        height, width = asked.shape[:2]
        if image.size != (width, height) or image.mode not in ("L", "RGB"):
            raise ValueError(f"{image.mode} of {image.size}")
        return np.asarray(image).reshape(height, width, -1)
    except Exception as problem:  # Pillow raises all kinds on damaged files
        raise InputError(
            f"{name} answers something else than a picture of the size it was given"
        ) from problem


def assertion_message(text: str) -> str:
    """What TensorFlow's error is about, without the graph around it."""
    found = re.search(r"assertion failed: \[([^\]]*)\]((?: \[[^\[\]]*\])*)", text)
    if found:
        return found[1] + found[2]
    lines = [line for line in text.splitlines() if line.strip() and "Graph execution" not in line]
    return lines[0][:300] if lines else "no reason given"
