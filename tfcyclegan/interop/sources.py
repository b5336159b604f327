"""Which files a checkpoint is made of, and which networks are in them."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Mapping
from pathlib import Path

import h5py

from ..directions import GENERATORS, Direction
from ..errors import InputError
from ..torch_files import is_torch_file, read_torch_file
from .hdf5 import read_hdf5
from .layouts import Network, some
from .pytorch import read_network, state_dict
from .tf_checkpoint import read_tf_checkpoint

#: The reference's names of its networks, and ours. Its D_A judges pictures of domain B, and D is
#: pix2pix's. A single G has the name of its direction.
REFERENCE_NAMES = {"G_A": "G", "G_B": "F", "D_A": "D_B", "D_B": "D_A", "D": "D"}

#: The names in the "from scratch" code, after what a network draws or judges: horses (A) or
#: zebras (B).
FROM_SCRATCH_NAMES = {"genz": "G", "genh": "F", "critich": "D_A", "criticz": "D_B"}


def find_networks(
    checkpoint: str | os.PathLike, direction: Direction | None = None, epoch: str | None = None
) -> dict[str, Network]:
    """Recognises a checkpoint and reads the networks in it.

    Args:
        checkpoint: a PyTorch file, a folder of PyTorch files, an HDF5 file of Keras 2, or a
            TensorFlow checkpoint.
        direction: the direction of a single generator. Default: what the file name says, else
            AtoB.
        epoch: which files of a folder to read, `EPOCH_net_G_A.pth`. Default: latest, else the
            last.

    Returns:
        Networks under G, F, D_A and D_B; of a pix2pix under G or F, and D.

    Raises:
        InputError: the checkpoint is missing, unknown, damaged or unsafe, or it does not have what
            `direction` and `epoch` name.

    Example:
        >>> find_networks("checkpoints/horse2zebra").keys()
        dict_keys(['G', 'F', 'D_B', 'D_A'])
    """
    path = Path(checkpoint)
    if path.is_dir():
        networks = _in_folder(path, epoch)
    elif epoch is not None:
        raise InputError(f"epoch={epoch}: goes with a folder, and {path} is a file")
    else:
        networks = _in_file(path)
    generators = sum(network.role == "generator" for network in networks.values())
    if direction is not None and generators != 1:
        raise InputError(
            f"direction={direction}: goes with one generator, but {path} has {generators}"
        )
    named = {}
    for name, network in networks.items():
        if network.role == "generator" and (direction or not name):
            name = GENERATORS[direction or "AtoB"]
        named[name or "D_A"] = network
    return named


def _in_folder(path: Path, epoch: str | None) -> dict[str, Network]:
    if (path / "saved_model.pb").exists():
        raise InputError(
            f"{path}: a SavedModel, which cannot be imported: save its weights in the environment "
            'it was made in, model.save_weights("G.h5"), and import that file'
        )
    files = sorted(path.iterdir())
    epochs: dict[str, dict[str, Path]] = {}
    for file in files:
        if found := re.fullmatch(r"(.+)_net_(G|G_A|G_B|D|D_A|D_B)\.pth", file.name):
            epochs.setdefault(found[1], {})[found[2]] = file
    if epochs:
        # "latest", else the greatest number, else the last name.
        order = sorted(epochs, key=lambda e: (e == "latest", e.isdecimal(), e.zfill(9)))
        chosen = epochs.get(epoch or order[-1])
        if chosen is None:
            raise InputError(f"epoch={epoch}: {path} has {some(sorted(epochs))}")
        if chosen.keys() & {"G", "D"} and not chosen.keys() <= {"G", "D"}:
            raise InputError(f"{path}: it has {some(sorted(chosen))}: name the file to import")
        return _read_several({REFERENCE_NAMES.get(n, ""): file for n, file in chosen.items()})
    if epoch is not None:
        raise InputError(f"epoch={epoch}: {path} has no files named EPOCH_net_G_A.pth")
    if scratch := {name: file for file in files if (name := _from_scratch_name(file))}:
        return _read_several(scratch)
    if indices := [file for file in files if file.suffix == ".index"]:
        newest = max(indices, key=lambda file: (file.stat().st_mtime, file.name))
        return read_tf_checkpoint(newest.with_suffix(""))
    raise InputError(
        f"{path}: no known checkpoint in that folder (looked for EPOCH_net_G_A.pth, "
        "genz.pth.tar and NAME.index): name the file itself"
    )


def _in_file(path: Path) -> dict[str, Network]:
    prefix = re.sub(r"\.(index|data-\d+-of-\d+)$", "", str(path))
    if os.path.exists(f"{prefix}.index"):
        return read_tf_checkpoint(Path(prefix))
    if not path.exists():
        raise InputError(f"{path}: there is no such file or folder")
    if not path.stat().st_size:
        raise InputError(f"{path}: an empty file: download it again")
    if h5py.is_hdf5(path):
        return read_hdf5(path)
    if is_torch_file(path):
        return {_name_of(path): _read_torch(path)}
    raise InputError(
        f"{path}: not a PyTorch file (.pth), an HDF5 file of Keras 2 (.h5) or a TensorFlow "
        "checkpoint (.index). A .keras file needs no import: translate, evaluate and export open it"
    )


def _read_torch(path: Path) -> Network:
    tensors = state_dict(read_torch_file(path), path, path.stat().st_size)
    return read_network(tensors, path)


def _read_several(files: Mapping[str, Path]) -> dict[str, Network]:
    """The networks in the files of a folder. A file that cannot be read is a note on the others.

    Raises:
        InputError: no generator can be read.
    """
    networks, problems = {}, []
    for name, file in sorted(files.items(), key=lambda item: item[0].startswith("D")):
        try:
            networks[name] = _read_torch(file)
        except InputError as problem:
            problems.append(problem)
    if problems and not any(network.role == "generator" for network in networks.values()):
        raise problems[0]
    notes = tuple(f"left out: {problem}" for problem in problems)
    return {
        name: dataclasses.replace(network, notes=(*network.notes, *notes))
        for name, network in networks.items()
    }


def _name_of(path: Path) -> str:
    """The network that the name of a PyTorch file says, or ""."""
    if found := re.search(r"_net_([GD]_[AB]|D)\.pth$", path.name):
        return REFERENCE_NAMES[found[1]]
    if found := re.search(r"(A2B|AtoB)|(B2A|BtoA)", path.name):
        return "G" if found[1] else "F"
    return _from_scratch_name(path)


def _from_scratch_name(path: Path) -> str:
    return FROM_SCRATCH_NAMES.get(path.name.partition(".")[0].lower().replace("_", ""), "")
