"""Measuring models: what is compared with what, while training, on pages, by the command."""

import contextlib
import dataclasses
import io
import json
import re
import shutil
from html.parser import HTMLParser
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan import InputError, load_data, resnet_generator
from tfcyclegan.cli import main
from tfcyclegan.data.preprocessing import to_float, to_uint8
from tfcyclegan.data.test_set import TestSet, load_test_set
from tfcyclegan.evaluation import (
    Evaluation,
    Evaluator,
    Pretrained,
    fid,
    kid,
    load_palette,
    similarity,
)
from tfcyclegan.networks.twins import with_precision
from tfcyclegan.training.config import Config
from tfcyclegan.training.evaluation import EvaluateEvery, read_best
from tfcyclegan.training.measuring import Measuring
from tfcyclegan.training.report import write_report


def look(pictures):
    """Features that are easy to work out: the mean colour and its opposite."""
    means = np.mean(pictures, axis=(1, 2)) / 255
    return np.concatenate([means, 1 - means], axis=1)


EXTRACTOR = Pretrained("colours", 16, "none", look)
#: Class 1 for pictures that are more blue than red.
CLASSIFIER = Pretrained("blue", 16, "none", lambda x: look(x)[:, [0, 2]])


@pytest.fixture
def generators(make_model):
    model = make_model()
    random = np.random.default_rng(3)
    for network in (model.G, model.F):
        network.set_weights([w + 0.05 * random.normal(size=w.shape) for w in network.get_weights()])
    return {"AtoB": model.G, "BtoA": model.F}


@pytest.fixture
def test_set(folder):
    """Two pictures of each domain, and two to train on."""
    return load_test_set(str(folder), image_size=16, floor=True)


def identity():
    x = keras.Input((None, None, 3))
    return keras.Model(x, keras.layers.Activation("linear", name="same")(x))


def test_scores_are_those_of_the_parts(generators, test_set):
    found = Evaluator(
        test_set, extractor=EXTRACTOR, classifier=CLASSIFIER, class_A=[0], class_B=[1]
    )(generators)
    scores = found.scores["AtoB"]
    images = to_float(np.stack(test_set.A)).numpy()
    drawn = generators["AtoB"](images).numpy()
    again = generators["BtoA"](drawn).numpy()
    for name, values in similarity(again, images).items():
        assert scores[f"cycle_{name}"]["translated"] == pytest.approx(values.mean(), rel=1e-4)
    other = to_float(np.stack(test_set.B)).numpy()
    change = np.abs(generators["AtoB"](other) - other).mean()
    assert scores["identity_l1"]["translated"] == pytest.approx(change, rel=1e-4)
    features = {
        "translated": EXTRACTOR(to_uint8(drawn)),
        "untouched": EXTRACTOR(test_set.A),
        "real": EXTRACTOR(test_set.train_B),
    }
    real = EXTRACTOR(test_set.B)
    for column, values in features.items():
        with pytest.warns(UserWarning, match="FID from 2 pictures"):
            assert scores["fid"][column] == pytest.approx(fid(values, real), rel=1e-3)
        assert scores["kid"][column] == pytest.approx(kid(values, real).mean, rel=1e-3, abs=1e-6)
        seen = real if column == "real" else values  # of test pictures, whatever the floor is
        hits = (seen[:, 2] > seen[:, 0]).mean()
        assert scores["hit_rate"][column] == pytest.approx(hits)
    assert set(scores["feature_diversity"]) == {"translated"}
    assert found.pictures == {"test_A": 2, "test_B": 2, "train_A": 2, "train_B": 2}
    assert found.extractor["name"] == "colours"
    assert found.classifier["classes"] == {"A": [0], "B": [1]}
    assert any("FID from 2 pictures with 6 features" in note for note in found.notes)
    assert "KID of 2 to 2 pictures: mean and spread of 100 subsets of 2" in found.notes
    assert "blue at 16 px, pixels none, classes [0] for A, [1] for B" in found.facts()[2]


def test_with_a_truth(generators):
    test_set = load_test_set("shapes", image_size=32, test_count=9)
    found = Evaluator(test_set, batch_size=4)(generators).scores
    for way, images, truth in (
        ("AtoB", test_set.A, test_set.truth_A),
        ("BtoA", test_set.B, test_set.truth_B),
    ):
        truth = to_float(np.stack(truth)).numpy()
        images = to_float(np.stack(images)).numpy()
        drawn = to_float(to_uint8(generators[way](images))).numpy()
        for column, pictures in (("translated", drawn), ("untouched", images)):
            for name, values in similarity(pictures, truth).items():
                assert found[way][name][column] == pytest.approx(values.mean(), rel=1e-3)
        assert found[way]["coat_changed"]["untouched"] == 0
        assert found[way]["rest_kept"]["untouched"] == 1
        assert "real" not in found[way]["psnr"]


