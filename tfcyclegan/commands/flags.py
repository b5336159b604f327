"""The commands, and messages of the library in terms of their options."""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable

from ..training.config import Config
from ..training.measuring import Measuring
from .evaluate import evaluate
from .export import export
from .importing import import_model
from .reproduce import reproduce
from .segmenter import segmenter
from .study import study, study_results
from .train import Train
from .translate import translate

#: What can be typed after `tfcyclegan`.
COMMANDS: dict[str, Callable] = {
    "train": Train,
    "evaluate": evaluate,
    "export": export,
    "translate": translate,
    "reproduce": reproduce,
    "segmenter": segmenter,
    "import": import_model,
    "study": study,
    "study-results": study_results,
}


def as_flags(message: str) -> str:
    """Replaces the Python arguments in a message by command-line options.

    It recognises two forms, `name=value` and a name in backticks, if the name is that of an option.

    Args:
        message: the message.

    Returns:
        The message with options.

    Example:
        >>> as_flags("image_size=250: take 252, or leave `preprocess` out")
        '--image-size 250: take 252, or leave --preprocess out'
    """
    parameters = [
        p for command in COMMANDS.values() for p in inspect.signature(command).parameters.values()
    ]
    # The options and their types, as written in the source.
    types = {p.name: p.annotation for p in parameters if "Positional" not in p.annotation}
    types |= {f.name: f.type for group in (Config, Measuring) for f in dataclasses.fields(group)}

    def as_option(found: re.Match[str]) -> str:
        name, value = found["name"] or found["bare"], found["value"]
        if name not in types:
            return found[0]
        option = name.replace("_", "-")
        if types[name] == "bool" and value in ("True", "False"):
            return f"--{option}" if value == "True" else f"--no-{option}"
        return f"--{option} {value}" if value else f"--{option}"

    # A colon, comma or full stop after a value is the sentence's.
    value = r"(?P<value>(?:'[^']*'|[^\s:;,)])+?)(?=\.?(?:[\s:;,)]|$))"
    argument = rf"(?<![\w.])(?P<name>[a-z]\w*)={value}|`(?P<bare>[a-z]\w*)`"
    return re.sub(argument, as_option, message)
