"""Exports: the files, `export_model`, the command, and what happens when something is wrong."""

import functools
import json
import re
import shutil
import subprocess
import venv
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_exports import GENERATORS, export, model, random_pictures, tiny

from tfcyclegan import InputError, load_data, patch_discriminator
from tfcyclegan.cli import main
from tfcyclegan.data.preprocessing import to_float
from tfcyclegan.export import export_model, litert
from tfcyclegan.export.exporting import _pictures_to_compare, model_name
from tfcyclegan.export.litert import PRECISIONS
from tfcyclegan.export.proof import LIMITS, Limit
from tfcyclegan.runtimes.keras_model import KerasRuntime
from tfcyclegan.runtimes.litert import LiteRTRuntime
from tfcyclegan.runtimes.saved_model import SavedModelRuntime
from tfcyclegan.training.config import Config

ROOT = Path(__file__).parents[2]


@pytest.fixture
def only(monkeypatch):
    """Makes exports write only these LiteRT precisions, because conversion is slow."""

    def set_precisions(*precisions):
        fewer = functools.partial(litert.convert, precisions=precisions)
        monkeypatch.setattr(litert, "convert", fewer)

    return set_precisions


def test_everything_is_where_a_server_and_an_app_look(exported):
    directory, report = exported
    assert report.missed == []
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*")}
    for way in ("AtoB", "BtoA"):
        for precision in ("float32", "float16", "int8"):
            assert {f"litert/{way}-{precision}.tflite", f"litert/{way}-{precision}.json"} <= found
        assert f"serving/{way}/1/saved_model.pb" in found
        assert f"serving/{way}/1/assets.extra/tf_serving_warmup_requests" in found
    assert not [name for name in found if ".part" in name]
    compose = (directory / "compose.yaml").read_text()
    assert "./serving:/models:ro" in compose
    assert "/models/models.config" in compose
    config = (directory / "serving" / "models.config").read_text()
    assert re.findall(r'name: "(.*)"', config) == ["my_horses_AtoB", "my_horses_BtoA"]
    assert re.findall(r'base_path: "(.*)"', config) == ["/models/AtoB", "/models/BtoA"]
    sizes = [(directory / f"litert/AtoB-{p}.tflite").stat().st_size for p in PRECISIONS]
    assert sizes[0] > sizes[1] > sizes[2]


def test_the_next_export_is_the_next_version(exported, tmp_path, only):
    shutil.copytree(exported[0], tmp_path / "x")
    shutil.rmtree(tmp_path / "x/serving/BtoA")
    before = {p: p.read_bytes() for p in (tmp_path / "x/serving/AtoB/1").rglob("*") if p.is_file()}
    (tmp_path / "x/serving/AtoB/notes").mkdir()
    (tmp_path / "x/serving/AtoB/7").mkdir()
    assert "padding stays off" in (tmp_path / "x/serving/batching.config").read_text()
    (tmp_path / "x/compose.yaml").write_text("changed by hand")
    only("float32")
    export(tmp_path / "x", ("AtoB",), precision="bfloat16")
    assert (tmp_path / "x/serving/AtoB/8/saved_model.pb").exists()
    assert {p: p.read_bytes() for p in before} == before
    assert (tmp_path / "x/compose.yaml").read_text() == "changed by hand"
    assert "BtoA" not in (tmp_path / "x/serving/models.config").read_text()
    loaded = SavedModelRuntime(tmp_path / "x/serving/AtoB/8")
    got = loaded.run(random_pictures(1)[0][None])
    truth = np.asarray(model().G(random_pictures(1)[0][None]))
    assert 0 < np.abs(got - truth).max() < 0.1


def test_an_export_that_misses_its_limit_is_discarded(tmp_path, monkeypatch, only):
    monkeypatch.setitem(LIMITS, "LiteRT int8", Limit(psnr=300.0))
    monkeypatch.setitem(LIMITS, "SavedModel float32", Limit(max_difference=-1.0))
    only("float16", "int8")
    report = export(tmp_path / "x", ("AtoB",))
    assert not (tmp_path / "x/litert/AtoB-int8.tflite").exists()
    assert not (tmp_path / "x/serving/AtoB").exists()
    assert (tmp_path / "x/litert/AtoB-float16.tflite").exists()
    assert len(report.missed) == 2
    assert re.match(r"AtoB LiteRT int8: .* dB short of 300; discarded", report.missed[1])
    assert "DISCARDED" in (tmp_path / "x/report.md").read_text()


