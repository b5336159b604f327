"""Pretrained networks: how they receive pictures, and from which files they are opened."""

import functools
import inspect

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.evaluation import Pretrained, kid, open_pretrained
from tfcyclegan.evaluation.pretrained import class_indices, load_class_names, resize


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture
def network():
    """A small network with four features."""
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(4, 3, strides=2), layers.GlobalAveragePooling2D()]
    )


@pytest.mark.parametrize(("shape", "size"), [((40, 56), 16), ((16, 20), 37), ((64, 64), 61)])
def test_resizing_equals_pillows_of_floats(shape, size):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), dtype=np.uint8)
    channels = [
        np.asarray(
            Image.fromarray(pixels[..., c].astype(np.float32)).resize(
                (size, size), Image.Resampling.BICUBIC
            )
        )
        for c in range(3)
    ]
    expected = np.clip(np.stack(channels, -1), 0, 255)
    np.testing.assert_allclose(resize(pixels, size), expected, atol=0.01)


def test_pictures_of_the_right_size_are_not_resized(pictures):
    pixels = pictures[0][:, :20]
    np.testing.assert_array_equal(resize(pixels, 20), pixels)
    grey = resize(pixels[..., :1], 8)
    assert grey.shape == (8, 8, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def to_litert(network, path, pictures=None):
    """Writes a LiteRT file; with pictures, of a network quantised to 8 bits."""
    weights = [v.numpy() for v in network.trainable_variables]

    @tf.function(input_signature=[tf.TensorSpec((1, 16, 16, 3))])
    def call(x):
        return network.stateless_call([tf.constant(w) for w in weights], [], x)[0]

    converter = tf.lite.TFLiteConverter.from_concrete_functions(
        [call.get_concrete_function()], tf.Module()
    )
    if pictures is not None:
        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = lambda: ([x[None]] for x in pictures)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
        converter.inference_input_type = converter.inference_output_type = tf.uint8
    path.write_bytes(converter.convert())


@pytest.mark.parametrize("form", ["n.keras", "n.tflite"])
def test_forms_agree(form, network, pictures, tmp_path):
    expected = network(np.stack([resize(p, 16) for p in pictures]) / 255).numpy()
    path = tmp_path / form
    classes = form == "n.tflite"
    if classes:
        to_litert(network, path)
    else:
        network.save(path)
    found = open_pretrained(str(path), classes=classes, pixels="unit")
    np.testing.assert_allclose(found(pictures, batch_size=2), expected, atol=1e-4)
    assert isinstance(found, Pretrained)
    assert found.width == 4
    assert found.describe() == {"name": form, "size": 16, "pixels": "unit"}
    with pytest.raises(InputError, match="takes 16 px only, not 20"):
        open_pretrained(str(path), classes=classes, pixels="unit", size=20)
    with pytest.raises(InputError, match="does not say how it expects its pixels"):
        open_pretrained(str(path), classes=classes)


def test_a_quantised_file_takes_8_bit_pixels(network, pictures, tmp_path):
    images = np.stack([resize(p, 16) for p in pictures])
    # Black and white span the input's range, so its step is one level.
    to_litert(network, tmp_path / "q.tflite", [*images, 0 * images[0], 0 * images[0] + 255])
    found = open_pretrained(str(tmp_path / "q.tflite"), classes=True)
    expected = network(images).numpy()
    # Two rounding errors: of the input and of the output.
    assert np.abs(found(pictures) - expected).max() < 0.03 * np.ptp(expected)
    assert found.pixels == "none"


def test_maps_of_features_are_averaged(pictures, tmp_path):
    network = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3)])
    network.save(tmp_path / "map.keras")
    found = open_pretrained(str(tmp_path / "map.keras"), size=12, pixels="none")
    images = np.stack([resize(p, 12) for p in pictures])
    np.testing.assert_allclose(
        found(pictures), network(images).numpy().mean((1, 2)), rtol=1e-4, atol=1e-3
    )


