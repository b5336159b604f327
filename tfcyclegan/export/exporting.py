"""From a trained model to files that a server and a phone take, with proof that they are it.

Everything is written to a hidden folder first, measured there against the Keras generators on
real pictures, and moved to its place only when it passed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, get_args

import keras
import numpy as np
import tensorflow as tf

from ..directions import Direction
from ..errors import InputError
from ..files import atomic_write, sync_folder
from ..networks.inspection import divisor, least_size
from ..runtimes.litert import LiteRTRuntime
from ..runtimes.protocol import MAX_PIXELS
from ..runtimes.saved_model import SavedModelRuntime
from . import litert, serving
from .proof import Proof, Report, Result

ServingPrecision = Literal["float32", "bfloat16"]


def export_generators(
    generators: Mapping[Direction, keras.Model],
    directory: str | os.PathLike,
    pictures: Mapping[Direction, Sequence[np.ndarray]],
    *,
    image_size: int | tuple[int, int] = 256,
    dynamic_size: bool = False,
    precision: ServingPrecision = "float32",
    max_pixels: int = MAX_PIXELS,
    enforce: bool = True,
) -> Report:
    """Exports generators as SavedModels for TF Serving and as LiteRT files, measured.

    Args:
        generators: G under "AtoB", F under "BtoA", or one of them: functional models,
            `[N, H, W, C]` in [-1, 1] → the same size in [-1, 1].
        directory: where to: `serving/`, `litert/`, `compose.yaml`, `report.json`, `report.md`.
            Its name is the models' name on the server. A SavedModel takes the next free version
            number, LiteRT files replace those of the same name.
        pictures: for each direction real pictures to measure on, float32 `[H, W, C]` in [-1, 1] of
            `image_size`.
        image_size: int or `(height, width)` in px that LiteRT files are fixed to. Default 256.
        dynamic_size: bool, LiteRT files for any size instead. Default False: int8 files run
            several times faster when the size is fixed.
        precision: "float32" (default) or "bfloat16", what the SavedModel computes in.
        max_pixels: int, pixels of the largest picture file that a server decodes. Default
            2,097,152: Full HD fits.
        enforce: bool, leave out what misses its bar (default), or publish it marked.

    Returns:
        `Report`, which is also in the folder. `report.missed` names what missed its bar.

    Raises:
        InputError: the folder cannot be written to, a size that the generators cannot take, or
            no picture to measure on.
    """
    directory = Path(directory)
    sides = (image_size, image_size) if isinstance(image_size, int) else tuple(image_size)
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
        if not len(pictures.get(direction, ())):
            raise InputError(f"no pictures to measure {direction} on: give it some")
    name = model_name(directory)
    with _staging(directory) as staging:
        report = Report(name=name, image_size=sides, threads=os.cpu_count() or 1)
        for direction, generator in generators.items():
            proof = Proof(generator, direction, pictures[direction])
            report.add_reference(proof)
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
            report.add(proof.of(f"SavedModel {precision}", saved, SavedModelRuntime))
            fixed = None if dynamic_size else sides
            files = litert.convert(generator, image_size=fixed, direction=direction)
            for lite_precision, (content, metadata) in files.items():
                file = staging / f"{direction}-{lite_precision}.tflite"
                litert.write_beside(file, content, metadata)
                kind = f"LiteRT {lite_precision}"
                report.add(proof.of(kind, file, LiteRTRuntime, more_sizes=dynamic_size))
        # Only now, with everything measured, anything is published.
        report.results = [
            _publish(result, directory) if result.passed or not enforce else result
            for result in report.results
        ]
        serving.write_server_files(directory, name)
        with atomic_write(directory / "report.json") as part:
            part.write_text(report.to_json())
        with atomic_write(directory / "report.md") as part:
            part.write_text(report.to_markdown())
    return report


def _publish(result: Result, directory: Path) -> Result:
    """Moves what was measured to its place."""
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
    """An export's name, fit for a server's addresses."""
    return re.sub(r"[^\w.-]+", "_", directory.resolve().name, flags=re.ASCII).strip("._") or "model"


@contextlib.contextmanager
def _staging(directory: Path) -> Iterator[Path]:
    """A hidden folder inside the export's, gone at the end, and its problems in clear words."""
    try:
        for folder in (directory / "serving", directory / "litert"):
            folder.mkdir(parents=True, exist_ok=True)
        staging = Path(tempfile.mkdtemp(prefix=".part-", dir=directory))
    except (FileExistsError, NotADirectoryError) as problem:
        raise InputError(
            f"{problem.filename}: there is a file where a folder should be: choose another"
        ) from problem
    except OSError as problem:
        raise InputError(
            f"{directory}: cannot be written to ({problem.strerror}): choose another"
        ) from problem
    try:
        yield staging
    except (OSError, tf.errors.OpError) as problem:
        full = isinstance(problem, OSError) and problem.errno in (errno.ENOSPC, errno.EDQUOT)
        if full or "No space left" in str(problem):  # the latter from TensorFlow's writers
            raise InputError(f"{directory}: the disk is full: make room") from problem
        if isinstance(problem, OSError):
            raise InputError(
                f"{problem.filename or directory}: cannot be written ({problem.strerror}): move it "
                "out of the way, or choose another folder"
            ) from problem
        raise
    finally:
        shutil.rmtree(staging, ignore_errors=True)
