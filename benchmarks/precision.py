"""Whether training in 16 bits learns as well as in 32: the embedded data, measured at the end.

    python -m benchmarks.precision [--json FILE] [--seeds 0 1 2] [--precisions mixed_bfloat16 ...]
    python -m benchmarks.precision --precisions mixed_float16 --filters 8 --epochs 9

PyTorch has no part in this one: "theirs" is this package in float32. CPUs emulate float16: a whole
run in mixed_float16 takes more than an hour, but narrow networks train as quickly as in float32.
"""

from __future__ import annotations

import json as json_module
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import tyro

from .contest import console, save


def main(
    json: Path | None = None,
    seeds: tuple[int, ...] = (0, 1, 2),
    precisions: tuple[str, ...] = ("mixed_bfloat16",),
    filters: int | None = None,
    epochs: int | None = None,
    runs: Path = Path("runs/precision"),
) -> None:
    """Trains on the embedded data in float32 and in other precisions, and compares.

    Args:
        json: file for the results.
        seeds: seeds that are trained with in each precision.
        precisions: to compare with float32.
        filters: channels of all networks after the first convolution. Default: the data's recipe.
        epochs: length of the runs. Default: the data's recipe.
        runs: folder for the runs; those that are over are not done again.
    """
    options = []
    if filters:
        options += ["--filters", str(filters), "--discriminator-filters", str(filters)]
    if epochs:
        options += ["--epochs", str(epochs)]
    runs = runs.joinpath(*([f"{filters or ''}x{epochs or ''}"] if options else []))
    scores = {
        precision: [_trained(precision, seed, runs, options) for seed in seeds]
        for precision in ("float32", *precisions)
    }
    rows = []
    for precision in precisions:
        for direction in ("AtoB", "BtoA"):
            for measure, unit in (("psnr", "dB"), ("ssim", "")):
                theirs, ours = (
                    [result[direction][measure]["translated"] for result in scores[kind]]
                    for kind in ("float32", precision)
                )
                means = statistics.fmean(ours), statistics.fmean(theirs)
                name = f"{precision}, {direction}, {measure}"
                console.print(
                    f"{name}: {', '.join(f'{value:.3f}' for value in ours)}; float32: "
                    f"{', '.join(f'{value:.3f}' for value in theirs)} {unit}"
                )
                rows.append(
                    {
                        "name": name,
                        "ours": means[0],
                        "theirs": means[1],
                        "ratio": means[0] / means[1],
                        "unit": unit,
                    }
                )
    if json:
        save(rows, json)


def _trained(precision: str, seed: int, runs: Path, options: Sequence[str]) -> dict:
    """The scores of one run, trained unless it is there."""
    folder = runs / f"{precision}-{seed}"
    result = folder / "result.json"
    if not result.exists():
        command = [sys.executable, "train.py", "--precision", precision, "--seed", str(seed)]
        command += ["--no-export", "--run-dir", str(folder), *options]
        if folder.exists():
            command.append("--resume")
        subprocess.run(command, check=True, cwd=Path(__file__).parents[1])
    return json_module.loads(result.read_text())["evaluation"]["scores"]


if __name__ == "__main__":
    tyro.cli(main)
