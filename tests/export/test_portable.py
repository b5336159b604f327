"""Portable twins: the same generator in operations that XNNPACK runs."""

import collections

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tiny_exports import CASES, random_pictures, tiny

from tfcyclegan import resnet_generator
from tfcyclegan.export import litert
from tfcyclegan.export.portable import portable_twin
from tfcyclegan.networks.twins import with_precision

MIXED = {name: lambda name=name: tiny(dtype=name) for name in ("mixed_float16", "mixed_bfloat16")}


@pytest.mark.parametrize("case", [*CASES, *MIXED])
def test_the_twin_is_the_same_generator(case):
    generator = {**CASES, **MIXED}[case]()
    twin = portable_twin(generator)
    assert {layer.dtype_policy.name for layer in twin.layers} == {"float32"}
    images = random_pictures(1, (32, 64), generator.input_shape[-1])[0][np.newaxis]
    wanted = with_precision(generator, "float32")(images)
    np.testing.assert_allclose(twin(images), wanted, atol=1e-5)


def test_other_upsampling_stays():
    images = keras.Input((None, None, 3))
    up = keras.layers.UpSampling2D(3)(images)
    twin = portable_twin(keras.Model(images, up))
    pixels = np.arange(12.0).reshape(1, 2, 2, 3)
    np.testing.assert_array_equal(twin(pixels), pixels.repeat(3, 1).repeat(3, 2))


def operations(content):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return collections.Counter(op["op_name"] for op in interpreter._get_ops_details())


def test_the_paper_generator_is_delegated_in_five_parts():
    """Each split of the graph costs a copy of every activation. Blocks add no split."""
    generator = resnet_generator(256, filters=4, blocks=3)
    for precision, (content, _) in litert.convert(generator, image_size=(64, 64)).items():
        found = operations(content)
        assert 1 <= found["DELEGATE"] <= 5, precision
        assert not {"MIRROR_PAD", "CUSTOM", "RESIZE_NEAREST_NEIGHBOR"} & set(found)
