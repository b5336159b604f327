"""The command line: its options and exit codes, cheap imports, and the installed package."""

import dataclasses
import errno
import os
import re
import runpy
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.commands import train
from tfcyclegan.errors import Interrupted, NonFiniteLoss, PeerLost, Terminated
from tfcyclegan.training.config import Config
from tfcyclegan.training.measuring import Measuring

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs every test in an empty folder."""
    monkeypatch.chdir(tmp_path)


def test_every_setting_is_an_option_with_a_docstring(capsys, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["train.py", "--help"])
    with pytest.raises(SystemExit) as left:
        runpy.run_path(str(ROOT / "train.py"), run_name="__main__")
    assert left.value.code == 0
    printed = capsys.readouterr().out
    settings = {s.name for kind in (Config, Measuring) for s in dataclasses.fields(kind)}
    for name in settings - {"measuring"}:
        assert f"--{name.replace('_', '-')}" in printed
    training = ROOT / "tfcyclegan" / "training"
    source = "".join((training / name).read_text() for name in ("config.py", "measuring.py"))
    declared = re.findall(r'^    (\w+): .*=.*\n    """', source, re.M)
    assert set(declared) == settings


def test_a_mistyped_option_gets_a_hint(capsys):
    with pytest.raises(SystemExit) as left:
        main(["train", "--image-sise", "64"])
    assert left.value.code == 2
    assert "--image-size" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("problem", "code", "line"),
    [
        (InputError("image_size=250: take 252"), 2, "tfcyclegan: --image-size 250: take 252"),
        (InputError("odd\x1b[2J\nname"), 2, r"tfcyclegan: odd\x1b[2J\nname"),
        (NonFiniteLoss("cycle_A is nan"), 1, "tfcyclegan: cycle_A is nan"),
        (PeerLost("lost", "Start again"), 75, "tfcyclegan: lost: training cannot go on. "),
        (KeyboardInterrupt(), 130, "tfcyclegan: interrupted: "),
        (Terminated(), 143, "tfcyclegan: interrupted: "),
        (OSError(errno.ENOSPC, "no space"), 2, "tfcyclegan: the disk is full: make room"),
        (OSError(errno.EACCES, "denied", "x"), 2, "tfcyclegan: x: denied"),
    ],
)
def test_exit_codes(problem, code, line, capsys, monkeypatch):
    """Every error that a user can act on is one line."""

    def fail(*_):
        raise problem

    monkeypatch.setattr(train, "train", fail)
    assert main(["train"]) == code
    error = capsys.readouterr().err
    assert error.startswith(line)
    assert error.count("\n") == 1


def test_an_interrupted_run_says_how_to_continue(capsys, monkeypatch):
    def stop(*_):
        raise Interrupted(signal.SIGTERM, Path("my run/checkpoints/step_7.npz"))

    monkeypatch.setattr(train, "train", stop)
    assert main(["train"]) == 143
    assert "tfcyclegan train --resume --run-dir 'my run'" in capsys.readouterr().out


def test_another_backend():
    """One line and exit code 2 from the command, ImportError with that line from Python."""
    settings = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}

    def run(*arguments):
        return subprocess.run(
            [sys.executable, *arguments], capture_output=True, text=True, env=settings
        )

    done = run("-m", "tfcyclegan", "train")
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "set KERAS_BACKEND=tensorflow" in done.stderr
    done = run("-c", "from tfcyclegan import CycleGAN")
    assert "ImportError: Keras is set to the backend 'jax' by the environment" in done.stderr


def test_import_is_cheap(run_python):
    """Libraries for data sets, plots, exports and the command line are loaded when needed."""
    code = "import sys, keras, tensorflow; others = set(sys.modules); import tfcyclegan.cli"
    ours = set(run_python(f"{code}; print(*(set(sys.modules) - others))").split())
    assert not {name.partition(".")[0] for name in ours} & {
        "ai_edge_litert", "jinja2", "matplotlib", "ray", "rich", "scipy", "tensorboard",
        "tensorflow_datasets", "tensorflow_serving", "tyro",
    }  # fmt: skip
    assert not {"tfcyclegan.evaluation", "tfcyclegan.commands"} & ours


def test_the_wheel(tmp_path):
    """It holds every file of the package. Installed elsewhere, its console command runs."""
    python = [sys.executable, "-m"]
    subprocess.run(
        [*python, "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("tfcyclegan-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    files = [path for path in (ROOT / "tfcyclegan").rglob("*.*") if path.suffix != ".pyc"]
    assert {path.relative_to(ROOT).as_posix() for path in files} <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    site = tmp_path / "site"
    subprocess.run(
        [*python, "pip", "install", "--no-deps", "--no-index", "--target", site, wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = {**os.environ, "PYTHONPATH": str(site)}
    where = "import importlib.util; print(importlib.util.find_spec('tfcyclegan').origin)"
    said = [
        subprocess.run(
            command, env=settings, cwd=tmp_path, check=True, stdout=subprocess.PIPE, text=True
        ).stdout
        for command in ([sys.executable, "-c", where], [site / "bin" / "tfcyclegan", "--help"])
    ]
    assert said[0].strip() == str(site / "tfcyclegan" / "__init__.py")
    assert "Train a CycleGAN" in said[1]
