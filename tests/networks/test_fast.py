"""The generator that starts as its input."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import CycleGAN, InputError, fast_generator
from tfcyclegan.layers import PixelNormalization, ResidualTanh
from tfcyclegan.networks.architecture import Architecture
from tfcyclegan.networks.factory import START

IMAGES = tf.random.stateless_uniform((2, 16, 24, 3), (0, 1), -1, 1)


def test_it_starts_as_its_input():
    """All but the contrast that tanh needs, also for pure white and black."""
    for images in (IMAGES, tf.ones((1, 8, 8, 3)), -tf.ones((1, 8, 8, 3))):
        np.testing.assert_allclose(fast_generator(filters=4)(images), START * images, atol=0.05)


def test_every_kernel_starts_different_and_branches_at_zero():
    network = fast_generator(filters=4, blocks=2)
    kernels = {
        layer.name: layer.kernel.numpy() for layer in network.layers if "kernel" in dir(layer)
    }
    for block in (1, 2):
        assert not kernels[f"r{block}b"].any()
    rest = [kernel for name, kernel in kernels.items() if not name.endswith("b")]
    assert len({kernel.tobytes() for kernel in rest}) == len(rest)
    assert kernels["c7_out"].std() == pytest.approx(1e-3, rel=0.2)


def test_a_pixel_does_not_depend_on_its_neighbours():
    layer = PixelNormalization()
    x = np.random.default_rng(0).normal(3, 2, (1, 4, 5, 6)).astype(np.float32)
    expected = x / np.sqrt((x**2).mean(-1, keepdims=True) + 1e-4)
    np.testing.assert_allclose(layer(x), expected, rtol=1e-5)
    layer.set_weights([np.arange(6.0)])
    np.testing.assert_allclose(layer(x), expected * np.arange(6), rtol=1e-5)
    # A float16 square would overflow.
    half = PixelNormalization(dtype="float16")(np.float16(5e3 * x))
    np.testing.assert_allclose(half, expected, atol=0.01)


def test_the_scaled_residual():
    change = tf.random.stateless_normal(IMAGES.shape, (0, 2))
    expected = np.tanh(change + np.arctanh(0.9 * np.float64(IMAGES)))
    np.testing.assert_allclose(ResidualTanh(0.9)([change, IMAGES]), expected, atol=1e-6)


def test_it_is_an_architecture():
    model = CycleGAN(image_size=32, generator="fast", filters=4, blocks=1)
    assert model.G.get_layer("c7_in_norm").__class__ is PixelNormalization
    assert any("norm" in layer.name for layer in model.D_A.layers)
    with pytest.raises(InputError, match="image_size=30: must be a multiple of 4"):
        CycleGAN(image_size=30, generator="fast")
    for settings, message in (
        ({"dropout": 0.5}, "dropout=0.5: goes with generator=resnet"),
        ({"bare_first": True}, "bare_first=True: goes with generator=resnet"),
        ({"channels_B": 1}, "generator=fast needs as many channels in A as in B"),
    ):
        with pytest.raises(InputError, match=message):
            Architecture(generator="fast", **settings).build_generator("AtoB", 32)
    with pytest.raises(InputError, match="filters=0, blocks=2: take at least 1 and 0"):
        fast_generator(filters=0, blocks=2)
