"""Where pictures lie and where they go: folders, lists of them, and whatever fsspec opens.

What a list or a store says is not trusted: no name leads out of the place to write to.
"""

from __future__ import annotations

import contextlib
import csv
import functools
import io
import itertools
import json
import os
import posixpath
import re
import stat
import tempfile
from array import array
from collections.abc import Iterable, Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO, Any, NamedTuple

from ..data.decoding import SUFFIXES
from ..errors import InputError, first_line
from ..files import atomic_write, is_left_behind, temporary_name

#: Endings of lists of pictures.
MANIFESTS = (".txt", ".csv", ".jsonl")

#: Stores in which an upload appears whole by itself, and whose folders need not be made.
_OBJECT_STORES = {
    "s3", "s3a", "gs", "gcs", "abfs", "abfss", "az", "oss", "oci", "tos", "memory",
}  # fmt: skip

#: Protocols that a list may name besides `file`. fsspec's others unpack archives, keep copies on
#: the disk, or log in at a host that the list chooses (`zip`, `simplecache`, `sftp`, …).
_LISTED = _OBJECT_STORES | {"http", "https", "hdfs", "webhdfs", "hf"}

#: What S3 and Azure call it when something is wrong with who asks: the next object fails as well.
_ABOUT_CREDENTIALS = {
    "AccountProblem", "AuthenticationFailed", "ExpiredToken", "ExpiredTokenException",
    "InvalidAccessKeyId", "InvalidSecurity", "InvalidToken", "NotSignedUp",
    "RequestTimeTooSkewed", "SignatureDoesNotMatch", "TokenRefreshRequired",
}  # fmt: skip

#: Characters of the longest line of a list, and bytes of the largest file that is read as a
#: picture: more than Pillow's limit of pixels can take.
_LONGEST_LINE = 2**16
_LARGEST_FILE = 2**30


class Found(NamedTuple):
    """A picture that was found.

    Attributes:
        source: its path or URL.
        name: its place below the folder of the translations, with slashes.
        size: bytes, where the listing says so, else 0.
    """

    source: str
    name: str
    size: int = 0


def is_url(text: str) -> bool:
    """Whether that is a URL, and not a path."""
    return re.match(r"[A-Za-z][A-Za-z0-9+.-]+(::|://)", text) is not None


def read(source: str | os.PathLike) -> bytes:
    """A picture file's bytes.

    Raises:
        OSError: it cannot be read.
        InputError: its store does not know who asks, or cannot be opened.
    """
    text = os.fspath(source)
    if not is_url(text):
        with open(text, "rb", opener=_without_waiting) as file:
            about = os.fstat(file.fileno())
            if not stat.S_ISREG(about.st_mode):  # a list may name a pipe or an endless device
                raise OSError(0, "not a regular file")
            if about.st_size > _LARGEST_FILE:
                raise OSError(0, f"{about.st_size} bytes are too many for a picture")
            return file.read()
    store, path = _store(text)
    try:
        if re.match("https?://", text):
            content = _streamed(store, path)
        else:
            # Not `open`: that asks for the size first, and then S3 does not say why it refuses.
            content = store.cat_file(path, start=0, end=_LARGEST_FILE + 1)
    except Exception as problem:  # each kind of store has errors of its own
        if _about_credentials(problem):
            raise _unreachable(text, problem) from problem
        raise OSError(0, _said(problem)) from problem
    if len(content) > _LARGEST_FILE:
        raise OSError(0, f"more than {_LARGEST_FILE} bytes are too many for a picture")
    return content


def _streamed(store: Any, url: str) -> bytes:
    """One byte more than the largest file has, at most, whatever a web server sends.

    It may send all when it is asked for a part, and far more than it says once unpacked.
    """
    content = io.BytesIO()
    # A block of no size means a stream; with some size fsspec does not ask the server for it.
    with store.open(url, "rb", block_size=0, size=1) as file:
        while part := file.read(_LARGEST_FILE + 1 - content.tell()):
            content.write(part)
    return content.getvalue()


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def _said(problem: BaseException) -> str:
    if isinstance(problem, FileNotFoundError):
        return "No such file or directory"
    return getattr(problem, "strerror", None) or first_line(problem)


