"""The listed layers are those of the networks that are built."""

import dataclasses

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.interop.layouts import (
    NORM_VECTORS,
    Convolution,
    Network,
    as_float32,
    check_size,
    compare,
    complete_settings,
    convolutions,
    some,
    weights_by_layer,
)
from tfcyclegan.networks.architecture import Architecture


@pytest.mark.parametrize(
    "settings",
    [
        {"generator": "resnet", "blocks": 2, "norm": "instance-affine", "use_bias": True},
        {"generator": "resnet", "blocks": 0, "norm": "batch", "use_bias": False},
        {"generator": "resnet", "bare_first": True, "upsampling": "resize", "blocks": 1},
        {"generator": "unet", "depth": 5, "norm": "batch", "use_bias": True},
        {"generator": "unet", "depth": 7},
        {"discriminator_layers": 4, "norm": "instance-affine"},
        {"discriminator_layers": 1, "alignment": "tensorflow", "use_bias": False},
        {"discriminator": "pixel", "norm": "batch", "use_bias": False},
    ],
)
def test_listed_layers_are_those_of_the_built_network(settings):
    defaults = {"use_bias": True, "blocks": 1, "filters": 3, "discriminator_filters": 3}
    architecture = Architecture(**{**defaults, **settings})
    if "generator" in settings:
        network = architecture.build_generator("AtoB", 256)
        role = "generator"
    else:
        network = architecture.build_discriminator("A", 256)
        role = "discriminator"
    described = complete_settings(role, dataclasses.asdict(architecture))
    listed = convolutions(described, 3, network.output_shape[-1])
    expected = {}
    for layer in listed:
        for name, shapes in layer.arrays.items():
            expected[name] = list(shapes.values())
    found = {
        layer: [array.shape for array in arrays]
        for layer, arrays in weights_by_layer(network).items()
    }
    assert found == expected


def test_arrays_of_a_convolution():
    assert Convolution("u1", 3, 8, 4).arrays == {"u1": {"kernel": (3, 3, 8, 4), "bias": (4,)}}
    for norm, vectors in NORM_VECTORS.items():
        arrays = Convolution("u1", 3, 8, 4, False, norm, transposed=True).arrays
        assert arrays["u1"] == {"kernel": (3, 3, 4, 8)}
        assert list(arrays.get("u1_norm", ())) == list(vectors)


def test_a_network():
    weights = {"a": [np.ones((2, 3)), np.ones(3)], "b": [np.array([1, np.inf])]}
    network = Network("x", {"discriminator": "patch"}, 3, 1, weights)
    assert network.role == "discriminator"
    assert network.count() == 11
    assert network.non_finite_layer() == "b"


def test_more_layers_than_there_are():
    with pytest.raises(InputError, match="blocks 1000000: the limit is 100"):
        convolutions(complete_settings("generator", {"blocks": 10**6}), 3, 3)


def test_settings_of_a_role():
    generator = complete_settings("generator", {"blocks": 2})
    discriminator = complete_settings("discriminator", {"sigmoid": True})
    assert generator["blocks"] == 2
    assert discriminator["sigmoid"] is True
    assert generator.keys() & discriminator.keys() == {"norm", "use_bias", "epsilon", "alignment"}
    every = {field.name for field in dataclasses.fields(Architecture)}
    assert generator.keys() | discriminator.keys() == every - {"channels_A", "channels_B"}


def test_compare_names_each_difference():
    found = {"a": (1,), "b": (2,), "c": (3,), "ignored": ()}
    expected = {"a": (1,), "b": (3,), "d": (4,)}
    message = r"x: .*missing: d; not known: c; of another shape: b is \(2,\) where \(3,\) fits"
    with pytest.raises(InputError, match=message):
        compare("x", found, expected, ["ignored"])
    compare("x", {"a": (1,), "ignored": ()}, {"a": (1,)}, ["ignored"])


def test_small_things():
    assert some(["a", "b", "c"], 2) == "a, b and 1 more"
    assert some(["a" * 100]) == "a" * 80
    assert as_float32(np.ones(3)).dtype == np.float32


def test_arrays_larger_than_their_file():
    check_size("x", 40, 10)
    with pytest.raises(InputError, match="x: its arrays would fill 41 bytes, but the file has 10"):
        check_size("x", 41, 10)
