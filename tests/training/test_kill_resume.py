"""Real processes that are killed at random moments and resumed."""

import json
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from tfcyclegan.training.checkpoints import Checkpoints

ROOT = Path(__file__).parents[2]
SETTINGS = [
    *("--data", "shapes", "--image-size", "16", "--batch-size", "2", "--filters", "8"),
    *("--blocks", "2", "--discriminator-filters", "8", "--discriminator-layers", "1"),
    *("--dropout", "0.3", "--pool-size", "5", "--epochs", "4", "--steps-per-epoch", "60"),
    *("--checkpoint-steps", "7", "--deterministic", "--no-tensorboard", "--no-export"),
]
STEPS = 240

pytestmark = pytest.mark.slow


def start(run_dir, *options):
    return subprocess.Popen(
        [sys.executable, ROOT / "train.py", *SETTINGS, "--run-dir", run_dir, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(process, code=0):
    out, err = process.communicate(timeout=600)
    assert process.returncode == code, err
    return out, err


def newest_step(run_dir):
    paths = Checkpoints(run_dir / "checkpoints").paths()
    return int(paths[0].stem.removeprefix("step_")) if paths else 0


def last_state(run_dir):
    with np.load(Checkpoints(run_dir / "checkpoints").paths()[0]) as file:
        return {name: file[name] for name in file.files}


@pytest.fixture(scope="module", params=["float32", "mixed_bfloat16"])
def straight(request, tmp_path_factory):
    """An undisturbed run, and its precision."""
    run_dir = tmp_path_factory.mktemp("straight") / "run"
    finish(start(run_dir, "--precision", request.param))
    return run_dir, request.param


def assert_same_outcome(run_dir, straight):
    assert newest_step(run_dir) == newest_step(straight) == STEPS
    expected, got = last_state(straight), last_state(run_dir)
    assert expected.keys() == got.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(got[name], value, err_msg=name)
    assert_same_files(run_dir, straight)


def assert_same_files(run_dir, straight):
    """The history without its seconds, the scores, and the last grid."""

    def history(directory):
        lines = (directory / "history.csv").read_text().splitlines()
        place = lines[0].split(",").index("seconds_per_step")
        return [[v for i, v in enumerate(line.split(",")) if i != place] for line in lines]

    assert history(run_dir) == history(straight)
    scores = [
        json.loads((d / "result.json").read_text())["evaluation"]["scores"]
        for d in (run_dir, straight)
    ]
    assert scores[0] == scores[1]
    grids = [sorted((d / "samples").iterdir()) for d in (run_dir, straight)]
    assert [g.name for g in grids[0]] == [g.name for g in grids[1]]
    assert grids[0][-1].read_bytes() == grids[1][-1].read_bytes()


def test_killed_at_random_moments(straight, tmp_path):
    """SIGKILL four times, at any moment. The outcome equals that of the undisturbed run."""
    undisturbed, precision = straight
    run_dir = tmp_path / "run"
    moments = random.Random(precision)
    process = start(run_dir, "--resume", "--precision", precision)
    time.sleep(moments.uniform(2, 9))  # while it imports, builds or takes its first steps
    process.kill()
    process.communicate()
    kills, before = 1, newest_step(run_dir)
    while True:
        process = start(run_dir, "--resume", "--precision", precision)
        target = before + moments.randint(1, 70)
        while process.poll() is None and newest_step(run_dir) < target and kills < 4:
            time.sleep(0.01)
        if kills == 4 or process.poll() is not None:
            _, err = finish(process)
            break
        time.sleep(moments.random() * 0.5)
        process.kill()
        process.communicate()
        kills += 1
        before = newest_step(run_dir)
    assert kills == 4
    resumed = int(re.search(r"resuming from .*, step (\d+) of 240", err).group(1))
    assert resumed == before
    names = [path.name for path in (run_dir / "checkpoints").iterdir()]
    assert all(re.fullmatch(r"step_\d+\.npz", name) for name in names)  # no half-written ones
    assert_same_outcome(run_dir, undisturbed)


def test_asked_to_stop(straight, tmp_path):
    """It finishes the step, saves, says how to continue, and continues to the same outcome.

    With bfloat16 the new checkpoint is then damaged, as by a failing disk: a warning names it, and
    the one before it is used.
    """
    undisturbed, precision = straight
    number = signal.SIGTERM if precision == "float32" else signal.SIGINT
    run_dir = tmp_path / "run"
    process = start(run_dir, "--precision", precision)
    while newest_step(run_dir) < 14:  # two checkpoints
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(number)
    out, _ = finish(process, code=128 + number)
    step = int(re.search(r"step_0*(\d+)\.npz is saved", out).group(1))
    assert step == newest_step(run_dir)
    assert f"python -m tfcyclegan train --resume --run-dir {run_dir}" in out
    newest, before, *_ = Checkpoints(run_dir / "checkpoints").paths()
    if precision != "float32":
        newest.write_bytes(newest.read_bytes()[:5000])
    _, err = finish(start(run_dir, "--resume", "--precision", precision))
    if precision != "float32":
        assert f"{newest} is damaged" in err
        assert f"resuming from {before}" in err
    assert_same_outcome(run_dir, undisturbed)
