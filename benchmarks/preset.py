"""Keeps the generators of a run as a preset, in float16, and draws the README's figure with them.

python -m benchmarks.preset --run zebras/finetune_seed0 --to tfcyclegan/presets/horse2zebra
python -m benchmarks.preset --figure docs/zebras.png --data horse2zebra
"""

from __future__ import annotations

import argparse
import io
import tempfile
import zipfile
from pathlib import Path

import h5py
import keras
import numpy as np

from tfcyclegan.data.preprocessing import to_float, to_uint8
from tfcyclegan.data.test_set import load_test_set
from tfcyclegan.files import atomic_write
from tfcyclegan.networks.twins import with_precision
from tfcyclegan.runtimes.keras_model import load_model
from tfcyclegan.training.plots import draw_grid

PRESET = Path("tfcyclegan/presets/horse2zebra")

#: The test pictures in the figure, by number.
HORSES, ZEBRAS = (25, 40, 60, 100), (3, 40, 80, 120)


def keep(run: Path, to: Path) -> None:
    """Writes G.keras and F.keras."""
    for direction, name in (("AtoB", "G"), ("BtoA", "F")):
        generator = with_precision(load_model(run).translators[direction], "float32")
        with tempfile.TemporaryDirectory() as folder:
            whole = Path(folder, f"{name}.keras")
            generator.save(whole)
            with zipfile.ZipFile(whole) as archive:
                members = {info.filename: archive.read(info) for info in archive.infolist()}
        members["model.weights.h5"] = halved(members["model.weights.h5"])
        with (
            atomic_write(to / f"{name}.keras") as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive,
        ):
            for member, content in members.items():
                archive.writestr(member, content)
        print(f"{to / name}.keras: {(to / f'{name}.keras').stat().st_size / 1e6:.1f} MB")


def halved(weights: bytes) -> bytes:
    """A file of weights with float16 in place of float32. Keras loads it as float32."""
    result = io.BytesIO()
    with h5py.File(io.BytesIO(weights)) as given, h5py.File(result, "w") as made:

        def copy(name: str, entry: h5py.Group | h5py.Dataset) -> None:
            if isinstance(entry, h5py.Group):
                made.require_group(name)
            else:
                value = entry[()]
                made[name] = value.astype(np.float16) if value.dtype == np.float32 else value
            made[name].attrs.update(entry.attrs)

        given.visititems(copy)
        made.attrs.update(given.attrs)
    return result.getvalue()


def draw(data: str, to: Path, size: int) -> None:
    """Eight test pictures beside their translations."""
    test_set = load_test_set(data, image_size=size)
    columns = {}
    for name, pictures, numbers, titles in (
        ("G", test_set.A, HORSES, ("horse", "G(horse)")),
        ("F", test_set.B, ZEBRAS, ("zebra", "F(zebra)")),
    ):
        generator = keras.saving.load_model(PRESET / f"{name}.keras")
        some = np.stack([pictures[number] for number in numbers])
        translated = to_uint8(generator.predict(to_float(some), verbose=0))
        columns |= {titles[0]: list(some), titles[1]: list(translated)}
    draw_grid(columns, to)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--run", type=Path)
    parser.add_argument("--to", type=Path)
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--data", default="horse2zebra")
    parser.add_argument("--image-size", type=int, default=128)
    given = parser.parse_args()
    if bool(given.run) != bool(given.to) or not (given.run or given.figure):
        parser.error("give --run with --to, or --figure")
    if given.run:
        keep(given.run, given.to)
    if given.figure:
        draw(given.data, given.figure, given.image_size)


if __name__ == "__main__":
    main()
