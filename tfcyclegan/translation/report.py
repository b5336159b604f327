"""The list of pictures that could not be translated, which can be translated again."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from pathlib import Path

from upath import UPath

from .finding import Found
from .storage import atomic_write, is_url

#: The name of the report beside the pictures.
REPORT = "translate-report.txt"


class Report:
    """Writes the failed pictures as a list, each below a comment with the reason.

    The lines are kept in a temporary file, because millions of pictures may fail.

    Example:
        ```python
        report = Report()
        report.add(Found("in/a.png", "a.png"), "in/a.png: cannot be read")
        report.publish(open_place("out"), "3 translated, 1 failed")
        ```
    """

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (open until published)

    def add(self, picture: Found, problem: str) -> None:
        """Adds a picture that could not be translated."""
        source, name = picture
        source = source if is_url(source) else os.path.abspath(source)
        if source.endswith(f"/{name}"):  # `/./` marks where the name begins
            source = f"{source.removesuffix(name)}./{name}"
        self._write(f"# {problem}", comment=True)
        # A name with a line break cannot stand in a list.
        self._write(source, comment=re.search(r"[\r\n]", source) is not None)

    def publish(self, place: Path | UPath, summary: str) -> None:
        """Writes the report, with a last comment, over an earlier one."""
        self._write(f"# {summary}", comment=True)
        self._file.seek(0)
        with atomic_write(place / REPORT) as part:
            if isinstance(part, Path):
                with part.open("wb") as file:
                    shutil.copyfileobj(self._file, file)
            else:
                shutil.copyfileobj(self._file, part)

    def _write(self, line: str, comment: bool) -> None:
        if comment:
            line = "# " + re.sub(r"[\r\n]+", " ", line.removeprefix("# "))
        self._file.write(line.encode("utf-8", "surrogateescape") + b"\n")
