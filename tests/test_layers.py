"""The layers: arithmetic and gradients, which the battery does not cover."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InstanceNormalization, ReflectionPadding2D
from tfcyclegan.layers import (
    Cropping2D,
    LeakyReLU,
    MeanSquare,
    NarrowConv2D,
    RandomShift,
    ReplicationPadding2D,
    ResidualClip,
    ResidualTanh,
    SpectralConv2D,
    without_xla,
)


def unknown_size(layer):
    """The layer on a batch of unknown size, where it does not use the fused kernel."""
    return tf.function(layer, input_signature=[tf.TensorSpec((None,) * 4)])


def test_reflection_is_numpys():
    images = np.random.default_rng(0).normal(size=(2, 5, 6, 3)).astype(np.float32)
    expected = np.pad(images, ((0, 0), (3, 3), (3, 3), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(ReflectionPadding2D(3)(images), expected)
    repeated = np.pad(images, [(0, 0), (3, 3), (3, 3), (0, 0)], "edge")
    np.testing.assert_array_equal(ReplicationPadding2D(3)(images), repeated)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_instance_norm_by_definition(affine, batch):
    images = np.random.default_rng(0).normal(5, 3, (batch, 7, 9, 4)).astype(np.float32)
    layer = InstanceNormalization(0.1, affine=affine)
    layer.build(images.shape)
    gamma, beta = np.float32([1, 2, 3, 4]), np.float32([-1, 0, 1, 2])
    if affine:
        layer.set_weights([gamma, beta])
    mean = images.mean((1, 2), keepdims=True)
    expected = (images - mean) / np.sqrt(images.var((1, 2), keepdims=True) + 0.1)
    expected = expected * gamma + beta if affine else expected
    np.testing.assert_allclose(layer(images), expected, atol=1e-5)
    np.testing.assert_allclose(unknown_size(layer)(images), expected, atol=1e-5)


def test_instance_norm_does_not_overflow_in_float16():
    images = tf.cast(tf.random.stateless_normal((2, 8, 8, 3), (0, 1)) * 2e4, tf.float16)
    for batch in (images, images[:1]):
        y = InstanceNormalization(dtype="float16")(batch)
        assert y.dtype == tf.float16
        assert np.isfinite(y).all()
        np.testing.assert_allclose(np.std(np.float32(y), axis=(1, 2)), 1, atol=0.01)


def slopes(layer, images):
    """Gradients of a nonlinear function of the layer's output, for its input and its weights."""
    with tf.GradientTape() as tape:
        tape.watch(images)
        drawn = tf.tanh(layer(images))
        weight = tf.random.stateless_normal(tf.shape(drawn), (0, 3))
        score = tf.reduce_sum(drawn * weight)
    return tape.gradient(score, [images, *getattr(layer, "trainable_variables", [])])


