"""The losses and scores of a run, as a table and as curves."""

from __future__ import annotations

import csv
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from ..errors import InputError
from ..files import atomic_write
from .plots import loss_curves

#: Seconds between drawings of the curves during training.
REDRAW = 60.0


def read_history(path: Path) -> list[dict[str, Any]]:
    """Returns the rows of a `history.csv`, or none if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    if not path.exists():
        return []
    try:
        with path.open(newline="") as file:
            rows = list(csv.DictReader(file))
        for row in rows:
            int(row["epoch"])
            [float(value) for value in row.values() if value]
    except (OSError, ValueError, KeyError, TypeError, csv.Error) as problem:
        raise InputError(f"{path}: damaged ({problem}): move it away to go on without") from problem
    return rows


class HistoryFile(keras.callbacks.Callback):
    """Writes `history.csv`, with one row per epoch, and draws it as `curves.png`.

    If a resumed run repeats an epoch, the new row replaces the old one. (Keras's `CSVLogger`
    appends a second row.)

    The curves are drawn at most once a minute, and at the end.

    Args:
        directory: folder of both files.
    """

    def __init__(self, directory: str | Path):
        super().__init__()
        self._csv = Path(directory) / "history.csv"
        self._png = Path(directory) / "curves.png"
        self._drawn = 0.0
        self.rows: list[dict[str, Any]] = []

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        self.rows = read_history(self._csv)

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        self.rows = [row for row in self.rows if int(row["epoch"]) <= epoch]
        self._began = self._ended = time.monotonic()
        self._first = int(self.model.step.numpy())

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        self._ended = time.monotonic()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        step = int(self.model.step.numpy())
        # Only training, without what other callbacks measure and draw at the end of the epoch.
        seconds = (self._ended - self._began) / max(1, step - self._first)
        self.rows.append(
            {"epoch": epoch + 1, "step": step, "seconds_per_step": f"{seconds:.4g}"}
            | {name: f"{float(value):.6g}" for name, value in (logs or {}).items()}
        )
        names = dict.fromkeys(name for row in self.rows for name in row)
        with atomic_write(self._csv) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(self.rows)
        if time.monotonic() - self._drawn > REDRAW:
            self._draw()

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self._draw()

    def _draw(self) -> None:
        if self.rows:
            with atomic_write(self._png) as part:
                loss_curves(self.rows).savefig(part, dpi=110)
        self._drawn = time.monotonic()
