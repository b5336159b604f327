"""PyTorch's side of every contest: the same tasks as in ours.py."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import DataLoader, Dataset

from .contest import resident_memory, serve, steps_from, timed
from .torch_cyclegan import CycleGAN, generator, parameters


def _model(blocks: int, precision: str) -> CycleGAN:
    model = CycleGAN(blocks, bfloat16=precision == "bfloat16")
    assert parameters(model.D_A) == 2_764_737
    assert blocks != 9 or parameters(model.G) == 11_378_179
    return model


def _steps(model: CycleGAN, size: int, batch: int, steps: int) -> list[float]:
    images = torch.rand(2, batch, 3, size, size) * 2 - 1
    ends = [time.time()]
    for _ in range(steps):
        model.train_step(images[0], images[1])
        ends.append(time.time())
    return ends


def train_step(size: int, blocks: int, batch: int, precision: str, steps: int) -> dict:
    return steps_from(_steps(_model(blocks, precision), size, batch, steps + 1))


def scaling(cases: Sequence[tuple[int, int, int]], precision: str, steps: int) -> dict:
    """Seconds a step for each `(size, blocks, batch)`, the quickest of a few."""
    return {"seconds": [min(train_step(*case, precision, steps)["steps"]) for case in cases]}


def matmul(precision: str, side: int = 4096) -> dict:
    a = torch.randn(side, side, dtype=getattr(torch, precision))
    return {"rate": 2 * side**3 / 1e9 / min(timed(lambda: a @ a, 8))}


def inference(form: str, size: int, batch: int, repeats: int) -> dict:
    torch.manual_seed(0)
    network = generator().eval()
    images = torch.rand(batch, 3, size, size) * 2 - 1
    if "jit" in form:
        network = torch.jit.freeze(torch.jit.trace(network, images))

    def call() -> np.ndarray:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, "autocast" in form):
            return network(images).float().numpy()

    call()
    first = time.time()
    if "jit" in form:
        call()  # the second call of a traced module compiles
    return {"first": first, "seconds": timed(call, repeats)}


class _Unaligned(Dataset):
    """A picture of A in order with a random one of B, as in the paper's training."""

    def __init__(self, folder: Path):
        self.A, self.B = (sorted((folder / split).iterdir()) for split in ("trainA", "trainB"))

    def __len__(self) -> int:
        return max(len(self.A), len(self.B))

    def __getitem__(self, place: int) -> tuple[torch.Tensor, torch.Tensor]:
        return (
            self.picture_output(self.A[place % len(self.A)]),
            self.picture_output(random.choice(self.B)),
        )

    def picture_output(self, path: Path) -> torch.Tensor:
        """Resized to 286 px by bicubic, cropped to 256 px, mirrored half of the time."""
        image = Image.open(path).convert("RGB").resize((286, 286), Image.Resampling.BICUBIC)
        left, above = random.randint(0, 30), random.randint(0, 30)
        image = image.crop((left, above, left + 256, above + 256))
        if random.random() < 0.5:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        pixels = torch.from_numpy(np.array(image)).permute(2, 0, 1).contiguous()
        return pixels.to(torch.float32).div(255).sub(0.5).div(0.5)


def data(source: str, workers: int, epochs: int, steps: int) -> dict:
    seconds, memory = [], []
    start = time.perf_counter()
    loader = DataLoader(_Unaligned(Path(source)), 1, shuffle=True, num_workers=workers)
    assert len(loader) == steps
    for _ in range(epochs):
        count = 0
        for _, _ in loader:
            count += 2
        assert count == 2 * steps
        seconds.append((time.perf_counter() - start) / count)
        memory.append(resident_memory())
        start = time.perf_counter()
    return {"seconds": seconds, "memory": memory}


if __name__ == "__main__":
    serve({task.__name__: task for task in (train_step, scaling, matmul, inference, data)})
