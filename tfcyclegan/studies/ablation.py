"""Tables of the paper as sets of runs that differ in a setting or two and in nothing else.

A further table is an entry in `STUDIES`.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras

from ..data.preprocessing import to_float, to_uint8
from ..data.test_set import TestSet
from ..errors import InputError
from ..evaluation import METRICS, Evaluation
from ..evaluation.result import finite
from ..files import atomic_write
from ..runtimes.keras_model import load_model
from ..training.config import Config
from ..training.evaluation import load_config_test_set
from ..training.plots import draw_grid
from ..training.run import train

#: Rows of the picture grid for each direction.
PICTURES = 3


@dataclass(frozen=True)
class Study:
    """What is compared.

    Attributes:
        title: of the table.
        shared: settings of `Config` that all variants have.
        variants: name → settings of its own.
    """

    title: str
    shared: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]


STUDIES = {
    "ablation": Study(
        title="Ablation of the objective (the paper's tables 4 and 5)",
        # The paper's objective for labels↔photo has no identity loss (section 5.1.4).
        shared={"lambda_identity": 0.0},
        variants={
            "cycle alone": {"lambda_gan": 0.0},
            "GAN alone": {"lambda_cycle_A": 0.0, "lambda_cycle_B": 0.0},
            "GAN + forward cycle": {"lambda_cycle_B": 0.0},
            "GAN + backward cycle": {"lambda_cycle_A": 0.0},
            "CycleGAN": {},
        },
    ),
}


#: Scores that a study's tables show, where they were measured.
SHOWN = (
    "pixel_accuracy", "class_accuracy", "class_iou", "psnr", "ssim", "coat_changed", "rest_kept",
    "fid", "kid", "hit_rate", "diversity",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        variant: its name.
        seed: its seed.
        config: its resolved settings, run folder included.
    """

    variant: str
    seed: int
    config: Config

    @property
    def directory(self) -> Path:
        assert self.config.run_dir  # `plan` gives each trial a folder
        return Path(self.config.run_dir)

    @property
    def finished(self) -> bool:
        return (self.directory / "result.json").exists()

    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """What was measured when it was over: direction → metric → column → value."""
        path = self.directory / "result.json"
        try:
            return Evaluation.from_dict(json.loads(path.read_text())["evaluation"]).scores
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise InputError(
                f"{path}: damaged: move {self.directory} away to train it"
            ) from problem

    def run(self) -> None:
        """Trains it, or goes on with it; does nothing where it is over.

        Raises:
            InputError: it was started with other settings.
            Interrupted: a signal; its state was saved.
        """
        if (self.directory / "config.json").exists():
            saved = Config.load(self.directory / "config.json")
            differences = saved.differences(self.config, longer=False)  # one budget for all
            if differences:
                raise InputError(
                    f"{self.directory} was run with other settings: {'; '.join(differences)}: "
                    "bring them back, or give another --run-dir"
                )
        if self.finished:
            return
        keras.backend.clear_session()  # or every run would add to the last one's memory
        train(self.config, resume=self.directory.exists())


def plan(study: Study, config: Config, seeds: int, directory: Path) -> list[Trial]:
    """The runs of a study, seed by seed.

    Args:
        study: from `STUDIES`.
        config: what all runs share; the study's own settings go over it.
        seeds: how many, from `config.seed` on.
        directory: folder of the runs.

    Raises:
        InputError: settings that make no sense.
    """
    if seeds < 1:
        raise InputError(f"--seeds {seeds}: must be at least 1")
    trials = []
    for seed in range(config.seed, config.seed + seeds):
        for variant, settings in study.variants.items():
            name = re.sub(r"\W+", "-", variant)
            own = dataclasses.replace(
                config,
                **{**study.shared, **settings},
                seed=seed,
                run_dir=str(directory / f"{name}-{seed}"),
            )
            trials.append(Trial(variant, seed, own.resolved()))
    return trials


