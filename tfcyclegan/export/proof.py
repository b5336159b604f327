"""Proof that an exported file is the generator it was made from: figures, held against bars."""

from __future__ import annotations

import dataclasses
import datetime
import json
import math
import os
import platform
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
import tensorflow as tf

from ..data.preprocessing import to_uint8
from ..evaluation.pairs import similarity
from ..networks.inspection import divisor, least_size
from ..runtimes.keras_model import KerasRuntime


class Runner(Protocol):
    """What is measured: `run` takes float32 `[1, H, W, C]` in [-1, 1], a call uint8 `[H, W, C]`."""

    def run(self, images: np.ndarray) -> np.ndarray: ...

    def __call__(self, pixels: np.ndarray) -> np.ndarray: ...


@dataclass(frozen=True)
class Bar:
    """What an artefact must reach on every picture.

    Attributes:
        max_difference: most that any value may differ by (values span 2), or None.
        psnr: least PSNR in dB, or None.
    """

    max_difference: float | None = None
    psnr: float | None = None

    def __str__(self) -> str:
        if self.psnr is None:
            return f"difference ≤ {self.max_difference:g}"
        return f"PSNR ≥ {self.psnr:g} dB"

    def shortfall(self, difference: float, psnr: float) -> str | None:
        """By how much it is missed, or None. What is not a number misses every bar."""
        if self.max_difference is not None and not difference <= self.max_difference:
            return f"difference {difference:.2g} where {self.max_difference:g} is allowed"
        if self.psnr is not None and not psnr >= self.psnr:
            return f"{psnr:.1f} dB, {self.psnr - psnr:.1f} dB short of {self.psnr:g}"
        return None


#: Held against the worst picture. A real trained generator measured 84–89 dB in float16 and
#: 42–48 dB in int8.
BARS = {
    "SavedModel float32": Bar(max_difference=1e-4),
    "SavedModel bfloat16": Bar(psnr=45.0),
    "LiteRT float32": Bar(max_difference=1e-3),
    "LiteRT float16": Bar(psnr=60.0),
    "LiteRT int8": Bar(psnr=35.0),
}

#: Runs that a time is the median of.
RUNS = 10


