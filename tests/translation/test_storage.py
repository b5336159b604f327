"""Finding, reading and writing pictures in folders, lists and stores that are not trusted."""

import functools
import gzip
import os
import sys
import threading
import tracemalloc
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import numpy as np
import pytest
import s3fs
from fsspec.implementations.memory import MemoryFileSystem
from PIL import Image

from tfcyclegan import InputError, files, resnet_generator
from tfcyclegan.cli import main
from tfcyclegan.translation import on_ray, storage
from tfcyclegan.translation.finding import Found, Listing
from tfcyclegan.translation.pipeline import find_pictures
from tfcyclegan.translation.report import REPORT, Report
from tfcyclegan.translation.storage import atomic_write, existing, open_place, remove_temporary


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "G.keras"
    resnet_generator(16, filters=2, blocks=1).save(path)
    return path


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder, and the store in memory is empty too."""
    monkeypatch.chdir(tmp_path)
    fsspec.filesystem("memory").store.clear()


def save(path, seed=0, size=(12, 9)):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return Path(path).read_bytes()


def translate(*arguments):
    return main(["translate", *map(str, arguments)])


def refused(capsys, message, *arguments):
    """The command exits with 2 and prints one line that contains the message."""
    assert translate(*arguments) == 2
    error = capsys.readouterr().err
    assert message in error, error
    assert error.count("\n") == 1


def in_folder(folder):
    top = Path(folder)
    return {
        p.relative_to(top).as_posix(): p.read_bytes() for p in top.rglob("*") if p.is_file()
    }  # fmt: skip


def names(*inputs, to="out"):
    """The sources and names. `a/./b` is the same path as `a/b`."""
    found = [(job.source, job.name) for job in find_pictures(inputs, to)]
    return [(source.replace("/./", "/"), name) for source, name in found]


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


def test_the_report_is_a_list():
    """It names what failed, under the same names, and no line injects another picture."""
    report = Report()
    odd = os.fsdecode(b"caf\xe9.png")
    failed = [Found("in/a/x.png", "a/x.png"), Found("in/b/x.png", "b/x.png"),
              Found(f"in/{odd}", odd), Found("s3://bucket/in/c/d.png", "c/d.png")]  # fmt: skip
    for picture in failed:
        report.add(picture, f"{picture.source}: cannot be read")
    report.add(Found("in/e\n/etc/f.png", "e\n/etc/f.png"), "in/e\n/etc/f.png: cannot be read")
    Path("out").mkdir()
    report.publish(open_place("out"), "done:\n/etc/g.png")
    assert names(f"out/{REPORT}", to="again") == [
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
    ("name", "text", "message"),
    [
        ("a.txt", "in/./../b.png\n", "leads out of"),
        ("a.txt", "in/./x/../../b.png\n", "leads out of"),
        ("a.txt", "in/.//etc/b.png\n", "leads out of"),
        ("a.txt", "in/./.\n", "leads out of"),
        ("a.txt", "s3://bucket/..\n", "a.txt, line 1: the name '..' leads out of"),
        ("a.txt", "s3://bucket/./../x.png\n", "leads out of"),
        ("a.txt", "a/./\n", "leads out of"),
        ("a.txt", "a\0.png\n", "a.txt, line 1: 'a\\x00.png' is no path"),
        ("a.txt", "in/./..\\b.png\n", "leads out of"),
        ("a.txt", "in/./x\\..\\..\\b.png\n", "leads out of"),
        ("a.txt", "in/./\\b.png\n", "leads out of"),
        ("a.txt", "in/./C:b.png\n", "leads out of"),
        ("a.txt", "simplecache::s3://bucket/a.png\n", "is no path and no plain URL"),
        ("a.txt", "zip://a.png::file:///x/b.zip\n", "is no path and no plain URL"),
        ("a.txt", "s3://bucket/a.png::zip://b.png\n", "is no path and no plain URL"),
        ("a.txt", "x y/a.png::file:///b.png\n", "is no path and no plain URL"),
        ("a.txt", "zip://a.png\n", "a.txt, line 1: a list may not name zip:// (only abfs, "),
        ("a.txt", "local:///dev/zero\n", "a list may not name local://"),
        ("a.txt", "sftp://host/a.png\n", "a list may not name sftp://"),
        ("a.txt", "a.png\nx/a.png\n./a.png\n../a.png\n", "would both become out/a.png"),
        ("a.txt", "a" * 70000, "a.txt, line 1: longer than a path can be"),
        ("a.txt", "# nothing\n", "no pictures in a.txt"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("engine", ["local", "ray"])
def test_lists_are_not_trusted(name, text, message, engine, model, capsys):
    """Before anything is written, and before Ray starts."""
    save("a.png")
    Path(name).write_text(text)
    refused(capsys, message, name, "--model", model, "--to", "out", "--engine", engine)
    assert not Path("out").exists()


def test_what_is_no_file_does_not_hang(model, capsys):
    """A list may name an endless device, a pipe without a writer, or a folder."""
    os.mkfifo("pipe.png")
    Path("folder.png").mkdir()
    save("a.png")
    Path("list.txt").write_text("/dev/zero\nfile:///dev/tty0\npipe.png\nfolder.png\na.png\n")
    assert translate("list.txt", "--model", model, "--to", "out") == 1
    printed = capsys.readouterr().out
    for name in ("/dev/zero", "/dev/tty0", "pipe.png", "folder.png"):
        assert f"left out: {name}: cannot be read (" in printed
    assert set(in_folder("out")) == {"a.png"}


def test_a_list_in_a_store_names_its_store_alone(model, capsys):
    """Joined to the address of the list, a path becomes a URL."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/box/list.txt", b"a b::zip://c.png\n")
    refused(capsys, "is no path and no plain URL", "memory://box/list.txt", "--model", model,
            "--to", "out")  # fmt: skip


