"""Keras models that were built with tensorflow-addons' InstanceNormalization.

The generators and discriminators of the CycleGAN example on Keras's site, and what was made of
them: convolutions with padding "same", instance norm with scale and shift and an epsilon of 1e-3,
no biases in front of it. They are read as arrays, from

- HDF5 files of weights (`save_weights("x.h5")`) and of whole models (`save("x.h5")`),
- TensorFlow checkpoints (`save_weights("x")`, which the example's callback writes),
- SavedModels (`save("x")`), whose graph is not run: only the variables are read.

Neither tensorflow-addons nor Keras 2 takes part. Where a file holds the model's configuration, each
layer's settings are held against what is read; files of weights alone do not say them.
"""

from __future__ import annotations

import itertools
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_line
from .layouts import NORM_VECTORS, Network, as_float32, compare, convolutions, some

ORIGIN = "Keras with tensorflow-addons"

#: What tensorflow-addons adds to a variance unless it is told otherwise.
EPSILON = 1e-3

#: The attributes of the example's model, which are the paper's X and Y for A and B.
EXAMPLE_NAMES = {"gen_G": "G", "gen_F": "F", "disc_X": "D_A", "disc_Y": "D_B"}

_UNSAID = (
    "files of weights do not say which norm, epsilon and padding they go with: taken for the Keras "
    "example's"
)

#: Weights of a layer in the order of Keras.
_ORDER = ("kernel", "bias", "gamma", "beta", "moving_mean", "moving_variance")


@dataclass(frozen=True)
class Layer:
    """A layer with weights, as a file has it: its name there and its arrays by theirs."""

    name: str
    arrays: Mapping[str, np.ndarray]


# ---------------------------------------------------------------------- HDF5


def read_hdf5(path: Path) -> dict[str, Network]:
    """The networks in an HDF5 file of weights or of a whole model.

    Returns:
        By our names (G, F, D_A, D_B) those of the example's whole CycleGAN, or "" for one network.

    Raises:
        InputError: damaged, not of Keras 2, or no such networks.
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
    except Exception as problem:  # HDF5 raises whatever its parts do
        raise InputError(
            f"{path}: damaged or cut short ({first_line(problem)}): fetch it again"
        ) from problem
    groups = {name: layers for name, layers in groups.items() if layers}
    if config is not None:
        layers = _layers_of_config(config, path)
        return {"": read_network(itertools.chain(*groups.values()), path, layers)}
    # In the file of a whole CycleGAN each group is a network, else each is a layer.
    if all(len(layers) == 1 for layers in groups.values()):
        return {"": read_network(itertools.chain(*groups.values()), path)}
    networks = [read_network(layers, f"{path} ({name})") for name, layers in groups.items()]
    return _by_role(networks, path)


def _by_role(networks: list[Network], path: Path) -> dict[str, Network]:
    """In the order of the example's constructor: two generators, two discriminators."""
    names = {"generator": ["G", "F"], "discriminator": ["D_A", "D_B"]}
    if any(sum(network.role == role for network in networks) > len(names[role]) for role in names):
        raise InputError(f"{path}: {len(networks)} networks in it, where a CycleGAN has four")
    return {names[network.role].pop(0): network for network in networks}


def _names(group: Any, attribute: str, arrays: _Arrays) -> list[str]:
    """A list of names in attributes, which Keras cuts in pieces where it is long."""
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
    return [Layer(name, variables) for name, variables in layers.items()]


class _Arrays:
    """Reads data sets that lie in a file, as large as they claim, and no more than it can hold.

    HDF5 can point to other files, name one array many times, and claim any size where nothing is
    stored.
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

        Strings lie elsewhere in the file, where many could be one large one: together they are held
        to what there is beside the arrays, each for itself.

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
        """What lies there under a name, without following links.

        Raises:
            InputError: nothing does.
        """
        import h5py

        for part in name.split("/"):
            if not isinstance(group.get(part, getlink=True), h5py.HardLink):
                raise InputError(f"{self._path}: {name} is not in it, or points out of it")
            group = group[part]
        return group

    def read(self, group: Any, name: str) -> np.ndarray:
        """A data set's numbers.

        Raises:
            InputError: it is not there, or no array of floats stored plainly.
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
                f"{self._path}: {name} is no array of floats that lies in it as Keras writes them"
            )
        self._left -= place.size * place.dtype.itemsize
        return place[()]


# ---------------------------------------------------------------------- TensorFlow


