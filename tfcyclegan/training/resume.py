"""Stopping at any step, and going on from there."""

from __future__ import annotations

import math
import signal
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from ..distributed.replicas import local_copies
from ..errors import Interrupted, NonFiniteLoss
from .checkpoints import Checkpoints

if TYPE_CHECKING:
    import tensorflow as tf

    from ..data.loading import Data


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
                copies = [copy for v in self.model.metrics_variables for copy in local_copies(v)]
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
        if not self.every:
            return False
        return step // self.every > self._saved_step // self.every

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
        asked = self.model.workers.all_reduce([self._caught == number for number in self._signals])
        for number, times in zip(self._signals, asked, strict=True):
            if times:
                raise Interrupted(number, self._state.save())

    def on_train_end(self, logs: Mapping | None = None) -> None:
        self.restore_handlers()
