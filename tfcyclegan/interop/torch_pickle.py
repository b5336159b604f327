"""The pickles in PyTorch's files, read and written without executing anything.

A pickle is a program that may call any function, so a file from a stranger must not be unpickled.
It is interpreted here instead, by a machine that knows containers, plain values and tensors, and
nothing else. No name in the file is ever looked up. What a tensor claims is checked against the
numbers that there are.
"""

from __future__ import annotations

import math
import pickle
import pickletools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

#: PyTorch's kinds of storage and their dtypes. NumPy has no bfloat16.
STORAGES = {
    "DoubleStorage": "<f8", "FloatStorage": "<f4", "HalfStorage": "<f2", "BFloat16Storage": "<u2",
    "LongStorage": "<i8", "IntStorage": "<i4", "ShortStorage": "<i2", "CharStorage": "<i1",
    "ByteStorage": "<u1", "BoolStorage": "?",
}  # fmt: skip

NOT_ONLY_WEIGHTS = (
    "save only the weights where it comes from: torch.save(network.state_dict(), FILE)"
)


class Global(NamedTuple):
    """An allowed name in a pickle. It is never looked up."""

    module: str
    name: str


_ORDERED_DICT = Global("collections", "OrderedDict")
_TENSORS = (
    Global("torch._utils", "_rebuild_tensor_v2"),
    Global("torch._utils", "_rebuild_tensor"),
)
_PARAMETER = Global("torch._utils", "_rebuild_parameter")
_ALLOWED = {
    _ORDERED_DICT,
    *_TENSORS,
    _PARAMETER,
    *(Global("torch", storage) for storage in STORAGES),
}

#: Opcodes that push the value which follows them.
_VALUES = {
    "BININT", "BININT1", "BININT2", "LONG1", "INT", "LONG", "BINFLOAT", "FLOAT", "UNICODE",
    "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8", "STRING", "BINSTRING", "SHORT_BINSTRING",
    "BINBYTES", "SHORT_BINBYTES",
}  # fmt: skip
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False}
_EMPTY = {"EMPTY_TUPLE": tuple, "EMPTY_LIST": list, "EMPTY_DICT": dict}


class Refused(Exception):
    """The file asks for something that is refused. The message says what."""


class Machine:
    """Interprets a pickle that builds containers, plain values and tensors.

    Args:
        load: returns the storage of a persistent id.

    Example:
        >>> Machine(load=print).run(pickle.dumps({"x": 1}, protocol=2))
        {'x': 1}
    """

    _MARK = object()

    def __init__(self, load: Callable[[Any], np.ndarray]):
        self._load = load
        self._stack: list[Any] = []
        self._memo: dict[int, Any] = {}

    def run(self, data: bytes) -> Any:
        """Executes all opcodes and returns the result.

        Raises:
            Refused: an opcode, a name or a tensor that is not allowed.
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
                    raise Refused(
                        f"its pickle has a step {name}, which tensors and containers do not need: "
                        f"{NOT_ONLY_WEIGHTS}"
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

    # ------------------------------------------------------------------ memo

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
            # Hashing nested tuples can take forever.
            if not isinstance(key, (str, int, float, bytes, type(None))):
                raise Refused("its pickle has a dictionary with keys that are not plain values")
            dict.__setitem__(self._stack[-1], key, value)

    # ------------------------------------------------------------------ names and calls

    def _global(self, argument: str) -> None:
        self._push_name(*argument.split(" ", 1))

    def _stack_global(self, _: Any) -> None:
        self._push_name(*self._last(2))

    def _push_name(self, module: str, name: str) -> None:
        found = Global(module, name)
        if type(module) is not str or type(name) is not str:
            raise Refused("its pickle asks for a name that is not a string")
        if found not in _ALLOWED:
            module, name = module[:80], name[:80]
            raise Refused(
                f"its pickle asks for {module}.{name}, but only tensors and containers are "
                f"read, because anything else could run code: {NOT_ONLY_WEIGHTS}"
            )
        self._stack.append(found)

    def _reduce(self, _: Any) -> None:
        maker, arguments = self._last(2)
        if maker == _ORDERED_DICT and arguments == ():  # its items follow
            self._stack.append({})
        elif maker in _TENSORS:
            self._stack.append(_tensor(*arguments[:4]))
        elif maker == _PARAMETER and isinstance(arguments[0], np.ndarray):
            self._stack.append(arguments[0])
        else:
            raise Refused("its pickle creates something that is neither a tensor nor a container")

    def _build(self, _: Any) -> None:
        # State dictionaries have the versions of their modules as attributes. They are ignored.
        self._stack.pop()
        if not isinstance(self._stack[-1], dict):
            raise Refused("its pickle gives attributes to something that is not a dictionary")

    def _binpersid(self, _: Any) -> None:
        self._stack.append(self._load(self._stack.pop()))


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


def pickled(arrays: Mapping[str, np.ndarray]) -> bytes:
    """The pickle of a state dictionary: protocol 2, as PyTorch writes it.

    The storage of the first array is named "0", that of the second "1", and so on.
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
    parts = [pickle.PROTO, b"\x02", empty, pickle.MARK]
    kinds = {np.dtype(dtype): kind for kind, dtype in STORAGES.items()}
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
