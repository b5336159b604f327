"""Imported models: equal outputs, normal run folders, and exports to PyTorch."""

import json
import re
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.commands.train import understand
from tfcyclegan.cyclegan import CycleGAN
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.pytorch import state_dict
from tfcyclegan.runtimes.keras_model import KerasRuntime, load_model
from tfcyclegan.runtimes.opening import open_runtime
from tfcyclegan.torch_files import read_torch_file, write_torch_file
from tfcyclegan.training.build import build_model, set_initial_weights
from tfcyclegan.training.config import Config
from tfcyclegan.training.imported import export_run_to_pytorch, import_checkpoint
from tfcyclegan.training.run_folder import newest_run, open_run

#: How far outputs may be from those of the source framework.
CLOSE = 1e-4

#: The settings of each golden generator.
GENERATORS = {
    "resnet/latest_net_G_A.pth": {"norm": "instance", "use_bias": True, "blocks": 2},
    "affine/latest_net_G.pth": {"norm": "instance-affine", "use_bias": True, "blocks": 1},
    "tracked/latest_net_G.pth": {"norm": "instance", "use_bias": True, "blocks": 1},
    "batch/latest_net_G_A.pth": {"norm": "batch", "use_bias": False, "blocks": 3},
    "none/latest_net_G_A.pth": {"norm": "none", "use_bias": False, "blocks": 0},
    "grey/latest_net_G_B.pth": {"channels_A": 3, "channels_B": 1, "blocks": 1},
    "dropout/latest_net_G_A.pth": {"dropout": 0.5, "blocks": 1},
    "resize/latest_net_G_A.pth": {"upsampling": "resize", "blocks": 1},
    "replicate/latest_net_G_B.pth": {"block_padding": "replicate"},
    "renamed/G_A2B_epoch3.pth": {"norm": "instance-affine", "blocks": 2},
    "unet/latest_net_G_A.pth": {"generator": "unet", "depth": 5, "filters": 1, "image_size": 32},
    "unet/5_net_G_A.pth": {"generator": "unet", "depth": 6, "norm": "batch", "filters": 1},
    "unet_none/latest_net_G_A.pth": {"generator": "unet", "norm": "none", "use_bias": False},
    "scratch/genz.pth.tar": {"downsampling_padding": "reflect", "bare_first": False, "blocks": 2},
    "bare/genz.pth.tar": {"downsampling_padding": "reflect", "bare_first": True},
    "block/genh.pth.tar": {"bare_first": False, "norm": "instance-affine", "blocks": 1},
}


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    """Runs every test in an empty folder."""
    monkeypatch.chdir(tmp_path)


def command(*arguments):
    return main([*map(str, arguments)])


def refused(capsys, message, *arguments):
    """The command exits with 2 and prints one line to standard error, which matches."""
    capsys.readouterr()
    assert command(*arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error), error
    assert error.count("\n") == 1
    assert "Traceback" not in error


def part_for(name, pytorch_outputs):
    """The part of the golden pictures that belongs to a golden output."""
    height, width = pytorch_outputs[name].shape[1:3]
    return pytorch_outputs["images"][:, :height, :width]


@pytest.mark.parametrize("name", GENERATORS)
def test_generators_give_the_outputs_of_pytorch(name, pytorch_models, pytorch_outputs, tmp_path):
    padding = GENERATORS[name].get("block_padding")
    found = import_checkpoint(pytorch_models / name, tmp_path / "run", block_padding=padding)
    config = Config.load(tmp_path / "run" / "config.json")
    assert {key: getattr(config, key) for key in GENERATORS[name]} == GENERATORS[name]
    direction = "BtoA" if re.search("G_B|genh", name) else "AtoB"
    generator = load_model(tmp_path / "run")
    assert list(found.networks) == [generator.name] == [{"AtoB": "G", "BtoA": "F"}[direction]]
    images = part_for(name, pytorch_outputs)[..., : generator.input_shape[-1]]
    np.testing.assert_allclose(generator(images), pytorch_outputs[name], atol=CLOSE)
    twice = tf.concat([images, images[:, ::-1]], 0)  # without the fused kernel
    np.testing.assert_allclose(generator(twice)[:1], pytorch_outputs[name], atol=CLOSE)


