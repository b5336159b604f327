"""Opens a trained generator in whatever form it has."""

from __future__ import annotations

import itertools
import os
import re
from pathlib import Path

import keras
import tensorflow as tf

from ..directions import Direction
from ..errors import InputError
from .keras_model import KerasRuntime, direction_of, generator_of, load_model
from .litert import LiteRTRuntime
from .protocol import Runtime
from .saved_model import SavedModelRuntime, versions
from .server import GrpcRuntime, RestRuntime


def open_runtime(
    model: str | os.PathLike | keras.Model,
    direction: Direction | None = None,
    timeout: float = 60.0,
    threads: int | None = None,
) -> Runtime:
    """Opens a trained generator.

    Args:
        model: a run folder, a `.keras` file, an export folder, a SavedModel, a `.tflite` file,
            `http://HOST:PORT/v1/models/NAME` (TF Serving's REST), `grpc://HOST:PORT/NAME`, or a
            `CycleGAN`, `Pix2Pix` or generator in memory.
        direction: "AtoB" or "BtoA". Default: AtoB if the model has both, else the one it has.
        timeout: float, seconds to wait for one reply of a server. Default 60.
        threads: int, computing threads, unless a server computes. Default: one per core.
            (TensorFlow rounds sums differently with another number of threads.)

    Returns:
        A `Runtime`: call it on uint8 `[H, W, C]` pixels.

    Raises:
        InputError: there is no such model, or it is not a generator.

    Example:
        ```python
        to_zebra = open_runtime("exports/horse2zebra/litert/AtoB-int8.tflite")
        zebra = to_zebra(np.asarray(Image.open("horse.jpg")))
        ```
    """
    if threads is not None:
        _set_threads(threads)
    runtime = _open(model, direction or "AtoB", timeout, threads)
    if direction and runtime.direction not in (direction, None):
        raise InputError(
            f"{runtime.name} only translates {runtime.direction}: leave direction={direction} out, "
            "or give the other model"
        )
    return runtime


def _set_threads(threads: int) -> None:
    """Sets TensorFlow's threads, which is possible only before it starts to compute."""
    if threads < 1:
        raise InputError(f"threads={threads}: must be at least 1")
    if tf.config.threading.get_intra_op_parallelism_threads() == threads:
        return
    try:
        tf.config.threading.set_intra_op_parallelism_threads(threads)
    except RuntimeError as problem:
        raise InputError(
            f"threads={threads}: TensorFlow has already started in this process: set it earlier"
        ) from problem


def _open(
    model: str | os.PathLike | keras.Model,
    direction: Direction,
    timeout: float,
    threads: int | None,
) -> Runtime:
    if isinstance(model, keras.Model):
        return _keras_runtime(model, direction, model.name)
    text = os.fspath(model)
    if re.match(r"https?://", text):
        return RestRuntime(text, timeout)
    if text.startswith("grpc://"):
        return GrpcRuntime(text, timeout)
    path = Path(text)
    if not path.exists():
        raise InputError(
            f"model={text}: there is no such file or folder; give a run folder, a .keras file, a "
            "SavedModel, a .tflite file or a server's http:// or grpc:// address"
        )
    if path.suffix == ".tflite" and path.is_file():
        return LiteRTRuntime(path, threads)
    if path.suffix == ".keras" or (path / "config.json").exists():
        return _keras_runtime(load_model(path), direction, text)
    if path.is_file():
        raise InputError(
            f"model={text}: neither a .keras nor a .tflite file: make a run folder of other models "
            "first (tfcyclegan import)"
        )
    exports = (versions(path / "serving" / way)[-1:] for way in (direction, "AtoB", "BtoA"))
    for candidate in (path, *versions(path)[-1:], *itertools.chain(*exports)):
        if (candidate / "saved_model.pb").exists():
            return SavedModelRuntime(candidate)
    raise InputError(
        f"model={text}: no run, SavedModel or export in that folder (looked for config.json, "
        f"saved_model.pb, numbered versions and serving/{direction})"
    )


def _keras_runtime(model: keras.Model, direction: Direction, name: str) -> KerasRuntime:
    own: Direction | None = direction_of(model)
    if there := getattr(model, "translators", None):
        own = direction = direction if direction in there else next(iter(there))
    return KerasRuntime(generator_of(model, direction, name), name, own)
