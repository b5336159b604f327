"""`tfcyclegan translate` with every form of a generator, and what it refuses."""

import os
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from translating import by_hand, noise, pixels_of, refused, save, small, start, stop_all, translate

from tfcyclegan.translation.pipeline import REPORT


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    stop_all()


def test_the_same_pictures_whatever_the_back_end(forms):
    for index, (width, height) in enumerate([(24, 16), (37, 50), (1, 9), (3, 2), (64, 8)]):
        save(f"in/{index}.png", noise(width, height, seed=index))
    for model in (
        "run",
        "run/model.keras",
        "G.keras",
        "export",
        "export/serving/AtoB",
        "dynamic.tflite",
    ):
        to = Path("out", model)
        assert translate("in", "--model", forms / model, "--to", to) == 0
        for source in Path("in").iterdir():
            truth = by_hand(small(1), np.asarray(Image.open(source)))
            assert np.abs(pixels_of(to / source.name) - truth).max() <= 1, (model, source.name)
    # A fixed file works at its size. The others do with --image-size.
    assert translate("in", "--model", forms / "fixed.tflite", "--to", "fixed") == 0
    arguments = ("--model", forms / "run", "--image-size", "16x24", "--to", "sized")
    assert translate("in", *arguments) == 0
    for name in os.listdir("in"):
        assert np.abs(pixels_of(f"fixed/{name}") - pixels_of(f"sized/{name}")).max() <= 2


def test_the_other_direction(forms):
    save("a.png", noise(24, 16))
    assert translate("a.png", "--model", forms / "run", "--to", "out", "--direction", "BtoA") == 0
    truth = by_hand(small(2), noise(24, 16))
    assert np.abs(pixels_of("out/a.png") - truth).max() <= 1


def test_the_wrong_direction_is_not_taken_silently(forms, capsys):
    save("a.png")
    for model in ("fixed.tflite", "export/serving/AtoB"):
        refused(capsys, "only translates AtoB: leave --direction BtoA out", "a.png",
                "--model", forms / model, "--to", "out", "--direction", "BtoA")  # fmt: skip


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nothing", "nothing: there is no such file or folder"),
        ("empty", "no run, SavedModel or export in that folder"),
        ("bad.tflite", "bad.tflite: not a LiteRT file"),
        ("odd.tflite", "odd.tflite: not a generator: it goes from [1, 10] to"),
        ("bad.keras", "bad.keras: not a model this version can load"),
        ("dense.keras", "not a generator: it goes from"),
        ("classifier.keras", "goes from (None, None, None, 3) to (None, 2)"),
        ("sized.keras", "takes only (None, 8, 8, 3)"),
        ("plain", "no signature serving_default from images to images"),
        ("broken", "broken: not a SavedModel that can be loaded"),
        ("http://localhost:1/", "not the address of a model"),
        ("grpc://localhost:1", "not the address of a model"),
    ],
)
def test_what_is_no_generator(model, message, capsys):
    save("a.png")
    Path("empty").mkdir()
    Path("bad.tflite").write_bytes(b"TFL3 nothing of the kind")
    Path("bad.keras").write_bytes(b"nothing of the kind")
    Path("broken").mkdir()
    Path("broken/saved_model.pb").write_bytes(b"nothing of the kind")
    if model == "odd.tflite":
        f = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec((1, 10), tf.float32)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([f.get_concrete_function()])
        Path(model).write_bytes(converter.convert())
    if model == "dense.keras":
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(model)
    if model == "classifier.keras":
        pool = keras.layers.GlobalAveragePooling2D()
        keras.Sequential([keras.Input((None, None, 3)), pool, keras.layers.Dense(2)]).save(model)
    if model == "sized.keras":
        keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 1)]).save(model)
    if model == "plain":
        small(1).export("plain", verbose=False)
        assert Path("plain/saved_model.pb").exists()
    refused(capsys, message, "a.png", "--model", model, "--to", "out")
    assert not Path("out").exists()


def test_a_killed_run_goes_on(forms):
    """After SIGKILL every file is complete, and --skip-existing translates the rest."""
    for index in range(60):
        save(f"in/{index:02d}.png", noise(128, 128, seed=index))
    process = start(["in", "--to", "out", "--model", forms / "run"])
    deadline = time.monotonic() + 120
    while len(list(Path("out").glob("[0-9]*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.kill()
    process.communicate(timeout=60)
    there = sorted(Path("out").glob("[0-9]*.png"))
    assert 5 <= len(there) < 60
    for path in there:
        Image.open(path).load()
    before = {path: path.read_bytes() for path in there}
    assert translate("in", "--model", forms / "run", "--to", "out", "--skip-existing") == 0
    assert {path: path.read_bytes() for path in there} == before
    assert len(list(Path("out").glob("[0-9]*.png"))) == 60


def test_without_ray(forms, capsys, monkeypatch):
    """One line names what to install. Only `--engine ray` needs Ray."""
    save("a.png")
    monkeypatch.setitem(sys.modules, "ray", None)
    arguments = ("a.png", "--model", forms / "G.keras", "--to", "out")
    refused(capsys, 'pip install ".[ray]" in a clone', *arguments, "--engine", "ray")
    assert not Path("out").exists()
    assert translate("a.png", "--model", forms / "G.keras", "--to", "out") == 0


def test_ray_is_not_imported(run_python):
    code = "import sys, tfcyclegan, tfcyclegan.commands.translate; print('ray' in sys.modules)"
    assert run_python(code).split()[-1] == "False"


def test_refusals_before_ray_starts(forms, capsys):
    save("in/a.png")
    ray = ("in", "--model", forms / "G.keras", "--engine", "ray", "--to")
    local = ("in", "--model", forms / "G.keras", "--to", "x")
    refused(capsys, "--workers is for --engine ray", *local, "--workers", 2)
    refused(capsys, "--address is for --engine ray", *local, "--address", "auto")
    refused(capsys, "--timeout 0: must be more than 0", *ray, "x", "--timeout", 0)
    refused(capsys, "--workers 0: must be at least 1", *ray, "x", "--workers", 0)
    refused(capsys, "--threads 0: must be at least 1", *ray, "x", "--threads", 0)
    refused(capsys, "x: give one number", *ray, "x", "--image-size", "x")
    save("out/a.png")
    refused(capsys, "out/a.png exists already: pass", *ray, "out")
    save(f"reports/{REPORT}.png")
    os.rename(f"reports/{REPORT}.png", f"reports/{REPORT}")
    refused(capsys, f"reports/{REPORT} exists already", *ray, "reports")
    Path("list.txt").write_text(f"in/./{REPORT}\n")
    refused(capsys, "is for the report", "list.txt", *ray[1:], "new")
    # Nothing is missing, so Ray does not start.
    assert translate(*ray, "out", "--skip-existing") == 0
    (line,) = Path("out", REPORT).read_text().splitlines()
    assert line.startswith("# done: 0 translated, 1 existed already, 0 failed, 0 left")
