"""Neural style transfer on a small network with the layers of VGG."""

import dataclasses

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError
from tfcyclegan.data.test_set import load_test_set
from tfcyclegan.evaluation import Evaluator
from tfcyclegan.studies.style import (
    CONTENT,
    STYLE,
    StyleTransfer,
    read_collections,
    transfer_styles,
)
from tfcyclegan.training.config import Config

SIZE = 16


@pytest.fixture(scope="module")
def vgg():
    x = inputs = keras.Input((None, None, 3))
    random = np.random.default_rng(0)
    for name in (*STYLE[:4], CONTENT, STYLE[4]):
        if name[-5:] == "conv1" and name != STYLE[0]:
            x = keras.layers.MaxPooling2D(2)(x)
        layer = keras.layers.Conv2D(6, 3, padding="same", activation="relu", name=name)
        x = layer(x)
        layer.set_weights([random.normal(0, 0.3, layer.kernel.shape), random.uniform(0, 1, 6)])
    return keras.Model(inputs, x, name="small_vgg")


@pytest.fixture(scope="module")
def test_set():
    return load_test_set("shapes", image_size=SIZE, test_count=3, floor=True)


def transfer(vgg, test_set, **settings):
    return StyleTransfer(vgg, [*test_set.A, *test_set.B], pixels="tf", **settings)


def losses(engine, picture, start, style):
    """Content and style by definition, as Gatys writes them."""
    images = [tf.constant(p[None] / 127.5 - 1, tf.float32) for p in (picture, start)]
    maps = [
        [np.asarray(f)[0] * np.asarray(scale) for f, scale in zip(engine._network(x),
         engine._scales, strict=True)] for x in images
    ]  # fmt: skip
    content = 0.5 * np.sum((maps[0][4] - maps[1][4]) ** 2)
    total = 0.0
    for place, wanted in zip((0, 1, 2, 3, 5), style, strict=True):
        flat = maps[0][place].reshape(-1, 6)
        gram = flat.T @ flat / len(flat)
        total += np.sum((gram - wanted) ** 2) / (4 * 6**2) / 5
    return content, total


def test_it_trades_content_for_style(vgg, test_set):
    engine = transfer(vgg, test_set, steps=60)
    style = engine.style(test_set.train_B)
    start = test_set.A[0]
    (drawn,) = engine([start], style)
    assert drawn.dtype == np.uint8
    assert drawn.shape == (SIZE, SIZE, 3)
    before, after = losses(engine, start, start, style), losses(engine, drawn, start, style)
    assert before[0] == 0
    assert after[0] + 1000 * after[1] < 0.5 * (before[0] + 1000 * before[1])
    # Without style there is nothing to change.
    still = transfer(vgg, test_set, steps=60, style_weight=0.0)
    np.testing.assert_allclose(still([start], style)[0].astype(int), start, atol=1)


def test_filters_have_a_mean_activation_of_one(vgg, test_set):
    engine = transfer(vgg, test_set)
    pictures = np.stack([*test_set.A, *test_set.B]).astype(np.float32) / 127.5 - 1
    for layer, scale in zip(engine._network(pictures), engine._scales, strict=True):
        means = np.mean(layer * scale, axis=(0, 1, 2))
        np.testing.assert_allclose(means[means > 0], 1, rtol=1e-4)


def test_the_style_of_a_collection_is_the_mean(vgg, test_set):
    engine = transfer(vgg, test_set)
    two = [engine.style([picture]) for picture in test_set.train_B[:2]]
    for mean, one, other in zip(engine.style(test_set.train_B[:2]), *two, strict=True):
        np.testing.assert_allclose(mean, (one + other) / 2, rtol=1e-5)


def test_pictures_do_not_depend_on_their_batch(vgg, test_set):
    engine = transfer(vgg, test_set, steps=5)
    style = engine.style(test_set.train_B[:1])
    together, apart = engine(test_set.A, style), engine(test_set.A, style, batch_size=1)
    np.testing.assert_allclose(np.int16(together), np.int16(apart), atol=1)


def test_both_directions_are_scored(vgg, test_set, tmp_path):
    vgg.save(tmp_path / "vgg.keras")
    engine = transfer(str(tmp_path / "vgg.keras"), test_set, steps=2)
    collections = read_collections(Config(image_size=SIZE).resolved(), test_set)
    assert [len(pictures) for pictures in collections.values()] == [500, 500]
    collections = {domain: pictures[:3] for domain, pictures in collections.items()}
    styled = transfer_styles(test_set, collections, Evaluator(test_set), engine)
    assert list(styled.scores) == list(styled.pictures) == ["style of one picture", "style of all"]
    assert styled.scores["style of all"]["BtoA"]["psnr"] > 10
    assert len(styled.pictures["style of all"]["AtoB"]) == 3
    assert styled.facts()[0].startswith("style transfer: 2 steps with small_vgg, ")
    with pytest.raises(InputError, match="style_steps=0: must be at least 1"):
        transfer(vgg, test_set, steps=0)
    grey = Config(recipe="paper", image_size=SIZE, channels_A=1, lambda_identity=0).resolved()
    with pytest.raises(InputError, match="style transfer needs RGB: set channels_A=3"):
        read_collections(grey, test_set)
    mixed = dataclasses.replace(test_set, B=[*test_set.B, np.zeros((16, 20, 3), np.uint8)])
    with pytest.raises(
        InputError, match=r"preprocess=none: style .* test pictures of B in one size"
    ):
        read_collections(Config(image_size=SIZE).resolved(), mixed)


def test_networks_without_the_layers(tmp_path):
    with pytest.raises(InputError, match="VGG99: neither a file nor"):
        StyleTransfer("VGG99", [])
    inputs = keras.Input((None, None, 3))
    keras.Model(inputs, keras.layers.Conv2D(1, 1)(inputs)).save(tmp_path / "x.keras")
    with pytest.raises(InputError, match="set `style_pixels` to"):
        StyleTransfer(tmp_path / "x.keras", [])
    with pytest.raises(InputError, match="has no layer 'block1_conv1'"):
        StyleTransfer(tmp_path / "x.keras", [], pixels="tf")
