"""A player: networks, their optimizer, and its step."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan.networks.calls import NetworkCall
from tfcyclegan.players import Player

IMAGES = tf.random.stateless_uniform((2, 8, 8, 3), (0, 1), -1, 1)


def player(name="G", dtype="float32", regularizer=None, optimizer=None):
    conv = keras.layers.Conv2D(3, 3, kernel_regularizer=regularizer, dtype=dtype)
    network = keras.Sequential([keras.Input((None, None, 3)), conv], name=name)
    calls = {name: NetworkCall(network)}
    return Player(calls, optimizer or keras.optimizers.SGD(0.1)), calls[name]


def square(call):
    return tf.reduce_mean(tf.square(tf.cast(call(IMAGES, training=True), tf.float32)))


def values(variables):
    return [np.array(v) for v in variables]


def test_a_step_is_on_the_sum_of_all_losses():
    """Those of one name are added, and so are the weights' penalties."""
    one, G = player(regularizer=keras.regularizers.L2(0.5))
    kernel, bias = one.variables
    with tf.GradientTape() as tape:
        drawn = tf.nn.conv2d(IMAGES, kernel, 1, "VALID") + bias
        penalty = 0.5 * tf.reduce_sum(tf.square(kernel))
        loss = 3 * tf.reduce_mean(drawn**2) + penalty
    slopes = tape.gradient(loss, [kernel.value, bias.value])
    expected = [np.array(v) - 0.1 * slope for v, slope in zip(one.variables, slopes, strict=True)]
    losses = (lambda: {"a": square(G)}, dict, lambda: {"a": square(G), "b": square(G)})
    before = one.terms(*losses)
    terms = one.minimise(*losses)
    assert list(terms) == list(before) == ["a", "b", "G_regularization"]
    mean = tf.reduce_mean(drawn**2)
    for found in (before, terms):
        np.testing.assert_allclose(list(found.values()), [2 * mean, mean, penalty], rtol=1e-4)
    for variable, value in zip(one.variables, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-4, atol=1e-6)


def test_the_other_player_is_fixed():
    """A loss that goes through both players moves only one."""
    (generators, G), (discriminators, D) = player("G"), player("D_A")

    def loss():
        return {"loss": tf.reduce_mean(D(G(IMAGES)) ** 2)}

    G_before, D_before = values(generators.variables), values(discriminators.variables)
    tf.function(generators.minimise)(loss)
    assert not np.array_equal(values(generators.variables)[0], G_before[0])
    np.testing.assert_equal(values(discriminators.variables), D_before)
    G_before = values(generators.variables)
    tf.function(discriminators.minimise)(loss)
    assert not np.array_equal(values(discriminators.variables)[0], D_before[0])
    np.testing.assert_equal(values(generators.variables), G_before)


@pytest.mark.parametrize(
    ("dtype", "scaled"), [("mixed_float16", True), ("mixed_bfloat16", False), ("float32", False)]
)
def test_float16_has_a_loss_scale(dtype, scaled):
    optimizers = [player(dtype=dtype)[0].optimizer for _ in range(2)]
    wrapped = [isinstance(o, keras.optimizers.LossScaleOptimizer) for o in optimizers]
    assert wrapped == [scaled, scaled]
    assert optimizers[0] is not optimizers[1]
    assert all(optimizer.built for optimizer in optimizers)
    mine = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD())
    assert player(dtype=dtype, optimizer=mine)[0].optimizer is mine


def test_a_gradient_that_is_not_finite_skips_the_step():
    one, G = player(dtype="mixed_float16", optimizer=keras.optimizers.Adam())
    one.minimise(lambda: {"loss": square(G)})
    # A scale beyond what float32 holds makes every gradient infinite.
    one.optimizer.dynamic_scale.assign(3e38)
    state = [*one.variables, *one.optimizer.inner_optimizer.variables]
    before = values(state)
    one.minimise(lambda: {"loss": 10 * square(G)})
    np.testing.assert_equal(values(state), before)
    assert float(one.optimizer.dynamic_scale) == pytest.approx(1.5e38)
