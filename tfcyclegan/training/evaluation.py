"""Measuring while training goes on, and keeping the best model."""

from __future__ import annotations

import json
import logging
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import keras

from ..errors import InputError
from ..evaluation.evaluator import Evaluator
from ..evaluation.metrics import METRICS, better, metric_name
from ..evaluation.result import Evaluation, finite
from ..files import atomic_write

logger = logging.getLogger(__name__)


class EvaluateEvery(keras.callbacks.Callback):
    """Measures a `CycleGAN` every few epochs, logs the scores, and keeps the best model.

    Scores go into the epoch's logs as `AtoB_psnr` and so on, so that every callback behind this
    one (TensorBoard, `EarlyStopping`, `HistoryFile`) finds them there. Training itself is not
    touched: the same run with and without it comes to the same weights.

    Args:
        evaluator: what to measure, and on what.
        directory: folder for `best.keras` (the whole model) and `best.json` (its epoch and
            scores), which a resumed training goes on from. Default: none is kept.
        every: int, epochs between two evaluations. Default 1. The last planned epoch has one.
        best_by: the score that decides: a metric, for the mean of the directions that have it, or
            one direction's, as `AtoB_kid`. Default: psnr where the truth is known, else kid, else
            hit_rate. (The round trip's error decides nothing: doing nothing has the least.)

    Raises:
        InputError: `best_by` is not measured, or has no better side; or what lies in `directory`
            was the best by another score.

    Example:
        ```python
        best = EvaluateEvery(Evaluator(TestSet.of(data)), "runs/mine", every=5)
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
                f"{self.best_by}: go on with the former, or move it away"
            )

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        if (epoch + 1) % self.every and epoch + 1 != self.params["epochs"]:
            return
        self.last = self.evaluator({"AtoB": self.model.G, "BtoA": self.model.F})
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
                # The model first: a description never speaks of one that is not there.
                with atomic_write(self._directory / "best.keras") as part:
                    self.model.save(part)
                with atomic_write(self._directory / "best.json") as part:
                    part.write_text(json.dumps(finite(self.best), indent=2) + "\n")


def read_best(directory: Path) -> dict[str, Any] | None:
    """What `best.json` in a folder says of `best.keras` beside it; None where there is none.

    Raises:
        InputError: it is damaged.
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
    one_way = METRICS[name].needs == "palette" if name in able else False  # only A to B draws maps
    if name not in able or (one_way and best_by.startswith("BtoA")):
        raise InputError(
            f"--best-by {best_by}: not measured here, or has no better side: take one of "
            f"{', '.join(able) or 'more metrics'}, or one direction's, such as AtoB_psnr"
        )
