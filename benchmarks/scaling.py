"""How a step's time grows with the picture, the batch and the depth, and what replicas do to it.

python -m benchmarks.scaling [--json FILE] [--rounds 2] [--axes size batch blocks replicas]
"""

from __future__ import annotations

import os
import statistics
from pathlib import Path

import tyro
from rich.table import Table

from .contest import Entry, Figure, console, in_turns, machine, report

#: What grows: label, `(size, blocks, batch)` of each case, and by how much the work grows.
AXES = {
    "size": ("{0} px", [(64, 6, 1), (128, 6, 1), (256, 6, 1), (512, 6, 1)], lambda c: c[0] ** 2),
    "batch": ("batch {2}", [(64, 6, batch) for batch in (1, 2, 4, 8, 16)], lambda c: c[2]),
    "blocks": ("{1} blocks", [(64, blocks, 1) for blocks in (3, 6, 9, 12)], lambda c: c[1]),
}


#: The same batch of two pictures of each domain, on one replica and on two.
REPLICAS = {
    "one replica": "one",
    "two replicas, mirrored": "mirrored",
    "two replicas, two processes": "workers",
}


def main(
    json: Path | None = None,
    rounds: int = 2,
    steps: int = 2,
    axes: tuple[str, ...] = (*AXES, "replicas"),
) -> None:
    """Measures how step time scales, ours at precision auto, PyTorch's as it comes.

    Args:
        json: file for the results, those of the replicas aside.
        rounds: times that every entry is run.
        steps: steps of each case, after the first; the quickest counts.
        axes: what to measure: size, batch, blocks and replicas.
    """
    if grown := [axis for axis in AXES if axis in axes]:
        growth(grown, json, rounds, steps)
    if "replicas" in axes:
        throughput(rounds, 4 * steps)


def throughput(rounds: int, steps: int) -> None:
    """Pictures a second on one replica and on two, which share this machine's cores."""
    work = {"size": 64, "blocks": 6, "batch": 2, "precision": "auto", "steps": steps}
    entries = {
        name: Entry("ours", "replicas", {**work, "way": way}) for name, way in REPLICAS.items()
    }
    found = in_turns(entries, rounds)
    seconds = {name: [min(run["steps"]) for run in runs] for name, runs in found.items()}
    table = Table(title="Replicas: 64 px, 6 blocks, 2 pictures of each domain a step")
    for heading in ("", "s a step", "min", "pictures a second", "to one replica"):
        table.add_column(heading, justify="right" if heading else "left")
    for name, values in seconds.items():
        ratios = [one / two for one, two in zip(seconds["one replica"], values, strict=True)]
        median = statistics.median(values)
        table.add_row(
            name,
            f"{median:.3f}",
            f"{min(values):.3f}",
            f"{2 * work['batch'] / median:.1f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f}–{max(ratios):.2f})",
        )
    console.print(table)
    console.print(f"{machine()}\nBoth replicas compute on the same {os.cpu_count()} cores.")


def growth(axes: list[str], json: Path | None, rounds: int, steps: int) -> None:
    """Step time against picture size, batch and depth, beside PyTorch's."""
    figures, lines = [], []
    for axis, (label, cases, amount) in ((axis, AXES[axis]) for axis in axes):
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
