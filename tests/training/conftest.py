"""A small model with small data for the callbacks, and one small run, shared by all tests here."""

import keras
import numpy as np
import pytest
from tiny_run import networks, several_discriminators

from tfcyclegan import CycleGAN, load_data
from tfcyclegan.training.config import Config
from tfcyclegan.training.measuring import Measuring
from tfcyclegan.training.run import train

EPOCHS = 3


@pytest.fixture
def data(module_folder):
    """A function that loads the same five steps per epoch anew."""
    return lambda: load_data(module_folder, image_size=16, seed=5)


@pytest.fixture(scope="session")
def new_model():
    """A function that makes the same untrained model anew."""

    def make():
        keras.utils.set_random_seed(0)
        four = networks("float32", dropout=0.5)
        four["D_A"] = several_discriminators("D_A")
        model = CycleGAN(**four, image_size=16, pool_size=3, seed=7, ema_momentum=0.9)
        model.compile(learning_rate=1e-3)
        return model

    return make


@pytest.fixture(scope="session")
def start(new_model):
    """A function that returns one model in its untrained state, so that it is traced only once."""
    model = new_model()
    first = [(variable, variable.numpy()) for variable in model.state().values()]

    def untrained():
        for variable, value in first:
            variable.assign(value)
        return model

    return untrained


@pytest.fixture
def fit():
    """A function that trains a model for `EPOCHS` epochs and returns its history."""

    def run(model, data, *callbacks):
        arguments = {"epochs": EPOCHS, "verbose": 0, "callbacks": list(callbacks)}
        return model.fit(data.train, **arguments).history

    return run


@pytest.fixture
def state():
    """A function that copies all of a model's variables by name."""
    return lambda model: {name: variable.numpy() for name, variable in model.state().items()}


@pytest.fixture
def assert_equal():
    """A function that compares two results of `state`, bit for bit."""

    def compare(one, other):
        assert one.keys() == other.keys()
        for name, value in one.items():
            np.testing.assert_array_equal(value, other[name], err_msg=name)

    return compare


@pytest.fixture(scope="session")
def tiny():
    """Settings of a run of a few seconds."""
    return Config(
        image_size=16, batch_size=2, filters=2, blocks=1, discriminator_filters=2,
        discriminator_layers=1, epochs=2, steps_per_epoch=3, precision="float32", pool_size=3,
        tensorboard=False, measuring=Measuring(test_count=4),
    )  # fmt: skip


@pytest.fixture(scope="session")
def trained(tiny, tmp_path_factory):
    """The `Run` of these settings, evaluated every epoch. Its folder must not be changed."""
    from dataclasses import replace

    place = tmp_path_factory.mktemp("trained") / "run"
    return train(replace(tiny, run_dir=str(place), evaluate_every=1))