def test_what_is_too_large_for_a_picture(s3, model, capsys, monkeypatch):
    """At most the size limit is read from any store."""
    content = save("in/a.png")
    limit = len(content)
    large = bytes(1000 * limit)
    monkeypatch.setattr(storage, "_LARGEST_FILE", limit)
    for name, data in {"a.png": content, "large.png": large}.items():
        fsspec.filesystem("memory").pipe_file(f"/box/{name}", data)
        s3.put_object(Bucket="pictures", Key=f"box/{name}", Body=data)
    taken = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            """Sends everything, compressed, whatever range was requested."""
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(content if "a.png" in self.path else large))

    streamed = storage._read_stream
    monkeypatch.setattr(storage, "_read_stream", lambda *a: taken.append(streamed(*a)) or taken[-1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}"
        for home in ("memory://box", "s3://pictures/box", web):
            assert storage.read(f"{home}/a.png") == content
            with pytest.raises(OSError, match=f"more than {limit} bytes are too many"):
                storage.read(f"{home}/large.png")
        server.shutdown()
    assert [len(data) for data in taken] == [limit, limit + 1]
    store, asked = fsspec.filesystem("memory"), []
    whole = type(store).cat_file

    def cat_file(self, path, **part):
        asked.append(part)
        return whole(self, path, **part)

    monkeypatch.setattr(type(store), "cat_file", cat_file)
    assert translate("memory://box", "--model", model, "--to", "out") == 1
    assert "large.png: cannot be read (more than" in capsys.readouterr().out
    assert set(in_folder("out")) == {"a.png"}
    assert asked == [{"start": 0, "end": limit + 1}] * 2


def test_a_store(model, capsys):
    """URLs work like folders, for input and output."""
    store = fsspec.filesystem("memory")
    for index, name in enumerate(("a.png", "deep/b.png", "deep/.hidden.png", "out/d.png")):
        store.pipe_file(f"/box/in/{name}", save(f"in/{name}", index))
    Path("in/out/d.png").unlink()
    common = ("--model", model)
    assert translate("in", *common, "--to", "out") == 0
    assert translate("memory://box/in", *common, "--to", "memory://box/in/out", "--glob", "*b.png",
                     "--skip-existing") == 0  # fmt: skip
    assert store.cat_file("/box/in/out/deep/b.png") == Path("out/deep/b.png").read_bytes()
    store.rm("/box/in/out", recursive=True)
    assert translate("memory://box/in", *common, "--to", "memory://box/in/out") == 0
    expected = in_folder("out")
    assert set(expected) == {"a.png", "deep/b.png"}
    for name, content in expected.items():
        assert store.cat_file(f"/box/in/out/{name}") == content
    assert translate("memory://box/in", *common, "--to", "again") == 0
    assert in_folder("again").keys() == {*expected, "out/a.png", "out/deep/b.png"}


def test_all_through_a_store(model, capsys):
    store = fsspec.filesystem("memory")
    content = save("in/a.png")
    store.pipe_file("/box/in/a.png", content)
    store.pipe_file("/box/in/x/y.png", content)
    store.pipe_file("/box/in/list.txt", b"x/y.png\n")
    assert translate("in", "--model", model, "--to", "out") == 0
    expected = Path("out/a.png").read_bytes()
    assert translate("memory://box/in/a.png", "--model", model, "--to", "memory://box/one") == 0
    assert store.cat_file("/box/one/a.png") == expected
    assert translate("memory://box/in/list.txt", "--model", model, "--to", "listed") == 0
    assert Path("listed/x/y.png").read_bytes() == expected
    capsys.readouterr()
    arguments = ("memory://box/in/a.png", "--model", model, "--to")
    refused(capsys, "memory://box/one/a.png exists already", *arguments, "memory://box/one")
    assert translate(*arguments, "memory://box/one", "--skip-existing") == 0
    assert "1 existed already" in capsys.readouterr().out
    refused(capsys, "would be overwritten", *arguments, "memory://box/in")
    refused(capsys, "writes only to local folders", *arguments, "memory://x",
            "--side-by-side")  # fmt: skip
    refused(capsys, "workers cannot see this process's memory", *arguments, "x", "--engine", "ray")


def test_stores_that_are_not_there(model, capsys):
    save("a.png")
    end = ("--model", model, "--to", "out")
    refused(capsys, "memory://nothing: there is no such object", "memory://nothing", *end)
    refused(capsys, "nothing://x: cannot be reached (Unsupported filesystem", "nothing://x", *end)
    refused(capsys, "gs:// needs another package (Please install gcsfs", "gs://b/x.png", *end)
    refused(capsys, "needs another package", "a.png", "--model", model, "--to", "gs://bucket/x")
    refused(capsys, "not writable", "a.png", "--model", model, "--to", "http://localhost/")
    assert not Path("out").exists()


def test_stores_whose_uploads_do_not_appear_whole(model):
    """A temporary file is renamed, as on disk. `local://` stands for such a store."""
    save("in/a.png")
    save("in/deep/b.png")
    assert translate("in", "--model", model, "--to", "out") == 0
    here = f"local://{Path.cwd()}"
    assert translate(f"{here}/in", "--model", model, "--to", f"{here}/other/place") == 0
    assert in_folder("other/place") == in_folder("out")


class Obstinate(MemoryFileSystem):
    """Renames nothing over another file, as HDFS does."""

    protocol = "obstinate"
    store, pseudo_dirs, quiet = {}, [""], False

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(path.removeprefix("obstinate://"))

    def mv(self, path1, path2, **settings):
        if not self.exists(path2):
            super().mv(path1, path2, **settings)
        elif not self.quiet:
            raise FileExistsError(path2)


@pytest.mark.parametrize("quiet", [False, True])
def test_stores_that_rename_nothing_over_another_file(quiet, monkeypatch):
    """A repeated batch finds the files that its dead worker had finished."""
    monkeypatch.setattr(Obstinate, "quiet", quiet)
    monkeypatch.setattr(Obstinate, "store", {})
    fsspec.register_implementation("obstinate", Obstinate, clobber=True)
    place = open_place("obstinate://box/out")
    for content in (b"first", b"again"):
        with atomic_write(place / "deep/a.png") as file:
            file.write(content)
        assert {name: file.getvalue() for name, file in Obstinate.store.items()} == {
            "/box/out/deep/a.png": content
        }
    # A failed rename removes nothing else.
    monkeypatch.setattr(Obstinate, "pipe_file", lambda *_: None)
    with pytest.raises(FileNotFoundError), atomic_write(place / "deep/b.png"):
        pass
    assert storage._listed(place / "deep") == {"a.png"}


def test_a_web_server(model, capsys):
    """Single pictures can be read. The links of a page are not a folder."""
    save("in/a.png")
    handler = functools.partial(SimpleHTTPRequestHandler, directory="in")
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        Path("list.txt").write_text(f"{url}/a.png?x=1\n{url}/none.png\n")
        assert translate("list.txt", "--model", model, "--to", "out") == 1
        assert f"left out: {url}/none.png: cannot be read" in capsys.readouterr().out
        assert translate(f"{url}/a.png", "--model", model, "--to", "one") == 0
        server.shutdown()
    assert translate("in", "--model", model, "--to", "local") == 0
    assert in_folder("out") == in_folder("one") == in_folder("local")


def test_an_s3_server(s3, model, capsys):
    for index, name in enumerate(("a.png", "deep/b.png", "deep/c.jpg")):
        s3.put_object(Bucket="pictures", Key=f"in/{name}", Body=save(f"in/{name}", index))
    s3.put_object(Bucket="pictures", Key="in/bad.png", Body=b"no picture")
    assert translate("in", "--model", model, "--to", "out") == 0
    arguments = ("s3://pictures/in", "--model", model, "--to", "s3://pictures/out")
    assert translate(*arguments) == 1
    assert "left out: s3://pictures/in/bad.png: cannot be decoded" in capsys.readouterr().out
    keys = [entry["Key"] for entry in s3.list_objects_v2(Bucket="pictures")["Contents"]]
    assert {key for key in keys if key.startswith("out/")} == {
        "out/a.png", "out/deep/b.png", "out/deep/c.jpg"
    }  # fmt: skip
    for name, content in in_folder("out").items():
        found = s3.get_object(Bucket="pictures", Key=f"out/{name}")["Body"].read()
        assert found == content
    refused(capsys, "s3://pictures/out/a.png and 2 more exist already", *arguments)
    refused(capsys, "s3://pictures/none: there is no such object", "s3://pictures/none",
            *arguments[1:3], "--to", "x")  # fmt: skip
    Path("list.txt").write_text("s3://pictures/in/a.png\ns3://pictures/in/none.png\n")
    assert translate("list.txt", "--model", model, "--to", "listed") == 1
    assert "in/none.png: cannot be read (No such file" in capsys.readouterr().out
    assert in_folder("listed") == {"a.png": Path("out/a.png").read_bytes()}


def test_an_s3_server_that_does_not_let_us_in(s3, model, capsys, monkeypatch):
    save("a.png")
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "none")
    refused(capsys, "s3://pictures/in: cannot be reached", "s3://pictures/in", "--model", model,
            "--to", "x")  # fmt: skip
    Path("list.txt").write_text("s3://pictures/a.png\n")
    refused(capsys, "s3://pictures/a.png: cannot be reached (Unable to locate credentials)",
            "list.txt", "--model", model, "--to", "x")  # fmt: skip
    refused(capsys, "s3://pictures/out: cannot be reached", "a.png", "--model", model,
            "--to", "s3://pictures/out")  # fmt: skip


