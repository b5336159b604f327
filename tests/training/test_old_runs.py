"""Files of version 0.1 still load: `golden/run_0_1.zip` has a finished run and a stopped one.

Both trained 2 epochs of 2 steps with the same settings; the stopped one was interrupted after its
first epoch. `outputs.npz` holds what the finished model's networks gave.
"""

import shutil

import keras
import numpy as np
import pytest

from tfcyclegan.cli import main
from tfcyclegan.data.preprocessing import to_float
from tfcyclegan.errors import InputError
from tfcyclegan.training.config import Config
from tfcyclegan.training.run_folder import open_run


@pytest.fixture(scope="module")
def old(unpacked):
    return unpacked("run_0_1.zip")


def test_a_model_gives_the_same_pictures(old):
    model, config, name = open_run(str(old / "finished"))
    assert (config.image_size, config.filters, name) == (16, 2, "finished")
    with np.load(old / "outputs.npz") as expected:
        images = to_float(expected["pictures"])
        for direction in ("AtoB", "BtoA"):
            got = model.translate(images, direction)
            np.testing.assert_allclose(got, expected[direction], atol=1e-4)
        np.testing.assert_allclose(model.D_B(images), expected["score"], atol=1e-4)


def test_a_model_comes_back_with_its_training(old):
    model = keras.saving.load_model(old / "finished" / "model.keras")
    assert (int(model.step), int(model.total_steps)) == (4, 4)
    assert int(model.generator_optimizer.iterations) == 4
    assert model.lambda_cycle_A == 10.0
    assert float(np.abs(model.generator_optimizer.variables[2]).max()) > 0


def test_a_stopped_run_resumes_to_the_same_model(old, tmp_path):
    run = shutil.copytree(old / "stopped", tmp_path / "stopped")
    assert main(["train", "--resume", "--run-dir", str(run), "--no-export"]) == 0
    resumed = keras.saving.load_model(run / "model.keras")
    straight = keras.saving.load_model(old / "finished" / "model.keras")
    assert int(resumed.step) == 4
    assert (run / "history.csv").read_text().count("\n") == 3
    for name, network in resumed.networks.items():
        for mine, theirs in zip(network.weights, straight.networks[name].weights, strict=True):
            if mine.name != "bias":  # before a norm, biases move by rounding noise
                np.testing.assert_allclose(mine, theirs, atol=1e-4, err_msg=mine.path)


def test_a_retired_setting_that_matters_is_named(old, tmp_path):
    text = (old / "finished" / "config.json").read_text()
    assert '"extractor_scaling": null' in text
    (tmp_path / "config.json").write_text(
        text.replace('"extractor_scaling": null', '"extractor_scaling": "rms"')
    )
    with pytest.raises(InputError, match="the setting extractor_scaling=rms was removed"):
        Config.load(tmp_path / "config.json")
