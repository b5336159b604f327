"""The command line, as a user types it."""

import dataclasses
import json
import os
import re
import subprocess
import sys
import warnings
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan import InputError, environment
from tfcyclegan.cli import main
from tfcyclegan.commands.train import understand
from tfcyclegan.export.proof import LIMITS, Limit
from tfcyclegan.training.build import build_model, compile_model
from tfcyclegan.training.config import Config
from tfcyclegan.training.measuring import Measuring

ROOT = Path(__file__).parents[1]
TINY = [
    "--image-size",
    "16",
    "--batch-size",
    "2",
    "--filters",
    "2",
    "--blocks",
    "1",
    "--discriminator-filters",
    "2",
    "--discriminator-layers",
    "1",
    "--epochs",
    "2",
    "--steps-per-epoch",
    "3",
    "--precision",
    "float32",
    "--pool-size",
    "3",
    "--no-export",
]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Commands run in an empty folder."""
    monkeypatch.chdir(tmp_path)


def train(*arguments):
    return main(["train", *map(str, arguments)])


def refused(capsys, message, *arguments):
    """It ends with 2 and one line on standard error that says what it should."""
    assert train(*arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def files(directory):
    return {p: p.read_bytes() for p in Path(directory).rglob("*") if p.is_file()}


def test_a_run_leaves_what_it_should(capsys):
    assert train(*TINY, "--checkpoint-steps", 2) == 0
    run = Path("runs/shapes")
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "config.json", "curves.png", "history.csv", "model.keras", "report.html",
        "result.json", "samples", "tensorboard",
    }  # fmt: skip
    assert len(list((run / "checkpoints").iterdir())) == 3
    assert (run / "samples" / "epoch_0001.png").exists()
    config = json.loads((run / "config.json").read_text())
    assert config["learning_rate"] == 3e-4  # the embedded recipe, resolved
    assert config["residual_output"] is True
    result = json.loads((run / "result.json").read_text())
    printed = capsys.readouterr().out
    for direction in ("AtoB", "BtoA"):
        for column in ("translated", "untouched"):
            psnr = result["evaluation"]["scores"][direction]["psnr"][column]
            assert f"{psnr:.2f} dB" in printed
    for path in ("samples/epoch_0002.png", "curves.png", "model.keras", "checkpoints"):
        assert f"runs/shapes/{path}" in printed
    model = keras.saving.load_model(run / "model.keras")
    assert int(model.step.numpy()) == 6
    # The next run does not touch this one.
    before = files(run)
    assert train(*TINY) == 0
    assert files(run) == before
    assert Path("runs/shapes-2/model.keras").exists()


def test_a_run_ends_with_its_exports(capsys, monkeypatch):
    """A missed bar is a warning here: the training is what was asked for."""
    monkeypatch.setitem(LIMITS, "LiteRT int8", Limit(psnr=300.0))
    default_size = TINY[TINY.index("--image-size") + 2 :]
    assert train(*default_size, "--epochs", 1, "--export") == 0
    printed = capsys.readouterr().out
    assert json.loads(Path("exports/shapes/report.json").read_text())["image_size"] == [32, 32]
    assert "Exported to exports/shapes" in printed
    assert "warning: BtoA LiteRT int8: " in printed
    assert Path("exports/shapes/serving/BtoA/1/saved_model.pb").exists()
    assert Path("exports/shapes/litert/AtoB-float16.tflite").exists()
    assert not Path("exports/shapes/litert/AtoB-int8.tflite").exists()


def test_photographs_without_a_recipe_train_as_in_the_paper(folder):
    config = Config(data=str(folder)).resolved()
    expected = {
        "image_size": 256, "batch_size": 1, "filters": 64, "blocks": 9, "epochs": 200,
        "learning_rate": 2e-4, "discriminator_filters": 64, "discriminator_layers": 3,
        "upsampling": "transposed", "residual_output": False, "lambda_cycle_A": 10.0,
        "lambda_identity": 0.5, "pool_size": 50, "objective": "lsgan", "norm": "instance",
        "preprocess": "resize_and_crop",
    }  # fmt: skip
    assert {name: getattr(config, name) for name in expected} == expected
    assert Config(data="x", image_size=128).resolved().blocks == 6


def test_a_folder_is_trained_on(folder, capsys):
    assert train(*TINY, "--data", folder, "--no-tensorboard", "--validation-every", 1) == 0
    assert "cycle PSNR" in capsys.readouterr().out
    assert "val_cycle_A" in Path("runs/data/history.csv").read_text()


def layers(network, kind):
    return [layer for layer in network.layers if type(layer).__name__ == kind]


@pytest.mark.parametrize(
    ("options", "holds"),
    [
        (
            "--generator unet --image-size 32 --dropout 0.5",
            lambda m: (
                len(layers(m.G, "Conv2DTranspose")) == 5 == len(layers(m.F, "Concatenate")) + 1
            ),
        ),
        (
            "--discriminator pixel --norm batch --dropout 0.5 --blocks 2",
            lambda m: (
                m.D_A.get_layer("score").kernel_size == (1, 1)
                and len(layers(m.D_B, "BatchNormalization")) == 1
                and [layer.rate for layer in layers(m.G, "Dropout")] == [0.5, 0.5]
            ),
        ),
        (
            "--objective wgan-gp --precision mixed_bfloat16 --beta-1 0.7",
            lambda m: (
                m.objective.gradient_penalty == 10
                and m.F.get_layer("r1a").compute_dtype == "bfloat16"
                and m.generator_optimizer.beta_1 == 0.7
            ),
        ),
        (
            "--bare-first --downsampling-padding reflect --discriminator-padding reflect "
            "--sigmoid --norm instance-affine",
            lambda m: (
                len(layers(m.G, "ReflectionPadding2D")) == 6
                and len(layers(m.D_A, "ReflectionPadding2D")) == 3
                and m.D_A.layers[-1].name == "probability"
                and "c7_in_norm" not in [layer.name for layer in m.G.layers]
                and all(layer.affine for layer in layers(m.F, "InstanceNormalization"))
            ),
        ),
        (
            "--upsampling resize --residual-output False --filters 3 --discriminator-filters 5 "
            "--lambda-cycle-B 3 --lambda-cycle-A 4 --lambda-gan 2 --lambda-identity 0.1 "
            "--recompute --xla off",
            lambda m: (
                len(layers(m.G, "UpSampling2D")) == 2
                and not layers(m.F, "ResidualTanh")
                and m.G.get_layer("c7_in").filters == 3
                and m.D_B.get_layer("c1").filters == 5
                and (m.lambda_cycle_A, m.lambda_cycle_B, m.lambda_gan, m.lambda_identity)
                == (4, 3, 2, 0.1)
                and m.get_compile_config()["recompute"] is True
                and m.get_compile_config()["jit_compile"] is False
            ),
        ),
        (
            "--channels-A 1 --lambda-identity 0 --residual-output False",
            lambda m: m.G.input_shape[-1] == 1 and m.G.output_shape[-1] == 3,
        ),
        ("--pool-size 0", lambda m: not m.pool_A.variables),
        (
            "--seed 4 --constant-fraction 0.25 --learning-rate 0.5e-3",
            lambda m: (
                m.seed == 4
                and m.generator_optimizer._learning_rate.constant_fraction == 0.25
                and m.generator_optimizer._learning_rate.learning_rate == 0.5e-3
            ),
        ),
    ],
)
def test_options_reach_the_model(options, holds):
    config, _ = understand([*TINY, "--data", "pictures", *options.split()])
    config = config.resolved()
    model = build_model(config)
    compile_model(model, config, total_steps=6)
    assert holds(model)


def test_options_reach_the_data(folder):
    arguments = (
        *TINY, "--epochs", 1, "--data", folder, "--preprocess", "none", "--pool-size", 0,
        "--batch-size", 1, "--steps-per-epoch", 2, "--no-flip", "--sample-every", 0,
    )  # fmt: skip
    assert train(*arguments, "--run-dir", "run") == 0
    assert json.loads(Path("run/result.json").read_text())["steps"] == 2
    grid = Image.open("run/samples/epoch_0001.png")
    scale = round(128 / 24)
    assert grid.width == 6 * (24 * scale + 4) - 4  # the pictures' own size


def test_every_setting_is_an_option_with_a_word_on_it():
    done = subprocess.run(
        [sys.executable, ROOT / "train.py", "--help"], capture_output=True, text=True, check=True
    )
    settings = {s.name for kind in (Config, Measuring) for s in dataclasses.fields(kind)}
    for name in settings - {"measuring"}:
        assert f"--{name.replace('_', '-')}" in done.stdout
    training = ROOT / "tfcyclegan" / "training"
    source = "".join((training / name).read_text() for name in ("config.py", "measuring.py"))
    declared = re.findall(r'^    (\w+): .*=.*\n    """', source, re.M)
    assert set(declared) == settings


