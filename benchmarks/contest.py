"""Two sides do the same work in turns, each time in a fresh process.

A machine's speed drifts, so only what was measured side by side is compared: every round runs all
entries once, a ratio is taken within a round, and the median of the rounds is what counts.

This module is no benchmark of its own, nor are `ours` and `theirs`, which do the work.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from tfcyclegan.files import atomic_write

console = Console(width=100, highlight=False)

USAGE = """This module is a part of the benchmarks. Each of these is a benchmark and has --help:
  python -m benchmarks.train_step (or inference, data, scaling, precision)"""


@dataclass(frozen=True)
class Entry:
    """What a process is to do.

    Attributes:
        side: "ours" or "theirs": the module of this package that does it.
        task: the function in that module.
        settings: its keyword arguments.
    """

    side: str
    task: str
    settings: Mapping[str, Any]

    def run(self) -> dict[str, Any]:
        """What the task found, with `peak_memory` (MB, from the operating system)."""
        command = [sys.executable, "-m", f"benchmarks.{self.side}", self.task]
        settings = json.dumps({**self.settings, "began": time.time()})
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "2"}
        with subprocess.Popen(
            [*command, settings],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment,
            cwd=Path(__file__).parents[1],
        ) as process:
            printed, errors = process.communicate()
        if process.returncode:
            raise SystemExit(f"{' '.join(command)} failed:\n{errors}")
        return json.loads(printed.splitlines()[-1])


@dataclass(frozen=True)
class Figure:
    """One row: what both sides took in each round.

    Attributes:
        name: what was measured.
        unit: of the values; lower is better.
        ours: a value a round.
        theirs: a value a round.
    """

    name: str
    unit: str
    ours: Sequence[float]
    theirs: Sequence[float]

    @property
    def ratios(self) -> list[float]:
        """Ours to theirs, round by round."""
        return [ours / theirs for ours, theirs in zip(self.ours, self.theirs, strict=True)]

    def as_json(self) -> dict[str, Any]:
        return {
            "name": self.name,
            "ours": statistics.median(self.ours),
            "theirs": statistics.median(self.theirs),
            "ratio": statistics.median(self.ratios),
            "unit": self.unit,
        }


def in_turns(entries: Mapping[str, Entry], rounds: int) -> dict[str, list[dict[str, Any]]]:
    """Runs all entries once a round; what each found, a list entry for every round."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in entries}
    with Progress(console=console, transient=True) as progress:
        bar = progress.add_task("", total=rounds * len(entries))
        for number in range(rounds):
            for name, entry in entries.items():
                progress.update(bar, description=f"round {number + 1} of {rounds}: {name}")
                found[name].append(entry.run())
                progress.advance(bar)
    return found


def report(title: str, figures: Sequence[Figure], json_file: Path | None, note: str = "") -> None:
    """Prints the table and the machine it comes from, and writes the JSON file if one is asked."""
    table = Table(title=title, title_justify="left")
    table.add_column("what")
    for heading in ("ours", "min", "PyTorch", "min", "ratio", "ratio min–max", "unit"):
        table.add_column(heading, justify="right")
    for figure in figures:
        result, ratios = figure.as_json(), figure.ratios
        table.add_row(
            figure.name,
            f"{result['ours']:.4g}",
            f"{min(figure.ours):.4g}",
            f"{result['theirs']:.4g}",
            f"{min(figure.theirs):.4g}",
            f"{result['ratio']:.2f}",
            f"{min(ratios):.2f}–{max(ratios):.2f}",
            figure.unit,
        )
    console.print(table)
    console.print(machine() + (f"\n{note}" if note else ""))
    if json_file:
        save([figure.as_json() for figure in figures], json_file)


def save(results: Sequence[Mapping[str, Any]], json_file: Path) -> None:
    """Writes results whole or not at all."""
    with atomic_write(json_file) as part:
        part.write_text(json.dumps(results, indent=2))


def machine() -> str:
    """Processor, threads and versions, in a line."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next(line.split(":")[1].strip() for line in lines if line.startswith("model name"))
        flags = next(line for line in lines if line.startswith("flags")).split()
    except (OSError, StopIteration):
        model, flags = platform.processor(), []
    extras = [flag for flag in ("avx2", "avx512f", "avx512_bf16", "amx_bf16") if flag in flags]
    versions = []
    for name in ("tensorflow", "keras", "ai-edge-litert", "torch"):
        # This package's tests run without torch.
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions.append(f"{name} {importlib.metadata.version(name)}")
    versions.append(f"Python {platform.python_version()}")
    return f"{model} ({', '.join(extras)}), {os.cpu_count()} threads; {', '.join(versions)}"


def timed(call: Callable[[], object], repeats: int) -> list[float]:
    """Seconds of each call, after one that is not counted."""
    call()
    seconds = []
    for _ in range(repeats):
        start = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - start)
    return seconds


def steps_from(ends: Sequence[float]) -> dict[str, Any]:
    """What a training task reports, from the times its steps ended, the start first.

    Returns:
        When the first step had ended, and the seconds of each of the others.
    """
    return {"first": ends[1], "steps": [b - a for a, b in itertools.pairwise(ends[1:])]}


def serve(tasks: Mapping[str, Any]) -> None:
    """The other end: does the task named on the command line, prints what it found as JSON."""
    if len(sys.argv) != 3:
        print(USAGE)
        return
    task, settings = sys.argv[1], json.loads(sys.argv[2])
    began = settings.pop("began", None)
    found = tasks[task](**settings)
    if "first" in found and began:
        found["first"] -= began
    print(json.dumps({**found, "peak_memory": resident_memory(most=True)}))


def resident_memory(most: bool = False) -> float:
    """MB that this process holds, or the most it has held, as Linux counts them."""
    status = Path("/proc/self/status").read_text()
    return int(status.split("VmHWM:" if most else "VmRSS:")[1].split()[0]) / 1024


if __name__ == "__main__":
    print(USAGE)
