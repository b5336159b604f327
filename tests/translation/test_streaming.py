"""Large pictures in strips, layer by layer."""

import os
import subprocess
import sys

import keras
import numpy as np
import pytest
from PIL import Image
from translating import ROOT, noise, small

from tfcyclegan import InputError, fast_generator, resnet_generator, unet_generator
from tfcyclegan.runtimes.keras_model import KerasRuntime
from tfcyclegan.translation import streaming

NETWORKS = {
    "paper": lambda: small(3),
    "variant": lambda: resnet_generator(
        32, filters=4, blocks=2, norm="instance-affine", upsampling="resize",
        residual_output=True, downsampling_padding="reflect", block_padding="replicate",
        bare_first=True,
    ),
    "batch norm": lambda: resnet_generator(32, filters=4, blocks=2, norm="batch", dropout=0.5),
    "unet": lambda: unet_generator(32, filters=4),
    "fast": lambda: fast_generator(filters=4, blocks=2),
    "grey": lambda: small(4, channels=1),
}  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("strip", [2**9, 2**13])
def test_strips_give_the_picture_of_the_whole(case, strip, monkeypatch, tmp_path):
    """Strips as thin as one row give the same statistics, so no seams and no other colours."""
    monkeypatch.setattr(streaming, "STRIP_BYTES", strip)
    network = NETWORKS[case]()
    pixels = noise(64, 96, network.input_shape[-1]).reshape(96, 64, -1)
    pixels[:40] //= 4  # a dark part, whose own statistics differ
    whole = KerasRuntime(network, case)
    got = streaming.stream(whole.network, pixels, tmp_path).astype(int)
    truth = whole(pixels)
    assert np.abs(got - truth).max() <= 1
    assert np.mean(got != truth) < 0.01
    assert list(tmp_path.iterdir()) == []


def test_layers_that_cannot_run_in_strips(tmp_path):
    picture = keras.Input((None, None, 3))
    network = keras.Model(picture, keras.layers.AveragePooling2D(2, name="mean")(picture))
    with pytest.raises(InputError, match=r"the layer mean \(AveragePooling2D\) cannot run"):
        streaming.stream(network, noise(), tmp_path)


LARGE = """
import sys
from tfcyclegan.cli import main
assert main(["translate", "large.jpg", "--model", sys.argv[1], "--to", "out"]) == 0
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_24_megapixels_in_bounded_memory(tmp_path):
    """6000×4000 px in less than 3 GB. (Fewer filters make wider strips, not more memory.)"""
    resnet_generator(256, filters=16, blocks=1).save("G.keras")
    rough = Image.fromarray(noise(60, 40))
    rough.resize((6000, 4000), Image.Resampling.BICUBIC).save("large.jpg")
    done = subprocess.run(
        [sys.executable, "-c", LARGE, "G.keras"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Image.open("out/large.jpg").size == (6000, 4000)
    assert int(done.stdout.split()[-1]) < 3e6
    assert os.listdir("out") == ["large.jpg"]