@pytest.fixture
def refusing(monkeypatch):
    """An S3 server that refuses every object, with the error that is the object's name."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            code = self.path.split("/")[-1].split("?")[0]
            body = f"<Error><Code>{code}</Code><Message>About {code}</Message></Error>".encode()
            self.send_response(400 if code == "ExpiredToken" else 403)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_HEAD(self):
            self.send_error(403)

        def log_message(self, *_):
            pass

    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "of-the-tests")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
        s3fs.S3FileSystem.clear_instance_cache()
        yield
        server.shutdown()
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.mark.parametrize("code", ["AccessDenied", "InvalidObjectState"])
def test_one_object_that_is_refused(code, refusing, model, capsys):
    """S3 refuses single objects, and missing ones if the bucket may not be listed."""
    save("a.png")
    Path("list.txt").write_text(f"s3://pictures/{code}\na.png\n")
    assert translate("list.txt", "--model", model, "--to", "out") == 1
    assert f"{code}: cannot be read (About {code})" in capsys.readouterr().out
    assert set(in_folder("out")) == {"a.png"}


@pytest.mark.parametrize("code", ["ExpiredToken", "InvalidAccessKeyId", "SignatureDoesNotMatch"])
def test_credentials_that_are_refused(code, refusing, model, capsys):
    """The next object would be refused as well."""
    save("a.png")
    Path("list.txt").write_text(f"s3://pictures/{code}\na.png\n")
    refused(capsys, f"s3://pictures/{code}: cannot be reached (About {code}): check", "list.txt",
            "--model", model, "--to", "out")  # fmt: skip


def test_keys_of_a_store_do_not_lead_out(model, capsys, monkeypatch):
    """A store may say anything."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/box/in/a.png", save("a.png"))
    told = {"b.png": {"name": "/box/in/../../b.png", "size": 10}}
    monkeypatch.setattr(type(store), "walk", lambda *_, **__: [("/box/in", {}, told)])
    refused(capsys, "leads out of", "memory://box/in", "--model", model, "--to", "x/y")


