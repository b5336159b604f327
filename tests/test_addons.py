"""Models of tensorflow-addons: equal in every form of file, and its norm equal to ours.

The files are those of golden/addons_models.zip, or those that `make test-addons` has just made in
the folder that TFCYCLEGAN_ADDONS names.
"""

import json
import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError, InstanceNormalization, patch_discriminator
from tfcyclegan.backends import load_model
from tfcyclegan.config import Config
from tfcyclegan.interop import describe, import_checkpoint

CLOSE = 1e-4


@pytest.fixture(scope="session")
def addons_models(unpacked):
    live = os.environ.get("TFCYCLEGAN_ADDONS")
    return Path(live) if live else unpacked("addons_models.zip")


@pytest.fixture
def outputs(addons_models):
    with np.load(addons_models / "outputs.npz") as file:
        return dict(file)


def settings_of(folder):
    config = Config.load(folder / "config.json")
    return (config.norm, config.use_bias, config.alignment, config.epsilon)


@pytest.mark.parametrize("name", ["default", "small"])
def test_the_norm_is_theirs(name, outputs):
    epsilon = {"default": 1e-3, "small": 1e-5}[name]
    layer = InstanceNormalization(epsilon, affine=True)
    images = outputs["norm/images"]
    layer.build(images.shape)
    layer.set_weights([outputs[f"norm/{name}/gamma"], outputs[f"norm/{name}/beta"]])
    general = tf.function(layer, input_signature=[tf.TensorSpec((None,) * 4)])
    for call in (layer, general):
        np.testing.assert_allclose(call(images), outputs[f"norm/{name}"], atol=2e-5)


@pytest.mark.parametrize(
    "file", ["checkpoint", "checkpoint/cyclegan_checkpoints.003", "cyclegan.h5"]
)
def test_the_example_whole(file, addons_models, outputs, tmp_path):
    """gen_G, gen_F, disc_X, disc_Y are G, F, D_A, D_B; optimizers beside them do not matter."""
    found = import_checkpoint(addons_models / file, tmp_path / "run")
    assert list(found.networks) == ["G", "F", "D_A", "D_B"]
    assert "taken for the Keras example's" in found.notes[0]
    assert settings_of(tmp_path / "run") == ("instance-affine", False, "tensorflow", 1e-3)
    model = load_model(tmp_path / "run")
    for ours, theirs in (("G", "gen_G"), ("F", "gen_F"), ("D_A", "disc_X"), ("D_B", "disc_Y")):
        network = getattr(model, ours)
        np.testing.assert_allclose(
            network(outputs["images"]), outputs[theirs], atol=CLOSE, err_msg=ours
        )
        if ours.startswith("D"):
            # "same" pads by the size; sides that are no multiples are judged as they were.
            np.testing.assert_allclose(
                network(outputs["odd"]), outputs[f"{theirs}/odd"], atol=CLOSE
            )


@pytest.mark.parametrize("file", ["gen_G.h5", "saved_gen_G", "whole.h5"])
@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_a_generator_alone(file, direction, addons_models, outputs, tmp_path):
    found = import_checkpoint(addons_models / file, tmp_path / "run", direction)
    epsilon = 1e-4 if file == "whole.h5" else 1e-3
    assert settings_of(tmp_path / "run") == ("instance-affine", False, "tensorflow", epsilon)
    # Where the file has the layers' settings they are used instead of assumed.
    assert bool(found.notes) == (file == "gen_G.h5")
    generator = load_model(tmp_path / "run")
    assert generator.name == {"AtoB": "G", "BtoA": "F"}[direction]
    expected = outputs["whole" if file == "whole.h5" else "gen_G"]
    np.testing.assert_allclose(generator(outputs["images"]), expected, atol=CLOSE)
    np.testing.assert_allclose(generator(outputs["images"][:1]), expected[:1], atol=CLOSE)


def test_real_pictures(real_data, addons_models, outputs, tmp_path):
    """Where tensorflow-addons has just drawn them (make test-addons)."""
    if "real" not in outputs:
        pytest.skip("the golden file has no photographs; make test-addons draws them")
    import_checkpoint(addons_models / "whole.h5", tmp_path / "run")
    got = load_model(tmp_path / "run")(outputs["real/images"])
    np.testing.assert_allclose(got, outputs["real"], atol=CLOSE)


def test_their_same_is_not_ours(outputs, addons_models):
    """The alignment matters: without it the same weights draw something else."""
    network = describe(addons_models / "cyclegan.h5").networks["D_A"]
    ours = patch_discriminator(
        64, filters=network.settings["discriminator_filters"], norm="instance-affine",
        use_bias=False, epsilon=1e-3,
    )  # fmt: skip
    scores = network.fill(ours)(outputs["images"])
    assert scores.shape != outputs["disc_X"].shape


