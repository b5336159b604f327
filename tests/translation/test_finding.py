"""Pictures in folders, lists and stores that are not trusted."""

import os
import tracemalloc
from pathlib import Path

import fsspec
import pytest
from translating import in_folder, refused, save, translate

from tfcyclegan import InputError
from tfcyclegan.translation.finding import list_entry, list_pictures
from tfcyclegan.translation.pipeline import find_pictures
from tfcyclegan.translation.storage import open_place


def names(*inputs, to="out"):
    """The sources and names. `a/./b` is the same path as `a/b`."""
    found = [(job.source, job.name) for job in find_pictures(inputs, to)]
    return [(source.replace("/./", "/"), name) for source, name in found]


def test_which_files_are_taken(model, capsys):
    for name in ("a.png", "sub/b.jpg", "sub/.hidden.png", "out/old.png"):
        save(f"in/{name}")
    Path("in/readme.md").write_text("no picture")
    names = [job.name for job in find_pictures(["in"], "in/out")]
    assert names == ["a.png", "sub/b.jpg"]
    assert [job.name for job in find_pictures(["in"], "x", "*.jpg")] == ["sub/b.jpg"]
    assert [job.name for job in find_pictures(["in/readme.md"], "x")] == ["readme.md"]
    refused(capsys, "nowhere: there is no such", "nowhere", "--model", model, "--to", "x")
    refused(capsys, "no pictures in in", "in", "--glob", "*.tif", "--model", model, "--to", "x")


def test_links_are_followed_once():
    save("in/a.png")
    save("elsewhere/b.png")
    Path("in/link").symlink_to(Path("elsewhere").resolve())
    Path("in/round").symlink_to(Path("in").resolve())
    assert [job.name for job in find_pictures(["in"], "out")] == ["a.png", "link/b.png"]


def test_lists_of_pictures():
    """A relative path is the name, or what follows `/./`, or else the last part."""
    Path("lists").mkdir()
    Path("lists/a.txt").write_text(
        "\ufeff# a comment\n\n2024/one.png\r\n./#2.png\n/up/two.png\n/x/./deep/3.jpg\n"
        "s3://bucket/b/c.png\ns3://bucket/b/./x/d.png\n",
        encoding="utf-8",
    )
    assert names("lists/a.txt") == [
        ("lists/2024/one.png", "2024/one.png"),
        ("lists/#2.png", "#2.png"),
        ("/up/two.png", "two.png"),
        ("/x/deep/3.jpg", "deep/3.jpg"),
        ("s3://bucket/b/c.png", "c.png"),
        ("s3://bucket/b/x/d.png", "x/d.png"),
    ]
    # File names need not be valid UTF-8.
    Path("b.txt").write_bytes(b"caf\xe9.png\n")
    assert names("b.txt") == [(os.fsdecode(b"caf\xe9.png"),) * 2]


def test_list_entry():
    """It names a picture so that a list finds it again, and no line injects another picture."""
    odd = os.fsdecode(b"caf\xe9.png")
    failed = [("in/a/x.png", "a/x.png"), ("in/b/x.png", "b/x.png"), (f"in/{odd}", odd),
              ("s3://bucket/in/c/d.png", "c/d.png")]  # fmt: skip
    entries = [list_entry(*picture, f"{picture[0]}:\n/etc/g.png") for picture in failed]
    entries += [list_entry("in/e\n/etc/f.png", "e\n/etc/f.png", "cannot be read")]
    Path("list.txt").write_text("".join(entries), "utf-8", "surrogateescape")
    assert names("list.txt", to="again") == [
        (source if "://" in source else os.path.abspath(source), name) for source, name in failed
    ]


def test_a_list_on_the_command_line(model, capsys):
    for name in ("a.png", "deep/b.png"):
        save(name)
    Path("list.txt").write_text("a.png\ndeep/b.png\ngone.png\n")
    assert translate("list.txt", "--model", model, "--to", "out") == 1
    assert "left out: gone.png: cannot be read (No such file" in capsys.readouterr().out
    assert set(in_folder("out")) == {"a.png", "deep/b.png"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("in/./../b.png\n", "leads out of"),
        ("in/./x/../../b.png\n", "leads out of"),
        ("in/.//etc/b.png\n", "leads out of"),
        ("in/./.\n", "leads out of"),
        ("s3://bucket/..\n", "a.txt, line 1: the name '..' leads out of"),
        ("s3://bucket/./../x.png\n", "leads out of"),
        ("a/./\n", "leads out of"),
        ("a\0.png\n", "a.txt, line 1: 'a\\x00.png' is no path"),
        ("in/./..\\b.png\n", "leads out of"),
        ("in/./x\\..\\..\\b.png\n", "leads out of"),
        ("in/./\\b.png\n", "leads out of"),
        ("in/./C:b.png\n", "leads out of"),
        ("simplecache::s3://bucket/a.png\n", "is no path and no plain URL"),
        ("zip://a.png::file:///x/b.zip\n", "is no path and no plain URL"),
        ("s3://bucket/a.png::zip://b.png\n", "is no path and no plain URL"),
        ("x y/a.png::file:///b.png\n", "is no path and no plain URL"),
        ("zip://a.png\n", "a.txt, line 1: a list may not name zip:// (only abfs, "),
        ("local:///dev/zero\n", "a list may not name local://"),
        ("sftp://host/a.png\n", "a list may not name sftp://"),
        ("a.png\nx/a.png\n./a.png\n../a.png\n", "would both become out/a.png"),
        ("a" * 70000, "a.txt, line 1: longer than a path can be"),
        ("# nothing\n", "no pictures in a.txt"),
    ],
)  # fmt: skip
def test_lists_are_not_trusted(text, message):
    Path("a.txt").write_text(text)
    with pytest.raises(InputError) as caught:
        find_pictures(["a.txt"], "out")
    assert message in str(caught.value)


@pytest.mark.parametrize("engine", ["local", "ray"])
def test_bad_lists_stop_the_command(engine, model, capsys):
    """Before anything is written, and before Ray starts."""
    save("a.png")
    Path("a.txt").write_text("a.png\nin/./../b.png\n")
    arguments = ("a.txt", "--model", model, "--to", "out", "--engine", engine)
    refused(capsys, "a.txt, line 2: the name '../b.png' leads out of --to", *arguments)
    assert not Path("out").exists()


def test_a_list_in_a_store_names_its_store_alone(model, capsys):
    """Joined to the address of the list, a path becomes a URL."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/box/list.txt", b"a b::zip://c.png\n")
    refused(capsys, "is no path and no plain URL", "memory://box/list.txt", "--model", model,
            "--to", "out")  # fmt: skip


def test_keys_of_a_store_do_not_lead_out(model, capsys, monkeypatch):
    """A store may say anything."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/box/in/a.png", save("a.png"))
    told = {"b.png": {"name": "/box/in/../../b.png", "size": 10}}
    monkeypatch.setattr(type(store), "walk", lambda *_, **__: [("/box/in", {}, told)])
    refused(capsys, "leads out of", "memory://box/in", "--model", model, "--to", "x/y")


def test_names_fit_into_memory():
    """A million names in a list take about 0.3 GB."""
    count = 20000
    with open("list.txt", "w") as file:
        for index in range(count):
            file.write(f"2024/08/{index % 100:03d}/picture-{index:09d}.jpg\n")
    tracemalloc.start()
    pictures = list_pictures(["list.txt"], open_place("out"))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(pictures) == count
    assert kept / count < 320
    assert peak / count < 450
