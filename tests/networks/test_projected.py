"""Projected discriminators, and several discriminators as one."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_run import several_discriminators, tiny_features

from tfcyclegan import (
    InputError,
    join_discriminators,
    patch_discriminator,
    projected_discriminator,
)
from tfcyclegan.layers import SpectralConv2D
from tfcyclegan.networks import difference
from tfcyclegan.networks.calls import NetworkCall
from tfcyclegan.players import Player

IMAGES = tf.random.stateless_uniform((2, 32, 32, 3), (1, 2), -1, 1)


def projected(**settings):
    return projected_discriminator(filters=4, features=tiny_features(), pixels="tf", **settings)


def test_only_the_heads_are_trained():
    D = projected()
    heads = {v.path.split("/")[0] for v in D.trainable_variables}
    assert heads == {"head_0_c1", "head_0_c2", "head_0_score", "head_1_c1", "head_1_score"}
    assert all(isinstance(layer, SpectralConv2D) for layer in D.layers if layer.name in heads)


def test_projections_depend_on_the_seed_only():
    one, same, other = projected(), projected(), projected(seed=1)
    for name in ("project_0", "project_1", "mix_0"):
        kernel = np.array(one.get_layer(name).kernel)
        np.testing.assert_array_equal(same.get_layer(name).kernel, kernel)
        assert not np.array_equal(other.get_layer(name).kernel, kernel)
        fan_in = kernel.shape[0] * kernel.shape[1] * kernel.shape[2]
        assert 0.5 < kernel.std() * fan_in**0.5 < 1.5
    head = [np.array(D.get_layer("head_0_c1").kernel) for D in (one, same)]
    assert not np.array_equal(*head)


def test_by_definition():
    """Projected, mixed from the smallest map upwards, and judged."""
    D, look = projected(), tiny_features()
    look.set_weights(D.get_layer("features").get_weights())
    blurred = D.get_layer("blur")(IMAGES)
    binomial = np.outer([1, 4, 6, 4, 1], [1, 4, 6, 4, 1]) / 256
    patch = (IMAGES[0, 3:8, 5:10, 1] * binomial).numpy().sum()
    np.testing.assert_allclose(blurred[0, 5, 7, 1], patch, atol=1e-6)
    large, small = look(blurred)
    large, small = D.get_layer("project_0")(large), D.get_layer("project_1")(small)
    up = tf.image.resize(small, large.shape[1:3])
    large += D.get_layer("mix_0")(up)
    for level, x in enumerate((large, small)):
        for name in ("c1", "c2")[: 2 - level]:
            x = tf.nn.leaky_relu(D.get_layer(f"head_{level}_{name}")(x), 0.2)
        expected = D.get_layer(f"head_{level}_score")(x)
        np.testing.assert_allclose(D(IMAGES)[level], expected, atol=1e-5)


@pytest.mark.parametrize("size", [64, 100, 72])
def test_pictures_of_any_size(size):
    D = projected_discriminator(filters=8)
    scores = D(tf.zeros((2, size, size + 8, 3)))
    assert [x.dtype for x in scores] == [tf.float32] * 4
    assert len({x.shape for x in scores}) == 1


def test_grey_pictures():
    grey = projected(channels=1)
    colour = projected()
    colour.set_weights(grey.get_weights())
    images = IMAGES[..., :1]
    for one, other in zip(grey(images), colour(tf.tile(images, (1, 1, 1, 3))), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_joined():
    """The heads of all, for the same translation of a picture."""
    parts = [projected(name="projected"), patch_discriminator(32, filters=4, layers=1)]
    D = join_discriminators(parts, translation=0.25)
    assert len(D(IMAGES)) == 3
    for found, expected in zip(D(IMAGES), [*parts[0](IMAGES), parts[1](IMAGES)], strict=True):
        np.testing.assert_array_equal(found, expected)
    moved = D.get_layer("translation")
    assert moved.fraction == 0.25
    assert not np.allclose(D(IMAGES, training=True)[2], D(IMAGES)[2], atol=1e-3)
    one = join_discriminators([patch_discriminator(32, filters=4, layers=1)], translation=0.25)
    assert isinstance(one(IMAGES), tf.Tensor)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: projected(channels=4), "channels=4: a pretrained network takes RGB"),
        (lambda: projected_discriminator(filters=1), "filters=1: take at least 2"),
        (lambda: join_discriminators([]), "read pictures of no channels"),
        (
            lambda: join_discriminators([patch_discriminator(), patch_discriminator(channels=1)]),
            "read pictures of 1 and 3 channels",
        ),
    ],
)
def test_refusals(make, message):
    with pytest.raises(InputError, match=message):
        make()


def test_saved_with_the_pretrained_weights(tmp_path):
    """It loads where the features' source is missing."""
    D = projected()
    D.save(tmp_path / "D.keras")
    again = keras.saving.load_model(tmp_path / "D.keras")
    for found, expected in zip(again(IMAGES), D(IMAGES), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert len(again.trainable_variables) == len(D.trainable_variables)


def test_two_that_look_through_one_network(tmp_path):
    """Each has a copy: Keras saves a layer that two models share only once."""
    features = tiny_features()
    settings = {"filters": 4, "features": features, "pixels": "tf"}
    D_A, D_B = (projected_discriminator(**settings, name=name) for name in ("D_A", "D_B"))
    inputs = keras.Input((None, None, 3))
    both = keras.Model(inputs, [*D_A(inputs), *D_B(inputs)])
    both.save(tmp_path / "both.keras")
    again = keras.saving.load_model(tmp_path / "both.keras")
    for found, expected in zip(again(IMAGES), both(IMAGES), strict=True):
        np.testing.assert_array_equal(found, expected)
    assert features.trainable


def test_differences_are_seen_inside():
    parts = [projected_discriminator(filters=4), patch_discriminator(32, filters=4, layers=1)]
    one = join_discriminators(parts)
    parts = [
        projected_discriminator(filters=4, dtype="mixed_bfloat16"),
        patch_discriminator(32, filters=4, layers=1),
    ]
    assert difference(one, join_discriminators(parts)) is None
    parts[1] = patch_discriminator(32, filters=5, layers=1)
    assert difference(one, join_discriminators(parts)) == "filters of c1 is 4 and 5"


def test_loss_scaling_looks_inside():
    """A joined discriminator in float16 needs it, though its own layers are float32."""
    call = NetworkCall(several_discriminators("D_A", "mixed_float16"))
    player = Player({"D_A": call}, keras.optimizers.Adam())
    assert isinstance(player.optimizer, keras.optimizers.LossScaleOptimizer)
