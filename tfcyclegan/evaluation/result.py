"""What an evaluation found: scores, examples, and what the numbers stand on."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .metrics import METRICS, metric_name

#: What a score is measured on: translated pictures; the pictures that went in (doing nothing);
#: real pictures of the target domain (as good as it gets): training pictures, and test pictures
#: for the hit rate.
COLUMNS = {"translated": "translated", "untouched": "doing nothing", "real": "real pictures"}


#: Best and worst translations that are kept to be shown.
EXAMPLES = 4


@dataclass(frozen=True)
class Example:
    """A test picture, its translation and its way back, uint8 `[H, W, C]` each.

    Attributes:
        name: of the picture.
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
        data: the source.
        pictures: how many pictures of what were used.
        scores: direction → metric → column of `COLUMNS` → value. What was not measured is not
            there. Besides the metrics of `METRICS`, `kid_std` is the spread of KID's subsets.
        extractor: what FID and KID stand on, or None.
        classifier: what the hit rate stands on, with the classes that count, or None.
        palette: of label maps, or None.
        notes: what to know before quoting a number.
        examples: direction → the best translations by the round trip's error, then the worst.
    """

    data: str
    pictures: dict[str, int]
    scores: dict[str, dict[str, dict[str, float]]]
    extractor: dict[str, Any] | None = None
    classifier: dict[str, Any] | None = None
    palette: str | None = None
    notes: list[str] = field(default_factory=list)
    examples: dict[str, list[Example]] = field(default_factory=dict, repr=False)

    def flat(self) -> dict[str, float]:
        """The translations' scores as `AtoB_psnr` and so on, and as `psnr` the directions' mean."""
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
        """A table for people: a head, and a row a metric."""
        found = self.scores[direction]
        columns = [c for c in COLUMNS if any(c in values for values in found.values())]
        rows = [("", *(COLUMNS[column] for column in columns))]
        for name, metric in METRICS.items():
            if name not in found:
                continue
            cells = []
            for column in columns:
                text = metric.show(found[name][column]) if column in found[name] else ""
                if name == "kid" and text:
                    text += f" ± {METRICS['kid'].show(found['kid_std'][column])}"
                cells.append(text)
            rows.append((metric.label, *cells))
        return rows

    def facts(self) -> list[str]:
        """What the numbers stand on, a line each: pictures, networks, and the notes."""
        counts = ", ".join(
            f"{count} {split.replace('_', '')}" for split, count in self.pictures.items()
        )
        facts = [f"{self.data}: {counts}"]
        for what, network in (
            ("FID, KID and diversity of features", self.extractor),
            ("called the target", self.classifier),
        ):
            if network:
                scaled, classes = network.get("scaling") == "rms", network.get("classes")
                facts.append(
                    f"{what}: {network['name']} at {network['size']} px, pixels {network['pixels']}"
                    + (", features by their root mean square" if scaled else "")
                    + (f", classes {classes['A']} for A, {classes['B']} for B" if classes else "")
                )
        if self.palette:
            facts.append(f"label maps: nearest colour of {self.palette}")
        return [*facts, *self.notes]

    def to_dict(self) -> dict[str, Any]:
        """Everything but the pictures, for JSON: the PSNR of equal pictures, infinite, is None."""
        told = (field.name for field in dataclasses.fields(self) if field.name != "examples")
        return finite({name: getattr(self, name) for name in told})

    @staticmethod
    def from_dict(saved: Mapping[str, Any]) -> Evaluation:
        """What `to_dict` gave, without pictures.

        Raises:
            TypeError, AttributeError: it is something else.
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
        return json.dumps(self.to_dict(), indent=2) + "\n"


def finite(value: Any) -> Any:
    """The same with None for numbers that JSON does not have."""
    if isinstance(value, dict):
        return {key: finite(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [finite(entry) for entry in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