@pytest.mark.parametrize("name", ["resnet", "scratch"])
def test_a_folder_becomes_a_cyclegan(name, pytorch_models, pytorch_outputs, tmp_path):
    import_checkpoint(pytorch_models / name, tmp_path / "run")
    model, config, _ = open_run(str(tmp_path / "run"), data="shapes")
    assert isinstance(model, CycleGAN)
    assert config.sigmoid == (name == "scratch")
    names = {
        # The reference's D_A judges the output of its G_A.
        "resnet": {"G": "G_A", "F": "G_B", "D_B": "D_A", "D_A": "D_B"},
        "scratch": {"G": "genz", "F": "genh", "D_A": "critich", "D_B": "criticz"},
    }[name]
    for ours, theirs in names.items():
        (key,) = (key for key in pytorch_outputs if key.startswith(f"{name}/") and theirs in key)
        images = part_for(key, pytorch_outputs) if len(ours) == 1 else pytorch_outputs["images"]
        got = getattr(model, ours)(images)
        np.testing.assert_allclose(got, pytorch_outputs[key], atol=CLOSE, err_msg=ours)
    before = [weight.numpy() for weight in model.weights]
    again = load_model(tmp_path / "run")
    for weight, value in zip(again.weights, before, strict=True):
        np.testing.assert_array_equal(weight, value)


@pytest.mark.parametrize("name", ["resnet", "unet", "batch"])
@pytest.mark.pytorch
def test_new_models_of_pytorch(name, tmp_path):
    """Other weights and other sizes."""
    import torch
    from golden import pytorch_models as golden

    torch.manual_seed(7)
    network, sizes = {
        "resnet": (golden.ReferenceResnet("instance-affine", 3, filters=6), (64, 96)),
        "unet": (golden.ReferenceUnet("batch", depth=7, filters=2), (256, 128)),
        "batch": (golden.ReferenceResnet("batch", 2, filters=5), (32, 48)),
    }[name]
    torch.save(golden.randomised(network).state_dict(), tmp_path / "net.pth")
    images = np.random.default_rng(0).uniform(-1, 1, (2, *sizes, 3)).astype(np.float32)
    import_checkpoint(tmp_path / "net.pth", tmp_path / "run")
    got = load_model(tmp_path / "run")(images)
    np.testing.assert_allclose(got, golden.draw(network, images), atol=CLOSE)


@pytest.mark.parametrize("name", ["resnet", "renamed", "unet", "scratch"])
@pytest.mark.pytorch
def test_real_pictures(name, real_data, tmp_path):
    """Each kind of generator in PyTorch and here, for photographs."""
    import torch
    from golden import pytorch_models as golden

    torch.manual_seed(0)
    network = {
        "resnet": lambda: golden.ReferenceResnet(blocks=9, filters=8),
        "renamed": golden.renamed_resnet,
        "unet": lambda: golden.ReferenceUnet(depth=8, filters=4),
        "scratch": lambda: golden.ScratchGenerator(blocks=3),
    }[name]()
    golden.randomised(network)
    # A small last layer, so that outputs are not all black and white.
    last = [module for module in network.modules() if getattr(module, "weight", None) is not None]
    last[-1].weight.data *= 0.2
    torch.save(network.state_dict(), tmp_path / "latest_net_G_A.pth")
    import_checkpoint(tmp_path / "latest_net_G_A.pth", tmp_path / "run")
    paths = sorted((real_data / "horse2zebra" / "testA").glob("*.jpg"))[:2]
    images = np.stack([np.asarray(Image.open(path), np.float32) / 127.5 - 1 for path in paths])
    expected = golden.draw(network, images)
    assert expected.std() > 0.02
    np.testing.assert_allclose(load_model(tmp_path / "run")(images), expected, atol=CLOSE)


