"""Grids of pictures and curves as figures."""

import numpy as np
from PIL import Image

from tfcyclegan.training.plots import draw_grid, loss_curves, score_curves

ROWS = [
    {"epoch": "1", "G_loss": "2.0", "val_G_loss": "2.5", "AtoB_psnr": "20"},
    {"epoch": 2, "G_loss": "1.0", "val_G_loss": "", "AtoB_psnr": "21"},
]


def test_draw_grid(tmp_path):
    red, grey = np.full((8, 8, 3), (255, 0, 0), np.uint8), np.full((8, 8, 1), 9, np.uint8)
    draw_grid({"red": [red, red], "grey": [grey]}, tmp_path / "grid.png")
    with Image.open(tmp_path / "grid.png") as grid:
        assert grid.size == (2 * 128 + 4, 22 + 128)  # as many rows as the shortest column
        assert grid.getpixel((64, 80)) == (255, 0, 0)
        assert grid.getpixel((196, 80)) == (9, 9, 9)


def test_loss_curves():
    axes = [axes for axes in loss_curves(ROWS).axes if axes.has_data()]
    assert [a.get_title() for a in axes] == ["adversarial"]
    train, test = axes[0].lines
    assert train.get_ydata().tolist() == [2, 1]
    assert test.get_ydata().tolist() == [2.5]
    assert test.get_label() == "G_loss, test pictures"
    assert test.get_color() == train.get_color()


def test_score_curves():
    figure = score_curves(ROWS, {"psnr": "PSNR", "kid": "KID"})
    assert [axes.get_title() for axes in figure.axes if axes.has_data()] == ["PSNR"]
    assert score_curves(ROWS, {"kid": "KID"}) is None
