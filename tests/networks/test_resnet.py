"""The paper's generator: sizes, initial weights, channels, PyTorch's pixels."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError, resnet_generator
from tfcyclegan.networks import default_blocks


@pytest.mark.parametrize(("size", "count"), [(256, 11_378_179), (128, 7_837_699)])
def test_weights_of_the_paper(size, count):
    assert resnet_generator(size).count_params() == count


def test_blocks_follow_the_image_size():
    assert [default_blocks(size) for size in (64, 255, 256, 512)] == [6, 6, 9, 9]
    for arguments, blocks in (((64, 3, 2), 6), ((256, 3, 2), 9), ((256, 3, 2, 4), 4)):
        network = resnet_generator(*arguments)
        assert sum(isinstance(layer, keras.layers.Add) for layer in network.layers) == blocks


def test_every_kernel_is_a_draw_of_its_own():
    network = resnet_generator(64, filters=16)
    kernels = [layer.kernel.numpy() for layer in network.layers if hasattr(layer, "kernel")]
    large = [kernel for kernel in kernels if kernel.size > 5000]
    assert len(large) > 10
    for kernel in large:
        assert abs(kernel.mean()) < 0.002
        assert abs(kernel.std() - 0.02) < 0.002
    firsts = [tuple(kernel.reshape(-1)[:5]) for kernel in kernels]
    assert len(set(firsts)) == len(firsts)
    other = resnet_generator(64, filters=16)
    assert not np.array_equal(other.layers[2].kernel, network.layers[2].kernel)


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_fully_convolutional(upsampling):
    network = resnet_generator(64, filters=2, blocks=1, upsampling=upsampling)
    for height, width in ((16, 16), (20, 36), (64, 12)):
        assert network(tf.zeros((2, height, width, 3))).shape == (2, height, width, 3)


def test_each_domain_has_its_own_channels():
    network = resnet_generator(32, 1, 4, 1, output_channels=3)
    assert network(tf.zeros((1, 32, 32, 1))).shape == (1, 32, 32, 3)


def test_dropout_is_in_the_blocks_and_acts_only_in_training():
    network = resnet_generator(32, filters=4, blocks=2, dropout=0.5)
    assert sum(type(layer).__name__ == "Dropout" for layer in network.layers) == 2
    images = tf.random.uniform((1, 32, 32, 3))
    assert np.array_equal(network(images), network(images))
    assert not np.array_equal(network(images, training=True), network(images, training=True))


def test_resize_convolution_draws_no_checkerboard():
    """A flat field stays flat, where a transposed convolution ripples."""

    def ripple(upsampling):
        network = resnet_generator(32, filters=8, blocks=0, norm="none", upsampling=upsampling)
        network.set_weights([np.abs(w) for w in network.get_weights()])
        before_tanh = keras.Model(network.input, network.get_layer("c7_out").output)
        inside = before_tanh(tf.fill((1, 64, 64, 3), 0.5)).numpy()[0, 20:-20, 20:-20]
        return float((inside.std(axis=(0, 1)) / inside.mean(axis=(0, 1))).max())

    assert ripple("resize") < 1e-5
    assert ripple("transposed") > 0.05


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("norm='layer' is unknown: take instance, instance-affine, batch or", {"norm": "layer"}),
        ("upsampling='shuffle' is unknown", {"upsampling": "shuffle"}),
        ("downsampling_padding='same' is unknown", {"downsampling_padding": "same"}),
        ("alignment='jax' is unknown", {"alignment": "jax"}),
        (
            "take downsampling_padding=zero",
            {"downsampling_padding": "reflect", "alignment": "tensorflow"},
        ),
        (
            "as many output channels",
            {"channels": 1, "output_channels": 3, "residual_output": True, "filters": 1},
        ),
    ],
)
def test_refuses(message, settings):
    with pytest.raises(InputError, match=message):
        resnet_generator(**settings)


@pytest.mark.parametrize(
    ("name", "settings"),
    [
        ("resnet", {}),
        ("resnet_affine", {"norm": "instance-affine"}),
        ("resnet_variant", {"bare_first": True, "downsampling_padding": "reflect"}),
    ],
)
def test_same_pixels_as_pytorch(name, settings, check_pixels):
    check_pixels(name, resnet_generator(32, filters=2, blocks=2, **settings))