def test_the_command(pytorch_models, folder, capsys):
    """Import, description, translation and export, with settings only from the run folder."""
    file = pytorch_models / "grey" / "latest_net_G_B.pth"
    assert command("import", file, "--describe") == 0
    printed = capsys.readouterr().out
    assert "resnet of 1 blocks" in printed
    ((name, what, _),) = describe(file).rows()
    assert name == "F"
    assert what.endswith("resnet of 1 blocks, 2 filters, 1 to 3 channels, norm instance")
    assert not Path("runs").exists()
    assert command("import", file, "--image-size", 16, "--data", folder) == 0
    assert "run: runs/grey" in capsys.readouterr().out
    assert sorted(path.name for path in Path("runs/grey").iterdir()) == [
        "config.json", "model.keras",
    ]  # fmt: skip
    config = json.loads(Path("runs/grey/config.json").read_text())
    assert (config["channels_B"], config["image_size"], config["data"]) == (1, 16, str(folder))
    assert open_runtime("runs/grey").direction == "BtoA"
    arguments = (folder / "testB", "--model", "runs/grey", "--to", "out")
    refused(capsys, "runs/grey only translates BtoA: leave --direction AtoB out",
            "translate", *arguments, "--direction", "AtoB")  # fmt: skip
    assert command("translate", *arguments, "--direction", "BtoA") == 0
    with Image.open("out/0.png") as drawn, Image.open(folder / "testB" / "0.png") as source:
        assert drawn.size == source.size
        assert np.asarray(drawn.convert("RGB")).std() > 1
    refused(capsys, "runs/grey only translates BtoA: leave --direction AtoB out",
            "export", "runs/grey", "--direction", "AtoB")  # fmt: skip
    assert command("export", "runs/grey", "--count", 1, "--no-enforce") == 0
    assert Path("exports/grey/serving/BtoA/1/saved_model.pb").exists()
    assert Path("exports/grey/litert/BtoA-float32.tflite").exists()
    assert not Path("exports/grey/serving/AtoB").exists()


def test_large_pictures_are_streamed(pytorch_models, tmp_path):
    """Translation in strips supports the alignment of TensorFlow."""
    from tfcyclegan.networks.resnet import resnet_generator
    from tfcyclegan.translation.streaming import stream

    network = resnet_generator(
        32, filters=4, blocks=1, norm="instance-affine", use_bias=False,
        alignment="tensorflow", epsilon=1e-3, name="G",
    )  # fmt: skip
    pixels = np.random.default_rng(0).integers(0, 256, (48, 40, 3), dtype=np.uint8)
    whole = KerasRuntime(network, "G")(pixels)
    assert np.abs(stream(network, pixels, tmp_path).astype(int) - whole).max() <= 1


def test_missing_data_and_settings_are_named(pytorch_models, capsys):
    assert command("import", pytorch_models / "resnet", "--to", "run", "--image-size", 32) == 0
    refused(capsys, "run: an imported model does not say what to measure on: pass --data",
            "export", "run")  # fmt: skip
    refused(capsys, "run/model.keras does not say how its networks are built",
            "export", "run/model.keras", "--to-pytorch", "back")  # fmt: skip


def test_a_run_is_not_resumed_and_not_overwritten(pytorch_models, capsys):
    assert command("import", pytorch_models / "resnet", "--to", "runs/mine") == 0
    before = {path: path.read_bytes() for path in Path("runs/mine").iterdir()}
    assert newest_run() is None
    refused(capsys, "holds a model and no checkpoint to go on from.*--initial-weights runs/mine",
            "train", "--resume", "--run-dir", "runs/mine")  # fmt: skip
    refused(capsys, "there is something already", "import", pytorch_models / "resnet",
            "--to", "runs/mine")  # fmt: skip
    assert {path: path.read_bytes() for path in Path("runs/mine").iterdir()} == before
    assert command("import", pytorch_models / "resnet") == 0
    assert Path("runs/resnet/model.keras").exists()
    assert command("import", pytorch_models / "resnet") == 0
    assert Path("runs/resnet-2/model.keras").exists()


def test_a_run_folder_is_written_atomically(pytorch_models, monkeypatch, capsys):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(keras.Model, "save", full)
    refused(capsys, "--to run: cannot be written", "import", pytorch_models / "resnet",
            "--to", "run")  # fmt: skip
    assert list(Path().iterdir()) == []


