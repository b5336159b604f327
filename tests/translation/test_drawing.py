"""One picture through a generator, whatever its size."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from translating import by_hand, noise, pixels_of, refused, save, small, translate

from tfcyclegan import InputError
from tfcyclegan.runtimes.keras_model import KerasRuntime
from tfcyclegan.runtimes.litert import LiteRTRuntime
from tfcyclegan.translation import streaming
from tfcyclegan.translation.drawing import draw, parse_size, working_size


def test_parse_size():
    assert parse_size("256") == (None, 256)
    assert parse_size(" 120x80 ") == (120, 80)
    for text in ("0", "x", "3x", "10x0", "-4", "1.5"):
        with pytest.raises(InputError, match="image_size="):
            parse_size(text)


def test_results_are_scaled_back(forms):
    save("a.png", noise(60, 40))
    assert translate("a.png", "--model", forms / "run", "--to", "out", "--image-size", 20) == 0
    small_one = Image.fromarray(noise(60, 40)).resize((30, 20), Image.Resampling.BICUBIC)
    drawn = by_hand(small(1), np.asarray(small_one))
    truth = np.asarray(Image.fromarray(drawn).resize((60, 40), Image.Resampling.BICUBIC))
    assert np.abs(pixels_of("out/a.png") - truth).max() <= 2


def test_large_pictures_on_the_command_line(forms, monkeypatch, capsys):
    """A Keras model gives the untiled result. Others refuse or use independent tiles."""
    pixels = noise(150, 101)
    save("large.png", pixels)
    monkeypatch.setattr(KerasRuntime, "max_pixels", 5000)
    monkeypatch.setattr(streaming, "STRIP_BYTES", 2**14)
    assert translate("large.png", "--model", forms / "run", "--to", "out") == 0
    assert np.abs(pixels_of("out/large.png") - by_hand(small(1), pixels)).max() <= 1

    assert translate("large.png", "--model", forms / "export", "--to", "refused") == 1
    assert "150×101 px are more than the 9000" in capsys.readouterr().out
    assert not Path("refused/large.png").exists()
    for model in ("fixed.tflite", "dynamic.tflite", "export"):
        monkeypatch.setattr("tfcyclegan.translation.drawing.TILE", 48)
        monkeypatch.setattr(LiteRTRuntime, "max_pixels", 5000)
        arguments = ("--model", forms / model, "--to", f"tiles-{model}", "--independent-tiles")
        assert translate("large.png", *arguments) == 0
        assert Image.open(f"tiles-{model}/large.png").size == (150, 101)


def test_a_fixed_file_refuses_another_size(forms, capsys):
    save("a.png")
    refused(capsys, "takes only 16x24", "a.png", "--model", forms / "fixed.tflite", "--to", "out",
            "--image-size", "32x32")  # fmt: skip
    assert not Path("out").exists()
    runtime = LiteRTRuntime(forms / "fixed.tflite")
    assert working_size("16x24", runtime) == (16, 24)
    assert working_size(None, runtime) is None
    with pytest.raises(InputError, match="image_size=24: "):
        working_size("24", runtime)


def test_grey_generators(tmp_path):
    runtime = KerasRuntime(small(5, channels=1), "grey")
    drawn = draw(Image.fromarray(noise(20, 12)), runtime, None, False, tmp_path)
    assert (drawn.mode, drawn.size) == ("L", (20, 12))
