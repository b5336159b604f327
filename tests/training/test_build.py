"""The data and the model that a configuration describes."""

import dataclasses

import keras
import numpy as np
import pytest

from tfcyclegan import CycleGAN, InputError
from tfcyclegan.training.build import (
    build_model,
    compile_model,
    load_config_data,
    set_initial_weights,
)
from tfcyclegan.training.measuring import Measuring


def test_load_config_data(tiny):
    data = load_config_data(tiny.resolved())
    assert (data.steps_per_epoch, data.batch_size) == (3, 2)
    assert data.train.element_spec[0].shape == (2, 16, 16, 3)
    assert len(data.test_set.A) == 4
    assert not data.test_set.train_A
    measuring = Measuring(test_count=2, extractor="look.keras")  # needs real pictures to compare
    data = load_config_data(dataclasses.replace(tiny, measuring=measuring).resolved())
    assert len(data.test_set.train_A) == 2


def test_build_and_compile(tiny):
    config = dataclasses.replace(tiny, objective="hinge", lambda_cycle_A=3.0).resolved()
    model = build_model(config)
    assert isinstance(model, CycleGAN)
    compile_model(model, config, total_steps=6)
    assert (model.lambda_cycle_A, int(model.total_steps.numpy())) == (3.0, 6)
    shallow = dataclasses.replace(config, discriminator_layers=4)
    with pytest.raises(InputError, match="leaves no patch"):
        build_model(shallow)
    with pytest.raises(InputError, match="recompute"):
        compile_model(
            build_model(dataclasses.replace(config, dropout=0.5)),
            dataclasses.replace(config, recompute=True),
            6,
        )


def test_set_initial_weights(tiny, trained, tmp_path, caplog):
    keras.utils.set_random_seed(1)
    model = build_model(tiny.resolved())
    trained.model.F.save(tmp_path / "F.keras")
    with caplog.at_level("INFO"):
        set_initial_weights(model, tmp_path / "F.keras")
    assert "fresh weights for G, D_A, D_B" in caplog.text
    for mine, theirs in zip(model.F.weights, trained.model.F.weights, strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert np.any(model.G.weights[0] != trained.model.G.weights[0])
    set_initial_weights(model, trained.directory)
    np.testing.assert_array_equal(model.G.weights[0], trained.model.G.weights[0])
    # A folder with the files of both generators, as presets are kept.
    trained.model.G.save(tmp_path / "G.keras")
    both = build_model(tiny.resolved())
    caplog.clear()
    with caplog.at_level("INFO"):
        set_initial_weights(both, tmp_path)
    assert "fresh weights for D_A, D_B" in caplog.text
    np.testing.assert_array_equal(both.F.weights[0], trained.model.F.weights[0])
    np.testing.assert_array_equal(both.G.weights[0], trained.model.G.weights[0])
    trained.model.save(tmp_path / "F.keras")
    with pytest.raises(InputError, match=r"F\.keras is no generator: name that file"):
        set_initial_weights(both, tmp_path)
    other = build_model(dataclasses.replace(tiny, filters=3).resolved())
    with pytest.raises(InputError, match="its G is another network than this run's"):
        set_initial_weights(other, trained.directory)
