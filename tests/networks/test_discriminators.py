"""The discriminators: receptive field, layers, PyTorch's pixels."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError, patch_discriminator, pixel_discriminator


@pytest.mark.parametrize(("layers", "field"), [(1, 16), (2, 34), (3, 70)])
def test_receptive_field(layers, field):
    """By gradient: which pixels one score depends on. A norm would look at all of them."""
    network = patch_discriminator(256, filters=2, layers=layers, norm="none")
    images = tf.random.stateless_uniform((1, 128, 128, 3), (0, 1))
    with tf.GradientTape() as tape:
        tape.watch(images)
        scores = network(images)
        score = scores[0, scores.shape[1] // 2, scores.shape[2] // 2, 0]
    seen = np.abs(tape.gradient(score, images)[0]).sum(-1) > 0
    rows, columns = np.flatnonzero(seen.any(1)), np.flatnonzero(seen.any(0))
    assert rows[-1] - rows[0] + 1 == field
    assert columns[-1] - columns[0] + 1 == field


def test_discriminator_of_the_paper():
    network = patch_discriminator()
    assert network.count_params() == 2_764_737
    assert network(tf.zeros((1, 256, 256, 3))).shape == (1, 30, 30, 1)
    names = [layer.name for layer in network.layers]
    assert [n for n in names if n.endswith("_norm")] == ["c2_norm", "c3_norm", "c4_norm"]
    leaky = [layer for layer in network.layers if type(layer).__name__ == "LeakyReLU"]
    assert [layer.slope for layer in leaky] == [0.2] * 4
    assert network(10 * tf.ones((1, 64, 64, 3))).numpy().max() != 1  # logits, not probabilities


def test_scores_a_pixel_by_its_colour_only():
    network = pixel_discriminator(channels=1, filters=2, norm="none")
    images = tf.random.stateless_uniform((1, 8, 8, 1), (0, 1))
    scores = network(images)
    assert scores.shape == (1, 8, 8, 1)
    np.testing.assert_allclose(network(tf.reverse(images, [1])), tf.reverse(scores, [1]), atol=1e-6)


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("padding='same' is unknown: take zero or reflect", {"padding": "same"}),
        ("take padding=zero", {"padding": "reflect", "alignment": "tensorflow"}),
        ("at least 24 px or fewer layers", {"image_size": 16}),
    ],
)
def test_refuses(message, settings):
    with pytest.raises(InputError, match=message):
        patch_discriminator(**settings)


@pytest.mark.parametrize(
    ("name", "network"),
    [
        ("patch", lambda: patch_discriminator(32, filters=2)),
        (
            "patch_variant",
            lambda: patch_discriminator(32, filters=2, padding="reflect", sigmoid=True),
        ),
        ("pixel", lambda: pixel_discriminator(filters=2)),
    ],
)
def test_same_pixels_as_pytorch(name, network, check_pixels):
    check_pixels(name, network())
