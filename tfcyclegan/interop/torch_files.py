"""PyTorch's files as arrays, read and written without PyTorch, and without executing anything.

`torch.save` writes a zip: `NAME/data.pkl` says what there is, and `NAME/data/0` and so on hold the
numbers. A pickle is a program that may call any function there is, so a file from somebody else is
not to be unpickled. It is interpreted here instead, by a machine that knows containers, plain
values and tensors, and nothing else: no name in the file is ever looked up. What a tensor claims of
itself is held against the bytes there are.

Files from before PyTorch 1.6 (2020) are no zips. PyTorch itself reads those, where it is installed,
with `weights_only=True`.
"""

from __future__ import annotations

import math
import os
import pickle
import pickletools
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from ..errors import InputError, first_line
from ..files import atomic_write

#: Bytes of the largest pickle that is looked at. A generator of the paper has 15 KB of it.
LARGEST_PICKLE = 2**20

#: How PyTorch's file before 1.6 begins: a pickle of its magic number.
_OLD_MAGIC = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."

#: PyTorch's kinds of storage and their dtypes; bfloat16 is unknown to NumPy.
_STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
    "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip

_NOT_ONLY_WEIGHTS = (
    "save the weights alone where it comes from: torch.save(network.state_dict(), FILE)"
)


class _Global(NamedTuple):
    """A name in a pickle that is on the list below. It stays a name."""

    module: str
    name: str


_ORDERED_DICT = _Global("collections", "OrderedDict")
_TENSORS = (
    _Global("torch._utils", "_rebuild_tensor_v2"),
    _Global("torch._utils", "_rebuild_tensor"),
)
_PARAMETER = _Global("torch._utils", "_rebuild_parameter")
_ALLOWED = {
    _ORDERED_DICT,
    *_TENSORS,
    _PARAMETER,
    *(_Global("torch", storage) for storage in _STORAGES),
}

#: Opcodes that push what is written behind them.
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "FLOAT", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}


class _Refused(Exception):
    """The file asks for something that is not done, and this says what."""


def is_torch_file(path: Path) -> bool:
    """Whether it looks like something that `torch.save` wrote, in either form."""
    with path.open("rb") as file:
        head = file.read(len(_OLD_MAGIC))
    if head == _OLD_MAGIC:
        return True
    if not head.startswith(b"PK"):
        return False
    try:
        with zipfile.ZipFile(path) as archive:
            return _pickle_name(archive) is not None
    except Exception:  # zipfile raises all kinds
        return True  # a zip that is cut short: reading says so


