"""A tiny run that the tests of the commands share, and a check of their refusals."""

import contextlib
import io
import re
import shutil
from pathlib import Path

import pytest

from tfcyclegan.cli import main

#: A run of 6 steps of networks with a few hundred weights.
TINY = [
    "--image-size", "16", "--batch-size", "2", "--filters", "2", "--blocks", "1", "--epochs", "2",
    "--discriminator-filters", "2", "--discriminator-layers", "1", "--steps-per-epoch", "3",
    "--precision", "float32", "--pool-size", "3", "--no-export",
]  # fmt: skip


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs every test in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def tiny():
    """The options of the tiny run."""
    return TINY


@pytest.fixture
def train(tiny):
    """Runs `tfcyclegan train` with the options of the tiny run and these."""
    return lambda *options: main(["train", *tiny, *map(str, options)])


@pytest.fixture(scope="session")
def run_once(tmp_path_factory):
    """The folder in which the tiny run was trained, and what was printed. Do not change it."""
    folder = tmp_path_factory.mktemp("run")
    with contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert main(["train", *TINY, "--checkpoint-steps", "2"]) == 0
    return folder, printed.getvalue()


@pytest.fixture
def run(run_once, tmp_path):
    """A copy of the tiny run."""
    shutil.copytree(run_once[0], tmp_path, dirs_exist_ok=True)
    return Path("runs/shapes")


@pytest.fixture
def refused(capsys):
    """Checks that a command ends with 2 and one line on standard error that matches."""

    def check(message, *arguments):
        capsys.readouterr()
        assert main([*map(str, arguments)]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error), error
        assert error.count("\n") == 1
        assert "Traceback" not in error

    return check
