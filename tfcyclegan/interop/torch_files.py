"""PyTorch's files as arrays, read and written without PyTorch.

`torch.save` writes a zip: `NAME/data.pkl` is a pickle that describes the content, and
`NAME/data/0` and so on hold the numbers. Files from before PyTorch 1.6 (2020) are not zips. PyTorch
itself reads those, if it is installed, with `weights_only=True`.
"""

from __future__ import annotations

import os
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import InputError, first_line
from ..files import atomic_write
from .torch_pickle import NOT_ONLY_WEIGHTS, STORAGES, Global, Machine, Refused, pickled

#: Bytes of the largest pickle that is read. That of the paper's generator has 15 KB.
LARGEST_PICKLE = 2**20

#: The first bytes of a file from before PyTorch 1.6: a pickle of its magic number.
_OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def is_torch_file(path: Path) -> bool:
    """Whether a file looks as if `torch.save` wrote it, in the zip form or the old one."""
    with path.open("rb") as file:
        head = file.read(len(_OLD_MAGIC))
    if head == _OLD_MAGIC:
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _pickle_name(archive) is not None
    except Exception:  # zipfile raises many kinds
        return True  # a zip that is cut short: read_torch_file says so


def read_torch_file(path: str | os.PathLike) -> Any:
    """Reads a file of `torch.save`: NumPy arrays for tensors, containers and plain values.

    Args:
        path: a file in PyTorch's zip form (1.6 and later), or an older one if PyTorch is
            installed.

    Returns:
        What was saved. Ordered dictionaries become plain ones, and bfloat16 becomes float32. The
        arrays are read-only.

    Raises:
        InputError: not such a file, damaged, or with more in it than tensors and containers.

    Example:
        >>> read_torch_file("latest_net_G.pth")["model.1.weight"].shape
        (64, 3, 7, 7)
    """
    path = Path(path)
    with path.open("rb") as file:
        head = file.read(len(_OLD_MAGIC))
    if head == _OLD_MAGIC:
        return _read_old(path)
    try:
        with zipfile.ZipFile(path) as archive:
            name = _pickle_name(archive)
            if name is None:
                raise InputError(f"{path}: a zip, but not one of PyTorch: no data.pkl in it")
            storages = _Storages(archive, name.removesuffix("data.pkl"), path.stat().st_size)
            data = storages.member("data.pkl", LARGEST_PICKLE)
            return Machine(storages.load).run(data)
    except InputError:
        raise
    except Refused as problem:
        raise InputError(f"{path}: {problem}") from problem
    except OSError:
        raise
    except Exception as problem:  # damaged zips and pickles raise many kinds
        raise InputError(
            f"{path}: damaged or cut short ({first_line(problem)}): download it again"
        ) from problem


def _pickle_name(archive: zipfile.ZipFile) -> str | None:
    names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    return names[0] if len(names) == 1 and names[0].count("/") <= 1 else None


class _Storages:
    """The storages in a zip by their keys. Nothing is written to the disk."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, file_size: int):
        self._archive = archive
        self._folder = folder
        self._left = file_size  # all members together cannot have more
        self._loaded: dict[str, np.ndarray] = {}
        names = archive.namelist()
        self._big = f"{folder}byteorder" in names and self.member("byteorder", 16).strip() == b"big"

    def member(self, name: str, most: int) -> bytes:
        """A member's bytes.

        Raises:
            Refused: it is missing or compressed, or claims more bytes than the file or `most`.
        """
        try:
            info = self._archive.getinfo(self._folder + name)
        except KeyError:
            raise Refused(f"no {name} in it, which its tensors need: download it again") from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"{name} in it is compressed, but PyTorch never compresses")
        if info.file_size > min(most, self._left):
            raise Refused(
                f"{name} in it claims {info.file_size} bytes where there can be at "
                f"most {min(most, self._left)}"
            )
        self._left -= info.file_size
        return self._archive.read(info)

    def load(self, identity: Any) -> np.ndarray:
        """The storage that a pickle refers to, one-dimensional.

        Args:
            identity: `("storage", kind, key, device, count)`, as PyTorch writes it.
        """
        kind, key, count = identity[1], identity[2], identity[4]
        # Types first: hashing nested tuples can take forever.
        valid = isinstance(kind, Global) and type(key) is str and type(count) is int
        if not valid or identity[0] != "storage" or kind.name not in STORAGES:
            raise Refused("it refers to something that is not a storage of numbers")
        dtype = np.dtype(STORAGES[kind.name])
        if key not in self._loaded:
            data = self.member(f"data/{key}", self._left)
            array = np.frombuffer(data, dtype.newbyteorder(">") if self._big else dtype)
            if kind.name == "BFloat16Storage":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            self._loaded[key] = array
        array = self._loaded[key]
        if len(array) != count:
            raise Refused(
                f"data/{key} in it holds {len(array)} numbers where its pickle claims {count}"
            )
        return array


def _read_old(path: Path) -> Any:
    """Reads a file from before PyTorch 1.6 with PyTorch."""
    try:
        import torch
    except ImportError as problem:
        raise InputError(
            f"{path}: written by a PyTorch before 1.6, which only PyTorch can read: pip install "
            "torch (the extra [torch] of this package), or save it again with a newer PyTorch"
        ) from problem
    try:
        content = torch.load(path, map_location="cpu", weights_only=True)
        if isinstance(content, dict) and isinstance(content.get("state_dict"), dict):
            content = content["state_dict"]
        if not isinstance(content, dict):
            return content
        return {key: _from_torch(value) for key, value in content.items()}
    except pickle.UnpicklingError as problem:
        raise InputError(
            f"{path}: its pickle asks for more than tensors and containers, which could run "
            f"code: {NOT_ONLY_WEIGHTS}"
        ) from problem
    except Refused as problem:
        raise InputError(f"{path}: {problem}") from problem
    except Exception as problem:
        raise InputError(
            f"{path}: damaged or cut short ({first_line(problem)}): download it again"
        ) from problem


def _from_torch(value: Any) -> Any:
    """A PyTorch tensor as an array. Other values are returned unchanged.

    Raises:
        Refused: it repeats numbers, so that a small file could fill the memory.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise Refused("a tensor in it is larger than its storage")
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


def write_torch_file(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a state dictionary that `torch.load(FILE, weights_only=True)` reads.

    Args:
        path: the file. It is written atomically.
        tensors: float32 and int64 arrays by name.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    arrays = {
        name: np.array(array, array.dtype.newbyteorder("<"), order="C")
        for name, array in tensors.items()
    }
    members = {"data.pkl": pickled(arrays), "byteorder": b"little"}
    members |= {f"data/{place}": array.tobytes() for place, array in enumerate(arrays.values())}
    with atomic_write(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, data in {**members, "version": b"3\n"}.items():
            # Without a date, so that the same weights give the same bytes.
            archive.writestr(zipfile.ZipInfo(f"{Path(path).stem}/{name}"), data)
