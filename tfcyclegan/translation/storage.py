"""Reads and writes pictures in local folders and, through universal-pathlib, in remote stores."""

from __future__ import annotations

import contextlib
import io
import itertools
import os
import posixpath
import re
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from upath import UPath

from .. import files
from ..errors import InputError, first_line
from ..runtimes.protocol import BadPicture

#: A local path, or a URL that fsspec opens.
Place = Path | UPath

#: Stores in which an upload appears complete or not at all.
OBJECT_STORES = {
    "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "tos", "memory",
}  # fmt: skip

#: Exceptions of botocore, Google and Azure and error codes of S3 and Azure for bad credentials.
_CREDENTIAL_ERRORS = (
    "[Cc]redential|Token|RefreshError|InvalidAccessKeyId|InvalidSecurity|SignatureDoesNotMatch"
    "|NotSignedUp|RequestTimeTooSkewed|AccountProblem|AuthenticationFailed"
)

#: Bytes of the largest file that is read as a picture: more than Pillow's pixel limit can take.
_LARGEST_FILE = 2**30


def is_url(text: str) -> bool:
    """Whether `text` is a URL rather than a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)", text) is not None


def open_path(text: str | os.PathLike) -> Place:
    """A `Path` for a local path or a `file://` URL, a `UPath` for any other URL.

    Raises:
        InputError: an unknown protocol, a missing package, or an unreachable store.
    """
    text = str(text).removeprefix("file://")
    if not is_url(text):
        return Path(text)
    try:
        # A listings cache would hold millions of names and go stale.
        path = UPath(text, use_listings_cache=False)
        _ = path.fs
        return path
    except ImportError as problem:
        protocol, said = re.split("::|://", text)[0], str(problem).removesuffix(".")
        raise InputError(f"{text}: {protocol}:// needs another package ({said})") from problem
    except Exception as problem:
        raise unreachable(text, problem) from problem


def open_place(to: str | os.PathLike) -> Place:
    """The folder or URL that translations are written to.

    Raises:
        InputError: the URL is read-only or cannot be opened.
    """
    text = str(to)
    if re.match("https?://", text) or "::" in text:
        raise InputError(f"{text}: not writable: give a folder or the URL of a store as `to`")
    return open_path(text)


def read(source: str) -> bytes:
    """Reads a picture file, at most 1 GiB.

    Raises:
        BadPicture: this file cannot be read.
        InputError: the credentials are bad or the store cannot be opened.
    """
    path = open_path(source)
    try:
        if isinstance(path, Path):
            content = _read_file(path)
        elif re.match("https?://", source):
            content = _read_stream(path)
        else:
            # `open` would ask for the size first, and S3 does not explain a refusal to that.
            content = path.fs.cat_file(path.path, start=0, end=_LARGEST_FILE + 1)
        if len(content) > _LARGEST_FILE:
            raise OSError(0, f"more than {_LARGEST_FILE} bytes are too many for a picture")
        return content
    except Exception as problem:  # each store has its own exceptions
        if _about_credentials(problem):
            raise unreachable(source, problem) from problem
        raise BadPicture(f"cannot be read ({reason(problem)})") from problem


def _read_file(path: Path) -> bytes:
    with open(path, "rb", opener=_nonblocking) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(0, "not a regular file")  # a list may name a pipe or an endless device
        return file.read(_LARGEST_FILE + 1)


def _nonblocking(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _read_stream(path: UPath) -> bytes:
    """Reads at most one byte more than the limit, whatever a web server sends.

    A server may ignore a requested range, and compressed content may expand without bound.
    """
    content = io.BytesIO()
    # Block size 0 selects streaming; a given size keeps fsspec from asking the server for it.
    with path.fs.open(path.path, "rb", block_size=0, size=1) as file:
        while part := file.read(_LARGEST_FILE + 1 - content.tell()):
            content.write(part)
    return content.getvalue()


def reason(problem: BaseException) -> str:
    """What an error of a file system or store says, in one line."""
    if isinstance(problem, FileNotFoundError):
        return "No such file or directory"
    return getattr(problem, "strerror", None) or first_line(problem)


def unreachable(url: object, problem: BaseException) -> InputError:
    """The error for a store that cannot be used at all."""
    return InputError(
        f"{url}: cannot be reached ({reason(problem)}): check the address and the credentials"
    )


def _about_credentials(problem: BaseException | None) -> bool:
    """Whether an error concerns the credentials, and so every other object as well.

    A plain 403 does not: S3 also refuses single objects, archived ones, and missing ones where
    the bucket may not be listed.
    """
    while problem is not None:
        # s3fs keeps S3's answer in the cause.
        answer = getattr(problem, "response", None)
        error = answer.get("Error") if isinstance(answer, dict) else None
        code = error.get("Code") if isinstance(error, dict) else None
        said = f"{type(problem).__name__} {code} {getattr(problem, 'error_code', None)}"
        if re.search(_CREDENTIAL_ERRORS, said):
            return True
        problem = problem.__cause__
    return False


@contextlib.contextmanager
def _store_errors(path: UPath) -> Iterator[None]:
    """Raises `InputError` for what would fail for every other name as well."""
    try:
        yield
    except (FileNotFoundError, NotADirectoryError):
        raise
    except Exception as problem:
        denied = isinstance(problem, PermissionError) or _about_credentials(problem)
        if isinstance(problem, OSError) and not denied:
            raise
        raise unreachable(path, problem) from problem


def _listed(folder: Place) -> set[str]:
    """The names of the files in one folder, empty if there is no such folder."""
    try:
        if isinstance(folder, Path):
            with os.scandir(folder) as entries:
                return {entry.name for entry in entries if not entry.is_dir()}
        with _store_errors(folder):
            found: list[Any] = folder.fs.ls(folder.path, detail=False)
        return {posixpath.basename(name.rstrip("/")) for name in found}
    except (FileNotFoundError, NotADirectoryError):
        return set()
    except OSError as problem:
        raise InputError(f"{folder}: cannot be read ({reason(problem)})") from problem


def existing(place: Place, names: Iterable[str]) -> set[str]:
    """The names that exist already. Lists each folder once."""
    there: set[str] = set()
    by_folder = sorted(names, key=posixpath.dirname)
    for folder, group in itertools.groupby(by_folder, key=posixpath.dirname):
        listed = _listed(place / folder)
        there.update(name for name in group if posixpath.basename(name) in listed)
    return there


def remove_temporary(place: Place, names: Iterable[str]) -> None:
    """Removes the temporary files that killed processes left beside `names`."""
    for folder in {posixpath.dirname(name) for name in names}:
        for file in filter(files.is_temporary, _listed(place / folder)):
            with contextlib.suppress(OSError):
                (place / folder / file).unlink()


def write(path: Place, content: bytes) -> None:
    """Writes a file, which appears complete or not at all.

    Its folder is created if it is missing. Object stores receive one upload. In other stores a
    temporary file is renamed.

    Raises:
        InputError: the disk is full, or the place or store is not writable.
    """
    if isinstance(path, Path):
        with files.atomic_write(path) as local:
            local.write_bytes(content)
        return
    with _store_errors(path):
        if path.protocol in OBJECT_STORES:
            path.fs.pipe_file(path.path, content)
            return
        part = path.with_name(files.temporary_name(path.name))
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            part.fs.pipe_file(part.path, content)
            if path.exists():  # HDFS, for one, does not rename over a file
                path.unlink()
            path.fs.mv(part.path, path.path)
        except BaseException:
            with contextlib.suppress(Exception):
                part.unlink()
            raise
