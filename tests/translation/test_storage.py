"""Reading and writing in folders and remote stores that are not trusted."""

import contextlib
import functools
import gzip
import os
import threading
from http.server import BaseHTTPRequestHandler, SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import fsspec
import pytest
import s3fs
from fsspec.implementations.memory import MemoryFileSystem
from translating import in_folder, noise, refused, save, translate

from tfcyclegan import InputError, files
from tfcyclegan.runtimes.protocol import BadPicture
from tfcyclegan.translation import storage
from tfcyclegan.translation.storage import existing, open_path, open_place, remove_temporary, write


@contextlib.contextmanager
def serving(handler):
    """The address of a web server on this machine."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()


def test_paths_and_urls(capsys):
    assert open_path("file:///a/b.png") == open_path("/a/b.png") == Path("/a/b.png")
    assert str(open_path("memory://box/a.png")) == "memory://box/a.png"
    assert [storage.is_url(text) for text in ("s3://b/a", "zip::s3://b/a", "C:/a", "a b://c")] == [
        True, True, False, False
    ]  # fmt: skip
    for place in ("https://host/out", "simplecache::s3://bucket/out"):
        with pytest.raises(InputError, match="not writable"):
            open_place(place)


def test_reasons_are_one_line():
    assert storage.reason(FileNotFoundError("long\nstory")) == "No such file or directory"
    assert storage.reason(OSError(28, "No space left on device")) == "No space left on device"
    lost = storage.unreachable("s3://b", Exception("one\n2"))
    assert "s3://b: cannot be reached (one): check" in str(lost)


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
    with serving(Handler) as web:
        for home in ("memory://box", "s3://pictures/box", web):
            assert storage.read(f"{home}/a.png") == content
            with pytest.raises(BadPicture, match=f"more than {limit} bytes are too many"):
                storage.read(f"{home}/large.png")
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
        store.pipe_file(f"/box/in/{name}", save(f"in/{name}", noise(seed=index)))
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
        write(place / "deep/a.png", content)
        assert {name: file.getvalue() for name, file in Obstinate.store.items()} == {
            "/box/out/deep/a.png": content
        }
    # A failed rename removes nothing else.
    monkeypatch.setattr(Obstinate, "pipe_file", lambda *_: None)
    with pytest.raises(FileNotFoundError):
        write(place / "deep/b.png", b"new")
    assert storage._listed(place / "deep") == {"a.png"}


def test_a_web_server(model, capsys):
    """Single pictures can be read. The links of a page are not a folder."""
    save("in/a.png")
    handler = functools.partial(SimpleHTTPRequestHandler, directory="in")
    with serving(handler) as url:
        Path("list.txt").write_text(f"{url}/a.png?x=1\n{url}/none.png\n")
        assert translate("list.txt", "--model", model, "--to", "out") == 1
        assert f"left out: {url}/none.png: cannot be read" in capsys.readouterr().out
        assert translate(f"{url}/a.png", "--model", model, "--to", "one") == 0
    assert translate("in", "--model", model, "--to", "local") == 0
    assert in_folder("out") == in_folder("one") == in_folder("local")


def test_an_s3_server(s3, model, capsys):
    for index, name in enumerate(("a.png", "deep/b.png", "deep/c.jpg")):
        s3.put_object(
            Bucket="pictures", Key=f"in/{name}", Body=save(f"in/{name}", noise(seed=index))
        )
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
    with serving(Handler) as url:
        monkeypatch.setenv("AWS_ENDPOINT_URL", url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield
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
