"""Translations of the same few pictures, epoch after epoch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ..data.preprocessing import to_float, to_uint8
from .plots import draw_grid


class SampleGrids(keras.callbacks.Callback):
    """Draws translations of the same few pictures at the end of epochs.

    Each row shows a picture of each domain: A, G(A), F(G(A)), B, F(B), G(F(B)). For a model of one
    direction it shows a picture, its translation, and the truth if it is given.

    Args:
        directory: folder for `epoch_0001.png` and so on.
        images_A: pictures of A, uint8 `[H, W, C]` each. They are cropped to the smallest.
        images_B: the same of B. The grid has as many rows as both domains have pictures.
        every: int, epochs between grids. Default 1. The last epoch always has one.
        log_dir: folder of TensorBoard logs to write the grids to as well. Default: none.
        truth: what the pictures that a model of one direction translates should become. Default:
            none.
    """

    def __init__(
        self,
        directory: str | Path,
        images_A: Sequence[np.ndarray],
        images_B: Sequence[np.ndarray],
        every: int = 1,
        log_dir: str | Path | None = None,
        truth: Sequence[np.ndarray] | None = None,
    ):
        super().__init__()
        self._directory = Path(directory)
        count = min(len(images_A), len(images_B))
        self._A, self._B = _batch(images_A[:count]), _batch(images_B[:count])
        self._truth = None if truth is None else _batch(truth[:count])
        self._every = every
        self._writer = tf.summary.create_file_writer(str(log_dir)) if log_dir else None

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        last = epoch + 1 == self.params["epochs"]
        if last or (self._every and (epoch + 1) % self._every == 0):
            self.draw(epoch + 1)

    def draw(self, epoch: int) -> Path:
        """Draws the grid of the current weights and returns its path."""
        # Not `translate`: tracing a graph takes longer than running a few pictures eagerly.
        columns: dict[str, tf.Tensor] = {}
        ways = self.model.translators
        for way, network in ways.items():
            source, name = way[0], self.model.generator_names[way]
            real = self._A if source == "A" else self._B
            columns |= {source: real, f"{name}({source})": (fake := network(real))}
            if len(ways) == 2:
                back = "BtoA" if way == "AtoB" else "AtoB"
                cycled = f"{self.model.generator_names[back]}({name}({source}))"
                columns[cycled] = ways[back](fake)
            elif self._truth is not None:
                columns["truth"] = self._truth
        path = self._directory / f"epoch_{epoch:04d}.png"
        grid = draw_grid({name: [*to_uint8(images)] for name, images in columns.items()}, path)
        if self._writer:
            with self._writer.as_default(step=epoch):
                tf.summary.image("samples", np.asarray(grid)[None])
            self._writer.flush()
        return path


def _batch(pictures: Sequence[np.ndarray]) -> tf.Tensor:
    """A batch of pictures in float32, cropped to the smallest."""
    height, width = np.min([picture.shape[:2] for picture in pictures], axis=0)
    return to_float(np.stack([picture[:height, :width] for picture in pictures]))
