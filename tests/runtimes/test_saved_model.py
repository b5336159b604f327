"""SavedModels as runtimes."""

import shutil

import pytest
import tensorflow as tf
from serving import LIMIT, MODELS, SIZES, draw, same, version_folder

from tfcyclegan import InputError
from tfcyclegan.runtimes.protocol import DESCRIPTION_NAME, MAX_PIXELS, BadPicture
from tfcyclegan.runtimes.saved_model import SavedModelRuntime, versions


@pytest.mark.parametrize("model", MODELS)
def test_saved_models_give_what_keras_gives(exports, expected, networks, model):
    runtime = SavedModelRuntime(version_folder(exports, model))
    assert runtime.channels == networks[model].input_shape[-1]
    assert runtime.direction == model.split("_")[1]
    assert runtime.max_pixels == (MAX_PIXELS if model == "small_AtoB" else LIMIT)
    for height, width in SIZES:
        pixels = draw(height, width, runtime.channels)
        assert same(runtime(pixels), expected(pixels, model))
    if model == "tiny_AtoB":
        with pytest.raises(BadPicture, match=r"more than 20000 pixels.* \[200\] \[101\]") as caught:
            runtime(draw(101, 200))
        assert "\n" not in str(caught.value)


def test_saved_models_without_the_signatures_are_refused(tmp_path, networks):
    class Doubles(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None,), tf.float32)])
        def __call__(self, x):
            return {"y": x + x}

    class Halves(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec((None, None, None, 3), tf.float32)])
        def images(self, images):
            return {"images": images[:, ::2, ::2, 0]}

        @tf.function(input_signature=[tf.TensorSpec((None,), tf.string)])
        def files(self, image_bytes):
            return {"image_bytes": image_bytes}

    halves = Halves()
    signatures = {"serving_default": halves.images, "serving_bytes": halves.files}
    tf.saved_model.save(halves, str(tmp_path / "halves"), signatures)
    with pytest.raises(InputError, match="halves: not a generator: it goes from"):
        SavedModelRuntime(tmp_path / "halves")
    tf.saved_model.save(Doubles(), str(tmp_path / "doubles"))
    networks["tiny_AtoB"].export(tmp_path / "keras", verbose=False)
    for name in ("doubles", "keras"):
        with pytest.raises(InputError, match=f"{name}: no signature serving_default from images"):
            SavedModelRuntime(tmp_path / name)
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    (damaged / "saved_model.pb").write_bytes(b"\xff" * 100)
    with pytest.raises(InputError, match="damaged: not a SavedModel that can be loaded") as caught:
        SavedModelRuntime(damaged)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["{", "[]", '{"direction": "AtoB"}', '{"max_pixels": "many"}'])
def test_a_damaged_description_is_named(exports, tmp_path, text):
    folder = shutil.copytree(version_folder(exports, "tiny_AtoB"), tmp_path / "model")
    (folder / "assets.extra" / DESCRIPTION_NAME).write_text(text)
    with pytest.raises(InputError, match="model: its description is damaged: export the generator"):
        SavedModelRuntime(folder)


def test_a_saved_model_without_description_goes_anywhere(exports, tmp_path):
    folder = shutil.copytree(version_folder(exports, "tiny_AtoB"), tmp_path / "model")
    (folder / "assets.extra/tfcyclegan.json").unlink()
    runtime = SavedModelRuntime(folder)
    assert (runtime.direction, runtime.max_pixels) == (None, MAX_PIXELS)


def test_versions_are_sorted_as_numbers(tmp_path):
    for name in ("10", "9", "2", "3.part", ".part-1", "newest"):
        (tmp_path / name).mkdir()
    (tmp_path / "11").write_text("a file")
    assert [path.name for path in versions(tmp_path)] == ["2", "9", "10"]
    assert versions(tmp_path / "missing") == []
