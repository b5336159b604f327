"""Tables of the paper, as sets of runs that differ only in the settings under study.

To add a table, add an entry to `STUDIES`.
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
from ..directions import Direction
from ..errors import InputError
from ..evaluation import METRICS, Evaluation
from ..evaluation.result import finite
from ..files import write_text
from ..runtimes.keras_model import load_model
from ..training.config import Config
from ..training.evaluation import load_config_test_set
from ..training.plots import draw_grid
from ..training.run import train

#: Rows of the picture grid for each direction.
PICTURES = 3


@dataclass(frozen=True)
class Study:
    """The variants of a run that a table compares.

    Attributes:
        title: title of the table.
        shared: settings of `Config` that all variants share.
        variants: name of a variant → the settings in which it differs.
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
            "cycle only": {"lambda_gan": 0.0},
            "GAN only": {"lambda_cycle_A": 0.0, "lambda_cycle_B": 0.0},
            "GAN + forward cycle": {"lambda_cycle_B": 0.0},
            "GAN + backward cycle": {"lambda_cycle_A": 0.0},
            "CycleGAN": {},
        },
    )
}

#: Scores that the tables show, if they were measured.
SHOWN = (
    "pixel_accuracy", "class_accuracy", "class_iou", "psnr", "ssim", "coat_changed", "rest_kept",
    "fid", "kid", "hit_rate", "diversity",
)  # fmt: skip


@dataclass(frozen=True)
class Trial:
    """One run of a study.

    Attributes:
        variant: name of its variant.
        seed: its seed.
        config: its resolved settings, including the run folder.
    """

    variant: str
    seed: int
    config: Config

    @property
    def directory(self) -> Path:
        """The run folder."""
        assert self.config.run_dir  # `plan` gives each trial a folder
        return Path(self.config.run_dir)

    @property
    def finished(self) -> bool:
        """Whether the run is over and measured."""
        return (self.directory / "result.json").exists()

    def scores(self) -> dict[str, dict[str, dict[str, float]]]:
        """The scores of the finished run: direction → metric → column → value.

        Raises:
            InputError: its `result.json` is damaged.
        """
        path = self.directory / "result.json"
        try:
            return Evaluation.from_dict(json.loads(path.read_text())["evaluation"]).scores
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as problem:
            raise InputError(
                f"{path}: damaged: move {self.directory} away to train it again"
            ) from problem

    def run(self) -> None:
        """Trains the run or continues it; does nothing if it is finished.

        Raises:
            InputError: it was started with other settings.
            Interrupted: a signal stopped it; its state was saved.
        """
        if (self.directory / "config.json").exists():
            saved = Config.load(self.directory / "config.json")
            differences = saved.differences(self.config, longer=False)  # all have one budget
            if differences:
                raise InputError(
                    f"{self.directory} was run with other settings: {'; '.join(differences)}: "
                    "restore them, or choose another `run_dir`"
                )
        if self.finished:
            return
        keras.backend.clear_session()  # frees the memory of the run before
        train(self.config, resume=self.directory.exists())


def plan(study: Study, config: Config, seeds: int, directory: Path) -> list[Trial]:
    """The runs of a study, seed by seed.

    Args:
        study: from `STUDIES`.
        config: settings of all runs; those of the study override them.
        seeds: number of seeds, from `config.seed` on.
        directory: folder for the run folders.

    Raises:
        InputError: invalid settings.
    """
    if seeds < 1:
        raise InputError(f"seeds={seeds}: must be at least 1")
    trials = []
    for seed in range(config.seed, config.seed + seeds):
        for variant, settings in study.variants.items():
            folder = directory / re.sub(r"\W+", "-", f"{variant} {seed}")
            # Earlier versions said "alone" for "only"; their runs are continued.
            earlier = folder.with_name(folder.name.replace("only", "alone"))
            own = {**study.shared, **settings, "seed": seed}
            own["run_dir"] = str(earlier if earlier.exists() else folder)
            trials.append(Trial(variant, seed, dataclasses.replace(config, **own).resolved()))
    return trials


