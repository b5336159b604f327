"""Translating picture files with every form of a generator."""

import io
import os
import re
import signal
import subprocess
import sys
import time
import zlib
from pathlib import Path
from urllib.parse import unquote

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan import (
    CycleGAN,
    InputError,
    patch_discriminator,
    resnet_generator,
    unet_generator,
)
from tfcyclegan.cli import main
from tfcyclegan.data.preprocessing import to_uint8
from tfcyclegan.export import litert, serving
from tfcyclegan.runtimes import png
from tfcyclegan.runtimes.keras_model import KerasRuntime
from tfcyclegan.runtimes.litert import LiteRTRuntime
from tfcyclegan.runtimes.opening import open_runtime
from tfcyclegan.runtimes.saved_model import SavedModelRuntime
from tfcyclegan.training.config import Config
from tfcyclegan.translation import streaming
from tfcyclegan.translation.drawing import parse_size
from tfcyclegan.translation.pipeline import find_pictures, translate_files
from tfcyclegan.translation.tiling import translate_tiles

ROOT = Path(__file__).parents[2]


def small(seed, channels=3):
    network = resnet_generator(16, channels=channels, filters=4, blocks=1, name=f"n{seed}")
    random = np.random.default_rng(seed)
    network.set_weights(
        [
            random.normal(0, 0.05, w.shape) if w.ndim == 4 else w + 0.05 * random.random(w.shape)
            for w in network.get_weights()
        ]
    )
    return network


@pytest.fixture(scope="module")
def forms(tmp_path_factory):
    """One model in every form of file."""
    home = tmp_path_factory.mktemp("forms")
    keras.utils.set_random_seed(0)
    judges = [patch_discriminator(16, filters=2, layers=1, name=name) for name in ("D_A", "D_B")]
    model = CycleGAN(small(1), small(2), *judges, image_size=16, pool_size=0)
    (home / "run").mkdir()
    model.save(home / "run/model.keras")
    Config(data="shapes", image_size=16).save(home / "run/config.json")
    model.G.save(home / "G.keras")
    staged = home / "staged"
    serving.write_saved_model(model.G, staged, model_name="x", image_size=(16, 16), max_pixels=9000)
    serving.publish(staged, home / "export/serving/AtoB")
    for name, size in (("dynamic", None), ("fixed", (16, 24))):
        ((content, metadata),) = litert.convert(model.G, ("float32",), image_size=size).values()
        litert.write_beside(home / f"{name}.tflite", content, metadata)
    return home


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)


def noise(width, height, channels=3, seed=0):
    shape = (height, width, channels) if channels > 1 else (height, width)
    return np.random.default_rng(seed).integers(0, 256, shape, np.uint8)


def save(path, pixels, **settings):
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path, **settings)


def translate(*arguments):
    return main(["translate", *map(str, arguments)])