def test_names_fit_into_memory():
    """A million names in a list take about 0.3 GB."""
    count = 50000
    with open("list.txt", "w") as file:
        for index in range(count):
            file.write(f"2024/08/{index % 100:03d}/picture-{index:09d}.jpg\n")
    tracemalloc.start()
    listing = Listing(["list.txt"], open_place("out"))
    kept, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(listing) == count
    assert kept / count < 320
    assert peak / count < 450
    last = Found("2024/08/099/picture-000049999.jpg", "2024/08/099/picture-000049999.jpg")
    assert list(listing)[-1] == last
    listing.leave_out({found.name for found in listing} - {last.name})
    assert list(listing) == [last]


def test_what_is_there_is_listed_once_a_folder(monkeypatch):
    names = [f"{folder}/{index}.png" for folder in "abc" for index in range(100)]
    for name in names[::3]:
        save(f"out/{name}")
    Path("out/a/1.png").mkdir()  # not a picture that is there
    listed, asked = storage._listed, []
    monkeypatch.setattr(storage, "_listed", lambda folder: asked.append(folder) or listed(folder))
    assert existing(open_place("out"), [*names, "none/x.png"]) == set(names[::3])
    assert asked == [Path("out", folder) for folder in ("a", "b", "c", "none")]


def test_what_killed_processes_leave():
    """Temporary files are removed, and files of others stay."""
    others = ["a.png", ".a.png", ".a.part-0123abcd.png", ".a.part-tfcyclegan-123.png"]
    Path("out/deep").mkdir(parents=True)
    for name in (*others, files.temporary_name("a.png"), files.temporary_name("b")):
        Path("out/deep", name).touch()
    remove_temporary(open_place("out"), ["deep/a.png"])
    assert sorted(os.listdir("out/deep")) == sorted(others)
    fsspec.filesystem("memory").pipe_file(f"/box/{files.temporary_name('a.png')}", b"")
    remove_temporary(open_place("memory://box"), ["a.png"])
    assert fsspec.filesystem("memory").store == {}