def _about_credentials(problem: BaseException | None) -> bool:
    """Whether it is about who asks and not about what is asked for.

    A refusal alone is not: S3 refuses single objects, those in its archive, and with no right to
    list a bucket also those that are not there.
    """
    while problem is not None:
        # botocore's, Google's and Azure's classes; s3fs keeps the server's own word behind its.
        if re.search("redential|SSOToken|TokenRetrieval|RefreshError", type(problem).__name__):
            return True
        answer = getattr(problem, "response", None)
        error = answer.get("Error") if isinstance(answer, dict) else None
        code = error.get("Code") if isinstance(error, dict) else None
        if {code, str(getattr(problem, "error_code", None))} & _ABOUT_CREDENTIALS:
            return True
        problem = problem.__cause__
    return False


def _unreachable(url: str, problem: BaseException) -> InputError:
    return InputError(
        f"{url}: cannot be reached ({_said(problem)}): check the address and the credentials"
    )


def _store(url: str) -> tuple[Any, str]:
    """fsspec's file system for a URL, and the path in it.

    Raises:
        InputError: no such protocol, or its package is not there.
    """
    import fsspec

    protocol = re.split("::|://", url, maxsplit=1)[0]
    try:
        # A cache of listings would hold millions of names, and old ones.
        return fsspec.core.url_to_fs(url, use_listings_cache=False)
    except ImportError as problem:
        said = str(problem).removesuffix(".")
        raise InputError(f"{url}: {protocol}:// needs another package ({said})") from problem
    except Exception as problem:
        raise _unreachable(url, problem) from problem


def _safe(name: str, where: str) -> str:
    """A name with which nothing is written outside of the folder it is joined to.

    Raises:
        InputError: it leads out.
    """
    path = PurePosixPath(name)
    # On Windows `\` divides names as well. What is refused there is refused everywhere.
    other = PureWindowsPath(name)
    leads_out = path.is_absolute() or other.root or re.match("[A-Za-z]:", name)
    if leads_out or ".." in (*path.parts, *other.parts) or not path.parts or "\0" in name:
        raise InputError(f"{where}: the name {name!r} leads out of --to: give another")
    return str(path)


def search(
    inputs: Sequence[str | os.PathLike], to: str | os.PathLike, glob: str = ""
) -> Iterator[Found]:
    """Finds pictures, one after another.

    Args:
        inputs: files, folders, lists of pictures, and URLs of them.
        to: where the translations go; what lies in it is not searched.
        glob: see `find_pictures`.

    Raises:
        InputError: an input that is not there, a list that is not one.
    """
    to = os.fspath(to)
    for given in map(os.fspath, inputs):
        given = given.removeprefix("file://")
        if given.lower().endswith(MANIFESTS):
            yield from _listed(given)
        elif is_url(given):
            yield from _stored(given, to, glob)
        elif os.path.isdir(given):
            yield from _files(Path(given), None if is_url(to) else os.path.realpath(to), glob)
        elif os.path.isfile(given):
            yield Found(given, os.path.basename(given), os.path.getsize(given))
        else:
            raise InputError(f"{given}: there is no such file or folder")


def _wanted(name: str, glob: str) -> bool:
    if glob:
        return fnmatch(name, glob) or fnmatch(posixpath.basename(name), glob)
    return name.lower().endswith(SUFFIXES)


def _files(folder: Path, to: str | None, glob: str) -> Iterator[Found]:
    """Files below a folder in the order of their names, links followed, hidden ones not."""

    def unreadable(problem: OSError) -> None:
        raise InputError(f"{problem.filename}: cannot be read ({problem.strerror})") from problem

    inside = to != os.path.realpath(folder)
    seen = set()
    for top, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(top)
        if real in seen or (inside and to is not None and _below(real, to)):
            folders.clear()  # a link that leads back, or what was written earlier
            continue
        seen.add(real)
        below = "" if Path(top) == folder else Path(top).relative_to(folder).as_posix() + "/"
        for file in sorted(files):
            name = below + file
            if file.startswith(".") or not _wanted(name, glob):
                continue
            path = os.path.join(top, file)
            linked = inside and to is not None and os.path.islink(path)
            if linked and _below(os.path.realpath(path), to):
                continue
            size = 0
            with contextlib.suppress(OSError):  # a link that leads nowhere: told when it is read
                size = os.path.getsize(path)
            yield Found(path, name, size)


def _below(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip(os.sep) + os.sep)