@dataclass(frozen=True)
class Result:
    """What was measured on one artefact.

    Attributes:
        kind: "SavedModel float32", "LiteRT int8" and so on.
        direction: "AtoB" or "BtoA".
        staged: where it was measured.
        path: where it is published, relative to the export's folder, or None.
        bytes: size on disk.
        load_seconds: until it was ready.
        milliseconds: for one picture, median of `RUNS`.
        max_difference: largest difference of any value from the Keras generator's in float32,
            over all pictures; values span 2, from -1 to 1.
        psnr: of the worst picture against the Keras generator's, in dB; infinite for equal ones.
        ssim: of the worst picture; None for pictures below 11 px.
        bar: what it must reach.
        shortfall: by how much it misses its bar, or None.
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
    bar: str
    shortfall: str | None

    @property
    def passed(self) -> bool:
        return self.shortfall is None


class Proof:
    """Measures artefacts of one generator on the same pictures.

    Args:
        generator: the Keras model they were made from.
        direction: "AtoB" or "BtoA".
        pictures: float32 `[H, W, C]` in [-1, 1], all of one size.
    """

    def __init__(self, generator: keras.Model, direction: str, pictures: Sequence[np.ndarray]):
        self.direction = direction
        self.pictures = [np.asarray(picture, np.float32)[np.newaxis] for picture in pictures]
        self._divisor, self._least = divisor(generator), least_size(generator)
        self._original = KerasRuntime(generator, generator.name)
        self._truth = [self._original.run(images) for images in self.pictures]
        self.milliseconds = _median_milliseconds(self._original.run, self.pictures[0])

    def of(
        self, kind: str, path: Path, open_it: Callable[[Path], Runner], more_sizes: bool = False
    ) -> Result:
        """Opens an artefact and measures it.

        Args:
            kind: names the bar.
            path: of the artefact.
            open_it: the back end.
            more_sizes: also compare on a part of the first picture, of another size.
        """
        start = time.perf_counter()
        artefact = open_it(path)
        load_seconds = time.perf_counter() - start
        pairs = list(zip(self.pictures, self._truth, strict=True))
        if more_sizes and (part := self._part(self.pictures[0])) is not None:
            pairs.append((part, self._original.run(part)))
        differences, scores, similarities = [], [], []
        for images, truth in pairs:
            got = artefact.run(images)
            differences.append(float(np.max(np.abs(got - truth))))
            found = similarity(got, truth)
            scores.append(float(found["psnr"][0]))
            similarities += found.get("ssim", np.empty(0)).tolist()
        worst = min(scores, key=lambda score: -math.inf if math.isnan(score) else score)
        bar = BARS[kind]
        return Result(
            kind=kind,
            direction=self.direction,
            staged=path,
            path=None,
            bytes=_size(path),
            load_seconds=load_seconds,
            milliseconds=_median_milliseconds(artefact.run, self.pictures[0]),
            # max() passes over what is not a number; np.max does not.
            max_difference=float(np.max(differences)),
            psnr=worst,
            ssim=min(similarities) if similarities else None,
            bar=str(bar),
            shortfall=bar.shortfall(float(np.max(differences)), worst)
            or self._shortfall_in_pixels(artefact, bar),
        )

    def _shortfall_in_pixels(self, artefact: Runner, bar: Bar) -> str | None:
        """The same for a picture of 8 bits in and out, as `serving_bytes` takes it."""
        pixels = to_uint8(self.pictures[0][0])
        got, truth = (np.asarray(x(pixels), np.float64) for x in (artefact, self._original))
        difference = np.max(np.abs(got - truth))
        if bar.psnr is None:
            # A value on the edge between two levels may round either way.
            return f"8-bit pixels differ by {difference:.0f} levels" if difference > 1 else None
        # Rounding alone, which differs for half of all pixels, is 51 dB.
        psnr = 10 * math.log10(255**2 / max(np.mean((got - truth) ** 2), 1e-9))
        return bar.shortfall(0.0, psnr + 0.5) if psnr < min(bar.psnr, 48.0) else None

    def _part(self, images: np.ndarray) -> np.ndarray | None:
        """A narrower part, or None where the picture is as small as can be."""
        width = images.shape[2] - self._divisor
        return images[:, :, :width] if width >= self._least else None


def _median_milliseconds(run: Callable[[np.ndarray], np.ndarray], images: np.ndarray) -> float:
    run(images)
    times = []
    for _ in range(RUNS):
        start = time.perf_counter()
        run(images)
        times.append(time.perf_counter() - start)
    return 1e3 * statistics.median(times)


def _size(path: Path) -> int:
    files = [path] if path.is_file() else path.rglob("*")
    return sum(file.stat().st_size for file in files if file.is_file())


@dataclass
class Report:
    """Everything an export measured.

    Attributes:
        name: the models' name.
        image_size: `(height, width)` in px of the pictures.
        threads: of LiteRT; TensorFlow takes as many as there are cores.
        pictures: for each direction, how many it was measured on.
        keras_milliseconds: for each direction, the Keras generator's own time.
        results: of each artefact.
    """

    name: str
    image_size: tuple[int, int]
    threads: int
    pictures: dict[str, int] = field(default_factory=dict)
    keras_milliseconds: dict[str, float] = field(default_factory=dict)
    results: list[Result] = field(default_factory=list)

    def add_reference(self, proof: Proof) -> None:
        self.pictures[proof.direction] = len(proof.pictures)
        self.keras_milliseconds[proof.direction] = proof.milliseconds

    def add(self, result: Result) -> None:
        self.results.append(result)

    @property
    def missed(self) -> list[str]:
        """A line for each artefact under its bar: which, by how much, and what came of it."""
        return [
            f"{result.direction} {result.kind}: {result.shortfall}; "
            + ("published all the same" if result.path else "not published")
            for result in self.results
            if not result.passed
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """The table of the report: a head and a row an artefact."""
        rows = [("artefact", "size", "load", "a picture", "difference", "PSNR", "SSIM", "bar", "")]
        for direction, milliseconds in self.keras_milliseconds.items():
            name = f"{direction} Keras float32"
            rows.append((name, "", "", f"{milliseconds:.1f} ms", *[""] * 5))
            rows += [_row(result) for result in self.results if result.direction == direction]
        return rows

    def to_json(self) -> str:
        """Everything, for programs. What is not finite, as the PSNR of equal pictures, is null."""

        def finite(value: Any) -> Any:
            return None if isinstance(value, float) and not math.isfinite(value) else value

        results = [
            {
                name: finite(value)
                for name, value in dataclasses.asdict(result).items()
                if name != "staged"
            }
            for result in self.results
        ]
        return (
            json.dumps(
                {
                    **{f.name: getattr(self, f.name) for f in dataclasses.fields(self)},
                    "results": results,
                    "runs": RUNS,
                    **_circumstances(),
                },
                indent=2,
            )
            + "\n"
        )

    def to_markdown(self) -> str:
        """Everything, for people."""
        head, *rows = self.rows()
        circumstances = _circumstances()
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
            f"{RUNS} runs on {self.threads} threads, one picture at a time.",
            "",
            *(f"- {key}: {value}" for key, value in circumstances.items()),
        ]
        if self.missed:
            lines += ["", "Under their bars:", "", *(f"- {line}" for line in self.missed)]
        return "\n".join(lines) + "\n"


def _row(result: Result) -> tuple[str, ...]:
    verdict = "" if result.passed else ("UNDER ITS BAR" if result.path else "NOT PUBLISHED")
    return (
        f"{result.direction} {result.kind}",
        f"{result.bytes / 1e6:.2f} MB",
        f"{result.load_seconds:.3f} s",
        f"{result.milliseconds:.1f} ms",
        f"{result.max_difference:.1e}",
        "equal" if math.isinf(result.psnr) else f"{result.psnr:.1f} dB",
        "" if result.ssim is None else f"{result.ssim:.4f}",
        result.bar,
        verdict,
    )


def _circumstances() -> dict[str, Any]:
    """What times depend on."""
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
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
