"""Several processes that train one model together, and their collective operations.

A worker is a process with one or more replicas (see `replicas`), usually one per machine.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, get_args

import keras
import tensorflow as tf
from tensorflow.compiler.xla.tsl.protobuf.coordination_config_pb2 import CoordinatedJob
from tensorflow.python.eager import context

from ..errors import TRY_AGAIN, InputError, PeerLost, first_line
from .cluster import Cluster

logger = logging.getLogger(__name__)

#: The devices that a run trains on; see `make_strategy`.
StrategyName = Literal["auto", "none", "mirrored", "multiworker", "ray"]

#: Seconds that workers wait for each other at the start.
START_TIMEOUT = 300.0

#: Seconds that workers wait for each other in a collective operation. This must be longer than
#: what only the chief does at the end of an epoch, such as evaluation. (A missing heartbeat
#: reveals a crashed worker much sooner.)
COLLECTIVE_TIMEOUT = 1800.0


def make_strategy(
    name: StrategyName = "auto",
    start_timeout: float = START_TIMEOUT,
    collective_timeout: float = COLLECTIVE_TIMEOUT,
) -> tf.distribute.Strategy:
    """Makes the strategy of a run.

    Args:
        name: "none" for one device; "mirrored" for all GPUs of this machine (all its logical
            CPUs if it has no GPU); "multiworker" for the processes in `TF_CONFIG`, each with all
            GPUs that it sees; "auto" (default) for what is available: several workers, several
            GPUs, or one device.
        start_timeout: float, seconds to wait for the other workers. Default 300.
        collective_timeout: float, seconds that a worker may keep the others waiting. Default
            1,800.

    Returns:
        A `tf.distribute.Strategy`, the same one for the same devices or cluster. For one device it
        is TensorFlow's default strategy, which does nothing.

    Raises:
        InputError: `TF_CONFIG` is malformed, a worker does not start in time, or there is only
            one device to mirror on.
        PeerLost: the workers cannot be joined.

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
        raise InputError(f"strategy={name}: use one of {', '.join(get_args(StrategyName))}")
    if name == "ray":
        raise InputError("strategy=ray: Ray starts the workers: call train_on_ray")
    cluster = Cluster.from_environment() if name in ("auto", "multiworker") else None
    if name == "multiworker" and cluster is None:
        raise InputError(
            "strategy=multiworker: TF_CONFIG is not set: set it for each worker, or let Ray start "
            "the workers: strategy=ray workers=2"
        )
    if cluster and (name == "multiworker" or len(cluster.addresses) > 1):
        return _join(cluster, start_timeout, collective_timeout)
    GPUs = tf.config.list_logical_devices("GPU")
    if name == "mirrored" or (name == "auto" and len(GPUs) > 1):
        devices = [device.name for device in GPUs or tf.config.list_logical_devices("CPU")]
        if len(devices) < 2:
            raise InputError(
                f"strategy=mirrored: {devices[0]} is the only device: leave it out, or make "
                "several devices visible"
            )
        return _mirror(tuple(devices))
    return tf.distribute.get_strategy()


# A second MirroredStrategy would reuse the collective keys of the first, which fails when their
# shapes differ (measured with 2.21).
@functools.cache
def _mirror(devices: tuple[str, ...]) -> tf.distribute.Strategy:
    return tf.distribute.MirroredStrategy(devices)


@functools.cache  # a process can join only one cluster
def _join(cluster: Cluster, start_timeout: float, timeout: float) -> tf.distribute.Strategy:
    logger.info("waiting up to %g s for the other workers", start_timeout)
    jobs = tf.distribute.cluster_resolver.TFConfigClusterResolver().cluster_spec().as_dict()
    context.context().configure_coordination_service(
        service_type="standalone",
        service_leader=f"/job:{min(jobs)}/replica:0/task:0",  # the chief: "chief" < "worker"
        cluster_register_timeout_in_ms=round(start_timeout * 1000),
        coordinated_jobs=[
            CoordinatedJob(name=job, num_tasks=len(jobs[job])) for job in sorted(jobs)
        ],
    )
    # Without this barrier the timeout does not bound the chief's wait (measured with 2.21).
    context.context().coordination_service.cluster_register_with_barrier = True
    # Python does not run while TensorFlow waits, so Ctrl-C needs the default handler. TensorFlow
    # also replaces the SIGTERM handler. Put both back afterwards.
    handlers = {}
    if threading.current_thread() is threading.main_thread():
        for number in (signal.SIGINT, signal.SIGTERM):
            handlers[number] = signal.signal(number, signal.SIG_DFL)
    try:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    except tf.errors.DeadlineExceededError as problem:
        # The chief's error lists the workers that did not come. Without it, the chief did not come.
        _, _, missing = str(problem).partition("timed out task names:\n")
        tasks = re.findall(r"/job:(\w+)/replica:0/task:(\d+)", missing.partition("\n\n")[0])
        places = sorted(Cluster.of(jobs, job, int(number)).index for job, number in tasks) or [0]
        raise InputError(
            f"no connection to {', '.join(map(cluster.name, places))} after {start_timeout:g} s: "
            "start every worker that TF_CONFIG names, and check that they reach each other"
        ) from problem
    except (tf.errors.OpError, RuntimeError) as problem:
        raise PeerLost(
            f"cannot join the workers that TF_CONFIG names ({first_line(problem)})"
        ) from problem
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
    # TensorFlow's own collective timeout ends the process with a segmentation fault (2.21).
    strategy.collective_timeout = timeout
    return strategy


