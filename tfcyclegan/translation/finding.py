"""Finds pictures: in files, folders, lists of paths, and remote stores.

Lists and stores are not trusted: no name leads out of the output folder.
"""

from __future__ import annotations

import functools
import io
import itertools
import os
import posixpath
import re
from collections.abc import Iterator, Sequence
from fnmatch import fnmatch
from pathlib import Path

from upath import UPath

from ..data.decoding import SUFFIXES
from ..errors import InputError
from .storage import OBJECT_STORES, Place, is_url, open_path, reason, unreachable

#: The suffix of lists: UTF-8 text with one path or URL per line.
LIST = ".txt"

#: Protocols that a list may name besides `file`. Others of fsspec unpack archives, keep copies on
#: disk, or log in at a host that the list chooses (`zip`, `simplecache`, `sftp`, …).
_LISTED = OBJECT_STORES | {"http", "https", "hdfs", "webhdfs", "hf"}

#: Characters of the longest line of a list.
_LONGEST_LINE = 2**16


def list_pictures(
    inputs: Sequence[str | os.PathLike], place: Place, glob: str = ""
) -> dict[str, str]:
    """Finds pictures.

    Args:
        inputs, glob: see `find_pictures`.
        place: from `open_place`. It is not searched.

    Returns:
        The name of each translation, which is its path below the output folder, and the path or
        URL of its picture. Takes about 0.3 KB of memory per picture.

    Raises:
        InputError: see `find_pictures`.
    """
    if not inputs:
        raise InputError("nothing to translate: give pictures, or folders of them")
    # Resolving a folder once for all files in it saves a system call per level and file.
    real = functools.lru_cache(10000)(os.path.realpath)

    def resolved(path: str) -> str:
        folder, name = os.path.split(path)
        return path if is_url(path) else os.path.join(real(folder), name)

    pictures: dict[str, str] = {}
    to = str(place).rstrip("/")
    for source, name in _search(inputs, place, glob):
        target = f"{to}/{name}"
        if resolved(target) == resolved(source):
            raise InputError(f"{source} would be overwritten: give another `to`")
        other = pictures.setdefault(name, source)
        if other != source and resolved(other) != resolved(source):
            raise InputError(
                f"{other} and {source} would both become {target}: translate them to different "
                "folders"
            )
    if not pictures:
        looked = glob or " ".join(SUFFIXES)
        raise InputError(f"no pictures in {', '.join(map(str, inputs))} (looked for {looked})")
    return pictures


def list_entry(source: str, name: str, problem: str) -> str:
    r"""The lines of a list that find a picture again under the same name, below a comment.

    A name with a line break cannot stand in a list, so it is commented out.

    Example:
        ```python
        list_entry("/in/a/b.png", "a/b.png", "damaged") == "# damaged\n/in/./a/b.png\n"
        ```
    """
    source = source if is_url(source) else os.path.abspath(source)
    if source.endswith(f"/{name}"):
        source = f"{source.removesuffix(name)}./{name}"
    comment = "# " if re.search(r"[\r\n]", source) else ""
    lines = [f"# {problem}", comment + source]
    return "".join(re.sub(r"[\r\n]+", " ", line) + "\n" for line in lines)


def _safe(name: str, where: str) -> str:
    """Returns `name` if it stays inside the folder it is joined to."""
    clean = posixpath.normpath(name)
    # Windows also separates names by `\`. What is refused there is refused everywhere.
    leads_out = re.match(r"[A-Za-z]:|[/\\]", name) or ".." in re.split(r"[/\\]", name)
    if leads_out or clean == "." or "\0" in name:
        raise InputError(f"{where}: the name {name!r} leads out of `to`: rename it")
    return clean


def _search(
    inputs: Sequence[str | os.PathLike], place: Place, glob: str
) -> Iterator[tuple[str, str]]:
    """Finds pictures one by one. Yields their sources and names."""
    for given in map(str, inputs):
        given = given.removeprefix("file://")
        if given.lower().endswith(LIST):
            yield from _in_list(given)
        elif is_url(given):
            yield from _in_store(given, place, glob)
        elif os.path.isdir(given):
            yield from _in_folder(Path(given), place, glob)
        elif os.path.isfile(given):
            yield given, os.path.basename(given)
        else:
            raise InputError(f"{given}: there is no such file or folder")


def _wanted(name: str, glob: str) -> bool:
    if glob:
        return fnmatch(name, glob) or fnmatch(posixpath.basename(name), glob)
    return name.lower().endswith(SUFFIXES)


