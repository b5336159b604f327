"""The layers' settings in the HDF5 file of a whole Keras model, compared with the Keras example."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_line

#: What tensorflow-addons adds to a variance by default.
EPSILON = 1e-3


def layers_of_config(config: str | bytes, path: Path) -> list[dict[str, Any]]:
    """The class and settings of each layer, in order.

    Args:
        config: the JSON in the attribute `model_config`.
        path: the file, for messages.

    Raises:
        InputError: not the configuration of a model.
    """
    try:
        layers = json.loads(config)["config"]["layers"]
        return [{"class_name": layer["class_name"], "config": layer["config"]} for layer in layers]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        raise InputError(
            f"{path}: its model is not a list of layers ({first_line(repr(problem))}): save each "
            'generator separately with generator.save("x.h5")'
        ) from problem


def epsilon_of(settings: Mapping[str, Any], layers: list[dict[str, Any]], where: object) -> float:
    """Compares each layer with the example's network and returns the epsilon of the norms.

    Args:
        settings: the fields of `Architecture` that describe the network.
        layers: from `layers_of_config`.
        where: the file, for messages.

    Raises:
        InputError: naming the first layer that differs.
    """
    try:
        return _epsilon_of(settings, layers, where)
    except InputError:
        raise
    except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as problem:
        raise InputError(
            f"{where}: its layers' settings are damaged ({first_line(problem)})"
        ) from problem


def _epsilon_of(settings: Mapping[str, Any], layers: list[dict[str, Any]], where: object) -> float:
    steps: list[tuple[str, str]] = []
    epsilons = set()
    for layer in layers:
        kind, config = layer["class_name"].rpartition(">")[2], layer["config"]
        name = str(config.get("name", kind))
        steps += [(step, name) for step in _steps(kind, config)]
        if kind == "InstanceNormalization":
            epsilons.add(config.get("epsilon", EPSILON))
    steps.append(("nothing more", "its end"))
    for (step, name), wanted in zip(steps, [*_expected(settings), "nothing more"], strict=False):
        unsaid = step == "reflection padding" and wanted.startswith(step)
        if step != wanted and not unsaid:
            raise InputError(
                f"{where}: {name} is {step} where the Keras example has {wanted}: only models of "
                "its form can be read"
            )
    if len(epsilons) > 1:
        raise InputError(f"{where}: its norms differ in epsilon ({sorted(epsilons)})")
    epsilon = float(epsilons.pop()) if epsilons else EPSILON
    if not 0 <= epsilon < math.inf:
        raise InputError(f"{where}: its norms have an epsilon of {epsilon}")
    return epsilon


def _steps(kind: str, config: Mapping[str, Any]) -> list[str]:
    """What a layer does, in words: one step, or two for a layer with its own activation."""
    if kind == "InputLayer":
        return []
    if kind in ("Conv2D", "Conv2DTranspose"):
        odd = [
            f"{name} {config[name]}"
            for name, usual in (
                ("dilation_rate", [1, 1]), ("groups", 1), ("data_format", "channels_last"),
                ("output_padding", None),
            )
            if config.get(name, usual) != usual
        ]  # fmt: skip
        step = _convolution(kind, config["kernel_size"][0], config["strides"][0], config["padding"])
        activation = config.get("activation") or "linear"
        return [" ".join([step, *odd]), *([] if activation == "linear" else [str(activation)])]
    if kind == "InstanceNormalization":
        plain = config.get("axis", -1) in (-1, 3) and (
            config.get("center", True) == config.get("scale", True)
        )
        return [kind if plain else f"{kind} of axis {config['axis']}, or of half an affine"]
    if "reflect" in kind.lower() and "pad" in kind.lower():
        # The example's own layer does not save its padding.
        sides = sorted(set(np.ravel(config.get("padding", [])).tolist()))
        return [" ".join(["reflection padding", *map(str, sides)])]
    if kind == "Activation":
        return [str(config["activation"])]
    if kind == "ReLU":
        modified = (
            config.get("max_value") is not None
            or config.get("negative_slope")
            or config.get("threshold")
        )
        return ["a modified ReLU" if modified else "relu"]
    if kind == "LeakyReLU":
        return [f"leaky ReLU {float(config.get('alpha', 0.3)):.3g}"]
    return [kind]


def _convolution(kind: str, size: int, strides: int, padding: str) -> str:
    return f"{kind} {size}×{size} of stride {strides} with padding {padding}"


def _expected(settings: Mapping[str, Any]) -> list[str]:
    """The steps of the example's network."""
    norm, pad, wide_pad = "InstanceNormalization", "reflection padding 1", "reflection padding 3"
    if "generator" in settings:
        wide = _convolution("Conv2D", 7, 1, "valid")
        down = [_convolution("Conv2D", 3, 2, "same"), norm, "relu"]
        inside = [pad, _convolution("Conv2D", 3, 1, "valid"), norm]
        up = [_convolution("Conv2DTranspose", 3, 2, "same"), norm, "relu"]
        block = [*inside, "relu", *inside, "Add"]
        return [
            *(wide_pad, wide, norm, "relu"), *down * 2, *block * settings["blocks"], *up * 2,
            *(wide_pad, wide, "tanh"),
        ]  # fmt: skip
    leaky = "leaky ReLU 0.2"
    strided, plain = (_convolution("Conv2D", 4, strides, "same") for strides in (2, 1))
    more = [strided, norm, leaky] * (settings["discriminator_layers"] - 1)
    return [strided, leaky, *more, plain, norm, leaky, plain]