@dataclass
class Findings:
    """What came of a study.

    Attributes:
        study: what was compared.
        trials: its runs, all over.
        test_set: the pictures they were measured on.
    """

    study: Study
    trials: Sequence[Trial]
    test_set: TestSet

    def values(self, direction: str) -> dict[str, dict[str, list[float]]]:
        """Variant → metric → a value a seed; "doing nothing" is a variant too."""
        found: dict[str, dict[str, list[float]]] = {"doing nothing": {}}
        for trial in self.trials:
            for metric, columns in trial.scores()[direction].items():
                if metric in SHOWN:
                    of_variant = found.setdefault(trial.variant, {})
                    of_variant.setdefault(metric, []).append(columns["translated"])
                    if "untouched" in columns:
                        found["doing nothing"][metric] = [columns["untouched"]]
        return found

    def rows(self, direction: str) -> list[tuple[str, ...]]:
        """A table for people: a head, and a row a variant; the mean over seeds and its spread."""
        found = self.values(direction)
        shown = [name for name in SHOWN if any(name in values for values in found.values())]
        rows = [("", *(METRICS[name].label for name in shown))]
        for variant, values in found.items():
            rows.append((variant, *(_cell(name, values.get(name, [])) for name in shown)))
        return rows

    def to_json(self) -> str:
        return (
            json.dumps(
                finite(
                    {
                        "title": self.study.title,
                        "data": self.test_set.name,
                        "seeds": sorted({trial.seed for trial in self.trials}),
                        "values": {way: self.values(way) for way in ("AtoB", "BtoA")},
                    }
                ),
                indent=2,
            )
            + "\n"
        )

    def to_markdown(self) -> str:
        seeds = len({trial.seed for trial in self.trials})
        lines = [f"# {self.study.title}", "", f"{self.test_set.name}, {_plural(seeds, 'seed')}."]
        for way in ("AtoB", "BtoA"):
            head, *rows = self.rows(way)
            lines += ["", f"## {way[0]} to {way[-1]}", ""]
            lines += ["| " + " | ".join(head) + " |"]
            lines += ["| --- |" + " ---: |" * (len(head) - 1)]
            lines += ["| " + " | ".join(row) + " |" for row in rows]
        return "\n".join(lines) + "\n"

    def write(self, directory: Path, name: str) -> list[Path]:
        """Writes the table as NAME.md and NAME.json, and the grid as NAME.png."""
        paths = [directory / f"{name}{suffix}" for suffix in (".md", ".json", ".png")]
        for path, text in zip(paths, (self.to_markdown(), self.to_json()), strict=False):
            with atomic_write(path) as part:
                part.write_text(text, encoding="utf-8")
        draw_grid(self._pictures(), paths[-1])
        return paths

    def _pictures(self) -> dict[str, list[Any]]:
        """Input, each variant's translation (of the first seed), truth; first A to B, then back."""
        test = self.test_set
        assert test.truth_A is not None
        assert test.truth_B is not None
        sides = {"AtoB": (test.A, test.truth_A), "BtoA": (test.B, test.truth_B)}
        columns = {"input": [p for images, _ in sides.values() for p in images[:PICTURES]]}
        for trial in self.trials:
            if trial.seed == self.trials[0].seed:
                model = load_model(trial.directory)
                columns[trial.variant] = [
                    to_uint8(model.generator(way)(to_float(picture[None])).numpy()[0])
                    for way, (images, _) in sides.items()
                    for picture in images[:PICTURES]
                ]
        columns["truth"] = [p for _, truth in sides.values() for p in truth[:PICTURES]]
        return columns


def paired_test_set(config: Config) -> TestSet:
    """The pictures that a study is measured on.

    Raises:
        InputError: their truth is not known.
    """
    test_set = load_config_test_set(config)
    if test_set.truth_A is None:
        raise InputError(
            f"--data {config.data}: the truth of its test pictures is not known: take the embedded "
            "data, or paired data with --paired"
        )
    return test_set


def _cell(name: str, values: Sequence[float]) -> str:
    if not values:
        return ""
    metric = METRICS[name]
    mean = f"{statistics.fmean(values):.{metric.digits}f}"
    if len(values) > 1 and all(map(math.isfinite, values)):
        mean += f" ± {statistics.stdev(values):.{metric.digits}f}"
    return mean


def _plural(count: int, thing: str) -> str:
    return f"{count} {thing}" + ("s" if count != 1 else "")
