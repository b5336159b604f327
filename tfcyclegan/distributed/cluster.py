"""The processes of a multi-worker run: who they are, where they listen, and how they meet."""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import random
import re
import socket
import socketserver
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from ..errors import InputError, first_line

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Cluster:
    """The processes of a multi-worker run, as `TF_CONFIG` names them.

    Attributes:
        addresses: `host:port` of each, the chief's first.
        index: this process's place among them; 0 is the chief, who writes what is written once.
        chiefs: 1 where `TF_CONFIG` has a job named chief, 0 where that is worker 0.
    """

    addresses: tuple[str, ...]
    index: int
    chiefs: int = 0

    @classmethod
    def of(cls, jobs: dict[str, Sequence[str]], kind: str, number: int) -> Cluster:
        """From the jobs of a cluster, and the task that this process has in it."""
        chiefs, workers = jobs.get("chief", ()), jobs.get("worker", ())
        index = number + len(chiefs) if kind == "worker" else number
        return cls((*chiefs, *workers), index, len(chiefs))

    @classmethod
    def from_environment(cls) -> Cluster | None:
        """Reads `TF_CONFIG`; None where it is not set.

        Raises:
            InputError: it is no cluster of workers with this process in it.
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
                raise TypeError(f"the task {kind!r} {number!r} is no name and number")
            cluster = cls.of(jobs, kind, number)
            addresses = cluster.addresses
        except ValueError as problem:
            raise refuse(f"not JSON ({problem})") from problem
        except (KeyError, TypeError, AttributeError) as problem:
            raise refuse(f"cluster or task is missing or malformed ({problem})") from problem
        if odd := sorted(set(jobs) - {"chief", "worker"}):
            raise refuse(f"jobs of the kind {odd[0]!r} have no part here, only chief and worker")
        for address in addresses:
            port = re.fullmatch(r".+:([0-9]{1,5})", address) if isinstance(address, str) else None
            if not port or not 0 < int(port[1]) < 2**16:
                raise refuse(f"{address!r} is no host:port")
        if twice := sorted({a for a in addresses if addresses.count(a) > 1}):
            raise refuse(f"{twice[0]} is there twice")
        if kind not in jobs or number not in range(len(jobs[kind])):
            raise refuse(f"the task {kind!r} {number!r} is none of the cluster's")
        return cluster

    @classmethod
    def on_this_machine(cls, count: int) -> list[Cluster]:
        """A cluster of so many processes on the loopback address, as each of them sees it.

        Its ports are free right now, and none of those that the system gives to outgoing
        connections, one of which might be faster.

        Raises:
            InputError: not as many ports are free.
        """
        try:
            lowest = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])
        except (OSError, ValueError):
            lowest = 32768
        addresses: list[str] = []
        # Not by the generator that programs give a seed, and two of them the same.
        for port in random.SystemRandom().sample(range(10000, max(lowest, 20000)), 1000):
            with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
                addresses.append(f"127.0.0.1:{port}")
            if len(addresses) == count:
                return [cls(tuple(addresses), index) for index in range(count)]
        raise InputError(f"{count} workers: not as many ports are free on this machine")

    def environment(self) -> dict[str, str]:
        """What `from_environment` reads this from."""
        jobs = {"chief": self.addresses[: self.chiefs], "worker": self.addresses[self.chiefs :]}
        kind = "chief" if self.index < self.chiefs else "worker"
        task = {"type": kind, "index": self.index - self.chiefs * (kind == "worker")}
        cluster = {job: addresses for job, addresses in jobs.items() if addresses}
        return {"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})}

    def meet(self, timeout: float) -> None:
        """Waits until every worker is there, each with its port, and lets all go on at once.

        TensorFlow waits as well, but where neither Ctrl-C nor a time-out reaches it.

        Args:
            timeout: seconds.

        Raises:
            InputError: this worker's port is taken, the chief has another cluster, or workers do
                not come.
        """
        start = said = time.monotonic()

        def waiting(amiss: str) -> None:
            nonlocal said
            now = time.monotonic()
            if now - start > timeout:
                raise InputError(
                    f"{amiss} after {timeout:g} s: start every worker that TF_CONFIG names, each "
                    "once, and see that they reach each other"
                )
            if now - said > 10:
                said = now
                logger.info("waiting: %s", amiss)

        with self._door() as door:
            if self.index:
                self._join(waiting)
            else:
                self._gather(door, waiting)

    def _door(self) -> socket.socket:
        _, port = self._endpoint(self.index)
        both = socket.has_dualstack_ipv6()
        try:
            return socket.create_server(
                ("", port),
                family=socket.AF_INET6 if both else socket.AF_INET,
                backlog=128 + len(self.addresses),  # who only looks whether it listens stays in it
                dualstack_ipv6=both,
            )
        except (OSError, OverflowError) as problem:
            raise InputError(
                f"TF_CONFIG: port {port} of this worker ({self.addresses[self.index]}) cannot be "
                f"listened on ({first_line(problem)}): end what uses it, or name another"
            ) from problem

    def _gather(self, door: socket.socket, waiting: Callable[[str], None]) -> None:
        """The chief's part: it hears from the others, and tells them when all are there."""
        with _Reception(self, door) as reception:
            while missing := reception.tell_who_is_missing():
                waiting(self._no_sign_of(missing))

    def _join(self, waiting: Callable[[str], None]) -> None:
        """The others' part: they see that all are there, say so to the chief and wait for it."""
        unseen = [place for place in range(1, len(self.addresses)) if place != self.index]
        while unseen := [place for place in unseen if not self.listens(place)]:
            waiting(self._no_sign_of(unseen))
            time.sleep(0.2)
        while not self._visit_chief(waiting):
            time.sleep(0.2)

    def _visit_chief(self, waiting: Callable[[str], None]) -> bool:
        """Whether the chief let this worker go; False where it has to be tried again."""
        amiss = self._no_sign_of([0])
        try:
            with self._connect(0) as connection, connection.makefile("rb") as answers:
                amiss += ", though something listens there,"
                connection.settimeout(5.0)
                connection.sendall(f"{self.greeting} {self.index}\n".encode())
                while answer := answers.readline(_LONGEST).decode().split():
                    match answer:
                        case ["go"]:
                            return True
                        case ["missing", *places]:
                            amiss = self._no_sign_of([int(place) for place in places])
                        case ["unreached"]:
                            amiss = f"{self.name(0)} cannot reach {self.name(self.index)}"
                        case ["taken"]:
                            amiss = f"{self.name(0)} still has another {self.name(self.index)}"
                        case ["refused"]:
                            raise InputError(
                                f"TF_CONFIG: {self.name(0)} has another cluster than this worker: "
                                "give all the same"
                            )
                        case _:
                            break
                    waiting(amiss)
        except InputError:
            raise
        except (OSError, ValueError, IndexError):  # gone, too slow, or no line of ours
            pass
        waiting(amiss)
        return False

    @property
    def greeting(self) -> str:
        """What tells a worker of this cluster from others."""
        return "tfcyclegan " + hashlib.sha256(json.dumps(self.addresses).encode()).hexdigest()

    def _no_sign_of(self, places: Sequence[int]) -> str:
        return f"no sign of {', '.join(map(self.name, places))}"

    def silent(self) -> list[str]:
        """The other workers that no connection can be made to, as `worker 1 (host:port)`."""
        others = set(range(len(self.addresses))) - {self.index}
        return [self.name(place) for place in sorted(others) if not self.listens(place)]

    def outlast_chief(self) -> None:
        """Waits until the chief has ended: to it, who leaves earlier looks like one who crashed."""
        while self.index and self.listens(0):
            time.sleep(1.0)

    def listens(self, place: int) -> bool:
        """Whether a connection can be made to a worker."""
        try:
            self._connect(place).close()
        except OSError:
            return False
        return True

    def _connect(self, place: int) -> socket.socket:
        return socket.create_connection(self._endpoint(place), timeout=1.0)

    def _endpoint(self, place: int) -> tuple[str, int]:
        host, _, port = self.addresses[place].rpartition(":")
        return host.strip("[]"), int(port)

    def name(self, place: int) -> str:
        """What to call a worker in a message."""
        return f"worker {place} ({self.addresses[place]})"


