"""Translating a picture of 256 px, and eight of them, in every form a generator leaves in.

python -m benchmarks.inference [--json FILE] [--rounds 3]
"""

from __future__ import annotations

import statistics
import tempfile
from pathlib import Path

import tyro

from .contest import Entry, Figure, console, in_turns, report

OURS = (
    "Keras",
    "SavedModel float32",
    "SavedModel bfloat16",
    "LiteRT float32",
    "LiteRT float16",
    "LiteRT int8",
)
THEIRS = ("eager", "jit", "autocast bfloat16", "jit and autocast bfloat16")


def main(
    json: Path | None = None, rounds: int = 3, size: int = 256, batches: tuple[int, ...] = (1, 8)
) -> None:
    """Measures inference against PyTorch.

    Args:
        json: file for the results.
        rounds: times that every entry is run.
        size: side of the pictures in px.
        batches: pictures a call.
    """
    figures, others = [], []
    with tempfile.TemporaryDirectory() as folder:
        console.print("exporting a generator of the paper in every form")
        Entry("ours", "export", {"folder": folder, "size": size}).run()
        for batch in batches:
            work = {"size": size, "batch": batch, "repeats": max(3, 12 // batch)}
            entries = {
                form: Entry("ours", "inference", {**work, "form": form, "folder": folder})
                for form in OURS
            }
            entries |= {
                form: Entry("theirs", "inference", {**work, "form": form}) for form in THEIRS
            }
            found = in_turns(entries, rounds)
            seconds = {
                form: [1e3 * statistics.median(run["seconds"]) / batch for run in runs]
                for form, runs in found.items()
            }
            pictures = "one picture" if batch == 1 else f"a picture of {batch}"
            figures += [
                Figure(f"{pictures}, {form} to eager", "ms", seconds[form], seconds["eager"])
                for form in OURS
            ]
            others += [
                f"PyTorch {form}, {pictures}: median {statistics.median(seconds[form]):.1f} ms, "
                f"min {min(seconds[form]):.1f} ms, "
                f"{statistics.median(seconds[form]) / statistics.median(seconds['eager']):.2f} "
                "of eager float32"
                for form in THEIRS
            ]
    report("Inference", figures, json, "LiteRT files take the pictures of a batch one by one.")
    console.print("\n".join(others))


if __name__ == "__main__":
    tyro.cli(main)