def read_tensorflow(prefix: Path, metadata: Path | None = None) -> dict[str, Network]:
    """The networks in a TensorFlow checkpoint or in a SavedModel's variables.

    Args:
        prefix: the checkpoint's path without `.index`.
        metadata: a SavedModel's `keras_metadata.pb`, which holds its layers' settings.

    Returns:
        See `read_hdf5`.

    Raises:
        InputError: damaged, or no such networks.
    """
    from tensorflow.core.protobuf import trackable_object_graph_pb2

    from .tensor_bundle import TensorBundle

    try:
        bundle = TensorBundle(prefix)
        graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(
            bundle.text("_CHECKPOINTABLE_OBJECT_GRAPH")
        )
        seen: set[int] = set()

        def children(node: int) -> dict[str, int]:
            return {child.local_name: child.node_id for child in graph.nodes[node].children}

        def array(node: int) -> np.ndarray | None:
            keys = [attribute.checkpoint_key for attribute in graph.nodes[node].attributes]
            return bundle.floats(keys[0]) if len(keys) == 1 else None

        def layers(node: int) -> list[Layer]:
            weighted = {
                int(name.removeprefix("layer_with_weights-")): child
                for name, child in children(node).items()
                if re.fullmatch(r"layer_with_weights-\d{1,6}", name)
            }
            if seen & {*weighted.values()} or len({*weighted.values()}) < len(weighted):
                raise ValueError("two of its layers are one")
            seen.update(weighted.values())
            return [
                Layer(
                    f"layer_with_weights-{place}",
                    {
                        name: value
                        for name, child in children(weighted[place]).items()
                        if name in _ORDER and (value := array(child)) is not None
                    },
                )
                for place in sorted(weighted)
            ]

        root = children(0)
        found = {ours: layers(root[name]) for name, ours in EXAMPLE_NAMES.items() if name in root}
        alone = layers(0)
        names: dict[int, list[str]] = {}
        for name, child in root.items():
            names.setdefault(child, []).append(name)
        in_order = [
            names[root[f"layer-{place}"]]
            for place in itertools.takewhile(lambda at: f"layer-{at}" in root, itertools.count())
        ]
    except InputError:
        raise
    except Exception as problem:  # damaged messages raise all kinds
        raise InputError(
            f"{prefix}: not a TensorFlow checkpoint of a Keras model, or damaged "
            f"({first_line(problem)})"
        ) from problem
    if alone:
        settings = metadata and metadata.exists() and _layers_of_metadata(metadata, in_order)
        return {"": read_network(alone, prefix, settings or None)}
    if not found:
        raise InputError(
            f"{prefix}: a checkpoint without {some(list(EXAMPLE_NAMES))}, and no Keras model of "
            f"layers (it has {some(sorted(root))})"
        )
    return {name: read_network(found[name], f"{prefix} ({name})") for name in found}


# ---------------------------------------------------------------------- the network