def refused(capsys, message, *arguments):
    """The command exits with 2 and prints one line that contains the message."""
    assert translate(*arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1


def pixels_of(path):
    return np.asarray(Image.open(path)).astype(int)


def by_hand(network, pixels):
    """Pads by reflection to multiples of 4 and at least 8, runs the network, crops."""
    height, width = pixels.shape[:2]
    grow = [max(8, -(-side // 4) * 4) - side for side in (height, width)]
    grown = np.pad(pixels, ((0, grow[0]), (0, grow[1]), (0, 0)), mode="reflect")
    return to_uint8(network(grown[None].astype(np.float32) / 127.5 - 1)[0, :height, :width])


def test_the_same_pictures_whatever_the_back_end(forms):
    for index, (width, height) in enumerate([(24, 16), (37, 50), (1, 9), (3, 2), (64, 8)]):
        save(f"in/{index}.png", noise(width, height, seed=index))
    for model in (
        "run",
        "run/model.keras",
        "G.keras",
        "export",
        "export/serving/AtoB",
        "dynamic.tflite",
    ):
        to = Path("out", model)
        assert translate("in", "--model", forms / model, "--to", to) == 0
        for source in Path("in").iterdir():
            truth = by_hand(small(1), np.asarray(Image.open(source)))
            assert np.abs(pixels_of(to / source.name) - truth).max() <= 1, (model, source.name)
    # A fixed file works at its size. The others do with --image-size.
    assert translate("in", "--model", forms / "fixed.tflite", "--to", "fixed") == 0
    arguments = ("--model", forms / "run", "--image-size", "16x24", "--to", "sized")
    assert translate("in", *arguments) == 0
    for name in os.listdir("in"):
        assert np.abs(pixels_of(f"fixed/{name}") - pixels_of(f"sized/{name}")).max() <= 2


def test_the_other_direction(forms):
    save("a.png", noise(24, 16))
    assert translate("a.png", "--model", forms / "run", "--to", "out", "--direction", "BtoA") == 0
    truth = by_hand(small(2), noise(24, 16))
    assert np.abs(pixels_of("out/a.png") - truth).max() <= 1


def test_size_form_name_alpha_and_orientation_are_kept(forms):
    rgb, alpha = noise(30, 21), noise(30, 21, 1, seed=5)
    save("in/deep/one.JPG", rgb, format="JPEG")
    save("in/clear.png", np.dstack([rgb, alpha]))
    save("in/clear.webp", np.dstack([rgb, alpha]), lossless=True)
    save("in/grey.bmp", rgb[..., 0])
    save("in/still.gif", rgb)
    Image.fromarray(rgb[..., 0].astype(np.uint16) * 257).save("in/sixteen.png")
    exif = Image.Exif()
    exif[0x0112], exif[0x010F] = 6, "a camera"  # turned by 90°; its maker
    save("in/turned.jpg", rgb, exif=exif, quality=95)
    Image.fromarray(rgb).convert("CMYK").save("in/print.jpeg")
    assert translate("in", "--model", forms / "run", "--to", "out") == 0
    for source in (path for path in Path("in").rglob("*") if path.is_file()):
        before, after = Image.open(source), Image.open("out" / source.relative_to("in"))
        turned = source.name == "turned.jpg"
        assert after.size == (before.size[::-1] if turned else before.size), source
        assert after.format == before.format
    np.testing.assert_array_equal(pixels_of("out/clear.png")[..., 3], alpha)
    np.testing.assert_array_equal(pixels_of("out/clear.webp")[..., 3], alpha)
    after = Image.open("out/turned.jpg").getexif()
    assert (after.get(0x0112, 1), after[0x010F]) == (1, "a camera")
    white = np.rint(rgb * (alpha / 255.0)[..., None] + 255 - alpha[..., None])
    truth = by_hand(small(1), white.astype(np.uint8))
    assert np.mean(np.abs(pixels_of("out/clear.png")[..., :3] - truth)) < 3


def test_sizes_to_work_at(forms):
    assert parse_size("256") == (None, 256)
    assert parse_size(" 120x80 ") == (120, 80)
    for text in ("0", "x", "3x", "10x0", "-4", "1.5"):
        with pytest.raises(InputError, match="image_size="):
            parse_size(text)
    save("a.png", noise(60, 40))
    assert translate("a.png", "--model", forms / "run", "--to", "out", "--image-size", 20) == 0
    small_one = Image.fromarray(noise(60, 40)).resize((30, 20), Image.Resampling.BICUBIC)
    drawn = by_hand(small(1), np.asarray(small_one))
    truth = np.asarray(Image.fromarray(drawn).resize((60, 40), Image.Resampling.BICUBIC))
    assert np.abs(pixels_of("out/a.png") - truth).max() <= 2


NETWORKS = {
    "paper": lambda: small(3),
    "variant": lambda: resnet_generator(
        32, filters=4, blocks=2, norm="instance-affine", upsampling="resize",
        residual_output=True, downsampling_padding="reflect", bare_first=True,
    ),
    "batch norm": lambda: resnet_generator(32, filters=4, blocks=2, norm="batch", dropout=0.5),
    "unet": lambda: unet_generator(32, filters=4),
    "grey": lambda: small(4, channels=1),
}  # fmt: skip


@pytest.mark.parametrize("case", NETWORKS)
@pytest.mark.parametrize("strip", [2**9, 2**13])
def test_strips_give_the_picture_of_the_whole(case, strip, monkeypatch, tmp_path):
    """Strips as thin as one row give the same statistics, so no seams and no other colours."""
    monkeypatch.setattr(streaming, "STRIP_BYTES", strip)
    network = NETWORKS[case]()
    pixels = noise(64, 96, network.input_shape[-1]).reshape(96, 64, -1)
    pixels[:40] //= 4  # a dark part, whose own statistics differ
    whole = KerasRuntime(network, case)
    got = streaming.stream(whole.network, pixels, tmp_path).astype(int)
    truth = whole(pixels)
    assert np.abs(got - truth).max() <= 1
    assert np.mean(got != truth) < 0.01
    assert list(tmp_path.iterdir()) == []


def test_large_pictures_on_the_command_line(forms, monkeypatch, capsys):
    """A Keras model gives the untiled result. Others refuse or use independent tiles."""
    pixels = noise(150, 101)
    save("large.png", pixels)
    monkeypatch.setattr(KerasRuntime, "max_pixels", 5000)
    monkeypatch.setattr(streaming, "STRIP_BYTES", 2**14)
    assert translate("large.png", "--model", forms / "run", "--to", "out") == 0
    assert np.abs(pixels_of("out/large.png") - by_hand(small(1), pixels)).max() <= 1

    assert translate("large.png", "--model", forms / "export", "--to", "refused") == 1
    assert "150×101 px are more than the 9000" in capsys.readouterr().out
    assert not Path("refused/large.png").exists()
    for model in ("fixed.tflite", "dynamic.tflite", "export"):
        monkeypatch.setattr("tfcyclegan.translation.drawing.TILE", 48)
        monkeypatch.setattr(LiteRTRuntime, "max_pixels", 5000)
        arguments = ("--model", forms / model, "--to", f"tiles-{model}", "--independent-tiles")
        assert translate("large.png", *arguments) == 0
        assert Image.open(f"tiles-{model}/large.png").size == (150, 101)


def test_tiles_blend():
    pixels = noise(70, 45)
    for size in ((16, 24), (45, 70), (64, 96), (45, 16)):
        np.testing.assert_array_equal(translate_tiles(lambda x: x, pixels, size), pixels)
    seen = []

    def brighter_each_time(tile):
        seen.append(tile.shape[:2])
        return np.full_like(tile, 20 * len(seen))

    drawn = translate_tiles(brighter_each_time, noise(100, 16), (16, 40)).astype(int)
    assert set(seen) == {(16, 40)}
    assert drawn[0, 0, 0] == 20
    steps = np.abs(np.diff(drawn[0, :, 0]))
    assert 0 < steps.max() <= 4  # of 20 between neighbours: no seam


def test_one_bad_picture_does_not_stop_the_rest(forms, capsys):
    for name in ("a.png", "b.png", "c.png"):
        save(f"in/{name}", noise(16, 16))
    Path("in/b.png").write_bytes(Path("in/b.png").read_bytes()[:60])
    Path("in/d.jpg").write_text("no picture")
    assert translate("in", "--model", forms / "run", "--to", "out") == 1
    printed = capsys.readouterr().out
    assert "left out: in/b.png: cannot be decoded" in printed
    assert "translated 2 pictures to out" in printed
    assert "2 could not be translated" in printed
    assert sorted(os.listdir("out")) == ["a.png", "c.png"]
    refused(capsys, "in/b.png: cannot be decoded", "in", "--model", forms / "run", "--to", "strict",
            "--strict")  # fmt: skip


def test_nothing_is_overwritten(forms, capsys):
    save("in/a.png", noise(16, 16))
    save("in/b.png", noise(16, 16))
    Path("out").mkdir()
    Path("out/a.png").write_text("mine")
    refused(capsys, "out/a.png exists already: pass", "in", "--model",
            forms / "run", "--to", "out")  # fmt: skip
    assert os.listdir("out") == ["a.png"]
    assert translate("in", "--model", forms / "run", "--to", "out", "--skip-existing") == 0
    assert "translated 1 pictures" in (printed := capsys.readouterr().out)
    assert "1 existed already" in printed
    assert Path("out/a.png").read_text() == "mine"
    refused(capsys, "in/a.png would be overwritten", "in", "--model", forms / "run", "--to", "in")
    save("other/a.png", noise(16, 16))
    refused(capsys, "would both become new/a.png", "in", "other", "--model", forms / "run",
            "--to", "new")  # fmt: skip
    Path("file").write_text("mine")
    refused(capsys, "file: cannot be created", "in", "--model", forms / "run", "--to", "file")


def test_which_files_are_taken(forms, capsys):
    for name in ("a.png", "sub/b.jpg", "sub/.hidden.png", "out/old.png"):
        save(f"in/{name}", noise(16, 16))
    Path("in/readme.md").write_text("no picture")
    names = [job.name for job in find_pictures(["in"], "in/out")]
    assert names == ["a.png", "sub/b.jpg"]
    assert [job.name for job in find_pictures(["in"], "x", "*.jpg")] == ["sub/b.jpg"]
    assert [job.name for job in find_pictures(["in/readme.md"], "x")] == ["readme.md"]
    refused(capsys, "nowhere: there is no such", "nowhere", "--model", forms / "run", "--to", "x")
    refused(capsys, "no pictures in in", "in", "--glob", "*.tif", "--model", forms, "--to", "x")


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("nothing", "nothing: there is no such file or folder"),
        ("empty", "no run, SavedModel or export in that folder"),
        ("bad.tflite", "bad.tflite: not a LiteRT file"),
        ("odd.tflite", r"odd.tflite: not a generator: it goes from \[1, 10\] to"),
        ("bad.keras", "bad.keras: not a model this version can load"),
        ("dense.keras", "not a generator: it goes from"),
        ("classifier.keras", r"goes from \(None, None, None, 3\) to \(None, 2\)"),
        ("sized.keras", r"takes .*\(None, 8, 8, 3\)"),
        ("plain", "no signature serving_default from images to images"),
        ("broken", "broken: not a SavedModel that can be loaded"),
        ("http://localhost:1/", "not the address of a model"),
        ("grpc://localhost:1", "not the address of a model"),
    ],
)
def test_what_is_no_generator(model, message, capsys):
    save("a.png", noise(16, 16))
    Path("empty").mkdir()
    Path("bad.tflite").write_bytes(b"TFL3 nothing of the kind")
    Path("bad.keras").write_bytes(b"nothing of the kind")
    Path("broken").mkdir()
    Path("broken/saved_model.pb").write_bytes(b"nothing of the kind")
    if model == "odd.tflite":
        f = tf.function(lambda x: x + 1, input_signature=[tf.TensorSpec((1, 10), tf.float32)])
        converter = tf.lite.TFLiteConverter.from_concrete_functions([f.get_concrete_function()])
        Path(model).write_bytes(converter.convert())
    if model == "dense.keras":
        keras.Sequential([keras.Input((4,)), keras.layers.Dense(2)]).save(model)
    if model == "classifier.keras":
        pool = keras.layers.GlobalAveragePooling2D()
        keras.Sequential([keras.Input((None, None, 3)), pool, keras.layers.Dense(2)]).save(model)
    if model == "sized.keras":
        keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(3, 1)]).save(model)
    if model == "plain":
        small(1).export("plain", verbose=False)
        assert Path("plain/saved_model.pb").exists()
    refused(capsys, message, "a.png", "--model", model, "--to", "out")
    assert not Path("out").exists()


