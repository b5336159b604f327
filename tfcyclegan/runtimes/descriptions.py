"""The description inside an exported model.

A SavedModel has it as a file in `assets.extra`, a LiteRT file as an entry in its metadata list.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

#: Name of the file, and of the metadata entry.
DESCRIPTION_NAME = "tfcyclegan.json"


def describe_saved_model(directory: Path, description: dict[str, Any]) -> None:
    """Writes the description into a SavedModel's folder."""
    file = directory / "assets.extra" / DESCRIPTION_NAME
    file.parent.mkdir(exist_ok=True)
    file.write_text(json.dumps(description, indent=2) + "\n")


def read_saved_model_description(directory: Path) -> dict[str, Any] | None:
    """Returns a SavedModel's description, or None if it has none.

    Raises:
        ValueError or OSError: it cannot be read.
    """
    file = directory / "assets.extra" / DESCRIPTION_NAME
    return json.loads(file.read_text()) if file.exists() else None


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


def read_metadata(model: bytes) -> dict[str, Any] | None:
    """Returns a LiteRT file's metadata, or None if this package did not write the file."""
    from ai_edge_litert import schema_py_generated as schema

    root = schema.Model.GetRootAs(model, 0)
    for index in range(root.MetadataLength()):
        entry = root.Metadata(index)
        if entry.Name() == DESCRIPTION_NAME.encode():
            return json.loads(root.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None
