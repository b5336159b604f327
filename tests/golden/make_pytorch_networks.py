"""Makes pytorch_networks.npz: small networks of the paper in PyTorch, random weights, and outputs.

    make test-pytorch && PYTHONPATH=.pytorch .venv/bin/python tests/golden/make_pytorch_networks.py

Written from the paper and the published description of its PyTorch implementation. Tests set the
weights in this package's networks and expect the same outputs, without PyTorch. Weights are stored
in the order in which the layers are used.
"""

from pathlib import Path

import numpy as np
import torch
from torch import nn

FILTERS = 2


def norm(channels: int, affine: bool) -> nn.Module:
    return nn.InstanceNorm2d(channels, affine=affine)


class Block(nn.Module):
    def __init__(self, channels: int, affine: bool):
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels, affine),
            nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(channels, channels, 3), norm(channels, affine),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def resnet(affine: bool = False, bare_first: bool = False, reflect: bool = False) -> nn.Module:
    """Two blocks. `bare_first` and `reflect` are the from-scratch variant."""
    f, mode = FILTERS, "reflect" if reflect else "zeros"
    layers = [nn.ReflectionPad2d(3), nn.Conv2d(3, f, 7)]
    if not bare_first:
        layers += [norm(f, affine), nn.ReLU()]
    for width in (f, 2 * f):
        layers += [
            nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, padding_mode=mode),
            norm(2 * width, affine),
            nn.ReLU(),
        ]
    layers += [Block(4 * f, affine), Block(4 * f, affine)]
    for width in (4 * f, 2 * f):
        layers += [
            nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1),
            norm(width // 2, affine),
            nn.ReLU(),
        ]
    return nn.Sequential(*layers, nn.ReflectionPad2d(3), nn.Conv2d(f, 3, 7), nn.Tanh())


class Unet(nn.Module):
    """pix2pix's U-Net with five halvings."""

    def __init__(self):
        super().__init__()
        widths = [FILTERS * min(2**level, 8) for level in range(5)]
        self.down = nn.ModuleList(
            nn.Conv2d(before, after, 4, 2, 1)
            for before, after in zip([3, *widths], widths, strict=False)
        )
        outs = [3, *widths[:-1]]
        self.up = nn.ModuleList(
            nn.ConvTranspose2d(widths[level] * (1 if level == 4 else 2), outs[level], 4, 2, 1)
            for level in reversed(range(5))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        def normed(y: torch.Tensor) -> torch.Tensor:
            return nn.functional.instance_norm(y)

        skips = []
        for level, conv in enumerate(self.down):
            x = conv(x if level == 0 else nn.functional.leaky_relu(x, 0.2))
            x = normed(x) if level in (1, 2, 3) else x
            skips.append(x)
        for level, conv in zip(reversed(range(5)), self.up, strict=True):
            x = x if level == 4 else torch.cat([skips[level], x], 1)
            x = conv(nn.functional.relu(x))
            x = normed(x) if level else x
        return torch.tanh(x)


def patch(reflect: bool = False, sigmoid: bool = False) -> nn.Module:
    f, mode = FILTERS, "reflect" if reflect else "zeros"
    widths = [3, f, 2 * f, 4 * f, 8 * f]
    layers = []
    for level in range(4):
        stride = 2 if level < 3 else 1
        layers.append(nn.Conv2d(widths[level], widths[level + 1], 4, stride, 1, padding_mode=mode))
        layers += [norm(widths[level + 1], False)] if level else []
        layers.append(nn.LeakyReLU(0.2))
    layers.append(nn.Conv2d(8 * f, 1, 4, 1, 1, padding_mode=mode))
    return nn.Sequential(*layers, *([nn.Sigmoid()] if sigmoid else []))


def pixel() -> nn.Module:
    f = FILTERS
    return nn.Sequential(
        nn.Conv2d(3, f, 1), nn.LeakyReLU(0.2), nn.Conv2d(f, 2 * f, 1), norm(2 * f, False),
        nn.LeakyReLU(0.2), nn.Conv2d(2 * f, 1, 1),
    )  # fmt: skip


NETWORKS = {
    "resnet": (resnet, {}),
    "resnet_affine": (resnet, {"affine": True}),
    "resnet_variant": (resnet, {"bare_first": True, "reflect": True}),
    "unet": (Unet, {}),
    "patch": (patch, {}),
    "patch_variant": (patch, {"reflect": True, "sigmoid": True}),
    "pixel": (pixel, {}),
}


def main() -> None:
    torch.manual_seed(0)
    arrays = {}
    images = torch.rand(2, 3, 32, 64) * 2 - 1
    arrays["images"] = images.permute(0, 2, 3, 1).numpy()
    for name, (make, settings) in NETWORKS.items():
        network = make(**settings)
        for parameter in network.parameters():
            nn.init.normal_(parameter, 0.2 if parameter.dim() == 1 else 0.0, 0.15)
        for place, parameter in enumerate(network.parameters()):
            arrays[f"{name}/{place:03d}"] = parameter.detach().numpy()
        with torch.no_grad():
            arrays[f"{name}/output"] = network(images).permute(0, 2, 3, 1).numpy()
    path = Path(__file__).with_name("pytorch_networks.npz")
    np.savez_compressed(path, **arrays)
    print(f"{path}: {path.stat().st_size:,} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
