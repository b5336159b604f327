"""`tfcyclegan reproduce`: trains and compares the variants in a table of the paper."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from ..errors import InputError, Interrupted
from ..networks.features import Pixels
from ..studies.style import StyleTransfer, read_collections, transfer_styles
from ..studies.tables import STUDIES
from ..studies.trials import Findings, plan, study_test_set
from ..training.config import Config
from ..training.evaluation import make_evaluator
from ..training.run_folder import name_of
from .tables import print_table


def reproduce(
    table: Annotated[Literal[tuple(STUDIES)], tyro.conf.Positional],  # type: ignore[valid-type]
    config: Config = Config(),  # noqa: B008 (frozen)
    seeds: int = 1,
    style_network: str | None = None,
    style_pixels: Pixels | None = None,
    style_steps: int = 300,
) -> int:
    """Train the variants in a table of the paper with equal settings, and compare them.

    ablation and table2 need paired test pictures, which the embedded data has. If interrupted, run
    the same command again to continue.

    Args:
        table: ablation: cycle only, GAN only, GAN + forward cycle, GAN + backward cycle, CycleGAN.
            table2: these and pix2pix, which learns from pairs. identity: CycleGAN without and with
            the identity loss, on shapes-dusk where --data is shapes. style: CycleGAN and neural
            style transfer.
        config: Settings of all runs. --run-dir is the folder that holds them.
        seeds: Number of runs per variant, with seeds counted from --seed. The table shows mean
            and spread.
        style_network: With style, the network that it looks through: VGG19 or VGG16 of
            keras.applications, vgg16-hed (from the extra style), or a .keras file with VGG's
            layers. Default: VGG19.
        style_pixels: How a .keras file expects pixels.
        style_steps: Steps of optimisation for each picture.
    """
    if table != "style" and (style_network or style_pixels or style_steps != 300):
        raise InputError(
            "`style_network`, `style_pixels` and `style_steps` go with reproduce style: "
            "leave them out"
        )
    study = STUDIES[table]
    if study.data and config.data == "shapes":
        config = dataclasses.replace(config, data=study.data)
        print(f"data: {study.data}")
    directory = Path(config.run_dir or Path("runs", f"{table}-{name_of(config.data)}"))
    trials = plan(study, config, seeds, directory)
    test_set = study_test_set(study, trials[0].config)  # may refuse the data: before any training
    if table == "style":  # opens its network before any training
        collections = read_collections(trials[0].config, test_set)
        transfer = StyleTransfer(
            style_network or "VGG19", [*test_set.A, *test_set.B], pixels=style_pixels,
            steps=style_steps,
        )  # fmt: skip
    try:
        for number, trial in enumerate(trials, 1):
            done = ", done already" if trial.finished else ""
            print(f"[{number}/{len(trials)}] {trial.label}, seed {trial.seed}{done}")
            trial.run()
    except Interrupted as stop:
        print("stopped; the same command goes on from here")
        return 128 + stop.signal
    styled = None
    if table == "style":
        print("style transfer")
        evaluator = make_evaluator(trials[0].config, test_set=test_set)
        styled = transfer_styles(test_set, collections, evaluator, transfer, config.seed)
    findings = Findings(study, trials, test_set, styled)
    for way in ("AtoB", "BtoA"):
        print_table(f"{study.title}: {way[0]} to {way[-1]}", findings.rows(way))
    for fact in findings.facts():
        print(f"- {fact}")
    for path in findings.write(directory, table):
        print(f"{path.suffix[1:]}: {path}")
    return 0
