"""Pretrained networks as feature extractors: frozen, with feature maps at several strides."""

from __future__ import annotations

import difflib
import inspect
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import keras
import numpy as np

from ..errors import InputError, first_line
from ..layers import Frozen
from .efficientnet import efficientnet_lite0
from .twins import copy_of
from .vgg import VGG16_HED, vgg16_hed

#: How a network expects its pixels: "caffe", "tf" and "torch" as prepared by Keras's
#: `imagenet_utils`, "unit" in [0, 1], "none" in [0, 255].
Pixels = Literal["caffe", "tf", "torch", "unit", "none"]

#: The name of EfficientNet-Lite0, which is not in `keras.applications`.
LITE0 = "efficientnet-lite0"

_STRIDES = (4, 8, 16, 32)


def load_features(
    source: str | Path | keras.Model = LITE0,
    taps: Sequence[str] | None = None,
    pixels: Pixels | None = None,
    dtype: str | None = None,
) -> keras.Model:
    """Opens a pretrained network as a frozen feature extractor.

    Args:
        source: "efficientnet-lite0" (default), whose weights are in the Python package of the extra
            `projected`; "vgg16-hed", from the extra `style`; the name of a network in
            `keras.applications`, whose ImageNet weights Keras downloads; a `.keras` file; or a
            functional `keras.Model`.
        taps: names of the layers whose outputs are the feature maps, from the largest map to the
            smallest. Default: the outputs of a model that has several, else the last layer at each
            of the strides 4, 8, 16 and 32.
        pixels: how the network expects pixels: "tf" in [-1, 1], "none" in [0, 255], "unit" in
            [0, 1], or as `preprocess_input` of Keras does it in mode "caffe" or "torch". Default:
            an application's own; "tf" for EfficientNet-Lite0, "caffe" for vgg16-hed; other networks
            require it.
        dtype: Keras dtype policy of EfficientNet-Lite0. Other networks keep their own.

    Returns:
        A functional `keras.Model`, RGB `[N, H, W, 3]` in [-1, 1] → a list of feature maps
        `[N, h, w, C]`, the largest first.

    Raises:
        InputError: no such network, file or layer, weights that cannot be had, or no `pixels`.

    Example:
        >>> [tuple(y.shape[1:]) for y in load_features()(tf.zeros((1, 128, 128, 3)))]
        [(32, 32, 24), (16, 16, 40), (8, 8, 112), (4, 4, 320)]
    """
    if pixels not in (None, *get_args(Pixels)):
        raise InputError(f"pixels={pixels!r} is unknown: take {', '.join(get_args(Pixels))}")
    if source == LITE0:
        network, pixels = efficientnet_lite0(dtype), pixels or "tf"
    elif source == VGG16_HED:
        network, pixels = vgg16_hed(), pixels or "caffe"
    elif isinstance(source, keras.Model):
        # Layers that D_A and D_B share would be saved only once, and a user's model stay frozen.
        network = copy_of(source)
    elif Path(source).exists():
        network = load_keras_file(Path(source))
    else:
        network, own = _application(str(source))
        if pixels is None:
            return _frozen(_tapped(network, taps, source), *_measured(own))
    if pixels is None:
        raise InputError(
            f"{_named(source)} does not say how it expects pixels: set `pixels` to "
            f"{', '.join(get_args(Pixels))}"
        )
    return _frozen(_tapped(network, taps, source), *_affine(pixels))


def _named(source: object) -> str:
    return source.name if isinstance(source, keras.Model) else str(source)


def find_application(
    name: str, example: str, others: Sequence[str] = ()
) -> tuple[Callable[..., keras.Model], Callable[..., Any]]:
    """The function that makes a network of `keras.applications`, and its `preprocess_input`.

    Args:
        name: such as "MobileNetV2".
        example: a name for the error message.
        others: names that are no applications, but may have been meant.

    Raises:
        InputError: no such network.
    """
    networks = dict(inspect.getmembers(keras.applications, inspect.isfunction))
    if name not in networks:
        near = difflib.get_close_matches(name, [*others, *networks], n=1)
        hint = f"did you mean {near[0]}?" if near else f"give {example}, for example, or a file"
        raise InputError(f"{name}: neither a file nor a network in keras.applications; {hint}")
    module = inspect.getmodule(networks[name])
    return networks[name], module.preprocess_input  # type: ignore[union-attr]


def load_keras_file(path: Path) -> keras.Model:
    """Loads the model in a `.keras` file, without compiling it.

    Raises:
        InputError: not a model that Keras can load.
    """
    try:
        # With safe_mode Keras refuses to run code in a lambda layer.
        return keras.saving.load_model(path, compile=False, safe_mode=True)
    except Exception as problem:  # a damaged file raises almost anything
        raise InputError(
            f"{path}: not a model that Keras can load ({first_line(problem)})"
        ) from problem


