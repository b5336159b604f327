"""Several real workers: equal to one process, killed, and restarted."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from processes import below
from test_kill_resume import assert_same_files, newest_step
from test_replicas import Runs, assert_close, draw_noise, history
from tiny_run import worker_environments

from tfcyclegan.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
SETTINGS = [
    *("--data", "shapes", "--image-size", "16", "--batch-size", "4", "--precision", "float32"),
    *("--filters", "4", "--blocks", "1", "--discriminator-filters", "4"),
    *("--discriminator-layers", "1", "--pool-size", "5", "--dropout", "0.3"),
    *("--epochs", "6", "--steps-per-epoch", "20", "--checkpoint-steps", "7"),
    *("--deterministic", "--no-tensorboard", "--no-export", "--resume"),
]
STEPS = 120

pytestmark = pytest.mark.slow


def train(environment, run_dir, *options, cwd=None):
    """A worker of a run."""
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", *SETTINGS, "--run-dir", run_dir, *options],
        env={**os.environ, **environment, "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=cwd,
    )


def wait_for(condition, workers, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert all(worker.poll() is None for worker in workers), [w.communicate() for w in workers]
        assert time.monotonic() < deadline
        time.sleep(0.02)


def last_state(run_dir):
    """Everything in the newest checkpoint, all workers' parts of it."""
    newest = Checkpoints(run_dir / "checkpoints").paths()[0]
    state = {}
    for path in sorted(newest.parent.glob(f"{newest.stem}*.npz")):
        with np.load(path) as file:
            names = json.loads(bytes(file["meta"]))["names"]
            state |= {name: file[str(place)] for place, name in enumerate(names)}
    return state


