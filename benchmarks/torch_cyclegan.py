"""The opponent: the same paper in plain PyTorch, as its users run it.

Networks, losses and order of work follow the paper and the documented defaults of its authors'
PyTorch implementation: reflection padding, instance norm without scale, least squares, λ = 10,
identity 0.5, a pool of 50 for each discriminator, one Adam for both generators and one for both
discriminators, every picture through a call of its own, discriminators frozen while generators
learn. Eager, in PyTorch's own memory layout, on as many threads as there are processors.
"""

from __future__ import annotations

import contextlib
import itertools
import random

import torch
from torch import nn


class ResidualBlock(nn.Module):
    def __init__(self, channels: int):
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
            nn.ReLU(True),
            nn.ReflectionPad2d(1),
            nn.Conv2d(channels, channels, 3),
            nn.InstanceNorm2d(channels),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.body(x)


def generator(blocks: int = 9, filters: int = 64) -> nn.Module:
    """c7s1-64, d128, d256, R256 × blocks, u128, u64, c7s1-3."""
    layers = [
        nn.ReflectionPad2d(3),
        nn.Conv2d(3, filters, 7),
        nn.InstanceNorm2d(filters),
        nn.ReLU(True),
    ]
    for width in (filters, filters * 2):
        layers += [
            nn.Conv2d(width, width * 2, 3, stride=2, padding=1),
            nn.InstanceNorm2d(width * 2),
            nn.ReLU(True),
        ]
    layers += [ResidualBlock(filters * 4) for _ in range(blocks)]
    for width in (filters * 4, filters * 2):
        layers += [
            nn.ConvTranspose2d(width, width // 2, 3, stride=2, padding=1, output_padding=1),
            nn.InstanceNorm2d(width // 2),
            nn.ReLU(True),
        ]
    layers += [nn.ReflectionPad2d(3), nn.Conv2d(filters, 3, 7), nn.Tanh()]
    return _started(nn.Sequential(*layers))


def discriminator(filters: int = 64) -> nn.Module:
    """C64-C128-C256-C512 and a score for each patch of 70×70."""
    layers = [nn.Conv2d(3, filters, 4, stride=2, padding=1), nn.LeakyReLU(0.2, True)]
    for width, stride in ((filters, 2), (filters * 2, 2), (filters * 4, 1)):
        layers += [
            nn.Conv2d(width, width * 2, 4, stride=stride, padding=1),
            nn.InstanceNorm2d(width * 2),
            nn.LeakyReLU(0.2, True),
        ]
    layers.append(nn.Conv2d(filters * 8, 1, 4, padding=1))
    return _started(nn.Sequential(*layers))


def _started(network: nn.Module) -> nn.Module:
    for module in network.modules():
        if isinstance(module, (nn.Conv2d, nn.ConvTranspose2d)):
            nn.init.normal_(module.weight, 0.0, 0.02)
            nn.init.zeros_(module.bias)
    return network


def parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())


class Pool:
    """Fifty generated pictures; from then on half of the answers are old ones."""

    def __init__(self, size: int = 50):
        self.size = size
        self.images: list[torch.Tensor] = []

    def query(self, images: torch.Tensor) -> torch.Tensor:
        shown = []
        for image in images.detach():
            if len(self.images) < self.size:
                self.images.append(image.clone())
                shown.append(image)
            elif random.random() < 0.5:
                place = random.randrange(self.size)
                shown.append(self.images[place])
                self.images[place] = image.clone()
            else:
                shown.append(image)
        return torch.stack(shown)


class CycleGAN:
    """Four networks and one step of their training.

    Args:
        blocks: int, residual blocks of a generator.
        filters: int, channels after the first convolution of each network.
        bfloat16: bool, whether forward passes and losses run under `torch.autocast`.
    """

    def __init__(self, blocks: int = 9, filters: int = 64, bfloat16: bool = False):
        self.G, self.F = generator(blocks, filters), generator(blocks, filters)
        self.D_A, self.D_B = discriminator(filters), discriminator(filters)
        self.pool_A, self.pool_B = Pool(), Pool()
        self.bfloat16 = bfloat16
        self.mse, self.l1 = nn.MSELoss(), nn.L1Loss()
        self.generator_optimizer = torch.optim.Adam(
            itertools.chain(self.G.parameters(), self.F.parameters()), 2e-4, betas=(0.5, 0.999)
        )
        self.discriminator_optimizer = torch.optim.Adam(
            itertools.chain(self.D_A.parameters(), self.D_B.parameters()), 2e-4, betas=(0.5, 0.999)
        )

    def _cast(self) -> contextlib.AbstractContextManager:
        if self.bfloat16:
            return torch.autocast("cpu", torch.bfloat16)
        return contextlib.nullcontext()

    def _judged(self, scores: torch.Tensor, real: bool) -> torch.Tensor:
        return self.mse(scores, torch.full_like(scores, float(real)))

    def _freeze(self, frozen: bool) -> None:
        for D in (self.D_A, self.D_B):
            for parameter in D.parameters():
                parameter.requires_grad = not frozen

    def train_step(self, real_A: torch.Tensor, real_B: torch.Tensor) -> float:
        """Both players once. Pictures are float32 `[N, 3, H, W]`. Gives the generators' loss."""
        with self._cast():
            fake_B = self.G(real_A)
            cycled_A = self.F(fake_B)
            fake_A = self.F(real_B)
            cycled_B = self.G(fake_A)

            self._freeze(True)
            loss = (
                self._judged(self.D_B(fake_B), True)
                + self._judged(self.D_A(fake_A), True)
                + 10.0 * self.l1(cycled_A, real_A)
                + 10.0 * self.l1(cycled_B, real_B)
                + 5.0 * self.l1(self.F(real_A), real_A)
                + 5.0 * self.l1(self.G(real_B), real_B)
            )
        self.generator_optimizer.zero_grad()
        loss.backward()
        self.generator_optimizer.step()

        self._freeze(False)
        self.discriminator_optimizer.zero_grad()
        for D, pool, real, fake in (
            (self.D_A, self.pool_A, real_A, fake_A),
            (self.D_B, self.pool_B, real_B, fake_B),
        ):
            with self._cast():
                judged = self._judged(D(real), True) + self._judged(D(pool.query(fake)), False)
                judged = 0.5 * judged
            judged.backward()
        self.discriminator_optimizer.step()
        return loss.item()
