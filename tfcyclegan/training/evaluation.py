"""Evaluation of a run: its evaluator, and the callback that measures and keeps the best model."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from ..data.sources import EMBEDDED
from ..data.test_set import TestSet, load_test_set
from ..errors import InputError
from ..evaluation.evaluator import Evaluator
from ..evaluation.label_maps import load_palette
from ..evaluation.metrics import METRICS, better, metric_name
from ..evaluation.pretrained import Pretrained, class_indices, load_class_names, open_pretrained
from ..evaluation.result import Evaluation, finite
from ..evaluation.segmentation import load_segmenter
from ..files import atomic_write, write_text
from .config import Config

logger = logging.getLogger(__name__)


def make_evaluator(
    config: Config, extractor: Pretrained | None = None, test_set: TestSet | None = None
) -> Evaluator:
    """Makes the `Evaluator` that a resolved configuration describes.

    Args:
        config: from `Config.resolved()`.
        extractor: the network for FID and KID. Default: the one that the configuration names.
        test_set: the test pictures. Default: those of the configuration.

    Returns:
        `Evaluator`.

    Raises:
        InputError: pictures, a network, classes or a metric are not available.
    """
    how = config.measuring
    if how.palette and not how.paired:
        raise InputError(f"palette={how.palette}: compares with true maps: pass paired=True too")
    if how.palette and config.channels_B != 3:
        raise InputError(f"palette={how.palette}: label maps have colours: set channels_B=3")
    palette = load_palette(how.palette) if how.palette else None
    segmenter = load_segmenter(how.segmenter) if how.segmenter not in (None, "none") else None
    if segmenter and (config.channels_A, config.channels_B) != (3, 3):
        raise InputError(f"segmenter={how.segmenter}: takes RGB: set channels_A=3 and channels_B=3")
    if segmenter and config.data in EMBEDDED:
        raise InputError(
            f"segmenter={how.segmenter}: {config.data} has no label maps: leave it out"
        )
    if palette and segmenter and not palette.same_as(segmenter.palette):
        raise InputError(
            f"palette={how.palette}: the segmenter has other classes or colours, those of "
            f"{segmenter.palette.name}: leave `palette` out"
        )
    if segmenter and how.paired:
        palette = segmenter.palette
    if extractor is None and how.extractor not in (None, "none"):
        extractor = open_pretrained(
            how.extractor, size=how.extractor_size, pixels=how.extractor_pixels
        )
    classifier, class_A, class_B = None, [], []
    if how.classifier not in (None, "none"):
        if not (how.class_A and how.class_B):
            raise InputError(
                f"classifier={how.classifier}: say which classes count: set `class_A` and "
                "`class_B` to numbers, or to names in the file `classes`, such as sorrel and zebra"
            )
        classifier = open_pretrained(
            how.classifier, classes=True, size=how.classifier_size, pixels=how.classifier_pixels
        )
        names = load_class_names(how.classes) if how.classes else None
        class_A = class_indices(how.class_A, names, classifier.width)
        class_B = class_indices(how.class_B, names, classifier.width)
    return Evaluator(
        test_set or load_config_test_set(config, floor=extractor is not None),
        metrics=how.metrics,
        extractor=extractor,
        classifier=classifier,
        palette=palette,
        segmenter=segmenter,
        class_A=class_A,
        class_B=class_B,
    )


def load_config_test_set(config: Config, floor: bool = False) -> TestSet:
    """Loads the test pictures of a resolved configuration; see `load_test_set` for `floor`."""
    how = config.measuring
    return load_test_set(
        config.data,
        paired=how.paired,
        label_maps=how.label_maps,
        floor=floor,
        test_count=how.test_count,
        **config.pictures,
    )


class EvaluateEvery(keras.callbacks.Callback):
    """Evaluates a model every few epochs, logs the scores, and keeps the best model.

    The scores enter the epoch's logs as `AtoB_psnr` and so on, so later callbacks (TensorBoard,
    `EarlyStopping`, `HistoryFile`) see them. Evaluation does not change the training: the weights
    are the same with and without it.

    Args:
        evaluator: the `Evaluator`.
        directory: folder for `best.keras` (the whole model) and `best.json` (its epoch and
            scores). A resumed training compares with the model that is there. Default: no model
            is kept.
        every: int, epochs between evaluations. Default 1. The last epoch always has one.
        best_by: the score that selects the best model: a metric, for the mean of both directions,
            or that of one direction, such as `AtoB_kid`. Default: psnr if the truth is known, else
            kid, else hit_rate. (The error of the round trip is no default: a generator that does
            nothing has the smallest.)

    Raises:
        InputError: `best_by` is not measured or has no better value, or the model in
            `directory` was selected by another score.

    Example:
        ```python
        best = EvaluateEvery(Evaluator(data.test_set), "runs/mine", every=5)
        model.fit(data.train, epochs=50, callbacks=[best])
        ```
    """

    def __init__(
        self,
        evaluator: Evaluator,
        directory: str | Path | None = None,
        every: int = 1,
        best_by: str | None = None,
    ):
        super().__init__()
        self.evaluator = evaluator
        self.every = every
        self.best_by = best_by or next(
            (name for name in ("psnr", "kid", "hit_rate") if name in evaluator.metrics), None
        )
        if self.best_by:
            _check(self.best_by, evaluator)
        self._directory = Path(directory) if directory else None
        self.best: dict[str, Any] | None = None
        self.last: Evaluation | None = None

    def on_train_begin(self, logs: Mapping | None = None) -> None:
        self.last = None
        self.best = read_best(self._directory) if self._directory else None
        if self.best and self.best["metric"] != self.best_by:
            raise InputError(
                f"{self._directory}/best.json: the best by {self.best['metric']}, not by "
                f"{self.best_by}: set best_by={self.best['metric']}, or move the file away"
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        self.last = self.evaluator(self.model.translators)
        found = self.last.flat()
        if logs is not None:
            logs.update({name: value for name, value in found.items() if name not in METRICS})
        if not self.best_by:
            return
        value = found.get(self.best_by)
        if value is None:
            logger.warning("%s could not be measured: no best model is kept", self.best_by)
        elif self.best is None or better(self.best_by, value, self.best["value"]):
            self.best = {
                "metric": self.best_by,
                "value": value,
                "epoch": epoch + 1,
                "step": int(self.model.step.numpy()),
                "evaluation": self.last.to_dict(),
            }
            if self._directory:
                # The model first, so that best.json never describes a model that is not there.
                with atomic_write(self._directory / "best.keras") as part:
                    self.model.save(part)
                text = json.dumps(finite(self.best), indent=2) + "\n"
                write_text(self._directory / "best.json", text)


def read_best(directory: Path) -> dict[str, Any] | None:
    """Reads `best.json`, which describes the `best.keras` beside it.

    Args:
        directory: the run folder.

    Returns:
        The metric, its value, epoch, step and evaluation; None if there is no such file.

    Raises:
        InputError: the file is damaged.
    """
    path = directory / "best.json"
    if not path.exists():
        return None
    try:
        best = json.loads(path.read_text())
        best["value"] = math.inf if best["value"] is None else float(best["value"])
        Evaluation.from_dict(best["evaluation"])
        METRICS[metric_name(best["metric"])]
        return {name: best[name] for name in ("metric", "value", "epoch", "step", "evaluation")}
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as problem:
        raise InputError(f"{path}: damaged ({problem}): move it away to go on without") from problem


def _check(best_by: str, evaluator: Evaluator) -> None:
    name = metric_name(best_by)
    able = [name for name in evaluator.metrics if METRICS[name].better != "neither"]
    # G's label maps are scored with a palette, F's photographs with a segmenter.
    unscored = METRICS[name].needs == "palette" and (
        (best_by.startswith("BtoA") and not evaluator.segmenter)
        or (best_by.startswith("AtoB") and not evaluator.palette)
    )
    if name not in able or unscored:
        remedy = f"use {', '.join(able)} or one direction's" if able else "measure more `metrics`"
        raise InputError(f"best_by={best_by}: not measured here, or has no better value: {remedy}")