def test_initial_weights_of_a_whole_model(pytorch_models, pytorch_outputs, caplog):
    assert command("import", pytorch_models / "scratch", "--to", "start") == 0
    # The settings of the networks are those of the run, except those on the command line.
    arguments = ["--initial-weights", "start", "--data", "shapes", "--precision", "float32"]
    config, _ = understand(arguments)
    model = build_model(config.resolved())
    set_initial_weights(model, "start")
    assert "G, F, D_A, D_B from start" in caplog.text
    for network, name in ((model.G, "scratch/genz.pth.tar"), (model.F, "scratch/genh.pth.tar")):
        got = network(part_for(name, pytorch_outputs))
        np.testing.assert_allclose(got, pytorch_outputs[name], atol=CLOSE)
    np.testing.assert_allclose(
        model.D_A(pytorch_outputs["images"]), pytorch_outputs["scratch/critich.pth.tar"], atol=CLOSE
    )
    typed, _ = understand([*arguments, "--blocks", "3"])
    assert (typed.blocks, typed.downsampling_padding) == (3, "reflect")
    # The file in the folder means the folder.
    file, _ = understand(["--initial-weights", "start/model.keras", *arguments[2:]])
    assert (file.sigmoid, file.downsampling_padding) == (True, "reflect")
    other = build_model(Config(data="shapes", image_size=64).resolved())
    with pytest.raises(InputError, match="its G is another network than this run's"):
        set_initial_weights(other, "start")


def test_training_starts_from_a_generator(pytorch_models, pytorch_outputs, caplog, capsys):
    file = pytorch_models / "affine" / "latest_net_G.pth"
    assert command("import", file, "--direction", "BtoA", "--to", "start") == 0
    arguments = (
        "train", "--initial-weights", "start", "--run-dir", "run", "--data", "shapes",
        "--image-size", 16, "--batch-size", 1, "--epochs", 1, "--steps-per-epoch", 2, "--no-export",
        "--no-tensorboard", "--precision", "float32", "--sample-count", 1,
        "--discriminator-layers", 1, "--lambda-gan", 0,
    )  # fmt: skip
    other = r"--initial-weights start: its F is another network than this run's \(.*\): set the n"
    refused(capsys, other, *arguments, "--blocks", 3)
    refused(capsys, other, *arguments, "--epsilon", 0.5)  # the weights have the same shapes
    refused(capsys, "nowhere: there is no such file", *arguments, "--initial-weights", "nowhere")
    assert not Path("run").exists()
    assert command(*arguments, "--learning-rate", 1e-3) == 0
    assert "F from start" in caplog.text
    assert "fresh weights for G, D_A, D_B" in caplog.text
    name = "affine/latest_net_G.pth"
    drawn = load_model(Path("run")).F(part_for(name, pytorch_outputs)).numpy()
    assert 1e-3 < np.abs(drawn - pytorch_outputs[name]).max() < 0.5  # a little training
    # A resumed run uses its own checkpoint.
    shutil.rmtree("start")
    assert command("train", "--resume", "--run-dir", "run") == 0
    again = load_model(Path("run")).F(part_for(name, pytorch_outputs))
    np.testing.assert_allclose(again, drawn, atol=1e-6)


@pytest.mark.parametrize(
    ("folder", "files"),
    [
        ("resnet", ["G_A", "G_B", "D_A", "D_B"]),
        ("batch", ["G_A"]),
        ("none", ["G_A"]),
        ("dropout", ["G_A"]),
        ("unet", ["G_A"]),
    ],
)
def test_back_to_pytorch(folder, files, pytorch_models, capsys):
    """The exported files have the names, shapes and numbers of the imported ones."""
    assert command("import", pytorch_models / folder, "--to", "run") == 0
    assert command("export", "run", "--to-pytorch", "back") == 0
    names = [f"latest_net_{file}.pth" for file in files]
    assert sorted(path.name for path in Path("back").iterdir()) == sorted(names)
    for name in names:
        came = state_dict(read_torch_file(pytorch_models / folder / name), name, 10**9)
        went = state_dict(read_torch_file(Path("back", name)), name, 10**9)
        assert went.keys() == came.keys()
        for key, array in came.items():
            np.testing.assert_array_equal(went[key], array, err_msg=key)


def test_existing_files_are_not_overwritten(pytorch_models, capsys):
    assert command("import", pytorch_models / "resnet", "--to", "run") == 0
    Path("back").mkdir()
    Path("back/latest_net_D_B.pth").write_bytes(b"mine")
    refused(capsys, "latest_net_D_B.pth exists already: give another folder",
            "export", "run", "--to-pytorch", "back")  # fmt: skip
    assert [path.name for path in Path("back").iterdir()] == ["latest_net_D_B.pth"]
    assert Path("back/latest_net_D_B.pth").read_bytes() == b"mine"
    refused(capsys, "--to-pytorch cannot be combined",
            "export", "run", "--to-pytorch", "elsewhere", "--direction", "AtoB")  # fmt: skip
    config = json.loads(Path("run/config.json").read_text())
    Path("run/config.json").write_text(json.dumps({**config, "epsilon": 0.5}))
    refused(capsys, "not the network that its settings describe: epsilon of",
            "export", "run", "--to-pytorch", "elsewhere")  # fmt: skip
    assert not Path("elsewhere").exists()


