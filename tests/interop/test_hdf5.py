"""HDF5 files of Keras 2. Damaged and hostile files are refused in one line."""

import keras
import numpy as np
import pytest

from tfcyclegan import InputError, resnet_generator
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.hdf5 import read_hdf5


def first_weight(file):
    """The group of weights, and the name of the generator's first kernel in it."""
    group = file.get("model_weights", file)
    names = []
    group.visit(lambda name: names.append(name) if name.endswith("kernel:0") else None)
    return group, names[0]


def replaced(make):
    """Returns a change that replaces the first kernel of a file."""

    def change(file):
        group, name = first_weight(file)
        data = group[name][()]
        del group[name]
        make(group, name, data)

    return change


def test_the_whole_example_and_one_generator(addons_models):
    assert list(read_hdf5(addons_models / "cyclegan.h5")) == ["G", "F", "D_A", "D_B"]
    assert list(read_hdf5(addons_models / "gen_G.h5")) == [""]


def test_arrays_that_do_not_fit(edited):
    def shrink(group, name, data):
        group[name] = np.zeros((7, 7, 3, 5), np.float32)

    with pytest.raises(InputError, match=r"gamma is \(\d+,\) where \(5,\) fits"):
        describe(edited("whole.h5", replaced(shrink)))
    with pytest.raises(InputError, match="kernel:0 is missing, or links to another file"):
        describe(edited("cyclegan.h5", replaced(lambda *_: None)))


def test_hostile_files(edited):
    """Links to other files, external storage, and sizes with nothing stored."""
    import h5py

    def link(group, name, data):
        group[name] = h5py.ExternalLink("secret.h5", "/secret")

    def store(group, name, data):
        group.create_dataset(name, data.shape, "f4", external=[("secret.bin", 0, 10**6)])

    def claim(group, name, data):
        group.create_dataset(name, (10**6, 10**6), "f4", chunks=(10, 10))

    def compress(group, name, data):
        group.create_dataset(name, data=data, chunks=data.shape, compression="gzip")

    def empty(group, name, data):
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
            (replaced(link), "is missing, or links to another file"),
            (replaced(store), "is not an array of floats"),
            (replaced(claim), "is not an array of floats"),
            (replaced(compress), "is not an array of floats"),
            (replaced(empty), "is not an array of floats"),
            (repeat, "layer_names has a name twice"),
            (swell, r"the 1000 strings of an attribute could fill \d+ bytes"),
        )
    ):
        path = edited("gen_G.h5", change, to=f"{number}.h5")
        with pytest.raises(InputError, match=message):
            describe(path)


def test_a_file_that_is_cut_short(copy_of):
    path = copy_of("whole.h5")
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(InputError, match=r"whole.h5: damaged, or not as Keras 2 writes it"):
        describe(path)


@pytest.mark.parametrize(
    ("file", "message"),
    [
        ("lynnho_whole.h5", r'pad\w* is a TensorFlow function .* model.save_weights\("G.h5"\)'),
        ("lynnho.weights.h5", r'in the format of Keras 3.* generator.save_weights\("G.h5"\)'),
    ],
)
def test_files_in_other_forms(file, message, addons_models):
    with pytest.raises(InputError, match=message):
        describe(addons_models / file)


def test_files_of_keras_3(tmp_path):
    """Also those of a whole CycleGAN, whose weights have no folder `layers`."""

    class Whole(keras.Model):
        def __init__(self):
            super().__init__()
            self.gen_G = resnet_generator(16, filters=1, blocks=0)

    resnet_generator(16, filters=1, blocks=0).save(tmp_path / "G.h5")
    resnet_generator(16, filters=1, blocks=0).save_weights(tmp_path / "G.weights.h5")
    whole = Whole()
    whole.built = True
    whole.save_weights(tmp_path / "all.weights.h5")
    for name in ("G.h5", "G.weights.h5", "all.weights.h5"):
        with pytest.raises(InputError, match=rf'{name}: in the format of Keras 3.*"G.keras"'):
            describe(tmp_path / name)


def test_files_of_something_else(tmp_path):
    import h5py

    with h5py.File(tmp_path / "x.h5", "w") as file:
        file["numbers"] = np.zeros(3)
    with pytest.raises(InputError, match="without Keras's layer_names"):
        describe(tmp_path / "x.h5")
