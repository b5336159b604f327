"""TensorFlow checkpoints of Keras models: `save_weights("x")`, which the example's callback writes.

TensorFlow reads them. Its reader trusts the file: a forged index can end the process. So names and
shapes are compared with the expected network before values are read, but only checkpoints from
sources that you trust should be read.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_line
from .addons import EXAMPLE_NAMES, Layer, read_network
from .layouts import Network, some

_KEY = re.compile(
    rf"(?:({'|'.join(EXAMPLE_NAMES)})/)?layer_with_weights-(\d{{1,6}})/(\w+)"
    r"/\.ATTRIBUTES/VARIABLE_VALUE"
)


def read_tf_checkpoint(prefix: Path) -> dict[str, Network]:
    """The networks in a TensorFlow checkpoint.

    Args:
        prefix: the checkpoint's path without `.index`.

    Returns:
        The networks of the example's whole CycleGAN under G, F, D_A and D_B, or one network
        under "".

    Raises:
        InputError: damaged, or no such networks.

    Example:
        >>> read_tf_checkpoint(Path("checkpoints/cyclegan_checkpoints.003")).keys()
        dict_keys(['G', 'F', 'D_A', 'D_B'])
    """
    import tensorflow as tf

    try:
        reader = tf.train.load_checkpoint(str(prefix))
        shapes = {name: tuple(shape) for name, shape in reader.get_variable_to_shape_map().items()}
        dtypes = reader.get_variable_to_dtype_map()
        networks = _layers(reader, {n: s for n, s in shapes.items() if dtypes[n] == tf.float32})
        if not networks:
            raise InputError(
                f"{prefix}: a checkpoint without {some(list(EXAMPLE_NAMES))} and without the "
                f"layers of a Keras model (it has {some(sorted(shapes))})"
            )
        _check_size(prefix, networks)
        if "" in networks:
            return {"": read_network(networks[""], prefix)}
        return {
            ours: read_network(networks[theirs], f"{prefix} ({theirs})")
            for theirs, ours in EXAMPLE_NAMES.items()
            if theirs in networks
        }
    except InputError:
        raise
    except Exception as problem:  # TensorFlow raises many kinds
        raise InputError(
            f"{prefix}: not a TensorFlow checkpoint of a Keras model, or damaged "
            f"({first_line(problem)})"
        ) from problem


def _layers(reader: Any, shapes: dict[str, tuple[int, ...]]) -> dict[str, list[Layer]]:
    """The layers of each network, in order. Nothing is read yet."""
    found: dict[str, dict[int, dict[str, str]]] = {}
    for key in shapes:
        if match := _KEY.fullmatch(key):
            layers = found.setdefault(match[1] or "", {})
            layers.setdefault(int(match[2]), {})[match[3]] = key
    return {
        network: [
            Layer(
                f"layer_with_weights-{place}",
                {name: shapes[key] for name, key in keys.items()},
                functools.partial(_read, reader, keys),
            )
            for place, keys in sorted(layers.items())
        ]
        for network, layers in found.items()
    }


def _read(reader: Any, keys: Mapping[str, str], name: str) -> np.ndarray:
    return reader.get_tensor(keys[name])


def _check_size(prefix: Path, networks: dict[str, list[Layer]]) -> None:
    """Compares the claimed sizes with the bytes that there are.

    Raises:
        ValueError: the checkpoint claims more.
    """
    claimed = 4 * sum(
        math.prod(shape)
        for layers in networks.values()
        for layer in layers
        for shape in layer.shapes.values()
    )
    pattern = re.compile(re.escape(prefix.name) + r"\.data-\d+-of-\d+")
    there = sum(
        path.stat().st_size for path in prefix.parent.iterdir() if pattern.fullmatch(path.name)
    )
    if claimed > there:
        raise ValueError(f"it claims {claimed} bytes of weights, its data files have {there}")
