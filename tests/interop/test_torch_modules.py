"""The names of PyTorch's modules; test_pytorch.py has the real files."""

import pytest

from tfcyclegan.interop.layouts import Convolution, complete_settings, convolutions
from tfcyclegan.interop.torch_modules import norm_of, reference_modules, tensors_of

RESNET = {"generator": "resnet", "blocks": 1}


@pytest.mark.parametrize(
    ("settings", "layer", "module"),
    [
        ({**RESNET, "blocks": 9}, "c7_out", "model.26"),
        (RESNET, "r1b", "model.10.conv_block.5"),
        ({**RESNET, "dropout": 0.5}, "r1b", "model.10.conv_block.6"),
        ({**RESNET, "blocks": 9, "upsampling": "resize"}, "u2", "model.21"),
        ({"generator": "unet", "depth": 8}, "down2", "model.model.1.model.1"),
        ({"discriminator": "patch", "discriminator_layers": 3}, "score", "model.11"),
        ({"discriminator": "pixel"}, "score", "net.5"),
    ],
)
def test_names_in_the_order_of_the_network(settings, layer, module):
    modules = reference_modules(settings)
    assert modules[layer] == module
    role = "generator" if "generator" in settings else "discriminator"
    listed = convolutions(complete_settings(role, {"use_bias": True, **settings}), 3, 3)
    assert list(modules) == [convolution.layer for convolution in listed]


def test_a_norm_follows_its_convolution():
    assert norm_of("model.10.conv_block.5") == "model.10.conv_block.6"


def test_tensors():
    layer = Convolution("d1", 3, 4, 8, bias=True, norm="instance-affine", transposed=True)
    assert list(tensors_of([layer], {"d1": "model.4"})) == [
        ("d1", "model.4.weight", (4, 8, 3, 3), (2, 3, 1, 0)),
        ("d1", "model.4.bias", (8,), None),
        ("d1_norm", "model.5.weight", (8,), None),
        ("d1_norm", "model.5.bias", (8,), None),
    ]
