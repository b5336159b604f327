"""Translation on Ray: workers, batches, and a thousand pictures with killed processes."""

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image
from processes import below, kill_all
from translating import ROOT, save, start

from tfcyclegan import InputError, files, resnet_generator
from tfcyclegan.export import litert, serving
from tfcyclegan.translation import on_ray
from tfcyclegan.translation.pipeline import REPORT

#: Width and height; pictures of these sizes are mixed.
SIZES = [(16, 16), (24, 16), (20, 31), (32, 32), (9, 40)]
FORMS = {"keras": "G.keras", "SavedModel": "export", "LiteRT": "G.tflite"}


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
    workers, cpus, gpus = on_ray.crew(unlike, None, None)
    assert (workers, cpus, gpus) == (9, 0.8888, 1)
    assert sum(min(m["CPU"] // cpus, m["GPU"] // gpus) for m in unlike) >= 9
    with pytest.raises(InputError, match="no machine of the Ray cluster has a CPU"):
        on_ray.crew([{"memory": 1.0}], None, None)


def test_batches():
    odd = os.fsdecode(b"caf\xe9.png")
    pictures = {name: f"in/{name}" for name in (*"abcdefghi", odd)}
    tables = on_ray._tables(pictures, 4)
    assert [len(table) for table in tables] == [4, 4, 2]
    rows = [row for table in tables for row in table.to_pylist()]
    assert {os.fsdecode(row["name"]): os.fsdecode(row["source"]) for row in rows} == pictures


def test_a_worker(model, monkeypatch):
    """It returns problems. It raises nothing, because Ray would repeat the batch."""
    monkeypatch.setattr(on_ray, "_cores", lambda: None)  # TensorFlow has already started
    save("in/a.png")
    Path("in/b.png").write_bytes(b"no picture")
    settings = {"image_size": None, "independent_tiles": False, "side_by_side": False}
    opening = {"model": str(model), "threads": None}
    (batch,) = on_ray._tables({name: f"in/{name}" for name in ("a.png", "b.png")}, 2)

    def answer(opening, **more):
        worker = on_ray._Translator(os.getcwd(), "out", opening, {**settings, **more})
        return worker(batch).to_pydict()

    answered = answer(opening, strict=False)
    assert answered["name"] == [b"a.png", b"b.png"]
    assert answered["fatal"] == [False, False]
    assert answered["problem"][0] == b""
    assert answered["problem"][1].startswith(b"in/b.png: cannot be decoded")
    assert os.listdir("out") == ["a.png"]
    assert answer(opening, strict=True)["fatal"] == [True, True]
    answered = answer({"model": "nowhere", "threads": None}, strict=False)
    assert answered["fatal"] == [True, True]
    assert b"nowhere: there is no such" in answered["problem"][1]


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("ray://host:1", "not the address of a Ray cluster"),
        ("host", "not the address of a Ray cluster"),
        ("127.0.0.1:1", "no Ray cluster answers there"),
    ],
)
def test_addresses_without_a_cluster(address, message):
    with pytest.raises(InputError, match=message), on_ray.cluster(address):
        pass


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """One model in three forms, a thousand pictures, and two bad files."""
    home = tmp_path_factory.mktemp("bulk")
    network = resnet_generator(16, filters=4, blocks=1)
    random = np.random.default_rng(1)
    network.set_weights([random.normal(0, 0.1, w.shape) for w in network.get_weights()])
    network.save(home / "G.keras")
    serving.write_saved_model(
        network, home / "staged", model_name="x", image_size=(16, 16), max_pixels=2**21
    )
    serving.publish(home / "staged", home / "export/serving/AtoB")
    ((content, metadata),) = litert.convert(network, ("float32",), image_size=None).values()
    litert.write_beside(home / "G.tflite", content, metadata)
    for index in range(1000):
        width, height = SIZES[index % len(SIZES)]
        path = home / "in" / f"{index % 7}" / f"{index:04d}.{('png', 'jpg', 'webp')[index % 3]}"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(random.integers(0, 256, (height, width, 3), np.uint8)).save(path)
    (home / "in/3/bad.png").write_bytes((home / "in/0/0000.png").read_bytes()[:60])
    (home / "in/none.jpg").write_text("no picture")
    return home


@pytest.fixture(scope="module")
def local(home):
    """The results of the local engine for each form of the model."""
    made = {}

    def translated(form):
        if form not in made:
            to = home / f"local-{form}"
            arguments = [home / "in", "--model", home / FORMS[form], "--to", to]
            finish(start(arguments), code=1)
            made[form] = pictures(to)
        return made[form]

    return translated


