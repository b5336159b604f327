"""The PNG files that SavedModels and servers exchange, and their error messages."""

from __future__ import annotations

import io
import re
from collections.abc import Callable

import numpy as np
import tensorflow as tf
from PIL import Image

from ..errors import InputError


def to_png(pixels: np.ndarray) -> bytes:
    """Encodes uint8 `[H, W, C]`. PNG is lossless at every level; the lowest is the fastest."""
    return tf.io.encode_png(pixels, compression=1).numpy()


def from_png(read: Callable[[], bytes], asked: np.ndarray, name: str) -> np.ndarray:
    """Decodes the reply to a picture. Servers are not trusted.

    Args:
        read: gives the PNG in the reply. If it fails, the reply is malformed.
        asked: the picture that was sent.
        name: of the runtime, for the message.

    Raises:
        InputError: the reply is not an 8-bit PNG of the picture's size.
    """
    try:
        image = Image.open(io.BytesIO(read()), formats=["PNG"])
        height, width = asked.shape[:2]
        if image.size != (width, height) or image.mode not in ("L", "RGB"):
            raise ValueError(f"{image.mode} of {image.size}")
        return np.asarray(image).reshape(height, width, -1)
    except Exception as problem:  # malformed replies and damaged files raise many kinds
        raise InputError(
            f"{name} answers something else than a picture of the size it was given"
        ) from problem


def assertion_message(text: str) -> str:
    """Extracts the message of a failed assertion from TensorFlow's error text."""
    found = re.search(r"assertion failed: \[([^\]]*)\]((?: \[[^\[\]]*\])*)", text)
    if found:
        return found[1] + found[2]
    lines = [line for line in text.splitlines() if line.strip() and "Graph execution" not in line]
    return lines[0][:300] if lines else "no reason given"