def test_without_ray(model, capsys, monkeypatch):
    """One line names what to install. Only `--engine ray` needs Ray."""
    save("a.png")
    monkeypatch.setitem(sys.modules, "ray", None)
    refused(capsys, 'pip install "tfcyclegan[ray]"', "a.png", "--model", model, "--to", "out",
            "--engine", "ray")  # fmt: skip
    assert not Path("out").exists()
    assert translate("a.png", "--model", model, "--to", "out") == 0


def test_ray_is_not_imported(run_python):
    code = "import sys, tfcyclegan, tfcyclegan.commands.translate; print('ray' in sys.modules)"
    assert run_python(code).split()[-1] == "False"


def test_refusals_before_ray_starts(model, capsys):
    save("in/a.png")
    ray = ("in", "--model", model, "--engine", "ray", "--to")
    refused(capsys, "--workers is for --engine ray", "in", "--model", model, "--to", "x",
            "--workers", 2)  # fmt: skip
    refused(capsys, "--address is for --engine ray", "in", "--model", model, "--to", "x",
            "--address", "auto")  # fmt: skip
    refused(capsys, "--workers 0: must be at least 1", *ray, "x", "--workers", 0)
    refused(capsys, "--threads 0: must be at least 1", *ray, "x", "--threads", 0)
    refused(capsys, "x: give one number", *ray, "x", "--image-size", "x")
    save("out/a.png")
    refused(capsys, "out/a.png exists already: pass", *ray, "out")
    save(f"reports/{REPORT}.png")
    os.rename(f"reports/{REPORT}.png", f"reports/{REPORT}")
    refused(capsys, f"reports/{REPORT} exists already", *ray, "reports")
    Path("list.txt").write_text(f"in/./{REPORT}\n")
    refused(capsys, "is for the report", "list.txt", *ray[1:], "new")
    # Nothing is missing, so Ray does not start.
    assert translate(*ray, "out", "--skip-existing") == 0
    (line,) = Path("out", REPORT).read_text().splitlines()
    assert line.startswith("# done: 0 translated, 1 existed already, 0 failed, 0 left")


