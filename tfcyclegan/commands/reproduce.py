"""`tfcyclegan reproduce`: trains and compares the variants in a table of the paper."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..errors import Interrupted
from ..studies.ablation import STUDIES, Findings, paired_test_set, plan
from ..training.config import Config
from ..training.run_folder import name_of
from .tables import print_table


def reproduce(
    table: Annotated[Literal[tuple(STUDIES)], tyro.conf.Positional],  # type: ignore[valid-type]
    config: Config = Config(),  # noqa: B008 (frozen)
    seeds: int = 1,
) -> int:
    """Train the variants in a table of the paper with equal settings, and compare them.

    This needs paired test pictures. The embedded data has them and takes a quarter of an hour on
    2 cores. If interrupted, run the same command again to continue.

    Args:
        table: ablation: cycle only, GAN only, GAN + forward cycle, GAN + backward cycle, all.
        config: Settings of all runs. --run-dir is the folder that holds them.
        seeds: Number of runs per variant, with seeds counted from --seed. The table shows mean
            and spread.
    """
    study = STUDIES[table]
    directory = Path(config.run_dir or Path("runs", f"{table}-{name_of(config.data)}"))
    trials = plan(study, config, seeds, directory)
    test_set = paired_test_set(trials[0].config)  # may refuse the data: before any training
    try:
        for number, trial in enumerate(trials, 1):
            done = ", done already" if trial.finished else ""
            print(f"[{number}/{len(trials)}] {trial.variant}, seed {trial.seed}{done}")
            trial.run()
    except Interrupted as stop:
        print("stopped; the same command goes on from here")
        return 128 + stop.signal
    findings = Findings(study, trials, test_set)
    for way in ("AtoB", "BtoA"):
        print_table(f"{study.title}: {way[0]} to {way[-1]}", findings.rows(way))
    for path in findings.write(directory, table):
        print(f"{path.suffix[1:]}: {path}")
    return 0
