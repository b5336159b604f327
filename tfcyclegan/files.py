"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import platform
import re
import secrets
import zlib
from collections.abc import Iterator
from pathlib import Path

from .errors import InputError

_PART = re.compile(r"\..*\.part-([0-9a-f]{8})-([0-9]+)-[0-9a-f]{8}(\.[^.]*)?", re.DOTALL)
_owner: str | None = None


def owner() -> str:
    """The process that half-written files belong to, as it stands in their names."""
    return _owner or f"{zlib.crc32(platform.node().encode()):08x}-{os.getpid()}"


def work_for(name: str) -> None:
    """Has the half-written files of this process belong to the one it works for.

    Whoever finds one later can tell by that whether the work still goes on.

    Args:
        name: that process's `owner()`.
    """
    global _owner
    _owner = name


def temporary_name(name: str) -> str:
    """A hidden name of its own to write a file under until it is whole."""
    stem, suffix = os.path.splitext(name)
    # The ending stays the last one: some writers choose the format by it.
    return f".{stem[:100]}.part-{owner()}-{secrets.token_hex(4)}{suffix}"


def is_left_behind(name: str, ended: str | None = None) -> bool:
    """Whether a file's name is that of a half-written one that nobody will finish.

    Its process is gone, as far as this machine can tell: another machine's files are left alone.

    Args:
        name: without its folder.
        ended: an `owner()` whose work is over, though its process may still be there.
    """
    found = _PART.fullmatch(name)
    if not found:
        return False
    machine, process = found[1], int(found[2])
    if f"{machine}-{process}" == ended:
        return True
    if machine != owner().split("-")[0] or _owner is not None:
        return False
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return True
    except (OSError, OverflowError):
        return False
    return False


@contextlib.contextmanager
def atomic_write(path: str | os.PathLike) -> Iterator[Path]:
    """Gives a path beside the wanted one to write to; moves it there when all went well.

    A reader sees the old file or the new one and never a part of it, a killed process included.

    Args:
        path: where the file shall be; its folder is made when missing.

    Raises:
        InputError: the disk is full or the folder cannot be written to.

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