def _stored(url: str, to: str, glob: str) -> Iterator[Found]:
    """An object, or all that lie below a prefix, folder after folder."""
    if re.match("https?://", url):  # a page's links are no folder
        yield Found(url, _safe(posixpath.basename(url.split("?")[0]), url))
        return
    store, path = _store(url)
    target = _store(to)[1].rstrip("/") if is_url(to) and _same_store(url, to) else None
    try:
        if store.isfile(path):
            yield Found(url, _safe(posixpath.basename(path), url), store.info(path)["size"] or 0)
            return
        if not store.isdir(path):
            raise InputError(f"{url}: there is no such object, and none below it")
        root = path.rstrip("/")
        for _, folders, files in store.walk(path, detail=True, on_error="raise"):
            for name in list(folders):
                inner = folders[name]["name"].rstrip("/")
                if name.startswith(".") or (target not in (None, root) and inner == target):
                    del folders[name]
            for file in sorted(files):
                full = files[file]["name"]
                name = full.removeprefix(root).lstrip("/")
                if not file.startswith(".") and name and _wanted(name, glob):
                    source = store.unstrip_protocol(full)
                    yield Found(source, _safe(name, source), files[file].get("size") or 0)
    except InputError:
        raise
    except Exception as problem:  # each kind of store has errors of its own
        raise _unreachable(url, problem) from problem


def _same_store(one: str, other: str) -> bool:
    return one.split("://")[0] == other.split("://")[0]


def _listed(manifest: str) -> Iterator[Found]:
    """What a list names; paths are relative to it."""
    url = is_url(manifest)
    home = posixpath.dirname(manifest) if url else os.path.dirname(manifest)
    try:
        if url:
            store, path = _store(manifest)
            raw = store.open(path, "rb")
        else:
            raw = open(manifest, "rb")  # noqa: SIM115 (closed below)
    except FileNotFoundError as problem:
        raise InputError(f"{manifest}: there is no such file or folder") from problem
    except InputError:
        raise
    except Exception as problem:
        if url:
            raise _unreachable(manifest, problem) from problem
        raise InputError(f"{manifest}: cannot be read ({_said(problem)})") from problem
    with io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, source, target in _entries(manifest, file):
            where = f"{manifest}, line {number}"
            source = source.removeprefix("file://")
            # With `::` fsspec opens one URL by another, an archive's picture by the archive's.
            if "\0" in source or ("::" in source and (url or "://" in source or is_url(source))):
                raise InputError(f"{where}: {source!r} is no path and no plain URL")
            if is_url(source):
                protocol = source.split("://")[0]
                if protocol not in _LISTED:
                    raise InputError(
                        f"{where}: a list may not name {protocol}:// (only "
                        f"{', '.join(sorted(_LISTED))}): give {source} itself"
                    )
                found, own = source, posixpath.basename(source.split("://")[1].split("?")[0])
            else:
                found = posixpath.join(home, source) if url else os.path.join(home, source)
                plain = not os.path.isabs(source) and ".." not in Path(source).parts
                own = Path(source).as_posix() if plain else os.path.basename(source)
            yield Found(found, _safe(own if target is None else target, where))


def _entries(manifest: str, file: IO[str]) -> Iterator[tuple[int, str, str | None]]:
    """Line number, source and target of every entry."""
    lines = _lines(manifest, file)
    if manifest.lower().endswith(".csv"):
        rows = csv.reader((line for _, line in lines), strict=True)
        try:
            header = next(rows, [])
            if "input" not in header:
                raise InputError(
                    f"{manifest}: its first line names no column `input` (and, if you want, "
                    "`target`)"
                )
            for row in rows:
                entry = dict(zip(header, row, strict=False))
                if row and not entry.get("input"):
                    raise InputError(f"{manifest}, line {rows.line_num}: no input in it")
                if row:
                    yield rows.line_num, entry["input"], entry.get("target") or None
        except csv.Error as problem:
            raise InputError(f"{manifest}, line {rows.line_num}: {problem}") from problem
        return
    for number, line in lines:
        text = line.rstrip("\r\n")
        if manifest.lower().endswith(".txt"):
            if text.strip() and not text.startswith("#"):
                yield number, text, None
            continue
        if not text.strip():
            continue
        try:
            entry = json.loads(text)
            if "summary" in entry and "input" not in entry:
                continue  # a report of failed pictures is a list of them
            source, target = entry["input"], entry.get("target")
            if not source or not isinstance(source, str) or not isinstance(target, str | None):
                raise TypeError
        except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as problem:
            raise InputError(
                f'{manifest}, line {number}: not {{"input": PATH}} or '
                '{"input": PATH, "target": NAME}'
            ) from problem
        yield number, source, target