@pytest.fixture(autouse=True)
def own_cluster(monkeypatch):
    """Commands start their own cluster."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)


def translate_on_ray(*arguments, **settings):
    return start([*arguments, "--engine", "ray", "--workers", 2], **settings)


def finish(process, code=0):
    """Its standard output and standard error."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == code, (out, err)
    return out, err


def pictures(folder):
    """All files below it, hidden ones included, except the report."""
    top = Path(folder)
    return {
        path.relative_to(top).as_posix(): path.read_bytes()
        for path in top.rglob("*")
        if path.is_file() and path.name != REPORT
    }


def report(folder):
    """The failed pictures and the summary."""
    *lines, last = Path(folder, REPORT).read_text().splitlines()
    return [line for line in lines if not line.startswith("#")], last


def workers(process):
    """The processes that translate."""
    return below(process.pid, "MapWorker")


def wait_for(condition, process, seconds=120):
    deadline = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate(timeout=60)
        assert time.monotonic() < deadline
        time.sleep(0.01)


def written(folder):
    return sum(len(names) for _, _, names in os.walk(folder))


@pytest.mark.slow
@pytest.mark.parametrize("form", FORMS)
def test_a_thousand_pictures_and_a_killed_worker(form, home, local):
    """Every picture once, with the same bytes as the local engine."""
    arguments = (home / "in", "--model", home / FORMS[form], "--to", "out")
    process = translate_on_ray(*arguments)
    wait_for(lambda: written("out") >= 250, process)
    both = workers(process)
    assert len(both) == 2
    both[0].kill()
    killed_at = written("out")
    out, _ = finish(process, code=1)
    assert killed_at < 900
    assert pictures("out") == local(form)
    assert len(local(form)) == 1000
    assert "translated 1000 pictures to out" in out
    assert "2 could not be translated: see out/translate-report.txt" in out
    lines, summary = report("out")
    assert sorted(lines) == [f"{home}/in/./3/bad.png", f"{home}/in/./none.jpg"]
    assert summary.startswith("# done: 1000 translated, 0 existed already, 2 failed, 0 left")
    if form != "LiteRT":
        return
    # Another run does what is missing and leaves the rest as it is.
    before = {path: path.stat().st_mtime_ns for path in Path("out").rglob("*.*")}
    missing = sorted(before)[100:900:100]
    for path in missing:
        path.unlink()
    out, _ = finish(translate_on_ray(*arguments, "--skip-existing"), code=1)
    assert "translated 8 pictures" in out
    assert "992 existed already" in out
    assert pictures("out") == local(form)
    after = {path: path.stat().st_mtime_ns for path in before}
    changed = {path for path in before if before[path] != after[path]}
    assert changed == {*missing, Path("out", REPORT)}
    # The report is a list of what failed.
    out, _ = finish(start([Path("out", REPORT), *arguments[1:3], "--to", "x"]), code=1)
    assert "2 could not be translated" in out


@pytest.mark.slow
def test_the_whole_job_killed(home, local):
    """After SIGKILL of the command its workers exit, and another run does the rest."""
    arguments = (home / "in", "--model", home / FORMS["LiteRT"], "--to", "out")
    process = translate_on_ray(*arguments)
    wait_for(lambda: written("out") >= 100, process)
    both = workers(process)
    process.kill()
    process.wait(timeout=60)
    assert psutil.wait_procs(both, timeout=60)[1] == []
    before = {name: data for name, data in pictures("out").items() if "/." not in f"/{name}"}
    assert 100 <= len(before) < 1000
    assert before.items() <= local("LiteRT").items()
    # As a part of a picture that was just being written would be.
    Path("out/0", files.temporary_name("0000.png")).write_bytes(b"half")
    out, _ = finish(translate_on_ray(*arguments, "--skip-existing"), code=1)
    assert f"translated {1000 - len(before)} pictures" in out
    assert pictures("out") == local("LiteRT")


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_asked_to_stop(number, code, home, local):
    process = translate_on_ray(home / "in", "--model", home / FORMS["LiteRT"], "--to", "out")
    wait_for(lambda: written("out") >= 200, process)
    family = below(process.pid)
    process.send_signal(number)
    _, err = finish(process, code)
    assert "tfcyclegan: interrupted: " in err
    assert psutil.wait_procs(family, timeout=60)[1] == []
    found = pictures("out")
    assert found.items() <= local("LiteRT").items()
    _, summary = report("out")
    assert summary.startswith("# interrupted: ")
    translated, left = re.search(r"(\d+) translated.* (\d+) left", summary).groups()
    assert int(translated) <= len(found) < 1000
    assert int(translated) + int(left) <= 1002


