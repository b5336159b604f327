"""The result of an evaluation: scores, examples, and the networks and pictures behind them."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .metrics import METRICS, metric_name

#: The pictures that are scored, and their names in tables: translations; the inputs themselves
#: (doing nothing); real pictures of the target domain, as the best possible score. The real
#: pictures are training pictures, but test pictures for the hit rate and a segmenter.
COLUMNS = {"translated": "translated", "untouched": "doing nothing", "real": "real pictures"}


@dataclass(frozen=True)
class Example:
    """A test picture, its translation and its round trip, uint8 `[H, W, C]` each.

    Attributes:
        name: name of the picture.
        error: L1 of the round trip; values span 2.
    """

    name: str
    image: np.ndarray
    translated: np.ndarray
    cycled: np.ndarray
    error: float


@dataclass
class Evaluation:
    """What was measured.

    Attributes:
        data: name of the data source.
        pictures: split → number of pictures used.
        scores: direction → metric → column of `COLUMNS` → value. It holds only what was measured.
            Besides the metrics of `METRICS` there is `kid_std`, the spread of KID's subsets.
        extractor: description of the network behind FID and KID, or None.
        classifier: description of the network behind the hit rate, and the classes that count as
            each domain; or None.
        palette: name of the palette of label maps, or None.
        segmenter: description of the network that segments what F generates, or None.
        notes: caveats to read before quoting a number.
        examples: direction → the translations with the least error of the round trip, then those
            with the largest.
    """

    data: str
    pictures: dict[str, int]
    scores: dict[str, dict[str, dict[str, float]]]
    extractor: dict[str, Any] | None = None
    classifier: dict[str, Any] | None = None
    palette: str | None = None
    segmenter: dict[str, Any] | None = None
    notes: list[str] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(default_factory=dict, repr=False)

    def flat(self) -> dict[str, float]:
        """The translations' scores as `AtoB_psnr` and so on; `psnr` is the directions' mean."""
        named = {
            f"{direction}_{name}": values["translated"]
            for direction, found in self.scores.items()
            for name, values in found.items()
            if "translated" in values
        }
        for name in METRICS:
            values = [value for score, value in named.items() if metric_name(score) == name]
            if values:
                named[name] = sum(values) / len(values)
        return named

    def rows(self, direction: str) -> list[tuple[str, ...]]:
        """A table of a direction: the header, then one row per metric."""
        found = self.scores[direction]
        columns = [c for c in COLUMNS if any(c in values for values in found.values())]

        def cell(name: str, column: str) -> str:
            if column not in found[name]:
                return ""
            text = METRICS[name].show(found[name][column])
            if name == "kid":
                text += f" ± {METRICS['kid'].show(found['kid_std'][column])}"
            return text

        return [("", *(COLUMNS[column] for column in columns))] + [
            (metric.label, *(cell(name, column) for column in columns))
            for name, metric in METRICS.items()
            if name in found
        ]

    def facts(self) -> list[str]:
        """The pictures and networks behind the numbers, and the notes, one line each."""
        counts = (f"{count} {split.replace('_', '')}" for split, count in self.pictures.items())
        facts = [f"{self.data}: {', '.join(counts)}"]
        for what, network in (
            ("FID, KID and diversity of features", self.extractor),
            ("hit rate", self.classifier),
        ):
            if network:
                facts.append(
                    f"{what}: {network['name']} at {network['size']} px, pixels {network['pixels']}"
                )
                if classes := network.get("classes"):
                    facts[-1] += f", classes {classes['A']} for A, {classes['B']} for B"
        if self.palette:
            facts.append(f"label maps: nearest pixel, nearest colour of {self.palette}")
        if self.segmenter:
            facts.append(
                f"B to A: photographs are segmented by {self.segmenter['name']}, "
                f"{self.segmenter['palette']}; its scores on real pictures, where their labels are "
                "known, are the ceiling"
            )
        return [*facts, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the examples, for JSON: an infinite PSNR, of equal pictures, is None."""
        names = (field.name for field in dataclasses.fields(self) if field.name != "examples")
        return finite({name: getattr(self, name) for name in names})

    @staticmethod
    def from_dict(saved: Mapping[str, Any]) -> Evaluation:
        """The evaluation that `to_dict` described, without examples.

        Raises:
            TypeError, AttributeError, KeyError: `saved` describes something else.
        """
        scores = {
            way: {
                name: {
                    column: math.inf if value is None else float(value)
                    for column, value in columns.items()
                }
                for name, columns in found.items()
            }
            for way, found in saved["scores"].items()
        }
        return Evaluation(**{**saved, "scores": scores})

    def to_json(self) -> str:
        """`to_dict` as the text of a JSON file."""
        return json.dumps(self.to_dict(), indent=2) + "\n"


def finite(value: Any) -> Any:
    """The value with None for numbers that JSON does not have, in nested dicts and lists too."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
