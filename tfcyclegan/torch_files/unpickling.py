"""The pickles in PyTorch's files, read and written without executing anything.

A pickle is a program that may call any function, so a file from a stranger must not be unpickled as
it is. This unpickler takes only the opcodes that containers, plain values and tensors need. It
looks up no name that is in the file, and checks each tensor against the numbers that there are.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, BinaryIO, NamedTuple

import numpy as np

#: PyTorch's kinds of storage and their dtypes. NumPy has no bfloat16.
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
    "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip

_ONLY_WEIGHTS = "save only the weights where it comes from: torch.save(network.state_dict(), FILE)"


class Global(NamedTuple):
    """An allowed name in a pickle. It is never looked up."""

    module: str
    name: str


class Refused(Exception):
    """The file asks for something that is refused. The message says what."""


_ORDERED_DICT = Global("collections", "OrderedDict")
_TENSOR = Global("torch._utils", "_rebuild_tensor_v2")
_TENSORS = (_TENSOR, Global("torch._utils", "_rebuild_tensor"))
_PARAMETER = Global("torch._utils", "_rebuild_parameter")
_ALLOWED = {_ORDERED_DICT, *_TENSORS, _PARAMETER, *(Global("torch", kind) for kind in STORAGES)}

#: The opcodes of containers, plain values, the memo, names and tensors.
_OPCODES = {
    "PROTO", "FRAME", "STOP", "MARK", "NONE", "NEWTRUE", "NEWFALSE",
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "BINBYTES", "SHORT_BINBYTES",
    "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "EMPTY_TUPLE", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3",
    "EMPTY_LIST", "LIST", "APPEND", "APPENDS", "EMPTY_DICT", "DICT", "SETITEM", "SETITEMS",
    "PUT", "BINPUT", "LONG_BINPUT", "MEMOIZE", "GET", "BINGET", "LONG_BINGET",
    "GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "BINPERSID",
}  # fmt: skip


def unpickle(file: BinaryIO, load: Callable[[Any], np.ndarray]) -> Any:
    """Reads the next pickle of a file.

    Args:
        file: a file whose position is at the start of a pickle. It is left at the end.
        load: returns the storage of a persistent id.

    Raises:
        Refused: an opcode, a name or a tensor that is not allowed.

    Example:
        >>> unpickle(io.BytesIO(pickle.dumps({"x": 1})), load=print)
        {'x': 1}
    """
    return _Unpickler(file, load).load()


def _refuse(opcode: str) -> Callable[[Any], None]:
    def step(_: Any) -> None:
        raise Refused(
            f"its pickle has a step {opcode}, which tensors and containers do not need: "
            f"{_ONLY_WEIGHTS}"
        )

    return step


class _Unpickler(pickle._Unpickler):
    """Python's unpickler without the opcodes that call anything."""

    stack: list[Any]
    append: Callable[[Any], None]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, file: BinaryIO, load: Callable[[Any], np.ndarray]):
        super().__init__(file, encoding="utf-8")
        self._load = load

    def persistent_load(self, identity: Any) -> np.ndarray:
        return self._load(identity)

    def find_class(self, module: str, name: str) -> Any:
        if (found := Global(module, name)) not in _ALLOWED:
            raise Refused(
                f"its pickle asks for {module[:80]}.{name[:80]}, but only tensors and containers "
                f"are read, because anything else could run code: {_ONLY_WEIGHTS}"
            )
        return found

    def load_reduce(self) -> None:
        arguments, maker = self.stack.pop(), self.stack.pop()
        if maker == _ORDERED_DICT and arguments == ():  # its items follow
            self.append({})
        elif maker in _TENSORS:
            self.append(_tensor(*arguments[:4]))
        elif maker == _PARAMETER and isinstance(arguments[0], np.ndarray):
            self.append(arguments[0])
        else:
            raise Refused("its pickle creates something that is neither a tensor nor a container")

    def load_build(self) -> None:
        # State dictionaries have the versions of their modules as attributes. They are ignored.
        self.stack.pop()
        if not isinstance(self.stack[-1], dict):
            raise Refused("its pickle gives attributes to something that is not a dictionary")

    def load_dict(self) -> None:
        items = self.pop_mark()
        self.append({})
        self._put(items)

    def load_setitem(self) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._put([key, value])

    def load_setitems(self) -> None:
        self._put(self.pop_mark())

    def _put(self, items: list[Any]) -> None:
        for key, value in zip(items[::2], items[1::2], strict=True):
            # Hashing nested tuples can take forever.
            if not isinstance(key, (str, int, float, bytes, type(None))):
                raise Refused("its pickle has a dictionary with keys that are not plain values")
            dict.__setitem__(self.stack[-1], key, value)

    dispatch = {
        code: pickle._Unpickler.dispatch[code] if name in _OPCODES else _refuse(name)
        for code, name in ((ord(opcode.code), opcode.name) for opcode in pickletools.opcodes)
    } | {
        pickle.REDUCE[0]: load_reduce,
        pickle.BUILD[0]: load_build,
        pickle.DICT[0]: load_dict,
        pickle.SETITEM[0]: load_setitem,
        pickle.SETITEMS[0]: load_setitems,
    }


def _tensor(storage: Any, offset: Any, size: Any, stride: Any) -> np.ndarray:
    """A view of a storage.

    Raises:
        Refused: it does not fit into the storage, or it repeats numbers, so that a small file could
            fill the memory.
    """
    numbers = (offset, *size, *stride)
    valid = (
        isinstance(storage, np.ndarray)
        and len(size) == len(stride) <= 8
        and all(type(number) is int and number >= 0 for number in numbers)
    )
    if not valid:
        raise Refused("a tensor in it has no valid size, stride or storage")
    if math.prod(size) == 0:
        return np.zeros(size, storage.dtype)
    last = offset + sum((side - 1) * step for side, step in zip(size, stride, strict=True))
    if last >= len(storage) or math.prod(size) > len(storage):
        raise Refused(
            f"a tensor in it of shape {tuple(size)} and stride {tuple(stride)} at offset {offset} "
            f"does not fit into its {len(storage)} numbers"
        )
    steps = [step * storage.itemsize for step in stride]
    return np.lib.stride_tricks.as_strided(storage[offset:], size, steps, writeable=False)


def pickled(arrays: Mapping[str, np.ndarray], under: str | None = None) -> bytes:
    """The pickle of a state dictionary: protocol 2, as PyTorch writes it.

    The storage of the first array is named "0", that of the second "1", and so on. With `under` it
    is the entry of that name in another dictionary.
    """

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
    outside = [pickle.EMPTY_DICT, text(under)] if under else []
    parts = [pickle.PROTO, b"\x02", *outside, empty, pickle.MARK]
    kinds = {np.dtype(dtype): kind for kind, dtype in STORAGES.items()}
    for place, (key, array) in enumerate(arrays.items()):
        strides = tuple(step // array.itemsize for step in array.strides)
        storage = text("storage") + name("torch", kinds[array.dtype]) + text(str(place))
        storage += text("cpu") + number(array.size)
        parts += [
            text(key),
            name(*_TENSOR),
            *(pickle.MARK, pickle.MARK, storage, pickle.TUPLE, pickle.BINPERSID),
            *(number(0), numbers(array.shape), numbers(strides)),
            *(pickle.NEWFALSE, empty, pickle.TUPLE, pickle.REDUCE),
        ]
    end = [pickle.SETITEM] if under else []
    return b"".join([*parts, pickle.SETITEMS, *end, pickle.STOP])
