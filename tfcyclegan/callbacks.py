"""Keras callbacks: exact resume, sample grids, curves, and stopping when it must be."""

from __future__ import annotations

import csv
import math
import signal
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from .checkpoints import Checkpoints
from .data.preprocessing import to_uint8
from .errors import NonFiniteLoss
from .files import written_whole
from .replicas import parts

if TYPE_CHECKING:
    import tensorflow as tf

    from .data import Data


class Interrupted(Exception):
    """A signal asked to stop; the step was finished and the state saved.

    Attributes:
        signal: its number.
        checkpoint: path of what was saved.
    """

    def __init__(self, number: int, checkpoint: Path):
        super().__init__(f"{signal.Signals(number).name}: saved {checkpoint}")
        self.signal = number
        self.checkpoint = checkpoint


class ResumableState(keras.callbacks.Callback):
    """Saves a `CycleGAN`'s training so that it goes on, after any stop, as if there were none.

    When training begins and a checkpoint is there, model and data go back to it, to the step and
    to the very picture; nothing is replayed, and at most the work since that checkpoint is done
    again. On a CPU, with TensorFlow's op determinism switched on, the result is then the same
    bit for bit. (Keras's own `BackupAndRestore` knows nothing of the data's place: it is exact at
    the end of an epoch only, and in a new process only with data that begins where it stopped.)

    Several workers need it, each, with one folder that all of them share.

    Give it to `fit` behind the callbacks that write files at the end of an epoch, so that a
    checkpoint there means they are done, and before those that stop the training, such as
    `EarlyStopping`. An epoch has the length that `load_data` gave it.

    Args:
        directory: folder of the checkpoints.
        data: the `Data` that `fit` trains on, from `load_data`.
        every: int, steps between checkpoints. Default: one at the end of every epoch. The end
            of the training always has one.
        keep: int, newest checkpoints to keep. Default 3.

    Raises:
        NonFiniteLoss: before a checkpoint of a model that has lost its way would be written.
        InputError: the checkpoint there is of another model or of other data.
        ValueError: `fit` has a `steps_per_epoch` that is not the data's, or `steps_per_execution`
            does not divide it.

    Example:
        ```python
        data = tfcyclegan.load_data("horse2zebra")
        model.fit(data.train, epochs=200, callbacks=[ResumableState("checkpoints", data)])
        ```
    """

    all_workers = True  #: what it does every worker has to do

    def __init__(self, directory: str | Path, data: Data, every: int | None = None, keep: int = 3):
        super().__init__()
        self.checkpoints = Checkpoints(directory, keep)
        self.data = data
        self.every = every
        self.restored: Path | None = None
        self._midway = False
        self._means: list[tuple[tf.Variable, np.ndarray]] = []
        self._saved_step = -1
        self._saved: Path | None = None

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        steps, together = self.data.steps_per_epoch, self.model.steps_per_execution
        if self.params["steps"] != steps:
            raise ValueError(
                f"fit runs {self.params['steps']} steps an epoch and the data has {steps}: give "
                "steps_per_epoch to load_data, not to fit"
            )
        if steps % together:
            raise ValueError(
                f"steps_per_execution={together} does not divide the {steps} steps of an epoch: "
                "give load_data a steps_per_epoch that is a multiple of it"
            )
        planned = int(self.model.total_steps.numpy())
        self.restored = self._saved = self.checkpoints.restore(self.model, self._about)
        step = self._saved_step = int(self.model.step.numpy())
        if self.restored:
            # Given more epochs than before, the learning rate falls over all of them.
            planned = max(planned, int(self.model.total_steps.numpy()))
            self.model.total_steps.assign(planned)
            # Keras reads it back right after this call, for callbacks like this one.
            self.model._initial_epoch = step // steps
            self._midway = step % steps > 0
            if self._midway:
                # Keras sets the epoch's means to zero when it begins.
                copies = [copy for v in self.model.metrics_variables for copy in parts(v)]
                self._means = [(copy, copy.numpy()) for copy in copies]

    def on_epoch_begin(self, epoch: int, logs: Mapping | None = None) -> None:
        self.model._initial_epoch = None
        self.data.seek(int(self.model.step.numpy()))
        for copy, value in self._means:
            copy.assign(value)
        self._means = []

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        step = int(self.model.step.numpy())
        for name, value in (logs or {}).items():
            if not math.isfinite(value):
                raise NonFiniteLoss(self.checkpoints.advice(f"{name} is {float(value)}", step))
        if step % self.data.steps_per_epoch == 0:
            # The checkpoint waits until the epoch's end is through, validation and files included.
            if self._midway:
                # Keras does not know that this epoch is shorter than the others.
                self.model.stop_training = True
        elif self._due(step):
            self.save()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        if self._midway:
            self._midway = self.model.stop_training = False
        if not self.every or self._due(int(self.model.step.numpy())):
            self.save()

    def _due(self, step: int) -> bool:
        return bool(self.every) and step // self.every > self._saved_step // self.every

    def on_train_end(self, logs: Mapping | None = None) -> None:
        if int(self.model.step.numpy()) != self._saved_step:
            self.save()

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "steps_per_epoch": self.data.steps_per_epoch,
            "batch_size": self.data.batch_size,
            "pictures": {s: n for s, n in self.data.counts.items() if s.startswith("train")},
        }

    def save(self) -> Path:
        """Writes a checkpoint now, unless this step has one already."""
        step = int(self.model.step.numpy())
        if step != self._saved_step or self._saved is None:
            self._saved = self.checkpoints.save(self.model, self._about)
            self._saved_step = step
        return self._saved


