"""The LiteRT reader that translation and classifiers share."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError
from tfcyclegan.runtimes.litert import LiteRTModel


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
