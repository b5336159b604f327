"""Messages of the library, which name Python arguments, as the command line's user reads them."""

from __future__ import annotations

import dataclasses
import re

from ..training.config import Config
from ..training.measuring import Measuring

#: Options of commands that are no setting of a run, with a value.
_OTHERS = (
    "model", "direction", "epoch", "to", "timeout", "threads", "workers", "image_size", "address",
)  # fmt: skip

#: Options of commands without a value.
_OTHER_SWITCHES = ("resume", "independent_tiles", "skip_existing", "side_by_side", "strict")

#: Arguments that the command line calls otherwise.
_NAMES = {"source": "data"}


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
        if value in ("True", "False") and name in _switches():
            return option(name) if value == "True" else "--no-" + option(name)[2:]
        return f"{option(name)} {value}"

    def bare(found: re.Match[str]) -> str:
        return option(found["name"]) if found["name"] in _options() else found[0]

    # A colon, a comma or a full stop behind a value belongs to the sentence.
    value = r"(?P<value>(?:'[^']*'|[^\s:;,)])+?)(?=\.?(?:[\s:;,)]|$))"
    text = re.sub(rf"(?<![\w.])(?P<name>[a-z]\w*)={value}", with_value, message)
    return re.sub(r"`(?P<name>[a-z]\w*)`", bare, text)


def _fields() -> tuple[dataclasses.Field, ...]:
    return (*dataclasses.fields(Config), *dataclasses.fields(Measuring))


def _switches() -> set[str]:
    """Options without a value; they have a `--no-` form."""
    return {*_OTHER_SWITCHES, *(field.name for field in _fields() if field.type == "bool")}


def _options() -> set[str]:
    return {*_OTHERS, *_OTHER_SWITCHES, *_NAMES, *(field.name for field in _fields())}
