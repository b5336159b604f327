"""Exports: the files, what is in them, the report, and what happens when something is wrong."""

import collections
import json
import re
import subprocess
import sys
import venv
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from tfcyclegan import InputError, resnet_generator, unet_generator
from tfcyclegan.cli import main
from tfcyclegan.export import litert
from tfcyclegan.export.exporting import export_generators, model_name
from tfcyclegan.export.proof import BARS, Bar, Proof
from tfcyclegan.networks.inspection import divisor, least_size
from tfcyclegan.runtimes.keras_model import KerasRuntime
from tfcyclegan.runtimes.litert import LiteRTRuntime, read_metadata
from tfcyclegan.runtimes.saved_model import SavedModelRuntime
from tfcyclegan.training.config import Config

ROOT = Path(__file__).parents[2]


def trained(network, seed=0):
    """The same weights every time, none of them zero or one, which might hide a mistake."""
    random = np.random.default_rng(seed)
    network.set_weights(
        [
            random.normal(0, 0.05, w.shape) if w.ndim == 4 else w + 0.05 * random.random(w.shape)
            for w in network.get_weights()
        ]
    )
    return network


def tiny(name="G", seed=0, **settings):
    return trained(resnet_generator(16, filters=4, blocks=1, name=name, **settings), seed)


def random_pictures(count=3, size=(16, 16), channels=3):
    values = np.random.default_rng(1).uniform(-1, 1, (count, *size, channels))
    return [picture.astype(np.float32) for picture in values]


GENERATORS = {"AtoB": lambda: tiny("G", 1), "BtoA": lambda: tiny("F", 2)}


def export(directory, directions=("AtoB", "BtoA"), **settings):
    settings = {"image_size": 16, **settings}
    return export_generators(
        {way: GENERATORS[way]() for way in directions},
        directory,
        dict.fromkeys(directions, random_pictures()),
        **settings,
    )


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    keras.utils.set_random_seed(0)
    directory = tmp_path_factory.mktemp("exports") / "my horses"
    return directory, export(directory)


def test_everything_is_where_a_server_and_an_app_look(exported):
    directory, report = exported
    assert report.missed == []
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*")}
    for way in ("AtoB", "BtoA"):
        for precision in ("float32", "float16", "int8"):
            assert {f"litert/{way}-{precision}.tflite", f"litert/{way}-{precision}.json"} <= found
        assert f"serving/{way}/1/saved_model.pb" in found
        assert f"serving/{way}/1/assets.extra/tf_serving_warmup_requests" in found
    assert not [name for name in found if ".part" in name]
    compose = (directory / "compose.yaml").read_text()
    assert "./serving:/models:ro" in compose
    assert "/models/models.config" in compose
    config = (directory / "serving" / "models.config").read_text()
    assert re.findall(r'name: "(.*)"', config) == ["my_horses_AtoB", "my_horses_BtoA"]
    assert re.findall(r'base_path: "(.*)"', config) == ["/models/AtoB", "/models/BtoA"]
    sizes = [(directory / f"litert/AtoB-{p}.tflite").stat().st_size for p in BARS_ORDER]
    assert sizes[0] > sizes[1] > sizes[2]


BARS_ORDER = ("float32", "float16", "int8")


def test_the_report_says_what_was_measured(exported):
    directory, report = exported
    read = json.loads((directory / "report.json").read_text())
    assert read["name"] == "my_horses"
    assert [r["kind"] for r in read["results"]] == 2 * [
        "SavedModel float32", "LiteRT float32", "LiteRT float16", "LiteRT int8"
    ]  # fmt: skip
    for result in read["results"]:
        path = directory / result["path"]
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        assert result["bytes"] == sum(p.stat().st_size for p in files)
        assert result["milliseconds"] > 0
        assert result["load_seconds"] > 0
        assert result["shortfall"] is None
    text = (directory / "report.md").read_text()
    for word in ("AtoB SavedModel float32", "BtoA LiteRT int8", "3 for AtoB", "threads", "16×16"):
        assert word in text
    assert text == report.to_markdown()


