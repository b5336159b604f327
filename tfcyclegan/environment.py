"""What has to be around the package: Keras on TensorFlow, in versions that were tested."""

from __future__ import annotations

import importlib
import json
import os
import re
import warnings
from pathlib import Path

#: First version that is tested, and first one that is not. As in requirements.txt.
TESTED = {"tensorflow": ("2.20", "2.22"), "keras": ("3.15.1", "3.16")}


def backend_problem() -> str | None:
    """Why Keras cannot be used as it is set up, or None.

    Read from where Keras reads it, without importing Keras: with another backend that import
    alone may fail.
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
    """Warns where TensorFlow or Keras lies outside of the tested range, naming the range."""
    for package, (first, beyond) in TESTED.items():
        # Not the version of the installed package: builds of TensorFlow go by several names.
        version = importlib.import_module(package).__version__
        if not _numbers(first) <= _numbers(version) < _numbers(beyond):
            warnings.warn(
                f"{package} {version} is outside of the tested range, {first} up to but not "
                f"including {beyond}: what follows may not work",
                stacklevel=3,
            )


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in re.findall(r"\d+", version)[:3])
