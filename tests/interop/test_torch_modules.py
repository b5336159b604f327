"""The names of PyTorch's modules; test_pytorch.py has the real files."""

from tfcyclegan.interop.layouts import Convolution
from tfcyclegan.interop.torch_modules import (
    patch_modules,
    pixel_modules,
    resnet_modules,
    tensors_of,
    unet_modules,
)


def test_names():
    assert resnet_modules(9)["c7_out"] == ("model.26", "model.27")
    assert resnet_modules(1)["r1b"] == ("model.10.conv_block.5", "model.10.conv_block.6")
    assert resnet_modules(1, dropout=True)["r1b"][0] == "model.10.conv_block.6"
    assert resnet_modules(9, resize=True)["u2"][0] == "model.21"
    assert unet_modules(8)["down2"][0] == "model.model.1.model.1"
    assert patch_modules(3)["score"][0] == "model.11"
    assert pixel_modules()["score"][0] == "net.5"


def test_tensors():
    layer = Convolution("d1", 3, 4, 8, bias=True, norm="instance-affine", transposed=True)
    assert list(tensors_of([layer], {"d1": ("model.4", "model.5")})) == [
        ("d1", "model.4.weight", (4, 8, 3, 3), (2, 3, 1, 0)),
        ("d1", "model.4.bias", (8,), None),
        ("d1_norm", "model.5.weight", (8,), None),
        ("d1_norm", "model.5.bias", (8,), None),
    ]
