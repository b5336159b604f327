"""Keras models as runtimes: run folders, `.keras` files and models in memory."""

import keras
import numpy as np
import pytest
from serving import draw, make_networks, same

from tfcyclegan import InputError, patch_discriminator, resnet_generator, unet_generator
from tfcyclegan.runtimes.keras_model import (
    KerasRuntime,
    direction_of,
    generator_of,
    load_model,
    networks_of,
)


def test_models_are_loaded_from_files_and_run_folders(make_model, tmp_path):
    model = make_model()
    model.save(tmp_path / "model.keras")
    for path in (tmp_path, tmp_path / "model.keras"):
        loaded = load_model(path)
        for mine, yours in zip(model.G.get_weights(), loaded.G.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, yours)


def test_files_that_cannot_be_loaded_are_refused(tmp_path):
    with pytest.raises(InputError, match="missing: there is no such file or folder"):
        load_model(tmp_path / "missing")
    with pytest.raises(InputError, match="the run is not finished; go on with resume=True and run"):
        load_model(tmp_path)
    file = tmp_path / "model.keras"
    images = keras.Input((None, None, 3))
    keras.Model(images, keras.layers.Lambda(lambda x: x)(images)).save(file)
    for content in (file.read_bytes(), b"PK\x03\x04 no zip"):
        file.write_bytes(content)  # a lambda layer's code must not run
        with pytest.raises(InputError, match="not a model this version can load") as caught:
            load_model(file)
        assert "\n" not in str(caught.value)


def test_the_generator_of_a_direction(make_model):
    model = make_model()
    assert generator_of(model, "AtoB", "it") is model.G
    assert generator_of(model, "BtoA", "it") is model.F
    assert generator_of(model.F, "AtoB", "it") is model.F
    assert [direction_of(model.G), direction_of(model.F)] == ["AtoB", "BtoA"]
    other = resnet_generator(16, filters=4, blocks=1, name="other")
    assert direction_of(other) is direction_of(model) is None
    assert list(networks_of(model)) == ["G", "F", "D_A", "D_B"]
    assert (networks_of(model.F), networks_of(other)) == ({"F": model.F}, {"G": other})


def test_other_networks_are_no_generators():
    fixed = keras.Input((16, 16, 3))
    for network, message in (
        (keras.Sequential([keras.layers.Dense(2)]), "it: not a generator"),
        (keras.Model(fixed, keras.layers.Conv2D(3, 1)(fixed)), r"it: takes only .*16, 16, 3"),
        (patch_discriminator(64, filters=2), r"it: not a generator: it goes from .* to .* 1\);"),
    ):
        with pytest.raises(InputError, match=message):
            generator_of(network, "AtoB", "it")


def test_generators_of_every_kind_are_accepted():
    for network, divisor, least in (
        (unet_generator(64, filters=2), 64, 64),
        (resnet_generator(filters=2, blocks=1, upsampling="resize", channels=1), 4, 8),
    ):
        assert generator_of(network, "AtoB", "it") is network
        runtime = KerasRuntime(network, "it")
        assert (runtime.divisor, runtime.least) == (divisor, least)


def test_pictures_of_any_size_and_precision():
    network = make_networks()["tiny_AtoB"]
    mixed = resnet_generator(filters=4, blocks=1, dtype="mixed_bfloat16")
    mixed.set_weights(network.get_weights())
    one, other = KerasRuntime(network, "one"), KerasRuntime(mixed, "other")
    for size in ((1, 1), (3, 2), (16, 20), (17, 13)):
        pixels = draw(*size)
        assert one(pixels).shape == pixels.shape
        assert same(one(pixels), other(pixels)), "both compute in float32"