def test_a_fixed_file_refuses_another_size(forms, capsys):
    save("a.png", noise(16, 16))
    refused(capsys, "takes only 16x24", "a.png", "--model", forms / "fixed.tflite", "--to", "out",
            "--image-size", "32x32")  # fmt: skip
    refused(capsys, "--timeout 0: must be more than 0", "a.png", "--model", forms / "run",
            "--to", "out", "--timeout", 0)  # fmt: skip


def test_a_full_disk(forms, capsys, monkeypatch):
    save("in/a.png", noise(16, 16))
    real = Image.Image.save

    def full(image, path, *arguments, **settings):
        real(image, path, *arguments, **settings)
        if not isinstance(path, io.BytesIO):
            raise OSError(28, "No space left on device")

    monkeypatch.setattr(Image.Image, "save", full)
    refused(capsys, "out/a.png: the disk is full", "in", "--model", forms / "run", "--to", "out")
    assert os.listdir("out") == []


def test_a_killed_run_goes_on(forms):
    """After SIGKILL every file is complete, and --skip-existing translates the rest."""
    for index in range(60):
        save(f"in/{index:02d}.png", noise(128, 128, seed=index))
    command = [sys.executable, "-m", "tfcyclegan", "translate", "in", "--to", "out"]
    command += ["--model", forms / "run"]
    settings = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, env=settings, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while len(list(Path("out").glob("[0-9]*.png"))) < 5 and time.monotonic() < deadline:
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    there = sorted(Path("out").glob("[0-9]*.png"))
    assert 5 <= len(there) < 60
    for path in there:
        Image.open(path).load()
    before = {path: path.read_bytes() for path in there}
    assert translate("in", "--model", forms / "run", "--to", "out", "--skip-existing") == 0
    assert {path: path.read_bytes() for path in there} == before
    assert len(list(Path("out").glob("[0-9]*.png"))) == 60


