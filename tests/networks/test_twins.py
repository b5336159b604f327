"""Copies of a network in another precision."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import patch_discriminator, resnet_generator
from tfcyclegan.networks.twins import twice_differentiable, with_precision

IMAGES = tf.random.stateless_uniform((1, 16, 16, 3), (0, 1), -1, 1)


def test_a_copy_in_another_precision():
    network = resnet_generator(16, filters=2, blocks=0)
    mixed = with_precision(network, "mixed_bfloat16")
    assert mixed.get_layer("d1").compute_dtype == "bfloat16"
    assert mixed.layers[-1].compute_dtype == "float32"
    again = with_precision(mixed, "float32")
    np.testing.assert_array_equal(again(IMAGES), network(IMAGES))
    again.set_weights([0 * w for w in again.get_weights()])
    assert np.abs(network(IMAGES)).max() > 0  # the copy's weights are its own


@pytest.mark.parametrize("precision", ["float32", "mixed_float16"])
def test_second_gradient_of_a_copy_on_the_same_weights(precision):
    """Against the same discriminator in float32, seen without the fused kernel."""
    D = patch_discriminator(16, filters=4, layers=1, dtype=precision)
    call = twice_differentiable(D)
    plain = tf.function(
        with_precision(D, "float32"), input_signature=[tf.TensorSpec((None, 16, 16, 3))]
    )

    def slope_of_the_slope(function):
        with tf.GradientTape() as outer:
            outer.watch(IMAGES)
            with tf.GradientTape() as inner:
                inner.watch(IMAGES)
                score = tf.reduce_sum(function(IMAGES) ** 2)
            slope = tf.reduce_sum(inner.gradient(score, IMAGES) ** 2)
        return outer.gradient(slope, IMAGES)

    np.testing.assert_allclose(call(IMAGES), plain(IMAGES), atol=1e-5)
    expected = slope_of_the_slope(plain)
    np.testing.assert_allclose(slope_of_the_slope(call), expected, rtol=1e-3, atol=1e-5)
    D.get_layer("score").bias.assign_add([1.0])
    np.testing.assert_allclose(call(IMAGES), plain(IMAGES) + 1, atol=1e-5)
