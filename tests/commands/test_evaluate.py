"""`tfcyclegan evaluate`, and `tfcyclegan train` with an evaluation after each epoch."""

import contextlib
import functools
import io
import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from pages import Page

from tfcyclegan import resnet_generator
from tfcyclegan.cli import main
from tfcyclegan.training.config import Config
from tfcyclegan.training.measuring import Measuring

TINY = [
    "--image-size", 16, "--batch-size", 2, "--filters", 2, "--blocks", 1, "--epochs", 2,
    "--discriminator-filters", 2, "--discriminator-layers", 1, "--steps-per-epoch", 2,
    "--precision", "float32", "--pool-size", 3, "--no-export",
]  # fmt: skip


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run_once(module_folder, tmp_path_factory):
    """The folder of a finished run, evaluated every epoch, and what it printed. Only read it."""
    place = tmp_path_factory.mktemp("once")
    network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D()])
    network.save(place / "look.keras")
    options = ["--extractor", "look.keras", "--extractor-pixels", "unit", "--evaluate-every", 1]
    with contextlib.chdir(place), contextlib.redirect_stdout(io.StringIO()) as printed:
        assert run("train", *TINY, "--data", module_folder, "--run-dir", "run", *options) == 0
    return place, printed.getvalue()


@pytest.fixture
def trained(run_once, tmp_path, monkeypatch):
    """A copy of that run."""
    shutil.copytree(run_once[0], tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    return Path("run")


def test_training_with_evaluation(trained, run_once):
    rows = (trained / "history.csv").read_text().splitlines()
    assert {"AtoB_kid", "BtoA_kid", "AtoB_cycle_psnr"} <= set(rows[0].split(","))
    best = json.loads((trained / "best.json").read_text())
    result = json.loads((trained / "result.json").read_text())
    assert best["metric"] == "kid"
    assert result["best"] == best
    assert result["evaluation"]["extractor"]["name"] == "look.keras"
    column = rows[0].split(",").index("AtoB_kid")
    assert float(rows[-1].split(",")[column]) == pytest.approx(
        result["evaluation"]["scores"]["AtoB"]["kid"]["translated"], rel=1e-5
    )
    assert f"in epoch {best['epoch']} (last: " in run_once[1]
    logged = {
        value.tag
        for path in (trained / "tensorboard").rglob("events*")
        for event in tf.compat.v1.train.summary_iterator(str(path))
        for value in event.summary.value
    }
    assert {"epoch_AtoB_kid", "epoch_BtoA_kid", "epoch_AtoB_cycle_psnr"} <= logged
    page = Page((trained / "report.html").read_text())
    words = " ".join(page.words)
    for expected in ("KID", "doing nothing", "real pictures", "epoch 2", "worst", "look.keras"):
        assert expected in words
    # Two grids; one picture of each kind as best and as worst, in both directions.
    assert len(page.images) == 2 + 2 * 2 * 3
    assert page.svgs == 2


def test_evaluate_command(trained, folder, capsys):
    no_features = ["--extractor", "none"]
    before = {path: path.read_bytes() for path in trained.iterdir() if path.is_file()}
    assert run("evaluate", trained) == 0  # with the run's own extractor
    found = json.loads((trained / "evaluation.json").read_text())
    result = json.loads((trained / "result.json").read_text())["evaluation"]
    for name, columns in result["scores"]["AtoB"].items():
        assert found["scores"]["AtoB"][name] == pytest.approx(columns, rel=1e-3, abs=1e-6)
    printed = capsys.readouterr().out
    assert "A to B" in printed
    assert f"{found['scores']['BtoA']['kid']['translated']:.3f}" in printed
    for path, content in before.items():
        if path.name != "report.html":
            assert path.read_bytes() == content
    # The best model, into another folder, without features.
    assert run("evaluate", trained / "best.keras", "--to", "out", *no_features) == 0
    assert json.loads(Path("out/evaluation.json").read_text())["extractor"] is None
    words = " ".join(Page(Path("out/report.html").read_text()).words)
    assert "best.keras" in words
    assert "model.keras" not in words
    # A file outside a run folder has no run.
    Path("history.csv").write_text("of someone else\n")
    (trained / "best.keras").rename("mine.keras")
    assert run("evaluate", "mine.keras", "--data", folder, "--to", "out", *no_features) == 0
    assert "epoch" not in " ".join(Page(Path("out/report.html").read_text()).words)


def test_pairs_and_palette_belong_to_the_data(trained, folder, capsys):
    """The run's pairs and palette are not expected of other data."""
    config = json.loads((trained / "config.json").read_text())
    config["preprocess"] = "none"
    config["measuring"] |= {"paired": True, "palette": "cityscapes", "extractor": None}
    (trained / "config.json").write_text(json.dumps(config))
    (folder / "testA" / "1.png").rename(folder / "testA" / "7.png")
    assert run("evaluate", trained, "--data", folder, "--extractor", "none") == 0
    assert "per-pixel accuracy" not in capsys.readouterr().out
    assert run("evaluate", trained, "--data", folder, "--extractor", "none", "--paired") == 2
    assert "have no partner" in capsys.readouterr().err


def test_evaluations_do_not_change_the_training(trained, module_folder):
    """Layers draw seeds when they are made, so an extractor must not come before the model."""
    assert run("train", *TINY, "--data", module_folder, "--run-dir", "plain") == 0
    plain, other = (keras.saving.load_model(f"{name}/model.keras") for name in ("plain", "run"))
    for a, b in zip(plain.G.get_weights(), other.G.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-5)


def test_evaluate_command_without_a_network(trained, monkeypatch, capsys):
    """InceptionV3 is optional unless it is named or a metric needs it."""

    @functools.wraps(keras.applications.InceptionV3)
    def offline(**settings):
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.applications, "InceptionV3", offline)
    config = json.loads((trained / "config.json").read_text())
    config["measuring"]["extractor"] = None
    (trained / "config.json").write_text(json.dumps(config))
    assert run("evaluate", trained) == 0
    assert "FID and KID left out: InceptionV3: Keras could not download" in capsys.readouterr().out
    assert run("evaluate", trained, "--extractor", "InceptionV3") == 2
    assert "check the connection, or give a file" in capsys.readouterr().err
    assert run("evaluate", trained, "--metrics", "kid") == 2
    assert run("evaluate", trained, "--metrics", "cycle_l1") == 0
    assert "FID" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--extractor", "missing.h5"], "missing.h5: neither a file nor a network"),
        (["--extractor", "none", "--metrics", "kid"], "metric kid: needs --extractor"),
        (["--classifier", "look.keras"], "say which classes count"),
        (["--palette", "cityscapes"], "pass --paired too"),
        (["--data", "elsewhere"], "elsewhere: there is no such folder"),
        (["--test-count", "0"], "--test-count 0: must be at least 1"),
    ],
)
def test_invalid_options(trained, options, message, capsys):
    assert run("evaluate", trained, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (trained / "evaluation.json").exists()


def test_invalid_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "missing") == 2
    Path("a.keras").write_bytes(b"no model")
    assert run("evaluate", "a.keras", "--data", "shapes") == 2
    assert run("evaluate", "a.keras", "--data", "shapes", "--to", "out") == 2
    errors = capsys.readouterr().err.splitlines()
    assert re.match("tfcyclegan: missing: there is no such file or folder", errors[0])
    assert "--to" in errors[1]
    assert "a.keras: not a model this version can load" in errors[2]


