"""The processes of a multi-worker run: how they find each other, and `launch`."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.commands import launch as launching
from tfcyclegan.commands.launch import launch
from tfcyclegan.distributed.cluster import Cluster


@pytest.fixture
def meet():
    """Has a worker of a cluster meet the others in a thread of its own."""
    with ThreadPoolExecutor(8) as threads:
        yield lambda cluster, timeout=20.0: threads.submit(cluster.meet, timeout)


def talk(address, said):
    """What is answered to this at an address, as one string."""
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(said)
        return connection.makefile("rb").read().decode()


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_workers_meet(order, meet):
    """In whatever order they come: nobody goes before the last is there, and then all do."""
    workers = Cluster.on_this_machine(3)
    first, second, last = (workers[place] for place in order)
    early = [meet(first), meet(second)]
    time.sleep(1)
    assert not any(worker.done() for worker in early)
    for worker in (meet(last), *early):
        worker.result(timeout=5)
    for address in workers[0].addresses:  # left to TensorFlow
        with socket.create_server(("127.0.0.1", int(address.rpartition(":")[2]))):
            pass


def in_a_process(worker):
    """A worker that meets the others and ends."""
    script = "from tfcyclegan.cluster import Cluster; Cluster.from_environment().meet(60)"
    environment = {**os.environ, **worker.environment()}
    return subprocess.Popen([sys.executable, "-c", script], env=environment)


def until_it_listens(worker):
    while not worker.listens(worker.index):
        time.sleep(0.05)


def test_a_worker_that_left_again_is_missed(meet):
    """One that was there and is gone is waited for like one who never came."""
    chief, one, two = Cluster.on_this_machine(3)
    with in_a_process(one) as process:
        gathering = meet(chief, 60)
        until_it_listens(one)
        time.sleep(1)
        process.kill()
    joining = meet(two, 60)
    time.sleep(2)
    assert not gathering.done()
    assert not joining.done()
    for worker in (meet(one), gathering, joining):
        worker.result(timeout=5)


def test_a_chief_that_stands_still(meet):
    """For longer than workers wait for a word of it: they ask again when it goes on."""
    chief, one, two = Cluster.on_this_machine(3)
    with in_a_process(chief) as process:
        until_it_listens(chief)
        joining = meet(one, 60)
        time.sleep(1)
        process.send_signal(signal.SIGSTOP)
        time.sleep(7)
        process.send_signal(signal.SIGCONT)
        for worker in (meet(two), joining):
            worker.result(timeout=10)
    assert process.returncode == 0


@pytest.mark.parametrize(
    ("present", "message"),
    [
        (0, r"no sign of worker 1 \(.*\), worker 2 \(.*\) after 1 s: start every worker"),
        (1, r"no sign of worker 2 \(.*\) after 1 s"),
    ],
)
def test_workers_that_do_not_come(present, message):
    """One line that says who is missing, when the time is over; nothing stays occupied."""
    worker = Cluster.on_this_machine(3)[present]
    with pytest.raises(InputError, match=message):
        worker.meet(1)
    assert not worker.listens(present)


def test_the_chief_does_not_come():
    one = Cluster.on_this_machine(2)[1]
    with pytest.raises(InputError, match=r"no sign of worker 0 \(.*\) after 1 s"):
        one.meet(1)


def test_somebody_else_answers():
    """A program that took the port of a worker in the meantime is not taken for it."""
    chief, one = Cluster.on_this_machine(2)
    ports = [int(address.rpartition(":")[2]) for address in chief.addresses]
    with socket.create_server(("127.0.0.1", ports[1])):
        with pytest.raises(InputError, match=r"no sign of worker 1 \(.*\) after 1 s"):
            chief.meet(1)
        with pytest.raises(InputError, match=f"port {ports[1]} of this worker"):
            one.meet(1)
    with socket.create_server(("127.0.0.1", ports[0])) as door:

        def serve():
            with contextlib.suppress(OSError):  # closed at the end
                while True:
                    connection, _ = door.accept()
                    connection.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                    connection.close()

        threading.Thread(target=serve, daemon=True).start()
        with pytest.raises(InputError, match="though something listens there, after 1 s"):
            one.meet(1)


def test_the_chief_is_told_all_kinds_of_things(meet):
    """Strangers, and workers of another cluster or out of reach, change nothing."""
    chief, one, two = Cluster.on_this_machine(3)
    gathering = meet(chief)
    until_it_listens(chief)
    for said in (b"", b"\n", b"GET / HTTP/1.1\r\n\r\n", b"\xff" * 5000, b"tfcyclegan 1\n"):
        with socket.create_connection(("127.0.0.1", int(chief.addresses[0][-5:]))) as connection:
            connection.sendall(said)
    other = Cluster((*chief.addresses[:2], "127.0.0.1:9"), 1)
    for greeting, answer in (
        (f"{other.greeting} 1", "refused\n"),
        (f"{chief.greeting} 3", "refused\n"),
        (f"{chief.greeting} 0", "refused\n"),
        (f"{chief.greeting} 1", "unreached\n"),
        ("GET / HTTP/1.1", ""),
    ):
        assert talk(chief.addresses[0], f"{greeting}\n".encode()) == answer
    joining = [meet(one), meet(two)]
    for worker in (gathering, *joining):
        worker.result(timeout=5)


def test_a_worker_is_turned_away(meet, monkeypatch):
    """With the reason: another cluster, or a place that is taken."""
    chief, one, _ = Cluster.on_this_machine(3)
    gathering = meet(chief, 6)
    other = Cluster((*chief.addresses, "127.0.0.1:9"), 1)
    monkeypatch.setattr(Cluster, "listens", lambda *_: True)
    with pytest.raises(InputError, match=r"TF_CONFIG: worker 0 \(.*\) has another cluster"):
        other.meet(5)
    joining = meet(one, 3)
    time.sleep(1)
    monkeypatch.setattr(Cluster, "_door", lambda _: socket.socket())  # on another machine
    with pytest.raises(InputError, match=r"still has another worker 1 \(.*\) after 1 s"):
        one.meet(1)
    with pytest.raises(InputError, match=r"no sign of worker 2 \(.*\) after 3 s"):
        joining.result()  # as the chief has told it
    with pytest.raises(InputError, match=r"no sign of worker 1 .*, worker 2 .* after 6 s"):
        gathering.result()


def test_a_worker_that_the_chief_does_not_reach(meet, monkeypatch):
    """Names that become known late are waited for; then it is said between whom it fails."""
    chief, one = Cluster.on_this_machine(2)
    known = threading.Event()
    monkeypatch.setattr(Cluster, "listens", lambda *_: known.is_set())
    gathering = meet(chief)
    with pytest.raises(InputError, match=r"worker 0 .* cannot reach worker 1 \(.*\) after 1 s"):
        one.meet(1)
    joining = meet(one)
    known.set()
    gathering.result(timeout=5)
    joining.result(timeout=5)


GOOD = {"cluster": {"worker": ["a:1", "b:2"]}, "task": {"type": "worker", "index": 1}}


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("{", "not JSON"),
        ("[]", "cluster or task is missing or malformed"),
        ({"cluster": {"worker": ["a:1"]}}, "cluster or task is missing"),
        ({**GOOD, "cluster": {"worker": "a:1"}}, "is no host:port"),
        ({**GOOD, "cluster": {"worker": ["a:1", "b"]}}, "'b' is no host:port"),
        ({**GOOD, "cluster": {"worker": ["a:1", "a:1"]}}, "a:1 is there twice"),
        ({**GOOD, "cluster": {"worker": ["a:1", "b:2"], "ps": ["c:3"]}}, "jobs of the kind 'ps'"),
        ({**GOOD, "task": {"type": "worker", "index": 2}}, "the task 'worker' 2 is none of"),
        (
            {**GOOD, "task": {"type": "worker", "index": "1"}},
            "the task 'worker' '1' is no name and number",
        ),
        ({**GOOD, "task": {"type": ["worker"], "index": 1}}, "is no name and number"),
        ({**GOOD, "task": {"type": "worker", "index": True}}, "is no name and number"),
        ({**GOOD, "task": {"type": "chief", "index": 0}}, "the task 'chief' 0 is none of"),
        ({**GOOD, "cluster": {"worker": ["a:1", "b:0"]}}, "'b:0' is no host:port"),
        ({**GOOD, "cluster": {"worker": ["a:99999", "b:2"]}}, "'a:99999' is no host:port"),
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
    for each in (cluster, Cluster(("c:9", "a:1"), 0, chiefs=1), *Cluster.on_this_machine(3)):
        monkeypatch.setenv("TF_CONFIG", each.environment()["TF_CONFIG"])
        assert Cluster.from_environment() == each


def test_port_in_use(monkeypatch, tmp_path, capsys):
    monkeypatch.chdir(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        cluster = {"worker": [f"127.0.0.1:{port}", "127.0.0.1:1"]}
        task = {"type": "worker", "index": 0}
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": task}))
        assert main(["train"]) == 2
        assert f"port {port} of this worker" in capsys.readouterr().err
        assert Cluster.from_environment().silent() == ["worker 1 (127.0.0.1:1)"]


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
    ("command", "settings", "message"),
    [
        ((), {}, "nothing to launch"),
        (("train.py",), {"workers": 0}, "--workers 0: must be at least 1"),
        (("train.py",), {"restart": -1}, "--restart -1: must be at least 0"),
        (("train.py",), {"restart": 1}, "add --resume --run-dir FOLDER"),
        (("./not-there",), {}, "./not-there: cannot be started"),
    ],
)
def test_launch_refuses(command, settings, message):
    with pytest.raises(InputError, match=message):
        launch(command, **settings)


def running(script, *options):
    """`launch` with a Python script of these lines as its program."""
    return subprocess.Popen(
        [sys.executable, "-m", "tfcyclegan", "launch", *options, "--", str(script)],
        stderr=subprocess.PIPE,
        text=True,
    )


def alive(pids):
    return [pid for pid in pids if Path(f"/proc/{pid}").exists() and "Z" not in state_of(pid)]


def state_of(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


def pids_in(folder, count):
    """Those that the programs wrote there, once all have."""
    deadline = time.monotonic() + 60
    while len(names := [path.name for path in folder.iterdir()]) < count:
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return [int(name) for name in names]


SLEEPER = """
import json, os, pathlib, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(300)"])
folder = pathlib.Path(__file__).parent / "pids"
(folder / str(child.pid)).touch()
(folder / str(os.getpid())).touch()
if json.loads(os.environ["TF_CONFIG"])["task"]["index"] == 1 and "dies" in __file__:
    while len(list(folder.iterdir())) < 4:
        time.sleep(0.05)
    os.kill(os.getpid(), 9)
