"""`tfcyclegan train`: what a run leaves, resuming, options, refusals."""

import dataclasses
import json
import os
import re
from pathlib import Path

import keras
import numpy as np
import pytest
from PIL import Image
from tiny_run import tiny_features

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.commands.train import Train, architecture, understand
from tfcyclegan.export.proof import LIMITS, Limit
from tfcyclegan.losses import OBJECTIVES
from tfcyclegan.runtimes.keras_model import KerasRuntime, generator_of
from tfcyclegan.training.build import build_model, compile_model, set_initial_weights
from tfcyclegan.training.config import Config


def files(directory):
    return {p: p.read_bytes() for p in Path(directory).rglob("*") if p.is_file()}


def test_a_run_leaves_what_it_should(run, run_once):
    assert {path.name for path in run.iterdir()} == {
        "checkpoints", "config.json", "curves.png", "history.csv", "model.keras", "report.html",
        "result.json", "samples", "tensorboard",
    }  # fmt: skip
    assert len(list((run / "checkpoints").iterdir())) == 3
    assert (run / "samples" / "epoch_0001.png").exists()
    config = json.loads((run / "config.json").read_text())
    assert config["learning_rate"] == 3e-4  # of the embedded recipe
    assert config["residual_output"] is True
    result = json.loads((run / "result.json").read_text())
    printed = run_once[1]
    for direction in ("AtoB", "BtoA"):
        for column in ("translated", "untouched"):
            psnr = result["evaluation"]["scores"][direction]["psnr"][column]
            assert f"{psnr:.2f} dB" in printed
    for path in ("samples/epoch_0002.png", "curves.png", "model.keras", "checkpoints"):
        assert f"runs/shapes/{path}" in printed
    assert int(keras.saving.load_model(run / "model.keras").step.numpy()) == 6


def test_a_run_ends_with_its_exports(tiny, capsys, monkeypatch):
    """An export that misses its accuracy limit is only a warning here."""
    monkeypatch.setitem(LIMITS, "LiteRT int8", Limit(psnr=300.0))
    default_size = tiny[tiny.index("--image-size") + 2 :]
    assert main(["train", *default_size, "--epochs", "1", "--export"]) == 0
    printed = capsys.readouterr().out
    assert json.loads(Path("exports/shapes/report.json").read_text())["image_size"] == [32, 32]
    assert "Exported to exports/shapes" in printed
    assert "warning: BtoA LiteRT int8: " in printed
    assert Path("exports/shapes/serving/BtoA/1/saved_model.pb").exists()
    assert Path("exports/shapes/litert/AtoB-float16.tflite").exists()
    assert not Path("exports/shapes/litert/AtoB-int8.tflite").exists()


def test_a_folder_is_trained_on(folder, train, capsys, caplog, monkeypatch):
    """Validated on the way, without bad pictures if asked. Without a GPU it names the recipe."""
    monkeypatch.setattr("tensorflow.config.list_physical_devices", lambda kind=None: [])
    (folder / "trainA" / "0.png").write_bytes(b"no picture")
    assert train("--data", folder, "--validation-every", 1, "--skip-bad-images") == 0
    printed = capsys.readouterr().out
    assert "cycle PSNR" in printed
    assert "--recipe fast shows results within the hour" in printed
    assert "val_cycle_A" in Path("runs/data/history.csv").read_text()
    assert "left out 1 pictures" in caplog.text


