"""A generator exported as a SavedModel."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..errors import InputError, first_line
from .png import assertion_message, from_png, to_png
from .protocol import DESCRIPTION_NAME, BadPicture, Runtime, check_shapes

#: Signatures of an exported SavedModel, and the one input and output of each.
SIGNATURES = {"serving_default": "images", "serving_bytes": "image_bytes"}


class SavedModelRuntime(Runtime):
    """A SavedModel with the signatures that `export_model` writes."""

    def __init__(self, path: Path):
        self.name = str(path)
        file = path / "assets.extra" / DESCRIPTION_NAME
        try:
            if file.exists():
                description = json.loads(file.read_text())
                self.direction = description["direction"]
                self.max_pixels = int(description["max_pixels"])
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise InputError(
                f"{path}: its description is damaged: export the generator again"
            ) from problem
        try:
            self._model = tf.saved_model.load(str(path))
            signatures = dict(self._model.signatures)
        except Exception as problem:  # damaged files raise many kinds
            raise InputError(
                f"{path}: not a SavedModel that can be loaded ({first_line(problem)})"
            ) from problem
        for name, argument in SIGNATURES.items():
            found = signatures.get(name)
            inputs = found and list(found.structured_input_signature[1])
            if not found or not inputs == list(found.structured_outputs) == [argument]:
                raise InputError(
                    f"{path}: no signature {name} from {argument} to {argument} (it has "
                    f"{', '.join(signatures) or 'none'}): export the generator with this package"
                )
        self._images, self._bytes = (signatures[name] for name in SIGNATURES)
        taken = self._images.structured_input_signature[1]["images"].shape
        drawn = self._images.structured_outputs["images"].shape
        check_shapes(path, tuple(taken) if taken.rank else (), tuple(drawn) if drawn.rank else ())
        self.channels = taken[3]

    def run(self, images: np.ndarray) -> np.ndarray:
        """Runs `serving_default` on float32 `[N, H, W, C]` in [-1, 1]."""
        return self._images(images=tf.constant(images))["images"].numpy()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        try:
            answer = self._bytes(image_bytes=tf.constant([to_png(pixels)]))
        except tf.errors.OpError as problem:
            raise BadPicture(
                f"{self.name} refuses it: {assertion_message(str(problem))}"
            ) from problem
        return from_png(lambda: answer["image_bytes"].numpy()[0], pixels, self.name)


def versions(directory: str | os.PathLike) -> list[Path]:
    """Returns a model's version folders, which TF Serving names by numbers, oldest first."""
    found = Path(directory).glob("[0-9]*")
    numbered = [path for path in found if path.name.isdecimal() and path.is_dir()]
    return sorted(numbered, key=lambda path: int(path.name))