@pytest.fixture
def head(tmp_path_factory):
    """The address of a running cluster, started in another folder."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ray = Path(sys.executable).with_name("ray")
    command = [ray, "start", "--head", "--node-ip-address=127.0.0.1", f"--port={port}"]
    command += ["--num-cpus=2", "--include-dashboard=false", "--block"]
    command += ["--object-store-memory=100000000"]
    settings = {**os.environ, "PYTHONPATH": str(ROOT), "RAY_AUTH_MODE": "disabled"}
    # Not where others look for clusters, and a short name: sockets lie in it.
    settings["RAY_TMPDIR"] = tempfile.mkdtemp()
    folder = tmp_path_factory.mktemp("head")
    process = subprocess.Popen(command, env=settings, cwd=folder, stdout=subprocess.DEVNULL)
    try:
        # Until it lets somebody in.
        connect = f"import ray; ray.init(address='127.0.0.1:{port}')"
        deadline = time.monotonic() + 120
        command = [sys.executable, "-c", connect]
        while subprocess.run(command, env=settings, cwd=folder, timeout=120).returncode:
            assert process.poll() is None
            assert time.monotonic() < deadline
        yield f"127.0.0.1:{port}"
    finally:
        # Asked to stop, it would wait for half a minute.
        kill_all(process.pid)
        process.wait(timeout=60)
        shutil.rmtree(settings["RAY_TMPDIR"], ignore_errors=True)


@pytest.mark.slow
def test_a_cluster_that_is_there(head, home, local):
    """Paths are relative to the command's folder. A bad model is one line, as without Ray."""
    os.chdir(home)
    Path("bad.tflite").write_bytes(b"nothing of the kind")
    model, message = "bad.tflite", "bad.tflite: not a LiteRT file"
    settings = {"RAY_ADDRESS": head, "RAY_AUTH_MODE": "disabled"}
    _, err = finish(translate_on_ray("in", "--model", model, "--to", "bad", **settings), code=2)
    assert err.splitlines()[-1].startswith("tfcyclegan: ")
    assert message in err.splitlines()[-1]
    assert not Path("bad").exists()
    arguments = ("in/0", "in/3", "--model", FORMS["LiteRT"], "--to", "there", "--side-by-side")
    finish(translate_on_ray(*arguments, "--address", head, RAY_AUTH_MODE="disabled"), code=1)
    expected = {
        name.split("/")[1]: content
        for name, content in local("LiteRT").items()
        if name[0] in "03"
    }  # fmt: skip
    found = pictures("there")
    page = found.pop("index.html").decode()
    assert page.count("<figure") == len(expected)
    beside = {name for name in found if name.startswith("side-by-side/")}
    assert beside == {f"side-by-side/{name}.jpg" for name in expected}
    assert {name: found[name] for name in found.keys() - beside} == expected


DEADLY = """
import os, sys
if "default_worker" in "".join(sys.argv):
    from PIL import Image
    real = Image.open
    def deadly(file, *arguments, **settings):
        if b"deadly" in file.getvalue():
            os.kill(os.getpid(), 9)
        return real(file, *arguments, **settings)
    Image.open = deadly
"""


@pytest.mark.slow
def test_a_picture_that_kills_its_worker(home):
    """Ray retries its batch, then the batch goes to the report. The others are translated."""
    Path("patched").mkdir()
    Path("patched/sitecustomize.py").write_text(DEADLY)
    Path("in").mkdir()
    for path in sorted(home.glob("in/*/00*.png"))[:20]:
        Path("in", path.name).write_bytes(path.read_bytes())
    Path("in/deadly.png").write_bytes(b"deadly")
    path = f"{Path('patched').absolute()}{os.pathsep}{ROOT}"
    process = translate_on_ray(
        "in", "--model", home / FORMS["LiteRT"], "--to", "out", PYTHONPATH=path
    )
    out, _ = finish(process, code=1)
    assert "left out: in/deadly.png: its worker died 3 times on this batch" in out
    assert "translated 20 pictures" in out
    assert len(pictures("out")) == 20


