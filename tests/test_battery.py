"""What every layer and network must pass: configuration, shapes, precision, saving, export."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_run import several_discriminators, tiny_features

from tfcyclegan import (
    InstanceNormalization,
    ReflectionPadding2D,
    fast_generator,
    patch_discriminator,
    pixel_discriminator,
    projected_discriminator,
    resnet_generator,
    unet_generator,
)
from tfcyclegan.layers import (
    Cropping2D,
    Dropout,
    LeakyReLU,
    NarrowConv2D,
    PixelNormalization,
    RandomShift,
    ReplicationPadding2D,
    ResidualClip,
    ResidualTanh,
    ResizeLike,
    SpectralConv2D,
)
from tfcyclegan.networks.twins import with_precision


def wrap(make_layer, inputs=1):
    """A model of one layer."""

    def make(dtype):
        x = [keras.Input((None, None, 3)) for _ in range(inputs)]
        y = make_layer(dtype)(x if inputs > 1 else x[0])
        return keras.Model(x, y)

    return make


def network(build, *arguments, **settings):
    return lambda dtype: build(*arguments, dtype=dtype, **settings)


SMALL = {"filters": 4}
CASES = {
    "reflection": wrap(lambda dtype: ReflectionPadding2D(2, dtype=dtype)),
    "replication": wrap(lambda dtype: ReplicationPadding2D(2, dtype=dtype)),
    "instance norm": wrap(lambda dtype: InstanceNormalization(dtype=dtype)),
    "affine norm": wrap(lambda dtype: InstanceNormalization(1e-3, affine=True, dtype=dtype)),
    "leaky relu": wrap(lambda dtype: LeakyReLU(0.1, dtype=dtype)),
    "cropping": wrap(lambda dtype: Cropping2D(((1, 2), (3, 0)), dtype=dtype)),
    "narrow convolution": wrap(lambda dtype: NarrowConv2D(3, 7, dtype=dtype)),
    "dropout": wrap(lambda dtype: Dropout(0.3, dtype=dtype)),
    "random shift": wrap(lambda dtype: RandomShift(0.25, dtype=dtype)),
    "spectral norm": wrap(lambda dtype: SpectralConv2D(4, 3, 2, "same", dtype=dtype)),
    "resize": wrap(lambda dtype: ResizeLike(dtype=dtype), inputs=2),
    "residual tanh": wrap(lambda dtype: ResidualTanh(dtype="float32"), inputs=2),
    "scaled residual tanh": wrap(lambda dtype: ResidualTanh(0.97, dtype="float32"), inputs=2),
    "residual clip": wrap(lambda dtype: ResidualClip(dtype="float32"), inputs=2),
    "pixel norm": wrap(lambda dtype: PixelNormalization(dtype=dtype)),
    "resnet": network(resnet_generator, 32, blocks=1, **SMALL),
    "resnet resize": network(
        resnet_generator, 32, blocks=1, upsampling="resize", residual_output=True, **SMALL
    ),
    "resnet scaled": network(resnet_generator, 32, blocks=0, residual_output="scaled", **SMALL),
    "resnet batch": network(resnet_generator, 32, blocks=1, norm="batch", dropout=0.5, **SMALL),
    "resnet variant": network(
        resnet_generator,
        32,
        blocks=1,
        norm="instance-affine",
        bare_first=True,
        downsampling_padding="reflect",
        block_padding="replicate",
        **SMALL,
    ),
    "resnet tensorflow": network(
        resnet_generator,
        32,
        blocks=1,
        alignment="tensorflow",
        use_bias=False,
        epsilon=1e-3,
        **SMALL,
    ),
    "unet": network(unet_generator, 32, dropout=0.5, **SMALL),
    "fast": network(fast_generator, blocks=1, **SMALL),
    "fast clipped": network(
        fast_generator, blocks=0, residual_output="clipped", change_penalty=0.5, **SMALL
    ),
    "patch": network(patch_discriminator, 32, layers=2, **SMALL),
    "patch variant": network(
        patch_discriminator, 32, layers=2, padding="reflect", sigmoid=True, **SMALL
    ),
    "patch tensorflow": network(
        patch_discriminator, 32, layers=2, alignment="tensorflow", epsilon=1e-3, **SMALL
    ),
    "pixel": network(pixel_discriminator, **SMALL),
    "projected": lambda dtype: projected_discriminator(
        features=tiny_features(), pixels="torch", dtype=dtype, **SMALL
    ),
    "several": lambda dtype: several_discriminators("D_A", dtype),
}


IMAGES = tf.random.stateless_uniform((2, 32, 32, 3), (1, 2), -1, 1)


def call(model, images=IMAGES):
    """The model's outputs."""
    inputs = [images] * len(model.inputs)
    outputs = model(inputs if len(inputs) > 1 else images)
    return [np.asarray(output) for output in keras.tree.flatten(outputs)]


def assert_all_close(found, expected, atol=0.0):
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, atol=atol, rtol=0)


def randomise(model):
    """Weights as after training: with initial zeros and ones a mistake could stay hidden."""
    random = np.random.default_rng(0)
    model.set_weights([w + 0.1 * random.random(w.shape) for w in model.get_weights()])
    return model


@pytest.fixture(scope="module", params=CASES)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def model(case):
    keras.utils.set_random_seed(0)
    return randomise(CASES[case](None))


def test_configuration_comes_back(model):
    again = type(model).from_config(model.get_config())
    assert again.get_config() == model.get_config()
    for layer in model.layers:
        copy = type(layer).from_config(layer.get_config())
        assert copy.get_config() == layer.get_config()


def test_shapes_are_inferred(model):
    shapes = [tuple(IMAGES.shape)] * len(model.inputs)
    inferred = model.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
    inferred = inferred if isinstance(inferred, list) else [inferred]
    assert [tuple(shape) for shape in inferred] == [output.shape for output in call(model)]


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_precision(case, policy):
    """Results in 16 bits are close to float32 ones, and weights stay float32."""
    mixed = randomise(CASES[case](policy))
    assert all(v.dtype == "float32" for v in mixed.trainable_variables)
    wide = with_precision(mixed, "float32")
    assert all(layer.compute_dtype == "float32" for layer in wide.layers)
    for images in (IMAGES, IMAGES[:1]):
        for expected, got in zip(call(wide, images), call(mixed, images), strict=True):
            if isinstance(mixed.layers[-1], keras.layers.Activation):
                assert got.dtype == np.float32
            error = np.abs(got.astype(np.float32) - expected).mean() / np.abs(expected).max()
            assert error < (0.01 if policy == "mixed_float16" else 0.05)


def test_saved_and_loaded(model, tmp_path):
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert_all_close(call(again), call(model))


def test_exported(model, tmp_path):
    """As a SavedModel, for any number and size of pictures."""
    model.export(tmp_path / "saved", verbose=False)
    loaded = tf.saved_model.load(tmp_path / "saved")
    serve = loaded.signatures["serving_default"]
    names = list(serve.structured_input_signature[1])
    for batch in (IMAGES, IMAGES[:1], tf.tile(IMAGES, (1, 1, 2, 1))):
        got = serve(**dict.fromkeys(names, batch))
        assert_all_close([got[name] for name in sorted(got)], call(model, batch), atol=1e-4)
