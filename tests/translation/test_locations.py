"""Where pictures lie: lists, object stores, and what must not be believed of them."""

import functools
import gzip
import json
import os
import subprocess
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
from tfcyclegan.translation import locations, on_ray
from tfcyclegan.translation.files import find_pictures
from tfcyclegan.translation.locations import Found, Listing, existing, open_place, tidy
from tfcyclegan.translation.report import REPORT


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
    """It ends with 2 and one line on standard error that says what it should."""
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
    return [(str(job.source), job.name) for job in find_pictures(inputs, to)]


def test_lists_of_pictures():
    Path("lists").mkdir()
    Path("lists/a.txt").write_text(
        "# a comment\n\n2024/one.png\r\n./#2.png\n../up/two.png\n/x/3.jpg\n"
    )
    assert names("lists/a.txt") == [
        ("lists/2024/one.png", "2024/one.png"),
        ("lists/#2.png", "#2.png"),
        ("lists/../up/two.png", "two.png"),
        ("/x/3.jpg", "3.jpg"),
    ]
    text = '\ufeffsize,input,target\n1,"a, b.png",\n2,s3://bucket/c.png,deep/d.png\n'
    Path("a.csv").write_text(text, encoding="utf-8")
    assert names("a.csv") == [("a, b.png", "a, b.png"), ("s3://bucket/c.png", "deep/d.png")]
    lines = [{"input": "a.png"}, {"input": "b.png", "target": "x/c.png"}, {"summary": {}}]
    Path("a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert names("a.jsonl") == [("a.png", "a.png"), ("b.png", "x/c.png")]
    # Names on a disk need not be text.
    Path("b.txt").write_bytes(b"caf\xe9.png\n")
    assert names("b.txt") == [(os.fsdecode(b"caf\xe9.png"),) * 2]


def test_a_list_on_the_command_line(model, capsys):
    for name in ("a.png", "deep/b.png"):
        save(name)
    Path("list.csv").write_text("input,target\na.png,\ndeep/b.png,other/c.png\ngone.png,\n")
    assert translate("list.csv", "--model", model, "--to", "out") == 1
    assert "left out: gone.png: cannot be read (No such file" in capsys.readouterr().out
    assert set(in_folder("out")) == {"a.png", "other/c.png"}


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("a.csv", "input,target\na.png,../b.png\n", "a.csv, line 2: the name '../b.png' leads out"),
        ("a.csv", "input,target\na.png,x/../../b.png\n", "leads out of --to"),
        ("a.csv", "input,target\na.png,/etc/b.png\n", "leads out of --to"),
        ("a.csv", "input,target\na.png,.\n", "leads out of --to"),
        ("a.jsonl", '{"input": "a.png", "target": "a\\u0000b"}', "leads out of --to"),
        ("a.txt", "s3://bucket/..\n", "leads out of --to"),
        ("a.txt", "a\0.png\n", "a.txt, line 1: 'a\\x00.png' is no path"),
        ("a.csv", "input,target\na.png,..\\b.png\n", "leads out of --to"),
        ("a.csv", "input,target\na.png,x\\..\\..\\b.png\n", "leads out of --to"),
        ("a.csv", "input,target\na.png,\\b.png\n", "leads out of --to"),
        ("a.csv", "input,target\na.png,C:b.png\n", "leads out of --to"),
        ("a.txt", "simplecache::s3://bucket/a.png\n", "is no path and no plain URL"),
        ("a.txt", "zip://a.png::file:///x/b.zip\n", "is no path and no plain URL"),
        ("a.txt", "s3://bucket/a.png::zip://b.png\n", "is no path and no plain URL"),
        ("a.txt", "x y/a.png::file:///b.png\n", "is no path and no plain URL"),
        ("a.txt", "zip://a.png\n", "a.txt, line 1: a list may not name zip:// (only abfs, "),
        ("a.txt", "local:///dev/zero\n", "a list may not name local://"),
        ("a.txt", "sftp://host/a.png\n", "a list may not name sftp://"),
        ("a.txt", "a.png\nx/a.png\n./a.png\n../a.png\n", "would both become out/a.png"),
        ("a.csv", "input,target\na.png,c.png\nb.png,c.png\n", "would both become out/c.png"),
        ("a.csv", "picture\na.png\n", "names no column `input`"),
        ("a.csv", 'input\n"a.png\n', "a.csv, line 2: unexpected end of data"),
        ("a.csv", "target,input\nb.png\n", "a.csv, line 2: no input in it"),
        ("a.jsonl", '{"input": "a.png"}\n["b.png"]', "a.jsonl, line 2: not {"),
        ("a.jsonl", '{"input": 3}', "a.jsonl, line 1: not {"),
        ("a.jsonl", "[" * 50000, "a.jsonl, line 1: not {"),
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
    """Lists may name an endless device, a pipe nobody writes to, a folder."""
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
    """Joined to the list's own address, a path becomes a URL."""
    store = fsspec.filesystem("memory")
    store.pipe_file("/box/list.txt", b"a b::zip://c.png\n")
    refused(capsys, "is no path and no plain URL", "memory://box/list.txt", "--model", model,
            "--to", "out")  # fmt: skip


def test_what_is_too_large_for_a_picture(s3, model, capsys, monkeypatch):
    """No more of it is read than a picture may have, in whichever store it lies."""
    content = save("in/a.png")
    limit = len(content)
    large = bytes(1000 * limit)
    monkeypatch.setattr(locations, "_LARGEST_FILE", limit)
    for name, data in {"a.png": content, "large.png": large}.items():
        fsspec.filesystem("memory").pipe_file(f"/box/{name}", data)
        s3.put_object(Bucket="pictures", Key=f"box/{name}", Body=data)
    taken = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            """All of it, packed, whatever part was asked for."""
            self.send_response(200)
            self.send_header("Content-Encoding", "gzip")
            self.end_headers()
            self.wfile.write(gzip.compress(content if "a.png" in self.path else large))

    streamed = locations._streamed
    monkeypatch.setattr(locations, "_streamed", lambda *a: taken.append(streamed(*a)) or taken[-1])
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        web = f"http://127.0.0.1:{server.server_port}"
        for home in ("memory://box", "s3://pictures/box", web):
            assert locations.read(f"{home}/a.png") == content
            with pytest.raises(OSError, match=f"more than {limit} bytes are too many"):
                locations.read(f"{home}/large.png")
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
    """Pictures go from and to a URL as they go from and to a folder."""
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
    store.pipe_file("/box/in/list.csv", b"input,target\na.png,x/y.png\n")
    assert translate("in", "--model", model, "--to", "out") == 0
    expected = Path("out/a.png").read_bytes()
    assert translate("memory://box/in/a.png", "--model", model, "--to", "memory://box/one") == 0
    assert store.cat_file("/box/one/a.png") == expected
    assert translate("memory://box/in/list.csv", "--model", model, "--to", "listed") == 0
    assert Path("listed/x/y.png").read_bytes() == expected
    capsys.readouterr()
    arguments = ("memory://box/in/a.png", "--model", model, "--to")
    refused(capsys, "memory://box/one/a.png there already", *arguments, "memory://box/one")
    assert translate(*arguments, "memory://box/one", "--skip-existing") == 0
    assert "1 were there already" in capsys.readouterr().out
    refused(capsys, "would be overwritten", *arguments, "memory://box/in")
    refused(capsys, "--side-by-side writes to folders alone", *arguments, "memory://x",
            "--side-by-side")  # fmt: skip
    refused(capsys, "that is memory of this process", *arguments, "x", "--engine", "ray")


def test_stores_that_are_not_there(model, capsys):
    save("a.png")
    end = ("--model", model, "--to", "out")
    refused(capsys, "memory://nothing: there is no such object", "memory://nothing", *end)
    refused(capsys, "nothing://x: cannot be reached (Protocol not known", "nothing://x", *end)
    refused(capsys, "gs:// needs another package (Please install gcsfs", "gs://b/x.png", *end)
    refused(capsys, "needs another package", "a.png", "--model", model, "--to", "gs://bucket/x")
    refused(capsys, "cannot be written to", "a.png", "--model", model, "--to", "http://localhost/")
    assert not Path("out").exists()


def test_stores_whose_uploads_do_not_appear_whole(model):
    """A file beside it is renamed, as on a disk; here in folders by their other name."""
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
    """A batch that is done again finds there what its lost worker had finished."""
    monkeypatch.setattr(Obstinate, "quiet", quiet)
    monkeypatch.setattr(Obstinate, "store", {})
    fsspec.register_implementation("obstinate", Obstinate, clobber=True)
    place = open_place("obstinate://box/out")
    for content in (b"first", b"again"):
        with place.atomic_write("deep/a.png") as file:
            file.write(content)
        assert {name: file.getvalue() for name, file in Obstinate.store.items()} == {
            "/box/out/deep/a.png": content
        }
    # Whatever else is wrong with a rename takes nothing away.
    monkeypatch.setattr(Obstinate, "pipe_file", lambda *_: None)
    with pytest.raises(FileNotFoundError), place.atomic_write("deep/b.png"):
        pass
    assert place.listed("deep") == {"a.png"}


def test_a_web_server(model, capsys):
    """Single pictures; a page's links are no folder."""
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
    refused(capsys, "s3://pictures/out/a.png and 2 more there already", *arguments)
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
    refused(capsys, "--to s3://pictures/out: cannot be reached", "a.png", "--model", model,
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
    """S3 refuses single objects, and without the right to list those that are not there."""
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
    refused(capsys, "leads out of --to", "memory://box/in", "--model", model, "--to", "x/y")


def test_names_fit_into_memory():
    """A million names in a list take some 0.3 GB."""
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
    place, asked = open_place("out"), []
    listed = place.listed
    monkeypatch.setattr(place, "listed", lambda folder: asked.append(folder) or listed(folder))
    assert existing(place, [*names, "none/x.png"]) == set(names[::3])
    assert asked == ["a", "b", "c", "none"]


def test_what_killed_processes_leave():
    """Theirs goes; what a living process, or another machine, is at stays."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    machine = files.owner().split("-")[0]
    end = "-0123abcd.png"
    left = f".a.part-{machine}-{gone.pid}{end}"
    others = [
        f".a.part-{machine}-{os.getppid()}{end}", f".a.part-00000000-{gone.pid}{end}", "a.png",
        ".a.part-123.png", f".a.part-{machine}-{10**30}{end}",
    ]  # fmt: skip
    Path("out/deep").mkdir(parents=True)
    for name in (left, *others, files.temporary_name("a.png")):
        Path("out/deep", name).touch()
    tidy(open_place("out"), ["deep/a.png"])
    assert {*others} < (names := set(os.listdir("out/deep")))
    assert left not in names
    assert len(names) == len(others) + 1
    tidy(open_place("out"), ["deep/a.png"], ended=files.owner())
    assert set(os.listdir("out/deep")) == {*others}


def test_without_ray(model, capsys, monkeypatch):
    """One line that names what to install; nothing else needs it."""
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
    refused(capsys, "--workers 0: at least 1", *ray, "x", "--workers", 0)
    refused(capsys, "--threads 0: at least 1", *ray, "x", "--threads", 0)
    refused(capsys, "--image-size x: give", *ray, "x", "--image-size", "x")
    save("out/a.png")
    refused(capsys, "out/a.png there already: pass --skip-existing", *ray, "out")
    save(f"reports/{REPORT}.png")
    os.rename(f"reports/{REPORT}.png", f"reports/{REPORT}")
    refused(capsys, f"reports/{REPORT} there already", *ray, "reports")
    Path("list.csv").write_text(f"input,target\nin/a.png,{REPORT}\n")
    refused(capsys, "is for the report", "list.csv", *ray[1:], "new")
    # Nothing is missing: nothing to start for.
    assert translate(*ray, "out", "--skip-existing") == 0
    (line,) = Path("out", REPORT).read_text().splitlines()
    assert json.loads(line)["summary"]["there_already"] == 1


def test_how_many_workers():
    two, many = {"CPU": 2.0, "memory": 2.0**34}, {"CPU": 64.0, "memory": 2.0**35}
    assert on_ray.crew([two], None, None) == on_ray.Crew(1, 2)
    assert on_ray.crew([two], 2, None) == on_ray.Crew(2, 1)
    assert on_ray.crew([two], 5, None) == on_ray.Crew(5, 0.4)
    assert on_ray.crew([two, two, {"memory": 1.0}], None, None) == on_ray.Crew(2, 2)
    assert on_ray.crew([many], None, None) == on_ray.Crew(10, 6)  # as far as memory goes
    assert on_ray.crew([many], None, 32) == on_ray.Crew(2, 32)
    # Three whole ones must find a place on machines of three CPUs.
    assert on_ray.crew([{"CPU": 3.0}] * 2, 3, None) == on_ray.Crew(3, 1)
    assert on_ray.crew([{"CPU": 8.0, "GPU": 2.0}], None, None) == on_ray.Crew(2, 4, 1)
    assert on_ray.crew([{"CPU": 8.0, "GPU": 1.0}], 4, None) == on_ray.Crew(4, 2, 0.25)
    # No worker is spread over two GPUs, or over two machines.
    assert on_ray.crew([{"CPU": 8.0, "GPU": 2.0}], 3, None) == on_ray.Crew(3, 2, 0.5)
    assert on_ray.crew([{"CPU": 8.0, "GPU": 4.0}], 10, None) == on_ray.Crew(10, 0.8, 0.3333)
    assert on_ray.crew([many, {"CPU": 8.0, "GPU": 2.0}], None, None) == on_ray.Crew(2, 4, 1)
    assert on_ray.crew([{"CPU": 8.0, "GPU": 1.0}] * 2, 2, None) == on_ray.Crew(2, 8, 1)
    unlike = [{"CPU": 8.0, "GPU": 1.0}, {"CPU": 2.0, "GPU": 1.0}]
    assert on_ray.crew(unlike, 6, None) == on_ray.Crew(6, 0.6666, 0.3333)
    with pytest.raises(InputError, match="no machine of the cluster has a CPU"):
        on_ray.crew([{"memory": 1.0}], None, None)


def test_batches():
    """Few pictures are spread over the workers; large ones are few in a batch."""

    def lengths(sizes, workers):
        found = [Found(str(index), str(index), size) for index, size in enumerate(sizes)]
        batches = list(on_ray.batches(found, len(found), workers))
        assert [picture for batch in batches for picture in batch] == found
        return [len(batch) for batch in batches]

    assert lengths([1] * 20, 2) == [8, 8, 4]
    assert lengths([1] * 1000, 2) == [31] * 32 + [8]
    assert set(lengths([1] * 6400, 2)) == {64}
    assert lengths([2**25] * 3, 1) == [1, 1, 1]
    assert lengths([2**24] * 4, 1) == [2, 2]


class Executor(threading.Thread):
    """As Ray Data's: it goes on until it is asked to end, and keeps others going meanwhile."""

    def __init__(self):
        super().__init__(daemon=True)
        self.asked, self.ended = threading.Event(), threading.Event()

    def run(self):
        self.asked.wait()
        self.ended.set()

    def shutdown(self, force):
        assert force
        self.asked.set()
        raise RuntimeError("the cluster is gone")


def test_threads_are_ended_and_waited_for():
    """What was there before, and who never ends, is left alone; errors are those of the inside."""
    forever = threading.Event()
    before = threading.Thread(target=forever.wait, daemon=True)
    parked = threading.Thread(target=forever.wait, daemon=True, name="Prefetcher")
    executor = Executor()
    worker = threading.Thread(target=executor.ended.wait, daemon=True)
    before.start()

    @on_ray._ended_threads()
    def fails():
        for thread in (parked, executor, worker):
            thread.start()
        raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert not executor.is_alive()
    assert not worker.is_alive()
    assert before.is_alive()
    assert parked.is_alive()
    forever.set()
