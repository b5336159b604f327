"""A generator in Keras: a run folder, a `.keras` file or a model in memory."""

from __future__ import annotations

import json
import shlex
import zipfile
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ..directions import GENERATORS, Direction
from ..errors import InputError, first_line
from ..networks.inspection import divisor, least_size
from ..networks.twins import with_precision
from .padding import run_in_float
from .protocol import Runtime, check_shapes


def load_model(path: Path) -> keras.Model:
    """Loads the model of a run folder or a `.keras` file.

    Raises:
        InputError: the run is not finished, or the file cannot be loaded.
    """
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    file = path / "model.keras" if path.is_dir() else path
    if not file.exists():
        raise InputError(
            f"{file}: there is no such file: the run is not finished; go on with resume=True and "
            f"run_dir={shlex.quote(str(path))}"
        )
    try:
        # safe_mode: do not run the code of lambda layers.
        return keras.saving.load_model(file, compile=False, safe_mode=True)
    except Exception as problem:  # Keras raises whatever its parts raise
        if classes := _foreign_classes(file):
            raise InputError(
                f"{file}: it needs the class {' and '.join(classes)}, whose code is not in the "
                "file: load it in a script that defines the class, under "
                "keras.saving.register_keras_serializable()"
            ) from problem
        raise InputError(
            f"{file}: not a model this version can load "
            f"({type(problem).__name__}: {first_line(problem)})"
        ) from problem


def _foreign_classes(file: Path) -> list[str]:
    """The classes that a `.keras` file names and that are not known here."""
    try:
        with zipfile.ZipFile(file) as archive:
            if archive.getinfo("config.json").file_size > 2**26:
                return []
            todo = [json.loads(archive.read("config.json"))]
    except (OSError, KeyError, ValueError, RecursionError, zipfile.BadZipFile):
        return []
    found: list[str] = []
    while todo:
        entry = todo.pop()
        if isinstance(entry, dict):
            todo += entry.values()
            name, registered = entry.get("class_name"), entry.get("registered_name")
            builtin = str(entry.get("module", "keras")).split(".")[0] in ("keras", "builtins")
            known = builtin or keras.saving.get_registered_object(str(registered))
            if isinstance(name, str) and not known and name not in found:
                found.append(name)
        elif isinstance(entry, list):
            todo += entry
    return found


def generator_of(model: keras.Model, direction: Direction, where: object) -> keras.Model:
    """Returns a model's generator of that direction, or the model itself if it is one.

    Args:
        model: a `CycleGAN`, `Pix2Pix` or generator.
        direction: "AtoB" or "BtoA".
        where: the model's name in messages.

    Raises:
        InputError: the network does not map pictures of any size to pictures of the same size.
    """
    network = model.generator(direction) if hasattr(model, "generator") else model
    taken, drawn = (getattr(network, f"{end}_shape", None) for end in ("input", "output"))
    if not (
        isinstance(taken, tuple) and isinstance(drawn, tuple) and "layers" in network.get_config()
    ):
        raise InputError(f"{where}: not a generator: no functional model of one input and output")
    if len(taken) == len(drawn) == 4:
        if taken[1:3] != (None, None):
            raise InputError(f"{where}: takes only {taken}; a generator takes pictures of any size")
        # A discriminator's smaller output shows only for an input of a definite size.
        taken = (1, 8 * divisor(network), 16 * divisor(network), taken[3])
        drawn = network.compute_output_shape(taken)
    check_shapes(where, taken, drawn)
    return network


def direction_of(generator: keras.Model) -> Direction | None:
    """Returns the direction that a single generator's name (G or F) implies, or None."""
    return next((way for way, name in GENERATORS.items() if name == generator.name), None)


def networks_of(model: keras.Model) -> dict[str, keras.Model]:
    """Returns the networks of a model, or a single generator as G or F, whatever its name.

    Generators are their moving averages if the model has them.
    """
    if hasattr(model, "networks"):
        averages = {model.generator_names[way]: net for way, net in model.translators.items()}
        return model.networks | averages
    return {GENERATORS[direction_of(model) or "AtoB"]: model}


class KerasRuntime(Runtime):
    """A generator in Keras. It computes in float32, whatever precision it was trained in."""

    max_pixels = 2**20  # larger ones go through `translation.streaming`

    def __init__(self, network: keras.Model, name: str, direction: Direction | None = None):
        self.name = name
        self.direction = direction
        self.network = with_precision(network, "float32")
        self.channels = network.input_shape[-1]
        self.divisor, self.least = divisor(network), least_size(network)
        # One trace serves pictures of every size.
        self._run = tf.function(
            lambda images: self.network(images, training=False),
            input_signature=[tf.TensorSpec((1, None, None, self.channels), tf.float32)],
        )

    def run(self, images: np.ndarray) -> np.ndarray:
        """Translates float32 `[1, H, W, C]` in [-1, 1]."""
        return self._run(images).numpy()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        return run_in_float(self.run, pixels, self.divisor, self.least)
