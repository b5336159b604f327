"""The networks against the paper: sizes, receptive fields, first weights, PyTorch's pixels."""

from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import patch_discriminator, pixel_discriminator, resnet_generator, unet_generator

GOLDEN = Path(__file__).parents[1] / "golden" / "pytorch_networks.npz"


@pytest.mark.parametrize(
    ("build", "count"),
    [
        (lambda: resnet_generator(256), 11_378_179),
        (lambda: resnet_generator(128), 7_837_699),
        (lambda: patch_discriminator(), 2_764_737),
        (lambda: unet_generator(256), 54_409_603),
        (lambda: unet_generator(128), 41_825_667),
    ],
)
def test_weights_of_the_paper(build, count):
    assert build().count_params() == count


def test_blocks_follow_the_image_size():
    def blocks(*arguments):
        network = resnet_generator(*arguments)
        return sum(isinstance(layer, keras.layers.Add) for layer in network.layers)

    assert [*(blocks(size, 3, 2) for size in (64, 255, 256, 512)), blocks(256, 3, 2, 4)] == [
        6, 6, 9, 9, 4,
    ]  # fmt: skip


def test_every_kernel_is_its_own_draw_of_the_paper():
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
    assert network(tf.zeros((1, 256, 256, 3))).shape == (1, 30, 30, 1)
    names = [layer.name for layer in network.layers]
    assert [n for n in names if n.endswith("_norm")] == ["c2_norm", "c3_norm", "c4_norm"]
    assert all(
        layer.slope == 0.2 for layer in network.layers if type(layer).__name__ == "LeakyReLU"
    )
    assert network(10 * tf.ones((1, 64, 64, 3))).numpy().max() != 1  # logits, not probabilities


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
def test_fully_convolutional(upsampling):
    network = resnet_generator(64, filters=2, blocks=1, upsampling=upsampling)
    for height, width in ((16, 16), (20, 36), (64, 12)):
        assert network(tf.zeros((2, height, width, 3))).shape == (2, height, width, 3)


def test_each_domain_its_own_channels():
    network = resnet_generator(32, 1, 4, 1, output_channels=3)
    assert network(tf.zeros((1, 32, 32, 1))).shape == (1, 32, 32, 3)
    assert unet_generator(32, 3, 2, output_channels=1)(tf.zeros((1, 32, 32, 3))).shape[-1] == 1
    assert patch_discriminator(32, 1, 4)(tf.zeros((1, 32, 32, 1))).shape[-1] == 1


def test_dropout_sits_within_the_blocks_and_acts_in_training_alone():
    network = resnet_generator(32, filters=4, blocks=2, dropout=0.5)
    assert sum(type(layer).__name__ == "Dropout" for layer in network.layers) == 2
    images = tf.random.uniform((1, 32, 32, 3))
    assert np.array_equal(network(images), network(images))
    assert not np.array_equal(network(images, training=True), network(images, training=True))
    # Of a U-Net's eight levels the three innermost but one, as in the reference.
    names = [layer.name for layer in unet_generator(256, filters=1, dropout=0.5).layers]
    assert [n for n in names if "dropout" in n] == ["up7_dropout", "up6_dropout", "up5_dropout"]


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
    ("message", "build"),
    [
        ("norm='layer' is unknown", lambda: resnet_generator(norm="layer")),
        ("upsampling='shuffle' is unknown", lambda: resnet_generator(upsampling="shuffle")),
        ("'same' is unknown", lambda: resnet_generator(downsampling_padding="same")),
        ("padding='same' is unknown", lambda: patch_discriminator(padding="same")),
        ("alignment='jax' is unknown", lambda: resnet_generator(alignment="jax")),
        (
            "pads with zeros",
            lambda: patch_discriminator(padding="reflect", alignment="tensorflow"),
        ),
        ("at least 24 px or fewer layers", lambda: patch_discriminator(16)),
        ("at least 5 halvings", lambda: unet_generator(depth=4)),
        (
            "as many output channels",
            lambda: resnet_generator(channels=1, output_channels=3, residual_output=True),
        ),
    ],
)
def test_refuses(message, build):
    with pytest.raises(ValueError, match=message):
        build()


def from_pytorch(array):
    """A PyTorch weight in Keras's order of axes."""
    # [out, in, h, w] of a convolution and [in, out, h, w] of a transposed one both become
    # what Keras has at that place: [h, w, in, out] and [h, w, out, in].
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


GOLDEN_NETWORKS = {
    "resnet": lambda: resnet_generator(32, filters=2, blocks=2),
    "resnet_affine": lambda: resnet_generator(32, filters=2, blocks=2, norm="instance-affine"),
    "resnet_variant": lambda: resnet_generator(
        32, filters=2, blocks=2, bare_first=True, downsampling_padding="reflect"
    ),
    "unet": lambda: unet_generator(32, filters=2),
    "patch": lambda: patch_discriminator(32, filters=2),
    "patch_variant": lambda: patch_discriminator(32, filters=2, padding="reflect", sigmoid=True),
    "pixel": lambda: pixel_discriminator(filters=2),
}


@pytest.mark.parametrize("name", GOLDEN_NETWORKS)
def test_same_pixels_as_pytorch(name):
    """With PyTorch's weights the outputs are PyTorch's (golden/make_pytorch_networks.py)."""
    with np.load(GOLDEN) as golden:
        images, expected = golden["images"], golden[f"{name}/output"]
        weights = [golden[key] for key in golden.files if key.startswith(f"{name}/0")]
    network = GOLDEN_NETWORKS[name]()
    network.set_weights([from_pytorch(weight) for weight in weights])
    np.testing.assert_allclose(network(images), expected, atol=2e-5)
    # One picture at a time goes through the fused kernel.
    np.testing.assert_allclose(network(images[:1]), expected[:1], atol=2e-5)
