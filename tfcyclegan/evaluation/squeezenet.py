"""SqueezeNet 1.1, a small network whose features tell photographs apart on any machine."""

from __future__ import annotations

from pathlib import Path

import h5py
import keras
import numpy as np
from keras import layers

from ..errors import InputError, first_line


def squeezenet(weights: str | Path) -> keras.Model:
    """SqueezeNet 1.1 without its classifier (Iandola et al. 2016), with weights from a file.

    722,496 weights. Pictures go in as `keras.applications.imagenet_utils.preprocess_input` makes
    them in mode "caffe": BGR less the ImageNet mean, not scaled.

    Args:
        weights: an HDF5 file of Keras's weights whose layers are named conv1, fire2/squeeze1x1,
            fire2/expand1x1 and so on.

    Returns:
        A functional model, `[N, H, W, 3]` → `[N, 512]`: the mean of fire9 over the picture.

    Raises:
        InputError: the file is no such file.

    Example:
        >>> squeezenet("squeezenet1.1_imagenet_notop.h5")(pictures).shape
        TensorShape([1, 512])
    """

    def conv(x: keras.KerasTensor, name: str, filters: int, size: int, **settings: object):
        return layers.Conv2D(filters, size, activation="relu", name=name, **settings)(x)

    def pool(x: keras.KerasTensor) -> keras.KerasTensor:
        return layers.MaxPooling2D(3, 2)(x)

    inputs = keras.Input((None, None, 3))
    x = pool(conv(inputs, "conv1", 64, 3, strides=2))
    for number in range(2, 10):
        squeezed = 16 * (number // 2)
        x = conv(x, f"fire{number}-squeeze1x1", squeezed, 1)
        x = layers.Concatenate()(
            [
                conv(x, f"fire{number}-expand1x1", 4 * squeezed, 1),
                conv(x, f"fire{number}-expand3x3", 4 * squeezed, 3, padding="same"),
            ]
        )
        if number in (3, 5):
            x = pool(x)
    network = keras.Model(inputs, layers.GlobalAveragePooling2D()(x), name="squeezenet1.1")
    try:
        with h5py.File(weights) as file:
            for layer in network.layers:
                if layer.weights:
                    layer.set_weights(_read(file[layer.name.replace("-", "/")], layer))
    except (OSError, KeyError, ValueError, AttributeError, TypeError) as problem:
        raise InputError(
            f"{weights}: neither a Keras model nor weights of SqueezeNet 1.1 "
            f"({first_line(problem)})"
        ) from problem
    return network


def _read(group: h5py.Group, layer: layers.Layer) -> list[np.ndarray]:
    """Kernel and bias, however deep they lie. No more is read than the layer holds."""
    found: dict[str, h5py.Dataset] = {}

    def take(name: str, entry: object) -> None:
        if isinstance(entry, h5py.Dataset):
            found[name.rpartition("/")[2].partition(":")[0]] = entry

    group.visititems(take)
    entries = [found["kernel"], found["bias"]]
    for entry, weight in zip(entries, layer.weights, strict=True):
        if entry.shape != tuple(weight.shape):
            raise ValueError(f"{entry.name} is {entry.shape}, not {tuple(weight.shape)}")
    return [entry[()] for entry in entries]
