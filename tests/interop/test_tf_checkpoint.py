"""TensorFlow checkpoints: shapes are compared before values are read."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.tf_checkpoint import read_tf_checkpoint


def written(prefix, layers, **networks):
    """A checkpoint of layers, each a dictionary of shapes, as Keras names them."""

    def network(layers):
        return {
            f"layer_with_weights-{place}": tf.train.Checkpoint(
                **{name: tf.Variable(tf.zeros(shape)) for name, shape in shapes.items()}
            )
            for place, shapes in enumerate(layers)
        }

    others = {name: tf.train.Checkpoint(**network(layers)) for name, layers in networks.items()}
    tf.train.Checkpoint(**network(layers), **others).write(str(prefix))
    return prefix


DISCRIMINATOR = [
    {"kernel": (4, 4, 3, 1), "bias": (1,)},
    {"kernel": (4, 4, 1, 2)},
    {"gamma": (2,), "beta": (2,)},
    {"kernel": (4, 4, 2, 1), "bias": (1,)},
]


def test_the_whole_example(addons_models):
    prefix = addons_models / "checkpoint" / "cyclegan_checkpoints.003"
    networks = read_tf_checkpoint(prefix)
    assert list(networks) == ["G", "F", "D_A", "D_B"]
    hdf5 = describe(addons_models / "cyclegan.h5").networks
    for name, network in networks.items():
        for layer, arrays in network.weights.items():
            for array, other in zip(arrays, hdf5[name].weights[layer], strict=True):
                np.testing.assert_array_equal(array, other)


def test_one_network(tmp_path):
    written(tmp_path / "x", DISCRIMINATOR)
    (network,) = read_tf_checkpoint(tmp_path / "x").values()
    assert network.settings["discriminator_layers"] == 1
    assert [*network.weights] == ["c1", "c2", "c2_norm", "score"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({1: {"kernel": (4, 4, 2, 2)}}, r"kernel is \(4, 4, 2, 2\) where \(4, 4, 1, 2\) fits"),
        ({2: {"gamma": (2,)}}, "missing: layer_with_weights-2/beta"),
        ({3: {"kernel": (4, 4, 2, 1), "bias": (1,), "more": ()}}, "not known: .*-3/more"),
        ({2: {"gamma": (2,), "beta": (2,), "moving_mean": (2,)}}, "-2 is not an instance norm"),
    ],
)
def test_shapes_that_do_not_fit(change, message, tmp_path, monkeypatch):
    layers = [change.get(place, layer) for place, layer in enumerate(DISCRIMINATOR)]
    written(tmp_path / "x", [], disc_X=layers)
    load = tf.train.load_checkpoint

    class NamesOnly:
        """A reader that cannot read values."""

        def __init__(self, prefix):
            reader = load(prefix)
            self.get_variable_to_shape_map = reader.get_variable_to_shape_map
            self.get_variable_to_dtype_map = reader.get_variable_to_dtype_map

        def get_tensor(self, key):
            raise AssertionError(f"{key} was read")

    monkeypatch.setattr(tf.train, "load_checkpoint", NamesOnly)
    with pytest.raises(InputError, match=rf"x \(disc_X\): .*{message}"):
        describe(tmp_path / "x")


def test_a_checkpoint_that_is_cut_short(copy_of):
    path = copy_of("checkpoint")
    data = next(path.glob("*.data-*"))
    data.write_bytes(data.read_bytes()[:1000])
    with pytest.raises(InputError, match=r"would fill \d+ bytes, but the file has 1000: it is cut"):
        describe(path)
    index = next(path.glob("*.index"))
    index.write_bytes(index.read_bytes()[:1000])
    with pytest.raises(InputError, match="not a TensorFlow checkpoint of a Keras model, or dam"):
        describe(path)


def test_a_checkpoint_of_something_else(tmp_path):
    tf.train.Checkpoint(x=tf.Variable(1.0)).write(str(tmp_path / "x"))
    with pytest.raises(InputError, match=r"a checkpoint without gen_G, gen_F, disc_X, disc_Y"):
        describe(tmp_path / "x.index")
