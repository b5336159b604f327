"""Pictures out of the pipelines: decoded, resized, cropped, mirrored.

    python -m benchmarks.data [--json FILE] [--rounds 3]

The pictures are made here: 2,000 JPEG files of 256 px, in a folder and as a TFDS data set. Ours
decodes each once, into memory, and draws crops from there; PyTorch's DataLoader decodes in every
epoch, with as many worker processes as this package has threads, one for each processor.
"""

from __future__ import annotations

import os
import statistics
import tempfile
from pathlib import Path

import numpy as np
import tyro
from PIL import Image

from .contest import Entry, Figure, console, in_turns, report


def main(json: Path | None = None, rounds: int = 3, epochs: int = 10, count: int = 1000) -> None:
    """Measures the data pipeline against a DataLoader.

    Args:
        json: file for the results.
        rounds: times that every entry is run.
        epochs: epochs of a run.
        count: pictures of each domain.
    """
    with tempfile.TemporaryDirectory() as folder:
        console.print(f"drawing {2 * count} pictures")
        pictures, tfds = Path(folder) / "pictures", Path(folder) / "tfds"
        draw(pictures, count)
        store_as_tfds(pictures, tfds)
        work = {"epochs": epochs, "steps": count}
        workers = os.cpu_count() or 1
        found = in_turns(
            {
                "folder": Entry("ours", "data", {**work, "source": str(pictures), "data_dir": ""}),
                "TFDS": Entry(
                    "ours", "data", {**work, "source": "horse2zebra", "data_dir": str(tfds)}
                ),
                "theirs": Entry(
                    "theirs", "data", {**work, "source": str(pictures), "workers": workers}
                ),
            },
            rounds,
        )
    figures = []
    for source in ("folder", "TFDS"):
        for epoch, pick in (
            ("first epoch, opening included", lambda seconds: seconds[0]),
            ("later epochs", lambda seconds: statistics.median(seconds[1:])),
            (f"all {epochs} epochs", statistics.fmean),
        ):
            values = [[1e3 * pick(run["seconds"]) for run in found[n]] for n in (source, "theirs")]
            figures.append(Figure(f"{source}, {epoch}, a picture", "ms", *values))
    report("Data", figures, json, f"{workers} threads here, {workers} worker processes there.")
    for name, runs in found.items():
        memory = runs[0]["memory"]
        grown = max(memory[2:]) - memory[1]
        console.print(
            f"{name}: {1 / statistics.fmean(runs[0]['seconds']):.0f} pictures a second; memory "
            f"after each epoch {', '.join(f'{value:.0f}' for value in memory)} MB"
            f" ({grown:+.0f} MB from the second on)"
        )


def draw(folder: Path, count: int) -> None:
    """JPEG files of 256 px with about as much detail as photographs have."""
    random = np.random.default_rng(0)
    for split in ("trainA", "trainB", "testA", "testB"):
        (folder / split).mkdir(parents=True)
        for number in range(count if split.startswith("train") else 2):
            layers = [
                np.array(
                    Image.fromarray(random.integers(0, 256, (side, side, 3), np.uint8)).resize(
                        (256, 256), Image.Resampling.BICUBIC
                    ),
                    np.float32,
                )
                for side in (4, 16, 64, 256)
            ]
            pixels = np.average(layers, axis=0, weights=(8, 4, 2, 1)).astype(np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{number:04d}.jpg", quality=90)


def store_as_tfds(folder: Path, data_dir: Path) -> None:
    """The same files as TFDS's `cycle_gan/horse2zebra`, so that it has nothing to download."""
    import tensorflow as tf
    import tensorflow_datasets as tfds

    def split(name: str) -> tf.data.Dataset:
        files = sorted(str(path) for path in (folder / name).iterdir())
        return tf.data.Dataset.from_tensor_slices(files).map(
            lambda path: {
                "image": tf.io.decode_jpeg(tf.io.read_file(path), 3),
                "label": tf.constant(int(name.endswith("B")), tf.int64),
            }
        )

    tfds.dataset_builders.store_as_tfds_dataset(
        name="cycle_gan",
        config="horse2zebra",
        version="3.0.0",
        data_dir=data_dir,
        split_datasets={name: split(name) for name in ("trainA", "trainB", "testA", "testB")},
        features=tfds.features.FeaturesDict(
            {
                "image": tfds.features.Image(shape=(None, None, 3), encoding_format="jpeg"),
                "label": tfds.features.ClassLabel(names=["A", "B"]),
            }
        ),
    )


if __name__ == "__main__":
    tyro.cli(main)