@pytest.fixture(scope="module")
def straight(tmp_path_factory):
    """The folder of an undisturbed run of two workers."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    workers = [train(environment, run_dir) for environment in worker_environments()]
    for worker in workers:
        out, err = worker.communicate(timeout=300)
        assert worker.returncode == 0, out + err
    return run_dir


def assert_same_outcome(run_dir, straight):
    assert newest_step(run_dir) == newest_step(straight) == STEPS
    expected, got = last_state(straight), last_state(run_dir)
    assert expected.keys() == got.keys()
    assert {"pool_A/000/images", "replica_1/pool_A/000/images"} <= expected.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert_same_files(run_dir, straight)


def trained_by_two(tmp_path, **options):
    """The outcomes of two workers that train on `tmp_path / "data"`."""
    workers = [Runs(tmp_path / "data", environment) for environment in worker_environments()]
    outs = [tmp_path / f"{index}.npz" for index in range(2)]
    for worker, out in zip(workers, outs, strict=True):
        worker.start("multiworker", out, **options)
    outcomes = [worker.outcome(out) for worker, out in zip(workers, outs, strict=True)]
    for worker in reversed(workers):  # a worker does not outlive the chief
        worker.close()
    return outcomes


def test_two_workers_are_one_process_with_the_whole_batch(tmp_path):
    """Weights and losses are the same after several epochs, and on both workers."""
    folder = draw_noise(tmp_path / "data")
    one_process = Runs(folder)
    one_process.start("none", tmp_path / "one.npz", epochs=3)
    chief, other = trained_by_two(tmp_path, epochs=3)
    assert_close(one_process.outcome(tmp_path / "one.npz"), chief)
    one_process.close()
    assert "val_loss" in history(chief)
    for name, value in chief.items():
        if not name.startswith("replica_"):
            np.testing.assert_array_equal(value, other[name], err_msg=name)


def test_an_overflow_only_on_the_second_worker(tmp_path):
    """Both workers skip the step."""
    draw_noise(tmp_path / "data")
    chief, other = trained_by_two(
        tmp_path, epochs=2, precision="mixed_float16", pool_size=3, overflow=9
    )
    assert chief["step"] == 12
    assert chief["discriminator_optimizer/iterations"] < 12
    for name, value in chief.items():
        if not name.startswith("replica_"):
            np.testing.assert_array_equal(value, other[name], err_msg=name)
            assert name == "history" or np.isfinite(value).all(), name
    pools = chief["replica_0/pool_A/000/images"], other["replica_1/pool_A/000/images"]
    assert not np.array_equal(*pools)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGSTOP])
@pytest.mark.parametrize("victim", [0, 1])
def test_a_lost_worker_ends_the_other(victim, number, tmp_path):
    """Within 30 s, with one line that says how to continue, whether the worker died or hangs."""
    workers = [train(environment, tmp_path / "run") for environment in worker_environments()]
    wait_for(lambda: newest_step(tmp_path / "run") >= 14, workers)
    lost, left = workers[victim], workers[1 - victim]
    time.sleep(random.Random(f"{victim}{number}").random())
    lost.send_signal(number)
    began = time.monotonic()
    try:
        _, err = left.communicate(timeout=60)
    finally:
        lost.kill()
        lost.communicate()
        left.kill()
    assert time.monotonic() - began < 30
    assert left.returncode == 75, err
    line = next(line for line in err.splitlines() if line.startswith("tfcyclegan:"))
    newest = Checkpoints(tmp_path / "run/checkpoints").paths()[0]
    assert "another worker was lost" in line
    assert f"--resume and --run-dir {tmp_path}/run to go on from {newest}" in line
    assert "Traceback" not in err


@pytest.mark.parametrize("seed", [0, 1])
def test_restarted_after_kills_at_random_moments(seed, straight, tmp_path):
    """SIGKILL to either worker, three times at random moments. Then all start again."""
    moments = random.Random(seed)
    run_dir = tmp_path / "run"
    resumed = 0
    for attempt in range(4):
        workers = [train(environment, run_dir) for environment in worker_environments()]
        if attempt < 3:
            target = min(newest_step(run_dir) + moments.randint(1, 30), 100)
            wait_for(lambda target=target: newest_step(run_dir) >= target, workers)
            time.sleep(moments.random() * 0.5)
            victim = moments.choice([0, 1])
            workers[victim].kill()
        errors = [worker.communicate(timeout=300)[1] for worker in workers]
        resumed += bool(re.search(r"resuming from .*, step \d+ of 120", errors[0]))
        if attempt < 3:
            assert workers[victim].returncode == -signal.SIGKILL, errors
            assert workers[1 - victim].returncode == 75, errors
    assert [worker.returncode for worker in workers] == [0, 0], errors
    assert resumed >= 2
    files = [path.name for path in (run_dir / "checkpoints").iterdir()]
    assert all(re.fullmatch(r"step_\d+(\.worker_[01]_of_2)?\.npz", name) for name in files), files
    assert_same_outcome(run_dir, straight)


def test_ray_replaces_a_killed_worker(straight, tmp_path):
    """`--strategy ray` starts two workers, one is killed, and the result is that of `straight`."""
    run_dir = tmp_path / "run"
    options = ["--strategy", "ray", "--workers", "2", "--run-dir", run_dir]
    with subprocess.Popen(
        [sys.executable, ROOT / "train.py", *SETTINGS, *options],
        env={**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2", "RAY_ADDRESS": "local"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=tmp_path,
    ) as driver:
        killed = False
        said = []
        for line in driver.stdout:
            said.append(line)
            if not killed and newest_step(run_dir) >= 14:
                workers = below(driver.pid, "RayTrainWorker")
                if len(workers) == 2:
                    workers[1].kill()
                    killed = True
    assert driver.returncode == 0, "".join(said)
    assert killed
    assert any("resuming from" in line for line in said)
    assert_same_outcome(run_dir, straight)


def test_sigterm_to_one_worker(straight, tmp_path):
    """Both save and end. Restarted, they reach the same outcome."""
    run_dir = tmp_path / "run"
    workers = [train(environment, run_dir) for environment in worker_environments()]
    wait_for(lambda: newest_step(run_dir) >= 14, workers)
    workers[1].send_signal(signal.SIGTERM)
    for worker in workers:
        out, err = worker.communicate(timeout=60)
        assert worker.returncode == 128 + signal.SIGTERM, err
        step = int(re.search(r"step_0*(\d+)\.npz is saved", out).group(1))
        assert step == newest_step(run_dir)
    workers = [train(environment, run_dir) for environment in worker_environments()]
    for worker in workers:
        out, err = worker.communicate(timeout=300)
        assert worker.returncode == 0, out + err
    assert_same_outcome(run_dir, straight)


@pytest.mark.parametrize("damage", ["missing", "cut short", "of another attempt"])
def test_half_written_checkpoint_is_not_read(damage, straight, tmp_path):
    """If a part is missing or damaged, both workers read the checkpoint before."""
    run_dir = tmp_path / "run"
    workers = [train(environment, run_dir) for environment in worker_environments()]
    wait_for(lambda: newest_step(run_dir) >= 28, workers)
    for worker in workers:
        worker.kill()
        worker.communicate()
    newest, before, *_ = Checkpoints(run_dir / "checkpoints").paths()
    part = newest.with_name(f"{newest.stem}.worker_1_of_2.npz")
    if damage == "missing":
        part.unlink()
    elif damage == "cut short":
        part.write_bytes(part.read_bytes()[:2000])
    else:
        part.write_bytes(before.with_name(f"{before.stem}.worker_1_of_2.npz").read_bytes())
    workers = [train(environment, run_dir) for environment in worker_environments()]
    for worker in workers:
        out, err = worker.communicate(timeout=300)
        assert worker.returncode == 0, out + err
        assert f"{newest} is damaged" in err
    assert_same_outcome(run_dir, straight)


def test_workers_of_other_settings_or_without_a_common_folder(tmp_path):
    """Both workers end, with one line that names the difference."""
    one, other = worker_environments()
    workers = [
        train(one, tmp_path / "run"),
        train(other, tmp_path / "run", "--learning-rate", "0.001"),
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert workers[1].returncode == 2, errors
    assert "--learning-rate was 0.0003, now 0.001" in errors[1]
    assert workers[0].returncode == 75, errors
    one, other = worker_environments()
    places = [tmp_path / "here", tmp_path / "there"]
    for place in places:
        place.mkdir()
    workers = [
        train(environment, "run", cwd=place)
        for environment, place in zip((one, other), places, strict=True)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    for worker, error in zip(workers, errors, strict=True):
        assert worker.returncode == 2, errors
        assert "set --run-dir to a folder that all workers share" in error
    assert not Checkpoints(places[0] / "run/checkpoints").paths()


def test_a_folder_that_one_worker_does_not_see(straight, tmp_path):
    """Both workers say so. The checkpoints stay, and nothing starts afresh."""
    places = [tmp_path / "here", tmp_path / "there"]
    shutil.copytree(straight, places[0] / "run")
    places[1].mkdir()
    files = sorted(path.name for path in (places[0] / "run/checkpoints").iterdir())
    workers = [
        train(environment, "run", "--epochs", "7", cwd=place)
        for environment, place in zip(worker_environments(), places, strict=True)
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    for worker, error in zip(workers, errors, strict=True):
        assert worker.returncode == 2, errors
        assert "see that every worker reaches the run's folder" in error
    assert sorted(path.name for path in (places[0] / "run/checkpoints").iterdir()) == files


def test_collective_timeout(tmp_path):
    """If a worker is alive but does nothing, the message names the timeout."""
    script = tmp_path / "waits.py"
    script.write_text(
        "import os, time\n"
        "from tfcyclegan.distributed.workers import Workers, make_strategy\n"
        "strategy = make_strategy('multiworker', start_timeout=60, collective_timeout=4)\n"
        "workers = Workers(strategy)\n"
        "with workers.watched():\n"
        "    assert workers.all_reduce([1, 2]) == [2, 4]\n"
        "    if workers.chief:\n"
        "        time.sleep(15)\n"
        "    workers.all_reduce([1, 2])\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, script],
            env={**os.environ, **environment, "TF_CPP_MIN_LOG_LEVEL": "2"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for environment in worker_environments()
    ]
    errors = [worker.communicate(timeout=120)[1] for worker in workers]
    assert workers[1].returncode == 75, errors
    assert (
        "a worker kept the others waiting for more than 4 s (see `collective_timeout`)" in errors[1]
    )
    assert "another worker was lost" in errors[0]


def test_callbacks_that_do_not_work_with_several_workers(tmp_path):
    """Keras's are refused by name, and ours if only one worker has them."""
    script = tmp_path / "callbacks.py"
    script.write_text(
        "import keras, tfcyclegan\n"
        "from tiny_run import networks\n"
        "strategy = tfcyclegan.make_strategy('multiworker')\n"
        "data = tfcyclegan.load_data('shapes', image_size=16, batch_size=2, steps_per_epoch=2)\n"
        "with strategy.scope():\n"
        "    model = tfcyclegan.CycleGAN(**networks('float32'), image_size=16, pool_size=0)\n"
        "    model.compile()\n"
        "state = tfcyclegan.ResumableState('checkpoints', data)\n"
        "for callbacks in (\n"
        "    [keras.callbacks.ModelCheckpoint('{epoch}.keras')],\n"
        "    [keras.callbacks.BackupAndRestore('backup')],\n"
        "    [state] if model.workers.chief else [],\n"
        "):\n"
        "    try:\n"
        "        model.fit(data.train, callbacks=callbacks, verbose=0)\n"
        "    except ValueError as problem:\n"
        "        print(problem)\n"
    )
    workers = [
        subprocess.Popen(
            [sys.executable, script],
            env={**os.environ, **environment, "PYTHONPATH": f"{ROOT}:{ROOT}/tests"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        )
        for environment in worker_environments()
    ]
    for worker in workers:
        out, err = worker.communicate(timeout=120)
        assert worker.returncode == 0, err
        first, second, third = out.splitlines()
        assert first.startswith("ModelCheckpoint does not work with several workers")
        assert second.startswith("BackupAndRestore does not work with several workers")
        assert third.startswith(
            "ResumableState and StopOnSignal must run on all workers or on none"
        )
    assert [path.name for path in tmp_path.iterdir()] == ["callbacks.py"]


def test_ray_passes_on_a_workers_error(run_python, tmp_path, monkeypatch):
    """As the same `InputError`, not as an error of Ray."""
    monkeypatch.setenv("RAY_ADDRESS", "local")
    said = run_python(
        "import sys\n"
        "from tfcyclegan import InputError\n"
        "from tfcyclegan.training.config import Config\n"
        "from tfcyclegan.training.on_ray import train_on_ray\n"
        "ray = {'strategy': 'ray', 'workers': 2}\n"
        "for config in (\n"
        "    Config(**ray),\n"
        "    Config(data='nowhere', run_dir=sys.argv[1], batch_size=2, **ray),\n"
        "):\n"
        "    try:\n"
        "        train_on_ray(config, restarts=0)\n"
        "    except InputError as problem:\n"
        "        print('refused:', problem)\n",
        tmp_path / "run",
    )
    refused = [line for line in said.splitlines() if line.startswith("refused: ")]
    assert len(refused) == 2
    assert "`run_dir` is not set: name a folder" in refused[0]
    assert "nowhere: there is no such folder" in refused[1]
    assert not (tmp_path / "run").exists()