@pytest.mark.slow
def test_from_bucket_to_bucket(home, s3):
    """With one thread per worker, as on any machine."""
    sources = [
        path for path in sorted(home.glob("in/*/*")) if "9." in path.name or "bad" in path.name
    ]
    for path in sources:
        key = path.relative_to(home).as_posix()
        s3.put_object(Bucket="pictures", Key=key, Body=path.read_bytes())
    with_model = ("--model", home / FORMS["SavedModel"], "--threads", 1)
    process = translate_on_ray("s3://pictures/in", *with_model, "--to", "s3://pictures/out")
    out, _ = finish(process, code=1)
    assert f"translated {len(sources) - 1} pictures" in out
    found = {}
    for entry in s3.list_objects_v2(Bucket="pictures", Prefix="out/")["Contents"]:
        body = s3.get_object(Bucket="pictures", Key=entry["Key"])["Body"].read()
        found[entry["Key"].removeprefix("out/")] = body
    _, failed, last = found.pop(REPORT).decode().splitlines()
    assert failed == "s3://pictures/in/./3/bad.png"
    assert "1 failed" in last
    assert len(found) == len(sources) - 1 == 100
    finish(start([home / "in", *with_model, "--to", "out", "--glob", "*9.*"]))
    assert found.keys() == pictures("out").keys()
    assert found == pictures("out")


@pytest.mark.slow
def test_memory_does_not_grow_with_the_pictures(home):
    """1.6 GB of pixels pass through the workers, and memory stays bounded."""
    side, count = 1500, 240
    Path("in").mkdir()
    rough = Image.fromarray(np.random.default_rng(0).integers(0, 256, (9, 9, 3), np.uint8))
    rough.resize((side, side), Image.Resampling.BICUBIC).save("in/0.jpg")
    for index in range(1, count):
        os.link("in/0.jpg", f"in/{index}.jpg")
    process = translate_on_ray(
        "in", "--model", home / FORMS["LiteRT"], "--to", "out", "--image-size", "16"
    )
    seen = []

    def look():
        with_all = [psutil.Process(process.pid), *workers(process)]
        seen.append((written("out"), sum(one.memory_info().rss for one in with_all)))

    wait_for(lambda: written("out") >= 40, process)
    while process.poll() is None:
        try:
            look()
        except psutil.NoSuchProcess:
            break
        time.sleep(0.2)
    finish(process)
    assert len(pictures("out")) == count
    early = max(rss for done, rss in seen if done <= 100)
    late = max(rss for _, rss in seen)
    assert late - early < 5e8 < side * side * 3 * count / 3


LEFT = """
import signal, sys, time
from contextlib import closing
from pathlib import Path
from tfcyclegan.translation import on_ray
from tfcyclegan.translation.finding import list_pictures

pictures, model, bad, to = sys.argv[1:]
Path("many.txt").write_text("".join(f"{pictures}/{number}.png\\n" for number in range(100000)))
listed = list_pictures(["many.txt"], Path(to))
settings = {"image_size": None, "independent_tiles": False, "strict": False, "side_by_side": False}

def left(model, leave):
    opening = {"model": model, "threads": None}
    jobs = on_ray.translate_on_ray(listed, to, opening, 1, skip_existing=True, **settings)
    try:
        with closing(jobs):
            leave(jobs)
    except BaseException as problem:
        print("left by", type(problem).__name__)

def close(jobs):
    next(jobs)
    raise EOFError

def interrupt(jobs):
    signal.signal(signal.SIGALRM, lambda *_: 1 / 0)
    next(jobs)
    signal.setitimer(signal.ITIMER_REAL, 0.05)
    for _ in jobs:
        pass

left(model, close)
left(model, interrupt)
left(bad, list)
time.sleep(1)
print("left alive")
"""


@pytest.mark.slow
def test_leaving_early(home, run_python):
    """A thread of Ray Data that calls Ray after `ray.shutdown` would end the process."""
    Path("bad.tflite").write_bytes(b"nothing of the kind")
    bad, to = Path("bad.tflite").absolute(), Path("out").absolute()
    code = f"import os; os.chdir({str(Path.cwd())!r})\n{LEFT}"
    said = run_python(code, home, home / FORMS["LiteRT"], bad, to).splitlines()
    assert [line for line in said if line.startswith("left")] == [
        "left by EOFError",
        "left by ZeroDivisionError",
        "left by InputError",
        "left alive",
    ]
