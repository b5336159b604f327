"""Makes pytorch_models.zip: files of small PyTorch CycleGANs, and the outputs of each network.

    make test-pytorch && PYTHONPATH=.pytorch .venv/bin/python tests/golden/pytorch_models.py

The modules have the order and names of the paper's PyTorch implementation and of the one "from
scratch". They were rewritten from what checkpoints of these contain. Tests import the files and
expect the same outputs, without PyTorch. `make test-pytorch` also makes networks with other
weights.
"""

from __future__ import annotations

import io
import zipfile
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import nn

FILTERS = 2


def norm_of(kind: str) -> Callable[[int], nn.Module]:
    return {
        "instance": nn.InstanceNorm2d,
        "instance-affine": lambda channels: nn.InstanceNorm2d(channels, affine=True),
        # PyTorch before 0.4 kept statistics for every instance norm.
        "tracked": lambda channels: nn.InstanceNorm2d(channels, track_running_stats=True),
        "batch": nn.BatchNorm2d,
        "none": lambda channels: nn.Identity(),
    }[kind]


# ---------------------------------------------------------------------- the paper's implementation


class ReferenceBlock(nn.Module):
    def __init__(self, width: int, kind: str, dropout: bool, pad: type = nn.ReflectionPad2d):
        super().__init__()
        norm, bias = norm_of(kind), kind not in ("batch", "none")
        self.conv_block = nn.Sequential(
            pad(1), nn.Conv2d(width, width, 3, bias=bias), norm(width), nn.ReLU(),
            *([nn.Dropout(0.5)] if dropout else []),
            pad(1), nn.Conv2d(width, width, 3, bias=bias), norm(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.conv_block(x)


class ReferenceResnet(nn.Module):
    def __init__(
        self, kind: str = "instance", blocks: int = 2, channels: int = 3, out: int = 3,
        filters: int = FILTERS, dropout: bool = False, resize: bool = False,
        pad: type = nn.ReflectionPad2d,
    ):  # fmt: skip
        super().__init__()
        norm, bias, f = norm_of(kind), kind not in ("batch", "none"), filters
        layers = [nn.ReflectionPad2d(3), nn.Conv2d(channels, f, 7, bias=bias), norm(f), nn.ReLU()]
        for width in (f, 2 * f):
            layers += [
                nn.Conv2d(width, 2 * width, 3, stride=2, padding=1, bias=bias), norm(2 * width),
                nn.ReLU(),
            ]  # fmt: skip
        layers += [ReferenceBlock(4 * f, kind, dropout, pad) for _ in range(blocks)]
        for width in (4 * f, 2 * f):
            half = width // 2
            if resize:
                layers += [
                    nn.Upsample(scale_factor=2), nn.ReflectionPad2d(1),
                    nn.Conv2d(width, half, 3, bias=bias),
                ]  # fmt: skip
            else:
                layers += [nn.ConvTranspose2d(width, half, 3, 2, 1, output_padding=1, bias=bias)]
            layers += [norm(half), nn.ReLU()]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(f, out, 7), nn.Tanh()]
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class ReferenceUnetLevel(nn.Module):
    """A level of the U-Net, which contains the next one.

    All but the outermost concatenate their output to their input.
    """

    def __init__(
        self, outer: int, inner: int, kind: str, inside: nn.Module | None, channels: int | None
    ):
        super().__init__()
        norm, bias = norm_of(kind), kind not in ("batch", "none")
        self.outermost = channels is not None
        down = nn.Conv2d(channels or outer, inner, 4, 2, 1, bias=bias)
        up = nn.ConvTranspose2d(
            inner * (2 if inside else 1), outer, 4, 2, 1, bias=self.outermost or bias
        )
        if self.outermost:
            layers = [down, inside, nn.ReLU(), up, nn.Tanh()]
        elif inside:
            layers = [nn.LeakyReLU(0.2), down, norm(inner), inside, nn.ReLU(), up, norm(outer)]
        else:
            layers = [nn.LeakyReLU(0.2), down, nn.ReLU(), up, norm(outer)]
        self.model = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x) if self.outermost else torch.cat([x, self.model(x)], 1)


