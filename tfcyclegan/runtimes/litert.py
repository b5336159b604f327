"""A generator in a LiteRT (TFLite) file."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_line
from .padding import run_in_float
from .protocol import DESCRIPTION_NAME, MAX_PIXELS, BadPicture, Runtime, check_shapes


class LiteRTModel:
    """A `.tflite` file with one input and one output of any dtype, run by LiteRT on the CPU.

    Args:
        path: the file.
        threads: int, CPU threads. Default: one for each core.

    Attributes:
        content: bytes, the file's content.
        shape: list of int, the input's shape, with -1 for any length.
        dtype: NumPy scalar type of the input.
        output_shape, output_dtype: the same of the output, as the file declares them.

    Raises:
        InputError: not a LiteRT file, or one with several inputs or outputs.

    Example:
        >>> LiteRTModel(Path("classifier.tflite")).run(picture[None]).shape
        (1, 1001)
    """

    def __init__(self, path: Path, threads: int | None = None):
        from ai_edge_litert.interpreter import Interpreter

        try:
            self.content = path.read_bytes()  # the interpreter reads from it: keep it alive
            self._interpreter = Interpreter(
                model_content=self.content, num_threads=threads or os.cpu_count() or 1
            )
            (entry,) = self._interpreter.get_input_details()
            (result,) = self._interpreter.get_output_details()
        except Exception as problem:
            raise InputError(
                f"{path}: not a LiteRT file of one input and one output ({first_line(problem)}): "
                "export it again"
            ) from problem
        self.shape = [int(length) for length in entry["shape_signature"]]
        self.dtype, self.output_dtype = entry["dtype"], result["dtype"]
        self.output_shape = [int(length) for length in result["shape"]]
        self._input, self._output = entry["index"], result["index"]
        self._scale, self._zero = result["quantization"]
        self._allocated: tuple[int, ...] | None = None

    def resize(self, shape: tuple[int, ...]) -> None:
        """Allocates the tensors for an input of this shape, unless they are already."""
        if self._allocated != shape:
            self._interpreter.resize_tensor_input(self._input, shape, strict=False)
            self._interpreter.allocate_tensors()
            self._allocated = shape

    def run(self, values: np.ndarray) -> np.ndarray:
        """Runs the model once.

        Args:
            values: the input, cast to `dtype` as it is: no quantisation is applied.

        Returns:
            The output; a quantised one as float32 in real units.
        """
        self.resize(values.shape)
        self._interpreter.set_tensor(self._input, values.astype(self.dtype, copy=False))
        self._interpreter.invoke()
        found = self._interpreter.get_tensor(self._output)
        return (found.astype(np.float32) - self._zero) * self._scale if self._scale else found


class LiteRTRuntime(LiteRTModel, Runtime):
    """A generator in a `.tflite` file, run by LiteRT on the CPU."""

    def __init__(self, path: Path, threads: int | None = None):
        super().__init__(path, threads)
        self.name = str(path)
        try:
            about = read_metadata(self.content) or {}
            self.direction = about.get("direction")
            needs = about.get("size", {})
            self._divisor = max(1, int(needs.get("multiple_of", 4)))
            self._least = int(needs.get("at_least", 8))
            if max(self._divisor, self._least) ** 2 > MAX_PIXELS:
                raise ValueError(f"it claims to need {needs}")
            taken, drawn = self.shape, self.output_shape
            if len(taken) == len(drawn) == 4:
                self.size = None if -1 in taken[1:3] else (taken[1], taken[2])
                taken = [1, *(self.size or (self._least, self._least)), taken[3]]
                self.resize(tuple(taken))
                if not self.size:  # then only a run shows the output's size
                    drawn = list(self.run(np.zeros(taken, self.dtype)).shape)
        except Exception as problem:
            raise InputError(
                f"{path}: not a generator's LiteRT file ({first_line(problem)}): export it again"
            ) from problem
        check_shapes(path, taken, drawn)
        if not self.dtype == self.output_dtype == np.float32:
            raise InputError(
                f"{path}: not a generator: its values are {np.dtype(self.dtype).name} and "
                f"{np.dtype(self.output_dtype).name}; a generator takes and gives float32"
            )
        self.channels = taken[3]

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        if self.size:
            if pixels.shape[:2] != self.size:
                raise BadPicture(f"{self.name} takes {self.size[1]}×{self.size[0]} px only")
            return run_in_float(self.run, pixels, 1, 1)
        return run_in_float(self.run, pixels, self._divisor, self._least)


def read_metadata(model: bytes) -> dict[str, Any] | None:
    """Returns a LiteRT file's metadata, or None if this package did not write the file."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    for index in range(root.MetadataLength()):
        entry = root.Metadata(index)
        if entry.Name() == DESCRIPTION_NAME.encode():
            return json.loads(root.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None
