"""Models of tensorflow-addons: equal in every form of file, and its norm equal to ours.

The files are those of golden/addons_models.zip, or those that `make test-addons` has just made in
the folder that TFCYCLEGAN_ADDONS names.
"""

import json
import os
import re
import shutil
import struct
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.framework import types_pb2
from tensorflow.core.protobuf import tensor_bundle_pb2, trackable_object_graph_pb2

from tfcyclegan import InputError, InstanceNormalization, patch_discriminator
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.tensor_bundle import TensorBundle
from tfcyclegan.runtimes.keras_model import load_model
from tfcyclegan.training.config import Config
from tfcyclegan.training.imported import import_checkpoint

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

    def compress(file):
        group, name = first_weight(file)
        data = group[name][()]
        del group[name]
        group.create_dataset(name, data=data, chunks=data.shape, compression="gzip")

    def empty(file):
        group, name = first_weight(file)
        del group[name]
        group.create_dataset(name, (0,), "f4")

    def repeat(file):
        names = list(file.attrs["layer_names"])
        file.attrs["layer_names"] = [*names, names[0]]

    def swell(file):
        """Many strings, each of which could be most of the file."""
        file.attrs["more"] = np.array(["x" * 10**6], object)
        file.attrs["layer_names"] = np.array([f"n{n}" for n in range(1000)], object)

    for number, (change, message) in enumerate(
        (
            (link, "points out of it"),
            (store, "no array of floats"),
            (claim, "no array of floats"),
            (compress, "no array of floats"),
            (empty, "no array of floats"),
            (repeat, "layer_names has a name twice"),
            (swell, "layer_names is not as Keras writes it"),
        )
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


def varint(number):
    low, number = number & 127, number >> 7
    return bytes([low | 128]) + varint(number) if number else bytes([low])


def index_of(entries, shared=0):
    """The index of a checkpoint, of any entries: a table of one block."""

    def block(entries):
        data = b"".join(
            varint(shared if n else 0) + varint(len(key)) + varint(len(value)) + key + value
            for n, (key, value) in enumerate(entries)
        )
        return data + struct.pack("<II", 0, 1)

    table = b""
    handles = []
    for data in (block(entries), block([])):
        handles.append(varint(len(table)) + varint(len(data)))
        table += data + bytes(5)
    last = block([(b"~", handles[0])])
    footer = handles[1] + varint(len(table)) + varint(len(last))
    magic = (0xDB4775248B80FB57).to_bytes(8, "little")
    return table + last + bytes(5) + footer.ljust(40, b"\0") + magic


def entry(dimensions=(), dtype=types_pb2.DT_STRING, size=20, offset=0, shard=0):
    made = tensor_bundle_pb2.BundleEntryProto(dtype=dtype, size=size, offset=offset, shard_id=shard)
    for dimension in dimensions:
        made.shape.dim.add(size=dimension)
    return made.SerializeToString()


GRAPH = b"_CHECKPOINTABLE_OBJECT_GRAPH"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (entry([-5]), "is no single string"),
        (entry([2**40, 2**40]), "is no single string"),
        (entry([2 * 10**8]), "is no single string"),
        (entry(dtype=99), "is no single string"),
        (b"\xff\xff\xff", "damaged"),
        (entry(size=10**12), r"claims 1000000000000 bytes where 100 are left"),
        (entry(offset=90), "ends before its 20 bytes do"),
        (entry(offset=-1), "claims 20 bytes"),
        (entry(shard=7), "damaged"),
        (entry(), "is not as long as it says"),
    ],
)
def test_checkpoints_that_lie(value, message, tmp_path):
    """TensorFlow's own reader ends the process, or takes gigabytes, for some of these."""
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1).SerializeToString()
    (tmp_path / "x.index").write_bytes(index_of([(b"", header), (GRAPH, value)]))
    (tmp_path / "x.data-00000-of-00001").write_bytes(bytes(100))
    with pytest.raises(InputError, match=message):
        describe(tmp_path / "x")


def test_indices_that_lie(tmp_path):
    good = index_of([(b"", b"")])
    for data, message in (
        (good[:-1], "cut short"),
        (good[:-48] + bytes(40) + good[-8:], "points behind its end|damaged"),
        (index_of([(b"a", b""), (b"b", b"")], shared=9), "an entry of the index is damaged"),
        (index_of([(10**4 * b"k", b"")]), "an entry of the index is damaged"),
    ):
        (tmp_path / "x.index").write_bytes(data)
        with pytest.raises(InputError, match=message):
            describe(tmp_path / "x")


def test_the_same_layer_twice(copy_of):
    """Layers that all point to one node, so that a small file makes for a lot of work."""
    path = copy_of("checkpoint")
    index = next(path.glob("*.index"))
    bundle = TensorBundle(index.with_suffix(""))
    graph = trackable_object_graph_pb2.TrackableObjectGraph.FromString(bundle.text(GRAPH.decode()))
    first = next(c.node_id for c in graph.nodes[0].children if c.local_name == "gen_G")
    wired = [c for c in graph.nodes[first].children if "layer_with_weights" in c.local_name]
    wired[0].node_id = wired[1].node_id
    text = graph.SerializeToString()
    data = varint(len(text)) + bytes(4) + text
    header = tensor_bundle_pb2.BundleHeaderProto(num_shards=1).SerializeToString()
    index.write_bytes(index_of([(b"", header), (GRAPH, entry(size=len(data)))]))
    next(path.glob("*.data-*")).write_bytes(data)
    with pytest.raises(InputError, match="two of its layers are one"):
        describe(index)


def rewired(layers):
    add = next(layer for layer in reversed(layers) if layer["class_name"] == "Add")
    add["inbound_nodes"][0][1] = add["inbound_nodes"][0][0]


def thicker(layers):
    mirror = next(layer for layer in layers if "eflection" in layer["class_name"])
    mirror["config"]["padding"] = [2, 2]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (rewired, "goes on from .* not from"),
        (thicker, "is reflection padding 2 where the Keras example has reflection padding 3"),
    ],
)
def test_models_that_are_wired_otherwise(change, message, copy_of):
    def write(file):
        model = json.loads(file.attrs["model_config"])
        change(model["config"]["layers"])
        file.attrs["model_config"] = json.dumps(model)

    with pytest.raises(InputError, match=message):
        describe(edit(copy_of("whole.h5"), write))


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
