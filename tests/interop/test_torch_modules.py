"""The names of PyTorch's modules; test_pytorch.py has the real files."""

import pytest

from tfcyclegan.interop.layouts import Convolution, complete_settings, convolutions
from tfcyclegan.interop.torch_modules import (
    norm_of,
    patch_modules,
    pixel_modules,
    resnet_modules,
    tensors_of,
    unet_modules,
)


def test_names():
    assert resnet_modules(9)["c7_out"] == "model.26"
    assert resnet_modules(1)["r1b"] == "model.10.conv_block.5"
    assert resnet_modules(1, dropout=True)["r1b"] == "model.10.conv_block.6"
    assert resnet_modules(9, resize=True)["u2"] == "model.21"
    assert unet_modules(8)["down2"] == "model.model.1.model.1"
    assert patch_modules(3)["score"] == "model.11"
    assert pixel_modules()["score"] == "net.5"
    assert norm_of("model.10.conv_block.5") == "model.10.conv_block.6"


@pytest.mark.parametrize(
    ("modules", "settings"),
    [
        (resnet_modules(2), {"generator": "resnet", "blocks": 2}),
        (unet_modules(5), {"generator": "unet", "depth": 5}),
        (patch_modules(3), {"discriminator": "patch", "discriminator_layers": 3}),
        (pixel_modules(), {"discriminator": "pixel"}),
    ],
)
def test_modules_are_in_the_order_of_the_network(modules, settings):
    role = "generator" if "generator" in settings else "discriminator"
    listed = convolutions(complete_settings(role, {"use_bias": True, **settings}), 3, 3)
    assert list(modules) == [layer.layer for layer in listed]


def test_tensors():
    layer = Convolution("d1", 3, 4, 8, bias=True, norm="instance-affine", transposed=True)
    assert list(tensors_of([layer], {"d1": "model.4"})) == [
        ("d1", "model.4.weight", (4, 8, 3, 3), (2, 3, 1, 0)),
        ("d1", "model.4.bias", (8,), None),
        ("d1_norm", "model.5.weight", (8,), None),
        ("d1_norm", "model.5.bias", (8,), None),
    ]
