"""Evaluating generators: each score is that of its parts, and what is left out is noted."""

import dataclasses

import keras
import numpy as np
import pytest

from tfcyclegan import InputError, resnet_generator
from tfcyclegan.data.preprocessing import to_float, to_uint8
from tfcyclegan.data.test_set import TestSet, load_test_set
from tfcyclegan.evaluation import (
    Evaluator,
    Palette,
    Pretrained,
    fid,
    kid,
    load_palette,
    similarity,
)
from tfcyclegan.networks.twins import with_precision


def look(pictures):
    """Features that are easy to compute: the mean colour and its opposite."""
    means = np.mean(pictures, axis=(1, 2)) / 255
    return np.concatenate([means, 1 - means], axis=1)


EXTRACTOR = Pretrained("colours", 16, "none", look)
#: Class 1 for pictures that are more blue than red.
CLASSIFIER = Pretrained("blue", 16, "none", lambda x: look(x)[:, [0, 2]])


def network(inputs=3, outputs=3, seed=0):
    """A generator of one convolution."""
    x = keras.Input((None, None, inputs))
    conv = keras.layers.Conv2D(outputs, 3, padding="same", activation="tanh")
    model = keras.Model(x, conv(x))
    random = np.random.default_rng(seed)
    model.set_weights([0.3 * random.normal(size=w.shape) for w in model.get_weights()])
    return model


def identity():
    x = keras.Input((None, None, 3))
    return keras.Model(x, keras.layers.Activation("linear", name="same")(x))


@pytest.fixture
def generators():
    return {"AtoB": network(seed=1), "BtoA": network(seed=2)}


@pytest.fixture
def test_set(folder):
    """Two test pictures of each domain, and two training pictures."""
    return load_test_set(str(folder), image_size=16, floor=True)


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
        seen = real if column == "real" else values  # the hit rate is that of test pictures
        hits = (seen[:, 2] > seen[:, 0]).mean()
        assert scores["hit_rate"][column] == pytest.approx(hits)
    assert set(scores["feature_diversity"]) == {"translated"}
    assert found.pictures == {"test_A": 2, "test_B": 2, "train_A": 2, "train_B": 2}
    assert found.extractor["name"] == "colours"
    assert found.classifier["classes"] == {"A": [0], "B": [1]}
    assert any("FID from 2 pictures with 6 features" in note for note in found.notes)
    note = "KID of 2 to 2 pictures: mean and standard deviation over 100 subsets of 2"
    assert note in found.notes
    assert "blue at 16 px, pixels none, classes [0] for A, [1] for B" in found.facts()[2]


def test_scores_against_the_truth(generators):
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


def test_label_maps_are_scored_in_the_direction_that_draws_them(test_set):
    paired = dataclasses.replace(test_set, truth_A=test_set.A, truth_B=test_set.B)
    found = Evaluator(paired, palette=load_palette("cityscapes"))(
        {"AtoB": identity(), "BtoA": identity()}
    )
    assert found.scores["AtoB"]["class_iou"]["translated"] == 1
    assert "class_iou" not in found.scores["BtoA"]
    assert found.flat()["class_iou"] == 1  # of the direction that has it
    assert found.palette == "cityscapes"


class Brightness:
    """A segmenter that calls a pixel "roof" or "wall" by whether it is dark."""

    palette = Palette("two", ("roof", "wall"), np.array([[0, 0, 0], [255, 255, 255]], np.uint8))

    def labels(self, pictures, batch_size=8):
        return [(picture.mean(axis=-1) > 127.5).astype(int) for picture in pictures]

    def describe(self):
        return {"name": "brightness", "palette": "two"}


def test_generated_photographs_are_segmented(test_set):
    """F's are compared with the label maps that went in, and so are the real ones."""
    black = np.zeros((16, 16, 3), np.uint8)
    maps = [black, black + 255]
    photographs = [black + 40, black + 90]  # the second is wrong, for this segmenter
    pairs = dataclasses.replace(test_set, A=photographs, B=maps, truth_A=maps, truth_B=photographs)
    x = keras.Input((None, None, 3))
    negative = keras.Model(x, keras.layers.Rescaling(-1.0)(x))
    found = Evaluator(pairs, segmenter=Brightness())({"AtoB": identity(), "BtoA": negative})
    scores = found.scores["BtoA"]["pixel_accuracy"]
    assert scores == {"translated": 0, "untouched": 1, "real": 0.5}
    assert "pixel_accuracy" not in found.scores["AtoB"]  # which needs a palette
    assert found.segmenter == {"name": "brightness", "palette": "two"}
    assert any("segmented by brightness" in fact for fact in found.facts())
    # The label maps' own colours count, not those that the generator sees.
    exact = dataclasses.replace(pairs, maps_B=maps[::-1])
    found = Evaluator(exact, segmenter=Brightness())({"BtoA": identity()})
    assert found.scores["BtoA"]["pixel_accuracy"]["translated"] == 0
    unpaired = dataclasses.replace(pairs, truth_A=None, truth_B=None)
    found = Evaluator(unpaired, segmenter=Brightness())({"BtoA": identity()})
    assert found.scores["BtoA"]["class_iou"] == {"translated": 1, "untouched": 1}