def test_refused_checkpoints(pytorch_models, folder, capsys):
    def refuse(message, path, *arguments):
        refused(capsys, message, "import", path, "--to", "run", *arguments)

    refuse("no known checkpoint in that folder", folder)
    discriminator = pytorch_models / "pixel" / "latest_net_D_A.pth"
    refuse("only a discriminator, which translates nothing", discriminator)
    refuse("--direction AtoB: goes with one generator, but .* has 2", pytorch_models / "resnet",
       "--direction", "AtoB")  # fmt: skip
    refuse("--epoch 3: goes with a folder", discriminator, "--epoch", 3)
    resnet = pytorch_models / "resnet"
    refuse("--image-size 18: must be a multiple of 4", resnet, "--image-size", 18)
    write_torch_file("nothing.pth", {})
    refuse("nothing.pth: no state dictionary in it", "nothing.pth")
    assert not Path("run").exists()


def test_only_a_run_folder_is_exported_to_pytorch(pytorch_models, tmp_path):
    import_checkpoint(pytorch_models / "affine" / "latest_net_G.pth", "run", "BtoA")
    with pytest.raises(InputError, match=r"does not say how its networks are built"):
        export_run_to_pytorch("run/model.keras", "back")
    assert export_run_to_pytorch("run", "back") == [Path("back/latest_net_G_B.pth")]


def test_a_checkpoint_that_runs_a_command(capsys):
    """The whole command; tests/torch_files/test_files.py has the other attacks."""
    import os
    import pickle
    import zipfile

    class Evil:
        def __reduce__(self):
            return os.system, ("touch ran",)

    with zipfile.ZipFile("evil.pth", "w") as archive:
        archive.writestr("evil/data.pkl", pickle.dumps({"model.1.weight": Evil()}))
    for arguments in (("--to", "run"), ("--describe",)):
        refused(capsys, r"evil.pth: its pickle asks for posix.system, but only tensors", "import",
                "evil.pth", *arguments)  # fmt: skip
    assert sorted(path.name for path in Path().iterdir()) == ["evil.pth"]


def test_the_package_does_not_import_interop(run_python):
    code = (
        "import sys, tfcyclegan; print(*sys.modules)\n"
        "import tfcyclegan.interop; print(*sys.modules)"
    )
    package, interop = (set(line.split()) for line in run_python(code).splitlines())
    assert not [name for name in package if name.startswith("tfcyclegan.interop")]
    assert "tfcyclegan.interop.pytorch" in interop
    heavy = {"torch", "tyro", "matplotlib", "tensorflow_datasets", "h5py"}
    assert not heavy & (interop - package)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_pix2pix_goes_to_pytorch_and_back(direction, tmp_path):
    """Grey to colour, both networks, as a run that can train on."""
    config = Config(
        data="", model="pix2pix", direction=direction, image_size=32, filters=1, channels_A=1,
        discriminator_filters=1, discriminator_layers=1, run_dir=str(tmp_path / "run"),
    ).resolved()  # fmt: skip
    model = build_model(config)
    (tmp_path / "run").mkdir()
    config.save(tmp_path / "run" / "config.json")
    model.save(tmp_path / "run" / "model.keras")
    files = export_run_to_pytorch(tmp_path / "run", tmp_path / "torch")
    assert [file.name for file in files] == ["latest_net_G.pth", "latest_net_D.pth"]
    found = import_checkpoint(tmp_path / "torch", tmp_path / "again", direction)
    assert found.pix2pix
    again, settings, _ = open_run(str(tmp_path / "again"), "shapes")
    assert (settings.model, settings.direction) == ("pix2pix", direction)
    assert (settings.norm, settings.dropout) == ("batch", 0.5)
    assert list(again.translators) == [direction]
    for name, network in model.networks.items():
        for one, other in zip(network.weights, again.networks[name].weights, strict=True):
            if "seed" not in one.path:
                np.testing.assert_array_equal(one, other, err_msg=one.path)
    assert open_runtime(tmp_path / "again").direction == direction
