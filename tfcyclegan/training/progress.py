"""The progress line of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING

import keras

if TYPE_CHECKING:
    from rich.progress import Progress


class ProgressLine(keras.callbacks.Callback):
    """A line with the run's progress, its speed and the time left.

    On a terminal the line is redrawn in place. Elsewhere (a log file, CI) it is printed at the end
    of epochs, at most once every few seconds.

    Args:
        total_steps: int, of the whole run.
        interval: seconds between lines where there is no terminal. Default 10.
    """

    def __init__(self, total_steps: int, interval: float = 10.0):
        super().__init__()
        self._total = total_steps
        self._interval = interval
        self._live: Progress | None = None

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            MofNCompleteColumn,
            Progress,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )

        self._console = Console()
        self._live = Progress(
            TextColumn("epoch {task.fields[epoch]}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            TimeElapsedColumn(),
            TextColumn("ETA"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=self._console,
            disable=not self._console.is_terminal,
            speed_estimate_period=120,
        )
        self._first = int(self.model.step.numpy())
        self._task = self._live.add_task(
            "train", total=self._total, completed=self._first, epoch="", speed="", losses=""
        )
        self._live.start()
        self._began = self._printed = time.monotonic()
        self._warm: tuple[int, float] | None = None

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        step, now = int(self.model.step.numpy()), time.monotonic()
        # The first step builds the graph, so its time tells nothing about the others.
        self._warm = self._warm or (step, now)
        done, since = step - self._warm[0], now - self._warm[1]
        pace = f"{since / done:.3g} s/step" if done else "building the graph"
        epoch = f"{(step - 1) * self.params['epochs'] // self._total + 1}/{self.params['epochs']}"
        losses = " ".join(
            f"{name} {float(logs[name]):.3f}"
            for name in ("loss", "D_A_loss", "D_B_loss")
            if logs and name in logs
        )
        assert self._live
        self._live.update(self._task, completed=step, epoch=epoch, speed=pace, losses=losses)
        last_of_epoch = (step * self.params["epochs"]) % self._total == 0
        if not self._console.is_terminal and (
            now - self._printed > 6 * self._interval
            or (last_of_epoch and now - self._printed > self._interval)
            or step == self._total
        ):
            self._printed = now
            left = (self._total - step) * since / done if done else 0.0
            print(
                f"epoch {epoch}, step {step}/{self._total}, {pace}, "
                f"ETA {int(left) // 3600}:{int(left) // 60 % 60:02d}:{int(left) % 60:02d}, "
                f"{losses}",
                flush=True,
            )

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Restores the terminal; call it when an exception leaves `fit`."""
        if self._live:
            self._live.stop()