class StopOnSignal(keras.callbacks.Callback):
    """On SIGTERM or Ctrl-C: finishes the step, saves, and leaves `fit` by `Interrupted`.

    Of several workers it is enough that one gets it. A second signal stops at once. Outside of
    the main thread, where Python has no signals, it hears of none. Give it to `fit` as the last
    callback.

    Args:
        state: the `ResumableState` to save with.
    """

    all_workers = True

    def __init__(self, state: ResumableState):
        super().__init__()
        self._state = state
        self._signals = (signal.SIGTERM, signal.SIGINT)
        self._caught: int | None = None
        self._before: dict[int, Any] = {}

    def _catch(self, number: int, frame: Any) -> None:
        self._caught = number
        self.restore_handlers()

    def restore_handlers(self) -> None:
        """Gives signals back to whoever had them; call it when `fit` was left by an exception."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for number in self._signals:
            self._before[number] = signal.signal(number, self._catch)

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        # At the end of an epoch its files come first.
        if int(self.model.step.numpy()) % self._state.data.steps_per_epoch:
            self._leave()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        self._leave()

    def _leave(self) -> None:
        # Of several workers whichever is asked to stop stops all of them.
        asked = self.model.workers.add_up([self._caught == number for number in self._signals])
        for number, times in zip(self._signals, asked, strict=True):
            if times:
                raise Interrupted(number, self._state.save())

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.restore_handlers()


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
        with written_whole(self._csv) as part, part.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(self.rows)
        if time.monotonic() - self._drawn > self._redraw:
            self.draw()

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.draw()

    def draw(self) -> None:
        """Draws `curves.png` from the rows so far."""
        from .plots import draw_curves  # matplotlib takes a second to import

        if self.rows:
            draw_curves(self.rows, self._png)
        self._drawn = time.monotonic()


class SampleGrids(keras.callbacks.Callback):
    """Draws what the generators make of the same few pictures at the end of epochs.

    A line a pair: A, G(A), F(G(A)), B, F(B), G(F(B)).

    Args:
        directory: folder for `epoch_0001.png` and so on.
        images_A: float32 `[N, H, W, C]` in [-1, 1].
        images_B: as many of B.
        every: int, epochs between grids. Default 1. The last epoch always has one.
        log_dir: folder of TensorBoard logs to put the pictures in as well. Default: none.
    """

    def __init__(
        self,
        directory: str | Path,
        images_A: np.ndarray,
        images_B: np.ndarray,
        every: int = 1,
        log_dir: str | Path | None = None,
    ):
        super().__init__()
        self._directory = Path(directory)
        self._images_A, self._images_B = images_A, images_B
        self._every = every
        self._log_dir = log_dir
        self._writer = None

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        last = epoch + 1 == self.params["epochs"]
        if last or (self._every and (epoch + 1) % self._every == 0):
            self.draw(epoch + 1)

    def draw(self, epoch: int) -> Path:
        """Draws the grid of this moment and gives its path."""
        import tensorflow as tf

        from .plots import draw_grid

        # Not `translate`: for a few pictures, tracing a graph takes longer than doing without.
        G, F = self.model.G, self.model.F
        fake_B, fake_A = G(self._images_A), F(self._images_B)
        columns = {
            "A": self._images_A,
            "G(A)": fake_B,
            "F(G(A))": F(fake_B),
            "B": self._images_B,
            "F(B)": fake_A,
            "G(F(B))": G(fake_A),
        }
        columns = {name: to_uint8(images) for name, images in columns.items()}
        path = self._directory / f"epoch_{epoch:04d}.png"
        grid = draw_grid(columns, path)
        if self._log_dir:
            self._writer = self._writer or tf.summary.create_file_writer(str(self._log_dir))
            with self._writer.as_default(step=epoch):
                tf.summary.image("samples", np.asarray(grid)[None])
            self._writer.flush()
        return path


class ProgressLine(keras.callbacks.Callback):
    """One line that says how far the whole run is, how fast, and when it will be over.

    On a terminal it is redrawn in place; elsewhere (a log file, CI) a line is printed at the end
    of an epoch, at most one every few seconds.

    Args:
        total_steps: int, of the whole run.
        interval: seconds between lines where there is no terminal. Default 10.
    """

    def __init__(self, total_steps: int, interval: float = 10.0):
        super().__init__()
        self._total = total_steps
        self._interval = interval
        self._live = None

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
        # The first step builds the graph and says nothing about the others.
        self._warm = self._warm or (step, now)
        done, since = step - self._warm[0], now - self._warm[1]
        pace = f"{since / done:.3g} s/step" if done else "building the graph"
        epoch = f"{(step - 1) * self.params['epochs'] // self._total + 1}/{self.params['epochs']}"
        losses = " ".join(
            f"{name} {float(logs[name]):.3f}"
            for name in ("loss", "D_A_loss", "D_B_loss")
            if logs and name in logs
        )
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
        """Leaves the terminal as it was; call it when `fit` was left by an exception."""
        if self._live:
            self._live.stop()