def test_a_failure_midway_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(litert, "convert", broken)
    with pytest.raises(InputError, match="x: the disk is full"):
        export(tmp_path / "x", ("BtoA", "AtoB"))
    left = [p for p in (tmp_path / "x").rglob("*") if ".part" in p.name]
    assert left == []
    # Nothing is published before everything is measured.
    assert not list((tmp_path / "x").rglob("saved_model.pb"))


def test_a_file_in_the_way_is_kept(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/litert").write_text("mine")
    with pytest.raises(InputError, match="x/litert: there is a file where a folder"):
        export(tmp_path / "x", ("AtoB",))
    assert (tmp_path / "x/litert").read_text() == "mine"


def test_bad_settings_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for message, settings in {
        "precision='half' is unknown": {"precision": "half"},
        "18×18: sides must be multiples of 4": {"image_size": 18},
        "16×4: sides must be multiples of 4 and at least 8": {"image_size": (4, 16)},
        "max_pixels=0: must be at least the 256": {"max_pixels": 0},
        "below 2": {"max_pixels": 2**70},
        "count=0: must be at least 1": {"count": 0},
        "direction='A' is unknown": {"directions": "AtoB"},
        "`directions` is empty": {"directions": ()},
    }.items():
        with pytest.raises(InputError, match=message):
            export(tmp_path / "y", **settings)
    with pytest.raises(InputError, match=r"patch_discriminator: not a generator: it goes from"):
        export_model(patch_discriminator(64, filters=2), ([], []), tmp_path / "y")
    assert not (tmp_path / "y").exists()
    with pytest.raises(InputError, match="file/serving: there is a file where a folder"):
        export(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_names_fit_for_a_server():
    assert model_name(Path("/x/Horse & Zebra é")) == "Horse_Zebra"
    assert model_name(Path("/")) == "model"


def test_a_mixed_precision_model_and_pictures_of_another_size(make_model, tmp_path, only):
    only("float32")
    mixed = make_model("mixed_bfloat16")
    images = np.stack(random_pictures(2, (20, 20)))
    report = export_model(mixed, (images, images), tmp_path / "x", directions=("BtoA",), count=1)
    assert report.image_size == (16, 16)
    assert report.pictures == {"BtoA": 1}
    assert not (tmp_path / "x/serving/AtoB").exists()
    truth = KerasRuntime(mixed.F, "F")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    got = LiteRTRuntime(tmp_path / "x/litert/BtoA-float32.tflite")(pixels)
    assert np.abs(got.astype(int) - truth(pixels)).max() <= 1


def test_a_single_generator_goes_the_way_of_its_name():
    nothing = ([], [])
    for name, way in (("F", "BtoA"), ("G", "AtoB"), ("other", "AtoB")):
        with pytest.raises(InputError, match=f"`data` has no pictures to measure {way} on"):
            export_model(tiny(name), nothing, "x")
    with pytest.raises(InputError, match="to measure AtoB on"):
        export_model(tiny("F"), nothing, "x", directions=("AtoB",))
    for size, default in (("256×256", tiny()), ("16×16", model())):
        with pytest.raises(InputError, match=f"image size {size}"):
            export_model(default, nothing, "x", max_pixels=1)


# Pictures


@pytest.mark.parametrize("preprocess", ["crop", "resize_and_crop"])
def test_the_test_pictures_are_used_as_they_were_prepared(folder, preprocess):
    data = load_data(folder, image_size=16, preprocess=preprocess)
    generators = {"AtoB": model().G, "BtoA": model().F}
    for given in (data, data.test_set):
        found = _pictures_to_compare(given, generators, (16, 16), 8)
        for domain, pictures in zip("AB", found.values(), strict=True):
            wanted = [to_float(p).numpy() for p in getattr(data.test_set, domain)]
            assert len(pictures) == len(wanted) == 2
            for mine, test in zip(pictures, wanted, strict=True):
                np.testing.assert_array_equal(mine, test)


def test_pictures_of_float_and_uint8_and_of_other_sizes():
    pixels = np.random.default_rng(0).integers(0, 256, (3, 16, 16, 3), np.uint8)
    images = to_float(pixels).numpy()
    generators = {"AtoB": model().G, "BtoA": model().F}
    for pictures in _pictures_to_compare((images, pixels), generators, (16, 16), 2).values():
        np.testing.assert_array_equal(np.stack(pictures), images[:2])
    found = _pictures_to_compare((images, pixels), generators, (16, 32), 2)
    assert {picture.shape for pictures in found.values() for picture in pictures} == {(16, 32, 3)}


def test_data_that_does_not_fit_is_refused():
    images = random_pictures(1, channels=1)
    for data, message in (
        ((images, images), "`data` has pictures of 1 channels, but the generator takes 3"),
        ((images, images, images), "`data` has 3 parts"),
        (([], []), "`data` has no pictures to measure AtoB on"),
    ):
        with pytest.raises(InputError, match=message):
            _pictures_to_compare(data, {"AtoB": model().G}, (16, 16), 8)


# The command line


@pytest.fixture
def run(make_model, tmp_path, monkeypatch):
    """A finished run folder, and commands in an empty folder beside it."""
    monkeypatch.chdir(tmp_path)
    make_model().save(make(tmp_path / "runs/shapes") / "model.keras")
    Config(data="shapes", image_size=16).save("runs/shapes/config.json")
    return "runs/shapes"


def make(folder):
    folder.mkdir(parents=True)
    return folder


def test_the_command_fails_if_a_limit_is_missed(run, capsys, monkeypatch, only):
    only("float32")
    monkeypatch.setitem(LIMITS, "LiteRT float32", Limit(max_difference=-1.0))
    arguments = ["export", f"{run}/model.keras", "--data", "shapes", "--to", "there"]
    arguments += ["--image-size", "8x16", "--dynamic-size", "--direction", "BtoA", "--count", "2"]
    assert main(arguments) == 1
    assert re.search(r"BtoA LiteRT float32: difference .* discarded", capsys.readouterr().err)
    assert not Path("there/litert/BtoA-float32.tflite").exists()
    assert main([*arguments, "--no-enforce"]) == 0
    assert "LiteRT float32: difference" in (marked := Path("there/report.md").read_text())
    assert "MISSES ITS LIMIT" in marked
    assert "published anyway" in marked
    assert Path("there/litert/BtoA-float32.tflite").exists()
    assert not Path("there/serving/AtoB").exists()
    assert json.loads(Path("there/report.json").read_text())["image_size"] == [8, 16]


def test_the_command_refuses(run, capsys):
    def refused(message, *arguments):
        assert main(["export", *arguments]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error), error
        assert error.count("\n") == 1

    refused("nowhere: there is no such file or folder", "nowhere")
    Path("alone.keras").write_bytes(Path(run, "model.keras").read_bytes())  # its run left behind
    refused("pass --data", "alone.keras")
    refused("image size 18×18: sides must be multiples of 4", run, "--image-size", "18")
    refused("nothing: there is no such folder", run, "--data", "nothing")
    Path("file").write_text("mine")
    refused("file where a folder should be", run, "--to", "file")
    Path(run, "model.keras").write_bytes(b"PK\x03\x04 no zip")
    refused("not a model this version can load", run)
    Path(run, "model.keras").unlink()
    refused("the run is not finished; go on with --resume", run)
    assert not Path("exports").exists()


BARE = """
import json, sys
from pathlib import Path
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

assert not {"tensorflow", "keras", "tfcyclegan"} & set(sys.modules)
photograph, *files = sys.argv[1:]
for file in files:
    about = json.loads(Path(file).with_suffix(".json").read_text())
    size = about["size"]["width"], about["size"]["height"]
    image = Image.open(photograph).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    values = np.asarray(image, np.float32)[np.newaxis]
    values = (values - about["input"]["mean"]) / about["input"]["std"]
    interpreter = Interpreter(model_path=file)
    (drawn,) = interpreter.get_signature_runner()(images=values).values()
    pixels = np.clip(np.rint((drawn[0] + 1) * 127.5), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(Path(file).with_suffix(".png"))
try:
    import tensorflow
except ImportError:
    print("no tensorflow here")
"""


@pytest.mark.slow
def test_without_tensorflow(exported, tmp_path):
    """An environment with only numpy, Pillow and ai-edge-litert translates with each file."""
    directory, _ = exported
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare/bin/python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    packages = ["-c", ROOT / "constraints.txt", "numpy", "pillow", "ai-edge-litert"]
    subprocess.run([*pip, *packages], check=True)
    photograph = tmp_path / "photograph.jpg"
    values = np.random.default_rng(3).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(values).resize((120, 90)).save(photograph)
    files = sorted((directory / "litert").glob("*.tflite"))
    done = subprocess.run(
        [python, "-c", BARE, photograph, *files], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "no tensorflow here\n"
    image = Image.open(photograph).convert("RGB").resize((16, 16), Image.Resampling.BICUBIC)
    for file in files:
        truth = KerasRuntime(GENERATORS[file.name[:4]](), "")(np.asarray(image)).astype(int)
        got = np.asarray(Image.open(file.with_suffix(".png")))
        file.with_suffix(".png").unlink()
        error = np.mean((got - truth) ** 2.0)
        assert error <= (1 if "int8" not in file.name else 255**2 / 10**3.5), file.name
