"""`tfcyclegan launch`: the workers of a multi-worker run, on this machine."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Annotated, Any

import tensorflow as tf
import tyro

from ..distributed.cluster import Cluster
from ..errors import TRY_AGAIN, InputError

#: Seconds that workers have to see that one of them is gone, and to say so.
_GRACE = 45.0

#: What asks the launcher to end: SIGTERM, Ctrl-C, and a terminal that is closed.
_SIGNALS = (signal.SIGTERM, signal.SIGINT, getattr(signal, "SIGHUP", signal.SIGTERM))

#: Exit codes after which starting again would come to the same: done, something for the user to
#: mend, and stopped by one of these.
_FINAL = (0, 2, *(128 + number for number in _SIGNALS))


def launch(
    command: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="COMMAND...")],
    workers: int = 2,
    restart: int = 0,
) -> int:
    """Start a cluster of workers on this machine, to try out --strategy multiworker.

    Lines of their output begin with the worker's number. GPUs are dealt out among them. When one
    fails the others end as well.

    Args:
        command: What each worker runs, behind `--`: `train.py` with its options, a Keras script,
            or any program. It finds the others in TF_CONFIG.
        workers: How many workers.
        restart: Times to bring all workers back after a failure. They go on from the last
            checkpoint: give `--resume` and a `--run-dir` to `train.py`, and to a script of your
            own ResumableState.
    """
    if workers < 1:
        raise InputError(f"--workers {workers}: must be at least 1")
    if restart < 0:
        raise InputError(f"--restart {restart}: must be at least 0")
    program = list(command)
    if not program:
        raise InputError("nothing to launch: give a command behind --, such as -- train.py")
    named = {option.split("=")[0] for option in program}
    trains = program[0].endswith("train.py") or "train" in program[:4]
    if restart and trains and not {"--resume", "--run-dir"} <= named:
        raise InputError(
            "--restart: add --resume --run-dir FOLDER to the command, so that workers that are "
            "brought back know what to go on with"
        )
    if program[0].endswith(".py"):
        program = [sys.executable, *program]
    with _Processes(program, workers) as processes:
        for attempt in range(restart + 1):
            code = processes.run()
            if code in _FINAL or attempt == restart:
                break
            processes.say(f"bringing all {workers} workers back ({attempt + 1} of {restart})")
    return code


class _Processes:
    """Processes that know of each other, and live and end together.

    Asked to end by a signal, it passes that on and starts no more.
    """

    def __init__(self, program: Sequence[str], workers: int):
        self._program = program
        self._workers = workers
        self._gpus = _gpus()
        if len(self._gpus) % workers:
            raise InputError(
                f"--workers {workers}: {len(self._gpus)} GPUs cannot be dealt out evenly: take "
                "another number, or name the GPUs to use in CUDA_VISIBLE_DEVICES"
            )
        self._asked: int | None = None
        self._passed_on = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> _Processes:
        for number in _SIGNALS if threading.current_thread() is threading.main_thread() else ():
            self._before[number] = signal.signal(number, self._ask)
        return self

    def __exit__(self, *problem: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _ask(self, number: int, frame: object) -> None:
        self._asked, self._passed_on = number, False

    def say(self, text: str) -> None:
        print(f"launch: {text}", file=sys.stderr, flush=True)

    def run(self) -> int:
        """Starts all workers and waits until all have ended.

        Returns:
            The exit code of the first that failed, or 0.
        """
        if self._asked is not None:  # between two runs
            return 128 + self._asked
        processes, readers = [], []
        try:
            for index, cluster in enumerate(Cluster.on_this_machine(self._workers)):
                process = self._start(cluster)
                processes.append(process)
                for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                    reader = threading.Thread(
                        target=_forward, args=(index, stream, out), daemon=True
                    )
                    reader.start()
                    readers.append(reader)
            return self._wait(processes)
        finally:
            for process in processes:
                _end(process)
            for reader in readers:
                reader.join(5)  # what a worker left running may hold its output open

    def _start(self, cluster: Cluster) -> subprocess.Popen:
        environment = {**os.environ, **cluster.environment(), "PYTHONUNBUFFERED": "1"}
        if self._gpus:
            mine = self._gpus[cluster.index :: self._workers]
            environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine)
        try:
            return subprocess.Popen(
                self._program,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # A terminal's Ctrl-C is for this process, who passes it on.
                start_new_session=True,
            )
        except OSError as problem:
            raise InputError(
                f"{shlex.join(self._program)}: cannot be started ({problem.strerror})"
            ) from problem

    def _wait(self, processes: list[subprocess.Popen]) -> int:
        first: int | None = None
        deadline = None
        while running := [process for process in processes if process.poll() is None]:
            time.sleep(0.1)
            if self._asked is not None and not self._passed_on:
                self._passed_on = True
                for process in running:
                    process.send_signal(self._asked)
                deadline = time.monotonic() + _GRACE
            if first is None and (first := self._first_failure(processes)) is not None:
                deadline = time.monotonic() + _GRACE
            if deadline and time.monotonic() > deadline:
                break
        if self._asked is not None:
            return 128 + self._asked
        return first or self._first_failure(processes) or 0

    def _first_failure(self, processes: list[subprocess.Popen]) -> int | None:
        """The exit code of a worker that failed, one by itself rather than by another's loss."""
        failed = [
            (process.returncode == TRY_AGAIN, index, process.returncode)
            for index, process in enumerate(processes)
            if process.returncode
        ]
        if not failed:
            return None
        _, index, code = min(failed)
        if code < 0:
            self.say(f"worker {index} was ended by {signal.Signals(-code).name}")
            return 128 - code
        self.say(f"worker {index} ended with {code}")
        return code


def _forward(index: int, stream: Any, out: Any) -> None:
    """Copies a worker's lines, each whole and with its number in front."""
    for line in stream:
        out.write(f"[{index}] {line.decode(errors='backslashreplace')}")
        out.flush()


def _end(process: subprocess.Popen) -> None:
    """Ends a worker and whatever it started, and waits until they are gone."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        deadline = time.monotonic() + 5
        with contextlib.suppress(ProcessLookupError):  # raised when none of them is left
            os.killpg(process.pid, number)
            while time.monotonic() < deadline:
                process.poll()
                os.killpg(process.pid, 0)
                time.sleep(0.02)


def _gpus() -> list[str]:
    """The GPUs there are to deal out, as CUDA_VISIBLE_DEVICES names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(len(tf.config.list_physical_devices("GPU")))]
