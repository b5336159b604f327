"""Names of run folders, finding runs, opening them, and refusing folders that are in use."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from tfcyclegan import CycleGAN, InputError
from tfcyclegan.training.config import Config
from tfcyclegan.training.run_folder import (
    check_run_folder,
    free_run_dir,
    name_of,
    newest_run,
    open_run,
    run_folder,
)


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs every test in an empty folder."""
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("data", "name"),
    [("shapes", "shapes"), ("a/maps.zip", "maps"), ("a/My Pictures.zip:x y/", "x_y"), ("/", "run")],
)
def test_names(data, name):
    assert name_of(data) == name
    assert free_run_dir(data) == Path("runs", name)
    Path("runs", name).mkdir(parents=True)
    Path("runs", f"{name}-2").mkdir()
    assert free_run_dir(data) == Path("runs", f"{name}-3")


def test_newest_run():
    assert newest_run() is None
    for age, data in enumerate(("maps", "shapes", "imported")):
        path = Path("runs", data, "config.json")
        Config(data=data).save(path)
        os.utime(path, (age, age))
    Path("runs/imported/model.keras").touch()
    assert newest_run() == Path("runs/shapes")
    assert newest_run("maps") == Path("runs/maps")
    assert newest_run("facades") is None


def test_run_folder(trained):
    directory = trained.directory
    assert run_folder(directory) == directory
    assert run_folder(directory / "best.keras") == directory
    assert run_folder(directory / "history.csv") is None
    assert run_folder(directory.parent) is None


def test_open_run(trained):
    model, config, name = open_run(str(trained.directory))
    assert isinstance(model, CycleGAN)
    assert (config.data, config.image_size, name) == ("shapes", 16, "run")
    _, config, name = open_run(str(trained.directory / "best.keras"), data="maps")
    assert (config.data, config.filters, name) == ("maps", 2, "run-best")
    Path("mine.keras").write_bytes((trained.directory / "model.keras").read_bytes())
    _, config, name = open_run("mine.keras", data="maps")
    assert (config, name) == (Config(data="maps", image_size=16), "mine")
    Path("letter.txt").touch()
    Path("empty").mkdir()
    for path, message in (
        ("mine.keras", "a file does not say what to measure on: pass `data`"),
        ("letter.txt", "give a run folder or a .keras file"),
        ("empty", "no config.json"),
        ("missing", "there is no such file or folder"),
    ):
        with pytest.raises(InputError, match=message):
            open_run(path)


def test_check_run_folder(tiny):
    run = Path("run")

    def refused(message, resume, config=tiny):
        with pytest.raises(InputError, match=message):
            check_run_folder(run, config, resume)

    check_run_folder(run, tiny, resume=False)
    run.mkdir()
    (run / ".config.part-1.json").touch()  # of a killed process
    check_run_folder(run, tiny, resume=False)
    assert not list(run.iterdir())
    (run / "letter.txt").touch()
    refused("run_dir=run: there is a run already: pass resume=True", resume=False)
    refused("run_dir=run: not a run folder: it has no config.json", resume=True)
    tiny.save(run / "config.json")
    check_run_folder(run, tiny, resume=True)
    refused("other settings: `filters` was 2, now 3", True, replace(tiny, filters=3))
    (run / "model.keras").touch()
    refused("holds a model and no checkpoint to go on from: .*initial_weights=run", resume=True)
    Path("file").touch()
    run = Path("file")
    refused("run_dir=file: that is a file", resume=False)
