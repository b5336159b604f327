"""Compares an exported model with the generator that it was made from: accuracy and speed."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import json
import math
import os
import platform
import re
import statistics
import time
import timeit
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..data.preprocessing import to_uint8
from ..evaluation.pairs import similarity
from ..evaluation.result import finite
from ..runtimes.keras_model import KerasRuntime
from ..runtimes.litert import LiteRTRuntime
from ..runtimes.saved_model import SavedModelRuntime

#: A reported time is the median of this many runs.
RUNS = 10


@dataclass(frozen=True)
class Limit:
    """The accuracy that an exported model must reach on every picture.

    Attributes:
        max_difference: the largest difference allowed of any value (values span 2), or None.
        psnr: the lowest PSNR allowed in dB, or None.
    """

    max_difference: float | None = None
    psnr: float | None = None

    def __str__(self) -> str:
        if self.psnr is None:
            return f"difference ≤ {self.max_difference:g}"
        return f"PSNR ≥ {self.psnr:g} dB"

    def shortfall(self, difference: float, psnr: float) -> str | None:
        """Says by how much the limit is missed, or None. NaN misses every limit."""
        if self.max_difference is not None and not difference <= self.max_difference:
            return f"difference {difference:.2g} where {self.max_difference:g} is allowed"
        if self.psnr is not None and not psnr >= self.psnr:
            return f"{psnr:.1f} dB, {self.psnr - psnr:.1f} dB short of {self.psnr:g}"
        return None


#: Checked on the worst picture. A real trained generator measured 84–89 dB in float16 and
#: 42–48 dB in int8.
LIMITS = {
    "SavedModel float32": Limit(max_difference=1e-4),
    "SavedModel bfloat16": Limit(psnr=45.0),
    "LiteRT float32": Limit(max_difference=1e-3),
    "LiteRT float16": Limit(psnr=60.0),
    "LiteRT int8": Limit(psnr=35.0),
}


@dataclass(frozen=True)
class Result:
    """What was measured on one exported model.

    Attributes:
        kind: "SavedModel float32", "LiteRT int8" and so on.
        direction: "AtoB" or "BtoA".
        staged: its path in the hidden folder, where it was measured.
        path: its published path relative to the export's folder, or None.
        bytes: size on disk.
        load_seconds: time until it was ready.
        milliseconds: time for one picture, the median of `RUNS`.
        max_difference: largest difference of any value from the Keras generator's in float32,
            over all pictures; values span 2, from -1 to 1.
        psnr: PSNR of the worst picture to the Keras generator's in dB; infinite for equal ones.
        ssim: SSIM of the worst picture; None for pictures below 11 px.
        limit: the accuracy that it must reach.
        shortfall: by how much it misses its limit, or None.
    """

    kind: str
    direction: str
    staged: Path
    path: str | None
    bytes: int
    load_seconds: float
    milliseconds: float
    max_difference: float
    psnr: float
    ssim: float | None
    limit: str
    shortfall: str | None

    @property
    def passed(self) -> bool:
        return self.shortfall is None


class Proof:
    """Measures the exports of one generator on the same pictures.

    Args:
        generator: the Keras model that the exports were made from.
        direction: "AtoB" or "BtoA".
        pictures: float32 `[H, W, C]` in [-1, 1], all of one size.
    """

    def __init__(self, generator: keras.Model, direction: str, pictures: Sequence[np.ndarray]):
        self.direction = direction
        self.pictures = [np.asarray(picture, np.float32)[np.newaxis] for picture in pictures]
        self._original = KerasRuntime(generator, generator.name)
        self._truth = [self._original.run(images) for images in self.pictures]
        self.milliseconds = _median_milliseconds(self._original.run, self.pictures[0])

    def measure(self, kind: str, path: Path) -> Result:
        """Opens an exported model and compares it with the Keras generator.

        Args:
            kind: a name in `LIMITS`.
            path: a SavedModel's folder or a LiteRT file.
        """
        start = time.perf_counter()
        runtime = SavedModelRuntime(path) if path.is_dir() else LiteRTRuntime(path)
        load_seconds = time.perf_counter() - start
        pairs = list(zip(self.pictures, self._truth, strict=True))
        narrower = self.pictures[0].shape[2] - self._original.divisor
        dynamic = path.is_file() and runtime.size is None
        if dynamic and narrower >= self._original.least:  # compare at a second size too
            crop = self.pictures[0][:, :, :narrower]
            pairs.append((crop, self._original.run(crop)))
        differences, scores, similarities = [], [], []
        for images, truth in pairs:
            got = runtime.run(images)
            differences.append(np.max(np.abs(got - truth)))
            found = similarity(got, truth)
            scores.append(found["psnr"][0])
            similarities += found.get("ssim", np.empty(0)).tolist()
        # np.max and np.min keep NaN, which max() and min() may drop.
        difference, worst = float(np.max(differences)), float(np.min(scores))
        limit = LIMITS[kind]
        files = [path] if path.is_file() else [file for file in path.rglob("*") if file.is_file()]
        return Result(
            kind=kind,
            direction=self.direction,
            staged=path,
            path=None,
            bytes=sum(file.stat().st_size for file in files),
            load_seconds=load_seconds,
            milliseconds=_median_milliseconds(runtime.run, self.pictures[0]),
            max_difference=difference,
            psnr=worst,
            ssim=min(similarities, default=None),
            limit=str(limit),
            shortfall=limit.shortfall(difference, worst) or self._in_pixels(runtime, limit),
        )

    def _in_pixels(self, runtime: SavedModelRuntime | LiteRTRuntime, limit: Limit) -> str | None:
        """The shortfall on an 8-bit picture, the input and output of `serving_bytes`."""
        pixels = to_uint8(self.pictures[0][0])
        got, truth = runtime(pixels), self._original(pixels)
        if limit.psnr is None:
            # A value between two levels may round either way.
            difference = np.max(np.abs(got.astype(int) - truth))
            return f"8-bit pixels differ by {difference} levels" if difference > 1 else None
        # Rounding may differ: for half of all pixels, that is 51 dB.
        psnr, least = float(tf.image.psnr(got, truth, 255)), min(limit.psnr - 0.5, 48.0)
        return f"8-bit pixels: {psnr:.1f} dB where {least:g} are needed" if psnr < least else None


def _median_milliseconds(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    """The first run, which is slower, does not count."""
    seconds = timeit.repeat(lambda: run(images), number=1, repeat=RUNS + 1)
    return 1e3 * statistics.median(seconds[1:])


@dataclass
class Report:
    """Everything that an export measured.

    Attributes:
        name: the models' name on a server.
        image_size: `(height, width)` in px of the pictures.
        pictures: for each direction, the number of pictures compared.
        keras_milliseconds: for each direction, the Keras generator's time for one picture.
        results: one for each exported model.
    """

    name: str
    image_size: tuple[int, int]
    pictures: dict[str, int] = field(default_factory=dict)
    keras_milliseconds: dict[str, float] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    @property
    def missed(self) -> list[str]:
        """A line for each model that misses its limit: by how much, and whether it is published."""
        return [
            f"{result.direction} {result.kind}: {result.shortfall}; "
            + ("published anyway" if result.path else "discarded")
            for result in self.results
            if not result.passed
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """The report's table: a header, then a row for each model."""
        rows: list[tuple[str, ...]] = [
            ("model", "size", "load", "a picture", "difference", "PSNR", "SSIM", "limit", "")
        ]
        for direction, milliseconds in self.keras_milliseconds.items():
            name = f"{direction} Keras float32"
            rows.append((name, "", "", f"{milliseconds:.1f} ms", *[""] * 5))
            rows += [_row(result) for result in self.results if result.direction == direction]
        return rows

    def to_json(self) -> str:
        """The whole report as JSON. Infinite values (PSNR of equal pictures) are null."""
        found = {**dataclasses.asdict(self), "runs": RUNS, **_circumstances()}
        for result in found["results"]:
            del result["staged"]
        return json.dumps(finite(found), indent=2) + "\n"

    def to_markdown(self) -> str:
        """The whole report as Markdown."""
        head, *rows = self.rows()
        height, width = self.image_size
        counts = ", ".join(f"{count} for {way}" for way, count in self.pictures.items())
        lines = [
            f"# {self.name}",
            "",
            "| " + " | ".join(head) + " |",
            "|" + "|".join([" --- "] + [" ---: "] * 6 + [" --- "] * 2) + "|",
            *("| " + " | ".join(row) + " |" for row in rows),
            "",
            f"Compared with the Keras generators in float32 on real pictures of {width}×{height} "
            f"px ({counts}): the largest difference of any value (they span 2, from -1 to 1), and "
            "PSNR and SSIM of the worst picture. A picture's time is the median of "
            f"{RUNS} runs on {os.cpu_count()} threads, one picture at a time.",
            "",
            *(f"- {key}: {value}" for key, value in _circumstances().items()),
        ]
        if self.missed:
            lines += ["", "These miss their limits:", "", *(f"- {line}" for line in self.missed)]
        return "\n".join(lines) + "\n"


def _row(result: Result) -> tuple[str, ...]:
    verdict = "" if result.passed else ("MISSES ITS LIMIT" if result.path else "DISCARDED")
    return (
        f"{result.direction} {result.kind}",
        f"{result.bytes / 1e6:.2f} MB",
        f"{result.load_seconds:.3f} s",
        f"{result.milliseconds:.1f} ms",
        f"{result.max_difference:.1e}",
        "equal" if math.isinf(result.psnr) else f"{result.psnr:.1f} dB",
        "" if result.ssim is None else f"{result.ssim:.4f}",
        result.limit,
        verdict,
    )


def _circumstances() -> dict[str, Any]:
    """The conditions that times depend on."""
    return {
        "cpu": _cpu_name(),
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "tensorflow": tf.__version__,
        "keras": keras.__version__,
        "ai-edge-litert": metadata.version("ai-edge-litert"),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
    }


def _cpu_name() -> str:
    with contextlib.suppress(OSError):
        if found := re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text()):
            return found[1]
    return platform.processor() or platform.machine()