def read_network(
    layers: Iterable[Layer], where: object, configured: list[dict[str, Any]] | None = None
) -> Network:
    """Recognises a network by the shapes of its layers and takes its weights.

    Args:
        layers: those that have weights, in order.
        where: the file, for messages.
        configured: the class and settings of all layers in order, where the file has them.

    Raises:
        InputError: not the example's generator or discriminator.
    """
    layers = [layer for layer in layers if layer.arrays]
    for layer in layers:
        if "moving_mean" in layer.arrays or re.search(r"group_norm|layer_norm", layer.name):
            raise InputError(
                f"{where}: {layer.name} is no instance norm, and of Keras models those with "
                "tensorflow-addons' InstanceNormalization are read"
            )
    kernels = [layer for layer in layers if "kernel" in layer.arrays]
    if not kernels or any(
        layer.arrays["kernel"].ndim != 4 or not layer.arrays["kernel"].size for layer in kernels
    ):
        raise InputError(f"{where}: no network of 2D convolutions: {_summary(layers)}")
    shapes = [layer.arrays["kernel"].shape for layer in kernels]
    norms = [layer for layer in layers if "gamma" in layer.arrays]
    settings: dict[str, Any] = {
        "norm": "instance-affine" if norms else "instance",
        "use_bias": len(kernels) > 1 and "bias" in kernels[1].arrays,
        "epsilon": EPSILON,
        "alignment": "tensorflow",
    }
    if shapes[0][:2] == (7, 7):
        settings |= {
            "generator": "resnet",
            "filters": shapes[0][3],
            "blocks": max(0, (len(shapes) - 6) // 2),
            "upsampling": "transposed",
            "dropout": 0.0,
            "bare_first": False,
            "downsampling_padding": "zero",
        }
        output_channels = shapes[-1][3]
    elif shapes[0][:2] == (4, 4):
        settings |= {
            "discriminator": "patch",
            "discriminator_filters": shapes[0][3],
            "discriminator_layers": max(1, len(shapes) - 2),
            "discriminator_padding": "zero",
            "sigmoid": False,
        }
        output_channels = 1
    else:
        raise InputError(
            f"{where}: neither the generator nor the discriminator of the Keras example, which "
            f"begin with a kernel of 7×7 and of 4×4: {_summary(layers)}"
        )
    notes: tuple[str, ...] = ()
    if configured is None:
        if not norms:
            raise InputError(
                f"{where}: no norm with weights in it, and of Keras models those with "
                f"tensorflow-addons' InstanceNormalization are read: {_summary(layers)}"
            )
        notes = (_UNSAID,)
    else:
        try:
            settings |= _checked(settings, configured, where)
        except (LookupError, TypeError, AttributeError, ValueError, ArithmeticError) as problem:
            if isinstance(problem, InputError):
                raise
            raise InputError(
                f"{where}: its layers' settings are damaged ({first_line(problem)})"
            ) from problem
    weights = _in_order(layers, settings, shapes[0][2], output_channels, where)
    return Network(ORIGIN, settings, shapes[0][2], output_channels, weights, notes)


def _summary(layers: list[Layer]) -> str:
    names = [f"{layer.name}/{name}" for layer in layers for name in layer.arrays]
    return f"it has {some(names, 5)}" if names else "it has no weights"


def _in_order(
    layers: list[Layer],
    settings: Mapping[str, Any],
    channels: int,
    output_channels: int,
    where: object,
) -> dict[str, list[np.ndarray]]:
    """The weights under our layers' names: theirs are counted up, so the order decides."""
    expected: dict[str, list[tuple[int, ...]]] = {}
    for layer in convolutions(settings, channels, output_channels):
        expected[layer.layer] = [layer.kernel, *([(layer.filters,)] if layer.bias else [])]
        if vectors := NORM_VECTORS[layer.norm]:
            expected[f"{layer.layer}_norm"] = [(layer.filters,)] * vectors
    found = {
        f"{layer.name}/{name}": array for layer in layers for name, array in layer.arrays.items()
    }
    # What fits is named as the file does, what is missing as this package does.
    wanted: dict[str, tuple[int, ...]] = {}
    takers: dict[str, str] = {}
    for place, (name, shapes) in enumerate(expected.items()):
        theirs = layers[place] if place < len(layers) else None
        variables = ("gamma", "beta") if name.endswith("_norm") else ("kernel", "bias")
        for variable, shape in zip(variables, shapes, strict=False):
            key = f"{theirs.name}/{variable}" if theirs else f"{name}/{variable}"
            wanted[key], takers[key] = shape, name
    compare(where, {key: array.shape for key, array in found.items()}, wanted)
    weights: dict[str, list[np.ndarray]] = {}
    for key, name in takers.items():
        weights.setdefault(name, []).append(as_float32(found[key]))
    return weights


# ---------------------------------------------------------------------- a model's configuration


def _layers_of_config(config: Any, path: Path) -> list[dict[str, Any]]:
    """The layers of a whole-model HDF5 file's configuration."""
    try:
        model = json.loads(config)
        layers = model["config"]["layers"]
        _check_wiring(layers)
        return [{"class_name": layer["class_name"], "config": layer["config"]} for layer in layers]
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as problem:
        raise InputError(
            f"{path}: the model in it is none of layers one behind the other ({problem!r}): save "
            'each generator for itself, generator.save("x.h5")'
        ) from problem


def _check_wiring(layers: list[dict[str, Any]]) -> None:
    """One layer behind the other, and each Add around the block before it.

    Raises:
        ValueError: naming the first layer for which that does not hold.
    """
    before: list[dict[str, Any]] = []
    for layer in layers:
        if "inbound_nodes" not in layer:  # of a sequence, which has no wires
            continue
        inbound = [[entry[0] for entry in node] for node in layer["inbound_nodes"]]
        expected = [[before[-1]["name"]]] if before else []
        if layer["class_name"] == "Add":
            # Around two mirrored borders: the block begins behind what the first is drawn from.
            first = [old for old in before if _is_mirror(old["class_name"])][-2]
            start = first["inbound_nodes"][0][0][0]
            expected = [sorted([start, before[-1]["name"]])]
            inbound = [sorted(node) for node in inbound]
        if inbound != expected:
            raise ValueError(f"{layer['name']} goes on from {inbound}, not from {expected}")
        before.append(layer)


def _is_mirror(kind: str) -> bool:
    kind = kind.lower()
    return "reflect" in kind and "pad" in kind


def _layers_of_metadata(path: Path, layers: list[list[str]]) -> list[dict[str, Any]]:
    """The layers of a SavedModel, from what Keras wrote beside it.

    Args:
        path: `keras_metadata.pb`.
        layers: the names that each layer goes by in the model, in order.
    """
    from tensorflow.python.keras.protobuf import saved_metadata_pb2

    try:
        nodes = saved_metadata_pb2.SavedMetadata.FromString(path.read_bytes()).nodes
        metadata = {node.node_path.removeprefix("root."): node.metadata for node in nodes}
        found = [
            json.loads(
                next(metadata[name] for name in names if name in metadata),
                object_hook=lambda value: value.get("items", value),  # of tuples
            )
            for names in layers
        ]
        return [
            {"class_name": layer["class_name"], "config": layer.get("config") or {}}
            for layer in found
        ]
    except Exception as problem:  # protobuf's own kinds, and whatever JSON may hold
        raise InputError(f"{path}: damaged ({type(problem).__name__}): save it again") from problem


def _checked(
    settings: Mapping[str, Any], configured: list[dict[str, Any]], where: object
) -> dict[str, Any]:
    """Holds each layer's class and settings against the example's.

    Returns:
        What the configuration says that weights do not: epsilon.

    Raises:
        InputError: naming the first layer that differs.
    """
    steps: list[tuple[str, str]] = []
    epsilons = set()
    for layer in configured:
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
                "its form are read"
            )
    if len(epsilons) > 1:
        raise InputError(f"{where}: its norms differ in epsilon ({sorted(epsilons)})")
    epsilon = float(epsilons.pop()) if epsilons else EPSILON
    if not 0 <= epsilon < math.inf:
        raise InputError(f"{where}: its norms have an epsilon of {epsilon}")
    return {"epsilon": epsilon}


