"""A generator in a LiteRT (TFLite) file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_line
from .protocol import DESCRIPTION_NAME, MAX_PIXELS, BadPicture, run_in_float


def read_metadata(model: bytes) -> dict[str, Any] | None:
    """What a LiteRT file says about itself, or None in one that `export` did not write."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    for index in range(root.MetadataLength()):
        entry = root.Metadata(index)
        if entry.Name() == DESCRIPTION_NAME.encode():
            return json.loads(root.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None


class LiteRTRuntime:
    """A `.tflite` file, run by LiteRT on the CPU."""

    concurrent = 1
    max_pixels = MAX_PIXELS

    def __init__(self, path: Path, threads: int | None = None):
        from ai_edge_litert.interpreter import Interpreter

        self.name = str(path)
        self.threads = threads or os.cpu_count() or 1
        try:
            content = path.read_bytes()
            self._interpreter = Interpreter(model_content=content, num_threads=self.threads)
            about = read_metadata(content) or {}
            self.direction = about.get("direction")
            needs = about.get("size", {})
            self._divisor = max(1, int(needs.get("multiple_of", 4)))
            self._least = int(needs.get("at_least", 8))
        except Exception as problem:
            raise InputError(
                f"{path}: not a LiteRT file ({first_line(problem)}): export it again"
            ) from problem
        inputs = self._interpreter.get_input_details()
        outputs = self._interpreter.get_output_details()
        shape = [int(side) for side in inputs[0]["shape_signature"]] if inputs else []
        if (
            len(inputs) != 1
            or len(outputs) != 1
            or len(shape) != 4
            or shape[0] not in (1, -1)
            or shape[3] not in (1, 3)
            or inputs[0]["dtype"] != np.float32
            or outputs[0]["dtype"] != np.float32
            or len(outputs[0]["shape"]) != 4
            or outputs[0]["shape"][3] not in (1, 3)
        ):
            raise InputError(
                f"{path}: takes {shape} {inputs[0]['dtype'].__name__ if inputs else ''} where a "
                "generator takes [1, H, W, 3] or [1, H, W, 1] float32 and gives that: it is none"
            )
        self._input, self._output = inputs[0]["index"], outputs[0]["index"]
        self.channels = shape[3]
        self.size = None if -1 in shape[1:3] else (shape[1], shape[2])
        self._keep = content  # the interpreter reads from it
        self._allocated: tuple[int, ...] | None = None
        if self.size:
            self._allocate((1, *self.size, self.channels))

    def _allocate(self, shape: tuple[int, ...]) -> None:
        if self._allocated != shape:
            self._interpreter.resize_tensor_input(self._input, shape, strict=False)
            self._interpreter.allocate_tensors()
            self._allocated = shape

    def run(self, images: np.ndarray) -> np.ndarray:
        """float32 `[1, H, W, C]` in [-1, 1] → the same."""
        self._allocate(images.shape)
        self._interpreter.set_tensor(self._input, images)
        self._interpreter.invoke()
        return self._interpreter.get_tensor(self._output)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        if self.size:
            if pixels.shape[:2] != self.size:
                raise BadPicture(f"{self.name} takes {self.size[1]}×{self.size[0]} px alone")
            return run_in_float(self.run, pixels, 1, 1)
        return run_in_float(self.run, pixels, self._divisor, self._least)
