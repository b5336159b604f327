"""Atomic writes."""

import errno
import os

import pytest

from tfcyclegan import InputError
from tfcyclegan.files import (
    atomic_write,
    is_temporary,
    sync_folder,
    temporary_name,
    write_text,
)


def test_a_file_appears_complete_or_not_at_all(tmp_path):
    path = tmp_path / "deep/a.txt"
    with atomic_write(path) as part:
        part.write_text("one")
        assert is_temporary(part.name)
        assert part.suffix == ".txt"
        assert not path.exists()
    assert path.read_text() == "one"
    with pytest.raises(FileNotFoundError), atomic_write(path) as part:
        part.with_name("none").read_text()
    assert path.read_text() == "one"
    write_text(path, "zwölf")
    assert path.read_text(encoding="utf-8") == "zwölf"
    assert os.listdir(path.parent) == ["a.txt"]


@pytest.mark.parametrize(
    ("code", "message"),
    [(errno.ENOSPC, "the disk is full: make room"), (errno.EROFS, "not writable")],
)
def test_a_full_or_read_only_disk_is_one_line(code, message, tmp_path):
    with pytest.raises(InputError, match=f"a.txt: {message}"), atomic_write(tmp_path / "a.txt"):
        raise OSError(code, "words")
    assert os.listdir(tmp_path) == []


def test_temporary_names():
    """They are unique and short, and other names are not taken for temporary."""
    names = {temporary_name("a" * 250 + ".png") for _ in range(100)}
    assert len(names) == 100
    assert all(is_temporary(name) and len(name) < 150 and name[0] == "." for name in names)
    for name in (
        "a.png",
        ".a.png",
        "a.part-tfcyclegan-0123abcd.png",
        ".a.part-tfcyclegan-0123.png",
    ):
        assert not is_temporary(name)


def test_a_folder_is_synced(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c.txt").touch()
    synced, opened = [], os.open
    monkeypatch.setattr(os, "open", lambda path, flags: synced.append(path) or opened(path, flags))
    sync_folder(tmp_path / "a")
    assert set(synced) == {tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/c.txt"}
