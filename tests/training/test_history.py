"""The table and the curves that `HistoryFile` writes."""

import csv

import numpy as np
import pytest
from PIL import Image
from tiny_run import StopAt

from tfcyclegan import ResumableState
from tfcyclegan.training import history
from tfcyclegan.training.history import HistoryFile


def rows(path):
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_row_for_each_epoch(start, data, fit, tmp_path):
    fit(start(), data(), HistoryFile(tmp_path))
    found = rows(tmp_path / "history.csv")
    assert [row["epoch"] for row in found] == ["1", "2", "3"]
    assert [row["step"] for row in found] == ["5", "10", "15"]
    assert all(float(row["cycle_A"]) > 0 for row in found)
    assert all(float(row["seconds_per_step"]) > 0 for row in found)
    assert np.asarray(Image.open(tmp_path / "curves.png").convert("L")).std() > 10


def test_a_resumed_history_has_every_epoch_once(start, data, fit, tmp_path, monkeypatch):
    monkeypatch.setattr(history.HistoryFile, "_draw", lambda self: None)
    fit(start(), data(), HistoryFile(tmp_path / "straight"))
    with pytest.raises(KeyboardInterrupt):
        fit(start(), d := data(), HistoryFile(tmp_path), ResumableState(tmp_path, d, 1), StopAt(8))
    fit(start(), d := data(), HistoryFile(tmp_path), ResumableState(tmp_path, d, 1))
    resumed, straight = rows(tmp_path / "history.csv"), rows(tmp_path / "straight" / "history.csv")
    for row in resumed + straight:
        del row["seconds_per_step"]
    assert resumed == straight
