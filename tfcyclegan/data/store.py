"""Decoded and resized pictures, which a tf.data pipeline looks up by number."""

from __future__ import annotations

import errno
import os
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

    Pictures that do not fit the budget are raw files in a temporary folder, which is deleted with
    the store.

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
        # The pixels of each picture in memory, then the path of each file.
        self._contents: list[bytes] = []
        self._in_memory = 0
        self._folder: tempfile.TemporaryDirectory | None = None

    def __len__(self) -> int:
        return len(self._sizes)

    @property
    def on_disk(self) -> bool:
        """Whether some pictures are in files on disk."""
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
        if self._folder or pixels.nbytes > self._budget.left:
            self._contents.append(self._write(pixels))
        else:
            self._contents.append(pixels.tobytes())
            self._in_memory += 1
            self._budget.left -= pixels.nbytes
        self._sizes.append(pixels.shape[:2])
        self.names.append(name)
        self.nbytes += pixels.nbytes

    def _write(self, pixels: np.ndarray) -> bytes:
        """Writes the next picture to a file and returns its path."""
        folder = self._budget.cache_dir
        try:
            self._folder = self._folder or tempfile.TemporaryDirectory("", "tfcyclegan-", folder)
        except OSError as problem:
            raise InputError(
                f"cache_dir={folder}: cannot be used ({problem.strerror})"
            ) from problem
        path = Path(self._folder.name, f"{len(self)}.raw")
        try:
            path.write_bytes(pixels.tobytes())
        except OSError as problem:
            self._folder.cleanup()
            if problem.errno == errno.ENOSPC:
                raise InputError(
                    f"the disk is full: decoded pictures go to {path.parent}; choose a `cache_dir` "
                    "on a larger disk, or a larger `cache_memory`"
                ) from problem
            raise
        return os.fsencode(path)

    def close(self) -> None:
        """Makes the pictures ready for `lookup`; no more can be added."""
        self._table = tf.constant(self._sizes, tf.int64)
        self._content = tf.constant(self._contents)
        self._contents = []

    def lookup(self, index: tf.Tensor) -> tf.Tensor:
        """The picture of that number, uint8 `[H, W, channels]`, as TensorFlow operations."""
        shape = tf.concat([tf.gather(self._table, index), [self._channels]], axis=0)
        content = tf.gather(self._content, index)
        pixels = tf.cond(index < self._in_memory, lambda: content, lambda: tf.io.read_file(content))
        pixels = tf.reshape(tf.io.decode_raw(pixels, tf.uint8), shape)
        pixels.set_shape([*(self.size or (None, None)), self._channels])
        return pixels