def test_a_figure_in_the_report_can_be_measured_again(exported):
    """The largest difference, computed here in plain numpy from the published file."""
    directory, report = exported
    G, pictures = GENERATORS["AtoB"](), random_pictures()
    for result in report.results[:4]:
        opened = SavedModelRuntime if "Saved" in result.kind else LiteRTRuntime
        artefact = opened(directory / result.path)
        differences = [artefact.run(p[None]) - np.asarray(G(p[None])) for p in pictures]
        assert np.max(np.abs(differences)) == pytest.approx(
            result.max_difference, rel=0.2, abs=1e-6
        )
        worst = min(10 * np.log10(4 / np.mean(d**2)) for d in differences)
        # Beyond 120 dB it is rounding that is compared with rounding.
        assert min(worst, 120) == pytest.approx(min(result.psnr, 120), abs=1.0)


CASES = {
    "paper": lambda: tiny(),
    "affine": lambda: tiny(norm="instance-affine", downsampling_padding="reflect", bare_first=True),
    "resize": lambda: tiny(upsampling="resize", residual_output=True),
    "batch norm": lambda: tiny(norm="batch", dropout=0.5),
    "grey to colour": lambda: tiny(channels=1, output_channels=3),
    "mixed_float16": lambda: tiny(dtype="mixed_float16"),
    "mixed_bfloat16": lambda: tiny(dtype="mixed_bfloat16"),
    "unet": lambda: trained(unet_generator(32, filters=4)),
}


@pytest.mark.parametrize("case", CASES)
def test_litert_is_the_same_generator(case):
    generator = CASES[case]()
    channels, size = generator.input_shape[-1], (32, 64)
    proof = Proof(generator, "AtoB", random_pictures(2, size, channels))
    for fixed in (size, None):
        files = litert.convert(generator, image_size=fixed)
        for precision, (content, _) in files.items():
            interpreter = Interpreter(model_content=content)
            assert interpreter.get_signature_list() == {
                "serving_default": {"inputs": ["images"], "outputs": ["images"]}
            }
            assert interpreter.get_input_details()[0]["dtype"] == np.float32
            bar = BARS[f"LiteRT {precision}"]
            for images, truth in zip(proof.pictures, proof._truth, strict=True):
                got = run_file(content, images)
                difference = np.abs(got - truth).max()
                psnr = 10 * np.log10(4 / max(np.mean((got - truth) ** 2), 1e-30))
                assert bar.shortfall(difference, psnr) is None, (precision, fixed)


