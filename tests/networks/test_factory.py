"""The layers of a network by name, norm and bias, and the checks of their settings."""

import keras
import pytest

from tfcyclegan import InputError
from tfcyclegan.layers import NarrowConv2D
from tfcyclegan.networks.factory import (
    START,
    LayerFactory,
    check_choice,
    check_padding,
    picture_output,
    score_output,
)

INPUTS = keras.Input((8, 8, 4))


def layer_of(x):
    return x._keras_history.operation


@pytest.mark.parametrize(
    ("norm", "kind", "bias"),
    [
        ("instance", "InstanceNormalization", True),
        ("instance-affine", "InstanceNormalization", True),
        ("batch", "BatchNormalization", False),
        ("none", None, True),
    ],
)
def test_a_convolution_and_its_norm(norm, kind, bias):
    make = LayerFactory(norm, None, 1e-3, "mixed_bfloat16")
    x = make.conv(INPUTS, 16, 3, "c1")
    conv = layer_of(x)
    assert (conv.name, conv.use_bias) == ("c1", bias)
    assert conv.compute_dtype == "bfloat16"
    assert layer_of(make.conv(INPUTS, 16, 3, "c2", bias=not bias)).use_bias is not bias
    y = make.norm(x, "c1")
    if kind is None:
        assert y is x
    else:
        layer = layer_of(y)
        assert (type(layer).__name__, layer.name, layer.epsilon) == (kind, "c1_norm", 1e-3)
        assert getattr(layer, "affine", None) == {"batch": None}.get(
            norm, norm == "instance-affine"
        )
    assert layer_of(make.norm_relu(x, "c3")).name == "c3_relu"


def test_other_layers():
    make = LayerFactory("instance", False, 1e-5, None)
    assert isinstance(layer_of(make.conv(INPUTS, 3, 3, "narrow")), NarrowConv2D)
    assert make.dropout(INPUTS, 0, "none") is INPUTS
    assert layer_of(make.dropout(INPUTS, 0.5, "some")).rate == 0.5
    grown = make.conv_transpose(make.pad(INPUTS, 1, "p", "reflect"), 2, 4, "t")
    assert make.crop(make.leaky_relu(grown, "t"), ((1, 1), (1, 1)), "t").shape == (None, 20, 20, 2)
    assert not layer_of(grown).use_bias


def test_outputs_are_float32():
    with pytest.raises(InputError, match="residual_output=True needs as many"):
        picture_output(keras.Input((8, 8, 3)), INPUTS, residual=True)
    for residual in (False, True, "scaled", "clipped"):
        layer = layer_of(picture_output(INPUTS, INPUTS, residual))
        assert layer.name == ("clip" if residual == "clipped" else "tanh")
        assert layer.compute_dtype == "float32"
        assert getattr(layer, "scale", None) == (START if residual == "scaled" else None)
    with pytest.raises(InputError, match="residual_output='yes' is unknown: take False, True"):
        picture_output(INPUTS, INPUTS, "yes")
    assert [layer_of(score_output(INPUTS, s)).name for s in (False, True)] == [
        "logit",
        "probability",
    ]


def test_refuses():
    check_choice("upsampling", "resize", ("transposed", "resize"))
    with pytest.raises(InputError, match=r"^kind='c' is unknown: take a or b$"):
        check_choice("kind", "c", ("a", "b"))
    check_padding("torch", "padding", "reflect")
    with pytest.raises(InputError, match="alignment=tensorflow pads with zeros: take padding=zero"):
        check_padding("tensorflow", "padding", "reflect")