def test_side_by_side(forms):
    """The page finds the comparison pictures whatever their names are."""
    save("in/plain.png", noise(40, 20))
    save('in/sub dir/a"b<c>&#é %41.png', noise(20, 30))
    save("in/wide.png", noise(2000, 8))
    arguments = ("--model", forms / "run", "--to", "out", "--side-by-side")
    assert translate("in", *arguments) == 0
    page = Path("out/index.html").read_text(encoding="utf-8")
    sources = re.findall(r'<img src="([^"]*)"', page)
    assert len(sources) == 6
    assert all(re.fullmatch(r"side-by-side/[\w./%~-]+\.jpg", source) for source in sources)
    for source in sources:
        assert Path("out", unquote(source)).exists()
    assert "<c>" not in page
    assert "<title>out AtoB</title>" in page
    assert "http" not in page
    assert Image.open("out/side-by-side/wide.png.jpg").size == (3200, 6)
    both = pixels_of("out/side-by-side/plain.png.jpg")
    assert both.shape == (20, 80, 3)
    assert np.abs(both[:, :40] - noise(40, 20)).mean() < 12
    assert np.abs(both[:, 40:] - pixels_of("out/plain.png")).mean() < 12
    # An existing page is not overwritten.
    with pytest.raises(InputError, match=r"out/index.html exists already"):
        list(translate_files([], open_runtime(small(1)), "out", side_by_side=True))
    # Continuing also shows earlier pictures and skips files that are not pictures.
    Path("out/side-by-side/broken.jpg").write_text("no picture")
    save("in/more.png", noise(16, 16))
    assert translate("in", *arguments, "--skip-existing") == 0
    assert len(re.findall("<figure", Path("out/index.html").read_text(encoding="utf-8"))) == 4


