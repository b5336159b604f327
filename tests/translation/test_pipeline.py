"""Picture files in, translated picture files out."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from translating import by_hand, noise, pixels_of, refused, save, small, translate

from tfcyclegan import InputError
from tfcyclegan.runtimes.opening import open_runtime
from tfcyclegan.runtimes.saved_model import SavedModelRuntime
from tfcyclegan.translation.pipeline import (
    Job,
    existing_translations,
    find_pictures,
    translate_each,
    translate_files,
)


def test_size_form_name_alpha_and_orientation_are_kept(forms):
    rgb, alpha = noise(30, 21), noise(30, 21, 1, seed=5)
    save("in/deep/one.JPG", rgb, format="JPEG")
    save("in/clear.png", np.dstack([rgb, alpha]))
    save("in/clear.webp", np.dstack([rgb, alpha]), lossless=True)
    save("in/grey.bmp", rgb[..., 0])
    save("in/still.gif", rgb)
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save("in/sixteen.png")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"  # turned by 90°; its maker
    save("in/turned.jpg", rgb, exif=exif, quality=95)
    Image.fromarray(rgb).convert("CMYK").save("in/print.jpeg")
    assert translate("in", "--model", forms / "run", "--to", "out") == 0
    for source in (path for path in Path("in").rglob("*") if path.is_file()):
        before, after = Image.open(source), Image.open("out" / source.relative_to("in"))
        turned = source.name == "turned.jpg"
        assert after.size == (before.size[::-1] if turned else before.size), source
        assert after.format == before.format
    np.testing.assert_array_equal(pixels_of("out/clear.png")[..., 3], alpha)
    np.testing.assert_array_equal(pixels_of("out/clear.webp")[..., 3], alpha)
    after = Image.open("out/turned.jpg").getexif()
    assert (after.get(0x0112, 1), after[0x010F]) == (1, "a camera")
    white = np.rint(rgb * (alpha / 255.0)[..., None] + 255 - alpha[..., None])
    truth = by_hand(small(1), white.astype(np.uint8))
    assert np.mean(np.abs(pixels_of("out/clear.png")[..., :3] - truth)) < 3


def test_one_bad_picture_does_not_stop_the_rest(forms, capsys):
    for name in ("a.png", "b.png", "c.png"):
        save(f"in/{name}", noise(16, 16))
    Path("in/b.png").write_bytes(Path("in/b.png").read_bytes()[:60])
    Path("in/d.jpg").write_text("no picture")
    assert translate("in", "--model", forms / "run", "--to", "out") == 1
    printed = capsys.readouterr().out
    assert "left out: in/b.png: cannot be decoded" in printed
    assert "translated 2 pictures to out" in printed
    assert "2 could not be translated" in printed
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]
    refused(capsys, "in/b.png: cannot be decoded", "in", "--model", forms / "run", "--to", "strict",
            "--strict")  # fmt: skip


def test_nothing_is_overwritten(forms, capsys):
    save("in/a.png", noise(16, 16))
    save("in/b.png", noise(16, 16))
    Path("out").mkdir()
    Path("out/a.png").write_text("mine")
    refused(capsys, "out/a.png exists already: pass", "in", "--model",
            forms / "run", "--to", "out")  # fmt: skip
    assert os.listdir("out") == ["a.png"]
    assert translate("in", "--model", forms / "run", "--to", "out", "--skip-existing") == 0
    assert "translated 1 picture " in (printed := capsys.readouterr().out)
    assert "1 existed already" in printed
    assert Path("out/a.png").read_text() == "mine"
    refused(capsys, "in/a.png would be overwritten", "in", "--model", forms / "run", "--to", "in")
    save("other/a.png", noise(16, 16))
    refused(capsys, "would both become new/a.png", "in", "other", "--model", forms / "run",
            "--to", "new")  # fmt: skip
    Path("file").write_text("mine")
    refused(capsys, "file: cannot be created", "in", "--model", forms / "run", "--to", "file")


def test_a_full_disk(forms, capsys, monkeypatch):
    save("in/a.png", noise(16, 16))
    real = Path.write_bytes

    def full(path, content):
        real(path, content[:60])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", full)
    refused(capsys, "out/a.png: the disk is full", "in", "--model", forms / "run", "--to", "out")
    assert os.listdir("out") == []


def test_what_cannot_be_saved_is_named(forms, capsys):
    """EXIF that is too long is dropped. A blocked folder fails only its own pictures."""
    exif = Image.Exif()
    exif[0x010E] = "long" * 10000
    save("in/a.png", noise(16, 16), exif=exif)
    save("in/taken/b.png", noise(16, 16))
    save("in/c.webp", noise(16, 16))
    Path("out").mkdir()
    Path("out/taken").write_text("mine")
    assert translate("in", "--model", forms / "run", "--to", "out") == 1
    assert "left out: in/taken/b.png: out/taken/b.png cannot be written" in capsys.readouterr().out
    assert sorted(os.listdir("out")) == ["a.png", "c.webp", "taken"]
    assert Path("out/taken").read_text() == "mine"


def test_damaged_exif_does_not_matter(forms):
    save("in/a.jpg", noise(16, 16), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert translate("in", "--model", forms / "run", "--to", "out") == 0


def test_a_server_that_goes_away_stops_the_run():
    """An error that concerns all pictures is raised once."""

    class Gone:
        name, direction, channels, size, max_pixels, concurrent = "gone", None, 3, None, 10**6, 2

        def __call__(self, pixels):
            raise InputError("gone does not answer")

    for index in range(5):
        save(f"in/{index}.png", noise(16, 16))
    with pytest.raises(InputError, match="gone does not answer"):
        list(translate_files(find_pictures(["in"], "out"), Gone(), "out"))
    assert os.listdir("out") == []


def test_from_python(forms):
    runtime = open_runtime(small(1))
    truth = by_hand(small(1), noise(16, 24))
    assert np.abs(runtime(noise(16, 24)).astype(int) - truth).max() <= 1
    assert isinstance(open_runtime(forms / "export"), SavedModelRuntime)
    grey = open_runtime(small(5, channels=1))
    save("a.png", noise(16, 16))
    (job,) = translate_files(find_pictures(["a.png"], "out"), grey, "out")
    assert job.problem is None
    assert Image.open("out/a.png").mode == "L"


def test_names_of_our_own_files_are_refused(tmp_path):
    def there(*names, **settings):
        place = tmp_path / "out"
        return existing_translations(names, place, True, **{"side_by_side": True, **settings})

    assert there("a.png", "deep/index.html") == set()
    save(tmp_path / "out/a.png")
    assert there("a.png", "b.png") == {"a.png"}
    for name in ("side-by-side/a.png", "index.html", "translate-report.txt"):
        with pytest.raises(InputError, match=f"out/{name.split('/')[0]} is for .*: rename"):
            there("a.png", name, report=True)
    assert there("index.html", "translate-report.txt", side_by_side=False) == set()


def test_one_size_for_all(tmp_path):
    """`translate_each` is what both engines share."""
    save("a.png", noise(20, 10))
    jobs = [Job("a.png", tmp_path / "out/a.png", "a.png"), Job("b", tmp_path / "b", "b", True)]
    settings = {"image_size": "8", "independent_tiles": False, "strict": True}
    done = list(
        translate_each(
            jobs, open_runtime(small(1)), tmp_path / "out", side_by_side=False, **settings
        )
    )
    assert done == jobs
    assert os.listdir("out") == ["a.png"]
