"""Checks that Keras runs on TensorFlow, and both in tested versions."""

from __future__ import annotations

import importlib
import json
import os
import re
import warnings
from pathlib import Path

#: The first tested version and the first untested one. As in requirements.txt.
TESTED = {"tensorflow": ("2.20", "2.22"), "keras": ("3.15.1", "3.16")}


def backend_problem() -> str | None:
    """Returns why Keras cannot be used as it is set up, or None.

    It does not import Keras, which may fail with another backend, but reads the setting where Keras
    reads it.
    """
    home = Path(os.environ.get("KERAS_HOME", "~/.keras")).expanduser()
    backend = os.environ.get("KERAS_BACKEND")
    where = "the environment variable KERAS_BACKEND"
    if not backend:
        where = str(home / "keras.json")
        try:
            backend = json.loads((home / "keras.json").read_text()).get("backend")
        except (OSError, ValueError, AttributeError):
            backend = None
    if backend in (None, "tensorflow"):
        return None
    return (
        f"Keras is set to the backend {backend!r} by {where}, and tfcyclegan needs tensorflow: "
        "set KERAS_BACKEND=tensorflow"
    )


def warn_if_untested() -> None:
    """Warns if TensorFlow or Keras is outside the tested range."""
    for package, (first, beyond) in TESTED.items():
        # Not by importlib.metadata: builds of TensorFlow have several package names.
        version = importlib.import_module(package).__version__
        if not _numbers(first) <= _numbers(version) < _numbers(beyond):
            warnings.warn(
                f"{package} {version} is outside the tested range, {first} up to but not "
                f"including {beyond}: it may not work",
                stacklevel=3,
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