def _steps(kind: str, config: Mapping[str, Any]) -> list[str]:
    """What a layer does, in words: one step, or two for one with an activation of its own."""
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
    if _is_mirror(kind):
        # The example's own layer does not say how much.
        sides = sorted(set(np.ravel(config.get("padding", [])).tolist()))
        return [" ".join(["reflection padding", *map(str, sides)])]
    if kind == "Activation":
        return [str(config["activation"])]
    if kind == "ReLU":
        bent = (
            config.get("max_value") is not None
            or config.get("negative_slope")
            or config.get("threshold")
        )
        return ["a bent ReLU" if bent else "relu"]
    if kind == "LeakyReLU":
        return [f"leaky ReLU {float(config.get('alpha', 0.3)):.3g}"]
    return [kind]


def _convolution(kind: str, size: int, strides: int, padding: str) -> str:
    return f"{kind} {size}×{size} of stride {strides} with padding {padding}"


def _expected(settings: Mapping[str, Any]) -> list[str]:
    """The steps of the example's network."""
    norm, mirror = "InstanceNormalization", "reflection padding 1"
    wide_mirror = "reflection padding 3"
    if "generator" in settings:
        wide = _convolution("Conv2D", 7, 1, "valid")
        down = [_convolution("Conv2D", 3, 2, "same"), norm, "relu"]
        inside = [mirror, _convolution("Conv2D", 3, 1, "valid"), norm]
        up = [_convolution("Conv2DTranspose", 3, 2, "same"), norm, "relu"]
        block = [*inside, "relu", *inside, "Add"]
        return [
            *(wide_mirror, wide, norm, "relu"), *down * 2, *block * settings["blocks"], *up * 2,
            *(wide_mirror, wide, "tanh"),
        ]  # fmt: skip
    leaky = "leaky ReLU 0.2"
    strided, plain = (_convolution("Conv2D", 4, strides, "same") for strides in (2, 1))
    more = [strided, norm, leaky] * (settings["discriminator_layers"] - 1)
    return [strided, leaky, *more, plain, norm, leaky, plain]