time.sleep(300)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_launch_is_asked_to_end(number, tmp_path):
    """By a signal, a closed terminal's too: all end, nothing is left, nothing starts again."""
    (tmp_path / "pids").mkdir()
    script = tmp_path / "sleeper.py"
    script.write_text(SLEEPER)
    with running(script, "--restart", "3") as launcher:
        pids = pids_in(tmp_path / "pids", 4)
        launcher.send_signal(number)
        _, err = launcher.communicate(timeout=60)
    assert launcher.returncode == 128 + number
    assert "bringing" not in err
    assert alive(pids) == []


def test_launch_notices_any_worker(tmp_path, monkeypatch):
    """The second dies while the first hangs: it is said at once, and all end after the grace."""
    monkeypatch.setattr(launching, "_GRACE", 1.0)
    (tmp_path / "pids").mkdir()
    script = tmp_path / "dies.py"
    script.write_text(SLEEPER)
    began = time.monotonic()
    assert launch((str(script),)) == 137
    assert time.monotonic() - began < 30
    assert alive(pids_in(tmp_path / "pids", 4)) == []


def test_launch_deals_out_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,1,2")
    with pytest.raises(InputError, match="3 GPUs cannot be dealt out evenly"):
        launch(("true",), workers=2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5,6,7")
    said = []
    monkeypatch.setattr(
        launching.subprocess, "Popen", lambda *_, env, **__: said.append(env) or 1 / 0
    )
    processes = launching._Processes(["true"], 2)
    for cluster in Cluster.on_this_machine(2):
        with pytest.raises(ZeroDivisionError):
            processes._start(cluster)
    assert [env["CUDA_VISIBLE_DEVICES"] for env in said] == ["4,6", "5,7"]


def test_launch_runs_a_program_in_every_worker(tmp_path, capfd):
    """Each with its TF_CONFIG; lines with its number; the first failure's code is the outcome."""
    script = tmp_path / "hello.py"
    script.write_text(
        "import json, os, sys, time\n"
        "task = json.loads(os.environ['TF_CONFIG'])\n"
        "index = task['task']['index']\n"
        "print('of', len(task['cluster']['worker']), sys.argv[1:])\n"
        "print('oops', file=sys.stderr)\n"
        "sys.exit(7 if index == 2 and 'fail' in sys.argv else 0)\n"
    )
    assert main(["launch", "--workers", "3", "--", str(script), "--data", "x"]) == 0
    said = capfd.readouterr()
    assert sorted(said.out.splitlines()) == [f"[{n}] of 3 ['--data', 'x']" for n in range(3)]
    assert sorted(said.err.splitlines()) == [f"[{n}] oops" for n in range(3)]
    assert main(["launch", "--workers", "3", "--restart", "1", "--", str(script), "fail"]) == 7
    said = capfd.readouterr()
    assert said.err.count("launch: worker 2 ended with 7") == 2
    assert said.err.count("bringing all 3 workers back (1 of 1)") == 1
