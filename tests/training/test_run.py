"""A run from Python, and what several workers must have in common."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

from tfcyclegan import InputError
from tfcyclegan.training.config import Config
from tfcyclegan.training.run import Run, _agree_on_settings, _check_same_data, train


class Follower:
    """A second worker, to which the chief sends `text`."""

    index = 1

    def __init__(self, text):
        self._text = text

    def broadcast(self, _):
        return self._text


def test_a_run(trained):
    assert isinstance(trained, Run)
    assert {path.name for path in trained.directory.iterdir()} == {
        "best.json", "best.keras", "checkpoints", "config.json", "curves.png", "history.csv",
        "model.keras", "report.html", "result.json", "samples",
    }  # fmt: skip
    result = json.loads((trained.directory / "result.json").read_text())
    assert result["steps"] == int(trained.model.step.numpy()) == 6
    assert result["losses"]["epoch"] == 2
    assert not any(name.startswith("AtoB_") for name in result["losses"])
    assert result["best"] == trained.best
    assert result["evaluation"] == trained.evaluation.to_dict()
    assert trained.best["metric"] == "psnr"
    assert trained.grid == trained.directory / "samples" / "epoch_0002.png"
    assert trained.data.test_set.truth_A is not None


def test_refusals(tiny, folder, tmp_path):
    with pytest.raises(InputError, match="`run_dir` is not set"):
        train(tiny)
    for split in ("testA", "testB"):
        for path in (folder / split).iterdir():
            path.unlink()
        (folder / split).rmdir()
    config = dataclasses.replace(
        tiny, data=str(folder), evaluate_every=1, run_dir=str(tmp_path / "run")
    )
    with pytest.raises(InputError, match=r"evaluate_every=1: .* has no test pictures"):
        train(config)
    assert not (tmp_path / "run").exists()


def test_agree_on_settings(tiny):
    chief = dataclasses.replace(tiny, cache_dir="/chief").resolved()
    mine = dataclasses.replace(tiny, cache_dir="/mine", sample_every=5).resolved()
    agreed = _agree_on_settings(mine, Follower(chief.to_json()))
    assert agreed == dataclasses.replace(chief, cache_dir="/mine")
    other = Config(filters=3).resolved()
    with pytest.raises(InputError, match=r"worker 1 has other settings .*`filters` was 2, now 3"):
        _agree_on_settings(other, Follower(chief.to_json()))


def test_check_same_data():
    data = SimpleNamespace(name="maps", counts={"trainA": 5}, steps_per_epoch=5)
    _check_same_data(data, Follower(json.dumps([{"trainA": 5}, 5])))
    with pytest.raises(InputError, match=r"maps: worker 1 has .*5.* but the chief has .*4"):
        _check_same_data(data, Follower(json.dumps([{"trainA": 4}, 4])))