@pytest.mark.parametrize("mode", ["caffe", "tf", "torch"])
def test_pixels_are_prepared_as_keras_does(mode, pictures, tmp_path):
    network = keras.Sequential([keras.Input((16, 16, 3)), layers.GlobalAveragePooling2D()])
    network.save(tmp_path / "mean.keras")
    found = open_pretrained(str(tmp_path / "mean.keras"), pixels=mode)(pictures)
    images = np.stack([resize(p, 16) for p in pictures])
    expected = {
        "caffe": images.mean((1, 2))[:, ::-1] - [103.939, 116.779, 123.68],
        "tf": images.mean((1, 2)) / 127.5 - 1,
        "torch": (images.mean((1, 2)) / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225],
    }[mode]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)


def test_applications_by_name(monkeypatch, pictures):
    """Without the weights, which need a download."""
    whole, asked = keras.applications.MobileNet, []

    @functools.wraps(whole)  # which tells where its preparation of pixels is
    def without_weights(**settings):
        asked.append(settings)
        return whole(**{**settings, "weights": None}, alpha=0.25)

    monkeypatch.setattr(keras.applications, "MobileNet", without_weights)
    found = open_pretrained("MobileNet", size=32)
    assert found(pictures).shape == (3, 256)
    assert found.describe() == {
        "name": "keras.applications MobileNet", "size": 32, "pixels": "its own",
    }  # fmt: skip
    classifier = open_pretrained("MobileNet", classes=True)
    assert classifier(pictures[:1]).shape == (1, 1000)
    assert classifier.size == 224
    assert asked == [
        {"weights": "imagenet", "include_top": False, "input_shape": (32, 32, 3), "pooling": "avg"},
        {"weights": "imagenet", "classifier_activation": None},
    ]
    with pytest.raises(InputError, match="did you mean InceptionV3"):
        open_pretrained("InceptionV4")


def test_every_application_has_its_preparation():
    """`open_pretrained` finds it in the module that defines the network."""
    networks = inspect.getmembers(keras.applications, inspect.isfunction)
    assert len(networks) >= 38
    for _, network in networks:
        assert inspect.getmodule(network).preprocess_input


def test_weights_that_cannot_be_downloaded(monkeypatch):
    @functools.wraps(keras.applications.InceptionV3)
    def offline(**settings):
        raise OSError("URL fetch failure\non somewhere")

    monkeypatch.setattr(keras.applications, "InceptionV3", offline)
    with pytest.raises(InputError, match=r"could not download its weights \(URL fetch failure\): "):
        open_pretrained("InceptionV3")


def test_invalid_sources(tmp_path, network):
    for name, words in (
        ("x.keras", r"not a model that Keras can load \(.*\)$"),
        ("x.h5", "x.h5: not supported here: give a name in keras.applications or a .keras or"),
        ("x.tflite", "not a LiteRT file"),
    ):
        (tmp_path / name).write_bytes(b"something else")
        with pytest.raises(InputError, match=words):
            open_pretrained(str(tmp_path / name), classes=True, pixels="tf")
    with pytest.raises(InputError, match=r"x.tflite: not supported here: .* or a .keras file$"):
        open_pretrained(str(tmp_path / "x.tflite"), pixels="tf")
    (tmp_path / "folder").mkdir()
    with pytest.raises(InputError, match=r"folder: not supported here: .* or a .keras file$"):
        open_pretrained(str(tmp_path / "folder"), pixels="tf")
    with pytest.raises(InputError, match="neither a file nor a network in"):
        open_pretrained(str(tmp_path / "missing.keras"), pixels="tf")
    with pytest.raises(InputError, match="pixels='bgr' is unknown"):
        open_pretrained("InceptionV3", pixels="bgr")
    grey = keras.Sequential([keras.Input((16, 16, 1)), layers.Flatten()])
    grey.save(tmp_path / "grey.keras")
    with pytest.raises(InputError, match=r"takes \(None, 16, 16, 1\), not pictures"):
        open_pretrained(str(tmp_path / "grey.keras"), pixels="tf")
    odd = keras.Sequential([keras.Input((16, 16, 3)), layers.Reshape((16, 48))])
    odd.save(tmp_path / "odd.keras")
    with pytest.raises(InputError, match=r"returns \(1, 16, 48\) for 1 pictures"):
        open_pretrained(str(tmp_path / "odd.keras"), pixels="tf")([np.zeros((9, 9, 3), np.uint8)])


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    """A lambda layer leaves a mark when it runs; without safe_mode it would run."""
    monkeypatch.chdir(tmp_path)
    trap = keras.Sequential(
        [
            keras.Input((16, 16, 3)),
            layers.Lambda(lambda x: x * (1 + 0 * __import__("os").system("touch ran"))),
            layers.GlobalAveragePooling2D(),
        ]
    )
    path = tmp_path / "trap.keras"
    trap.save(path)
    (tmp_path / "ran").unlink()  # building it ran it
    with pytest.raises(InputError, match=r"not a model that Keras can load \(.*[Ll]ambda"):
        open_pretrained(str(path), pixels="tf")
    assert not (tmp_path / "ran").exists()
    keras.saving.load_model(path, safe_mode=False)(np.zeros((1, 16, 16, 3)))
    assert (tmp_path / "ran").exists()


