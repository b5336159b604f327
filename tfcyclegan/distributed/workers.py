"""Several processes that train one model together, and what they agree on.

A worker is a process with one or more replicas (see `replicas`), as a rule on a machine of its own.
"""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import os
import re
import signal
import sys
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf

from ..errors import TRY_AGAIN, InputError, PeerLost, first_line
from .cluster import Cluster

#: How a run is spread: see `make_strategy`.
StrategyName = Literal["auto", "none", "mirrored", "multiworker"]


#: Seconds that workers wait for each other at the start, and in a collective operation. The
#: latter must outlast what the chief alone does at the end of an epoch, such as measuring. (That
#: a peer is gone is seen by its missing heartbeat long before.)
START_TIMEOUT = 300.0


COLLECTIVE_TIMEOUT = 1800.0


def make_strategy(
    name: StrategyName = "auto",
    start_timeout: float = START_TIMEOUT,
    collective_timeout: float = COLLECTIVE_TIMEOUT,
) -> tf.distribute.Strategy:
    """The strategy of a run.

    Args:
        name: "none" for one device; "mirrored" for all GPUs of this machine (all its logical
            CPUs where there is none); "multiworker" for the processes in `TF_CONFIG`, each with
            all GPUs that it sees; "auto" (default) for what there is: several workers, several
            GPUs, or neither.
        start_timeout: seconds to wait for the other workers. Default 300.
        collective_timeout: seconds that a worker may keep the others waiting. Default 1,800.

    Returns:
        A `tf.distribute.Strategy`; TensorFlow's default one, which does nothing, for one device.

    Raises:
        InputError: a `TF_CONFIG` that is malformed or names a port in use, workers that do not
            come, or nothing to mirror on.

    Example:
        ```python
        strategy = tfcyclegan.make_strategy("mirrored")
        with strategy.scope():
            model = tfcyclegan.CycleGAN(image_size=256)
            model.compile()
        model.fit(data.train, epochs=200)
        ```
    """
    if name not in get_args(StrategyName):
        raise InputError(f"--strategy {name}: take one of {', '.join(get_args(StrategyName))}")
    cluster = Cluster.from_environment() if name in ("auto", "multiworker") else None
    if name == "multiworker" and cluster is None:
        raise InputError(
            "--strategy multiworker: TF_CONFIG is not set, which names the workers: set it for "
            "each, or try `python -m tfcyclegan launch --workers 2 -- train.py …` on this machine"
        )
    if cluster and (name == "multiworker" or len(cluster.addresses) > 1):
        return _multi_worker(cluster, start_timeout, collective_timeout)
    GPUs = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(GPUs) > 1):
        devices = [device.name for device in GPUs or tf.config.list_logical_devices("CPU")]
        if len(devices) < 2:
            raise InputError(
                f"--strategy mirrored: there is nothing but {devices[0]}: leave it out, or make "
                "several devices visible"
            )
        return tf.distribute.MirroredStrategy(devices)
    return tf.distribute.get_strategy()


#: Seconds that a strategy's workers wait for each other. (TensorFlow's own time-out of collective
#: operations was tried: with TF 2.21 the process ends by a segmentation fault when it is over.)
_timeouts: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


@functools.cache  # a process joins once
def _multi_worker(cluster: Cluster, start_timeout: float, timeout: float) -> tf.distribute.Strategy:
    cluster.meet(start_timeout)
    terminate = signal.getsignal(signal.SIGTERM)
    # Should one be lost right now, TensorFlow would wait for an hour, holding Python's lock.
    faulthandler.dump_traceback_later(start_timeout, exit=True, file=sys.__stderr__ or 2)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except (tf.errors.OpError, RuntimeError) as problem:
        raise PeerLost(
            f"the workers that TF_CONFIG names cannot be joined ({first_line(problem)})"
        ) from problem
    finally:
        faulthandler.cancel_dump_traceback_later()
    # TensorFlow takes SIGTERM for itself: whoever had it gets it back.
    if threading.current_thread() is threading.main_thread() and terminate is not None:
        signal.signal(signal.SIGTERM, terminate)
    _timeouts[strategy] = timeout
    return strategy


