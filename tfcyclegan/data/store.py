"""Decoded and resized pictures, which a tf.data pipeline looks up by number."""

from __future__ import annotations

import errno
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from ..errors import InputError


@dataclass
class MemoryBudget:
    """The memory that several stores share.

    Attributes:
        left: int, bytes that they may still take.
        cache_dir: folder for what does not fit. Default: the system's temporary folder.
    """

    left: int = 2 * 2**30
    cache_dir: str | None = None


class PictureStore(Sequence):
    """A sequence of uint8 pictures of one split, of any sizes, in memory or on disk.

    When a picture does not fit the budget, all of them move to raw files in a temporary folder,
    which is deleted with the store.

    Args:
        budget: `MemoryBudget`, shared with other stores.
        channels: int, channels of every picture.

    Example:
        >>> store = PictureStore(MemoryBudget(2**30), channels=3)
        >>> store.add(pixels)  # uint8 [H, W, 3]
        >>> store.close()
        >>> store.lookup(tf.constant(0))  # the same pixels, eagerly or in a tf.data function
    """

    def __init__(self, budget: MemoryBudget, channels: int):
        self._budget = budget
        self._channels = channels
        self.names: list[str] = []
        self.nbytes = 0
        self._sizes: list[tuple[int, int]] = []
        self._arrays: list[np.ndarray] = []
        self._folder: tempfile.TemporaryDirectory | None = None

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def on_disk(self) -> bool:
        """Whether the pictures are in files on disk."""
        return self._folder is not None

    @property
    def size(self) -> tuple[int, int] | None:
        """`(height, width)` of all pictures, or None if they differ."""
        return self._sizes[0] if len(set(self._sizes)) == 1 else None

    def __getitem__(self, index: Any) -> Any:
        """The picture of that number, uint8 `[H, W, channels]`, or a list of pictures."""
        places = range(len(self))[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        return self.lookup(tf.constant(places)).numpy()

    def add(self, pixels: np.ndarray, name: str = "") -> None:
        """Adds a picture, uint8 `[H, W, channels]`, and what it is called.

        Raises:
            InputError: the disk is full.
        """
        if not self._folder and pixels.nbytes > self._budget.left:
            self._spill()
        if self._folder:
            self._write(len(self), pixels)
        else:
            self._budget.left -= pixels.nbytes
            self._arrays.append(pixels)
        self._sizes.append(pixels.shape[:2])
        self.names.append(name)
        self.nbytes += pixels.nbytes

    def _spill(self) -> None:
        folder = self._budget.cache_dir
        try:
            self._folder = tempfile.TemporaryDirectory(prefix="tfcyclegan-", dir=folder)
        except OSError as problem:
            raise InputError(
                f"cache_dir={folder}: cannot be used ({problem.strerror})"
            ) from problem
        for index, pixels in enumerate(self._arrays):
            self._write(index, pixels)
            self._budget.left += pixels.nbytes
        self._arrays = []

    def _write(self, index: int, pixels: np.ndarray) -> None:
        assert self._folder
        folder = self._folder.name
        try:
            Path(folder, f"{index}.raw").write_bytes(pixels.tobytes())
        except OSError as problem:
            self._folder.cleanup()
            if problem.errno == errno.ENOSPC:
                raise InputError(
                    f"the disk is full: decoded pictures go to {folder}; choose a `cache_dir` on "
                    "a larger disk, or a larger `cache_memory`"
                ) from problem
            raise

    def close(self) -> None:
        """Makes the pictures ready for `lookup`; no more can be added."""
        self._table = tf.constant(np.array(self._sizes, np.int64).reshape(-1, 2))
        if not self._folder:
            flat = [pixels.reshape(-1) for pixels in self._arrays]
            self._offsets = tf.constant(np.cumsum([0, *map(len, flat)])[:-1], tf.int64)
            self._pixels = tf.constant(np.concatenate(flat))
            self._arrays = []

    def lookup(self, index: tf.Tensor) -> tf.Tensor:
        """The picture of that number, uint8 `[H, W, channels]`, as TensorFlow operations."""
        size = tf.gather(self._table, index)
        shape = tf.concat([size, [self._channels]], axis=0)
        if not self._folder:
            start = tf.gather(self._offsets, index)
            flat = tf.slice(self._pixels, start[None], tf.reduce_prod(shape)[None])
        else:
            name = tf.strings.join([f"{self._folder.name}/", tf.strings.as_string(index), ".raw"])
            flat = tf.io.decode_raw(tf.io.read_file(name), tf.uint8)
        pixels = tf.reshape(flat, shape)
        pixels.set_shape([*(self.size or (None, None)), self._channels])
        return pixels