def test_the_extractor_of_a_run_is_fixed(trained, capsys):
    assert run("train", "--resume", "--run-dir", trained, "--extractor-size", "8") == 2
    assert "--extractor-size was None, now 8" in capsys.readouterr().err


def test_a_generator_without_a_run_has_its_own_direction(folder, tmp_path, capsys):
    """As in the run of an imported model, which has no data."""
    resnet_generator(16, filters=2, blocks=1, name="F").save(tmp_path / "model.keras")
    Config(data="", image_size=16, pool_size=0).resolved().save(tmp_path / "config.json")
    assert run("evaluate", tmp_path) == 2
    assert "does not say what to measure on: pass --data" in capsys.readouterr().err
    assert run("evaluate", tmp_path, "--data", folder, "--extractor", "none") == 0
    assert list(json.loads((tmp_path / "evaluation.json").read_text())["scores"]) == ["BtoA"]


def test_the_best_model_needs_evaluations(folder, capsys):
    assert run("train", *TINY, "--data", folder, "--best-by", "cycle_l1") == 2
    assert "--best-by cycle_l1: set --evaluate-every 1 as well" in capsys.readouterr().err


def test_another_network_has_its_own_settings():
    """Settings of the command override those of the run."""
    before = Measuring(extractor="a.keras", extractor_size=128, classifier="c", class_A="1")
    after = Measuring(extractor="b.keras").over(before)
    assert (after.extractor, after.extractor_size, after.class_A) == ("b.keras", None, "1")
    assert Measuring(test_count=0, classifier="d").over(before) == Measuring(
        extractor="a.keras", extractor_size=128, classifier="d", test_count=0
    )
    assert Measuring(extractor="a.keras").over(before) == before
