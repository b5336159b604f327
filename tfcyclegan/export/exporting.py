"""`export_model`: a trained model as SavedModels and LiteRT files.

Everything is written to a hidden folder first, compared there with the Keras generators on real
pictures, and published only if it is accurate enough.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np
import tensorflow as tf
from PIL import Image

from ..data.loading import Data
from ..data.preprocessing import resized, to_float, to_uint8
from ..data.test_set import TestSet
from ..directions import Direction, check_direction
from ..errors import InputError
from ..files import sync_folder, write_text
from ..networks.inspection import divisor, least_size
from ..runtimes.keras_model import direction_of, generator_of
from ..runtimes.protocol import MAX_PIXELS
from . import litert, serving
from .proof import Proof, Report, Result

ServingPrecision = Literal["float32", "bfloat16"]


def export_model(
    model: keras.Model,
    data: Data | TestSet | tuple[Sequence[np.ndarray], Sequence[np.ndarray]],
    directory: str | os.PathLike,
    *,
    directions: Sequence[Direction] | None = None,
    count: int = 8,
    image_size: int | tuple[int, int] | None = None,
    dynamic_size: bool = False,
    precision: ServingPrecision = "float32",
    max_pixels: int = MAX_PIXELS,
    enforce: bool = True,
) -> Report:
    """Exports a trained model for TF Serving and LiteRT, and compares each file with Keras.

    Args:
        model: a `CycleGAN` or `Pix2Pix`, or a generator: a functional model `[N, H, W, C]` in
            [-1, 1] → the same size in [-1, 1].
        data: real pictures for the comparison: the result of `load_data` or `load_test_set`, or
            `(pictures of A, pictures of B)`, float32 in [-1, 1] or uint8, `[H, W, C]` each.
        directory: the folder to write: `serving/`, `litert/`, `compose.yaml`, `report.json` and
            `report.md`. Its name is the models' name on the server. A SavedModel gets the next
            free version number; LiteRT files replace those of the same name.
        directions: "AtoB" and "BtoA". Default: all that the model has.
        count: int, pictures of each domain to compare. Default 8.
        image_size: int or `(height, width)` in px that LiteRT files are fixed to. Default: the
            training size, or 256.
        dynamic_size: bool, whether LiteRT files take any size instead. Default False: int8 files
            run several times faster at a fixed size.
        precision: "float32" (default) or "bfloat16", for the computation of the SavedModels.
        max_pixels: int, pixels of the largest picture file that a server decodes. Default
            2,097,152, a little above Full HD.
        enforce: bool, whether an export that misses its accuracy limit is discarded (default) or
            published and marked.

    Returns:
        `Report`, which is also written to the folder: `print(report.to_markdown())`.
        `report.missed` names the exports that missed their limits.

    Raises:
        InputError: the folder cannot be written to, a direction is unknown, the model is not a
            generator, the generators cannot take the size, or there are no pictures to compare.

    Example:
        ```python
        report = tfcyclegan.export.export_model(model, data, "exports/horse2zebra")
        ```
    """
    directory = Path(directory)
    if directions is None:
        directions = (*getattr(model, "translators", (direction_of(model) or "AtoB",)),)
    if not directions:
        raise InputError("`directions` is empty: take AtoB, BtoA or both")
    generators = {way: generator_of(model, check_direction(way), model.name) for way in directions}
    size = image_size or getattr(model, "image_size", None) or 256
    sides = (size, size) if isinstance(size, int) else size
    if precision not in get_args(ServingPrecision):
        raise InputError(f"precision={precision!r} is unknown: take float32 or bfloat16")
    if not sides[0] * sides[1] <= max_pixels < 2**31:
        raise InputError(
            f"max_pixels={max_pixels}: must be at least the {sides[0] * sides[1]} of the image "
            f"size {sides[1]}×{sides[0]}, and below 2**31"
        )
    for direction, generator in generators.items():
        multiple, least = divisor(generator), least_size(generator)
        if any(side % multiple or side < least for side in sides):
            raise InputError(
                f"image size {sides[1]}×{sides[0]}: sides must be multiples of {multiple} and at "
                f"least {least} for the {direction} generator"
            )
    pictures = _pictures_to_compare(data, generators, sides, count)
    name = model_name(directory)
    with _staging(directory) as staging:
        report = Report(name=name, image_size=sides)
        for direction, generator in generators.items():
            proof = Proof(generator, direction, pictures[direction])
            report.pictures[direction] = len(pictures[direction])
            report.keras_milliseconds[direction] = proof.milliseconds
            saved = staging / direction
            serving.write_saved_model(
                generator,
                saved,
                model_name=f"{name}_{direction}",
                direction=direction,
                precision=precision,
                image_size=sides,
                max_pixels=max_pixels,
            )
            report.results.append(proof.measure(f"SavedModel {precision}", saved))
            fixed = None if dynamic_size else sides
            files = litert.convert(generator, image_size=fixed, direction=direction)
            for lite_precision, (content, metadata) in files.items():
                file = staging / f"{direction}-{lite_precision}.tflite"
                litert.write_beside(file, content, metadata)
                report.results.append(proof.measure(f"LiteRT {lite_precision}", file))
        # Nothing is published before everything is measured.
        report.results = [
            _publish(result, directory) if result.passed or not enforce else result
            for result in report.results
        ]
        serving.write_server_files(directory, name)
        write_text(directory / "report.json", report.to_json())
        write_text(directory / "report.md", report.to_markdown())
    return report


def _pictures_to_compare(
    data: Any, generators: Mapping[Direction, keras.Model], sides: tuple[int, int], count: int
) -> dict[Direction, list[np.ndarray]]:
    """Pictures for each generator, float32 `[H, W, C]` in [-1, 1] of `sides` `(height, width)`."""
    if count < 1:
        raise InputError(f"count={count}: must be at least 1")
    if isinstance(data, (tuple, list)):
        if len(data) != 2:
            raise InputError(f"`data` has {len(data)} parts: give (pictures of A, pictures of B)")
        A, B = data
    else:
        A, B = data.some_pictures(count) if hasattr(data, "some_pictures") else (data.A, data.B)
    found = {}
    for way, generator in generators.items():
        pictures, channels = (A if way == "AtoB" else B)[:count], generator.input_shape[-1]
        if not len(pictures):
            raise InputError(f"`data` has no pictures to measure {way} on: give it some")
        found[way] = [_at_size(picture, sides, channels) for picture in pictures]
    return found


def _at_size(picture: np.ndarray, sides: tuple[int, int], channels: int) -> np.ndarray:
    """A picture as float32 in [-1, 1]; resized only where it has another size."""
    if picture.shape[-1] != channels:
        raise InputError(
            f"`data` has pictures of {picture.shape[-1]} channels, but the generator takes "
            f"{channels}"
        )
    if picture.shape[:2] != sides:
        pixels = picture if picture.dtype == np.uint8 else to_uint8(picture)
        image = Image.fromarray(pixels[..., 0] if channels == 1 else pixels)
        picture = resized(image, sides, channels)
    return to_float(picture).numpy() if picture.dtype == np.uint8 else picture


def _publish(result: Result, directory: Path) -> Result:
    """Moves an exported model from the hidden folder to its place."""
    staged = result.staged
    if staged.is_dir():
        sync_folder(staged)
        place = serving.publish(staged, directory / "serving" / result.direction)
    else:
        place = directory / "litert" / staged.name
        os.replace(staged.with_suffix(".json"), place.with_suffix(".json"))
        os.replace(staged, place)
    return dataclasses.replace(result, path=place.relative_to(directory).as_posix())


def model_name(directory: Path) -> str:
    """An export's name: the folder's, without characters that server addresses forbid."""
    return re.sub(r"[^\w.-]+", "_", directory.resolve().name, flags=re.ASCII).strip("._") or "model"


@contextlib.contextmanager
def _staging(directory: Path) -> Iterator[Path]:
    """Gives a hidden folder inside the export's folder and deletes it at the end."""
    try:
        for folder in (directory / "serving", directory / "litert"):
            folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(
            prefix=".part-", dir=directory, ignore_cleanup_errors=True
        ) as staging:
            yield Path(staging)
    except (OSError, tf.errors.OpError) as problem:
        full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(problem):  # the latter from TensorFlow's writers
            raise InputError(f"{directory}: the disk is full: make room") from problem
        if not isinstance(problem, OSError):
            raise
        reason = f"cannot be written ({problem.strerror})"
        if isinstance(problem, (FileExistsError, NotADirectoryError)):
            reason = "there is a file where a folder should be"
        raise InputError(
            f"{problem.filename or directory}: {reason}: move it out of the way, or choose another "
            "folder"
        ) from problem
