"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path
from threading import get_ident

from .errors import InputError


@contextlib.contextmanager
def written_whole(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path beside the wanted one to write to; moves it there when all went well.

    A reader sees the old file or the new one and never a part of it, a killed process included.

    Args:
        path: where the file shall be; its folder is made when missing.

    Raises:
        InputError: the disk is full or the folder cannot be written to.

    Example:
        ```python
        with written_whole("config.json") as part:
            part.write_text("{}")
        ```
    """
    path = Path(path)
    # The ending stays the last one: some writers choose the format by it.
    part = path.with_name(f".{path.stem[:100]}.part-{os.getpid()}-{get_ident()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield part
        with part.open("rb") as written:
            os.fsync(written.fileno())
        os.replace(part, path)
        _sync(path.parent)
    except OSError as problem:
        if problem.errno in (errno.ENOSPC, errno.EDQUOT):
            raise InputError(f"{path}: the disk is full: make room and go on") from problem
        if isinstance(problem, PermissionError) or problem.errno == errno.EROFS:
            raise InputError(f"{path}: cannot be written to: choose another folder") from problem
        raise
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def sync_folder(folder: Path) -> None:
    """Brings a folder and all that is in it to the disk, so that a rename publishes it whole."""
    for path in (*folder.rglob("*"), folder):
        _sync(path)


def _sync(path: Path) -> None:
    with contextlib.suppress(OSError):  # not every file system lets a folder be synced
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
