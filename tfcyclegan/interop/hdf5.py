"""HDF5 files of Keras 2: weights (`save_weights("x.h5")`) and whole models (`save("x.h5")`).

The files are read as arrays. Links to other files are not followed, and no array may be larger
than the file.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_line
from .addons import Layer, read_network
from .addons_config import layers_of_config
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
    import h5py

    try:
        with h5py.File(path, "r") as file:
            arrays = _Arrays(path, file)
            config = arrays.attribute(file, "model_config")
            root = arrays.inside(file, "model_weights") if "model_weights" in file else file
            if "layer_names" not in root.attrs and "layer_names0" not in root.attrs:
                raise InputError(
                    f"{path}: an HDF5 file without Keras's layer_names: save it with "
                    'save_weights("x.h5") or save("x.h5") of Keras 2'
                )
            groups = {
                name: _layers_of(arrays.inside(root, name), arrays)
                for name in _names(root, "layer_names", arrays)
            }
    except (InputError, MemoryError):
        raise
    except Exception as problem:  # h5py raises many kinds
        raise InputError(
            f"{path}: damaged or cut short ({first_line(problem)}): download it again"
        ) from problem
    groups = {name: layers for name, layers in groups.items() if layers}
    if config is not None:
        layers = layers_of_config(config, path)
        return {"": read_network(itertools.chain(*groups.values()), path, layers)}
    # In the file of a whole CycleGAN each group is a network, else each group is a layer.
    if all(len(layers) == 1 for layers in groups.values()):
        return {"": read_network(itertools.chain(*groups.values()), path)}
    return _by_role(
        [read_network(layers, f"{path} ({name})") for name, layers in groups.items()], path
    )


def _by_role(networks: list[Network], path: Path) -> dict[str, Network]:
    """In the order of the example's constructor: two generators, two discriminators."""
    names = {"generator": ["G", "F"], "discriminator": ["D_A", "D_B"]}
    if any(sum(network.role == role for network in networks) > len(names[role]) for role in names):
        raise InputError(f"{path}: it has {len(networks)} networks, but a CycleGAN has four")
    return {names[network.role].pop(0): network for network in networks}


def _names(group: Any, attribute: str, arrays: _Arrays) -> list[str]:
    """A list of names in attributes. Keras splits a long list into several attributes."""
    pieces = (
        [arrays.attribute(group, attribute)]
        if attribute in group.attrs
        else itertools.takewhile(
            lambda piece: piece is not None,
            (arrays.attribute(group, f"{attribute}{place}") for place in itertools.count()),
        )
    )
    found = [name for piece in pieces for name in np.asarray(piece).reshape(-1).tolist()]
    names = [name.decode() if isinstance(name, bytes) else str(name) for name in found]
    if len({*names}) < len(names):
        raise ValueError(f"{attribute} has a name twice")
    return names


def _layers_of(group: Any, arrays: _Arrays) -> list[Layer]:
    layers: dict[str, dict[str, np.ndarray]] = {}
    for name in _names(group, "weight_names", arrays):
        layer, _, variable = name.rpartition("/")
        layers.setdefault(layer, {})[variable.partition(":")[0]] = arrays.read(group, name)
    return [_layer(name, variables) for name, variables in layers.items()]


def _layer(name: str, arrays: Mapping[str, np.ndarray]) -> Layer:
    return Layer(name, {key: array.shape for key, array in arrays.items()}, arrays.__getitem__)


class _Arrays:
    """Reads arrays that are stored in the file itself, up to the size of the file.

    HDF5 can point to other files, give one array many names, and claim any size for an array that
    stores nothing.
    """

    def __init__(self, path: Path, file: Any):
        import h5py

        self._path = path
        self._left = self._beside = path.stat().st_size

        def take(_: str, entry: Any) -> None:
            if isinstance(entry, h5py.Dataset):
                self._beside -= entry.id.get_storage_size()

        file.visititems(take)

    def attribute(self, group: Any, name: str) -> Any:
        """An attribute, or None.

        Strings are stored elsewhere in the file, where many of them can share one large string.
        Each string may be as large as what the file stores besides its arrays.

        Raises:
            ValueError: it is larger than that, or of another kind.
        """
        import h5py

        if name not in group.attrs:
            return None
        kind = group.attrs.get_id(name)
        if kind.dtype.hasobject:
            size = math.prod(kind.shape) * max(4096, self._beside)
            if h5py.check_string_dtype(kind.dtype) is None or size > 2**28:
                raise ValueError(f"{name} is not as Keras writes it")
        return group.attrs[name]

    def inside(self, group: Any, name: str) -> Any:
        """The entry of that name, without following links.

        Raises:
            InputError: there is none.
        """
        import h5py

        for part in name.split("/"):
            if not isinstance(group.get(part, getlink=True), h5py.HardLink):
                raise InputError(f"{self._path}: {name} is missing, or links to another file")
            group = group[part]
        return group

    def read(self, group: Any, name: str) -> np.ndarray:
        """The values of a data set.

        Raises:
            InputError: it is missing, or not a plainly stored array of floats.
        """
        import h5py

        place = self.inside(group, name)
        plain = (
            isinstance(place, h5py.Dataset)
            and place.dtype.kind == "f"
            and not place.is_virtual
            and not place.external
            and place.chunks is None
            and place.size > 0
            and place.id.get_storage_size() == place.size * place.dtype.itemsize <= self._left
        )
        if not plain:
            raise InputError(
                f"{self._path}: {name} is not an array of floats stored as Keras stores it"
            )
        self._left -= place.size * place.dtype.itemsize
        return place[()]