def read_torch_file(path: str | os.PathLike) -> Any:
    """Reads a file of `torch.save`: tensors as NumPy arrays in containers and plain values.

    Args:
        path: a file in PyTorch's zip form (1.6 and later), or an older one where PyTorch is
            installed.

    Returns:
        What was saved, ordered dictionaries as plain ones, arrays read-only. bfloat16 comes as
        float32.

    Raises:
        InputError: not such a file, damaged, or in need of more than tensors and containers.

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
                raise InputError(f"{path}: a zip, but none of PyTorch's: no data.pkl in it")
            storages = _Storages(archive, name.removesuffix("data.pkl"), path.stat().st_size)
            data = storages.member("data.pkl", LARGEST_PICKLE)
            return _Machine(storages.load).run(data)
    except InputError:
        raise
    except _Refused as problem:
        raise InputError(f"{path}: {problem}") from problem
    except OSError:
        raise
    except Exception as problem:  # damaged zips and pickles raise all kinds
        raise InputError(
            f"{path}: damaged or cut short ({first_line(problem)}): fetch it again"
        ) from problem


def _pickle_name(archive: zipfile.ZipFile) -> str | None:
    names = [n for n in archive.namelist() if n == "data.pkl" or n.endswith("/data.pkl")]
    return names[0] if len(names) == 1 and names[0].count("/") <= 1 else None


class _Storages:
    """The numbers in a zip, by their keys. Nothing is unpacked to the disk."""

    def __init__(self, archive: zipfile.ZipFile, folder: str, file_size: int):
        self._archive = archive
        self._folder = folder
        self._left = file_size  # all members together cannot hold more
        self._loaded: dict[str, np.ndarray] = {}
        names = archive.namelist()
        self._big = f"{folder}byteorder" in names and self.member("byteorder", 16).strip() == b"big"

    def member(self, name: str, most: int) -> bytes:
        """A member's bytes.

        Raises:
            _Refused: it claims more than the file can hold or than was asked for.
        """
        try:
            info = self._archive.getinfo(self._folder + name)
        except KeyError:
            raise _Refused(f"no {name} in it, which its tensors need: fetch it again") from None
        if info.compress_type != zipfile.ZIP_STORED:
            raise _Refused(f"{name} in it is compressed, which PyTorch does not do")
        if info.file_size > min(most, self._left):
            raise _Refused(
                f"{name} in it claims {info.file_size} bytes where there can be "
                f"{min(most, self._left)} at most"
            )
        self._left -= info.file_size
        return self._archive.read(info)

    def load(self, identity: Any) -> np.ndarray:
        """The storage that a pickle refers to, one-dimensional.

        Args:
            identity: `("storage", kind, key, device, count)`, as PyTorch writes it.
        """
        kind, key, count = identity[1], identity[2], identity[4]
        # Types first: hashing tuples in tuples in tuples can take for ever.
        sound = isinstance(kind, _Global) and type(key) is str and type(count) is int
        if not sound or identity[0] != "storage" or kind.name not in _STORAGES:
            raise _Refused("it refers to something that is no storage of numbers")
        dtype = np.dtype(_STORAGES[kind.name])
        if key not in self._loaded:
            data = self.member(f"data/{key}", self._left)
            array = np.frombuffer(data, dtype.newbyteorder(">") if self._big else dtype)
            if kind.name == "BFloat16Storage":
                array = (array.astype(np.uint32) << 16).view(np.float32)
            self._loaded[key] = array
        array = self._loaded[key]
        if len(array) != count:
            raise _Refused(
                f"data/{key} in it holds {len(array)} numbers where its pickle claims {count}"
            )
        return array


class _Machine:
    """Interprets a pickle that builds containers, plain values and tensors.

    Args:
        load: gives the storage of a persistent id.
    """

    _MARK = object()

    def __init__(self, load: Callable[[Any], np.ndarray]):
        self._load = load
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Works through the opcodes to the last and gives what is left.

        Raises:
            _Refused: an opcode, a name or a tensor that is not taken.
        """
        stack = self._stack
        for opcode, argument, _ in pickletools.genops(data):
            name = opcode.name
            if name in _VALUES:
                stack.append(argument)
            elif name in _CONSTANTS:
                stack.append(_CONSTANTS[name])
            elif name in _EMPTY:
                stack.append(_EMPTY[name]())
            elif name == "STOP":
                return stack.pop()
            elif name not in ("PROTO", "FRAME"):
                step = getattr(self, f"_{name.lower()}", None)
                if step is None:
                    raise _Refused(
                        f"its pickle has a step {name}, which no tensors and containers need: "
                        f"{_NOT_ONLY_WEIGHTS}"
                    )
                step(argument)
        raise ValueError("the pickle has no end")

    def _since_mark(self) -> list[Any]:
        place = len(self._stack) - 1
        while self._stack[place] is not self._MARK:
            place -= 1
            if place < 0:
                raise ValueError("no mark")
        items = self._stack[place + 1 :]
        del self._stack[place:]
        return items

    def _mark(self, _: Any) -> None:
        self._stack.append(self._MARK)

    # ------------------------------------------------------------------ what was there before

    def _binput(self, place: int) -> None:
        self._memo[place] = self._stack[-1]

    _long_binput = _put = _binput

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self._stack[-1]

    def _binget(self, place: int) -> None:
        self._stack.append(self._memo[place])

    _long_binget = _get = _binget

    # ------------------------------------------------------------------ containers

    def _tuple(self, _: Any) -> None:
        self._stack.append(tuple(self._since_mark()))

    def _list(self, _: Any) -> None:
        self._stack.append(self._since_mark())

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self._stack.append({})
        self._put_into(items)

    def _last(self, count: int) -> list[Any]:
        items = self._stack[-count:]
        del self._stack[-count:]
        return items

    def _tuple1(self, _: Any) -> None:
        self._stack.append(tuple(self._last(1)))

    def _tuple2(self, _: Any) -> None:
        self._stack.append(tuple(self._last(2)))

    def _tuple3(self, _: Any) -> None:
        self._stack.append(tuple(self._last(3)))

    def _append(self, _: Any) -> None:
        item = self._stack.pop()
        list.append(self._stack[-1], item)

    def _appends(self, _: Any) -> None:
        items = self._since_mark()
        list.extend(self._stack[-1], items)

    def _setitem(self, _: Any) -> None:
        self._put_into(self._last(2))

    def _setitems(self, _: Any) -> None:
        self._put_into(self._since_mark())

    def _put_into(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing tuples in tuples in tuples can take for ever.
            if not isinstance(key, (str, int, float, bytes, type(None))):
                raise _Refused("its pickle has a dictionary with keys that are no plain values")
            dict.__setitem__(self._stack[-1], key, value)

    # ------------------------------------------------------------------ names, and what they make

    def _global(self, argument: str) -> None:
        self._push_name(*argument.split(" ", 1))

    def _stack_global(self, _: Any) -> None:
        self._push_name(*self._last(2))

    def _push_name(self, module: str, name: str) -> None:
        found = _Global(module, name)
        if type(module) is not str or type(name) is not str:
            raise _Refused("its pickle asks for a name that is no text")
        if found not in _ALLOWED:
            module, name = module[:80], name[:80]
            raise _Refused(
                f"its pickle asks for {module}.{name}, and only tensors and containers are read, "
                f"since anything else could run code: {_NOT_ONLY_WEIGHTS}"
            )
        self._stack.append(found)

    def _reduce(self, _: Any) -> None:
        maker, arguments = self._last(2)
        if maker == _ORDERED_DICT and arguments == ():  # items come behind it
            self._stack.append({})
        elif maker in _TENSORS:
            self._stack.append(_tensor(*arguments[:4]))
        elif maker == _PARAMETER and isinstance(arguments[0], np.ndarray):
            self._stack.append(arguments[0])
        else:
            raise _Refused("its pickle makes something that is neither a tensor nor a container")

    def _build(self, _: Any) -> None:
        # State dictionaries carry the versions of their modules about, which nothing here needs.
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise _Refused("its pickle gives attributes to something that is no dictionary")

    def _binpersid(self, _: Any) -> None:
        self._stack.append(self._load(self._stack.pop()))


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """A tensor over its storage, if it lies within it.

    Raises:
        _Refused: it does not, or it repeats numbers, so that a small file could fill the memory.
    """
    numbers = (offset, *size, *stride)
    sound = (
        isinstance(storage, np.ndarray)
        and len(size) == len(stride) <= 8
        and all(type(number) is int and number >= 0 for number in numbers)
    )
    if not sound:
        raise _Refused("a tensor in it has no sound size, stride or storage")
    if math.prod(size) == 0:
        return np.zeros(size, storage.dtype)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if last >= len(storage) or math.prod(size) > len(storage):
        raise _Refused(
            f"a tensor in it of shape {tuple(size)} and stride {tuple(stride)} from place {offset} "
            f"on does not fit into its {len(storage)} numbers"
        )
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def _read_old(path: Path) -> Any:
    """A file from before PyTorch 1.6, by PyTorch."""
    try:
        import torch
    except ImportError as problem:
        raise InputError(
            f"{path}: written by a PyTorch before 1.6, which takes PyTorch to read: pip install "
            "torch (the extra [torch] of this package), or save it anew with a PyTorch of today"
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
            f"{path}: its pickle asks for more than tensors and containers, and that could run "
            f"code: {_NOT_ONLY_WEIGHTS}"
        ) from problem
    except _Refused as problem:
        raise InputError(f"{path}: {problem}") from problem
    except Exception as problem:
        raise InputError(
            f"{path}: damaged or cut short ({first_line(problem)}): fetch it again"
        ) from problem


def _from_torch(value: Any) -> Any:
    """A tensor of PyTorch's as an array; other values as they are.

    Raises:
        _Refused: it repeats numbers, so that a small file could fill the memory.
    """
    import torch

    if not isinstance(value, torch.Tensor):
        return value
    if value.numel() * value.element_size() > value.untyped_storage().nbytes():
        raise _Refused("a tensor in it is larger than the numbers it is made of")
    value = value.detach()
    return (value.float() if value.dtype == torch.bfloat16 else value).numpy()


# ---------------------------------------------------------------------- the way back


def write_torch_file(path: str | os.PathLike, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes arrays as a state dictionary that `torch.load(FILE, weights_only=True)` reads.

    Args:
        path: the file; it appears whole or not at all.
        tensors: float32 and int64 arrays by name.

    Raises:
        InputError: the disk is full or the folder cannot be written to.
    """
    arrays = {
        name: np.array(array, array.dtype.newbyteorder("<"), order="C")
        for name, array in tensors.items()
    }
    members = {"data.pkl": _pickled(arrays), "byteorder": b"little"}
    members |= {f"data/{place}": array.tobytes() for place, array in enumerate(arrays.values())}
    with atomic_write(path) as part, zipfile.ZipFile(part, "w") as archive:
        for name, data in {**members, "version": b"3\n"}.items():
            # Without a date of its own, so that the same weights are the same file.
            archive.writestr(zipfile.ZipInfo(f"{Path(path).stem}/{name}"), data)


def _pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of a state dictionary: protocol 2, as PyTorch writes it."""

    def text(value: str) -> bytes:
        encoded = value.encode()
        return pickle.BINUNICODE + len(encoded).to_bytes(4, "little") + encoded

    def number(value: int) -> bytes:
        if value < 2**31:
            return pickle.BININT + value.to_bytes(4, "little")
        return pickle.LONG1 + b"\x08" + value.to_bytes(8, "little")

    def numbers(values: tuple[int, ...]) -> bytes:
        return pickle.MARK + b"".join(map(number, values)) + pickle.TUPLE

    def name(module: str, attribute: str) -> bytes:
        return pickle.GLOBAL + f"{module}\n{attribute}\n".encode()

    empty = name(*_ORDERED_DICT) + pickle.EMPTY_TUPLE + pickle.REDUCE
    parts = [pickle.PROTO, b"\x02", empty, pickle.MARK]
    kinds = {np.dtype(dtype): kind for kind, dtype in _STORAGES.items()}
    for place, (key, array) in enumerate(arrays.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        storage = text("storage") + name("torch", kinds[array.dtype]) + text(str(place))
        storage += text("cpu") + number(array.size)
        parts += [
            text(key),
            name(*_TENSORS[0]),
            *(pickle.MARK, pickle.MARK, storage, pickle.TUPLE, pickle.BINPERSID),
            *(number(0), numbers(array.shape), numbers(strides)),
            *(pickle.NEWFALSE, empty, pickle.TUPLE, pickle.REDUCE),
        ]
    return b"".join([*parts, pickle.SETITEMS, pickle.STOP])
