"""A generator in a LiteRT (TFLite) file."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from ..errors import InputError, first_line
from .descriptions import read_metadata
from .padding import run_in_float
from .protocol import MAX_PIXELS, BadPicture


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


class LiteRTRuntime:
    """A generator in a `.tflite` file, run by LiteRT on the CPU."""

    concurrent = 1
    max_pixels = MAX_PIXELS

    def __init__(self, path: Path, threads: int | None = None):
        self.name = str(path)
        self.threads = threads or os.cpu_count() or 1
        self._model = model = LiteRTModel(path, self.threads)
        try:
            about = read_metadata(model.content) or {}
            self.direction = about.get("direction")
            needs = about.get("size", {})
            self._divisor = max(1, int(needs.get("multiple_of", 4)))
            self._least = int(needs.get("at_least", 8))
        except Exception as problem:
            raise InputError(
                f"{path}: not a LiteRT file ({first_line(problem)}): export it again"
            ) from problem
        shape, drawn = model.shape, model.output_shape
        if (
            len(shape) != 4
            or shape[0] not in (1, -1)
            or shape[3] not in (1, 3)
            or model.dtype != np.float32
            or model.output_dtype != np.float32
            or len(drawn) != 4
            or drawn[3] not in (1, 3)
        ):
            raise InputError(
                f"{path}: takes {shape} {np.dtype(model.dtype).name} where a generator takes "
                "[1, H, W, 3] or [1, H, W, 1] float32 and gives that: it is none"
            )
        self.channels = shape[3]
        self.size = None if -1 in shape[1:3] else (shape[1], shape[2])
        if self.size:
            model.resize((1, *self.size, self.channels))

    def run(self, images: np.ndarray) -> np.ndarray:
        """Translates one picture: float32 `[1, H, W, C]` in [-1, 1] → the same."""
        return self._model.run(images)

    def __call__(self, pixels: np.ndarray) -> np.ndarray:
        if self.size:
            if pixels.shape[:2] != self.size:
                raise BadPicture(f"{self.name} takes {self.size[1]}×{self.size[0]} px only")
            return run_in_float(self.run, pixels, 1, 1)
        return run_in_float(self.run, pixels, self._divisor, self._least)
