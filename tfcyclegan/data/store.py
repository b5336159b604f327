"""Decoded pictures that a tf.data pipeline looks up by number."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ..errors import InputError


class MemoryBudget:
    """The bytes of memory that several stores may still take.

    Args:
        limit: int, bytes.
        cache_dir: folder for what does not fit. Default: the system's temporary folder.
    """

    def __init__(self, limit: int, cache_dir: str | None = None):
        self.left = limit
        self.cache_dir = cache_dir

    def take(self, count: int) -> bool:
        """Takes that many bytes, if they still fit; says whether they did."""
        if count > self.left:
            return False
        self.left -= count
        return True


class PictureStore(Sequence):
    """A sequence of uint8 pictures of one split, of any sizes, in memory or else on disk.

    Pictures are added in order. When one does not fit the budget, all move to raw files in a
    temporary folder, which is deleted with the store.

    Args:
        budget: `MemoryBudget`, shared with other stores.
        channels: int, channels of every picture.

    Example:
        >>> store = PictureStore(MemoryBudget(2**30), channels=3)
        >>> store.add(pixels)  # uint8 [H, W, 3]
        >>> store.close()
        >>> store.lookup(tf.constant(0))  # the same, in eager code or in a tf.data function
    """

    def __init__(self, budget: MemoryBudget, channels: int):
        self._budget = budget
        self._channels = channels
        self.names: list[str] = []
        self._sizes: list[tuple[int, int]] = []
        self._arrays: list[np.ndarray] = []
        self._folder: tempfile.TemporaryDirectory | None = None
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def on_disk(self) -> bool:
        """Whether the pictures are in files on disk."""
        return self._folder is not None

    @property
    def nbytes(self) -> int:
        """Bytes of all pictures together."""
        return self._bytes

    @property
    def size(self) -> tuple[int, int] | None:
        """`(height, width)` of all pictures, None where they differ."""
        return self._sizes[0] if len(set(self._sizes)) == 1 else None

    def __getitem__(self, index: Any) -> Any:
        """The picture of that number, uint8 `[H, W, channels]`, or a list of pictures."""
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        return self.lookup(tf.constant(index % len(self))).numpy()

    def add(self, pixels: np.ndarray, name: str = "") -> None:
        """Adds a picture, uint8 `[H, W, channels]`, and what it is called.

        Raises:
            InputError: the disk is full.
        """
        if self._folder is None and not self._budget.take(pixels.nbytes):
            self._spill()
        if self._folder is None:
            self._arrays.append(pixels)
        else:
            self._write(len(self._sizes), pixels)
        self._sizes.append(pixels.shape[:2])
        self.names.append(name)
        self._bytes += pixels.nbytes

    def _spill(self) -> None:
        try:
            self._folder = tempfile.TemporaryDirectory(
                prefix="tfcyclegan-", dir=self._budget.cache_dir
            )
        except OSError as problem:
            raise InputError(
                f"cache_dir={self._budget.cache_dir}: cannot be used ({problem.strerror})"
            ) from problem
        for index, pixels in enumerate(self._arrays):
            self._write(index, pixels)
            self._budget.left += pixels.nbytes
        self._arrays = []

    def _write(self, index: int, pixels: np.ndarray) -> None:
        assert self._folder
        try:
            Path(self._folder.name, f"{index}.raw").write_bytes(pixels.tobytes())
        except OSError as problem:
            folder = self._folder.name
            self._folder.cleanup()
            if problem.errno == errno.ENOSPC:
                raise InputError(
                    f"the disk is full: decoded pictures go to {folder}; give a `cache_dir` on a "
                    "larger disk, or a larger `cache_memory`"
                ) from problem
            raise

    def close(self) -> None:
        """Makes the pictures ready to be looked up; no more can be added."""
        self._table = tf.constant(np.array(self._sizes, np.int64).reshape(-1, 2))
        lengths = [height * width * self._channels for height, width in self._sizes]
        if self._folder is None:
            self._offsets = tf.constant(np.cumsum([0, *lengths])[:-1], tf.int64)
            flat = [pixels.reshape(-1) for pixels in self._arrays]
            self._pixels = tf.constant(np.concatenate(flat) if flat else np.zeros(0, np.uint8))
            self._arrays = []

    def lookup(self, index: tf.Tensor) -> tf.Tensor:
        """The picture of that number, uint8 `[H, W, channels]`, as TensorFlow operations."""
        size = tf.gather(self._table, index)
        shape = tf.concat([size, [self._channels]], axis=0)
        if self._folder is None:
            start = tf.gather(self._offsets, index)
            flat = tf.slice(self._pixels, start[None], tf.reduce_prod(shape)[None])
        else:
            name = tf.strings.join([f"{self._folder.name}/", tf.strings.as_string(index), ".raw"])
            flat = tf.io.decode_raw(tf.io.read_file(name), tf.uint8)
        pixels = tf.reshape(flat, shape)
        pixels.set_shape([*(self.size or (None, None)), self._channels])
        return pixels
