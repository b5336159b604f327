"""The processes of a multi-worker run, as `TF_CONFIG` names them."""

from __future__ import annotations

import json
import logging
import os
import re
import socket
import time
from collections.abc import Sequence
from dataclasses import dataclass

from ..errors import InputError

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """The processes of a multi-worker run.

    Attributes:
        addresses: `host:port` of each worker, the chief's first.
        index: this process's position in `addresses`; 0 is the chief.
    """

    addresses: tuple[str, ...]
    index: int

    @classmethod
    def of(cls, jobs: dict[str, Sequence[str]], kind: str, number: int) -> Cluster:
        """Makes a cluster from TensorFlow's description of it.

        Args:
            jobs: the addresses of each job, "chief" and "worker".
            kind: the job of this process.
            number: the index of this process in its job.

        Returns:
            `Cluster`.
        """
        chiefs, workers = jobs.get("chief", ()), jobs.get("worker", ())
        return cls((*chiefs, *workers), number + len(chiefs) if kind == "worker" else number)

    @classmethod
    def from_environment(cls) -> Cluster | None:
        """Reads `TF_CONFIG`.

        Returns:
            `Cluster`, or None if `TF_CONFIG` is not set.

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

    def wait_for_workers(self, timeout: float) -> None:
        """Waits on the chief until every other worker listens at its address.

        Other workers return at once. TensorFlow bounds their wait for the chief.

        Args:
            timeout: seconds.

        Raises:
            InputError: a worker does not listen in time.
        """
        deadline = time.monotonic() + timeout
        missing = [] if self.index else list(range(1, len(self.addresses)))
        if missing:
            logger.info("waiting up to %g s for the other workers", timeout)
        while missing := [place for place in missing if not self.listens(place)]:
            if time.monotonic() > deadline:
                raise self.missing(missing, timeout)
            time.sleep(0.2)

    def missing(self, places: Sequence[int], timeout: float) -> InputError:
        """The error for workers that did not start in time.

        Args:
            places: their positions in `addresses`.
            timeout: seconds that this process has waited.

        Returns:
            `InputError`, to be raised.
        """
        names = ", ".join(map(self.name, places))
        return InputError(
            f"no connection to {names} after {timeout:g} s: start every worker that TF_CONFIG "
            "names, and check that they reach each other"
        )

    def name(self, place: int) -> str:
        """What messages call a worker: `worker 1 (host:port)`.

        Args:
            place: its position in `addresses`.
        """
        return f"worker {place} ({self.addresses[place]})"

    def outlast_chief(self) -> None:
        """Waits until the chief has ended.

        The chief takes a worker that ends before it for a crashed one.
        """
        while self.index and self.listens(0):
            time.sleep(1.0)

    def listens(self, place: int) -> bool:
        """Whether a worker accepts connections.

        Args:
            place: its position in `addresses`.
        """
        host, _, port = self.addresses[place].rpartition(":")
        try:
            socket.create_connection((host.strip("[]"), int(port)), timeout=1.0).close()
        except OSError:
            return False
        return True
