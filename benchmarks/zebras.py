"""Trains the arms of the fast recipe on horse2zebra, one after the other, and measures them.

    python -m benchmarks.zebras --data DATA --extractor squeezenet_1_1.keras \\
        --classifier mobilenet_v2_imagenet_quant.tflite --to zebras fast patch cycle5 --minutes 20

Each arm trains for the same time, in which evaluation does not count, and is measured every five
minutes of it: KID and hit rate as in `tfcyclegan evaluate`, and the share of pixels in the outer
tenth of the picture that changed by more than 8 levels, as a measure of the background (there are
no masks; animals stand near the middle). Stop it at any moment and start it again: it goes on from
the last checkpoint. Measure only while nothing else runs.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np

from tfcyclegan.data.preprocessing import to_float, to_uint8
from tfcyclegan.evaluation.evaluator import Evaluator
from tfcyclegan.files import write_text
from tfcyclegan.training.config import Config, Measuring
from tfcyclegan.training.evaluation import make_evaluator
from tfcyclegan.training.plots import draw_grid
from tfcyclegan.training.run import train

#: Where the search for the recipe began: single pictures, and no penalty on the change.
FIRST = {"batch_size": 1, "learning_rate": 2e-4, "change_penalty": 0.0}

#: What each arm changes in the fast recipe.
ARMS: dict[str, dict[str, Any]] = {
    "fast": {},
    "first": FIRST,
    "slowD": FIRST | {"discriminator_learning_rate": 1e-4},
    "clip": FIRST | {"residual_output": "clipped"},
    "clip_cycle3": FIRST | {
        "residual_output": "clipped", "lambda_cycle_A": 3.0, "lambda_cycle_B": 3.0,
    },
    "clip_cycle5_momentum": FIRST | {
        "residual_output": "clipped", "lambda_cycle_A": 5.0, "lambda_cycle_B": 5.0, "beta_1": 0.5,
    },
    "lsgan": FIRST | {"objective": "lsgan", "beta_1": 0.5},
    "penalty": FIRST | {"change_penalty": 1.0},
    "patch": {
        "discriminator": "patch", "discriminator_filters": 64, "discriminator_layers": 3,
        "objective": "lsgan", "lambda_identity": 0.5, "beta_1": 0.5, "beta_2": 0.999,
        "discriminator_translation": 0.0,
    },
    "projected": {"discriminator": "projected"},
    "cycle5": {"lambda_cycle_A": 5.0, "lambda_cycle_B": 5.0},
    "filters16": {"filters": 16},
    "crops": {"load_size": 192},
    "still": {"discriminator_translation": 0.0},
    # The generators in the package, trained further against the recipe's discriminators. (Those
    # that are in the package now came out of this arm, from the ones of commit c2d9142.)
    "finetune": {
        "initial_weights": "tfcyclegan/presets/horse2zebra", "generator": "resnet", "filters": 32,
        "upsampling": "transposed", "residual_output": False, "change_penalty": 0.0,
        "batch_size": 2, "learning_rate": 1e-4, "discriminator_learning_rate": 2e-4,
    },
}  # fmt: skip

#: Test pictures in a grid, spread over the set.
SHOWN = (3, 20, 40, 60, 80, 100)
CHANGED = 8


class Clock(keras.callbacks.Callback):
    """Measures a run every few minutes of its training, and ends it when its time is up."""

    def __init__(self, folder: Path, evaluator: Evaluator, minutes: float, every: float):
        super().__init__()
        self.folder, self.evaluator = folder, evaluator
        self.minutes, self.every = minutes, every
        self.file = folder / "clock.json"
        known = json.loads(self.file.read_text()) if self.file.exists() else {}
        self.rows: list[dict[str, Any]] = known.get("rows", [])
        #: Seconds of training at the end of each epoch, by step.
        self.seconds: dict[str, float] = known.get("seconds", {"0": 0.0})

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if not hasattr(self, "spent"):  # a resumed run knows its step only now
            step = int(self.model.step.numpy())
            known = max(int(known) for known in self.seconds if int(known) <= step)
            self.spent = self.seconds[str(known)] * (step / known if known else 1)
            self.rows = [row for row in self.rows if row["step"] <= step]
        self.began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.spent += time.perf_counter() - self.began
        if self.spent >= 60 * self.every * (len(self.rows) + 1):
            self.measure()
        self.model.stop_training = self.spent >= 60 * self.minutes

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.seconds[str(int(self.model.step.numpy()))] = self.spent
        self.save()

    def measure(self) -> None:
        minutes = round(self.spent / 60)
        row: dict[str, Any] = {"minutes": minutes, "step": int(self.model.step.numpy())}
        row |= self.evaluator(self.model.translators).flat()
        columns = {}
        test = self.evaluator.test_set
        for way, pictures, name in (("AtoB", test.A, "horse"), ("BtoA", test.B, "zebra")):
            some = [pictures[number] for number in SHOWN]
            translated = to_uint8(self.model.translate(to_float(np.stack(some)), way))
            columns |= {name: some, f"{way} {minutes} min": translated}
            every = np.stack(list(pictures))
            drawn = to_uint8(self.model.translate(to_float(every), way, batch_size=8))
            change = np.abs(drawn.astype(int) - every).max(axis=3) > CHANGED
            inner = slice(change.shape[1] // 10, -(change.shape[1] // 10))
            frame = np.ones(change.shape[1:], bool)
            frame[inner, inner] = False
            row[f"{way}_frame_changed"] = float(change[:, frame].mean())
        draw_grid(columns, self.folder / f"grid_{minutes:03d}min.png")
        self.rows.append(row)
        self.save()
        names = ("AtoB_kid", "AtoB_hit_rate", "BtoA_kid", "BtoA_hit_rate", "AtoB_cycle_l1",
                 "AtoB_frame_changed", "BtoA_frame_changed")  # fmt: skip
        scores = " ".join(f"{name} {row[name]:.3f}" for name in names)
        print(f"{self.folder.name}: {minutes} min, step {row['step']}: {scores}", flush=True)

    def save(self) -> None:
        text = json.dumps({"rows": self.rows, "seconds": self.seconds}, indent=1)
        write_text(self.file, text)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("arms", nargs="+", choices=list(ARMS))
    parser.add_argument("--data", required=True)
    parser.add_argument("--extractor", required=True)
    parser.add_argument("--classifier", required=True)
    parser.add_argument("--to", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--every", type=float, default=5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--steps", type=int, help="length of the run for the falling rate")
    given = parser.parse_args()
    measuring = Measuring(
        extractor=given.extractor, extractor_size=128, extractor_pixels="none",
        classifier=given.classifier, class_A="340", class_B="341",
        metrics="kid,hit_rate,cycle_l1",
    )  # fmt: skip
    for arm in given.arms:
        folder = given.to / f"{arm}_seed{given.seed}"
        if (folder / "model.keras").exists():
            continue
        # By default the rate stays as it is, so that arms are compared at every moment.
        length = {"epochs": max(1, given.steps // 1000)} if given.steps else {"epochs": 1000}
        constant = {} if given.steps else {"constant_fraction": 1.0}
        config = Config(
            data=given.data, recipe="fast", run_dir=str(folder), seed=given.seed,
            measuring=measuring, tensorboard=False, sample_every=0, keep_checkpoints=1,
            **length, **(constant | ARMS[arm]),
        )  # fmt: skip
        clock = Clock(folder, make_evaluator(config.resolved()), given.minutes, given.every)
        train(config, resume=True, callbacks=[clock])


if __name__ == "__main__":
    main()
