"""How a step's time grows with the picture, the batch and the depth, one at a time.

python -m benchmarks.scaling [--json FILE] [--rounds 2]
"""

from __future__ import annotations

import statistics
from pathlib import Path

import tyro

from .contest import Entry, Figure, console, in_turns, report

#: What grows: label, `(size, blocks, batch)` of each case, and by how much the work grows.
AXES = {
    "size": ("{0} px", [(64, 6, 1), (128, 6, 1), (256, 6, 1), (512, 6, 1)], lambda c: c[0] ** 2),
    "batch": ("batch {2}", [(64, 6, batch) for batch in (1, 2, 4, 8, 16)], lambda c: c[2]),
    "blocks": ("{1} blocks", [(64, blocks, 1) for blocks in (3, 6, 9, 12)], lambda c: c[1]),
}


def main(json: Path | None = None, rounds: int = 2, steps: int = 2) -> None:
    """Measures how step time scales, ours at precision auto, PyTorch's as it comes.

    Args:
        json: file for the results.
        rounds: times that every entry is run.
        steps: steps of each case, after the first; the quickest counts.
    """
    figures, lines = [], []
    for axis, (label, cases, amount) in AXES.items():
        work = {"cases": cases, "steps": steps}
        found = in_turns(
            {
                f"{axis}, ours": Entry("ours", "scaling", {**work, "precision": "auto"}),
                f"{axis}, theirs": Entry("theirs", "scaling", {**work, "precision": "float32"}),
            },
            rounds,
        )
        sides = [[run["seconds"] for run in runs] for runs in found.values()]
        for place, case in enumerate(cases):
            values = [[run[place] for run in runs] for runs in sides]
            figures.append(Figure(f"{axis}: {label.format(*case)}", "s", *values))
        grown = amount(cases[-1]) / amount(cases[0])
        times = [
            statistics.median(run[-1] for run in runs) / statistics.median(run[0] for run in runs)
            for runs in sides
        ]
        lines.append(
            f"{axis} ×{grown:.3g}: time ×{times[0]:.3g} ours, ×{times[1]:.3g} PyTorch "
            f"(of linear: {times[0] / grown:.2f}, {times[1] / grown:.2f})"
        )
    report("Scaling", figures, json, "64 px and 6 blocks, batch 1, where nothing else is said.")
    console.print("\n".join(lines))


if __name__ == "__main__":
    tyro.cli(main)