def _application(name: str) -> tuple[keras.Model, Callable[..., Any]]:
    """A network of `keras.applications` with its weights, and how it prepares pixels."""
    make, prepare = find_application(name, LITE0, others=[LITE0, VGG16_HED])
    try:
        return make(weights="imagenet", include_top=False), prepare
    except Exception as problem:  # Keras and the connection raise almost anything
        raise InputError(
            f"{name}: Keras could not download its weights ({first_line(problem)}): check the "
            f"connection, give a file, or take {LITE0}"
        ) from problem


def _tapped(network: keras.Model, taps: Sequence[str] | None, source: object) -> keras.Model:
    """The network with the tapped layers as outputs."""
    if not hasattr(network, "outputs") or (network.input_shape or ())[-1:] != (3,):
        raise InputError(f"{_named(source)}: not a functional model of pictures [N, H, W, 3]")
    if network.input_shape[1:3] != (None, None):
        raise InputError(
            f"{_named(source)}: takes only {network.input_shape[1:3]} px: give a network for "
            "pictures of any size"
        )
    if taps is None and len(network.outputs) > 1:
        return _checked(network, source)
    if taps is None:
        taps = _last_of_each_stride(network)
    names = {layer.name: layer for layer in network.layers}
    for tap in taps:
        if tap not in names:
            near = difflib.get_close_matches(tap, names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"its last is {network.layers[-1].name}"
            raise InputError(f"{_named(source)} has no layer {tap!r}; {hint}")
    if not taps:
        raise InputError(f"{_named(source)}: no layer at a stride of 4 to 32: name the `taps`")
    outputs = [names[tap].output for tap in taps]
    return _checked(keras.Model(network.inputs, outputs, name=network.name), source)


def _checked(network: keras.Model, source: object) -> keras.Model:
    """Refuses outputs that are not feature maps from the largest to the smallest."""
    shapes = [network.compute_output_shape((1, 256, 256, 3))]
    shapes = shapes[0] if isinstance(shapes[0], list) else shapes
    if any(len(shape) != 4 for shape in shapes):
        raise InputError(f"{_named(source)}: not all `taps` are feature maps [N, h, w, C]")
    sides = [shape[1] for shape in shapes]
    if sides != sorted(sides, reverse=True):
        raise InputError(
            f"{_named(source)}: its maps are {sides} px high for a picture of 256: name the `taps` "
            "from the largest map to the smallest"
        )
    return network


def _last_of_each_stride(network: keras.Model) -> list[str]:
    layers = [layer for layer in network.layers[1:] if len(layer._inbound_nodes) == 1]
    layers = [layer for layer in layers if isinstance(layer.output, keras.KerasTensor)]
    every = keras.Model(network.inputs, [layer.output for layer in layers])
    side = 8 * max(_STRIDES)
    shapes = every.compute_output_shape((1, side, side, 3))
    found = {
        side // shape[1]: layer.name
        for layer, shape in zip(layers, shapes, strict=True)
        if len(shape) == 4 and shape[1] and side % shape[1] == 0
    }
    return [found[stride] for stride in _STRIDES if stride in found]


def _affine(pixels: Pixels) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and offset that take pixels in [0, 255] to what a network expects."""
    if pixels in ("none", "unit"):
        return np.eye(3) / (255 if pixels == "unit" else 1), np.zeros(3)
    prepare = keras.applications.imagenet_utils.preprocess_input
    return _measured(lambda x: prepare(x, data_format="channels_last", mode=pixels))


def _measured(prepare: Callable[..., Any]) -> tuple[np.ndarray, np.ndarray]:
    """The matrix and offset of a function that is affine in each pixel's three channels."""
    probes = np.concatenate([np.zeros((1, 3)), 255 * np.eye(3)]).astype(np.float32)
    offset, *ends = np.asarray(prepare(probes[:, None, None, :].copy()))[:, 0, 0]
    return (np.stack(ends) - offset) / 255, offset


def _frozen(network: keras.Model, matrix: np.ndarray, offset: np.ndarray) -> keras.Model:
    """The network, without training, on pictures in [-1, 1]."""
    # Pixels are 127.5 x + 127.5.
    kernel, bias = 127.5 * matrix, offset + 127.5 * matrix.sum(axis=0)
    x = inputs = keras.Input((None, None, 3), name="images")
    if not (np.allclose(kernel, np.eye(3)) and np.allclose(bias, 0, atol=1e-5)):
        prepare = keras.layers.Conv2D(3, 1, name="pixels", dtype="float32", trainable=False)
        x = prepare(x)
        prepare.set_weights([kernel[None, None], bias])
    return keras.Model(inputs, Frozen(network, name="frozen")(x), name=network.name)