def test_a_pix2pix_run(folder, tiny, capsys):
    """Trained on pairs, resumed, measured against the truth, exported and used."""
    for half in ("train", "test"):
        for path in (folder / f"{half}A").iterdir():
            (folder / f"{half}B" / path.name).write_bytes(path.read_bytes())
    place = tiny.index("--pool-size")
    options = [*tiny[:place], *tiny[place + 2 :], "--image-size", "32", "--data", str(folder)]
    options += ["--model", "pix2pix", "--direction", "BtoA", "--export"]
    assert main(["train", *options]) == 0
    printed = capsys.readouterr().out
    assert "recipe pix2pix:" in printed
    assert "B to A" in printed
    assert "A to B" not in printed
    result = json.loads(Path("runs/data/result.json").read_text())
    assert result["losses"].keys() >= {"G_loss", "L1", "D_loss"}
    assert set(result["evaluation"]["scores"]["BtoA"]["psnr"]) == {"translated", "untouched"}
    assert Image.open("runs/data/samples/epoch_0001.png").width > 3 * 100  # B, G(B), truth
    assert not Path("exports/data/serving/AtoB").exists()
    for model in ("runs/data", "exports/data", "exports/data/litert/BtoA-float32.tflite"):
        command = ["translate", str(folder / "testB"), "--model", model, "--to", f"out/{model}"]
        assert main([*command, *(() if "litert" in model else ("--image-size", "32"))]) == 0
        assert len(list(Path(f"out/{model}").glob("*.png"))) == 2
    pictures = [Image.open(next(Path("out", m).glob("0*"))) for m in ("runs/data", "exports/data")]
    np.testing.assert_allclose(*map(np.int16, pictures), atol=1)
    assert main(["evaluate", "runs/data", "--metrics", "psnr"]) == 0
    assert main(["train", "--resume", "--epochs", "2"]) == 0
    capsys.readouterr()
    assert main(["evaluate", "runs/data", "--direction", "AtoB"]) == 2
    assert "--direction AtoB: goes with a single generator" in capsys.readouterr().err
    started, settings = understand(["--data", str(folder), "--initial-weights", "runs/data"])[0], []
    assert (started.model, started.direction) == ("pix2pix", "BtoA")
    for direction in ("AtoB", "BtoA"):
        config = dataclasses.replace(started, direction=direction).resolved()
        settings.append(build_model(config))
    set_initial_weights(settings[1], "runs/data")
    with pytest.raises(InputError, match="translates BtoA, but this run AtoB: set `model`"):
        set_initial_weights(settings[0], "runs/data")
    assert main(["train", "--data", str(folder), "--model", "pix2pix", "--pool-size", "5"]) == 2
    assert "--pool-size 5: goes with --model cyclegan" in capsys.readouterr().err


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
            "--recipe from-scratch --blocks 1 --norm instance-affine --objective lsgan",
            lambda m: (
                len(layers(m.G, "ReflectionPadding2D")) == 6
                and len(layers(m.D_A, "ReflectionPadding2D")) == 3
                and m.D_A.layers[-1].name == "probability"
                and "c7_in_norm" not in [layer.name for layer in m.G.layers]
                and all(layer.affine for layer in layers(m.F, "InstanceNormalization"))
                and m.discriminators_first
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
            "--recipe fast --lambda-cycle-A 5 --discriminator-learning-rate 1e-3 --beta-2 0.9",
            lambda m: (
                m.ema_momentum == 0.998
                and [len(D.outputs) for D in (m.D_A, m.D_B)] == [5, 5]
                and m.D_A.get_layer("translation").fraction == 0.125
                and m.G.name == "G"
                and layers(m.G, "PixelNormalization")
                and (m.lambda_cycle_A, m.lambda_cycle_B, m.lambda_identity) == (5, 10, 0)
                and m.objective is OBJECTIVES["hinge"]
                and m.generator_optimizer.beta_2 == m.discriminator_optimizer.beta_2 == 0.9
                and m.discriminator_optimizer._learning_rate.learning_rate == 1e-3
                and m.generator_optimizer._learning_rate.learning_rate == 4e-4
            ),
        ),
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
def test_options_reach_the_model(options, holds, tiny):
    config, _ = understand([*tiny, "--data", "pictures", *options.split()])
    config = config.resolved()
    model = build_model(config)
    compile_model(model, config, total_steps=6)
    assert holds(model)


def test_the_fast_recipe(train, capsys):
    """It says what it takes from the recipe. The averages are what a run leaves."""
    tiny_features().save("features.keras")
    features = ("--features", "features.keras", "--feature-pixels", "tf")
    assert train("--recipe", "fast", "--test-count", 2, "--no-tensorboard", *features) == 0
    printed = capsys.readouterr().out
    assert re.search("recipe fast: .*discriminator=projected.patch .*ema_momentum=0.998", printed)
    assert " filters=" not in printed  # was given
    config = json.loads(Path("runs/shapes/config.json").read_text())
    assert (config["recipe"], config["ema_momentum"], config["filters"]) == ("fast", 0.998, 2)
    model = keras.saving.load_model("runs/shapes/model.keras")
    images = np.random.default_rng(0).uniform(-1, 1, (1, 16, 16, 3)).astype(np.float32)
    runtime = KerasRuntime(generator_of(model, "BtoA", "m"), "m")
    np.testing.assert_allclose(runtime.run(images), model.F_average(images), atol=1e-5)
    assert np.abs(model.F_average(images) - model.F(images)).max() > 1e-4


def test_options_reach_the_data(folder, train):
    arguments = (
        "--epochs", 1, "--data", folder, "--preprocess", "none", "--pool-size", 0,
        "--batch-size", 1, "--steps-per-epoch", 2, "--no-flip", "--sample-every", 0,
    )  # fmt: skip
    assert train(*arguments, "--run-dir", "run") == 0
    assert json.loads(Path("run/result.json").read_text())["steps"] == 2
    grid = Image.open("run/samples/epoch_0001.png")
    scale = round(128 / 24)
    assert grid.width == 6 * (24 * scale + 4) - 4  # the pictures' own size