class Workers:
    """The processes that train one model together, as this one sees them.

    What it does together every worker has to do, in the same order. For one process alone it
    costs nothing.

    Args:
        strategy: theirs.

    Attributes:
        count: int, how many they are.
        index: int, this one's place.
        replicas: int, replicas of them all.
        local: int, replicas of this one.
        first: int, the number of its first replica.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._timeout = _timeouts.get(strategy, COLLECTIVE_TIMEOUT)
        self._timer: threading.Timer | None = None
        self.replicas = strategy.num_replicas_in_sync
        self.count, self.index, self.local = 1, 0, self.replicas
        if isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
            resolver = strategy.cluster_resolver
            if jobs := resolver.cluster_spec().as_dict():
                self.cluster = Cluster.of(jobs, resolver.task_type, resolver.task_id)
                self.count, self.index = len(self.cluster.addresses), self.cluster.index
                self.local = self.replicas // self.count
        self.first = self.index * self.local

    @property
    def chief(self) -> bool:
        """Whether this is the one who writes what is written once."""
        return self.index == 0

    def all_reduce(self, values: Sequence[int]) -> list[int]:
        """Sums of what each worker gives, the same for all of them."""
        if self.count == 1:
            return list(values)
        self.start_timer()
        try:
            total = _summed(self._strategy)(tf.constant(list(values), tf.int64))
        finally:
            self.cancel_timer()
        return self._strategy.experimental_local_results(total)[0].numpy().tolist()

    def start_timer(self) -> None:
        """Has the process end when others do not come in time, until `cancel_timer`."""
        self.cancel_timer()
        self._timer = threading.Timer(self._timeout, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def cancel_timer(self) -> None:
        """They came."""
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _give_up(self) -> None:
        lost = PeerLost(
            f"a worker kept the others waiting for longer than {self._timeout:g} s "
            "(--collective-timeout)"
        )
        print(f"tfcyclegan: {lost}", file=sys.stderr, flush=True)
        os._exit(TRY_AGAIN)  # nothing else ends an operation that waits

    def broadcast(self, text: str) -> str:
        """What the chief gives, for all of them."""
        if self.count == 1:
            return text
        data = text.encode() if self.chief else b""
        (length,) = self.all_reduce([len(data)])
        if not length:
            return ""
        return bytes(self.all_reduce([*data] if self.chief else [0] * length)).decode()

    def run_on_chief(self, act: Callable[[], None]) -> None:
        """Lets the chief do something. What it cannot do ends all workers, with its words.

        Raises:
            InputError: the chief's.
        """
        problem = None
        if self.chief:
            try:
                act()
            except InputError as refused:
                problem = refused
        if words := self.broadcast(str(problem or "")):
            raise problem or InputError(words)

    def run_on_all(self, act: Callable[[], None]) -> None:
        """Lets every worker do something. What one cannot do ends all of them.

        Raises:
            PeerLost: another worker could not; it raises its own error.
        """
        problem = None
        try:
            act()
        except Exception as error:
            problem = error
        if self.all_reduce([problem is not None]) != [0]:
            raise problem or PeerLost("another worker had to stop, and says why")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turns TensorFlow's errors about a lost worker into `PeerLost`, which says whom."""
        try:
            yield
        except tf.errors.OpError as problem:
            if self.count == 1 or not (lost := self._lost(str(problem))):
                raise
            raise PeerLost(lost) from problem
        finally:
            self.cancel_timer()

    def _lost(self, text: str) -> str | None:
        """Who an error of TensorFlow's is about, or None where it is about something else."""
        if not re.search(r"[Cc]ollective|heartbeat|Coordination|RecvBuf", text):
            return None
        tasks = re.findall(r"/job:(chief|worker)/(?:replica:\d+/)?task:(\d+)", text)
        named = {int(task) + self.cluster.chiefs * (job == "worker") for job, task in tasks}
        if others := sorted(named - {self.index}):
            return f"{self.cluster.name(others[0])} was lost"
        if silent := self.cluster.silent():
            return f"{silent[0]} was lost"
        # Who does not hear from the chief, who listens to all heartbeats, is told no name.
        return f"{self.cluster.name(0)} was lost" if self.index else "a worker was lost"


@functools.lru_cache(maxsize=1)
def _summed(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], Any]:
    """Adds up what all workers give, traced once for whatever they give."""

    def on_replica(given: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        local = len(strategy.extended.worker_devices)
        first = replica.replica_id_in_sync_group % local == 0
        mine = tf.where(first, given, tf.zeros_like(given))
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, [mine])[0]

    return tf.function(
        lambda given: strategy.run(on_replica, (given,)),
        input_signature=[tf.TensorSpec([None], tf.int64)],
        autograph=False,
    )


def callback_list(callbacks: Any) -> list:
    """The callbacks in whatever form `fit` takes them."""
    if callbacks is None:
        return []
    if isinstance(callbacks, keras.callbacks.Callback):
        return [callbacks]
    return list(getattr(callbacks, "callbacks", callbacks))


def check_callbacks(callbacks: list, workers: Workers) -> None:
    """Refuses callbacks that several workers would be in each other's way with.

    Raises:
        ValueError: naming one, and what does the same.
    """
    if workers.count == 1:
        return
    together = sum(getattr(callback, "all_workers", False) for callback in callbacks)
    if workers.all_reduce([together]) != [together * workers.count]:
        raise ValueError(
            "ResumableState and StopOnSignal are for all workers or for none: give them to fit on "
            "every worker"
        )
    unfit = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
    for callback in callbacks:
        if isinstance(callback, unfit):
            raise ValueError(
                f"{type(callback).__name__} does not work with several workers: all of them would "
                "write the same files. Take tfcyclegan.ResumableState"
            )


class CollectiveTimeout(keras.callbacks.Callback):
    """Ends the process where a step waits too long for the other workers.

    Args:
        workers: this one and the others.
    """

    def __init__(self, workers: Workers):
        super().__init__()
        self._workers = workers

    def _begin(self, batch: int, logs: dict | None = None) -> None:
        self._workers.start_timer()

    def _end(self, *_: object, **__: object) -> None:
        self._workers.cancel_timer()

    on_train_batch_begin = on_test_batch_begin = _begin
    # Behind the last batch of data that does not say its length nothing but the epoch ends.
    on_train_batch_end = on_test_batch_end = on_epoch_end = on_test_end = _end
