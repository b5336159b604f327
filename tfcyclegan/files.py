"""Atomic writes: a file appears complete or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

_TEMPORARY = re.compile(r"\..*\.part-tfcyclegan-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL)


def temporary_name(name: str) -> str:
    """A unique hidden name under which a file is written until it is complete."""
    stem, suffix = os.path.splitext(name)
    # Some writers choose the format by the suffix, so the suffix stays last.
    return f".{stem[:100]}.part-tfcyclegan-{secrets.token_hex(4)}{suffix}"


def is_temporary(name: str) -> bool:
    """Whether `name`, without its folder, comes from `temporary_name`."""
    return _TEMPORARY.fullmatch(name) is not None


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a temporary path to write to and renames it to `path` on success.

    A reader sees the old file or the new one, never a part of it, even if the process is killed.

    Args:
        path: the file to write. Its folder is created if needed.

    Yields:
        A path in the same folder.

    Raises:
        InputError: the disk is full or the folder is not writable.

    Example:
        ```python
        with atomic_write("config.json") as part:
            part.write_text("{}")
        ```
    """
    path = Path(path)
    part = path.with_name(temporary_name(path.name))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, path)
        _sync(path.parent)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"{path}: the disk is full: make room and retry") from problem
        if isinstance(problem, PermissionError) or problem.errno == errno.EROFS:
            raise InputError(f"{path}: not writable: choose another folder") from problem
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def write_text(path: str | os.PathLike, text: str) -> None:
    """Writes a text file in UTF-8, as `atomic_write` does."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8")


def sync_folder(folder: Path) -> None:
    """Flushes a folder and everything in it to disk, before a rename publishes it."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system can sync a folder
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