def test_resume_continues_and_compares_settings(run, refused):
    """A run may get longer. Other settings must stay what they were."""
    assert main(["train", "--resume", "--run-dir", str(run), "--epochs", "3"]) == 0
    assert int(keras.saving.load_model(run / "model.keras").step.numpy()) == 9
    before = files(run)
    resume = ("train", "--resume", "--run-dir", run)
    refused(
        "--filters was 2, now 4; --learning-rate was 0.0003, now 0.01",
        *(*resume, "--filters", 4, "--learning-rate", 0.01),
    )
    refused("--epochs was 3, now 1", *resume, "--epochs", 1)
    assert files(run) == before


def test_resume_without_a_checkpoint(train, caplog):
    """It starts afresh and says so. What a killed process left half-written does not count."""
    Path("new").mkdir()
    Path("new/.config.part-123.json").write_text("{")
    assert train("--epochs", 1, "--resume", "--run-dir", "new") == 0
    assert caplog.text.count("new has no checkpoint to resume from: starting afresh") == 1
    assert not list(Path("new").glob(".*"))


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


def test_resuming_a_finished_run_changes_nothing(run):
    before = files(run)
    assert main(["train", "--resume", "--run-dir", str(run), "--validation-every", "3"]) == 0
    after = files(run)
    for name in ("history.csv", "result.json", "samples/epoch_0002.png"):
        assert after[run / name] == before[run / name]


def test_initial_weights_determine_the_architecture(run):
    """Those of a U-Net include its depth, which otherwise follows the image size."""
    config, _ = understand(["--initial-weights", str(run), "--image-size", "32"])
    assert (config.filters, config.blocks, config.image_size) == (2, 1, 32)
    Config(generator="unet", image_size=64).save("unet/config.json")
    assert architecture(Path("unet/config.json"))["depth"] == 6
    assert Train().config == Config()


def test_refusals(refused, folder, tiny):
    def refuse(message, *arguments):
        refused(message, "train", *arguments)

    refuse("did you mean horse2zebra", "--data", "horse2zebar")
    refuse("image-size 18: must be a multiple of 4, for example 16", "--image-size", 18)
    refuse("--batch-size 0: must be at least 1", "--batch-size", 0)
    refuse("--dropout 1.5: must lie between 0 and 1", "--dropout", 1.5)
    refuse("leaves no patch of 16 px", "--image-size", 16, "--discriminator-layers", 3)
    refuse("--features small.keras: goes with --discriminator projected", "--features",
            "small.keras")  # fmt: skip
    refuse("--discriminator-translation 2.0: must be below 1", "--discriminator-translation", 2)
    refuse("--ema-momentum 1.0: must be at least 0", "--ema-momentum", 1)
    refuse("nothing to learn", *["--lambda-gan", "0", "--lambda-cycle-A", "0"],
            "--lambda-cycle-B", 0)  # fmt: skip
    refuse("needs logits, but a discriminator", "--sigmoid", "True", "--objective", "hinge")
    refuse("take --lambda-identity 0", "--channels-A", 1, "--lambda-identity", 0.5)
    refuse("take --pool-size 0", "--data", folder, "--preprocess", "none", "--image-size", 16)
    (folder / "trainA" / "0.png").write_bytes(b"no picture")
    refuse("trainA/0.png: cannot be decoded", "--data", folder, *tiny)
    assert not Path("runs").exists()
    Path("file").write_text("mine")
    refuse("--run-dir file: that is a file", "--run-dir", "file")
    refuse("must be below 2", "--seed", 2**32)
    Path("taken").mkdir()
    Path("taken/letter.txt").write_text("mine")
    refuse("--run-dir taken: there is a run already: pass --resume", "--run-dir", "taken")
    refuse("no config.json", "--run-dir", "taken", "--resume")
    Path("taken/config.json").write_text('{"epoch": 3}')
    refuse("taken/config.json: not a configuration", "--run-dir", "taken", "--resume")
    assert sorted(p.name for p in Path("taken").iterdir()) == ["config.json", "letter.txt"]


def test_a_full_disk(train, capsys, monkeypatch):
    """A checkpoint that does not fit leaves nothing behind, and the message names it."""
    real = np.savez

    def full(path, **arrays):
        real(path, **arrays)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(np, "savez", full)
    assert train("--run-dir", "run") == 2
    assert re.search(r"step_000000003.npz: the disk is full: make room", capsys.readouterr().err)
    assert not list(Path("run/checkpoints").iterdir())


def test_a_loss_that_is_not_finite(train, capsys):
    assert train("--learning-rate", "1e30", "--epochs", 20) == 1
    error = capsys.readouterr().err
    assert re.search(r"\w+ is (nan|inf) at step \d+: training has diverged", error)
    assert "Last good checkpoint: " in error
    assert error.count("\n") == 1