def test_the_truth_itself_is_perfect():
    test_set = load_test_set("shapes", image_size=16, test_count=3)
    same = dataclasses.replace(test_set, truth_A=test_set.A, truth_B=test_set.B)
    found = Evaluator(same)({"AtoB": identity(), "BtoA": identity()})
    scores = found.scores["AtoB"]
    assert np.isinf(scores["psnr"]["translated"])
    assert scores["l1"]["translated"] == 0
    assert scores["diversity"]["translated"] == pytest.approx(1)
    assert scores["cycle_l1"]["translated"] == 0
    saved = json.loads(found.to_json())
    assert saved["scores"]["AtoB"]["psnr"]["translated"] is None
    assert ("PSNR to the truth", "equal", "equal") in Evaluation.from_dict(saved).rows("AtoB")


def test_label_maps_are_scored_in_the_direction_that_draws_them(test_set):
    paired = dataclasses.replace(test_set, truth_A=test_set.A, truth_B=test_set.B)
    found = Evaluator(paired, palette=load_palette("cityscapes"))(
        {"AtoB": identity(), "BtoA": identity()}
    )
    assert found.scores["AtoB"]["class_iou"]["translated"] == 1
    assert "class_iou" not in found.scores["BtoA"]
    assert found.flat()["class_iou"] == 1  # of the direction that has it
    assert EvaluateEvery(Evaluator(paired, palette=load_palette("cityscapes")), best_by="class_iou")
    with pytest.raises(InputError, match="--best-by BtoA_class_iou: not measured here"):
        EvaluateEvery(
            Evaluator(paired, palette=load_palette("cityscapes")), best_by="BtoA_class_iou"
        )
    assert found.palette == "cityscapes"


def test_a_collapsed_generator_shows(test_set):
    x = keras.Input((None, None, 3))
    flat = keras.Model(x, keras.layers.Rescaling(0.0, 0.25)(x))
    found = Evaluator(test_set)({"AtoB": flat, "BtoA": identity()})
    assert found.scores["AtoB"]["diversity"]["translated"] == 0
    assert found.scores["BtoA"]["diversity"]["translated"] == pytest.approx(1)


def test_one_picture(generators):
    test_set = load_test_set("shapes", image_size=16, test_count=1)
    found = Evaluator(test_set, extractor=EXTRACTOR)(generators)
    assert not {"fid", "kid", "diversity"} & set(found.scores["AtoB"])
    assert "FID and KID left out: one picture is no set" in found.notes
    assert "cycle_l1" in found.scores["AtoB"]


def test_a_single_generator(generators, test_set):
    found = Evaluator(test_set)({"BtoA": generators["BtoA"]})
    assert list(found.scores) == ["BtoA"]
    assert set(found.scores["BtoA"]) == {"diversity", "identity_l1"}
    assert found.notes == ["the round trip is left out: it takes both generators"]
    assert not found.examples