def run_file(content, images):
    """As an app does it, in three calls."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.resize_tensor_input(0, images.shape, strict=False)
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(index, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def operations(content):
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return collections.Counter(op["op_name"] for op in interpreter._get_ops_details())


def test_the_paper_generator_is_delegated_in_five_parts():
    """Each part that XNNPACK does not take costs a copy of every activation on the way."""
    generator = resnet_generator(256, filters=4, blocks=9)
    for precision, (content, _) in litert.convert(generator, image_size=(64, 64)).items():
        found = operations(content)
        assert 1 <= found["DELEGATE"] <= 5, precision
        assert not {"MIRROR_PAD", "CUSTOM", "RESIZE_NEAREST_NEIGHBOR"} & set(found)


def test_what_an_app_must_know_is_inside_and_beside(exported):
    directory, _ = exported
    for path in (directory / "litert").glob("*.tflite"):
        inside = read_metadata(path.read_bytes())
        beside = json.loads(path.with_suffix(".json").read_text())
        assert beside == {"file": path.name, "bytes": path.stat().st_size, **inside}
        assert inside["input"]["shape"] == inside["output"]["shape"] == [1, 16, 16, 3]
        assert inside["input"]["name"] == inside["output"]["name"] == "images"
        assert inside["input"]["range"] == [-1, 1]
        assert (inside["input"]["mean"], inside["input"]["std"]) == (127.5, 127.5)
        assert path.stem == f"{inside['direction']}-{inside['precision']}"


def test_dynamic_size_says_what_it_needs():
    for generator in (tiny(), CASES["unet"]()):
        content, metadata = litert.convert(generator, ("float32",), image_size=None)["float32"]
        assert metadata["size"]["multiple_of"] == divisor(generator)
        assert metadata["size"]["at_least"] == least_size(generator)
        side = least_size(generator)
        images = random_pictures(1, (side, side + divisor(generator)))[0][None]
        assert run_file(content, images).shape == images.shape


def test_divisor_and_least_size():
    assert (divisor(tiny()), least_size(tiny())) == (4, 8)
    unet = unet_generator(64, filters=2)
    assert (divisor(unet), least_size(unet)) == (64, 64)


def test_the_next_export_is_the_next_version(tmp_path):
    export(tmp_path / "x", ("AtoB",))
    before = {p: p.read_bytes() for p in (tmp_path / "x/serving/AtoB/1").rglob("*") if p.is_file()}
    (tmp_path / "x/serving/AtoB/notes").mkdir()
    (tmp_path / "x/serving/AtoB/7").mkdir()
    assert "padding stays off" in (tmp_path / "x/serving/batching.config").read_text()
    (tmp_path / "x/compose.yaml").write_text("changed by hand")
    export(tmp_path / "x", ("AtoB",), precision="bfloat16")
    assert (tmp_path / "x/serving/AtoB/8/saved_model.pb").exists()
    assert {p: p.read_bytes() for p in before} == before
    assert (tmp_path / "x/compose.yaml").read_text() == "changed by hand"
    assert "BtoA" not in (tmp_path / "x/serving/models.config").read_text()
    loaded = SavedModelRuntime(tmp_path / "x/serving/AtoB/8")
    got = loaded.run(random_pictures(1)[0][None])
    truth = np.asarray(GENERATORS["AtoB"]()(random_pictures(1)[0][None]))
    assert 0 < np.abs(got - truth).max() < 0.1


def test_under_its_bar_nothing_is_published(tmp_path, monkeypatch):
    monkeypatch.setitem(BARS, "LiteRT int8", Bar(psnr=300.0))
    monkeypatch.setitem(BARS, "SavedModel float32", Bar(max_difference=-1.0))
    report = export(tmp_path / "x", ("AtoB",))
    assert not (tmp_path / "x/litert/AtoB-int8.tflite").exists()
    assert not (tmp_path / "x/serving/AtoB").exists()
    assert (tmp_path / "x/litert/AtoB-float16.tflite").exists()
    assert len(report.missed) == 2
    assert re.match(r"AtoB LiteRT int8: .* dB short of 300; not published", report.missed[1])
    assert "NOT PUBLISHED" in (tmp_path / "x/report.md").read_text()

    report = export(tmp_path / "x", ("AtoB",), enforce=False)
    assert (tmp_path / "x/litert/AtoB-int8.tflite").exists()
    assert (tmp_path / "x/serving/AtoB/1/saved_model.pb").exists()
    assert "UNDER ITS BAR" in (tmp_path / "x/report.md").read_text()
    assert "published all the same" in report.missed[0]


def test_what_is_not_a_number_misses_every_bar():
    for bar in BARS.values():
        assert bar.shortfall(float("nan"), float("nan"))
        assert bar.shortfall(0.0, float("inf")) is None


def test_a_failure_midway_leaves_nothing_behind(tmp_path, monkeypatch):
    def broken(*arguments, **settings):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(litert, "convert", broken)
    with pytest.raises(InputError, match="x: the disk is full"):
        export(tmp_path / "x", ("BtoA", "AtoB"))
    left = [p for p in (tmp_path / "x").rglob("*") if ".part" in p.name]
    assert left == []
    # All is published at the end, or nothing.
    assert not list((tmp_path / "x").rglob("saved_model.pb"))


def test_a_place_that_is_taken(tmp_path):
    (tmp_path / "x").mkdir()
    (tmp_path / "x/litert").write_text("mine")
    with pytest.raises(InputError, match="x/litert: there is a file where a folder"):
        export(tmp_path / "x", ("AtoB",))
    assert (tmp_path / "x/litert").read_text() == "mine"


def test_bad_settings_are_refused(tmp_path):
    (tmp_path / "file").write_text("mine")
    for message, settings in {
        "precision='half' is unknown": {"precision": "half"},
        "18×18: sides must be multiples of 4": {"image_size": 18},
        "16×4: sides must be multiples of 4 and at least 8": {"image_size": (4, 16)},
        "max_pixels=0: must be at least the 256": {"max_pixels": 0},
        "below 2": {"max_pixels": 2**70},
    }.items():
        with pytest.raises(InputError, match=message):
            export(tmp_path / "y", **settings)
    assert not (tmp_path / "y").exists()
    with pytest.raises(InputError, match="there is a file where a folder should be"):
        export(tmp_path / "file")
    with pytest.raises(InputError, match="no pictures to measure AtoB on"):
        export_generators({"AtoB": tiny()}, tmp_path / "y", {}, image_size=16)
    assert (tmp_path / "file").read_text() == "mine"


def test_names_fit_for_a_server():
    assert model_name(Path("/x/Horse & Zebra é")) == "Horse_Zebra"
    assert model_name(Path("/")) == "model"


def test_from_python(make_model, tmp_path):
    """`model.export_generators`, on arrays and on loaded data, from a mixed-precision model."""
    model = make_model("mixed_bfloat16")
    images = np.stack(random_pictures(2, (20, 20)))
    report = model.export_generators(
        tmp_path / "x", (images, images), directions=("BtoA",), count=1
    )
    assert report.image_size == (16, 16)
    assert report.pictures == {"BtoA": 1}
    assert not (tmp_path / "x/serving/AtoB").exists()
    truth = KerasRuntime(model.F, "F")
    pixels = np.random.default_rng(0).integers(0, 256, (16, 16, 3), np.uint8)
    got = LiteRTRuntime(tmp_path / "x/litert/BtoA-float32.tflite")(pixels)
    assert np.abs(got.astype(int) - truth(pixels)).max() <= 1


@pytest.fixture
def run(make_model, tmp_path, monkeypatch):
    """A finished run folder, and commands in an empty folder beside it."""
    monkeypatch.chdir(tmp_path)
    make_model().save(make(tmp_path / "runs/shapes") / "model.keras")
    Config(data="shapes", image_size=16).save("runs/shapes/config.json")
    return "runs/shapes"


def make(folder):
    folder.mkdir(parents=True)
    return folder


def test_the_command(run, capsys, monkeypatch):
    assert main(["export", run, "--direction", "AtoB", "--count", "2"]) == 0
    printed = capsys.readouterr().out
    assert "AtoB SavedModel float32" in printed
    assert "exports/shapes/report.md" in printed
    assert Path("exports/shapes/litert/AtoB-int8.tflite").exists()
    assert not Path("exports/shapes/litert/BtoA-int8.tflite").exists()

    monkeypatch.setitem(BARS, "LiteRT float32", Bar(max_difference=-1.0))
    arguments = ["export", f"{run}/model.keras", "--data", "shapes", "--to", "there"]
    arguments += ["--image-size", "8x16", "--dynamic-size", "--direction", "BtoA"]
    assert main(arguments) == 1
    assert re.search(r"BtoA LiteRT float32: difference .* not published", capsys.readouterr().err)
    assert main([*arguments, "--no-enforce"]) == 0
    assert json.loads(Path("there/report.json").read_text())["image_size"] == [8, 16]


def test_the_command_refuses(run, capsys):
    def refused(message, *arguments):
        assert main(["export", *arguments]) == 2
        error = capsys.readouterr().err
        assert re.search(message, error), error
        assert error.count("\n") == 1

    refused("no config.json in it, so it is no run", "runs")
    refused("nowhere: there is no such file or folder", "nowhere")
    Path("alone.keras").write_bytes(Path(run, "model.keras").read_bytes())  # its run left behind
    refused("pass --data", "alone.keras")
    refused("image size 18×18: sides must be multiples of 4", run, "--image-size", "18")
    refused("--image-size x: give one number", run, "--image-size", "x")
    refused("--count 0", run, "--count", "0")
    refused("--data nothing: there is no such", run, "--data", "nothing")
    Path("file").write_text("mine")
    refused("file where a folder should be", run, "--to", "file")
    Path(run, "model.keras").write_bytes(b"PK\x03\x04 no zip")
    refused("not a model this version can load", run)
    Path(run, "model.keras").unlink()
    refused("the run is not finished; go on with", run)
    assert not Path("exports").exists()


BARE = """
import json, sys
from pathlib import Path
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