def test_resume_goes_on_and_compares_settings(capsys):
    # A longer run is no other setting.
    assert train(*TINY, "--run-dir", "run", "--epochs", 1) == 0
    capsys.readouterr()
    assert train("--resume", "--run-dir", "run", "--epochs", 2) == 0
    assert int(keras.saving.load_model("run/model.keras").step.numpy()) == 6
    before = files("run")
    refused(
        capsys,
        "--filters was 2, now 4; --learning-rate was 0.0003, now 0.01",
        *("--resume", "--run-dir", "run", "--filters", 4, "--learning-rate", 0.01),
    )
    refused(capsys, "--epochs was 2, now 1", "--resume", "--run-dir", "run", "--epochs", 1)
    assert files("run") == before


def test_resume_without_a_checkpoint_says_so(caplog):
    assert train(*TINY, "--epochs", 1, "--resume", "--run-dir", "new") == 0
    assert caplog.text.count("new has no checkpoint to resume from: starting afresh") == 1


def test_resume_takes_the_newest_run():
    for age, (name, data) in enumerate(
        {"shapes": "shapes", "horses": "pictures", "shapes-3": "shapes"}.items()
    ):
        Config(data=data, epochs=age + 1).save(f"runs/{name}/config.json")
        os.utime(f"runs/{name}/config.json", (age, age))

    def chosen(*arguments):
        config, resume = understand(arguments)
        assert resume == ("--resume" in arguments)
        return config.run_dir, config.data, config.epochs

    assert chosen("--resume") == ("runs/shapes-3", "shapes", 3)
    os.utime("runs/horses/config.json")
    assert chosen("--resume") == ("runs/horses", "pictures", 2)
    assert chosen("--resume", "--data", "shapes") == ("runs/shapes-3", "shapes", 3)
    assert chosen("--resume", "--data=facades", "--data-dir=x") == ("runs/facades", "facades", None)
    assert chosen() == ("runs/shapes-2", "shapes", None)
    assert chosen("--data", "a/b/My Pictures.zip:x y") == (
        "runs/x_y", "a/b/My Pictures.zip:x y", None
    )  # fmt: skip


