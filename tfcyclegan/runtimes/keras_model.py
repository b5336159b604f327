"""A generator in Keras: a run folder, a `.keras` file or a model in memory."""

from __future__ import annotations

import shlex
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ..directions import GENERATORS, Direction
from ..errors import InputError, first_line
from ..networks.inspection import divisor, least_size
from ..networks.twins import with_precision
from .protocol import run_in_float


def load_model(path: Path) -> keras.Model:
    """Loads what a run folder or a `.keras` file holds.

    Raises:
        InputError: a run that is not finished, or no file of Keras's.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise InputError(
            f"{file}: there is no such file: the run is not finished; go on with "
            f"`train --resume --run-dir {shlex.quote(str(path))}`"
        )
    try:
        # safe_mode: code in a lambda layer is not run.
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as problem:  # Keras raises whatever its parts do
        raise InputError(
            f"{file}: not a model this version can load "
            f"({type(problem).__name__}: {first_line(problem)})"
        ) from problem


def generator_of(model: keras.Model, direction: Direction, where: object) -> keras.Model:
    """G or F of a `CycleGAN`, or the model itself where it is a generator alone.

    Raises:
        InputError: it does not take pictures.
    """
    network = model.generator(direction) if hasattr(model, "generator") else model
    shapes = getattr(network, "input_shape", None), getattr(network, "output_shape", None)
    pictures = all(
        isinstance(shape, tuple) and len(shape) == 4 and shape[-1] in (1, 3) for shape in shapes
    )
    if not pictures or "layers" not in network.get_config():
        raise InputError(
            f"{where}: not a generator: it goes from {shapes[0]} to {shapes[1]} where pictures are "
            "[N, H, W, 3] or [N, H, W, 1], or it is no functional Keras model"
        )
    if shapes[0][1:3] != (None, None):
        raise InputError(f"{where}: takes {shapes[0]} alone, where pictures come in any size")
    return network


def direction_of(generator: keras.Model) -> Direction | None:
    """Which way a generator alone goes, as its name says, or None where that says nothing."""
    return next((way for way, name in GENERATORS.items() if name == generator.name), None)


class KerasRuntime:
    """A generator in Keras, computing in float32 whatever it was trained in."""

    size = None
    concurrent = 1
    max_pixels = 2**20  # larger ones go through `translation.streaming`, with the same result

    def __init__(self, network: keras.Model, name: str):
        self.name = name
        self.direction: Direction | None = None
        self.network = with_precision(network, "float32")
        self.channels = network.input_shape[-1]
        self.divisor, self.least = divisor(network), least_size(network)
        # One picture at a time, of any size, from one trace.
        self._run = tf.function(
            lambda images: self.network(images, training=False),
            input_signature=[tf.TensorSpec((1, None, None, self.channels), tf.float32)],
        )

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 `[1, H, W, C]` in [-1, 1] → the same."""
        return self._run(images).numpy()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return run_in_float(self.run, pixels, self.divisor, self.least)
