"""The progress line of a run."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import timedelta

import keras
import rich
from rich import progress


class ProgressLine(keras.callbacks.Callback):
    """Shows the progress of a run, its speed and the time left.

    On a terminal the line is redrawn in place. Elsewhere, as in a log file, it is printed at the
    end of epochs, at most once per `interval`, and within long epochs.

    Args:
        total_steps: int, steps of the whole run.
        interval: seconds between lines without a terminal. Default 10.
    """

    def __init__(self, total_steps: int, interval: float = 10.0):
        super().__init__()
        self._total = total_steps
        self._interval = interval
        self._live = progress.Progress(
            "epoch {task.fields[epoch]}",
            progress.BarColumn(),
            progress.MofNCompleteColumn(),
            "{task.fields[speed]}",
            progress.TimeElapsedColumn(),
            "ETA",
            progress.TimeRemainingColumn(),
            "{task.fields[losses]}",
            speed_estimate_period=120,
            disable=not rich.get_console().is_terminal,
        )

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        step = int(self.model.step.numpy())
        self._task = self._live.add_task(
            "train", total=self._total, completed=step, epoch="", speed="", losses=""
        )
        self._live.start()
        self._printed = time.monotonic()
        self._warm: tuple[int, float] | None = None

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        step, now, epochs = int(self.model.step.numpy()), time.monotonic(), self.params["epochs"]
        # The first step includes building the graph, so it does not count for the speed.
        self._warm = self._warm or (step, now)
        done, seconds = step - self._warm[0], now - self._warm[1]
        speed = f"{seconds / done:.3g} s/step" if done else "building the graph"
        epoch = f"{(step - 1) * epochs // self._total + 1}/{epochs}"
        shown = {
            name: (logs or {}).get(name) for name in ("loss", "D_A_loss", "D_B_loss", "D_loss")
        }
        losses = " ".join(f"{n} {float(v):.3f}" for n, v in shown.items() if v is not None)
        self._live.update(self._task, completed=step, epoch=epoch, speed=speed, losses=losses)
        waited, end_of_epoch = now - self._printed, step * epochs % self._total == 0
        due = waited > (1 if end_of_epoch else 6) * self._interval or step == self._total
        if self._live.disable and due:
            self._printed = now
            left = int((self._total - step) * seconds / done) if done else 0
            print(
                f"epoch {epoch}, step {step}/{self._total}, {speed}, "
                f"ETA {timedelta(seconds=left)}, {losses}",
                flush=True,
            )

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.close()

    def close(self) -> None:
        """Restores the terminal. Call it if `fit` raised an exception."""
        self._live.stop()
