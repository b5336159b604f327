"""Losses and scores of a run, as a table and as curves."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras

from ..files import atomic_write

if TYPE_CHECKING:
    pass


class HistoryFile(keras.callbacks.Callback):
    """Keeps `history.csv`, a row an epoch, and draws it as `curves.png` now and then.

    Rows of epochs that are trained again after a resume are replaced.

    Args:
        directory: folder of both files.
        redraw: seconds between drawings while training. Default 60. The last one always comes.
    """

    def __init__(self, directory: str | Path, redraw: float = 60.0):
        super().__init__()
        self._csv = Path(directory) / "history.csv"
        self._png = Path(directory) / "curves.png"
        self._redraw = redraw
        self._drawn = 0.0
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        if self._csv.exists():
            with self._csv.open(newline="") as file:
                self.rows = list(csv.DictReader(file))

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        self.rows = [row for row in self.rows if int(row["epoch"]) <= epoch]
        self._began = self._ended = time.monotonic()
        self._began_at = int(self.model.step.numpy())

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        self._ended = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        step = int(self.model.step.numpy())
        # Training alone, without what is measured and drawn at the end of an epoch.
        took = (self._ended - self._began) / max(1, step - self._began_at)
        values = {name: f"{float(value):.6g}" for name, value in (logs or {}).items()}
        self.rows.append(
            {"epoch": epoch + 1, "step": step, "seconds_per_step": f"{took:.4g}", **values}
        )
        names = dict.fromkeys(name for row in self.rows for name in row)
        with atomic_write(self._csv) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(self.rows)
        if time.monotonic() - self._drawn > self._redraw:
            self.draw()

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.draw()

    def draw(self) -> None:
        """Draws `curves.png` from the rows so far."""
        from .plots import draw_curves

        if self.rows:
            draw_curves(self.rows, self._png)
        self._drawn = time.monotonic()