def _in_folder(folder: Path, place: Place, glob: str) -> Iterator[tuple[str, str]]:
    """Searches a folder in the order of names. Follows links and skips hidden files."""

    def unreadable(problem: OSError) -> None:
        raise InputError(f"{problem.filename}: cannot be read ({problem.strerror})") from problem

    # Results inside the folder are not inputs, unless the folder itself is the output folder.
    to = os.path.realpath(place) if isinstance(place, Path) else None
    to = None if to == os.path.realpath(folder) else to
    seen: set[str] = set()
    for top, folders, files in os.walk(folder, onerror=unreadable, followlinks=True):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        real = os.path.realpath(top)
        if real in seen or _below(real, to):
            folders.clear()  # a link to a folder above, or the output folder
            continue
        seen.add(real)
        below = "" if Path(top) == folder else Path(top).relative_to(folder).as_posix() + "/"
        for file in sorted(files):
            name, path = below + file, os.path.join(top, file)
            if file.startswith(".") or not _wanted(name, glob):
                continue
            if not (os.path.islink(path) and _below(os.path.realpath(path), to)):
                yield path, name


def _below(path: str, folder: str | None) -> bool:
    return folder is not None and (path == folder or path.startswith(folder.rstrip("/") + "/"))


def _in_store(url: str, place: Place, glob: str) -> Iterator[tuple[str, str]]:
    """One object, or all objects below a prefix."""
    if re.match("https?://", url):  # the links of a web page are not a folder
        yield url, _safe(posixpath.basename(url.split("?")[0]), url)
        return
    path = open_path(url)
    assert isinstance(path, UPath)
    store, root = path.fs, path.path.rstrip("/")
    to = root
    if isinstance(place, UPath) and place.protocol == path.protocol:
        to = place.path.rstrip("/")
    try:
        if store.isfile(path.path):
            yield url, _safe(posixpath.basename(root), url)
            return
        if not store.isdir(path.path):
            raise InputError(f"{url}: there is no such object, and none below it")
        for _, folders, files in store.walk(path.path, detail=True, on_error="raise"):
            for name in list(folders):
                inner = folders[name]["name"].rstrip("/")
                if name.startswith(".") or (to != root and inner == to):
                    del folders[name]
            for file in sorted(files):
                full = files[file]["name"]
                name = full.removeprefix(root).lstrip("/")
                if not file.startswith(".") and name and _wanted(name, glob):
                    source = store.unstrip_protocol(full).removeprefix("file://")
                    yield source, _safe(name, source)
    except InputError:
        raise
    except Exception as problem:  # each store has its own exceptions
        raise unreachable(url, problem) from problem


def _in_list(path: str) -> Iterator[tuple[str, str]]:
    """The pictures that a list names. Its paths are relative to it.

    As with rsync, what follows `/./` in a line is the name: `horses/./wild/1.jpg` becomes
    `wild/1.jpg`. Without that a relative path is the name, or else the last part.
    """
    remote = is_url(path)
    home = posixpath.dirname(path)
    for number, source in _lines(path):
        where = f"{path}, line {number}"
        source = source.removeprefix("file://")
        # With `::` fsspec opens one URL through another, such as a picture inside an archive.
        if "\0" in source or ("::" in source and (remote or "://" in source or is_url(source))):
            raise InputError(f"{where}: {source!r} is no path and no plain URL")
        before, marker, name = source.rpartition("/./")
        if marker:
            source = f"{before}/{name}"
        if is_url(source):
            protocol, _, rest = source.partition("://")
            if protocol not in _LISTED:
                raise InputError(
                    f"{where}: a list may not name {protocol}:// (only "
                    f"{', '.join(sorted(_LISTED))}): give {source} itself"
                )
            name = name if marker else posixpath.basename(rest.split("?")[0])
            yield source, _safe(name, where)
            continue
        if not marker:
            plain = not os.path.isabs(source) and ".." not in source.split("/")
            name = source if plain else os.path.basename(source)
        source = posixpath.join(home, source) if remote else os.path.join(home, source)
        yield source, _safe(name, where)


def _lines(path: str) -> Iterator[tuple[int, str]]:
    """The numbers and texts of the lines that are neither empty nor comments."""
    opened = open_path(path)
    try:
        raw = opened.open("rb") if isinstance(opened, Path) else opened.fs.open(opened.path, "rb")
    except FileNotFoundError as problem:
        raise InputError(f"{path}: there is no such file or folder") from problem
    except Exception as problem:
        if isinstance(opened, Path):
            raise InputError(f"{path}: cannot be read ({reason(problem)})") from problem
        raise unreachable(path, problem) from problem
    # File names need not be valid UTF-8.
    with io.TextIOWrapper(raw, "utf-8-sig", errors="surrogateescape", newline="") as file:
        for number in itertools.count(1):
            line = file.readline(_LONGEST_LINE + 1)
            if not line:
                return
            if len(line) > _LONGEST_LINE:
                raise InputError(f"{path}, line {number}: longer than a path can be")
            if line.strip() and not line.startswith("#"):
                yield number, line.rstrip("\r\n")
