"""The layers' settings in the HDF5 file of a whole Keras model, compared with the Keras example."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..errors import InputError, first_line

#: What tensorflow-addons adds to a variance by default.
EPSILON = 1e-3

_CONVOLUTION = {
    "strides": [1, 1],
    "padding": "valid",
    "dilation_rate": [1, 1],
    "data_format": "channels_last",
    "output_padding": None,
}

#: The settings that are compared, with Keras's defaults. The weights' shapes tell the others.
_COMPARED: dict[str, dict[str, Any]] = {
    "Conv2D": _CONVOLUTION,
    "Conv2DTranspose": _CONVOLUTION,
    "InstanceNormalization": {"axis": -1},
    "relu": {"max_value": None, "negative_slope": 0, "threshold": 0},
    "LeakyReLU": {"alpha": 0.3},
}


def epsilon_of(settings: Mapping[str, Any], config: str | bytes, where: object) -> float:
    """Compares each layer with the example's network and returns the epsilon of the norms.

    Args:
        settings: the fields of `Architecture` that describe the network.
        config: the JSON in the attribute `model_config`.
        where: the file, for messages.

    Raises:
        InputError: naming the first layer that differs.
    """
    damage = (ValueError, LookupError, TypeError, AttributeError, ArithmeticError, RecursionError)
    try:
        layers = [
            (layer["class_name"], layer["config"])
            for layer in json.loads(config)["config"]["layers"]
        ]
    except damage as problem:
        raise InputError(
            f"{where}: its model is not a list of layers ({first_line(repr(problem))}): save each "
            'generator separately with generator.save("x.h5")'
        ) from problem
    steps: list[tuple[str, str]] = []
    epsilons = set()
    try:
        for full_name, layer in layers:
            kind = full_name.rpartition(">")[2]
            steps += [(step, str(layer.get("name", kind))) for step in _steps(kind, layer)]
            if kind == "InstanceNormalization":
                epsilons.add(float(layer.get("epsilon", EPSILON)))
    except damage as problem:
        raise InputError(
            f"{where}: its layers' settings are damaged ({first_line(problem)})"
        ) from problem
    steps.append(("nothing more", "its end"))
    for (step, name), wanted in zip(steps, [*_expected(settings), "nothing more"], strict=False):
        if step in ("TFOpLambda", "TensorFlowOpLayer"):
            raise InputError(
                f"{where}: {name} is a TensorFlow function in place of a Keras layer, and a whole "
                'model with those cannot be read: save its weights, model.save_weights("G.h5"), '
                "and import that file"
            )
        # The example's own layer does not save its padding.
        if step != wanted and not (step == "reflection padding" and wanted.startswith(step)):
            raise InputError(
                f"{where}: {name} is {step} where the Keras example has {wanted}: only models of "
                "its form can be read"
            )
    if len(epsilons) > 1:
        raise InputError(f"{where}: its norms differ in epsilon ({sorted(epsilons)})")
    epsilon = epsilons.pop() if epsilons else EPSILON
    if not 0 <= epsilon < math.inf:
        raise InputError(f"{where}: its norms have an epsilon of {epsilon}")
    return epsilon


def _steps(kind: str, config: Mapping[str, Any]) -> list[str]:
    """What a layer does, in words: one step, or two for a layer with its own activation."""
    if kind == "InputLayer":
        return []
    if "reflect" in kind.lower() and "pad" in kind.lower():
        sides = np.unique(config.get("padding", []))
        return [" ".join(["reflection padding", *map(str, sides)])]
    if config.get("axis") == 3:
        config = {**config, "axis": -1}  # of four axes
    if kind == "Activation":
        kind = config["activation"]
    activation = config.get("activation") or "linear"
    own_activation = [] if activation in ("linear", kind) else [activation]
    return [_step("relu" if kind == "ReLU" else kind, config), *own_activation]


def _step(kind: str, config: Mapping[str, Any]) -> str:
    """A layer in words: its kind, and the settings in which it differs from Keras's defaults."""
    words = [kind]
    for name, usual in _COMPARED.get(kind, {}).items():
        value = config.get(name, usual)
        value = round(value, 6) if isinstance(value, float) else value  # it was a float32
        if value != usual:
            words.append(f"{name}={value}")
    return " ".join(words)


def _expected(settings: Mapping[str, Any]) -> list[str]:
    """The steps of the example's network."""
    norm, convolution = "InstanceNormalization", "Conv2D"
    stride_2 = {"strides": [2, 2], "padding": "same"}
    down = _step("Conv2D", stride_2)
    if "generator" in settings:
        up = _step("Conv2DTranspose", stride_2)
        wide = ["reflection padding 3", convolution]
        narrow = ["reflection padding 1", convolution, norm]
        return [
            *(*wide, norm, "relu"),
            *[down, norm, "relu"] * 2,
            *[*narrow, "relu", *narrow, "Add"] * settings["blocks"],
            *[up, norm, "relu"] * 2,
            *(*wide, "tanh"),
        ]
    same, leaky = _step("Conv2D", {"padding": "same"}), _step("LeakyReLU", {"alpha": 0.2})
    strided = [down, norm, leaky] * (settings["discriminator_layers"] - 1)
    return [down, leaky, *strided, same, norm, leaky, same]
