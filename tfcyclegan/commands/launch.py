"""`tfcyclegan launch`: the workers of a multi-worker run, on this machine."""

from __future__ import annotations

import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Sequence
from typing import Annotated, Any

import tensorflow as tf
import tyro

from ..errors import InputError

#: Seconds that workers have to see that one of them is gone, and to say so.
_GRACE = 45.0

#: Exit codes after which starting again would come to the same: done, something for the user to
#: mend, and stopped by Ctrl-C or SIGTERM.
_FINAL = (0, 2, 130, 143)


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
    cluster = _Cluster(program, workers)
    for attempt in range(restart + 1):
        code = cluster.run()
        if code in _FINAL or attempt == restart:
            return code
        cluster.say(f"bringing all {workers} workers back ({attempt + 1} of {restart})")
    return code


class _Cluster:
    """Processes that know of each other, and live and end together."""

    def __init__(self, program: Sequence[str], workers: int):
        self._program = program
        self._workers = workers
        self._asked: int | None = None

    def say(self, text: str) -> None:
        print(f"launch: {text}", file=sys.stderr, flush=True)

    def run(self) -> int:
        """Starts all workers and waits until all have ended.

        Returns:
            The exit code of the first that failed, or 0.
        """
        addresses = [f"127.0.0.1:{port}" for port in _free_ports(self._workers)]
        gpus = _gpus()
        processes, readers = [], []
        before = {
            number: signal.signal(number, self._pass_on)
            for number in (signal.SIGTERM, signal.SIGINT)
        }
        try:
            for index in range(self._workers):
                task = {"type": "worker", "index": index}
                config = {"cluster": {"worker": addresses}, "task": task}
                environment = {
                    **os.environ,
                    "TF_CONFIG": json.dumps(config),
                    "PYTHONUNBUFFERED": "1",
                }
                if gpus:
                    mine = gpus[index :: self._workers]
                    environment["CUDA_VISIBLE_DEVICES"] = ",".join(mine) or "-1"
                try:
                    process = subprocess.Popen(
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
                processes.append(process)
                for stream, out in ((process.stdout, sys.stdout), (process.stderr, sys.stderr)):
                    reader = threading.Thread(target=_forward, args=(index, stream, out))
                    reader.start()
                    readers.append(reader)
            return self._wait(processes)
        finally:
            for process in processes:
                _end(process)
            for reader in readers:
                reader.join()
            for number, handler in before.items():
                signal.signal(number, handler)

    def _pass_on(self, number: int, frame: Any) -> None:
        self._asked = number

    def _wait(self, processes: list[subprocess.Popen]) -> int:
        first: int | None = None
        deadline = None
        while any(process.poll() is None for process in processes):
            time.sleep(0.1)
            if self._asked is not None:
                number, self._asked = self._asked, None
                for process in processes:
                    if process.poll() is None:
                        process.send_signal(number)
            if first is None:
                first = self._first_failure(processes)
                deadline = time.monotonic() + _GRACE if first is not None else None
            if deadline and time.monotonic() > deadline:
                break
        return first or self._first_failure(processes) or 0

    def _first_failure(self, processes: list[subprocess.Popen]) -> int | None:
        """The exit code of a worker that failed, one by itself rather than by another's loss."""
        failed = [
            (process.returncode == os.EX_TEMPFAIL, index, process.returncode)
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
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _free_ports(count: int) -> list[int]:
    """Ports of the loopback address that nobody listens on right now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [one.getsockname()[1] for one in sockets]
    for one in sockets:
        one.close()
    return ports


def _gpus() -> list[str]:
    """The GPUs there are to deal out, as CUDA_VISIBLE_DEVICES names them."""
    if (visible := os.environ.get("CUDA_VISIBLE_DEVICES")) is not None:
        return [name for name in visible.split(",") if name and name != "-1"]
    return [str(number) for number in range(len(tf.config.list_physical_devices("GPU")))]