def test_what_a_killed_start_left_is_no_run(caplog):
    Path("run").mkdir()
    Path("run/.config.part-123.json").write_text("{")
    assert train(*TINY, "--epochs", 1, "--run-dir", "run") == 0
    assert not list(Path("run").glob(".*"))


def test_resuming_a_finished_run_changes_nothing():
    assert train(*TINY, "--run-dir", "run", "--validation-every", 3) == 0
    before = files("run")
    assert train("--resume", "--run-dir", "run") == 0
    after = files("run")
    for name in ("history.csv", "result.json", "samples/epoch_0002.png"):
        assert after[Path("run", name)] == before[Path("run", name)]


def test_refusals(capsys, folder, tmp_path):
    refused(capsys, "did you mean horse2zebra", "--data", "horse2zebar")
    refused(capsys, "image-size 18: no multiple of 4.*take 16", "--image-size", 18)
    refused(capsys, "--batch-size 0: must be at least 1", "--batch-size", 0)
    refused(capsys, "--dropout 1.5: must lie between 0 and 1", "--dropout", 1.5)
    refused(capsys, "leaves no patch of 16 px", "--image-size", 16, "--discriminator-layers", 3)
    refused(capsys, "nothing to learn", *["--lambda-gan", "0", "--lambda-cycle-A", "0"],
            "--lambda-cycle-B", 0)  # fmt: skip
    refused(capsys, "needs logits, but a discriminator", "--sigmoid", "--objective", "hinge")
    refused(capsys, "take --lambda-identity 0", "--channels-A", 1, "--lambda-identity", 0.5)
    refused(
        capsys, "take --pool-size 0", "--data", folder, "--preprocess", "none", "--image-size", 16
    )
    (folder / "trainA" / "0.png").write_bytes(b"no picture")
    refused(capsys, "trainA/0.png: cannot be decoded", "--data", folder, *TINY)
    assert not Path("runs").exists()
    Path("file").write_text("mine")
    refused(capsys, "--run-dir file: that is a file", "--run-dir", "file")
    refused(capsys, "must be below 2", "--seed", 2**32)
    Path("taken").mkdir()
    Path("taken/letter.txt").write_text("mine")
    refused(capsys, "--run-dir taken: there is a run already: pass --resume", "--run-dir", "taken")
    refused(capsys, "no config.json in it", "--run-dir", "taken", "--resume")
    Path("taken/config.json").write_text('{"epoch": 3}')
    refused(capsys, "taken/config.json: not a configuration", "--run-dir", "taken", "--resume")
    assert sorted(p.name for p in Path("taken").iterdir()) == ["config.json", "letter.txt"]


def test_a_mistyped_option_gets_a_hint(capsys):
    with pytest.raises(SystemExit) as left:
        train("--image-sise", 64)
    assert left.value.code == 2
    assert "--image-size" in capsys.readouterr().err


def test_bad_pictures_are_left_out_when_asked(folder, caplog):
    (folder / "trainA" / "0.png").write_bytes(b"no picture")
    assert train(*TINY, "--epochs", 1, "--data", folder, "--skip-bad-images") == 0
    assert "left out 1 pictures" in caplog.text


