"""A network as the training step calls it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError, patch_discriminator, resnet_generator
from tfcyclegan.networks.calls import NetworkCall, check_recompute, stand_in

IMAGES = tf.random.stateless_uniform((2, 8, 8, 3), (0, 1), -1, 1)


class Penalised(keras.layers.Layer):
    """A user's layer that adds a loss in every call."""

    def call(self, x):
        self.add_loss(0.1 * tf.reduce_mean(tf.square(x)))
        return x


def network(*layers, name="net"):
    return keras.Sequential([keras.Input((None, None, 3)), *layers], name=name)


@pytest.mark.parametrize("settings", [{}, {"traced": False}, {"recompute": True}])
def test_same_outputs_losses_and_gradients(settings):
    conv = keras.layers.Conv2D(
        4, 3, kernel_regularizer=keras.regularizers.L2(0.5),
        activity_regularizer=keras.regularizers.L1(0.01),
    )  # fmt: skip
    net = network(conv, Penalised())
    call = NetworkCall(net, **settings)
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(tf.tanh(call(IMAGES, training=True)))
    slope = tape.gradient(score, net.trainable_variables[0].value)
    with tf.GradientTape() as tape:
        drawn = tf.nn.conv2d(IMAGES, conv.kernel, 1, "VALID")
        score = tf.reduce_sum(tf.tanh(drawn))
    np.testing.assert_allclose(slope, tape.gradient(score, conv.kernel.value), rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(call(IMAGES), drawn, atol=1e-5)
    activity = 0.01 * tf.reduce_sum(tf.abs(drawn)) / 2
    np.testing.assert_allclose(
        call.losses, [activity, 0.1 * tf.reduce_mean(drawn**2)] * 2, rtol=1e-4
    )
    (penalty,) = call.weight_regularization()
    np.testing.assert_allclose(penalty, 0.5 * tf.reduce_sum(tf.square(conv.kernel)), rtol=1e-5)


def test_traced_once():
    traces = []

    class Counted(keras.layers.Layer):
        def call(self, x):
            traces.append(x)
            return x

    call = NetworkCall(network(Counted()))
    traces.clear()
    tf.function(lambda x: call(call(x)))(IMAGES)
    assert len(traces) == 1


def test_a_stand_in_gives_zeros_unless_layers_may_add_losses():
    G = NetworkCall(resnet_generator(8, filters=1, blocks=0, output_channels=1))
    drawn = stand_in(G)(IMAGES, training=True)
    assert drawn.shape == (2, 8, 8, 1)
    assert not np.any(drawn)
    regularized = keras.layers.Conv2D(1, 1, activity_regularizer="l1")
    for net in (network(Penalised()), network(regularized), network(network(Penalised()))):
        call = NetworkCall(net)
        assert stand_in(call) is call


def test_recompute_refuses_layers_that_differ_the_second_time():
    D = patch_discriminator(16, filters=1, layers=1, name="D_A")
    check_recompute([D, resnet_generator(16, filters=1, blocks=1)])
    for settings, layer in (({"dropout": 0.5}, "r1_dropout"), ({"norm": "batch"}, "c7_in_norm")):
        G = resnet_generator(16, filters=1, blocks=1, name="G", **settings)
        with pytest.raises(InputError, match=f"{layer} in G .* does not"):
            check_recompute([D, G])
    spectral = keras.layers.SpectralNormalization(keras.layers.Conv2D(1, 1), name="sn")
    for layer in (keras.layers.GaussianNoise(0.1, name="noise"), spectral):
        nested = network(network(layer))
        with pytest.raises(InputError, match=f"{layer.name} in {nested.name} .* does not"):
            check_recompute([D, nested])
