"""One training step: seconds, memory, time to the first, and share of the machine's arithmetic.

python -m benchmarks.train_step [--json FILE] [--rounds 3] [--cases 256x9x1 ...]
"""

from __future__ import annotations

import statistics
from pathlib import Path

import tyro

from tfcyclegan.precision import resolve_precision

from .contest import Entry, Figure, console, in_turns, report

#: Ours and theirs that are compared, each with the name of the comparison.
PAIRS = (
    ("ours auto", "PyTorch float32", "auto to float32"),
    ("ours auto", "PyTorch bfloat16", "auto to bfloat16 autocast"),
    ("ours float32", "PyTorch float32", "float32 on both sides"),
)


def operations(size: int, blocks: int, batch: int) -> float:
    """GFLOP of a step: a multiplication and an addition for every weight at every place.

    Six passes through a generator and their gradients for weights and inputs; two passes through
    a discriminator with gradients for inputs alone, four with those for weights.
    """
    pixels = batch * size * size
    generator = (
        pixels * 49 * 3 * 64 * 2  # c7s1-64 and c7s1-3
        + pixels / 4 * 9 * 64 * 128 * 2  # d128 and u64
        + pixels / 16 * 9 * 128 * 256 * 2  # d256 and u128
        + pixels / 16 * 9 * 256 * 256 * 2 * blocks
    )
    side = size // 8
    discriminator = (
        pixels / 4 * 16 * 3 * 64
        + pixels / 16 * 16 * 64 * 128
        + pixels / 64 * 16 * 128 * 256
        + batch * (side - 1) ** 2 * 16 * 256 * 512
        + batch * (side - 2) ** 2 * 16 * 512
    )
    return 2 * (6 * 3 * generator + (2 * 2 + 4 * 3) * discriminator) / 1e9


def main(
    json: Path | None = None,
    rounds: int = 3,
    steps: int = 3,
    cases: tuple[str, ...] = ("256x9x1", "128x6x1", "128x6x4"),
) -> None:
    """Measures training steps against PyTorch.

    Args:
        json: file for the results.
        rounds: times that every entry is run.
        steps: steps a run, after the first.
        cases: size x blocks x batch.
    """
    precision, reason = resolve_precision("auto")
    figures = []
    shares = []
    rates = {
        kind: in_turns({"": Entry("ours", "matmul", {"precision": kind})}, 1)[""][0]["rate"]
        for kind in dict.fromkeys((precision, "float32"))
    }
    for case in cases:
        size, blocks, batch = (int(part) for part in case.split("x"))
        work = {"size": size, "blocks": blocks, "batch": batch, "steps": steps}
        found = in_turns(
            {
                "ours auto": Entry("ours", "train_step", {**work, "precision": "auto"}),
                "PyTorch float32": Entry("theirs", "train_step", {**work, "precision": "float32"}),
                "ours float32": Entry("ours", "train_step", {**work, "precision": "float32"}),
                "PyTorch bfloat16": Entry(
                    "theirs", "train_step", {**work, "precision": "bfloat16"}
                ),
            },
            rounds,
        )
        label = f"{size} px, {blocks} blocks, batch {batch}"
        step = {
            name: [statistics.median(run["steps"]) for run in runs] for name, runs in found.items()
        }
        figures += [
            Figure(f"step, {label}, {pair}", "s", step[ours], step[theirs])
            for ours, theirs, pair in PAIRS
        ]
        for quantity, key, unit in (
            ("peak memory", "peak_memory", "MB"),
            ("start to end of first step", "first", "s"),
        ):
            for ours, theirs, pair in PAIRS[:2]:
                values = [[run[key] for run in found[name]] for name in (ours, theirs)]
                figures.append(Figure(f"{quantity}, {label}, {pair}", unit, *values))
        work_done = operations(size, blocks, batch)
        for name, kind in (("ours auto", precision), ("ours float32", "float32")):
            rate = work_done / statistics.median(step[name])
            shares.append(
                f"{label}, {name}: {rate:.0f} GFLOP/s, {100 * rate / rates[kind]:.0f} % of what a "
                f"matrix product of 4096 reaches in {kind} ({rates[kind]:.0f})"
            )
    report("Training", figures, json, f"auto is {precision} here: {reason}.")
    console.print("\n".join(shares))


if __name__ == "__main__":
    tyro.cli(main)
