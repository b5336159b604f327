"""LiteRT (TFLite) files, one for each precision, with metadata inside and beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Literal

import keras
import tensorflow as tf

from ..files import atomic_write, write_text
from ..networks.inspection import divisor, least_size
from ..runtimes.protocol import DESCRIPTION_NAME
from .portable import portable_twin

Precision = Literal["float32", "float16", "int8"]
PRECISIONS: tuple[Precision, ...] = ("float32", "float16", "int8")

_QUANTISATION = {
    "float32": "none: weights and computation in float32",
    "float16": "weights kept in float16, computation in float32",
    "int8": "dynamic range: convolutions' weights in int8, their inputs quantised at run time "
    "(input and output of the model stay float32)",
}


def convert(
    generator: keras.Model,
    precisions: tuple[Precision, ...] = PRECISIONS,
    *,
    image_size: tuple[int, int] | None = (256, 256),
    direction: str = "AtoB",
) -> dict[Precision, tuple[bytes, dict[str, Any]]]:
    """Converts a generator for LiteRT.

    Args:
        generator: a functional model, `[N, H, W, C]` in [-1, 1] → the same size in [-1, 1].
            A mixed-precision model is converted through a float32 copy.
        precisions: of the weights: "float32", "float16" or "int8" (dynamic range: int8 weights,
            float input and output). Static int8 is not offered: it measured 15–20 dB on a real
            generator, where dynamic range measured 42–48 dB.
        image_size: `(height, width)` in px that the file is fixed to, or None: then the app sets
            the size before it allocates tensors. Some delegates (GPU, NPU) need a fixed size.
        direction: "AtoB" or "BtoA", for the metadata.

    Returns:
        For each precision the file's bytes and its metadata, which is also inside the file.
        Its signature is `serving_default`, `images` → `images`.
    """
    twin = portable_twin(generator)
    height, width = image_size or (None, None)
    channels = twin.input_shape[-1]
    # As constants: the converter leaves Keras 3's variables as variables otherwise.
    weights = [v.numpy() for v in twin.trainable_variables]
    fixed = [v.numpy() for v in twin.non_trainable_variables]

    @tf.function(
        input_signature=[tf.TensorSpec((1, height, width, channels), tf.float32, name="images")]
    )
    def serving_default(images: tf.Tensor) -> dict[str, tf.Tensor]:
        constants = [[tf.constant(w) for w in group] for group in (weights, fixed)]
        return {"images": twin.stateless_call(*constants, images, training=False)[0]}

    function = serving_default.get_concrete_function()
    files = {}
    for precision in precisions:
        converter = tf.lite.TFLiteConverter.from_concrete_functions([function], tf.Module())
        if precision != "float32":
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "float16":
            converter.target_spec.supported_types = [tf.float16]
        metadata = _metadata(generator, precision, image_size, direction)
        files[precision] = (with_metadata(converter.convert(), metadata), metadata)
    return files


def _metadata(
    generator: keras.Model, precision: Precision, image_size: tuple[int, int] | None, direction: str
) -> dict[str, Any]:
    """All that an app developer must know."""
    height, width = image_size or (None, None)
    multiple, least = divisor(generator), least_size(generator)
    size: dict[str, Any] = {
        "fixed": True,
        "height": height,
        "width": width,
        "words": f"Resize the picture to {width}×{height} px (bicubic with antialiasing in "
        "training), and the result back.",
    }
    if image_size is None:
        size = {
            "fixed": False,
            "multiple_of": multiple,
            "at_least": least,
            "words": "Resize the input tensor to the picture's size before tensors are allocated. "
            f"Height and width must be multiples of {multiple} and at least {least}: pad by "
            "mirroring to the right and below, crop the result.",
        }

    def pictures(channels: int, **more: Any) -> dict[str, Any]:
        return {
            "name": "images",
            "dtype": "float32",
            "shape": [1, height, width, channels],
            "layout": "NHWC",
            "channels": {1: "grey", 3: "RGB"}[channels],
            "range": [-1.0, 1.0],
            **more,
        }

    return {
        "format": "tfcyclegan/1",
        "direction": direction,
        "precision": precision,
        "quantization": _QUANTISATION[precision],
        "signature": "serving_default",
        "size": size,
        "input": pictures(
            generator.input_shape[-1],
            mean=127.5,
            std=127.5,
            words="From 8-bit pixels, the right way up and without alpha: "
            "value = (pixel - 127.5) / 127.5.",
        ),
        "output": pictures(
            generator.output_shape[-1],
            words="To 8-bit pixels: pixel = round((value + 1) * 127.5), clipped to 0 and 255.",
        ),
    }


def with_metadata(model: bytes, metadata: dict[str, Any]) -> bytes:
    """Adds an entry to a LiteRT file's metadata list. Other readers ignore it."""
    from ai_edge_litert import schema_py_generated as schema
    from ai_edge_litert.tools import flatbuffer_utils

    tree = flatbuffer_utils.read_model_from_bytearray(bytearray(model))
    buffer, entry = schema.BufferT(), schema.MetadataT()
    buffer.data = json.dumps(metadata, ensure_ascii=False).encode()
    entry.name, entry.buffer = DESCRIPTION_NAME.encode(), len(tree.buffers)
    tree.buffers.append(buffer)
    tree.metadata = [*(tree.metadata or []), entry]
    tree.description = f"CycleGAN generator, {metadata['direction']}".encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(tree))


def write_beside(path: Path, content: bytes, metadata: dict[str, Any]) -> None:
    """Writes a LiteRT file, and its metadata as JSON beside it."""
    with atomic_write(path) as part:
        part.write_bytes(content)
    described = {"file": path.name, "bytes": len(content), **metadata}
    text = json.dumps(described, indent=2, ensure_ascii=False) + "\n"
    write_text(path.with_suffix(".json"), text)