def test_what_cannot_be_saved_is_named(forms, capsys):
    """EXIF that is too long is dropped. A blocked folder fails only its own pictures."""
    exif = Image.Exif()
    exif[0x010E] = "long" * 10000
    save("in/a.png", noise(16, 16), exif=exif)
    save("in/taken/b.png", noise(16, 16))
    save("in/c.webp", noise(16, 16))
    Path("out").mkdir()
    Path("out/taken").write_text("mine")
    assert translate("in", "--model", forms / "run", "--to", "out") == 1
    assert "left out: out/taken/b.png: cannot be written" in capsys.readouterr().out
    assert sorted(os.listdir("out")) == ["a.png", "c.webp", "taken"]
    assert Path("out/taken").read_text() == "mine"


def test_names_that_are_no_text(forms):
    name = os.fsdecode(b"caf\xe9.png")
    save(f"in/{name}", noise(16, 16))
    assert translate("in", "--model", forms / "run", "--to", "out", "--side-by-side") == 0
    assert Path("out", name).exists()
    assert "caf%E9.png.jpg" in Path("out/index.html").read_text(encoding="utf-8")


def test_damaged_exif_does_not_matter(forms):
    save("in/a.jpg", noise(16, 16), exif=b"Exif\x00\x00MM\x00*\xff\xff\xff\xff")
    assert translate("in", "--model", forms / "run", "--to", "out") == 0


