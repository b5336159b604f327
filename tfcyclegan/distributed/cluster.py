"""The processes of a multi-worker run, as `TF_CONFIG` names them."""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError


@dataclass(frozen=True)
class Cluster:
    """The processes of a multi-worker run.

    Attributes:
        addresses: `host:port` of each worker, the chief's first.
        index: int, position of this process in `addresses`; 0 is the chief.
    """

    addresses: tuple[str, ...]
    index: int

    @classmethod
    def of(cls, jobs: dict[str, Sequence[str]], kind: str, number: int) -> Cluster:
        """Makes a cluster from TensorFlow's description of it.

        Args:
            jobs: the addresses of each job, "chief" and "worker".
            kind, number: the job of a process, and its index there.
        """
        chiefs, workers = jobs.get("chief", ()), jobs.get("worker", ())
        return cls((*chiefs, *workers), number + len(chiefs) if kind == "worker" else number)

    @classmethod
    def from_environment(cls) -> Cluster | None:
        """Reads `TF_CONFIG`. Returns None if it is not set.

        Raises:
            InputError: `TF_CONFIG` is malformed or does not contain this process.
        """
        text = os.environ.get("TF_CONFIG", "").strip()
        if not text:
            return None

        def refuse(why: str) -> InputError:
            return InputError(
                f'TF_CONFIG: {why}: it should look like {{"cluster": {{"worker": '
                '["host:port", ...]}, "task": {"type": "worker", "index": 0}}'
            )

        try:
            values = json.loads(text)
            jobs, task = values["cluster"], values["task"]
            kind, number = task["type"], task["index"]
            if not isinstance(kind, str) or type(number) is not int:
                raise TypeError(f"the task {kind!r} {number!r} is not a name and a number")
            cluster = cls.of(jobs, kind, number)
        except ValueError as problem:
            raise refuse(f"not JSON ({problem})") from problem
        except (KeyError, TypeError, AttributeError) as problem:
            raise refuse(f"cluster or task is missing or malformed ({problem})") from problem
        if unknown := sorted(set(jobs) - {"chief", "worker"}):
            raise refuse(f"the job {unknown[0]!r} is not supported, only chief and worker")
        for address in cluster.addresses:
            port = re.fullmatch(r".+:([0-9]{1,5})", address) if isinstance(address, str) else None
            if not port or not 0 < int(port[1]) < 2**16:
                raise refuse(f"{address!r} is not host:port")
        if twice := sorted({a for a in cluster.addresses if cluster.addresses.count(a) > 1}):
            raise refuse(f"{twice[0]} is listed twice")
        if kind not in jobs or number not in range(len(jobs[kind])):
            raise refuse(f"the task {kind!r} {number!r} is not in the cluster")
        return cluster

    def name(self, place: int) -> str:
        """What messages call the worker at that position: `worker 1 (host:port)`."""
        return f"worker {place} ({self.addresses[place]})"

    def outlast_chief(self) -> None:
        """Waits until the chief has ended.

        The chief takes a worker that ends before it for a crashed one. (TensorFlow's shutdown
        barrier does not help: Python exits without passing it.)
        """
        host, _, port = self.addresses[0].rpartition(":")
        with contextlib.suppress(OSError):
            while self.index:
                socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
                time.sleep(1.0)
