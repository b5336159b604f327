"""PyTorch's files as arrays, read and written without PyTorch.

`torch.save` writes a zip: `NAME/data.pkl` is a pickle that describes the content, and
`NAME/data/0` and so on hold the numbers. Files from before PyTorch 1.6 (2020) are pickles followed
by the numbers.
"""

from __future__ import annotations

import io
import os
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ..errors import InputError, first_line
from ..files import atomic_write
from .unpickling import STORAGES, Global, Refused, pickled, unpickle

#: Bytes of the largest pickle that is read. That of the paper's generator has 15 KB.
LARGEST_PICKLE = 2**20

#: The first bytes of a file from before PyTorch 1.6: a pickle of its magic number.
_OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."


def is_torch_file(path: Path) -> bool:
    """Whether a file looks as if `torch.save` wrote it, in the zip form or the old one."""
    with path.open("rb") as file:
        head = file.read(len(_OLD_MAGIC))
        if not head.startswith(b"PK"):
            return head == _OLD_MAGIC
        try:
            return _pickle_name(zipfile.ZipFile(file)) is not None
        except Exception:  # zipfile raises many kinds
            return True  # a zip that is cut short: read_torch_file says so


def read_torch_file(path: str | os.PathLike) -> Any:
    """Reads a file of `torch.save`: NumPy arrays for tensors, containers and plain values.

    Args:
        path: a file in PyTorch's zip form, or in the form from before PyTorch 1.6.

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
    try:
        with path.open("rb") as file:
            if file.read(len(_OLD_MAGIC)) == _OLD_MAGIC:
                return _read_old(file)
            with zipfile.ZipFile(file) as archive:
                return _read_zip(archive, path.stat().st_size)
    except OSError:
        raise
    except Refused as problem:
        raise InputError(f"{path}: {problem}") from problem
    except Exception as problem:  # damaged zips and pickles raise many kinds
        raise InputError(
            f"{path}: damaged or cut short ({first_line(problem)}): download it again"
        ) from problem


def _pickle_name(archive: zipfile.ZipFile) -> str | None:
    names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    return names[0] if len(names) == 1 and names[0].count("/") <= 1 else None


def _read_zip(archive: zipfile.ZipFile, left: int) -> Any:
    """Reads the zip form. All members together cannot have more bytes than are `left`."""
    pickle_name = _pickle_name(archive)
    if pickle_name is None:
        raise Refused("a zip, but not one of PyTorch: no data.pkl in it")
    folder = pickle_name.removesuffix("data.pkl")
    storages: dict[str, np.ndarray] = {}

    def member(name: str, most: int = sys.maxsize) -> bytes:
        nonlocal left
        try:
            info = archive.getinfo(folder + name)
        except KeyError:
            raise Refused(f"no {name} in it, which its tensors need: download it again") from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise Refused(f"{name} in it is compressed, but PyTorch never compresses")
        most = min(most, left)
        if info.file_size > most:
            raise Refused(
                f"{name} in it claims {info.file_size} bytes where there can be at most {most}"
            )
        left -= info.file_size
        return archive.read(info)

    def load(identity: Any) -> np.ndarray:
        kind, key, count = _parts(identity)
        if key not in storages:
            storages[key] = _numbers(member(f"data/{key}"), kind)
        _check_count(key, len(storages[key]), count)
        return storages[key]

    if f"{folder}byteorder" in archive.namelist() and member("byteorder") != b"little":
        raise Refused("written on a big-endian machine: save it again on another one")
    return unpickle(io.BytesIO(member("data.pkl", LARGEST_PICKLE)), load)


def _read_old(file: BinaryIO) -> Any:
    """Reads what follows the magic number of the form from before PyTorch 1.6.

    There are four pickles: the protocol, the system, the content, and the keys of its storages.
    Behind them each storage has the count of its numbers, in 8 bytes, and the numbers.
    """
    data = memoryview(file.read())
    left = len(data)
    storages: dict[str, np.ndarray] = {}
    kinds: dict[str, str] = {}

    def load(identity: Any) -> np.ndarray:
        """A storage of zeros, which are replaced when the numbers are read."""
        nonlocal left
        kind, key, count = _parts(identity)
        if key not in storages:
            size = count * np.dtype(STORAGES[kind]).itemsize
            if size > left:
                raise Refused(f"storage {key} in it claims {size} bytes where there are {left}")
            left -= size
            kinds[key], storages[key] = kind, _numbers(bytearray(size), kind)
        _check_count(key, len(storages[key]), count)
        return storages[key]

    head = io.BytesIO(data[:LARGEST_PICKLE])
    _, _, content, keys = (unpickle(head, load) for _ in range(4))
    if not all(type(key) is str for key in keys) or {*keys} != storages.keys():
        raise Refused("its storages are not those of its tensors")
    data = data[head.tell() :]
    for key in keys:
        array = storages[key]
        _check_count(key, int.from_bytes(data[:8], "little"), len(array))
        size = len(array) * np.dtype(STORAGES[kinds[key]]).itemsize
        array[:] = _numbers(data[8 : 8 + size], kinds[key])
        data = data[8 + size :]
    return content


def _parts(identity: Any) -> tuple[str, str, int]:
    """The kind, key and count of the storage that a pickle refers to.

    PyTorch writes `("storage", kind, key, device, count)`, and None behind them in the old form.
    """
    what, kind, key, _, count, *view = identity
    # Types first: hashing nested tuples can take forever.
    valid = isinstance(kind, Global) and type(key) is str and type(count) is int
    if not valid or what != "storage" or kind.name not in STORAGES or view not in ([], [None]):
        raise Refused("it refers to something that is not a storage of numbers")
    return kind.name, key, count


def _check_count(key: str, found: int, claimed: int) -> None:
    if found != claimed:
        raise Refused(
            f"storage {key} in it holds {found} numbers where its pickle claims {claimed}"
        )


def _numbers(data: bytes | bytearray | memoryview, kind: str) -> np.ndarray:
    array = np.frombuffer(data, STORAGES[kind])
    if kind == "BFloat16Storage":
        return (array.astype(np.uint32) << 16).view(np.float32)
    return array


def write_torch_file(
    path: str | os.PathLike, tensors: Mapping[str, np.ndarray], under: str | None = None
) -> None:
    """Writes arrays as a state dictionary that `torch.load(FILE, weights_only=True)` reads.

    Args:
        path: the file. It is written atomically.
        tensors: float32 and int64 arrays by name.
        under: put the state dictionary under this key of another one. Default: do not.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    arrays = {
        name: np.array(array, array.dtype.newbyteorder("<"), order="C")
        for name, array in tensors.items()
    }
    members = {"data.pkl": pickled(arrays, under), "byteorder": b"little"}
    members |= {f"data/{place}": array.tobytes() for place, array in enumerate(arrays.values())}
    with atomic_write(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, data in {**members, "version": b"3\n"}.items():
            # Without a date, so that the same weights give the same bytes.
            archive.writestr(zipfile.ZipInfo(f"{Path(path).stem}/{name}"), data)
