"""`tfcyclegan segmenter`, and what it is for."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfcyclegan.cli import main

TINY = ["--image-size", "16", "--filters", "2", "--epochs", "1", "--batch-size", "2"]


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """Photographs and label maps of two classes."""
    monkeypatch.chdir(tmp_path)
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        for number in range(2):
            label = 255 * random.integers(0, 2, (16, 16, 1)).repeat(3, 2)
            for domain, pixels in (("A", 255 - label), ("B", label)):
                path = Path(f"data/{split}{domain}/{number}.png")
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    Path("classes.txt").write_text("#000000 roof\n#ffffff wall\n")
    return ["--data", "data", "--palette", "classes.txt"]


def test_a_segmenter_scores_what_F_generates(pairs, capsys):
    assert main(["segmenter", *pairs, "--to", "s.keras", *TINY]) == 0
    printed = capsys.readouterr().out
    assert "epoch 1/1: loss" in printed
    assert "the ceiling" in printed
    networks = ["--blocks", "0", "--discriminator-filters", "2", "--discriminator-layers", "1"]
    run = [
        "--data",
        "data",
        "--paired",
        "--segmenter",
        "s.keras",
        "--run-dir",
        "run",
        "--no-export",
    ]
    assert main(["train", *run, *TINY, *networks, "--steps-per-epoch", "1", "--no-export"]) == 0
    result = json.loads(Path("run/result.json").read_text())["evaluation"]
    assert set(result["scores"]["BtoA"]["class_iou"]) == {"translated", "untouched", "real"}
    assert set(result["scores"]["AtoB"]["class_iou"]) == {"translated", "untouched"}
    assert result["segmenter"] == {"name": "s", "palette": "classes.txt"}


def refused(capsys, message, *arguments):
    assert main(["segmenter", *arguments]) == 2
    assert message in capsys.readouterr().err


def test_what_is_refused(pairs, capsys):
    refused(capsys, "--to s.h5: name a .keras file", *pairs, "--to", "s.h5")
    refused(capsys, "--epochs 0: must be at least 1", *pairs, "--to", "s.keras", "--epochs", "0")
    refused(capsys, "must be below 2**32", *pairs, "--to", "s.keras", "--seed", str(2**32))
    Path("s.keras").write_text("mine")
    refused(capsys, "there is something already: give another --to", *pairs, "--to", "s.keras")
    assert Path("s.keras").read_text() == "mine"
    assert main(["train", "--data", "data", "--segmenter", "s.keras", "--image-size", "16"]) == 2
    assert "s.keras: not a model that Keras can load" in capsys.readouterr().err