def test_shifts_of_the_tint(test_set):
    x = keras.Input((None, None, 3))
    darker = keras.Model(x, keras.layers.Rescaling(1.0, -0.2)(x))
    found = Evaluator(test_set)({"AtoB": identity(), "BtoA": darker})
    assert found.scores["AtoB"]["brightness_shift"] == {"translated": 0}
    assert found.scores["AtoB"]["hue_shift"]["translated"] == pytest.approx(0, abs=1e-9)
    assert 15 < found.scores["BtoA"]["brightness_shift"]["translated"] < 0.2 * 127.5


def test_translations_made_elsewhere(generators, test_set):
    evaluator = Evaluator(test_set, extractor=EXTRACTOR)
    found = evaluator(generators).scores["AtoB"]
    drawn = [to_uint8(generators["AtoB"](to_float(p[None])))[0] for p in test_set.A]
    assert evaluator.scores_of("AtoB", drawn)["kid"] == pytest.approx(found["kid"]["translated"])


def test_a_collapsed_generator_has_no_diversity(test_set):
    x = keras.Input((None, None, 3))
    flat = keras.Model(x, keras.layers.Rescaling(0.0, 0.25)(x))
    found = Evaluator(test_set)({"AtoB": flat, "BtoA": identity()})
    assert found.scores["AtoB"]["diversity"]["translated"] == 0
    assert found.scores["BtoA"]["diversity"]["translated"] == pytest.approx(1)


def test_one_picture(generators):
    test_set = load_test_set("shapes", image_size=16, test_count=1)
    found = Evaluator(test_set, extractor=EXTRACTOR)(generators)
    assert not {"fid", "kid", "diversity"} & set(found.scores["AtoB"])
    assert any(note.startswith("FID and KID left out: they need at") for note in found.notes)
    assert "diversity left out: the input pictures do not differ" in found.notes
    assert "cycle_l1" in found.scores["AtoB"]


def test_a_single_generator(generators, test_set):
    test_set = dataclasses.replace(test_set, train_A=[])
    evaluator = Evaluator(test_set, classifier=CLASSIFIER, class_A=[0], class_B=[1])
    found = evaluator({"BtoA": generators["BtoA"]})
    assert list(found.scores) == ["BtoA"]
    own = {"diversity", "identity_l1", "hit_rate", "hue_shift", "brightness_shift"}
    assert set(found.scores["BtoA"]) == own
    assert set(found.scores["BtoA"]["hit_rate"]) == {"translated", "untouched", "real"}
    assert found.notes == ["the round trip is left out: it needs both generators"]
    assert not found.examples


def test_other_channels():
    """From grey to RGB: metrics that compare a picture with its own translation are left out."""
    random = np.random.default_rng(0)
    A = list(random.integers(0, 256, (3, 16, 16, 1), dtype=np.uint8))
    B = list(random.integers(0, 256, (3, 16, 16, 3), dtype=np.uint8))
    test_set = TestSet("x", A, B, "abc", "abc", truth_A=B, truth_B=A)
    found = Evaluator(test_set, extractor=EXTRACTOR)({"AtoB": network(1, 3), "BtoA": network(3, 1)})
    assert set(found.scores["AtoB"]["psnr"]) == {"translated"}
    assert "identity_l1" not in found.scores["AtoB"]
    assert "kid" in found.scores["AtoB"]


def test_invalid_generators_and_networks(generators, test_set):
    weights = generators["AtoB"].get_weights()
    generators["AtoB"].set_weights([w * np.nan for w in weights])
    with pytest.raises(InputError, match="the AtoB generator's output is not finite"):
        Evaluator(test_set)(generators)
    bad = Pretrained("bad", 16, "none", lambda x: look(x) * np.nan)
    generators["AtoB"].set_weights(weights)
    with pytest.raises(InputError, match="bad: its output is not finite"):
        Evaluator(test_set, extractor=bad)(generators)
    grey = dataclasses.replace(test_set, A=[pixels[..., :1] for pixels in test_set.A])
    with pytest.raises(InputError, match="the AtoB generator takes pictures of 3 channels, but"):
        Evaluator(grey)(generators)


def test_new_weights_are_measured_in_float32(test_set):
    """The float32 twins follow the weights of bfloat16 generators."""
    evaluator = Evaluator(test_set, metrics="cycle_l1")
    settings = {"filters": 2, "blocks": 1, "dtype": "mixed_bfloat16"}
    generators = {way: resnet_generator(16, **settings) for way in ("AtoB", "BtoA")}
    found = []
    for scale in (1, 2):
        for generator in generators.values():
            generator.set_weights([scale * w for w in generator.get_weights()])
        found.append(evaluator(generators).flat()["cycle_l1"])
        G, F = (with_precision(generator, "float32") for generator in generators.values())
        errors = [
            float(np.abs(back(there(x)) - x).mean())
            for there, back, pictures in ((G, F, test_set.A), (F, G, test_set.B))
            for x in (to_float(np.stack(pictures)).numpy(),)
        ]
        assert found[-1] == pytest.approx(np.mean(errors), rel=1e-4)
    assert found[0] != pytest.approx(found[1], rel=0.01)


def test_another_architecture_of_the_same_weights(test_set):
    """Each model has its own float32 twin."""
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
