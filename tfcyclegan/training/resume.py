"""Callbacks that save the training state, resume it, and stop the training on a signal."""

from __future__ import annotations

import logging
import math
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..data.loading import Data
from ..distributed.replicas import local_copies
from ..errors import Interrupted
from .checkpoints import Checkpoints

logger = logging.getLogger(__name__)


class ResumableState(keras.callbacks.Callback):
    """Saves the training state, so that an interrupted run resumes exactly.

    If there is a checkpoint when training begins, the model and the data return to its step. No
    step is repeated except those after that checkpoint. On a CPU with TensorFlow's op determinism,
    the result equals that of an uninterrupted run bit for bit. (Keras's `BackupAndRestore` does not
    save the position in the data, so it is exact only at the end of an epoch, and in a new process
    only if the data starts where it stopped.)

    With several workers, every worker needs this callback, with a folder that all of them share.

    Place it after the callbacks that write files at the end of an epoch, so that these are complete
    when there is a checkpoint, and before those that stop the training, such as `EarlyStopping`.

    Args:
        directory: folder of the checkpoints.
        data: the `Data` that `fit` trains on, from `load_data`.
        every: int, steps between checkpoints. Default: one at the end of every epoch. The end of
            the training always has one.
        keep: int, how many checkpoints to keep. Default 3.

    Raises:
        NonFiniteLoss: a loss or a variable is infinite or NaN. No checkpoint is written then.
        InputError: the checkpoint belongs to another model or to other data.
        ValueError: `fit` has another `steps_per_epoch` than the data, or `steps_per_execution`
            does not divide it.

    Example:
        ```python
        data = tfcyclegan.load_data("horse2zebra")
        model.fit(data.train, epochs=200, callbacks=[ResumableState("checkpoints", data)])
        ```
    """

    all_workers = True  #: every worker must have this callback

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
        model, steps = self.model, self.data.steps_per_epoch
        if self.params["steps"] != steps:
            raise ValueError(
                f"fit runs {self.params['steps']} steps per epoch but the data has {steps}: give "
                "steps_per_epoch to load_data, not to fit"
            )
        if steps % model.steps_per_execution:
            raise ValueError(
                f"steps_per_execution={model.steps_per_execution} does not divide the {steps} "
                "steps of an epoch: give load_data a steps_per_epoch that is a multiple of it"
            )
        planned = int(model.total_steps.numpy())
        self.restored = self._saved = self.checkpoints.restore(model, self._about)
        step = self._saved_step = int(model.step.numpy())
        if self.restored:
            # With more epochs than before, the learning rate falls over all of them.
            planned = max(planned, int(model.total_steps.numpy()))
            model.total_steps.assign(planned)
            if model.workers.chief:
                size = self.restored.stat().st_size / 1e6
                logger.info(
                    "resuming from %s (%.0f MB), step %d of %d", self.restored, size, step, planned
                )
            # Keras reads it right after this call, for callbacks like this one.
            model._initial_epoch = step // steps
            self._midway = step % steps > 0
            if self._midway:
                # Keras sets the epoch's means to zero when the epoch begins.
                copies = [copy for v in model.metrics_variables for copy in local_copies(v)]
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
                raise self.checkpoints.diverged(f"{name} is {float(value)}", step)
        if step % self.data.steps_per_epoch == 0:
            # `on_epoch_end` writes the checkpoint, after validation and other callbacks.
            if self._midway:
                # Keras does not know that this epoch is shorter than the others.
                self.model.stop_training = True
        elif self._is_due(step):
            self.save()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        if self._midway:
            self._midway = self.model.stop_training = False
        if not self.every or self._is_due(int(self.model.step.numpy())):
            self.save()

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.model._initial_epoch = None  # no epoch began if the training was finished already
        if int(self.model.step.numpy()) != self._saved_step:
            self.save()

    def save(self) -> Path:
        """Writes a checkpoint, unless there is one of this step, and returns its path."""
        step = int(self.model.step.numpy())
        if step != self._saved_step or self._saved is None:
            self._saved = self.checkpoints.save(self.model, self._about)
            self._saved_step = step
        return self._saved

    def _is_due(self, step: int) -> bool:
        return bool(self.every and step // self.every > self._saved_step // self.every)

    @property
    def _about(self) -> dict[str, Any]:
        return {
            "steps_per_epoch": self.data.steps_per_epoch,
            "batch_size": self.data.batch_size,
            "pictures": {s: n for s, n in self.data.counts.items() if s.startswith("train")},
        }


class StopOnSignal(keras.callbacks.Callback):
    """On SIGTERM or Ctrl-C, finishes the step, saves the state, and raises `Interrupted`.

    With several workers, a signal to one of them stops all. A second signal stops the process at
    once. Python handles signals only in the main thread, so the callback does nothing in others.
    Make it the last callback of `fit`.

    Args:
        state: the `ResumableState` that saves.

    Example:
        ```python
        state = ResumableState("checkpoints", data)
        model.fit(data.train, epochs=200, callbacks=[state, StopOnSignal(state)])
        ```
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
        """Restores the previous signal handlers. Call it if `fit` raised an exception."""
        for number, handler in self._before.items():
            signal.signal(number, handler)
        self._before = {}

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in self._signals:
                self._before[number] = signal.signal(number, self._catch)

    def on_train_batch_end(self, batch: int, logs: Mapping | None = None) -> None:
        # At the end of an epoch, the other callbacks write their files first.
        if int(self.model.step.numpy()) % self._state.data.steps_per_epoch:
            self._leave()

    def on_epoch_end(self, epoch: int, logs: Mapping | None = None) -> None:
        self._leave()

    def _leave(self) -> None:
        asked = self.model.workers.all_reduce([self._caught == number for number in self._signals])
        for number, times in zip(self._signals, asked, strict=True):
            if times:
                raise Interrupted(number, self._state.save())

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.restore_handlers()
