"""Networks that look at pictures: how they are shown them, and in what files they come."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.evaluation import kid, open_pretrained
from tfcyclegan.evaluation.pretrained import class_indices, load_class_names, resize


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (20, 24, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture
def network():
    """A small one with features of four dimensions."""
    return keras.Sequential(
        [keras.Input((16, 16, 3)), layers.Conv2D(4, 3, strides=2), layers.GlobalAveragePooling2D()]
    )


@pytest.mark.parametrize(("shape", "size"), [((40, 56), 16), ((16, 20), 37), ((64, 64), 61)])
def test_resizing_is_pillows_in_floats(shape, size):
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


def test_what_fits_is_not_resized(pictures):
    pixels = pictures[0][:, :20]
    np.testing.assert_array_equal(resize(pixels, 20), pixels)
    grey = resize(pixels[..., :1], 8)
    assert grey.shape == (8, 8, 3)
    np.testing.assert_array_equal(grey[..., 0], grey[..., 2])


def to_litert(network, path, pictures=None):
    """A LiteRT file; with pictures one of 8-bit integers from end to end."""
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
    assert found.describe() == {"name": form, "size": 16, "pixels": "unit"}
    with pytest.raises(InputError, match="takes 16 px alone, not 20"):
        open_pretrained(str(path), classes=classes, pixels="unit", size=20)
    with pytest.raises(InputError, match="does not say how it wants its pixels"):
        open_pretrained(str(path), classes=classes)


def test_a_quantised_file_takes_pixels_as_they_are(network, pictures, tmp_path):
    images = np.stack([resize(p, 16) for p in pictures])
    # Black and white span the input's range, so that its step is one level.
    to_litert(network, tmp_path / "q.tflite", [*images, 0 * images[0], 0 * images[0] + 255])
    found = open_pretrained(str(tmp_path / "q.tflite"), classes=True)
    expected = network(images).numpy()
    # Two bytes' worth of steps: one of the input, one of the output.
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
    """Without its weights, which only a network can fetch."""
    whole = keras.applications.mobilenet_v2.MobileNetV2
    asked = []

    def MobileNetV2(include_top=True, weights="imagenet", classifier_activation="softmax", **more):
        asked.append((include_top, weights, classifier_activation, more))
        return whole(
            include_top=include_top, weights=None, alpha=0.35,
            classifier_activation=classifier_activation, **more,
        )  # fmt: skip

    monkeypatch.setattr(keras.applications.mobilenet_v2, "MobileNetV2", MobileNetV2)
    found = open_pretrained("MobileNetV2", size=32)
    assert found(pictures).shape == (3, 1280)
    assert found.describe() == {
        "name": "keras.applications MobileNetV2", "size": 32, "pixels": "its own",
    }  # fmt: skip
    classifier = open_pretrained("MobileNetV2", classes=True)
    assert classifier(pictures[:1]).shape == (1, 1000)
    assert classifier.size == 224
    more = {"input_shape": (32, 32, 3), "pooling": "avg"}
    assert asked == [(False, "imagenet", "softmax", more), (True, "imagenet", None, {})]
    with pytest.raises(InputError, match="did you mean InceptionV3"):
        open_pretrained("InceptionV4")


def test_weights_that_cannot_be_fetched(monkeypatch):
    def InceptionV3(include_top=True, weights="imagenet", **more):
        raise OSError("URL fetch failure\non somewhere")

    monkeypatch.setattr(keras.applications.inception_v3, "InceptionV3", InceptionV3)
    with pytest.raises(InputError, match=r"could not fetch its weights \(URL fetch failure\): "):
        open_pretrained("InceptionV3")


def test_files_that_are_no_networks(tmp_path, network):
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
    with pytest.raises(InputError, match="no such file, and no such network"):
        open_pretrained(str(tmp_path / "missing.keras"), pixels="tf")
    with pytest.raises(InputError, match="pixels='bgr' is unknown"):
        open_pretrained("InceptionV3", pixels="bgr")
    grey = keras.Sequential([keras.Input((16, 16, 1)), layers.Flatten()])
    grey.save(tmp_path / "grey.keras")
    with pytest.raises(InputError, match="it sees none"):
        open_pretrained(str(tmp_path / "grey.keras"), pixels="tf")
    odd = keras.Sequential([keras.Input((16, 16, 3)), layers.Reshape((16, 48))])
    odd.save(tmp_path / "odd.keras")
    with pytest.raises(InputError, match=r"gives \(1, 16, 48\) for 1 pictures"):
        open_pretrained(str(tmp_path / "odd.keras"), pixels="tf")([np.zeros((9, 9, 3), np.uint8)])


def test_code_in_a_file_is_not_run(tmp_path, monkeypatch):
    """A lambda layer that leaves a mark when it runs; that it would is shown, too."""
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


def test_sizes_that_do_not_go(tmp_path, network, pictures):
    wide = keras.Sequential([keras.Input((16, 20, 3)), layers.GlobalAveragePooling2D()])
    wide.save(tmp_path / "wide.keras")
    with pytest.raises(InputError, match=r"takes 20×16 px, and pictures are shown as squares"):
        open_pretrained(str(tmp_path / "wide.keras"), pixels="tf")
    deep = keras.Sequential(
        [keras.Input((None, None, 3)), layers.Conv2D(2, 9), layers.GlobalAveragePooling2D()]
    )
    deep.save(tmp_path / "deep.keras")
    with pytest.raises(InputError, match="cannot look at pictures of 8 px"):
        open_pretrained(str(tmp_path / "deep.keras"), pixels="tf", size=8)(pictures)
    network.layers[0].kernel.assign(network.layers[0].kernel * np.nan)
    network.save(tmp_path / "bad.keras")
    with pytest.raises(InputError, match="gives what are no numbers"):
        open_pretrained(str(tmp_path / "bad.keras"), pixels="tf")(pictures)


def test_real_features_tell_horses_from_zebras(real_data):
    """With real photographs, KID is about 0 within one kind and large between two kinds."""
    weights = real_data.parent / "models" / "squeezenet_1_1.keras"
    if not weights.exists():
        pytest.skip(f"no {weights.name} beside TFCYCLEGAN_DATA")
    look = open_pretrained(str(weights), size=128, pixels="none")

    def features(split):
        paths = sorted((real_data / "horse2zebra" / split).iterdir())[:120]
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
    with pytest.raises(InputError, match="'zebar' is not among the 4 classes"):
        class_indices("zebar", names, 4)
    with pytest.raises(InputError, match="give its number, or a list of names"):
        class_indices("zebra", None, 4)
    with pytest.raises(InputError, match="no class to look for"):
        class_indices(" , ", names, 4)
    with pytest.raises(InputError, match="4 names for a classifier of 5 classes"):
        class_indices("zebra", names, 5)
    with pytest.raises(InputError, match="class 4: the classifier has 4, from 0 on"):
        class_indices("4", names, 4)
    with pytest.raises(InputError, match=r"missing.txt: not a list of classes"):
        load_class_names(tmp_path / "missing.txt")
    (tmp_path / "labels.json").write_text("[1, 2]")
    with pytest.raises(InputError, match="no list of names"):
        load_class_names(tmp_path / "labels.json")
