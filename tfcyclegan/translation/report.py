"""What could not be translated, as a list that the command line takes as its input."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from typing import Any

from .locations import Folder, Store, is_url

#: Its name, beside the pictures.
REPORT = "translate-report.jsonl"


class Report:
    """Lines of JSON: one for each picture with a problem, and one that sums up.

    Kept on the disk until it is whole: a million pictures may all be bad.

    Example:
        ```python
        report = Report()
        report.add("in/a.png", "a.png", "in/a.png: cannot be read")
        report.publish(open_place("out"), translated=3, failed=1)
        ```
    """

    def __init__(self):
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as this)

    def add(self, source: str, name: str, problem: str) -> None:
        """Adds a picture that could not be translated."""
        found = source if is_url(source) else os.path.abspath(source)
        self._write({"input": found, "target": name, "problem": problem})

    def publish(self, place: Folder | Store, **summary: Any) -> None:
        """Writes it whole, in the place of an earlier one."""
        self._write({"summary": summary})
        self._file.seek(0)
        with place.atomic_write(REPORT) as part:
            if isinstance(place, Folder):
                with part.open("wb") as file:
                    shutil.copyfileobj(self._file, file)
            else:
                shutil.copyfileobj(self._file, part)

    def _write(self, entry: dict[str, Any]) -> None:
        self._file.write(json.dumps(entry).encode() + b"\n")