assert not {"tensorflow", "keras", "tfcyclegan"} & set(sys.modules)
photograph, *files = sys.argv[1:]
for file in files:
    about = json.loads(Path(file).with_suffix(".json").read_text())
    size = about["size"]["width"], about["size"]["height"]
    image = Image.open(photograph).convert("RGB").resize(size, Image.Resampling.BICUBIC)
    values = np.asarray(image, np.float32)[np.newaxis]
    values = (values - about["input"]["mean"]) / about["input"]["std"]
    interpreter = Interpreter(model_path=file)
    (drawn,) = interpreter.get_signature_runner()(images=values).values()
    pixels = np.clip(np.rint((drawn[0] + 1) * 127.5), 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(Path(file).with_suffix(".png"))
try:
    import tensorflow
except ImportError:
    print("no tensorflow here")
"""


@pytest.mark.slow
def test_without_tensorflow(exported, tmp_path):
    """An environment of numpy, Pillow and ai-edge-litert alone translates with each file."""
    directory, _ = exported
    venv.create(tmp_path / "bare", with_pip=True)
    python = tmp_path / "bare/bin/python"
    pip = [python, "-m", "pip", "--disable-pip-version-check", "install", "--quiet"]
    packages = ["-c", ROOT / "constraints.txt", "numpy", "pillow", "ai-edge-litert"]
    subprocess.run([*pip, *packages], check=True)
    photograph = tmp_path / "photograph.jpg"
    values = np.random.default_rng(3).integers(0, 256, (9, 12, 3), np.uint8)
    Image.fromarray(values).resize((120, 90)).save(photograph)
    files = sorted((directory / "litert").glob("*.tflite"))
    done = subprocess.run(
        [python, "-c", BARE, photograph, *files], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "no tensorflow here\n"
    image = Image.open(photograph).convert("RGB").resize((16, 16), Image.Resampling.BICUBIC)
    for file in files:
        truth = KerasRuntime(GENERATORS[file.name[:4]](), "")(np.asarray(image)).astype(int)
        got = np.asarray(Image.open(file.with_suffix(".png")))
        file.with_suffix(".png").unlink()
        error = np.mean((got - truth) ** 2.0)
        assert error <= (1 if "int8" not in file.name else 255**2 / 10**3.5), file.name


def test_importing_the_package_loads_no_export_libraries(run_python):
    code = "import sys, tfcyclegan; print(*sys.modules)"
    loaded = run_python(code).split()
    tops = {name.partition(".")[0] for name in loaded}
    assert not tops & {"ai_edge_litert", "tensorflow_serving", "tyro", "PIL.ImageDraw"}
    assert not [name for name in loaded if name.startswith("tfcyclegan.export")]
    assert sys.modules["tfcyclegan.export"]  # here it is
