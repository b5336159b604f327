"""The LiteRT reader that translation and classifiers share."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError
from tfcyclegan.export.litert import with_metadata
from tfcyclegan.runtimes.litert import LiteRTModel, LiteRTRuntime, read_metadata


def write(path, function, *shapes):
    signature = [tf.TensorSpec(shape, tf.float32) for shape in shapes]
    traced = tf.function(function, input_signature=signature).get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    path.write_bytes(converter.convert())


def test_the_input_is_resized(tmp_path):
    write(tmp_path / "m.tflite", lambda x: tf.reduce_mean(x, [1, 2]), (1, None, None, 3))
    model = LiteRTModel(tmp_path / "m.tflite", threads=1)
    assert (model.shape, model.dtype) == ([1, -1, -1, 3], np.float32)
    for side in (4, 7, 4):
        values = np.random.default_rng(side).normal(size=(1, side, side, 3)).astype(np.float32)
        np.testing.assert_allclose(model.run(values), values.mean((1, 2)), atol=1e-5)


def test_other_files_are_refused(tmp_path):
    (tmp_path / "x.tflite").write_bytes(b"something else")
    write(tmp_path / "two.tflite", lambda x, y: x + y, (1, 4), (1, 4))
    for name in ("x.tflite", "two.tflite", "missing.tflite"):
        with pytest.raises(InputError, match=f"{name}: not a LiteRT file of one input and one"):
            LiteRTModel(tmp_path / name)


@pytest.mark.parametrize(
    ("function", "shape", "message"),
    [
        (
            lambda x: x[:, ::2, ::2, :1],
            (1, None, None, 3),
            r"from \[1, 8, 8, 3\] to \[1, 4, 4, 1",
        ),
        (lambda x: x[:, ::2, ::2], (1, 16, 16, 3), r"from \[1, 16, 16, 3\] to \[1, 8, 8, 3\]"),
        (lambda x: tf.reduce_mean(x, [1, 2]), (1, 16, 16, 3), r"to \[1, 3\]; a generator goes"),
        (lambda x: x + 1, (1, 10), r"from \[1, 10\] to \[1, 10\]"),
        (lambda x: x + 1, (1, 16, 16, 4), r"from \[1, 16, 16, 4\] to"),
        (lambda x: tf.cast(x, tf.int32), (1, 16, 16, 3), "its values are float32 and int32"),
    ],
)
def test_files_of_other_networks_are_no_generators(tmp_path, function, shape, message):
    write(tmp_path / "m.tflite", function, shape)
    with pytest.raises(InputError, match=rf"m.tflite: not a generator.*{message}"):
        LiteRTRuntime(tmp_path / "m.tflite")


def test_descriptions_are_not_trusted(tmp_path):
    file = tmp_path / "m.tflite"
    write(file, lambda x: -x, (1, None, None, 3))
    plain = file.read_bytes()
    assert read_metadata(plain) is None
    pixels = np.arange(5 * 9 * 3, dtype=np.uint8).reshape(5, 9, 3)
    np.testing.assert_array_equal(LiteRTRuntime(file)(pixels), 255 - pixels)
    for size in ({"multiple_of": 10**6}, {"at_least": 2**40}, {"at_least": "x"}, {"at_least": -1}):
        file.write_bytes(with_metadata(plain, {"direction": "AtoB", "size": size}))
        with pytest.raises(InputError, match="not a generator's LiteRT file") as caught:
            LiteRTRuntime(file)
        assert "\n" not in str(caught.value)