def test_how_many_workers():
    two, many = {"CPU": 2.0}, {"CPU": 64.0}
    assert on_ray.crew([two], None, None) == (1, 1, 0)
    assert on_ray.crew([two], 2, None) == (2, 1, 0)
    assert on_ray.crew([two], 5, None) == (5, 0.4, 0)
    assert on_ray.crew([two, two, {"memory": 1.0}], None, None) == (2, 1, 0)
    assert on_ray.crew([many], None, None) == (16, 1, 0)
    assert on_ray.crew([many], None, 32) == (2, 1, 0)
    # Only machines with GPUs count, and no worker spans two GPUs.
    assert on_ray.crew([{"CPU": 8.0, "GPU": 2.0}], None, None) == (2, 1, 1)
    assert on_ray.crew([{"CPU": 8.0, "GPU": 1.0}], 4, None) == (4, 1, 0.25)
    assert on_ray.crew([{"CPU": 8.0, "GPU": 2.0}], 3, None) == (3, 1, 0.5)
    assert on_ray.crew([{"CPU": 8.0, "GPU": 4.0}], 10, None) == (10, 0.8, 0.3333)
    assert on_ray.crew([many, {"CPU": 8.0, "GPU": 2.0}], None, None) == (2, 1, 1)
    # On unlike machines every worker still finds a place.
    unlike = [{"CPU": 8.0, "GPU": 8.0}, {"CPU": 8.0, "GPU": 1.0}]
    team = on_ray.crew(unlike, None, None)
    assert team == (9, 0.8888, 1)
    assert sum(min(m["CPU"] // team.cpus, m["GPU"] // team.gpus) for m in unlike) >= 9
    with pytest.raises(InputError, match="no machine of the Ray cluster has a CPU"):
        on_ray.crew([{"memory": 1.0}], None, None)


def test_batches():
    for index in range(10):
        save(f"in/{index}.png")
    listing = Listing(["in"], open_place("out"))
    tables = list(on_ray._tables(listing, 4))
    assert [len(table) for table in tables] == [4, 4, 2]
    rows = [row for table in tables for row in table.to_pylist()]
    assert [on_ray._decoded(row) for row in rows] == list(listing)
    assert [row["number"] for row in rows] == list(range(10))