#: Characters of a line between workers. One with 10,000 of them missing is as long.
_LONGEST = 2**16


class _Reception(socketserver.ThreadingTCPServer):
    """Where the chief hears from the others. Each stays connected until all are there.

    Args:
        cluster: the chief's.
        door: a socket that listens.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, cluster: Cluster, door: socket.socket):
        super().__init__(door.getsockname()[:2], _Visit, bind_and_activate=False)
        self.socket.close()
        self.socket = door
        self.cluster = cluster
        self.visits: dict[int, _Visit] = {}
        self.changed = threading.Condition()

    def __enter__(self) -> _Reception:
        threading.Thread(target=self.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *problem: object) -> None:
        self.shutdown()
        with self.changed, contextlib.suppress(OSError):
            for visit in self.visits.values():
                visit.connection.shutdown(socket.SHUT_RDWR)

    def tell_who_is_missing(self) -> list[int]:
        """Tells those who are there whom they wait for, or to go, and waits for what they do."""
        with self.changed:
            others = range(1, len(self.cluster.addresses))
            missing = [place for place in others if place not in self.visits]
            if missing:
                self._tell(" ".join(["missing", *map(str, missing)]))
                self.changed.wait(1.0)
            else:
                self._tell("go")
                # They leave first: what lingers of a connection is on their side then.
                self.changed.wait_for(lambda: not self.visits, 1.0)
            return missing

    def _tell(self, line: str) -> None:
        for visit in self.visits.values():
            with contextlib.suppress(OSError):  # it is about to be missed
                visit.tell(line)


class _Visit(socketserver.StreamRequestHandler):
    """A worker at the chief's, for as long as it stays."""

    server: _Reception
    timeout = 5.0  # until it has said who it is

    def handle(self) -> None:
        cluster, changed, visits = self.server.cluster, self.server.changed, self.server.visits
        with contextlib.suppress(OSError, ValueError):
            *greeting, said = self.rfile.readline(_LONGEST).decode().split()
            place = int(said)
            if greeting[:1] != ["tfcyclegan"]:
                return  # nobody of ours
            if greeting != cluster.greeting.split() or not 0 < place < len(cluster.addresses):
                self.tell("refused")
                return
            if not cluster.listens(place):
                self.tell("unreached")
                return
            with changed:
                if place in visits:
                    self.tell("taken")
                    return
                visits[place] = self
                changed.notify_all()
            try:
                self.connection.settimeout(None)
                self.rfile.read(1)  # it says no more: this is its leaving
            finally:
                with changed:
                    del visits[place]
                    changed.notify_all()

    def tell(self, line: str) -> None:
        """Sends a word and what belongs to it."""
        self.wfile.write(f"{line}\n".encode())
