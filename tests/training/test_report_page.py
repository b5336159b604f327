"""The page of a run."""

import numpy as np
import pytest
from pages import Page
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.evaluation import Evaluation
from tfcyclegan.evaluation.result import Example
from tfcyclegan.training.report import write_report


def test_names_are_shown_as_text(tmp_path):
    """Folders and pictures can have any name."""
    folder = tmp_path / "<script>alert(1)<"
    folder.mkdir()
    pixels = np.zeros((8, 8, 3), np.uint8)
    found = Evaluation(
        data="<script>alert(2)",
        pictures={},
        scores={"AtoB": {"cycle_l1": {"translated": 0.1}}},
        examples={"AtoB": [Example("<img src=x>", pixels, pixels, pixels, 0.1)]},
    )
    text = write_report(folder, found).read_text()
    assert "<script>alert" not in text
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text
    assert len(Page(text).images) == 3


def test_a_report_of_what_is_there(tmp_path):
    """A folder with one good and one damaged grid makes a page."""
    (tmp_path / "samples").mkdir()
    (tmp_path / "samples" / "epoch_0001.png").write_bytes(b"damaged")
    Image.new("RGB", (8, 8)).save(tmp_path / "samples" / "epoch_0002.png")
    page = Page(write_report(tmp_path, None).read_text())
    assert len(page.images) == 1
    assert "epoch 2" in " ".join(page.words)
    for name, content in (
        ("history.csv", "a,b\n1,2\n"),
        ("history.csv", "epoch,loss\n1,much\n"),
        ("best.json", '{"metric": "psnr", "value": 1, "epoch": 1, "step": 1, "evaluation": {}}'),
        ("best.json", "[]"),
        ("best.json", '{"metric": "beauty", "value": 1, "evaluation": {"scores": {}}}'),
    ):
        (tmp_path / name).write_text(content)
        with pytest.raises(InputError, match=f"{name}: damaged"):
            write_report(tmp_path, None)
        (tmp_path / name).unlink()