def _lines(manifest: str, file: IO[str]) -> Iterator[tuple[int, str]]:
    for number in itertools.count(1):
        line = file.readline(_LONGEST_LINE + 1)
        if not line:
            return
        if len(line) > _LONGEST_LINE:
            raise InputError(f"{manifest}, line {number}: longer than a path can be")
        yield number, line


class Listing:
    """The pictures of a run: what is read, and the name it gets.

    Millions of them are to fit into memory, so that names are kept once, and folders once for
    all that is in them: about 300 bytes a picture.
    """

    def __init__(self, inputs: Sequence[str | os.PathLike], place: Folder | Store, glob: str = ""):
        """Searches; see `find_pictures`."""
        if not inputs:
            raise InputError("nothing to translate: give pictures, or folders of them")
        self._places: dict[str, str] = {}
        self._sizes = array("Q")
        folders: dict[str, str] = {}
        real = functools.lru_cache(10000)(os.path.realpath)

        def resolved(path: str) -> str:
            # The folder's name once for all files in it: each takes a system call a level.
            return os.path.join(real(os.path.dirname(path)), os.path.basename(path))

        for found in search(inputs, str(place), glob):
            source, name = found.source, found.name
            local = not is_url(source)
            if place.is_same(name, resolved(source) if local else source, resolved):
                raise InputError(f"--to {place}: {source} would be overwritten: give another --to")
            if (before := self._places.get(name)) is not None:
                other = _joined(before, name)
                if other == source or (local and not is_url(other) and real(other) == real(source)):
                    continue
                raise InputError(
                    f"{other} and {source} would both become {place.target(name)}: translate "
                    "them to folders of their own"
                )
            if source.endswith(name):
                folder = source[: len(source) - len(name)]
                self._places[name] = folders.setdefault(folder, folder)
            else:
                self._places[name] = "\0" + source
            self._sizes.append(found.size)
        if not self._places:
            looked = glob or " ".join(SUFFIXES)
            raise InputError(f"no pictures in {', '.join(map(str, inputs))} (looked for {looked})")

    def __len__(self) -> int:
        return len(self._places)

    def __iter__(self) -> Iterator[Found]:
        for (name, folder), size in zip(self._places.items(), self._sizes, strict=True):
            yield Found(_joined(folder, name), name, size)

    def names(self) -> Iterable[str]:
        """All names, without the pictures."""
        return self._places.keys()

    def leave_out(self, names: set[str]) -> None:
        """Forgets pictures."""
        keep = [name not in names for name in self._places]
        self._sizes = array("Q", itertools.compress(self._sizes, keep))
        for name in names:
            self._places.pop(name, None)


def _joined(folder: str, name: str) -> str:
    return folder[1:] if folder.startswith("\0") else folder + name


def existing(place: Folder | Store, names: Iterable[str]) -> set[str]:
    """Which of the names are there already, by one listing of each folder they are in."""
    there = set()
    in_folders = sorted(names, key=posixpath.dirname)
    for folder, group in itertools.groupby(in_folders, key=posixpath.dirname):
        listed = place.listed(folder)
        there.update(name for name in group if posixpath.basename(name) in listed)
    return there


def tidy(place: Folder | Store, names: Iterable[str], ended: str | None = None) -> None:
    """Removes what killed processes left half-written beside the names; see `is_left_behind`."""
    for folder in {posixpath.dirname(name) for name in names}:
        for file in place.listed(folder):
            if is_left_behind(file, ended):
                place.remove(posixpath.join(folder, file))


def open_place(to: str | os.PathLike) -> Folder | Store:
    """Where translations go: a folder, or a URL that fsspec opens."""
    text = os.fspath(to).removeprefix("file://")
    return Store(text) if is_url(text) else Folder(Path(text))


