"""The fused Adam is Keras's Adam."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan.optimizers import Adam


@pytest.mark.parametrize("amsgrad", [False, True])
def test_steps_are_kerass(amsgrad):
    """Weights and moments after ten steps, with a rate that changes."""
    start = np.random.default_rng(0).normal(size=(2, 5)).astype(np.float32)
    slopes = np.random.default_rng(1).normal(size=(10, 2, 5)).astype(np.float32)
    slopes[:, 0] *= 1e-6
    found = []
    for kind in (Adam, keras.optimizers.Adam):
        variables = [keras.Variable(row) for row in start]
        rate = keras.optimizers.schedules.ExponentialDecay(0.01, 2, 0.5)
        optimizer = kind(rate, beta_1=0.5, epsilon=1e-8, amsgrad=amsgrad)
        optimizer.build(variables)
        for gradients in slopes:
            optimizer.apply([tf.constant(row) for row in gradients], variables)
        found.append([np.array(v.value) for v in (*variables, *optimizer.variables)])
    for mine, theirs in zip(*found, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=2e-5, atol=1e-12)


def test_comes_back_from_its_configuration():
    optimizer = Adam(1e-3, beta_1=0.25, epsilon=1e-5)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(optimizer))
    assert type(again) is Adam
    assert again.get_config() == optimizer.get_config()
