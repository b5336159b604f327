"""TensorFlow's checkpoint files as arrays, read without TensorFlow's own reader.

That reader trusts its files: one that lies about a shape ends the process, or takes any amount of
memory. So what is needed of the format is read here: `NAME.index`, a sorted table of entries (one a
tensor, in LevelDB's table format), and `NAME.data-0000i-of-0000n` with the bytes.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import tensor_bundle_pb2

#: How a table ends (LevelDB's magic number).
_MAGIC = bytes.fromhex("57fb808b247547db")
_FOOTER = 48

#: Bytes of the longest key, and of the largest index, that is looked at.
_LONGEST_KEY, _LARGEST_INDEX = 4096, 64 * 2**20


class TensorBundle:
    """A checkpoint's tensors by their keys.

    Args:
        prefix: the checkpoint's path without `.index`.

    Raises:
        ValueError, OSError: not a checkpoint, or damaged.

    Example:
        >>> TensorBundle(Path("model")).floats("gen_G/layer_with_weights-0/kernel/…").shape
        (7, 7, 3, 64)
    """

    def __init__(self, prefix: Path):
        self._prefix = prefix
        index = prefix.with_name(f"{prefix.name}.index")
        if index.stat().st_size > _LARGEST_INDEX:
            raise ValueError(f"{index.name} has {index.stat().st_size} bytes, too many for a list")
        self._entries: dict[str, tensor_bundle_pb2.BundleEntryProto] = {}
        shards = 1
        for key, value in _table(index.read_bytes()):
            if key:
                entry = tensor_bundle_pb2.BundleEntryProto.FromString(value)
                self._entries[key.decode()] = entry
            else:
                header = tensor_bundle_pb2.BundleHeaderProto.FromString(value)
                shards = header.num_shards
                if header.endianness != tensor_bundle_pb2.BundleHeaderProto.LITTLE:
                    raise ValueError("written by a machine of the other byte order")
        if not 1 <= shards <= 1000:
            raise ValueError(f"{shards} data files")
        self._files = [
            prefix.with_name(f"{prefix.name}.data-{place:05d}-of-{shards:05d}")
            for place in range(shards)
        ]
        self._left = sum(path.stat().st_size for path in self._files)

    def text(self, key: str) -> bytes:
        """A single string.

        Raises:
            ValueError, KeyError, OSError: it is something else, or not all there.
        """
        entry = self._entries[key]
        if entry.dtype != types_pb2.DT_STRING or len(entry.shape.dim):
            raise ValueError(f"{key} is no single string")
        data = self._bytes(key, entry)
        length, start = _varint(data, 0)
        start += 4  # a checksum of the length
        if start + length != len(data):
            raise ValueError(f"{key} is not as long as it says")
        return data[start:]

    def floats(self, key: str) -> np.ndarray | None:
        """A float32 tensor; None for other keys and other tensors.

        Raises:
            ValueError, OSError: it is empty, or claims what is not there.
        """
        entry = self._entries.get(key)
        if entry is None or entry.dtype != types_pb2.DT_FLOAT or len(entry.slices):
            return None
        shape = tuple(dimension.size for dimension in entry.shape.dim)
        if min(shape, default=1) < 1 or 4 * math.prod(shape) != entry.size:
            raise ValueError(f"{key} of shape {shape} in {entry.size} bytes")
        return np.frombuffer(self._bytes(key, entry), "<f4").reshape(shape)

    def _bytes(self, key: str, entry: tensor_bundle_pb2.BundleEntryProto) -> bytes:
        """What an entry points to. All together no more is read than there is."""
        if not (0 < entry.size <= self._left and entry.offset >= 0):
            raise ValueError(f"{key} claims {entry.size} bytes where {self._left} are left")
        self._left -= entry.size
        with self._files[entry.shard_id].open("rb") as file:
            file.seek(entry.offset)
            data = file.read(entry.size)
        if len(data) != entry.size:
            raise ValueError(f"{key} ends before its {entry.size} bytes do")
        return data


def _table(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a sorted table."""
    if len(data) < _FOOTER or not data.endswith(_MAGIC):
        raise ValueError("not the index of a checkpoint, or cut short")
    footer = len(data) - _FOOTER
    place = _handle(data, footer)[2]  # behind that of the block of metadata
    left = len(data)
    for _, pointer in _block(data, *_handle(data, place)[:2]):
        offset, size, _ = _handle(pointer, 0)
        left -= max(size, 1)
        if left < 0:
            raise ValueError("the index names a block twice")
        yield from _block(data, offset, size)


def _handle(data: bytes, place: int) -> tuple[int, int, int]:
    """Offset and size of a block, and the place behind them."""
    offset, place = _varint(data, place)
    size, place = _varint(data, place)
    return offset, size, place


def _block(data: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """The entries of a block, whose keys share what they begin with."""
    end = offset + size
    if size < 4 or end + 5 > len(data):
        raise ValueError("the index points behind its end")
    if data[end]:
        raise ValueError("the index is compressed, which TensorFlow does not do")
    restarts = int.from_bytes(data[end - 4 : end], "little")
    end -= 4 + 4 * restarts
    key, place = b"", offset
    while place < end:
        shared, place = _varint(data, place)
        more, place = _varint(data, place)
        length, place = _varint(data, place)
        if shared > len(key) or shared + more > _LONGEST_KEY or place + more + length > end:
            raise ValueError("an entry of the index is damaged")
        key = key[:shared] + data[place : place + more]
        place += more + length
        yield key, data[place - length : place]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """A number of seven bits a byte, and the place behind it."""
    value = 0
    for shift in range(0, 64, 7):
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
    raise ValueError("a number that does not end")
