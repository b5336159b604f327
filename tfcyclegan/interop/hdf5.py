"""HDF5 files of Keras 2: weights (`save_weights("x.h5")`) and whole models (`save("x.h5")`).

The files are read as arrays. HDF5 can point to other files, and claim any size for an array or a
string that stores nothing: such files are refused.
"""

from __future__ import annotations

import functools
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from ..errors import InputError, first_line
from .addons import Array, Layers, read_network
from .layouts import Network


def read_hdf5(path: Path) -> dict[str, Network]:
    """The networks in an HDF5 file of weights or of a whole model.

    Returns:
        The networks of the example's whole CycleGAN under G, F, D_A and D_B, or one network
        under "".

    Raises:
        InputError: damaged, not written by Keras 2, or no such networks.

    Example:
        >>> read_hdf5(Path("generator.h5"))[""].settings["blocks"]
        9
    """
    try:
        with h5py.File(path, "r") as file:
            return _networks(path, file)
    except (InputError, MemoryError):
        raise
    except Exception as problem:  # h5py raises many kinds
        raise InputError(
            f"{path}: damaged, or not as Keras 2 writes it ({first_line(problem)})"
        ) from problem


def _networks(path: Path, file: Any) -> dict[str, Network]:
    size = path.stat().st_size
    _check_strings(file, size)
    root = _inside(file, "model_weights") if "model_weights" in file else file
    named = "layer_names" in root.attrs
    if str(root.attrs.get("keras_version", "")).startswith("3") or (
        not named and (path.name.endswith(".weights.h5") or "layers" in file)
    ):
        raise InputError(
            f"{path}: in the format of Keras 3, which is not imported: load it in the script that "
            'made it, and save the generator there with generator.save("G.keras"), which needs no '
            'import, or in Keras 2 with generator.save_weights("G.h5"). (GroupNormalization('
            "groups=1) of the present Keras example is not an instance norm: it has one mean for "
            "all channels)"
        )
    if not named:
        raise InputError(
            f"{path}: an HDF5 file without Keras's layer_names: save it with "
            'save_weights("x.h5") or save("x.h5") of Keras 2'
        )
    groups = {}
    for name in _names(root, "layer_names"):
        if layers := _layers(_inside(root, name)):
            groups[name] = layers
    # In the file of a whole CycleGAN each group is a network, else each group is a layer.
    config = file.attrs.get("model_config")
    if config is not None or all(len(layers) == 1 for layers in groups.values()):
        all_layers = {name: layer for group in groups.values() for name, layer in group.items()}
        return {"": read_network(all_layers, path, size, config)}
    # In the order of the example's constructor.
    names = {"generator": ["G", "F"], "discriminator": ["D_A", "D_B"]}
    networks = {}
    for name, layers in groups.items():
        network = read_network(layers, f"{path} ({name})", size)
        if not names[network.role]:
            raise InputError(f"{path}: it has three {network.role}s, but a CycleGAN has two")
        networks[names[network.role].pop(0)] = network
    return networks


def _names(group: Any, attribute: str) -> list[str]:
    found = np.asarray(group.attrs[attribute]).reshape(-1).tolist()
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in found]
    if len({*names}) < len(names):
        raise ValueError(f"{attribute} has a name twice")
    return names


def _layers(group: Any) -> Layers:
    layers: dict[str, dict[str, Array]] = {}
    for name in _names(group, "weight_names"):
        layer, _, variable = name.rpartition("/")
        data = _data_set(group, name)
        array = Array(data.shape, functools.partial(data.__getitem__, ()))
        layers.setdefault(layer, {})[variable.partition(":")[0]] = array
    return layers


def _check_strings(file: Any, size: int) -> None:
    """Limits the memory for the strings of an attribute to 2**28 bytes.

    Many strings can share one, which may be as long as all that the file stores beside its arrays.

    Raises:
        ValueError: an attribute could have more, or is of another kind.
    """
    most, beside = 0, size

    def visit(_: str, entry: Any) -> None:
        nonlocal most, beside
        if isinstance(entry, h5py.Dataset) and not entry.external:
            beside -= entry.id.get_storage_size()
        for name in entry.attrs:
            kind = entry.attrs.get_id(name)
            if kind.dtype.hasobject:
                if h5py.check_string_dtype(kind.dtype) is None:
                    raise ValueError(f"{name} is not as Keras writes it")
                most = max(most, math.prod(kind.shape))

    visit("", file)
    file.visititems(visit)
    claimed = most * max(4096, beside)
    if claimed > 2**28:
        raise ValueError(f"the {most} strings of an attribute could fill {claimed} bytes")


def _inside(group: Any, name: str) -> Any:
    """The entry of that name, without following links.

    Raises:
        ValueError: there is none.
    """
    for part in name.split("/"):
        if not isinstance(group.get(part, getlink=True), h5py.HardLink):
            raise ValueError(f"{name} is missing, or links to another file")
        group = group[part]
    return group


def _data_set(group: Any, name: str) -> Any:
    """The data set of that name.

    Raises:
        ValueError: it is missing, or not an array of floats that is stored as it is.
    """
    array = _inside(group, name)
    plain = (
        isinstance(array, h5py.Dataset)
        and array.dtype.kind == "f"
        and not array.is_virtual
        and not array.external
        and array.chunks is None
        and array.size > 0
        and array.id.get_storage_size() == array.size * array.dtype.itemsize
    )
    if not plain:
        raise ValueError(f"{name} is not an array of floats stored as Keras stores it")
    return array
