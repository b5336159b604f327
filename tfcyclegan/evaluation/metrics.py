"""What can be measured: the names of the scores, what each means and which way is better."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from ..errors import InputError


@dataclass(frozen=True)
class Metric:
    """A score of one direction.

    Attributes:
        label: how it is called in tables.
        needs: what has to be there for it: "nothing", "truth", "masks", "palette", "extractor" or
            "classifier"; "cycle" is both generators, which are seen when measured.
        better: "higher", "lower", or "neither" for one that tells something else than quality.
        digits: behind the point.
        unit: "dB", or nothing.
        meaning: what it says, in a sentence.
    """

    label: str
    needs: str
    better: Literal["higher", "lower", "neither"]
    meaning: str
    digits: int = 3
    unit: str = ""

    def show(self, value: float) -> str:
        if math.isinf(value):
            return "equal"  # PSNR alone
        return f"{value:.{self.digits}f}" + (f" {self.unit}" if self.unit else "")


#: All of them, in the order of tables.
METRICS: dict[str, Metric] = {
    "psnr": Metric(
        "PSNR to the truth", "truth", "higher", "closeness to the right answer", 2, "dB"
    ),
    "ssim": Metric("SSIM to the truth", "truth", "higher", "the same, by structure"),
    "l1": Metric("L1 to the truth", "truth", "lower", "mean absolute difference; values span 2"),
    "coat_changed": Metric(
        "coat changed", "masks", "higher", "share of the coat's pixels that changed as they should"
    ),
    "rest_kept": Metric(
        "rest kept", "masks", "higher", "share of the pixels beside the coat left as they were"
    ),
    "pixel_accuracy": Metric(
        "per-pixel accuracy", "palette", "higher", "share of pixels of the right class"
    ),
    "class_accuracy": Metric(
        "per-class accuracy", "palette", "higher", "the same, mean over the classes"
    ),
    "class_iou": Metric(
        "class IoU", "palette", "higher", "intersection over union, mean over the classes"
    ),
    "fid": Metric(
        "FID", "extractor", "lower", "distance to real pictures; falls with their number", 2
    ),
    "kid": Metric(
        "KID", "extractor", "lower", "distance to real pictures; 0 for pictures of one kind"
    ),
    "hit_rate": Metric(
        "called the target", "classifier", "higher", "share that a classifier takes for the target"
    ),
    "diversity": Metric(
        "diversity",
        "nothing",
        "neither",
        "difference among outputs relative to inputs; 0 has collapsed",
    ),
    "feature_diversity": Metric(
        "diversity of features", "extractor", "neither", "the same, by the extractor's features"
    ),
    "cycle_l1": Metric(
        "cycle L1", "cycle", "lower", "difference after the round trip; values span 2"
    ),
    "cycle_psnr": Metric(
        "cycle PSNR", "cycle", "higher", "closeness after the round trip", 2, "dB"
    ),
    "cycle_ssim": Metric("cycle SSIM", "cycle", "higher", "the same, by structure"),
    "identity_l1": Metric(
        "identity L1", "nothing", "lower", "change to pictures of the target itself; values span 2"
    ),
}

#: What to do so that a metric can be had.
_REMEDIES = {
    "truth": "--paired, or the embedded data",
    "masks": "the embedded data",
    "palette": "--palette, with --paired",
    "extractor": "--extractor",
    "classifier": "--classifier",
}


def choose_metrics(wanted: str | None, there: Mapping[str, bool]) -> tuple[str, ...]:
    """The metrics to measure.

    Args:
        wanted: names with commas between, or None for all that can be had.
        there: what they may need, and whether it is there.

    Raises:
        InputError: an unknown name, or one whose needs are not met.
    """
    can = {name for name, metric in METRICS.items() if there.get(metric.needs, True)}
    if wanted is None:
        return tuple(name for name in METRICS if name in can)
    names = split_names(wanted)
    for name in names:
        if name not in can:
            raise InputError(f"metric {name}: needs {_REMEDIES[METRICS[name].needs]}")
    return tuple(name for name in METRICS if name in names)


def split_names(wanted: str) -> list[str]:
    """The metrics in a text that has commas between them.

    Raises:
        InputError: one that is none.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            raise InputError(f"metric {name!r} is unknown: take some of {', '.join(METRICS)}")
    return names


def metric_name(score: str) -> str:
    """The metric of a score, which may be one direction's: `kid` of `AtoB_kid` and of `kid`."""
    return score.removeprefix("AtoB_").removeprefix("BtoA_")


def better(score: str, value: float, than: float) -> bool:
    """Whether a value is better than another, of a score that has a better side."""
    metric = METRICS[metric_name(score)]
    return value > than if metric.better == "higher" else value < than