class ReferenceUnet(nn.Module):
    def __init__(self, kind: str = "instance", depth: int = 5, filters: int = 1):
        super().__init__()
        widths = [3, *(filters * min(2**level, 8) for level in range(depth))]
        level = None
        for place in reversed(range(depth)):
            channels = None if place else 3
            level = ReferenceUnetLevel(widths[place], widths[place + 1], kind, level, channels)
        self.model = level

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class ReferencePatch(nn.Module):
    def __init__(
        self, kind: str = "instance", layers: int = 3, filters: int = 1, channels: int = 3
    ):
        super().__init__()
        norm, bias = norm_of(kind), kind not in ("batch", "none")
        widths = [filters * min(2**level, 8) for level in range(layers + 1)]
        modules = [nn.Conv2d(channels, filters, 4, 2, 1), nn.LeakyReLU(0.2)]
        for level in range(1, layers + 1):
            stride = 2 if level < layers else 1
            modules += [
                nn.Conv2d(widths[level - 1], widths[level], 4, stride, 1, bias=bias),
                norm(widths[level]), nn.LeakyReLU(0.2),
            ]  # fmt: skip
        self.model = nn.Sequential(*modules, nn.Conv2d(widths[-1], 1, 4, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.model(x)


class ReferencePixel(nn.Module):
    def __init__(self, kind: str = "instance", filters: int = FILTERS):
        super().__init__()
        bias = kind not in ("batch", "none")
        self.net = nn.Sequential(
            nn.Conv2d(3, filters, 1), nn.LeakyReLU(0.2),
            nn.Conv2d(filters, 2 * filters, 1, bias=bias), norm_of(kind)(2 * filters),
            nn.LeakyReLU(0.2), nn.Conv2d(2 * filters, 1, 1, bias=bias),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class RenamedBlock(ReferenceBlock):
    """The same block under another name, as in the generator of the package `vintagify`."""

    def __init__(self, width: int, kind: str):
        super().__init__(width, kind, dropout=False)
        self.block = self.conv_block
        del self.conv_block

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


def renamed_resnet() -> nn.Module:
    network = ReferenceResnet("instance-affine", blocks=2)
    for place in (10, 11):
        network.model[place] = RenamedBlock(4 * FILTERS, "instance-affine")
    return network


# ---------------------------------------------------------------------- from scratch


class ScratchConvolution(nn.Module):
    def __init__(self, conv: nn.Module, width: int, act: bool = True, affine: bool = False):
        super().__init__()
        last = nn.ReLU() if act else nn.Identity()
        self.conv = nn.Sequential(conv, nn.InstanceNorm2d(width, affine=affine), last)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def mirrored(inputs: int, filters: int, size: int, stride: int, padding: int) -> nn.Module:
    return nn.Conv2d(inputs, filters, size, stride, padding, padding_mode="reflect")


class ScratchBlock(nn.Module):
    def __init__(self, width: int, affine: bool):
        super().__init__()
        self.block = nn.Sequential(
            ScratchConvolution(mirrored(width, width, 3, 1, 1), width, affine=affine),
            ScratchConvolution(mirrored(width, width, 3, 1, 1), width, act=False, affine=affine),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.block(x)


class ScratchGenerator(nn.Module):
    """The first convolution is by itself ("bare"), in a "sequence", or in a "block"."""

    def __init__(self, first: str = "sequence", blocks: int = 2, affine: bool = False):
        super().__init__()
        f = FILTERS
        conv = mirrored(3, f, 7, 1, 3)
        if first == "bare":
            self.initial = conv
        elif first == "sequence":
            self.initial = nn.Sequential(conv, nn.InstanceNorm2d(f, affine=affine), nn.ReLU())
        else:
            self.initial = ScratchConvolution(conv, f, affine=affine)
        self.down_blocks = nn.ModuleList(
            ScratchConvolution(mirrored(width, 2 * width, 3, 2, 1), 2 * width, affine=affine)
            for width in (f, 2 * f)
        )
        self.res_blocks = nn.Sequential(*(ScratchBlock(4 * f, affine) for _ in range(blocks)))
        self.up_blocks = nn.ModuleList(
            ScratchConvolution(
                nn.ConvTranspose2d(width, width // 2, 3, 2, 1, output_padding=1), width // 2,
                affine=affine,
            )
            for width in (4 * f, 2 * f)
        )  # fmt: skip
        self.last = mirrored(f, 3, 7, 1, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        x = self.initial(x)
        for layer in (*self.down_blocks, self.res_blocks, *self.up_blocks):
            x = layer(x)
        return torch.tanh(self.last(x))


class ScratchJudge(nn.Module):
    def __init__(self, inputs: int, filters: int, stride: int):
        super().__init__()
        self.conv = nn.Sequential(
            mirrored(inputs, filters, 4, stride, 1), nn.InstanceNorm2d(filters), nn.LeakyReLU(0.2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


class ScratchDiscriminator(nn.Module):
    """The last convolution is in `model`, or with its sigmoid in `final`."""

    def __init__(self, final: bool = False, layers: int = 3):
        super().__init__()
        widths = [2**level for level in range(layers + 1)]
        self.initial = nn.Sequential(mirrored(3, 1, 4, 2, 1), nn.LeakyReLU(0.2))
        strided = [
            ScratchJudge(widths[level - 1], widths[level], 2 if level < layers else 1)
            for level in range(1, layers + 1)
        ]
        last = mirrored(widths[-1], 1, 4, 1, 1)
        self.model = nn.Sequential(*strided, *([] if final else [last]))
        self.final = nn.Sequential(last, nn.Sigmoid()) if final else nn.Sigmoid()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.final(self.model(self.initial(x)))


# ---------------------------------------------------------------------- the files

#: What is in each file: a network, and how its state dictionary is wrapped.
CASES: dict[str, tuple[Callable[[], nn.Module], str]] = {
    "resnet/latest_net_G_A.pth": (ReferenceResnet, "plain"),
    "resnet/latest_net_G_B.pth": (ReferenceResnet, "plain"),
    "resnet/latest_net_D_A.pth": (ReferencePatch, "plain"),
    "resnet/latest_net_D_B.pth": (ReferencePatch, "plain"),
    "affine/latest_net_G.pth": (lambda: ReferenceResnet("instance-affine", 1), "plain"),
    "tracked/latest_net_G.pth": (lambda: ReferenceResnet("tracked", 1), "as in 2018"),
    "batch/latest_net_G_A.pth": (lambda: ReferenceResnet("batch", 3), "parallel"),
    "none/latest_net_G_A.pth": (lambda: ReferenceResnet("none", 0), "plain"),
    "grey/latest_net_G_B.pth": (lambda: ReferenceResnet(blocks=1, channels=1), "plain"),
    "dropout/latest_net_G_A.pth": (lambda: ReferenceResnet(blocks=1, dropout=True), "plain"),
    "resize/latest_net_G_A.pth": (lambda: ReferenceResnet(blocks=1, resize=True), "plain"),
    "replicate/latest_net_G_B.pth": (
        lambda: ReferenceResnet(blocks=1, pad=nn.ReplicationPad2d),
        "plain",
    ),
    "renamed/G_A2B_epoch3.pth": (renamed_resnet, "plain"),
    "unet/latest_net_G_A.pth": (ReferenceUnet, "plain"),
    "unet/5_net_G_A.pth": (lambda: ReferenceUnet("batch", 6), "plain"),
    "unet_none/latest_net_G_A.pth": (lambda: ReferenceUnet("none"), "plain"),
    "layers/latest_net_D_A.pth": (lambda: ReferencePatch("batch", 2), "parallel"),
    "layers/latest_net_D_B.pth": (lambda: ReferencePatch(layers=4), "plain"),
    "pixel/latest_net_D_A.pth": (ReferencePixel, "plain"),
    "pixel/latest_net_D_B.pth": (lambda: ReferencePixel("batch"), "plain"),
    "scratch/genz.pth.tar": (ScratchGenerator, "with optimizer"),
    "scratch/genh.pth.tar": (ScratchGenerator, "nested"),
    "scratch/critich.pth.tar": (ScratchDiscriminator, "nested"),
    "scratch/criticz.pth.tar": (lambda: ScratchDiscriminator(final=True), "nested"),
    "bare/genz.pth.tar": (lambda: ScratchGenerator("bare"), "nested"),
    "block/genh.pth.tar": (lambda: ScratchGenerator("block", 1, affine=True), "nested"),
}


def randomised(network: nn.Module) -> nn.Module:
    """Random weights and statistics: a zero or one could hide a mistake."""
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.2 if parameter.dim() == 1 else 0.0, 0.15)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            nn.init.normal_(buffer, 0.1, 0.3)
        elif name.endswith("running_var"):
            nn.init.uniform_(buffer, 0.3, 2.0)
    return network


def content_of(network: nn.Module, wrapping: str) -> dict:
    """The content of a network's file."""
    state = network.state_dict()
    if wrapping in ("parallel", "as in 2018"):
        # PyTorch 0.4.0 and earlier did not count batches.
        names = [n for n in state if wrapping == "parallel" or "num_batches" not in n]
        return OrderedDict((f"module.{name}", state[name]) for name in names)
    if wrapping == "with optimizer":
        optimizer = torch.optim.Adam(network.parameters(), lr=1e-5, betas=(0.5, 0.999))
        network(torch.zeros(1, 3, 32, 32)).sum().backward()
        copies = {name: value.clone() for name, value in state.items()}
        optimizer.step()
        network.load_state_dict(copies)
        return {"state_dict": network.state_dict(), "optimizer": optimizer.state_dict()}
    return {"state_dict": state} if wrapping == "nested" else state


def draw(network: nn.Module, images: np.ndarray) -> np.ndarray:
    """The network's output at inference for `[N, H, W, C]`."""
    network.eval()
    for module in network.modules():
        if isinstance(module, nn.InstanceNorm2d):
            module.train()  # normalises each picture by itself
    first = next(parameter for parameter in network.parameters() if parameter.dim() == 4)
    x = torch.from_numpy(images[..., : first.shape[1]]).permute(0, 3, 1, 2)
    with torch.no_grad():
        return network(x).permute(0, 2, 3, 1).contiguous().numpy()


def part_for(name: str, images: np.ndarray) -> np.ndarray:
    """The part of the pictures that a network needs. It keeps the golden file small."""
    if "net_G" not in name and "gen" not in name and "G_A2B" not in name:
        return images
    if name.startswith("unet"):
        return images if "5_net" in name else images[:, :32, :32]
    return images[:, :16, :24]


def various_tensors() -> dict:
    """Every kind of tensor and container that a checkpoint may hold."""
    numbers = torch.arange(24.0).reshape(2, 3, 4)
    return {
        "float32": numbers,
        "float64": numbers.double() / 7,
        "float16": numbers.half() / 7,
        "bfloat16": numbers.bfloat16() / 7,
        "int64": torch.tensor([1, -(2**40)]),
        "uint8": torch.tensor([0, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False]),
        "scalar": torch.tensor(2.5),
        "empty": torch.zeros(0, 3),
        "turned": numbers.permute(2, 0, 1),
        "part": numbers[:, 1:, 2],
        "channels last": torch.arange(48.0)
        .reshape(2, 2, 3, 4)
        .to(memory_format=torch.channels_last),
        "parameter": nn.Parameter(torch.ones(2)),
        "more": [1, 2.5, True, None, "text", (1, (2, [3])), OrderedDict(a={"b": -(2**70)})],
    }


def main() -> None:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (1, 64, 64, 3)).astype(np.float32)
    members: dict[str, bytes] = {}

    def save(name: str, content: object, **settings: object) -> None:
        file = io.BytesIO()
        torch.save(content, file, **settings)
        members[name] = file.getvalue()

    outputs = {"images": images}
    for name, (make, wrapping) in CASES.items():
        network = randomised(make())
        save(
            name,
            content_of(network, wrapping),
            _use_new_zipfile_serialization=wrapping != "as in 2018",
        )
        outputs[name] = draw(network, part_for(name, images))
    tensors = various_tensors()
    save("tensors.pth", tensors)
    save("tensors_protocol_4.pth", tensors, pickle_protocol=4)
    save("tensors_old.pth", tensors, _use_new_zipfile_serialization=False)
    outputs |= {
        f"tensors/{name}": (value.float() if value.dtype == torch.bfloat16 else value).detach()
        for name, value in tensors.items()
        if isinstance(value, torch.Tensor)
    }
    file = io.BytesIO()
    np.savez(file, **{name: np.asarray(value) for name, value in outputs.items()})
    path = Path(__file__).with_name("pytorch_models.zip")
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        for name, data in {**members, "outputs.npz": file.getvalue()}.items():
            archive.writestr(zipfile.ZipInfo(name), data, zipfile.ZIP_DEFLATED, 9)
    print(f"{path}: {path.stat().st_size:,} bytes, PyTorch {torch.__version__}")


if __name__ == "__main__":
    main()
