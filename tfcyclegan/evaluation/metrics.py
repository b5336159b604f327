"""The metrics: their names, what each one means and needs, and which values are better."""

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
        label: its name in tables.
        needs: what it is measured with: "nothing", "truth", "masks", "palette", "extractor",
            "classifier", or "cycle", which stands for both generators.
        better: "higher", "lower", or "neither" for a score that is not a measure of quality.
        meaning: one phrase for the reader of a report.
        digits: number of decimals. Default 3.
        unit: "dB", "°" or nothing.
    """

    label: str
    needs: str
    better: Literal["higher", "lower", "neither"]
    meaning: str
    digits: int = 3
    unit: str = ""

    def show(self, value: float) -> str:
        """The value as tables show it; an infinite PSNR, of equal pictures, is "equal"."""
        if math.isinf(value):
            return "equal"
        return f"{value:.{self.digits}f} {self.unit}".rstrip()


#: All metrics, in the order of tables.
METRICS: dict[str, Metric] = {
    "psnr": Metric("PSNR to the truth", "truth", "higher", "closeness to the truth", 2, "dB"),
    "ssim": Metric("SSIM to the truth", "truth", "higher", "structural similarity to the truth"),
    "l1": Metric("L1 to the truth", "truth", "lower", "mean absolute difference; values span 2"),
    "coat_changed": Metric("coat changed", "masks", "higher",
        "share of the coat's pixels that changed as they should"),
    "rest_kept": Metric("rest kept", "masks", "higher",
        "share of the pixels outside the coat that stayed as they were"),
    "pixel_accuracy": Metric("per-pixel accuracy", "palette", "higher",
        "share of pixels of the right class"),
    "class_accuracy": Metric("per-class accuracy", "palette", "higher",
        "share of each class's pixels that are right, averaged over the classes"),
    "class_iou": Metric("class IoU", "palette", "higher",
        "intersection over union, averaged over the classes"),
    "fid": Metric("FID", "extractor", "lower",
        "distance to real pictures; falls as their number grows", 2),
    "kid": Metric("KID", "extractor", "lower",
        "distance to real pictures; about 0 for pictures of the same kind"),
    "hit_rate": Metric("hit rate", "classifier", "higher",
        "share of pictures that the classifier assigns to the target domain"),
    "diversity": Metric("diversity", "nothing", "neither",
        "distance between outputs relative to inputs; 0 is a collapsed generator"),
    "feature_diversity": Metric("diversity of features", "extractor", "neither",
        "the same, between the extractor's features"),
    "cycle_l1": Metric("cycle L1", "cycle", "lower",
        "mean absolute difference after the round trip; values span 2"),
    "cycle_psnr": Metric("cycle PSNR", "cycle", "higher",
        "closeness to the input after the round trip", 2, "dB"),
    "cycle_ssim": Metric("cycle SSIM", "cycle", "higher",
        "structural similarity to the input after the round trip"),
    "identity_l1": Metric("identity L1", "nothing", "lower",
        "how much pictures of the target domain are changed; values span 2"),
    "hue_shift": Metric("hue shift", "nothing", "neither",
        "how far a picture's mean colour turns on the colour wheel", 1, "°"),
    "brightness_shift": Metric("brightness shift", "nothing", "neither",
        "how much lighter or darker pictures become; values span 255", 1),
}  # fmt: skip

#: What makes a metric available, by its needs.
_REMEDIES = {
    "truth": "`paired`, or the embedded data",
    "masks": "the embedded data",
    "palette": "`palette` with `paired`, or `segmenter`",
    "extractor": "`extractor`",
    "classifier": "`classifier`",
}


def choose_metrics(wanted: str | None, there: Mapping[str, bool]) -> tuple[str, ...]:
    """The metrics to measure, in the order of `METRICS`.

    Args:
        wanted: metric names separated by commas, or None for all that are available.
        there: for each need, whether it is met. A need that is not listed counts as met.

    Raises:
        InputError: an unknown name, or a metric whose needs are not met.
    """
    can = [name for name, metric in METRICS.items() if there.get(metric.needs, True)]
    names = can if wanted is None else split_names(wanted)
    for name in names:
        if name not in can:
            raise InputError(f"metric {name}: needs {_REMEDIES[METRICS[name].needs]}")
    return tuple(name for name in can if name in names)


def split_names(wanted: str) -> list[str]:
    """The metric names in a text, separated by commas.

    Raises:
        InputError: an unknown name.
    """
    names = [name.strip() for name in wanted.split(",") if name.strip()]
    for name in names:
        if name not in METRICS:
            raise InputError(f"metric {name!r} is unknown: take some of {', '.join(METRICS)}")
    return names


def metric_name(score: str) -> str:
    """The metric of a score: `kid` for the scores `kid` and `AtoB_kid`."""
    return score.removeprefix("AtoB_").removeprefix("BtoA_")


def better(score: str, value: float, than: float) -> bool:
    """Whether a value of a score is better than another. The metric must have a better side."""
    metric = METRICS[metric_name(score)]
    return value > than if metric.better == "higher" else value < than