class Workers:
    """The processes that train one model together, seen from this one.

    Every worker must call the collective methods, in the same order. They cost nothing with a
    single process.

    Args:
        strategy: the strategy of the processes.

    Attributes:
        count: int, number of processes.
        index: int, this process's position; 0 is the chief.
        replicas: int, replicas of all processes.
        local: int, replicas of this process.
        first: int, number of this process's first replica.
        cluster: `Cluster`, the addresses of the processes; only with several.
    """

    def __init__(self, strategy: tf.distribute.Strategy):
        self._strategy = strategy
        self._timeout = getattr(strategy, "collective_timeout", COLLECTIVE_TIMEOUT)
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
        """Whether this process is the chief, which writes the shared files."""
        return self.index == 0

    def all_reduce(self, values: Sequence[int]) -> list[int]:
        """Sums each value over all workers."""
        if self.count == 1:
            return list(values)
        self.start_timer()
        try:
            total = _summed(self._strategy)(tf.constant(list(values), tf.int64))
        finally:
            self.cancel_timer()
        # Every replica has added its worker's values.
        total = self._strategy.experimental_local_results(total)[0].numpy() // self.local
        return total.tolist()

    def start_timer(self) -> None:
        """Ends the process after the collective timeout, unless `cancel_timer` comes first."""
        self.cancel_timer()
        self._timer = threading.Timer(self._timeout, self._give_up)
        self._timer.daemon = True
        self._timer.start()

    def cancel_timer(self) -> None:
        """Stops the timer."""
        if self._timer:
            self._timer.cancel()
        self._timer = None

    def _give_up(self) -> None:
        lost = PeerLost(
            f"a worker kept the others waiting for more than {self._timeout:g} s "
            "(see `collective_timeout`)"
        )
        print(f"tfcyclegan: {lost}", file=sys.stderr, flush=True)
        os._exit(TRY_AGAIN)  # nothing else interrupts a waiting operation

    def broadcast(self, text: str) -> str:
        """Returns the chief's text on every worker."""
        if self.count == 1:
            return text
        data = text.encode() if self.chief else b""
        (length,) = self.all_reduce([len(data)])
        if not length:
            return ""
        return bytes(self.all_reduce([*data] if self.chief else [0] * length)).decode()

    def run_on_chief(self, act: Callable[[], None]) -> None:
        """Calls a function on the chief. If it fails, every worker raises the chief's error.

        Raises:
            InputError: the chief's error.
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
        """Calls a function on every worker. If it fails on one of them, all raise.

        Raises:
            PeerLost: it failed on another worker, which raises the original error.
        """
        problem = None
        try:
            act()
        except Exception as error:
            problem = error
        if self.all_reduce([problem is not None]) != [0]:
            raise problem or PeerLost("another worker stopped with an error (see its output)")

    @contextlib.contextmanager
    def watched(self) -> Iterator[None]:
        """Turns TensorFlow's errors about a lost worker into `PeerLost`.

        Raises:
            PeerLost: another worker was lost.
        """
        try:
            yield
        except tf.errors.OpError as problem:
            about_peers = re.search(r"[Cc]ollective|heartbeat|Coordination|RecvBuf", str(problem))
            if self.count == 1 or not about_peers:
                raise
            # Its frames hold thread pools of TensorFlow's in a cycle, which Python may take apart
            # in an order that prints an error at exit.
            raise PeerLost("another worker was lost") from problem.with_traceback(None)
        finally:
            self.cancel_timer()


@functools.lru_cache(maxsize=1)
def _summed(strategy: tf.distribute.Strategy) -> Callable[[tf.Tensor], Any]:
    """Makes the function that sums a vector over all replicas, which is traced only once."""

    def on_replica(given: tf.Tensor) -> tf.Tensor:
        replica = tf.distribute.get_replica_context()
        given = tf.identity(given)  # on the replica's device: all_reduce needs one
        return replica.all_reduce(tf.distribute.ReduceOp.SUM, [given])[0]

    return tf.function(
        lambda given: strategy.run(on_replica, (given,)),
        input_signature=[tf.TensorSpec([None], tf.int64)],
        autograph=False,
    )


def callback_list(callbacks: Any) -> list:
    """Makes a list of callbacks from any form that `fit` takes."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return callbacks.callbacks
    return keras.tree.flatten(callbacks or [])


def check_callbacks(callbacks: list, workers: Workers) -> None:
    """Refuses callbacks of `fit` that do not work with several workers.

    Raises:
        InputError: names such a callback and a replacement.
    """
    if workers.count == 1:
        return
    together = sum(getattr(callback, "all_workers", False) for callback in callbacks)
    if workers.all_reduce([together]) != [together * workers.count]:
        raise InputError(
            "ResumableState and StopOnSignal must run on all workers or on none: give them to fit "
            "on every worker"
        )
    unfit = (keras.callbacks.ModelCheckpoint, keras.callbacks.BackupAndRestore)
    for callback in callbacks:
        if isinstance(callback, unfit):
            raise InputError(
                f"{type(callback).__name__} does not work with several workers: all of them would "
                "write the same files. Use tfcyclegan.ResumableState"
            )


class CollectiveTimeout(keras.callbacks.Callback):
    """Ends the process if a step waits too long for the other workers."""

    def __init__(self, workers: Workers):
        super().__init__()
        self._workers = workers

    def _begin(self, batch: int, logs: dict | None = None) -> None:
        self._workers.start_timer()

    def _end(self, *_: object, **__: object) -> None:
        self._workers.cancel_timer()

    on_train_batch_begin = on_test_batch_begin = _begin
    # With data of unknown length, one more batch begins than ends in an epoch.
    on_train_batch_end = on_test_batch_end = on_epoch_end = on_test_end = _end