def test_a_full_disk(capsys, monkeypatch):
    """A checkpoint that does not fit leaves nothing behind, and the message names it."""
    real = np.savez

    def full(path, **arrays):
        real(path, **arrays)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert train(*TINY, "--run-dir", "run") == 2
    assert re.search(r"step_000000003.npz: the disk is full: make room", capsys.readouterr().err)
    assert not list(Path("run/checkpoints").iterdir())


def test_a_loss_that_is_not_finite(capsys):
    assert train(*TINY, "--learning-rate", "1e30", "--epochs", 20) == 1
    error = capsys.readouterr().err
    assert re.search(r"\w+ is (nan|inf) at step \d+: training has diverged", error)
    assert "Last good checkpoint: " in error
    assert error.count("\n") == 1


def test_another_backend(tmp_path):
    """One line and exit code 2 from the command, ImportError with that line from Python."""
    settings = {**os.environ, "KERAS_BACKEND": "jax", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-m", "tfcyclegan", "train"], capture_output=True, text=True, env=settings
    )
    assert done.returncode == 2
    assert done.stderr.count("\n") == 1
    assert "set KERAS_BACKEND=tensorflow" in done.stderr
    done = subprocess.run(
        [sys.executable, "-c", "from tfcyclegan import CycleGAN"],
        capture_output=True, text=True, env=settings,
    )  # fmt: skip
    assert "ImportError: Keras is set to the backend 'jax' by the environment" in done.stderr
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    settings = {**settings, "KERAS_HOME": str(tmp_path)}
    del settings["KERAS_BACKEND"]
    done = subprocess.run(
        [sys.executable, "-m", "tfcyclegan", "train"], capture_output=True, text=True, env=settings
    )
    assert done.returncode == 2
    assert "keras.json" in done.stderr


def test_untested_versions_are_named(monkeypatch):
    monkeypatch.setattr(tf, "__version__", "2.99.1")
    with pytest.warns(UserWarning, match=r"tensorflow 2.99.1 .* 2.20 up to but not including 2.22"):
        environment.warn_if_untested()
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        environment.warn_if_untested()


def test_ranges_are_those_of_the_requirements():
    requirements = (ROOT / "requirements.txt").read_text()
    for package, (first, beyond) in environment.TESTED.items():
        assert f"{package}>={first},<{beyond}\n" in requirements
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for line in requirements.splitlines():
        if name := re.match(r"[\w-]+", line):
            assert name[0] in pins


def test_import_is_cheap(run_python):
    """No data sets, no plotting, no command line: those are loaded when they are needed."""
    keras_alone = run_python("import sys, keras, tensorflow; print(*sys.modules)").split()
    loaded = run_python("import sys, tfcyclegan; print(*sys.modules)").split()
    tops = {name.partition(".")[0] for name in set(loaded) - set(keras_alone)}
    assert not tops & {
        "tensorflow_datasets",
        "matplotlib",
        "tyro",
        "tensorboard",
        "scipy",
        "jinja2",
        "ai_edge_litert",
        "tensorflow_serving",
    }
    assert not {"tfcyclegan.evaluation", "tfcyclegan.export"} & set(loaded)


def test_config_refuses_what_it_does_not_know(tmp_path):
    Config(data="x", epochs=3).save(tmp_path / "c.json")
    assert Config.load(tmp_path / "c.json") == Config(data="x", epochs=3)
    (tmp_path / "c.json").write_text("{")
    with pytest.raises(InputError, match="not a configuration"):
        Config.load(tmp_path / "c.json")
    with pytest.raises(InputError, match="there is no such file"):
        Config.load(tmp_path / "d.json")


def test_the_wheel(tmp_path):
    """Built, installed elsewhere without the sources in reach, and run by its console command."""
    python = [sys.executable, "-m"]
    subprocess.run(
        [*python, "build", "--wheel", "--no-isolation", "--outdir", tmp_path, ROOT],
        check=True, capture_output=True,
    )  # fmt: skip
    (wheel,) = tmp_path.glob("tfcyclegan-*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    sources = {path.relative_to(ROOT).as_posix() for path in (ROOT / "tfcyclegan").rglob("*.py")}
    assert sources <= set(names)
    assert any(name.endswith("licenses/LICENSE") for name in names)
    site = tmp_path / "site"
    subprocess.run(
        [*python, "pip", "install", "--no-deps", "--no-index", "--target", site, wheel],
        check=True, capture_output=True,
    )  # fmt: skip
    settings = {**os.environ, "PYTHONPATH": str(site)}
    where = [sys.executable, "-c", "import tfcyclegan; print(tfcyclegan.__file__)"]
    found = subprocess.run(where, env=settings, cwd=tmp_path, capture_output=True, text=True)
    assert found.stdout.strip() == str(site / "tfcyclegan" / "__init__.py")
    done = subprocess.run(
        [site / "bin" / "tfcyclegan", "train", *TINY, "--epochs", "1"],
        env=settings, cwd=tmp_path, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "runs" / "shapes" / "model.keras").exists()
