"""The results of a perceptual study: the answers of its participants, evaluated."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError
from ..files import atomic_write, write_text

#: A file of answers is a few kB.
_MOST_BYTES = 4 * 2**20

#: A sitting whose median answer comes sooner was not looked at: a simple reaction takes 0.2 s.
_FASTEST = 250


@dataclass(frozen=True)
class Sitting:
    """The answers of one participant on one algorithm.

    Attributes:
        file: where they come from.
        study: which study it was, an identifier from its page.
        participant: the participant's code.
        algorithm: what made the generated pictures.
        fooled: bool `[trials]`, whether each answer was wrong; without the practice.
        first: bool `[trials]`, whether each answer was "the first".
        milliseconds: int `[trials]`, how long each answer took.
        practice: bool, whether each practice answer was right.
    """

    file: str
    study: str
    participant: str
    algorithm: str
    fooled: np.ndarray
    first: np.ndarray
    milliseconds: np.ndarray
    practice: np.ndarray

    def problem(self) -> str | None:
        """Why it does not count, or None."""
        if not len(self.fooled):
            return "has no answers after the practice"
        if (median := float(np.median(self.milliseconds))) < _FASTEST:
            return f"too fast: its median answer took {median:.0f} ms"
        if len(self.first) >= 10 and len(set(self.first.tolist())) == 1:
            return "always the same key"
        if len(self.practice) and np.mean(self.practice) <= 0.5:
            right = int(self.practice.sum())
            return f"practice at chance: {right} of {len(self.practice)} right"
        return None


def read_sitting(path: Path) -> Sitting:
    """Reads a file of answers, which is not trusted.

    Raises:
        InputError: it is not one.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError("it is too large")
        content = json.loads(path.read_text(encoding="utf-8"))
        if content["version"] != 1:
            raise ValueError(f"its version is {content['version']!r}, not 1")
        study, participant, algorithm = (
            _text(content[name]) for name in ("study", "participant", "algorithm")
        )
        answers = content["answers"]
        pictures = [answer[side] for answer in answers for side in ("real", "fake")]
        if len(set(pictures)) != len(pictures):
            raise ValueError("a picture was shown twice")
        columns = {
            name: np.array([_flag(answer[name]) for answer in answers], bool)
            for name in ("right", "said_first", "real_first", "practice")
        }
        times = np.array([_milliseconds(answer["milliseconds"]) for answer in answers], float)
    except FileNotFoundError as problem:
        raise InputError(f"{path}: there is no such file") from problem
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as problem:
        reason = f"{problem} is missing" if isinstance(problem, KeyError) else problem
        raise InputError(
            f"{path}: not a file of answers ({reason}): leave it out, or ask for it again"
        ) from problem
    said, right, counts = columns["said_first"], columns["right"], ~columns["practice"]
    if np.any((said == columns["real_first"]) != right):
        raise InputError(f"{path}: its answers contradict each other: leave it out")
    return Sitting(
        str(path), study, participant, algorithm, fooled=~right[counts], first=said[counts],
        milliseconds=times[counts], practice=right[~counts],
    )  # fmt: skip


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= 200 or not value.isprintable():
        raise ValueError(f"{value!r} is no name")
    return value


def _flag(value: Any) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"{value!r} is neither true nor false")
    return value