def test_links_are_followed_once(forms):
    save("in/a.png", noise(16, 16))
    save("elsewhere/b.png", noise(16, 16))
    Path("in/link").symlink_to(Path("elsewhere").resolve())
    Path("in/round").symlink_to(Path("in").resolve())
    assert [job.name for job in find_pictures(["in"], "out")] == ["a.png", "link/b.png"]


def test_what_a_server_answers_is_not_trusted():
    """An answer of another size, one that claims 60,000 px per side, and no picture at all."""
    asked = noise(16, 16)
    file = png.to_png(asked)
    np.testing.assert_array_equal(png.from_png(file, asked, "x"), asked)
    claims = bytearray(file)
    claims[16:24] = (60000).to_bytes(4, "big") * 2
    claims[29:33] = zlib.crc32(bytes(claims[12:29])).to_bytes(4, "big")
    for answer in (png.to_png(noise(16, 8)), bytes(claims), file[:50], b"", b"\x89PNG"):
        with pytest.raises(InputError, match="x answers something else than a picture"):
            png.from_png(answer, asked, "x")


def test_the_wrong_direction_is_not_taken_silently(forms, capsys):
    save("a.png", noise(16, 16))
    for model in ("fixed.tflite", "export/serving/AtoB"):
        refused(capsys, "goes AtoB: leave .*direction.*BtoA", "a.png", "--model", forms / model,
                "--to", "out", "--direction", "BtoA")  # fmt: skip


def test_a_server_that_goes_away_stops_the_run():
    """An error that concerns all pictures is raised once."""

    class Gone:
        name, direction, channels, size, max_pixels, concurrent = "gone", None, 3, None, 10**6, 2

        def __call__(self, pixels):
            raise InputError("gone does not answer")

    for index in range(5):
        save(f"in/{index}.png", noise(16, 16))
    with pytest.raises(InputError, match="gone does not answer"):
        list(translate_files(find_pictures(["in"], "out"), Gone(), "out"))
    assert os.listdir("out") == []


def test_from_python(forms):
    runtime = open_runtime(small(1))
    truth = by_hand(small(1), noise(16, 24))
    assert np.abs(runtime(noise(16, 24)).astype(int) - truth).max() <= 1
    assert isinstance(open_runtime(forms / "export"), SavedModelRuntime)
    grey = open_runtime(small(5, channels=1))
    save("a.png", noise(16, 16))
    (job,) = translate_files(find_pictures(["a.png"], "out"), grey, "out")
    assert job.problem is None
    assert Image.open("out/a.png").mode == "L"


LARGE = """
import sys
from tfcyclegan.cli import main
assert main(["translate", "large.jpg", "--model", sys.argv[1], "--to", "out"]) == 0
print(open("/proc/self/status").read().split("VmHWM:")[1].split()[0])
"""


@pytest.mark.slow
def test_24_megapixels_in_bounded_memory(tmp_path):
    """6000×4000 px in less than 3 GB. (Fewer filters make wider strips, not more memory.)"""
    resnet_generator(256, filters=16, blocks=1).save("G.keras")
    rough = Image.fromarray(noise(60, 40))
    rough.resize((6000, 4000), Image.Resampling.BICUBIC).save("large.jpg")
    done = subprocess.run(
        [sys.executable, "-c", LARGE, "G.keras"],
        capture_output=True, text=True, env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert Image.open("out/large.jpg").size == (6000, 4000)
    assert int(done.stdout.split()[-1]) < 3e6
    assert os.listdir("out") == ["large.jpg"]