@dataclass
class Findings:
    """The results of a study.

    Attributes:
        study: the variants that are compared.
        trials: the runs, all finished.
        test_set: the pictures on which they were measured.
    """

    study: Study
    trials: Sequence[Trial]
    test_set: TestSet

    def values(self, direction: str) -> dict[str, dict[str, list[float]]]:
        """Variant → metric → one value per seed. "doing nothing" counts as a variant."""
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
        """A table of a direction: the header, then one row per variant, as mean ± deviation."""
        found = self.values(direction)
        shown = [name for name in SHOWN if any(name in values for values in found.values())]
        rows = [("", *(METRICS[name].label for name in shown))]
        for variant, values in found.items():
            rows.append((variant, *(_cell(name, values.get(name, [])) for name in shown)))
        return rows

    def to_json(self) -> str:
        """All values, by direction, variant and metric, as the text of a JSON file."""
        found = {
            "title": self.study.title,
            "data": self.test_set.name,
            "seeds": sorted({trial.seed for trial in self.trials}),
            "values": {way: self.values(way) for way in ("AtoB", "BtoA")},
        }
        return json.dumps(finite(found), indent=2) + "\n"

    def to_markdown(self) -> str:
        """The tables of both directions."""
        seeds = len({trial.seed for trial in self.trials})
        plural = "s" if seeds > 1 else ""
        lines = [f"# {self.study.title}", "", f"{self.test_set.name}, {seeds} seed{plural}."]
        for way in ("AtoB", "BtoA"):
            head, *rows = self.rows(way)
            lines += ["", f"## {way[0]} to {way[-1]}", "", f"| {' | '.join(head)} |"]
            lines += ["| --- |" + " ---: |" * (len(head) - 1)]
            lines += [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join(lines) + "\n"

    def write(self, directory: Path, name: str) -> list[Path]:
        """Writes the tables as NAME.md and NAME.json and a picture grid as NAME.png.

        Returns:
            The three paths.
        """
        paths = [directory / f"{name}{suffix}" for suffix in (".md", ".json", ".png")]
        write_text(paths[0], self.to_markdown())
        write_text(paths[1], self.to_json())
        draw_grid(self._pictures(), paths[2])
        return paths

    def _pictures(self) -> dict[str, list[Any]]:
        """Columns: input, each variant (first seed), truth. Rows: A to B, then B to A."""
        test = self.test_set
        assert test.truth_A is not None
        assert test.truth_B is not None
        inputs: dict[Direction, Any] = {"AtoB": test.A[:PICTURES], "BtoA": test.B[:PICTURES]}
        columns = {"input": [*inputs["AtoB"], *inputs["BtoA"]]}
        for trial in self.trials:
            if trial.seed == self.trials[0].seed:
                model = load_model(trial.directory)
                columns[trial.variant] = [
                    to_uint8(model.generator(way)(to_float(picture[None])).numpy()[0])
                    for way, pictures in inputs.items()
                    for picture in pictures
                ]
        columns["truth"] = [*test.truth_A[:PICTURES], *test.truth_B[:PICTURES]]
        return columns


def paired_test_set(config: Config) -> TestSet:
    """The test pictures of a study, whose truth is known.

    Raises:
        InputError: their truth is unknown.
    """
    test_set = load_config_test_set(config)
    if test_set.truth_A is None:
        raise InputError(
            f"data={config.data}: the truth of its test pictures is unknown: use the embedded "
            "data, or paired data with `paired`"
        )
    return test_set


def _cell(name: str, values: Sequence[float]) -> str:
    """The mean and the standard deviation of the values of a metric."""
    numbers = [statistics.fmean(values)] if values else []
    if len(values) > 1 and all(map(math.isfinite, values)):
        numbers.append(statistics.stdev(values))
    return " ± ".join(f"{number:.{METRICS[name].digits}f}" for number in numbers)