def _milliseconds(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < 1e9:
        raise ValueError(f"{value!r} is no time in milliseconds")
    return float(value)


@dataclass(frozen=True)
class Results:
    """What a study found.

    Attributes:
        shares: for each algorithm the share of trials in which people took the generated picture
            for the real one. 0.5 is the most that can be expected.
        draws: for each algorithm float `[draws]`, its share in bootstrap samples.
        sittings: for each algorithm the sittings that count.
        excluded: the others, and why.
    """

    shares: Mapping[str, float]
    draws: Mapping[str, np.ndarray]
    sittings: Mapping[str, Sequence[Sitting]]
    excluded: Sequence[tuple[Sitting, str]]

    def interval(self, algorithm: str) -> tuple[float, float]:
        """The 95 % interval of a share."""
        low, high = np.quantile(self.draws[algorithm], [0.025, 0.975])
        return float(low), float(high)

    def better(self, one: str, other: str) -> float:
        """The probability that an algorithm fools people more often than another."""
        a, b = self.draws[one], self.draws[other]
        return float(np.mean(a > b) + 0.5 * np.mean(a == b))

    def rows(self) -> list[tuple[str, ...]]:
        """A table: the header, then one row for each algorithm."""
        names = list(self.shares)
        others = [f"better than {name}" for name in names] if len(names) > 1 else []
        rows = [("algorithm", "people", "trials", "fooled", "95 % interval", *others)]
        for name in names:
            low, high = self.interval(name)
            trials = sum(len(sitting.fooled) for sitting in self.sittings[name])
            more = ["" if other == name else f"{self.better(name, other):.3f}" for other in names]
            rows.append(
                (
                    name, str(len(self.sittings[name])), str(trials),
                    f"{100 * self.shares[name]:.1f} %", f"{100 * low:.1f}–{100 * high:.1f} %",
                    *(more if others else ()),
                )
            )  # fmt: skip
        return rows

    def to_json(self) -> str:
        """All figures, as the text of a JSON file."""
        names = list(self.shares)
        found = {
            "algorithms": {
                name: {
                    "fooled": self.shares[name],
                    "interval": self.interval(name),
                    "people": len(self.sittings[name]),
                    "trials": sum(len(sitting.fooled) for sitting in self.sittings[name]),
                    "better_than": {o: self.better(name, o) for o in names if o != name},
                }
                for name in names
            },
            "excluded": [{"file": sitting.file, "why": why} for sitting, why in self.excluded],
        }
        return json.dumps(found, indent=2) + "\n"

    def write(self, directory: Path) -> list[Path]:
        """Writes `study.md`, `study.json` and the chart `study.png`.

        Returns:
            The three paths.
        """
        from matplotlib.figure import Figure

        paths = [directory / f"study{suffix}" for suffix in (".md", ".json", ".png")]
        head, *rows = self.rows()
        lines = [f"| {' | '.join(head)} |", "| --- |" + " ---: |" * (len(head) - 1)]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        lines += ["", *(f"- {sitting.file}: {why}" for sitting, why in self.excluded)]
        write_text(paths[0], "\n".join(lines).rstrip() + "\n")
        write_text(paths[1], self.to_json())
        figure = Figure(figsize=(1.5 + 1.2 * len(self.shares), 3.5), layout="constrained")
        axes = figure.subplots()
        shares = 100 * np.array(list(self.shares.values()))
        bounds = 100 * np.array([self.interval(name) for name in self.shares])
        spread = np.abs(bounds.T - shares)
        axes.bar(range(len(shares)), shares, yerr=spread, capsize=4, color="#88a")
        axes.set_xticks(range(len(shares)), list(self.shares), parse_math=False)
        axes.axhline(50, color="grey", ls="--", lw=1)
        axes.set(ylabel="taken for real, % of trials", ylim=(0, max(55, bounds.max() + 5)))
        with atomic_write(paths[2]) as part:
            figure.savefig(part, dpi=150)
        return paths


def evaluate_answers(
    files: Iterable[Path], *, draws: int = 10_000, seed: int = 0, keep_all: bool = False
) -> Results:
    """Evaluates the answers of all participants of a study.

    Intervals and probabilities come from a bootstrap over people, each with all their trials.
    (Drawing the trials of each again would count their chance twice.) With one participant it is
    over trials.

    Args:
        files: one file for each sitting.
        draws: int, bootstrap samples. Default 10,000.
        seed: int, of the bootstrap.
        keep_all: bool, whether sittings that look careless count too. Default False.

    Returns:
        `Results`.

    Raises:
        InputError: a file that is not one of answers, files of different studies, or no sitting
            that counts.

    Example:
        ```python
        print(evaluate_answers(Path("answers").glob("*.json")).rows())
        ```
    """
    sittings = [read_sitting(Path(file)) for file in files]
    for sitting in sittings[1:]:
        if sitting.study != sittings[0].study:
            raise InputError(
                f"{sitting.file} and {sittings[0].file} are of different studies: give those of one"
            )
    kept: dict[str, list[Sitting]] = {}
    excluded, seen = [], set()
    for sitting in sittings:
        problem = sitting.problem()
        if keep_all and len(sitting.fooled):
            problem = None
        if sitting.participant in seen:
            problem = f"the participant {sitting.participant} again"
        seen.add(sitting.participant)
        if problem:
            excluded.append((sitting, problem))
        else:
            kept.setdefault(sitting.algorithm, []).append(sitting)
    if not kept:
        why = f": {excluded[0][0].file} {excluded[0][1]}" if excluded else ""
        raise InputError(f"no sitting counts{why}: give more files")
    random = np.random.default_rng(seed)
    kept = {name: kept[name] for name in sorted(kept)}
    return Results(
        shares={
            name: float(np.mean(np.concatenate([sitting.fooled for sitting in some])))
            for name, some in kept.items()
        },
        draws={name: _bootstrap(some, draws, random) for name, some in kept.items()},
        sittings=kept,
        excluded=excluded,
    )


def _bootstrap(sittings: Sequence[Sitting], draws: int, random: np.random.Generator) -> np.ndarray:
    """The share of trials fooled in samples of people, or of one person's trials."""
    trials = np.array([len(sitting.fooled) for sitting in sittings])
    fooled = np.array([np.sum(sitting.fooled) for sitting in sittings])
    if len(sittings) == 1:
        return random.binomial(trials[0], fooled[0] / trials[0], draws) / trials[0]
    people = random.integers(len(sittings), size=(draws, len(sittings)))
    return fooled[people].sum(axis=1) / trials[people].sum(axis=1)