class Folder:
    """A folder to write to."""

    def __init__(self, path: Path):
        self.path = self.scratch = path

    def __str__(self) -> str:
        return str(self.path)

    def target(self, name: str) -> Path:
        """What to call a picture in it."""
        return self.path / name

    def is_same(self, name: str, source: str, resolved: Any) -> bool:
        """Whether writing the name would overwrite the source (its path, resolved)."""
        return not is_url(source) and resolved(os.path.join(self.path, name)) == source

    def make(self) -> None:
        """Makes the folder where it is missing."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as problem:
            raise InputError(
                f"--to {self}: cannot be made ({problem.strerror}): choose another"
            ) from problem

    def exists(self, name: str) -> bool:
        """Whether there is a file of that name."""
        return self.target(name).is_file()

    def listed(self, folder: str) -> set[str]:
        """The names of the files in one folder of it."""
        try:
            with os.scandir(self.path / folder) as entries:
                return {entry.name for entry in entries if not entry.is_dir()}
        except (FileNotFoundError, NotADirectoryError):
            return set()
        except OSError as problem:
            raise InputError(
                f"--to {problem.filename}: cannot be read ({problem.strerror})"
            ) from problem

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(OSError):
            self.target(name).unlink()

    def atomic_write(self, name: str) -> contextlib.AbstractContextManager[Path | IO[bytes]]:
        """See `files.atomic_write`."""
        return atomic_write(self.target(name))


class Store:
    """A URL to write to, such as `s3://bucket/folder`."""

    def __init__(self, url: str):
        self.url = url.rstrip("/")
        self.scratch = Path(tempfile.gettempdir())
        if re.match("https?://", url) or "::" in url:
            raise InputError(f"--to {url}: cannot be written to: give a folder or a store's URL")
        self._files, self._path = _store(self.url)
        protocols = self._files.protocol
        known = {protocols} if isinstance(protocols, str) else set(protocols)
        self._whole_by_itself = bool(known & _OBJECT_STORES)

    def __str__(self) -> str:
        return self.url

    def target(self, name: str) -> str:
        """What to call a picture in it."""
        return f"{self.url}/{name}"

    def is_same(self, name: str, source: str, resolved: Any) -> bool:
        """Whether writing the name would overwrite the source."""
        return is_url(source) and self.target(name) == source

    def make(self) -> None:
        """Nothing: stores have no folders, and others are made with the first file in them."""

    def exists(self, name: str) -> bool:
        """Whether there is an object of that name."""
        with self._understood():
            return self._files.exists(f"{self._path}/{name}")

    def listed(self, folder: str) -> set[str]:
        """The names of the objects in one folder of it."""
        path = f"{self._path}/{folder}".rstrip("/")
        with self._understood():
            try:
                found = self._files.ls(path, detail=False)
            except (FileNotFoundError, NotADirectoryError):
                return set()
        return {posixpath.basename(name.rstrip("/")) for name in found}

    def remove(self, name: str) -> None:
        """Removes a file, if it is there."""
        with contextlib.suppress(OSError):
            self._files.rm_file(f"{self._path}/{name}")

    @contextlib.contextmanager
    def atomic_write(self, name: str) -> Iterator[IO[bytes]]:
        """Gives a file in memory to write to, which goes into the store when all went well.

        Raises:
            InputError: the store does not let us.
        """
        content = io.BytesIO()
        yield content
        path = f"{self._path}/{name}"
        with self._understood():
            if self._whole_by_itself:
                self._files.pipe_file(path, content.getvalue())
                return
            folder, last = posixpath.split(path)
            part = posixpath.join(folder, temporary_name(last))
            self._files.makedirs(folder, exist_ok=True)
            try:
                self._files.pipe_file(part, content.getvalue())
                self._move(part, path)
            except BaseException:
                with contextlib.suppress(Exception):
                    self._files.rm_file(part)
                raise

    def _move(self, part: str, path: str) -> None:
        """Renames a file, also in stores that do not do so over another (HDFS is one)."""
        try:
            self._files.mv(part, path)
            if not self._files.exists(part):  # WebHDFS says nothing when it refuses
                return
        except Exception:
            if not (self._files.exists(part) and self._files.exists(path)):
                raise
        # What a worker that is gone had finished, when its batch is done again.
        self._files.rm_file(path)
        self._files.mv(part, path)

    @contextlib.contextmanager
    def _understood(self) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise
        except Exception as problem:
            # Whoever may not write one name may write none of them.
            denied = isinstance(problem, PermissionError) or _about_credentials(problem)
            if isinstance(problem, OSError) and not denied:
                raise
            raise _unreachable(f"--to {self.url}", problem) from problem
