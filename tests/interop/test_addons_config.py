"""Whole models whose layers are not those of the Keras example are refused."""

import json

import pytest

from tfcyclegan import InputError
from tfcyclegan.interop.addons_config import epsilon_of
from tfcyclegan.interop.description import describe


def strided(layers):
    return next(layer for layer in layers if layer["config"].get("strides") == [2, 2])


def norms(layers):
    return [layer for layer in layers if layer["class_name"].endswith("InstanceNormalization")]


def padding(layers):
    return next(layer for layer in layers if "eflection" in layer["class_name"])


@pytest.mark.parametrize(
    ("layer", "field", "value", "message"),
    [
        (
            strided,
            "padding",
            "valid",
            r"conv2d\w* is Conv2D strides=\[2, 2\] where .*ing=same",
        ),
        (strided, "dilation_rate", [2, 2], r"padding=same dilation_rate=\[2, 2\] where"),
        (strided, "strides", None, r"is Conv2D strides=None padding=same where"),
        (strided, "activation", "elu", r"conv2d\w* is elu where the Keras example has InstanceNo"),
        (padding, "padding", [2, 2], "is reflection padding 2 where .* has reflection padding 3"),
        (lambda layers: norms(layers)[0], "epsilon", 0.5, r"norms differ in epsilon \(\[0.0001, 0"),
        (lambda layers: norms(layers)[0], "epsilon", "x", "its layers' settings are damaged"),
        (lambda layers: norms(layers)[0], "axis", 1, "is InstanceNormalization axis=1 where"),
    ],
)
def test_layers_with_other_settings(layer, field, value, message, edited):
    def change(file):
        config = json.loads(file.attrs["model_config"])
        layer(config["config"]["layers"])["config"][field] = value
        file.attrs["model_config"] = json.dumps(config)

    with pytest.raises(InputError, match=message):
        describe(edited("whole.h5", change))


@pytest.mark.parametrize("config", ["", "{}", '{"config": {"layers": [1]}}', "[" * 10**5])
def test_configurations_of_something_else(config):
    with pytest.raises(InputError, match=r"x.h5: its model is not a list of layers"):
        epsilon_of({}, config, "x.h5")


@pytest.mark.parametrize("epsilon", [-1, float("inf"), float("nan")])
def test_an_epsilon_that_makes_no_sense(epsilon):
    discriminator = {"discriminator_layers": 1}
    with pytest.raises(InputError, match="x: its norms have an epsilon of"):
        epsilon_of(discriminator, discriminator_config(epsilon), "x")
    assert epsilon_of(discriminator, discriminator_config(0.25), "x") == 0.25


def discriminator_config(epsilon):
    def convolution(strides):
        config = {"kernel_size": [4, 4], "strides": [strides] * 2, "padding": "same"}
        return {"class_name": "Conv2D", "config": config}

    leaky = {"class_name": "LeakyReLU", "config": {"alpha": 0.2}}
    norm = {"class_name": "Addons>InstanceNormalization", "config": {"epsilon": epsilon}}
    layers = [convolution(2), leaky, convolution(1), norm, leaky, convolution(1)]
    return json.dumps({"config": {"layers": layers}})