def page(random, size):
    """Flat areas with little in them, as in a drawing: a channel is nearly constant."""
    image = np.full((size, size, 2), [3.7, -0.2])
    image[size // 3 : size // 2, : size // 8] += [1.0, 1e-3]
    return image


@pytest.mark.parametrize("size", [64, 256, 1024])
@pytest.mark.parametrize(
    "make",
    [
        page,
        lambda random, size: random.normal([5.0, 0.0], [3.0, 1e-3], (size, size, 2)),
        lambda random, size: random.normal(100.0, 0.01, (size, size, 2)),
        lambda random, size: np.pad(
            random.normal(5, 0.5, (size, size - 1, 2)), [(0, 0), (1, 0), (0, 0)]
        ),
    ],
    ids=["page", "noise", "far from 0", "another first column"],
)
def test_instance_norm_is_exact_in_float32(make, size):
    """Also where one sum over all pixels, or the squares' mean less the mean's square, is not."""
    image = make(np.random.default_rng(0), size).astype(np.float32)[None]
    wide = image.astype(np.float64)
    expected = (wide - wide.mean((1, 2))) / np.sqrt(wide.var((1, 2)) + 1e-5)
    for layer in (InstanceNormalization(), unknown_size(InstanceNormalization())):
        np.testing.assert_allclose(layer(image), expected, rtol=3e-5, atol=1e-5)
    with without_xla():
        np.testing.assert_allclose(InstanceNormalization()(image), expected, rtol=3e-5, atol=1e-5)


def test_instance_norm_of_pictures_of_unknown_sides():
    """A batch of known size takes the kernels, whatever its height and width."""
    images = tf.random.stateless_normal((2, 8, 12, 3), (0, 1), mean=3.0)
    layer = InstanceNormalization()
    any_side = tf.function(layer, input_signature=[tf.TensorSpec((2, None, None, 3))])
    kernels = {op.type for op in any_side.get_concrete_function().graph.get_operations()}
    assert "FusedBatchNormV3" in kernels
    with without_xla():
        fast = tf.function(layer, input_signature=[tf.TensorSpec((2, None, None, 3))])
        for function in (any_side, fast):
            np.testing.assert_allclose(function(images), layer.plain(images), atol=1e-5)


def test_instance_norm_under_xla():
    images = tf.random.stateless_normal((1, 8, 8, 3), (0, 1))
    layer = InstanceNormalization()
    compiled = tf.function(layer, jit_compile=True)
    np.testing.assert_allclose(compiled(images), layer(images), atol=1e-5)


@pytest.mark.parametrize("affine", [False, True])
@pytest.mark.parametrize("batch", [1, 3])
def test_gradient_of_the_fast_kernel(affine, batch):
    images = tf.random.stateless_normal((batch, 8, 8, 6), (0, 1), mean=1.0, stddev=2.0)
    layer = InstanceNormalization(affine=affine)
    layer.build(images.shape)
    fast, plain = slopes(layer, images), slopes(unknown_size(layer), images)
    np.testing.assert_allclose(fast[0], plain[0], atol=1e-5)
    assert len(fast) == (3 if affine else 1)


def test_second_gradient_of_instance_norm():
    """The gradient penalty needs it. tf.nn.moments would give a wrong one."""
    layer = unknown_size(InstanceNormalization(0.01))
    x, weight, direction = (tf.random.stateless_normal((1, 3, 4, 2), (0, i)) for i in range(3))

    def slope(x):
        """The derivative of a function of the output in one direction."""
        with tf.GradientTape() as tape:
            tape.watch(x)
            score = tf.reduce_sum(tf.tanh(layer(x)) * weight)
        return tf.reduce_sum(tape.gradient(score, x) * direction)

    with tf.GradientTape() as tape:
        tape.watch(x)
        value = slope(x)
    found = tape.gradient(value, x)
    for index in np.ndindex(*x.shape):
        step = np.zeros(x.shape, np.float32)
        step[index] = 0.01
        expected = (slope(x + step) - slope(x - step)) / 0.02
        np.testing.assert_allclose(found[index], expected, atol=2e-3)


@pytest.mark.parametrize("batch", [1, 3])
def test_fused_kernel_in_16_bits(batch):
    """Output and gradient are those of the exact computation, rounded."""
    images = tf.random.stateless_normal((batch, 8, 8, 6), (0, 1), mean=1.0, stddev=2.0)
    images = tf.cast(tf.cast(images, tf.bfloat16), tf.float32)
    fused, exact = InstanceNormalization(dtype="bfloat16"), InstanceNormalization()
    np.testing.assert_allclose(tf.cast(fused(images), tf.float32), exact(images), atol=0.01)
    given = tf.cast(images, tf.bfloat16)
    with tf.GradientTape() as tape:
        tape.watch(given)
        cubes = tf.reduce_sum(tf.cast(fused(given), tf.float32) ** 3)
    with tf.GradientTape() as exact_tape:
        exact_tape.watch(images)
        exact_cubes = tf.reduce_sum(exact(images) ** 3)
    found, expected = tape.gradient(cubes, given), exact_tape.gradient(exact_cubes, images)
    np.testing.assert_allclose(tf.cast(found, tf.float32), expected, atol=0.1)


@pytest.mark.parametrize(
    ("layer", "plain"),
    [
        (Cropping2D(((1, 0), (2, 1))), keras.layers.Cropping2D(((1, 0), (2, 1)))),
        (LeakyReLU(0.2), keras.layers.LeakyReLU(0.2)),
    ],
)
def test_outputs_and_gradients_are_kerass(layer, plain):
    images = tf.random.stateless_normal((2, 7, 8, 3), (0, 1))
    np.testing.assert_allclose(layer(images), plain(images), atol=1e-6)
    np.testing.assert_allclose(*slopes(layer, images), *slopes(plain, images), atol=1e-6)
    compiled = tf.function(lambda x: slopes(layer, x))
    np.testing.assert_allclose(*compiled(images), *slopes(plain, images), atol=1e-6)


@pytest.mark.parametrize("size", [(12, 14), (13, 12), (14, 13)])
@pytest.mark.parametrize("filters", [1, 3])
def test_narrow_convolution_is_kerass(size, filters):
    """It computes four pixels at a time only if the output's sides are even."""
    images = tf.random.stateless_normal((2, *size, 5), (0, 1))
    narrow, plain = NarrowConv2D(filters, 7), keras.layers.Conv2D(filters, 7)
    for layer in (narrow, plain):
        layer.build(images.shape)
    plain.set_weights([w + 0.1 for w in narrow.get_weights()])
    narrow.set_weights(plain.get_weights())
    np.testing.assert_allclose(narrow(images), plain(images), atol=1e-5)
    for mine, theirs in zip(slopes(narrow, images), slopes(plain, images), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-4)
    step = tf.function(narrow).get_concrete_function(images)
    drawn_as_blocks = "DepthToSpace" in {op.type for op in step.graph.get_operations()}
    assert drawn_as_blocks == (size == (12, 14))


def test_residual_tanh_of_no_change_is_tanh_of_the_picture():
    images = tf.random.stateless_uniform((1, 4, 4, 3), (0, 1), -1, 1)
    drawn = ResidualTanh()([tf.zeros_like(images), images])
    np.testing.assert_allclose(drawn, np.tanh(images), atol=1e-6)


def test_spectral_norm_by_definition():
    """The kernel over its largest singular value, with PyTorch's gradient."""
    images = tf.random.stateless_normal((2, 6, 6, 5), (0, 1))
    layer = SpectralConv2D(4, 3, 2, "same")
    before = np.array(layer(images))
    start = np.array(layer.u)
    np.testing.assert_array_equal(layer(images), before)  # inference changes nothing
    np.testing.assert_array_equal(layer.u, start)
    layer.kernel.assign(3 * layer.kernel)
    layer.bias.assign([1.0, 2.0, 3.0, 4.0])
    for _ in range(300):
        layer(images, training=True)
    kernel = np.array(layer.kernel)
    u, sizes, v = np.linalg.svd(kernel.reshape(-1, 4), full_matrices=False)
    expected = tf.nn.conv2d(images, kernel / sizes[0], 2, "SAME") + layer.bias.value
    np.testing.assert_allclose(layer(images), expected, atol=1e-4)
    with tf.GradientTape() as tape:
        score = tf.reduce_sum(tf.sin(layer(images)))
    found = tape.gradient(score, layer.kernel.value)
    value = tf.Variable(kernel)
    with tf.GradientTape() as tape:
        size = tf.reduce_sum(tf.matmul(u[:, :1].T, tf.reshape(value, (-1, 4))) * v[:1])
        y = tf.nn.conv2d(images, value / size, 2, "SAME") + layer.bias.value
        score = tf.reduce_sum(tf.sin(y))
    np.testing.assert_allclose(found, tape.gradient(score, value), atol=1e-3)


def test_random_shift_moves_by_whole_pixels():
    """Each picture on its own, with its mirror image at the border; all shifts appear."""
    images = tf.random.stateless_normal((200, 8, 12, 2), (0, 1))
    layer = RandomShift(0.25, seed=1)
    np.testing.assert_array_equal(layer(images), images)
    moved, found = np.array(layer(images, training=True)), set()
    padded = np.pad(images, [(0, 0), (2, 2), (3, 3), (0, 0)], mode="reflect")
    for picture, wide in zip(moved, padded, strict=True):
        (shift,) = [
            (down, right)
            for down in range(5)
            for right in range(7)
            if np.array_equal(picture, wide[down : down + 8, right : right + 12])
        ]
        found.add(shift)
    assert {down for down, _ in found} == set(range(5))
    assert {right for _, right in found} == set(range(7))
    again = RandomShift(0.25, seed=1)
    np.testing.assert_array_equal(again(images, training=True), moved)
    assert not np.array_equal(again(images, training=True), moved)


def test_random_shift_passes_the_gradient_on():
    images = tf.random.stateless_normal((3, 8, 8, 2), (0, 1))
    layer = RandomShift(0.25, seed=1)
    weights = tf.random.stateless_uniform(images.shape, (1, 2))
    with tf.GradientTape() as tape:
        tape.watch(images)
        score = tf.reduce_sum(layer(images, training=True) * weights)
    slope = tape.gradient(score, images)
    # Each moved pixel passes its weight to the pixel that it shows.
    np.testing.assert_allclose(
        tf.reduce_sum(slope, [1, 2]), tf.reduce_sum(weights, [1, 2]), rtol=1e-5
    )
    np.testing.assert_allclose(tf.reduce_sum(slope * images), score, rtol=1e-4)


@pytest.mark.parametrize("kind", ["Dropout", "RandomShift"])
def test_random_layers_go_on_after_loading(kind, tmp_path):
    from tfcyclegan import layers

    images = tf.random.stateless_normal((8, 16, 16, 3), (0, 1))
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, getattr(layers, kind)(0.25)(inputs))
    model(images, training=True)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    np.testing.assert_array_equal(again(images, training=True), model(images, training=True))