# ---------------------------------------------------------------------- refusals


@pytest.fixture
def copy_of(addons_models, tmp_path):
    """Copies a file or folder to where it may be spoiled."""

    def copy(name):
        source, target = addons_models / name, tmp_path / name
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return target

    return copy


def test_models_of_another_form(addons_models):
    with pytest.raises(InputError, match=r"other.h5: batch_normalization\w* is no instance norm"):
        describe(addons_models / "other.h5")


def edit(path, change):
    import h5py

    with h5py.File(path, "r+") as file:
        change(file)
    return path


def first_weight(file):
    """The generator's first kernel."""
    group = file.get("model_weights", file)
    names = []
    group.visit(lambda name: names.append(name) if name.endswith("kernel:0") else None)
    return group, names[0]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("padding", "valid", r"conv2d\w* is Conv2D 3×3 of stride 2 with padding valid where"),
        ("dilation_rate", [2, 2], r"with padding same dilation_rate \[2, 2\] where"),
        ("strides", None, "its layers' settings are damaged"),
        ("activation", "elu", r"conv2d\w* is elu where the Keras example has InstanceNorm"),
    ],
)
def test_layers_that_are_set_otherwise(field, value, message, copy_of):
    def change(file):
        config = json.loads(file.attrs["model_config"])
        strided = [c for c in config["config"]["layers"] if c["config"].get("strides") == [2, 2]]
        strided[0]["config"][field] = value
        file.attrs["model_config"] = json.dumps(config)

    with pytest.raises(InputError, match=message):
        describe(edit(copy_of("whole.h5"), change))


def test_arrays_that_do_not_fit(copy_of):
    def shrink(file):
        group, name = first_weight(file)
        del group[name]
        group[name] = np.zeros((7, 7, 3, 5), np.float32)

    with pytest.raises(InputError, match=r"gamma is \(\d+,\) where \(5,\) fits"):
        describe(edit(copy_of("whole.h5"), shrink))

    def remove(file):
        group, name = first_weight(file)
        del group[name]

    with pytest.raises(InputError, match="kernel:0 is not in it, or points out of it"):
        describe(edit(copy_of("cyclegan.h5"), remove))


def test_hdf5_that_points_elsewhere(copy_of):
    """Links to other files, external storage, and sizes with nothing behind them."""
    import h5py

    def link(file):
        group, name = first_weight(file)
        del group[name]
        group[name] = h5py.ExternalLink("secret.h5", "/secret")

    def store(file):
        group, name = first_weight(file)
        shape = group[name].shape
        del group[name]
        group.create_dataset(name, shape, "f4", external=[("secret.bin", 0, 10**6)])

    def claim(file):
        group, name = first_weight(file)
        del group[name]
        group.create_dataset(name, (10**6, 10**6), "f4", chunks=(10, 10))

    for number, (change, message) in enumerate(
        ((link, "points out of it"), (store, "no array of floats"), (claim, "no array of floats"))
    ):
        path = copy_of("gen_G.h5")
        path = edit(path.rename(path.with_name(f"{number}.h5")), change)
        with pytest.raises(InputError, match=message):
            describe(path)


def test_files_that_are_cut_short(copy_of):
    path = copy_of("whole.h5")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"whole.h5: damaged or cut short"):
        describe(path)
    path = copy_of("checkpoint")
    data = next(path.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(
        InputError, match="not a TensorFlow checkpoint of a Keras model, or damaged"
    ):
        describe(path)
    path = copy_of("saved_gen_G")
    (path / "keras_metadata.pb").write_bytes(b"\xff\xff")
    with pytest.raises(InputError, match=r"keras_metadata.pb: damaged"):
        describe(path)


def test_files_of_something_else(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["numbers"] = np.zeros(3)
    with pytest.raises(InputError, match="without Keras's layer_names"):
        describe(tmp_path / "x.h5")
    tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(tmp_path / "x"))
    with pytest.raises(InputError, match=r"a checkpoint without gen_G, gen_F, disc_X, disc_Y"):
        describe(tmp_path / "x.index")


def test_the_graph_of_a_saved_model_is_not_loaded(copy_of, monkeypatch):
    """A SavedModel is a program; its variables are all that is read."""
    path = copy_of("saved_gen_G")
    (path / "saved_model.pb").write_bytes(b"no graph at all")
    monkeypatch.setattr(tf.saved_model, "load", None)
    assert re.match("Keras with", describe(path).networks["G"].origin)
