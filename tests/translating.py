"""Small generators, pictures and the command `translate` for the tests of translation.

The fixture `forms` in conftest.py is made of these.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from processes import kill_all

from tfcyclegan import CycleGAN, patch_discriminator, resnet_generator
from tfcyclegan.cli import main
from tfcyclegan.data.preprocessing import to_uint8
from tfcyclegan.export import litert, serving
from tfcyclegan.training.config import Config

ROOT = Path(__file__).parents[1]


def small(seed, channels=3):
    """A generator with random weights."""
    network = resnet_generator(16, channels=channels, filters=4, blocks=1, name=f"n{seed}")
    random = np.random.default_rng(seed)
    network.set_weights(
        [
            random.normal(0, 0.05, w.shape) if w.ndim == 4 else w + 0.05 * random.random(w.shape)
            for w in network.get_weights()
        ]
    )
    return network


def write_forms(home):
    """One model in every form of file: its G is `small(1)`, and its F is `small(2)`."""
    judges = [patch_discriminator(16, filters=2, layers=1, name=name) for name in ("D_A", "D_B")]
    model = CycleGAN(small(1), small(2), *judges, image_size=16, pool_size=0)
    (home / "run").mkdir()
    model.save(home / "run/model.keras")
    Config(data="shapes", image_size=16).save(home / "run/config.json")
    model.G.save(home / "G.keras")
    staged = home / "staged"
    serving.write_saved_model(model.G, staged, model_name="x", image_size=(16, 16), max_pixels=9000)
    serving.publish(staged, home / "export/serving/AtoB")
    for name, size in (("dynamic", None), ("fixed", (16, 24))):
        ((content, metadata),) = litert.convert(model.G, ("float32",), image_size=size).values()
        litert.write_beside(home / f"{name}.tflite", content, metadata)
    return home


def by_hand(network, pixels):
    """Pads by reflection to multiples of 4 and at least 8, runs the network, crops."""
    height, width = pixels.shape[:2]
    grow = [max(8, -(-side // 4) * 4) - side for side in (height, width)]
    grown = np.pad(pixels, ((0, grow[0]), (0, grow[1]), (0, 0)), mode="reflect")
    return to_uint8(network(grown[None].astype(np.float32) / 127.5 - 1)[0, :height, :width])


def noise(width=16, height=16, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path, pixels=None, **settings):
    """Saves a picture and returns the content of its file."""
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(noise() if pixels is None else pixels).save(path, **settings)
    return Path(path).read_bytes()


def pixels_of(path):
    return np.asarray(Image.open(path)).astype(int)


def in_folder(folder):
    """The content of all files below a folder."""
    top = Path(folder)
    files = (path for path in top.rglob("*") if path.is_file())
    return {path.relative_to(top).as_posix(): path.read_bytes() for path in files}


def translate(*arguments):
    return main(["translate", *map(str, arguments)])


def refused(capsys, message, *arguments):
    """The command exits with 2 and prints one line that contains the message."""
    assert translate(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error, error
    assert error.count("\n") == 1


STARTED = []


def start(arguments, **settings):
    """Starts the command in a process of its own. `stop_all` must follow."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tfcyclegan", "translate", *map(str, arguments)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3", **settings},
    )
    STARTED.append(process)
    return process


def stop_all():
    """Kills what a failed test has started, with the processes of Ray below it."""
    while STARTED:
        process = STARTED.pop()
        if process.poll() is None:
            kill_all(process.pid)
            process.wait(timeout=60)
