"""A generator exported as a SavedModel."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import tensorflow as tf

from ..errors import InputError, first_line
from .png import assertion_message, from_png, to_png
from .protocol import DESCRIPTION_NAME, MAX_PIXELS, BadPicture


class SavedModelRuntime:
    """A SavedModel with the signatures that `export` writes."""

    size = None
    concurrent = 1

    def __init__(self, path: Path):
        self.name = str(path)
        try:
            self._model = tf.saved_model.load(str(path))
            signatures = dict(self._model.signatures)
        except Exception as problem:  # damaged files raise all kinds
            raise InputError(
                f"{path}: not a SavedModel that can be loaded ({first_line(problem)})"
            ) from problem
        for name, argument in (("serving_default", "images"), ("serving_bytes", "image_bytes")):
            found = signatures.get(name)
            arguments = found.structured_input_signature[1] if found else {}
            if list(arguments) != [argument] or list(found.structured_outputs) != [argument]:
                raise InputError(
                    f"{path}: no signature {name} from {argument} to {argument} in it (it has "
                    f"{', '.join(signatures) or 'none'}): export the generator with this package"
                )
        self._images, self._bytes = signatures["serving_default"], signatures["serving_bytes"]
        self.channels = self._images.structured_input_signature[1]["images"].shape[-1]
        if self.channels not in (1, 3):
            raise InputError(f"{path}: takes pictures of {self.channels} channels: not 1 or 3")
        self.direction, self.max_pixels = None, MAX_PIXELS
        description = path / "assets.extra" / DESCRIPTION_NAME
        try:
            if description.exists():
                about = json.loads(description.read_text())
                self.direction = about["direction"]
                self.max_pixels = int(about["max_pixels"])
        except (OSError, ValueError, KeyError, TypeError) as problem:
            raise InputError(f"{description}: damaged: export the generator again") from problem

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 `[N, H, W, C]` in [-1, 1] → the same, by `serving_default`."""
        return self._images(images=tf.constant(images))["images"].numpy()

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        try:
            answer = self._bytes(image_bytes=tf.constant([to_png(pixels)]))
        except tf.errors.OpError as problem:
            raise BadPicture(
                f"{self.name} refuses it: {assertion_message(str(problem))}"
            ) from problem
        return from_png(answer["image_bytes"].numpy()[0], pixels, self.name)
