"""The page of a perceptual study: its pictures, its pairs, and what is refused."""

import json
import re

import numpy as np
import pytest
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.studies.perceptual import write_study


@pytest.fixture
def folders(tmp_path):
    """Six real pictures, and as many of two algorithms, whose colours tell them apart."""
    colours = {"real": (255, 0, 0), "one": (0, 255, 0), "two": (0, 0, 255)}
    for name, colour in colours.items():
        (tmp_path / name).mkdir()
        for index in range(6):
            pixels = np.full((20, 30 + index, 3), colour, np.uint8)
            pixels[0, 10] = index  # no two files are equal
            Image.fromarray(pixels).save(tmp_path / name / f"{index}.png")
    return tmp_path


def study_of(page):
    return json.loads(re.search(r"const STUDY = (.*);", page.read_text())[1])


def test_what_is_written(folders):
    fakes = {"CycleGAN <1>": folders / "one", "CoGAN": folders / "two"}
    page = write_study(
        folders / "real", fakes, folders / "study", practice=2, trials=4, size=16, seed=3
    )
    study = study_of(page)
    assert study["milliseconds"] == 1000
    assert "<1>" not in page.read_text()
    assert set(study["pairs"]) == set(fakes)
    files = {path.name for path in (folders / "study" / "pictures").iterdir()}
    named = {name for pairs in study["pairs"].values() for pair in pairs for name in pair}
    assert files == named
    assert len(files) == 18
    colours = {"CycleGAN <1>": (0, 255, 0), "CoGAN": (0, 0, 255)}
    for algorithm, pairs in study["pairs"].items():
        assert len(pairs) == 6
        for real, fake in pairs:
            assert re.fullmatch(r"[0-9a-f]{20}\.png", real)
            with Image.open(folders / "study" / "pictures" / real) as image:
                assert (image.size, image.getpixel((8, 8))) == ((16, 16), (255, 0, 0))
            with Image.open(folders / "study" / "pictures" / fake) as image:
                assert image.getpixel((8, 8)) == colours[algorithm]
    again = write_study(
        folders / "real", fakes, folders / "again", practice=2, trials=4, size=16, seed=3
    )
    assert again.read_text() == page.read_text()


def test_the_command(folders, capsys):
    options = ["--practice", "1", "--trials", "3", "--size", "16", "--to", str(folders / "out")]
    real = ["study", "--real", str(folders / "real")]
    assert (
        main([*real, "--fake", f"one={folders / 'one'}", f"t+w={folders / 'two'}", *options]) == 0
    )
    assert "index.html?algorithm=t%2Bw" in capsys.readouterr().out
    assert len(study_of(folders / "out" / "index.html")["pairs"]["t+w"]) == 4
    for fake, message in (
        ("one", "--fake one: give NAME=FOLDER"),
        (f"one={folders / 'one'}", "there is something already: give another --to"),
        (f"one={folders / 'none'}", "there is no such folder"),
    ):
        options[-1] += "/none" if "none" in fake else ""
        assert main([*real, "--fake", fake, *options]) == 2
        error = capsys.readouterr().err
        assert message in error
        assert error.count("\n") == 1


def test_too_few_pictures(folders):
    fakes = {"one": folders / "one"}
    with pytest.raises(InputError, match="has 6 pictures, but a participant sees 7 of them"):
        write_study(folders / "real", fakes, folders / "study", practice=2, trials=5)
    assert not (folders / "study").exists()
    (folders / "one" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"0\.png: cannot be decoded"):
        write_study(folders / "real", fakes, folders / "study", practice=2, trials=4)
    assert not (folders / "study").exists()
    with pytest.raises(InputError, match="`fake` is empty"):
        write_study(folders / "real", {}, folders / "study")
    with pytest.raises(InputError, match="trials=0"):
        write_study(folders / "real", fakes, folders / "study", trials=0)