def test_unsuitable_networks(tmp_path, network, pictures):
    wide = keras.Sequential([keras.Input((16, 20, 3)), layers.GlobalAveragePooling2D()])
    wide.save(tmp_path / "wide.keras")
    with pytest.raises(InputError, match=r"takes 20×16 px: give a network for square pictures"):
        open_pretrained(str(tmp_path / "wide.keras"), pixels="tf")
    deep = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(2, 9), layers.GlobalAveragePooling2D()]
    )
    deep.save(tmp_path / "deep.keras")
    with pytest.raises(InputError, match="does not run on pictures of 8 px"):
        open_pretrained(str(tmp_path / "deep.keras"), pixels="tf", size=8)(pictures)
    network.layers[0].kernel.assign(network.layers[0].kernel * np.nan)
    network.save(tmp_path / "bad.keras")
    with pytest.raises(InputError, match="its output is not finite"):
        open_pretrained(str(tmp_path / "bad.keras"), pixels="tf")(pictures)


def test_real_features_tell_horses_from_zebras(real_data):
    """With real photographs KID is about 0 within one kind and large between two kinds."""
    weights = real_data.parent / "models" / "squeezenet_1_1.keras"
    if not weights.exists():
        pytest.skip(f"no {weights.name} beside TFCYCLEGAN_DATA")
    look = open_pretrained(str(weights), size=128, pixels="none")

    def features(split):
        paths = sorted((real_data / "horse2zebra" / split).iterdir())[:60]
        return look([np.asarray(Image.open(path).convert("RGB")) for path in paths])

    seen = {split: features(split) for split in ("trainA", "testA", "trainB")}
    assert abs(kid(seen["trainA"], seen["testA"]).mean) < 0.1
    assert 1.8 < kid(seen["trainA"], seen["trainB"]).mean < 3.0


def test_classes(tmp_path):
    (tmp_path / "labels.txt").write_text("background\nplains zebra\nSorrel\nsea horse\n")
    names = load_class_names(tmp_path / "labels.txt")
    assert class_indices("zebra", names, 4) == [1]
    assert class_indices("sorrel, 3", names, 4) == [2, 3]
    assert class_indices("340, 341", None, 1001) == [340, 341]
    (tmp_path / "labels.json").write_text('["a", "b"]')
    assert load_class_names(tmp_path / "labels.json") == ["a", "b"]
    with pytest.raises(InputError, match="'zebar' is not among the 4 classes; give numbers, or"):
        class_indices("zebar", names, 4)
    with pytest.raises(InputError, match="did you mean 'sea horse'"):
        class_indices("sea hors", names, 4)
    with pytest.raises(InputError, match="give numbers, or names in `classes`"):
        class_indices("zebra", None, 4)
    with pytest.raises(InputError, match="no class given"):
        class_indices(" , ", names, 4)
    with pytest.raises(InputError, match="`classes`: 4 names for a classifier of 5 classes"):
        class_indices("zebra", names, 5)
    with pytest.raises(InputError, match="class '4' is not among the 4 classes"):
        class_indices("4", names, 4)
    with pytest.raises(InputError, match=r"missing.txt: not a list of classes"):
        load_class_names(tmp_path / "missing.txt")
    (tmp_path / "labels.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="no list of names"):
        load_class_names(tmp_path / "labels.json")
