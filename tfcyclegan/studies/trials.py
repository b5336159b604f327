"""The runs of a study, and the tables and pictures that they come to."""

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
from ..directions import GENERATORS, Direction
from ..errors import InputError
from ..evaluation import METRICS, Evaluation
from ..evaluation.result import finite
from ..files import write_text
from ..runtimes.keras_model import load_model
from ..training.config import Config, ResolvedConfig
from ..training.evaluation import load_config_test_set
from ..training.plots import draw_grid
from ..training.recipes import RECIPES
from ..training.run import train
from .style import Styled
from .tables import NOTHING, REAL, Study

#: Rows of the picture grid for each direction.
PICTURES = 3

#: What a pix2pix has in common with the CycleGAN beside it. The rest is its own recipe's.
_IN_COMMON = (
    "image_size", "batch_size", "preprocess", "load_size", "filters", "discriminator_filters",
    "discriminator_layers", "epochs", "steps_per_epoch",
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
    config: ResolvedConfig

    @property
    def label(self) -> str:
        """Its variant, and its direction if it has only one."""
        return _label(self.variant, self.config)

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
    if config.model != "cyclegan":
        raise InputError(f"model={config.model}: a study sets the model itself: leave it out")
    if config.initial_weights and any("model" in own for own in study.variants.values()):
        raise InputError("`initial_weights` do not fit all models of this study: leave it out")
    if seeds < 1:
        raise InputError(f"seeds={seeds}: must be at least 1")
    trials = []
    for seed in range(config.seed, config.seed + seeds):
        for variant, settings in study.variants.items():
            for own in _runs(study, config, settings):
                folder = directory / re.sub(r"\W+", "-", f"{_label(variant, own)} {seed}")
                # Earlier versions said "alone" for "only"; their runs are continued.
                earlier = folder.with_name(folder.name.replace("only", "alone"))
                run_dir = str(earlier if earlier.exists() else folder)
                resolved = dataclasses.replace(own, seed=seed, run_dir=run_dir).resolved()
                trials.append(Trial(variant, seed, resolved))
    return trials


def _label(variant: str, config: Config) -> str:
    return f"{variant} {config.direction or ''}".rstrip()


def _runs(study: Study, config: Config, settings: Mapping[str, Any]) -> list[Config]:
    """The settings of a variant's run, or of two if it translates only one direction."""
    if settings.get("model") != "pix2pix":
        return [dataclasses.replace(config, **{**study.shared, **settings})]
    cyclegan = dataclasses.replace(config, **study.shared).resolved()
    values = {name: None for recipe in ("paper", "pix2pix") for name in RECIPES[recipe]}
    values |= {name: getattr(cyclegan, name) for name in _IN_COMMON}
    pix2pix = dataclasses.replace(config, **{**values, "recipe": None, **settings})
    return [dataclasses.replace(pix2pix, direction=direction) for direction in GENERATORS]


@dataclass
class Findings:
    """The results of a study.

    Attributes:
        study: the variants that are compared.
        trials: the runs, all finished.
        test_set: the pictures on which they were measured.
        styled: translations by style transfer, for more rows. Default: none.
    """

    study: Study
    trials: Sequence[Trial]
    test_set: TestSet
    styled: Styled | None = None

    def values(self, direction: Direction) -> dict[str, dict[str, list[float]]]:
        """Variant → metric → one value per seed.

        "doing nothing" and, where they were scored, "real pictures" count as variants.
        """
        found: dict[str, dict[str, list[float]]] = {NOTHING: {}}
        real: dict[str, list[float]] = {}
        for trial in self.trials:
            for metric, columns in trial.scores().get(direction, {}).items():
                if metric in self.study.metrics:
                    of_variant = found.setdefault(trial.variant, {})
                    of_variant.setdefault(metric, []).append(columns["translated"])
                    if "untouched" in columns:
                        found[NOTHING][metric] = [columns["untouched"]]
                    if "real" in columns:
                        real[metric] = [columns["real"]]
        for variant, ways in (self.styled.scores if self.styled else {}).items():
            chosen = {m: [v] for m, v in ways[direction].items() if m in self.study.metrics}
            found[variant] = chosen
        return found | ({REAL: real} if real else {})

    def rows(self, direction: Direction) -> list[tuple[str, ...]]:
        """A table of a direction: the header, then one row per variant, as mean ± deviation."""
        found = self.values(direction)
        shown = [
            name for name in self.study.metrics if any(name in values for values in found.values())
        ]
        paper = self.study.paper.get(direction, {})
        rows = [("", *(METRICS[name].label for name in shown), *(["the paper"] if paper else ()))]
        for variant, values in found.items():
            cells = [_cell(name, values.get(name, [])) for name in shown]
            rows.append((variant, *cells, *([paper.get(variant, "")] if paper else ())))
        return rows

    def facts(self) -> list[str]:
        """What the figures were measured with, and the paper's."""
        config = self.trials[0].config
        steps = f"{config.epochs} epoch{'s' if config.epochs > 1 else ''}"
        if config.steps_per_epoch:
            steps += f" of {config.steps_per_epoch} steps"
        facts = [
            f"{self.test_set.name}, {config.image_size} px, {steps} in batches of "
            f"{config.batch_size}, seeds {', '.join(map(str, self.seeds))}"
        ]
        facts += self.styled.facts() if self.styled else []
        if segmenter := config.measuring.segmenter:
            facts.append(f"generated photographs are segmented by {segmenter}")
        if self.study.paper_setting:
            facts.append(f"the paper: {self.study.paper_setting}")
        return facts

    @property
    def seeds(self) -> list[int]:
        """The seeds of the runs."""
        return sorted({trial.seed for trial in self.trials})

    def to_json(self) -> str:
        """All values, by direction, variant and metric, as the text of a JSON file."""
        found = {
            "title": self.study.title,
            "data": self.test_set.name,
            "seeds": self.seeds,
            "facts": self.facts(),
            "paper": self.study.paper,
            "values": {way: self.values(way) for way in ("AtoB", "BtoA")},
        }
        return json.dumps(finite(found), indent=2) + "\n"

    def to_markdown(self) -> str:
        """The tables of both directions."""
        lines = [f"# {self.study.title}", "", *(f"- {fact}" for fact in self.facts())]
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
        inputs: dict[Direction, Any] = {"AtoB": test.A[:PICTURES], "BtoA": test.B[:PICTURES]}
        drawn: dict[str, dict[Direction, list[Any]]] = {"input": inputs}
        for trial in self.trials:
            if trial.seed == self.trials[0].seed:
                for way, generator in load_model(trial.directory).translators.items():
                    drawn.setdefault(trial.variant, {})[way] = [
                        to_uint8(generator(to_float(picture[None])).numpy()[0])
                        for picture in inputs[way]
                    ]
        for variant, styled in (self.styled.pictures if self.styled else {}).items():
            drawn[variant] = {way: some[:PICTURES] for way, some in styled.items()}
        if test.truth_A is not None and test.truth_B is not None:
            drawn["truth"] = {
                "AtoB": [*test.truth_A[:PICTURES]],
                "BtoA": [*test.truth_B[:PICTURES]],
            }
        return {name: [*ways["AtoB"], *ways["BtoA"]] for name, ways in drawn.items()}


def study_test_set(study: Study, config: Config) -> TestSet:
    """The test pictures of a study.

    Raises:
        InputError: the study needs their truth, which is unknown.
    """
    test_set = load_config_test_set(config)
    if study.needs_truth and test_set.truth_A is None:
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
