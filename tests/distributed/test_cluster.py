"""The processes of a multi-worker run: reading `TF_CONFIG`, and waiting for each other."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from tiny_run import worker_environments

from tfcyclegan.cli import main
from tfcyclegan.distributed.cluster import Cluster
from tfcyclegan.training.config import Config


@pytest.fixture
def workers(monkeypatch):
    """Three workers of one cluster, as each of them sees it."""
    found = []
    for environment in worker_environments(3):
        monkeypatch.setenv("TF_CONFIG", environment["TF_CONFIG"])
        found.append(Cluster.from_environment())
    return found


def open_port(worker):
    """A socket that listens at a worker's address."""
    return socket.create_server(("127.0.0.1", int(worker.addresses[worker.index].split(":")[1])))


SCRIPT = """
import time
from tfcyclegan.distributed.workers import make_strategy
print("waiting", flush=True)
began = time.monotonic()
try:
    make_strategy("multiworker", start_timeout=15)
except ValueError as problem:
    print(problem)
print(time.monotonic() - began)
"""


def started(environment, script=SCRIPT):
    return subprocess.Popen(
        [sys.executable, "-c", script], env={**os.environ, **environment},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize(
    ("present", "absent"), [([0], [1]), ([1], [0]), ([0, 1], [2]), ([0, 2], [1, 3])]
)
def test_workers_that_do_not_start(present, absent):
    """The others end soon after the timeout, with one line that names them."""
    environments = worker_environments(len(present + absent))
    for worker in [started(environments[index]) for index in present]:
        _, message, seconds = worker.communicate(timeout=120)[0].splitlines()
        names = ", ".join(rf"worker {index} \(127.0.0.1:\d+\)" for index in absent)
        assert re.match(rf"no connection to {names} after 15 s: start every worker", message)
        assert 15 <= float(seconds) < 40


@pytest.mark.slow
def test_ctrl_c_ends_the_wait():
    chief = started(worker_environments()[0], SCRIPT.replace("=15", "=100"))
    assert chief.stdout.readline() == "waiting\n"
    time.sleep(3)
    chief.send_signal(signal.SIGINT)
    chief.communicate(timeout=20)
    assert chief.returncode == -signal.SIGINT


def test_workers_outlast_the_chief(workers):
    """A worker ends after the chief; the chief waits for nobody."""
    chief, one, _ = workers
    with open_port(chief):
        chief.outlast_chief()
        waiting = threading.Thread(target=one.outlast_chief)
        waiting.start()
        time.sleep(0.5)
        assert waiting.is_alive()
    waiting.join(10)
    assert not waiting.is_alive()


GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "not JSON"),
        ("[]", "cluster or task is missing or malformed"),
        ({"cluster": {"worker": ["a:1"]}}, "cluster or task is missing"),
        ({**GOOD, "cluster": {"worker": "a:1"}}, "is not host:port"),
        ({**GOOD, "cluster": {"worker": ["a:1", "b"]}}, "'b' is not host:port"),
        ({**GOOD, "cluster": {"worker": ["a:1", "a:1"]}}, "a:1 is listed twice"),
        (
            {**GOOD, "cluster": {"worker": ["a:1", "b:2"], "ps": ["c:3"]}},
            "the job 'ps' is not",
        ),
        (
            {**GOOD, "task": {"type": "worker", "index": 2}},
            "the task 'worker' 2 is not in",
        ),
        (
            {**GOOD, "task": {"type": "worker", "index": "1"}},
            "the task 'worker' '1' is not a name and a number",
        ),
        ({**GOOD, "task": {"type": ["worker"], "index": 1}}, "is not a name and a number"),
        ({**GOOD, "task": {"type": "worker", "index": True}}, "is not a name and a number"),
        (
            {**GOOD, "task": {"type": "chief", "index": 0}},
            "the task 'chief' 0 is not in",
        ),
        ({**GOOD, "cluster": {"worker": ["a:1", "b:0"]}}, "'b:0' is not host:port"),
        ({**GOOD, "cluster": {"worker": ["a:99999", "b:2"]}}, "'a:99999' is not host:port"),
    ],
)
def test_malformed_TF_CONFIG(value, message, monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TF_CONFIG", value if isinstance(value, str) else json.dumps(value))
    assert main(["train"]) == 2
    error = capsys.readouterr().err
    assert "TF_CONFIG" in error
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_TF_CONFIG_is_read(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert Cluster.from_environment() is None
    monkeypatch.setenv("TF_CONFIG", json.dumps(GOOD))
    assert Cluster.from_environment() == Cluster(("a:1", "b:2"), 1)
    with_chief = {"cluster": {"chief": ["c:9"], "worker": ["a:1", "b:2"]}}
    task = {"task": {"type": "worker", "index": 1}}
    monkeypatch.setenv("TF_CONFIG", json.dumps({**with_chief, **task}))
    cluster = Cluster.from_environment()
    assert cluster.addresses == ("c:9", "a:1", "b:2")
    assert (cluster.index, cluster.name(2)) == (2, "worker 2 (b:2)")


def test_TF_CONFIG_of_the_examples(monkeypatch, tmp_path):
    """What the Kubernetes and Slurm examples of docs/scale.md put into it, run by a real shell."""
    text = (Path(__file__).parents[2] / "docs/scale.md").read_text()
    nodes = tmp_path / "scontrol"
    nodes.write_text("#!/bin/sh\nprintf 'node7\nnode9\n'\n")
    nodes.chmod(0o755)
    environment = {
        **os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}", "WORKERS": "2",
        "JOB_COMPLETION_INDEX": "1", "SLURM_NODEID": "1", "SLURM_JOB_NODELIST": "node[7,9]",
    }  # fmt: skip
    found = []
    for script in re.findall(r"addresses=.*?(?=exec python)", text, re.DOTALL):
        done = subprocess.run(
            ["bash", "-euc", script + '\nprintf "%s" "$TF_CONFIG"'],
            env=environment, capture_output=True, text=True, check=True,
        )  # fmt: skip
        monkeypatch.setenv("TF_CONFIG", done.stdout)
        found.append(Cluster.from_environment())
    assert found == [
        Cluster(("horse2zebra-0.horse2zebra:2222", "horse2zebra-1.horse2zebra:2222"), 1),
        Cluster(("node7:2222", "node9:2222"), 1),
    ]


def test_multiworker_without_TF_CONFIG(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert main(["train", "--strategy", "multiworker"]) == 2
    assert "TF_CONFIG is not set" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "2"], "--workers 2: set --strategy ray as well, or leave it out"),
        (["--strategy", "ray"], "--strategy ray: set --workers as well, for example --workers 2"),
        (["--strategy", "ray", "--workers", "0"], "--workers 0: must be at least 1"),
        (["--strategy", "ray", "--workers", "2"], 'pip install ".[ray]" in a clone'),
    ],
)
def test_strategy_ray_is_refused(options, message, monkeypatch, tmp_path, capsys):
    """Settings that do not go together, or Ray missing: one line, and nothing is written."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "ray", None)
    assert main(["train", *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_run_continues_on_other_workers():
    """The strategy and the number of workers are no difference."""
    on_ray = Config(strategy="ray", workers=2).resolved()
    assert Config().resolved().differences(on_ray) == []
