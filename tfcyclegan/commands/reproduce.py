"""`tfcyclegan reproduce`: a table of the paper, on data that one has."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro
from rich.console import Console

from ..errors import Interrupted
from ..studies.ablation import STUDIES, Findings, paired_test_set, plan
from ..training.config import Config
from ..training.run_folder import name_of
from .evaluate import table_of


def reproduce(
    table: Annotated[Literal[tuple(STUDIES)], tyro.conf.Positional],  # type: ignore[valid-type]
    config: Config = Config(),  # noqa: B008 (frozen)
    seeds: int = 1,
) -> int:
    """Train the variants of a table of the paper alike, and compare them.

    Needs test pictures whose truth is known: the embedded data (a quarter of an hour on 2
    cores), or paired data. Interrupted, the same command goes on where it stopped.

    Args:
        table: ablation: cycle alone, GAN alone, GAN + forward cycle, GAN + backward cycle, all.
        config: Settings of all runs; --run-dir is the folder for all of them.
        seeds: Seeds to run each variant with, from --seed on; the table has mean and spread.
    """
    console = Console()
    study = STUDIES[table]
    directory = Path(config.run_dir or Path("runs", f"{table}-{name_of(config.data)}"))
    trials = plan(study, config, seeds, directory)
    test_set = paired_test_set(trials[0].config)  # refused before anything is trained
    try:
        for number, trial in enumerate(trials, 1):
            done = ", done already" if trial.finished else ""
            console.print(
                f"[{number}/{len(trials)}] {trial.variant}, seed {trial.seed}{done}",
                highlight=False, markup=False,
            )  # fmt: skip
            trial.run()
    except Interrupted as stop:
        console.print("stopped; the same command goes on from here", highlight=False)
        return 128 + stop.signal
    findings = Findings(study, trials, test_set)
    for way in ("AtoB", "BtoA"):
        console.print(table_of(f"{study.title}: {way[0]} to {way[-1]}", findings.rows(way)))
    for path in findings.write(directory, table):
        console.print(f"{path.suffix[1:]}: {path}", highlight=False, markup=False, soft_wrap=True)
    return 0
