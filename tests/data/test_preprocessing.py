"""Resizing, cropping and flipping."""

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan.data.preprocessing import (
    Preprocessing,
    resized,
    to_float,
    to_uint8,
)


@pytest.mark.parametrize(
    ("kind", "training", "testing"),
    [
        ("resize_and_crop", (18, 18), (16, 16)),
        ("crop", (20, 40), (16, 16)),
        ("scale_width", (8, 16), (8, 16)),
        ("none", (20, 40), (20, 40)),
    ],
)
def test_sizes_of_each_kind(kind, training, testing):
    image = Image.new("RGB", (40, 20))
    settings = Preprocessing(kind, image_size=16)
    assert settings.fixed(image, "x", training=True).shape == (*training, 3)
    assert settings.fixed(image, "x", training=False).shape == (*testing, 3)


def test_scale_width_and_crop():
    settings = Preprocessing("scale_width_and_crop", image_size=16)
    assert settings.fixed(Image.new("RGB", (20, 40)), "x", training=True).shape == (36, 18, 3)
    assert settings.fixed(Image.new("RGB", (20, 40)), "x", training=False).shape == (16, 16, 3)


def test_sides_are_rounded_if_nothing_is_cropped():
    settings = Preprocessing("none", image_size=16, divisor=8)
    assert settings.fixed(Image.new("RGB", (21, 3)), "x", training=True).shape == (8, 24, 3)


def test_the_seed_decides_crop_and_flip():
    settings = Preprocessing("crop", image_size=4)
    pixels = tf.reshape(tf.cast(tf.range(6 * 8), tf.uint8), (6, 8, 1))
    draw = tf.function(settings.random)
    drawn = {draw(pixels, tf.constant([1, seed])).numpy().tobytes() for seed in range(400)}
    assert len(drawn) == 3 * 5 * 2  # every crop, flipped and not
    for seed in ([3, 4], [5, 6]):
        one, two = (settings.random(pixels, tf.constant(seed)) for _ in range(2))
        assert np.array_equal(one, two)
    still = Preprocessing("none", image_size=4, flip=False)
    assert np.array_equal(still.random(pixels, tf.constant([1, 2])), pixels)


def test_the_size_before_the_crop():
    image = Image.new("RGB", (40, 20))
    for settings, size in (((256,), 286), ((128,), 143), ((128, 200), 200)):
        prepared = Preprocessing("resize_and_crop", *settings)
        assert prepared.fixed(image, "x", training=True).shape == (size, size, 3)


def test_float_and_back():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(to_float(tf.constant(levels))), levels)
    assert to_uint8(np.array([-3.0, 3.0])).tolist() == [0, 255]


def test_resized_pictures_are_the_models_input():
    image = Image.effect_noise((40, 20), 50).convert("RGB")
    expected = Preprocessing("resize_and_crop", image_size=16).fixed(image, "x", training=False)
    assert np.array_equal(resized(image, (16, 16)), expected)
    assert resized(image, (8, 12), channels=1).shape == (8, 12, 1)