def test_other_channels():
    """Grey to RGB: what compares a picture with its own translation is left out."""

    def network(inputs, outputs):
        x = keras.Input((None, None, inputs))
        return keras.Model(x, keras.layers.Conv2D(outputs, 1, activation="tanh")(x))

    random = np.random.default_rng(0)
    A = list(random.integers(0, 256, (3, 16, 16, 1), dtype=np.uint8))
    B = list(random.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    test_set = TestSet("x", A, B, "abc", "abc", truth_A=B, truth_B=A)
    found = Evaluator(test_set, extractor=EXTRACTOR)({"AtoB": network(1, 3), "BtoA": network(3, 1)})
    assert set(found.scores["AtoB"]["psnr"]) == {"translated"}
    assert "identity_l1" not in found.scores["AtoB"]
    assert "kid" in found.scores["AtoB"]


def test_numbers_that_are_none_are_refused(generators, test_set):
    weights = generators["AtoB"].get_weights()
    generators["AtoB"].set_weights([w * np.nan for w in weights])
    with pytest.raises(InputError, match="the AtoB generator gives what are no numbers"):
        Evaluator(test_set)(generators)
    bad = Pretrained("bad", 16, "none", lambda x: look(x) * np.nan)
    generators["AtoB"].set_weights(weights)
    with pytest.raises(InputError, match="bad: gives what are no numbers"):
        Evaluator(test_set, extractor=bad)(generators)
    grey = dataclasses.replace(test_set, A=[pixels[..., :1] for pixels in test_set.A])
    with pytest.raises(InputError, match="the AtoB generator reads pictures of 3 channels, and"):
        Evaluator(grey)(generators)


def test_new_weights_are_measured_in_float32(make_model, test_set):
    """Once more with other weights: the twin follows. And bfloat16 does not change the numbers."""
    evaluator = Evaluator(test_set, metrics="cycle_l1")
    for seed in (1, 2):
        keras.utils.set_random_seed(seed)
        model = make_model("mixed_bfloat16")
        found = evaluator({"AtoB": model.G, "BtoA": model.F}).flat()["cycle_l1"]
        G, F = (with_precision(network, "float32") for network in (model.G, model.F))
        errors = [
            float(np.abs(back(there(x)) - x).mean())
            for there, back, pictures in ((G, F, test_set.A), (F, G, test_set.B))
            for x in (to_float(np.stack(pictures)).numpy(),)
        ]
        assert found == pytest.approx(np.mean(errors), rel=1e-4)


def test_another_architecture_of_the_same_weights(test_set):
    """The twin of one model is not taken for another's."""
    evaluator = Evaluator(test_set, metrics="identity_l1")
    found = []
    for residual in (False, True, False):
        G = resnet_generator(16, filters=2, blocks=1, residual_output=residual)
        G.set_weights([0.1 + 0 * w for w in G.get_weights()])
        found.append(evaluator({"AtoB": G}).scores["AtoB"]["identity_l1"]["translated"])
    assert found[0] == found[2]
    assert found[0] != pytest.approx(found[1], rel=0.01)


def test_examples_are_the_best_and_the_worst(generators):
    test_set = load_test_set("shapes", image_size=16, test_count=12)
    found = Evaluator(test_set)(generators)
    errors = [example.error for example in found.examples["AtoB"]]
    assert len(errors) == 8
    assert errors == sorted(errors)
    images = to_float(np.stack(test_set.A)).numpy()
    all_errors = np.abs(generators["BtoA"](generators["AtoB"](images)) - images).mean((1, 2, 3))
    np.testing.assert_allclose(errors, np.sort(all_errors)[[0, 1, 2, 3, 8, 9, 10, 11]], rtol=1e-4)
    example = found.examples["AtoB"][0]
    assert example.name == f"shapes testA[{int(np.argmin(all_errors))}]"


def train(model, data, *callbacks, epochs=3):
    model.compile(run_eagerly=True)
    return model.fit(data.train, epochs=epochs, callbacks=list(callbacks), verbose=0)


@pytest.fixture
def data(folder):
    return load_data(folder, image_size=16, batch_size=2, steps_per_epoch=2)


def test_evaluating_changes_nothing_in_training(make_model, data, tmp_path):
    keras.utils.set_random_seed(0)
    plain = make_model()
    train(plain, data)
    data.seek(0)
    keras.utils.set_random_seed(0)
    model = make_model()
    every = EvaluateEvery(Evaluator(data.test_set), tmp_path, best_by="cycle_l1")
    history = train(model, data, every).history
    images = to_float(np.stack(data.test_set.A))
    np.testing.assert_allclose(plain.translate(images), model.translate(images), atol=1e-4)
    assert len(history["AtoB_cycle_l1"]) == 3
    assert every.last.flat()["AtoB_cycle_l1"] == history["AtoB_cycle_l1"][-1]


def test_the_best_model_is_kept(make_model, data, tmp_path):
    """Scores as they might come: the second is the best, and a resumed run knows it."""
    scores = iter([3.0, 1.0, 2.0, 1.5, 0.5])

    class Told(Evaluator):
        def __call__(self, generators):
            found = super().__call__(generators)
            value = next(scores)
            for way in found.scores:
                found.scores[way]["identity_l1"]["translated"] = value
            return found

    evaluator = Told(data.test_set)
    model = make_model()
    every = EvaluateEvery(evaluator, tmp_path, best_by="AtoB_identity_l1")
    train(model, data, every)
    best = read_best(tmp_path)
    assert (best["epoch"], best["step"], best["value"]) == (2, 4, 1.0)
    assert int(keras.saving.load_model(tmp_path / "best.keras").step.numpy()) == 4
    again = EvaluateEvery(evaluator, tmp_path, best_by="AtoB_identity_l1")
    train(model, data, again, epochs=1)  # 1.5: no better than 1.0
    assert read_best(tmp_path) == best
    train(model, data, again, epochs=1)
    assert read_best(tmp_path)["value"] == 0.5
    other = EvaluateEvery(evaluator, tmp_path, best_by="cycle_l1")
    with pytest.raises(InputError, match="the best by AtoB_identity_l1, not by cycle_l1"):
        train(model, data, other, epochs=1)
    (tmp_path / "best.json").write_text("{")
    with pytest.raises(InputError, match=r"best.json: damaged"):
        train(model, data, again, epochs=1)


def test_how_often_and_by_what(make_model, data):
    every = EvaluateEvery(Evaluator(data.test_set), every=2)
    assert every.best_by is None  # the round trip decides nothing by itself
    history = train(make_model(), data, every).history
    assert len(history["AtoB_cycle_l1"]) == 2  # epochs 2 and 3, the last
    with pytest.raises(InputError, match="--best-by kid: not measured here"):
        EvaluateEvery(Evaluator(data.test_set), best_by="kid")
    with pytest.raises(InputError, match="take one of more metrics"):
        EvaluateEvery(Evaluator(data.test_set, metrics="diversity"), best_by="diversity")
    with pytest.raises(InputError, match=r"--best-by AtoB_diversity: .* no better side"):
        EvaluateEvery(Evaluator(data.test_set), best_by="AtoB_diversity")
    shapes = Evaluator(load_test_set("shapes", image_size=16, test_count=2))
    assert EvaluateEvery(shapes).best_by == "psnr"


TINY = [
    "--image-size", 16, "--batch-size", 2, "--filters", 2, "--blocks", 1, "--epochs", 2,
    "--discriminator-filters", 2, "--discriminator-layers", 1, "--steps-per-epoch", 2,
    "--precision", "float32", "--pool-size", 3, "--no-export",
]  # fmt: skip


def run(*arguments):
    return main([str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def run_once(module_folder, tmp_path_factory):
    """A finished run, evaluated every epoch, and what was printed; not to be touched."""
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


class Page(HTMLParser):
    """What a page shows, and whether it needs anything from elsewhere."""

    def __init__(self, text):
        super().__init__()
        self.images, self.tables, self.svgs, self.words = [], 0, 0, []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag == "img":
            self.images.append(attributes["src"])
        self.tables += tag == "table"
        self.svgs += tag == "svg"
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("data:", "#")), attributes

    def handle_data(self, data):
        self.words.append(data)


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
    assert "G: A to B" in printed
    assert f"{found['scores']['BtoA']['kid']['translated']:.3f}" in printed
    for path, content in before.items():
        if path.name != "report.html":
            assert path.read_bytes() == content
    # Of the best model, somewhere else, and without features.
    assert run("evaluate", trained / "best.keras", "--to", "out", *no_features) == 0
    assert json.loads(Path("out/evaluation.json").read_text())["extractor"] is None
    words = " ".join(Page(Path("out/report.html").read_text()).words)
    assert "best.keras" in words
    assert "model.keras" not in words
    # A file that lies elsewhere has no run.
    Path("history.csv").write_text("somebody else's\n")
    (trained / "best.keras").rename("mine.keras")
    assert run("evaluate", "mine.keras", "--data", folder, "--to", "out", *no_features) == 0
    assert "epoch" not in " ".join(Page(Path("out/report.html").read_text()).words)


def test_other_data_has_other_pairs(trained, folder, capsys):
    """What belongs to the run's data is not asked of another's."""
    config = json.loads((trained / "config.json").read_text())
    config["preprocess"] = "none"
    config["measuring"] |= {"paired": True, "palette": "cityscapes", "extractor": None}
    (trained / "config.json").write_text(json.dumps(config))
    (folder / "testA" / "1.png").rename(folder / "testA" / "7.png")
    assert run("evaluate", trained, "--data", folder, "--extractor", "none") == 0
    assert "per-pixel accuracy" not in capsys.readouterr().out
    assert run("evaluate", trained, "--data", folder, "--extractor", "none", "--paired") == 2
    assert "have no partner" in capsys.readouterr().err


def test_another_network_has_its_own_settings():
    before = Measuring(extractor="a.keras", extractor_size=128, classifier="c", class_A="1")
    after = Measuring(extractor="b.keras").over(before)
    assert (after.extractor, after.extractor_size, after.class_A) == ("b.keras", None, "1")
    assert Measuring(test_count=0, classifier="d").over(before) == Measuring(
        extractor="a.keras", extractor_size=128, classifier="d", test_count=0
    )
    assert Measuring(extractor="a.keras").over(before) == before


def test_an_extractor_does_not_change_the_training(trained, folder):
    """Layers draw seeds when they are made; those of the model are drawn in the same order."""
    options = [*TINY, "--data", folder, "--epochs", 1, "--steps-per-epoch", 1]
    assert run("train", *options, "--run-dir", "plain", "--learning-rate", 0) == 0
    look = ["--extractor", "look.keras", "--extractor-pixels", "unit"]
    assert run("train", *options, "--run-dir", "looked-at", "--learning-rate", 0, *look) == 0
    plain, other = (
        keras.saving.load_model(f"{name}/model.keras") for name in ("plain", "looked-at")
    )
    for a, b in zip(plain.G.get_weights(), other.G.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_evaluate_command_without_a_network(trained, monkeypatch, capsys):
    """Nobody asked for InceptionV3, so that it cannot be had is no error."""

    def InceptionV3(include_top=True, weights="imagenet", **more):
        raise OSError("URL fetch failure")

    monkeypatch.setattr(keras.applications.inception_v3, "InceptionV3", InceptionV3)
    config = json.loads((trained / "config.json").read_text())
    config["measuring"]["extractor"] = None
    (trained / "config.json").write_text(json.dumps(config))
    assert run("evaluate", trained) == 0
    assert "FID and KID left out: InceptionV3: Keras could not fetch" in capsys.readouterr().out
    assert run("evaluate", trained, "--extractor", "InceptionV3") == 2
    assert "check the connection, or give a file" in capsys.readouterr().err
    assert run("evaluate", trained, "--metrics", "kid") == 2
    assert run("evaluate", trained, "--metrics", "cycle_l1") == 0
    assert "FID" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--extractor", "missing.h5"], "missing.h5: there is no such file"),
        (["--extractor", "none", "--metrics", "kid"], "metric kid: needs --extractor"),
        (["--classifier", "look.keras"], "say which classes count"),
        (["--palette", "cityscapes"], "pass --paired too"),
        (["--data", "elsewhere"], "elsewhere: there is no such folder"),
        (["--test-count", "0"], "--test-count 0: must be at least 1"),
    ],
)
def test_what_cannot_be_evaluated(trained, options, message, capsys):
    assert run("evaluate", trained, *options) == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (trained / "evaluation.json").exists()


def test_what_is_no_run(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert run("evaluate", "missing") == 2
    Path("a.keras").write_bytes(b"no model")
    assert run("evaluate", "a.keras", "--data", "shapes") == 2
    assert run("evaluate", "a.keras", "--data", "shapes", "--to", "out") == 2
    errors = capsys.readouterr().err.splitlines()
    assert re.match("tfcyclegan: missing: there is no such file or folder", errors[0])
    assert "pass --to" in errors[1]
    assert "a.keras: not a model this version can load" in errors[2]


def test_an_extractor_is_not_changed_midway(trained, capsys):
    assert run("train", "--resume", "--run-dir", trained, "--extractor-size", "8") == 2
    assert "--extractor-size was None, now 8" in capsys.readouterr().err


def test_a_generator_alone_goes_the_way_it_says(folder, tmp_path, capsys):
    """As an imported one does, whose run has no data of its own."""
    resnet_generator(16, filters=2, blocks=1, name="F").save(tmp_path / "model.keras")
    Config(data="", image_size=16, pool_size=0).resolved().save(tmp_path / "config.json")
    assert run("evaluate", tmp_path) == 2
    assert "does not say what to measure on: pass --data" in capsys.readouterr().err
    assert run("evaluate", tmp_path, "--data", folder, "--extractor", "none") == 0
    assert list(json.loads((tmp_path / "evaluation.json").read_text())["scores"]) == ["BtoA"]


def test_the_best_takes_evaluations(folder, capsys):
    assert run("train", *TINY, "--data", folder, "--best-by", "cycle_l1") == 2
    assert "--best-by cycle_l1: set --evaluate-every 1 as well" in capsys.readouterr().err


def test_names_are_shown_as_text(trained, module_folder):
    """A folder may be called anything."""
    odd = trained.parent / "<script>alert(1)<"
    trained.rename(odd)
    test_set = load_test_set(str(module_folder), image_size=16)
    evil = dataclasses.replace(test_set, names_A=["<img src=x>", "&"])
    model = keras.saving.load_model(odd / "model.keras")
    found = Evaluator(evil)({"AtoB": model.G, "BtoA": model.F})
    text = write_report(odd, found).read_text()
    assert "<script>alert" not in text
    assert "<img src=x>" not in text
    assert "&lt;img src=x&gt;" in text


def test_a_report_of_what_is_there(tmp_path):
    """A folder with one damaged grid and nothing else still makes a page."""
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
