"""Messages of the library, which name Python arguments, as the command line's user reads them."""

from __future__ import annotations

import dataclasses
import re

from ..training.config import Config
from ..training.measuring import Measuring

#: Options of commands that are no setting of a run.
_OTHERS = (
    "resume", "model", "direction", "epoch", "to", "timeout", "threads", "workers", "image_size",
)  # fmt: skip

#: Arguments that the command line calls otherwise.
_NAMES = {"source": "data", "cache_memory": "cache_memory"}


def option(name: str) -> str:
    """The option of a Python argument: `--image-size` of `image_size`."""
    return "--" + _NAMES.get(name, name).replace("_", "-")


def as_flags(message: str) -> str:
    """A message with options in the place of arguments.

    Two forms are translated, of names that are options: `name=value`, and a name between
    backticks.

    Example:
        >>> as_flags("image_size=250: take 252, or leave `preprocess` out")
        '--image-size 250: take 252, or leave --preprocess out'
    """

    def with_value(found: re.Match[str]) -> str:
        name, value = found["name"], found["value"]
        if name not in _options():
            return found[0]
        if value == "True":
            return option(name)
        return f"{option(name)} {value}"

    def bare(found: re.Match[str]) -> str:
        return option(found["name"]) if found["name"] in _options() else found[0]

    text = re.sub(r"\b(?P<name>[a-z]\w*)=(?P<value>(?:'[^']*'|[^\s:;,)])+)", with_value, message)
    return re.sub(r"`(?P<name>[a-z]\w*)`", bare, text)


def _options() -> set[str]:
    fields = (*dataclasses.fields(Config), *dataclasses.fields(Measuring))
    return {*_OTHERS, *_NAMES, *(field.name for field in fields)}
