"""TensorFlow checkpoints of Keras models: `save_weights("x")`, `tf.train.Checkpoint(G=…)`.

TensorFlow reads them. Its reader trusts the file: a forged index can end the process. So names and
shapes are compared with the expected network before values are read, but only checkpoints from
sources that you trust should be read.
"""

from __future__ import annotations

import functools
import glob
import re
from pathlib import Path
from typing import Any

import tensorflow as tf

from ..errors import InputError, first_line
from .addons import EXAMPLE_NAMES, LYNNHO_NAMES, Array, Layers, read_network
from .layouts import Network, some

#: Ours by the names in a checkpoint.
_NAMES = EXAMPLE_NAMES | LYNNHO_NAMES

_KEY = re.compile(
    rf"(?:({'|'.join(_NAMES)})/)?layer_with_weights-(\d{{1,6}})/(\w+)"
    r"/\.ATTRIBUTES/VARIABLE_VALUE"
)


def read_tf_checkpoint(prefix: Path) -> dict[str, Network]:
    """The networks in a TensorFlow checkpoint.

    Args:
        prefix: the checkpoint's path without `.index`.

    Returns:
        The networks of a whole CycleGAN under G, F, D_A and D_B, or one network under "".

    Raises:
        InputError: damaged, or no such networks.

    Example:
        >>> read_tf_checkpoint(Path("checkpoints/cyclegan_checkpoints.003")).keys()
        dict_keys(['G', 'F', 'D_A', 'D_B'])
    """
    try:
        reader = tf.train.load_checkpoint(str(prefix))
        networks = _networks(reader)
        if not networks:
            names = sorted(reader.get_variable_to_shape_map())
            raise InputError(
                f"{prefix}: a checkpoint without {some(list(_NAMES))} and without the "
                f"layers of a Keras model (it has {some(names)})"
            )
        files = prefix.parent.glob(f"{glob.escape(prefix.name)}.data-*")
        size = sum(path.stat().st_size for path in files)
        if "" in networks:
            return {"": read_network(networks[""], prefix, size)}
        return {
            ours: read_network(networks[theirs], f"{prefix} ({theirs})", size)
            for theirs, ours in _NAMES.items()
            if theirs in networks
        }
    except InputError:
        raise
    except Exception as problem:  # TensorFlow raises many kinds
        raise InputError(
            f"{prefix}: not a TensorFlow checkpoint of a Keras model, or damaged "
            f"({first_line(problem)})"
        ) from problem


def _networks(reader: Any) -> dict[str, Layers]:
    """The layers of each network, in order. Nothing is read yet."""
    shapes, dtypes = reader.get_variable_to_shape_map(), reader.get_variable_to_dtype_map()
    found: dict[str, dict[int, dict[str, Array]]] = {}
    for key, shape in shapes.items():
        if (match := _KEY.fullmatch(key)) and dtypes[key].name == "float32":
            layers = found.setdefault(match[1] or "", {})
            array = Array(tuple(shape), functools.partial(reader.get_tensor, key))
            layers.setdefault(int(match[2]), {})[match[3]] = array
    return {
        network: {f"layer_with_weights-{place}": layers[place] for place in sorted(layers)}
        for network, layers in found.items()
    }
