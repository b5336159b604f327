"""One picture through a generator, whatever its size."""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
from PIL import Image

from ..errors import InputError
from ..runtimes.keras_model import KerasRuntime
from ..runtimes.padding import padded
from ..runtimes.protocol import BadPicture, Runtime
from .streaming import stream
from .tiling import translate_tiles

#: Side in px of independent tiles, for runtimes that take any size.
TILE = 1024

#: A working size: `(height, width)`, or `(None, shorter side)`.
Size = tuple[int | None, int]


def parse_size(text: str) -> Size:
    """Parses a working size.

    Args:
        text: `"256"` for the shorter side, or `"HEIGHTxWIDTH"`, in px.

    Returns:
        `(height, width)`, where the height is None for a shorter side.

    Raises:
        InputError: it is neither.

    Example:
        ```python
        assert parse_size("256") == (None, 256)
        ```
    """
    match = re.fullmatch(r"(?:([0-9]{1,6})[x×])?([0-9]{1,6})", text.strip())
    if not match or not int(match[2]) or (match[1] and not int(match[1])):
        raise InputError(
            f"image_size={text}: give one number of px for the shorter side, or HEIGHTxWIDTH"
        )
    return (int(match[1]) if match[1] else None, int(match[2]))


def working_size(image_size: str | None, runtime: Runtime) -> Size | None:
    """Parses `image_size` and checks that the runtime takes it.

    Raises:
        InputError: the runtime takes only another size.
    """
    size = parse_size(image_size) if image_size else None
    if size and runtime.size and size != runtime.size:
        raise InputError(
            f"image_size={image_size}: {runtime.name} takes only "
            f"{runtime.size[0]}x{runtime.size[1]}: leave it out"
        )
    return size


def draw(
    image: Image.Image, runtime: Runtime, size: Size | None, independent_tiles: bool, scratch: Path
) -> Image.Image:
    """Translates an RGB picture and scales the result back to its size.

    Args:
        image: the picture.
        runtime: from `open_runtime`.
        size: from `working_size`. Default: the runtime's only size, or else the picture's own.
        independent_tiles: see `translate_files`.
        scratch: a folder for the layers of large pictures.

    Returns:
        An RGB or grey picture.

    Raises:
        BadPicture: the picture is too large.
    """
    own = image.size
    tiles = independent_tiles and not isinstance(runtime, KerasRuntime)
    if runtime.size and not tiles:
        size = runtime.size
    if size:
        if size[0] is None:
            scale = size[1] / min(own)
            wanted = (max(1, round(own[0] * scale)), max(1, round(own[1] * scale)))
        else:
            wanted = (size[1], size[0])
        if wanted[0] * wanted[1] > (Image.MAX_IMAGE_PIXELS or math.inf):
            raise BadPicture(f"{wanted[0]}×{wanted[1]} px are too many: lower `image_size`")
        image = image.resize(wanted, Image.Resampling.BICUBIC)
    pixels = np.asarray(image if runtime.channels == 3 else image.convert("L"))
    drawn = _at_size(pixels.reshape(image.height, image.width, -1), runtime, tiles, scratch)
    result = Image.fromarray(drawn[..., 0] if drawn.shape[-1] == 1 else drawn)
    return result.resize(own, Image.Resampling.BICUBIC)


def _at_size(pixels: np.ndarray, runtime: Runtime, tiles: bool, scratch: Path) -> np.ndarray:
    height, width = pixels.shape[:2]
    if runtime.size and tiles:
        return translate_tiles(runtime, pixels, runtime.size)
    # A network gets at least 8 px per side, however narrow the picture is.
    if max(height, 8) * max(width, 8) <= runtime.max_pixels:
        return runtime(pixels)
    if isinstance(runtime, KerasRuntime):
        grown = padded(pixels, runtime.divisor, runtime.least)
        return stream(runtime.network, grown, scratch)[:height, :width]
    if tiles:
        side = min(TILE, math.isqrt(runtime.max_pixels))
        # A long picture may be narrower than a tile.
        return translate_tiles(runtime, pixels, (min(side, height), min(side, width)))
    raise BadPicture(
        f"{width}×{height} px are more than the {runtime.max_pixels} that {runtime.name} takes at "
        "once, and its layers are not accessible: pass independent_tiles=True or a smaller "
        "`image_size`, or translate with the run folder or .keras file"
    )
