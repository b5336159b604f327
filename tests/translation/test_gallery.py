"""Comparison pictures and the page that shows them."""

import os
import re
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from translating import noise, pixels_of, save, small, translate

from tfcyclegan import InputError
from tfcyclegan.runtimes.opening import open_runtime
from tfcyclegan.translation.gallery import write_comparison, write_gallery
from tfcyclegan.translation.pipeline import translate_files


def test_side_by_side(forms, capsys):
    """The page finds the comparison pictures whatever their names are."""
    save("in/plain.png", noise(40, 20))
    save('in/sub dir/a"b<c>&#é %41.png', noise(20, 30))
    arguments = ("--model", forms / "run", "--to", "out", "--side-by-side")
    assert translate("in", *arguments) == 0
    assert "gallery: out/index.html" in capsys.readouterr().out
    page = Path("out/index.html").read_text(encoding="utf-8")
    sources = re.findall(r'<img src="([^"]*)"', page)
    assert len(sources) == 4
    assert all(re.fullmatch(r"side-by-side/[\w./%~-]+\.jpg", source) for source in sources)
    for source in sources:
        assert Path("out", unquote(source)).exists()
    assert "<c>" not in page
    assert "<title>out AtoB</title>" in page
    assert "http" not in page
    both = pixels_of("out/side-by-side/plain.png.jpg")
    assert both.shape == (20, 80, 3)
    assert np.abs(both[:, :40] - noise(40, 20)).mean() < 12
    assert np.abs(both[:, 40:] - pixels_of("out/plain.png")).mean() < 12
    # An existing page is not overwritten.
    with pytest.raises(InputError, match=r"out/index.html exists already"):
        list(translate_files([], open_runtime(small(1)), "out", side_by_side=True))
    # Continuing also shows earlier pictures and skips files that are not pictures.
    Path("out/side-by-side/broken.jpg").write_text("no picture")
    save("in/more.png", noise(16, 16))
    assert translate("in", *arguments, "--skip-existing") == 0
    assert len(re.findall("<figure", Path("out/index.html").read_text(encoding="utf-8"))) == 3


def test_comparison_pictures_fit_on_a_screen():
    assert write_gallery(Path("out"), "nothing") is None
    wide = Image.fromarray(noise(2000, 8))
    write_comparison(wide, wide, Path("out"), "wide.png")
    assert Image.open("out/side-by-side/wide.png.jpg").size == (3200, 6)
    assert write_gallery(Path("out"), "a title") == Path("out/index.html")


def test_names_that_are_no_text(forms):
    name = os.fsdecode(b"caf\xe9.png")
    save(f"in/{name}", noise(16, 16))
    assert translate("in", "--model", forms / "run", "--to", "out", "--side-by-side") == 0
    assert Path("out", name).exists()
    assert "caf%E9.png.jpg" in Path("out/index.html").read_text(encoding="utf-8")
