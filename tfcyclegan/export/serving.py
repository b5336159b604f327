"""SavedModels in TF Serving's layout: pictures or picture files in, the same out.

    serving/models.config, batching.config
    serving/AtoB/1/          a version of G
    serving/BtoA/1/          a version of F
    compose.yaml

Nothing in them needs Python, this package or a custom operation.
"""

from __future__ import annotations

import functools
from pathlib import Path

import keras
import tensorflow as tf

from ..files import atomic_write
from ..networks.inspection import divisor, least_size
from ..networks.twins import with_precision
from ..runtimes.descriptions import describe_saved_model
from ..runtimes.protocol import MAX_PIXELS
from ..runtimes.saved_model import versions
from .decoding import decode


class Servable(tf.Module):
    """A generator with the two signatures of an exported SavedModel.

    Args:
        generator: `keras.Model`, `[N, H, W, C]` in [-1, 1] → the same size in [-1, 1].
        max_pixels: int, pixels that go through the generator at once, padding included. A picture
            file's size is read from its header before anything is decoded.

    `serving_default`: `images` float32 `[N, H, W, C]` in [-1, 1], H and W multiples of the
    generator's divisor, `max_pixels` at most in all → `images`, the same.

    `serving_bytes`: `image_bytes` `[N]`, JPEG or PNG files of any sizes → `image_bytes` `[N]`, PNG
    files of the same sizes. Each picture is padded by reflection, to the right and below, to
    multiples of the divisor and at least the least size, and cropped back. EXIF orientation is
    ignored and alpha is dropped: TensorFlow supports neither.
    """

    def __init__(self, generator: keras.Model, max_pixels: int = MAX_PIXELS):
        super().__init__(name="tfcyclegan")
        # The variables, not the model: from Keras's own tracking a session loader, such as TF
        # Serving's, makes a second set of variables that nothing restores.
        self.weights = [variable.value for variable in generator.variables]
        self._generator = functools.partial(generator, training=False)
        self._divisor, self._least = divisor(generator), least_size(generator)
        self._max_pixels = max_pixels
        channels = self._channels = generator.input_shape[-1]
        self.functions = {
            "serving_default": tf.function(
                self._images,
                input_signature=[
                    tf.TensorSpec((None, None, None, channels), tf.float32, name="images")
                ],
            ),
            "serving_bytes": tf.function(
                self._bytes, input_signature=[tf.TensorSpec((None,), tf.string, "image_bytes")]
            ),
        }

    def _images(self, images: tf.Tensor) -> dict[str, tf.Tensor]:
        size = tf.shape(images)[1:3]
        fits = tf.reduce_all((size % self._divisor == 0) & (size >= self._least))
        message = (
            f"height and width of images must be multiples of {self._divisor} and at least "
            f"{self._least}; height, width:"
        )
        total = tf.reduce_prod(tf.shape(images, tf.int64)[:3])
        most = f"images have more than {self._max_pixels} pixels in all:"
        checks = [
            tf.debugging.Assert(fits, [message, size]),
            tf.debugging.Assert(total <= self._max_pixels, [most, total]),
        ]
        with tf.control_dependencies(checks):
            return {"images": self._generator(images)}

    def _bytes(self, image_bytes: tf.Tensor) -> dict[str, tf.Tensor]:
        translated = tf.map_fn(
            self._one,
            image_bytes,
            fn_output_signature=tf.string,
            parallel_iterations=1,  # one picture's activations in memory, not all at once
        )
        return {"image_bytes": translated}

    def _one(self, encoded: tf.Tensor) -> tf.Tensor:
        pixels = decode(encoded, self._channels, self._padded, self._max_pixels)
        size = tf.shape(pixels)[:2]
        padded = self._padded(size)
        for axis in (0, 1):
            pixels = tf.gather(pixels, _mirrored(size[axis], padded[axis]), axis=axis)
        pixels = tf.ensure_shape(pixels, (None, None, self._channels))
        images = tf.cast(pixels, tf.float32)[tf.newaxis] / 127.5 - 1.0
        drawn = self._generator(images)[0, : size[0], : size[1]]
        drawn = tf.clip_by_value(tf.round((drawn + 1.0) * 127.5), 0.0, 255.0)
        return tf.io.encode_png(tf.cast(drawn, tf.uint8))

    def _padded(self, size: tf.Tensor) -> tf.Tensor:
        """A picture's sides after padding."""
        return tf.maximum(-(-size // self._divisor) * self._divisor, self._least)


def _mirrored(size: tf.Tensor, padded: tf.Tensor) -> tf.Tensor:
    """Indices 0, 1, …, size-1, size-2, …, 1, 0, 1, …: repeated reflection."""
    last = tf.maximum(size - 1, 1)
    index = last - tf.abs(last - tf.range(padded) % (2 * last))
    return tf.minimum(index, size - 1)


def write_saved_model(
    generator: keras.Model,
    directory: str | Path,
    *,
    model_name: str,
    direction: str = "AtoB",
    precision: str = "float32",
    image_size: tuple[int, int] = (256, 256),
    max_pixels: int = MAX_PIXELS,
) -> None:
    """Writes one version of a servable generator.

    Args:
        generator: a functional model, of any precision.
        directory: the version's folder.
        model_name: the model's name on the server, for the warm-up requests.
        direction: "AtoB" or "BtoA", for its description.
        precision: "float32" (default) or "bfloat16", of its computation.
        image_size: `(height, width)` in px of the warm-up requests.
        max_pixels: see `Servable`.
    """
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    servable = Servable(with_precision(generator, policy), max_pixels)
    tf.saved_model.save(servable, str(directory), signatures=servable.functions)
    description = {
        "format": "tfcyclegan/1",
        "direction": direction,
        "precision": precision,
        "channels": generator.input_shape[-1],
        "multiple_of": divisor(generator),
        "at_least": least_size(generator),
        "max_pixels": max_pixels,
    }
    describe_saved_model(Path(directory), description)
    warm_up = Path(directory, "assets.extra", "tf_serving_warmup_requests")
    _write_warm_up(warm_up, model_name, image_size, generator)


def _write_warm_up(
    path: Path, model_name: str, image_size: tuple[int, int], generator: keras.Model
) -> None:
    """A request for each signature, which the server runs before it announces the model."""
    from tensorflow_serving.apis import predict_pb2, prediction_log_pb2

    shape = (*image_size, generator.input_shape[-1])
    png = tf.io.encode_png(tf.fill(shape, tf.constant(128, tf.uint8))).numpy()
    requests = {
        # One value for the whole shape keeps the file small.
        "serving_default": ("images", tf.make_tensor_proto(0.0, shape=(1, *shape))),
        "serving_bytes": ("image_bytes", tf.make_tensor_proto([png])),
    }
    with tf.io.TFRecordWriter(str(path)) as writer:
        for signature, (name, value) in requests.items():
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = signature
            request.inputs[name].CopyFrom(value)
            log = prediction_log_pb2.PredictLog(request=request)
            writer.write(prediction_log_pb2.PredictionLog(predict_log=log).SerializeToString())


def publish(staged: Path, directory: Path) -> Path:
    """Moves a finished version to the next free number in a model's folder, atomically."""
    directory.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in versions(directory)), default=0) + 1
    while True:
        target = directory / str(number)
        try:
            return staged.rename(target)
        except OSError:
            if not target.exists():
                raise
            number += 1  # another process was faster