def test_residual_clip_lets_pixels_come_back():
    """The gradient is blocked only where it would move a pixel further out."""
    picture = tf.constant([[[[0.5, 0.9, 0.9, -0.9, -0.9]]]])
    change = tf.constant([[[[0.1, 0.4, 0.4, -0.4, -0.4]]]])
    pull = tf.constant([[[[3.0, 1.0, -1.0, 1.0, -1.0]]]])  # the slope of the loss
    with tf.GradientTape() as tape:
        tape.watch(change)
        y = ResidualClip()([change, picture])
        loss = tf.reduce_sum(pull * y)
    np.testing.assert_allclose(y[0, 0, 0], [0.6, 1.0, 1.0, -1.0, -1.0])
    np.testing.assert_allclose(tape.gradient(loss, change)[0, 0, 0], [3, 1, 0, 0, -1])
    np.testing.assert_array_equal(ResidualClip()([tf.zeros_like(change), picture]), picture)


def test_mean_square_of_the_change():
    """The weight times the mean square over the pictures of a batch, whatever its size."""
    x = tf.random.stateless_normal((3, 4, 4, 2), (0, 1))
    layer = keras.layers.Activation("linear", activity_regularizer=MeanSquare(0.5))
    layer(x)
    np.testing.assert_allclose(layer.losses[0], 0.5 * np.mean(np.square(x)), rtol=1e-5)