def write_server_files(export_dir: Path, name: str) -> None:
    """`models.config`, `batching.config` and `compose.yaml` for the models that are there."""
    serving = export_dir / "serving"
    entries = [
        f"  config {{\n"
        f'    name: "{name}_{direction}"\n'
        f'    base_path: "/models/{direction}"\n'
        f'    model_platform: "tensorflow"\n'
        f"  }}\n"
        for direction in ("AtoB", "BtoA")
        if versions(serving / direction)
    ]
    with atomic_write(serving / "models.config") as part:
        part.write_text("model_config_list {\n" + "".join(entries) + "}\n")
    # Users edit these two, so they are not overwritten.
    for path, text in (
        (serving / "batching.config", _BATCHING),
        (export_dir / "compose.yaml", _COMPOSE),
    ):
        if not path.exists():
            with atomic_write(path) as part:
                part.write_text(text)


_BATCHING = """\
# Only for clients that send `images` of one size, all of them:
#   --enable_batching=true --batching_parameters_file=/models/batching.config
# Pictures of other sizes in one batch would have to be padded, which changes what instance
# normalisation sees, and one string that is no picture fails its whole batch. So no batching is
# the default here, and padding stays off.
max_batch_size { value: 8 }
batch_timeout_micros { value: 5000 }
max_enqueued_batches { value: 64 }
pad_variable_length_inputs: false
"""

_COMPOSE = """\
# docker compose up, in this folder. gRPC on 8500, REST on 8501.
services:
  serving:
    image: tensorflow/serving:${TF_SERVING_TAG:-latest}
    command: ["--model_config_file=/models/models.config"]
    ports: ["8500:8500", "8501:8501"]
    volumes: ["./serving:/models:ro"]
    restart: unless-stopped
"""
