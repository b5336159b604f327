"""SavedModels in TF Serving's layout: pictures or picture files in, the same out.

    serving/models.config, batching.config
    serving/AtoB/1/          a version of G
    serving/BtoA/1/          a version of F
    compose.yaml

Nothing in them needs Python, this package or a custom operation.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path

import keras
import tensorflow as tf

from ..files import atomic_write
from ..networks.inspection import divisor, least_size
from ..networks.twins import with_precision
from ..runtimes.protocol import DESCRIPTION_NAME, MAX_PIXELS, versions


class Servable(tf.Module):
    """A generator with the two signatures that a server offers.

    Args:
        generator: `keras.Model`, `[N, H, W, C]` in [-1, 1] → the same size in [-1, 1].
        max_pixels: int, pixels that go through the generator at once, padding included. What a
            picture file claims is read from its head before any of it is unpacked.

    `serving_default`: `images` float32 `[N, H, W, C]` in [-1, 1], H and W multiples of the
    generator's divisor, `max_pixels` at most in all → `images`, the same.

    `serving_bytes`: `image_bytes` `[N]`, JPEG, PNG, GIF (first frame) or BMP files of any sizes
    → `image_bytes` `[N]`, PNG files of the same sizes. Each is padded by mirroring, to the right
    and below, to multiples of the divisor and at least the least size, and cropped back. EXIF
    orientation is not looked at and alpha is dropped: TensorFlow knows neither.
    """

    def __init__(self, generator: keras.Model, max_pixels: int = MAX_PIXELS):
        super().__init__(name="tfcyclegan")
        # The variables and not the model: of Keras's own tracking a session loader, such as TF
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
        """What a picture's sides become before the generator sees it."""
        return tf.maximum(-(-size // self._divisor) * self._divisor, self._least)


def _mirrored(size: tf.Tensor, padded: tf.Tensor) -> tf.Tensor:
    """Indices 0, 1, …, size-1, size-2, …, 1, 0, 1, …: reflection, repeated as often as needed."""
    last = tf.maximum(size - 1, 1)
    index = last - tf.abs(last - tf.range(padded) % (2 * last))
    return tf.minimum(index, size - 1)


def decode(
    encoded: tf.Tensor,
    channels: int,
    padded: Callable[[tf.Tensor], tf.Tensor],
    max_pixels: int,
) -> tf.Tensor:
    """A picture file to uint8 `[H, W, channels]`, in a graph; files are not trusted.

    JPEGs come out with the pixels Pillow gives them. The size is read from the file's head and
    held against the limit before anything is decoded, and of a GIF only the first frame is looked
    at: a small file can claim, or unpack to, any size.

    Raises (when it runs):
        tf.errors.InvalidArgumentError: no such picture, a damaged one, or one above the limit.
    """

    def whole(condition: tf.Tensor) -> tf.Operation:
        return tf.debugging.Assert(condition, ["the picture is damaged or cut short"])

    def number(start: int, width: int, big: bool = False) -> tf.Tensor:
        # An error of substr itself would show the file's bytes, which are no text.
        with tf.control_dependencies([whole(tf.strings.length(encoded) >= start + width)]):
            text = tf.strings.substr(encoded, start, width)
        digits = tf.cast(tf.io.decode_raw(text, tf.uint8), tf.int64)
        digits = digits[::-1] if big else digits
        return tf.reduce_sum(digits * [256**place for place in range(width)])

    def checked(width: tf.Tensor, height: tf.Tensor) -> tf.Operation:
        # By division: a product of what a file claims may overflow.
        wide, high = padded(width), padded(height)
        small = (width > 0) & (height > 0) & (wide <= max_pixels // tf.maximum(high, 1))
        message = f"the picture has more than {max_pixels} pixels, or none; width, height:"
        return tf.debugging.Assert(small, [message, width, height])

    def jpeg() -> tf.Tensor:
        shape = tf.cast(tf.image.extract_jpeg_shape(encoded), tf.int64)
        with tf.control_dependencies([checked(shape[1], shape[0])]):
            return tf.image.decode_jpeg(encoded, channels, dct_method="INTEGER_ACCURATE")

    def png() -> tf.Tensor:
        with tf.control_dependencies([checked(number(16, 4, big=True), number(20, 4, big=True))]):
            return tf.image.decode_png(encoded, channels)

    def gif() -> tf.Tensor:
        frame, width, height = _first_gif_frame(encoded)
        screen = number(6, 2), number(8, 2)
        # TensorFlow paints a smaller frame on nothing, and a larger one past the end.
        with tf.control_dependencies([checked(*screen), checked(width, height)]):
            fills = whole((screen[0] == width) & (screen[1] == height))
        with tf.control_dependencies([fills]):
            return as_channels(tf.image.decode_gif(frame)[0])

    def bmp() -> tf.Tensor:
        # A negative height means rows from the top.
        height = number(22, 4)
        height = tf.minimum(height, 2**32 - height)
        with tf.control_dependencies([checked(number(18, 4), height)]):
            pixels = tf.image.decode_bmp(encoded)

        def coloured() -> tf.Tensor:
            # Of 8 bits a pixel TensorFlow gives the places in the colour table, which is BGR0.
            start = 14 + number(14, 4)
            table = tf.strings.substr(encoded, start, number(10, 4) - start)
            colours = tf.reshape(tf.io.decode_raw(table, tf.uint8), (-1, 4))[:, 2::-1]
            return tf.gather(colours, tf.cast(pixels[..., 0], tf.int32))

        bits = number(28, 2)
        message = "a BMP must have 8, 24 or 32 bits a pixel; it has:"
        known = tf.debugging.Assert((bits == 8) | (bits == 24) | (bits == 32), [message, bits])
        with tf.control_dependencies([known]):
            return as_channels(tf.cond(bits == 8, coloured, lambda: pixels))

    def as_channels(pixels: tf.Tensor) -> tf.Tensor:
        colours = tf.shape(pixels)[2]
        if channels == 1:
            return tf.cond(
                colours == 1,
                lambda: pixels,
                lambda: tf.image.rgb_to_grayscale(
                    tf.ensure_shape(pixels[..., :3], (None, None, 3))
                ),
            )
        return tf.cond(colours == 1, lambda: tf.tile(pixels, (1, 1, 3)), lambda: pixels[..., :3])

    def unknown() -> tf.Tensor:
        # Not what it holds: clients cannot read an error with bytes in it that are no text.
        message = "not a picture: image_bytes takes JPEG, PNG, GIF and BMP files"
        with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
            return tf.zeros((1, 1, channels), tf.uint8)

    def begins(*heads: bytes) -> tf.Tensor:
        return tf.reduce_any([tf.strings.substr(encoded, 0, len(h)) == h for h in heads])

    return tf.case(
        [
            (begins(b"\xff\xd8\xff"), jpeg),
            (begins(b"\x89PNG\r\n\x1a\n"), png),
            (begins(b"GIF87a", b"GIF89a"), gif),
            (begins(b"BM"), bmp),
        ],
        default=unknown,
    )


def _first_gif_frame(encoded: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """The file up to the end of its first frame, and that frame's width and height.

    TensorFlow unpacks all frames before it looks at any, each as large as it claims to be.
    """
    data = tf.cast(tf.io.decode_raw(encoded, tf.uint8), tf.int32)
    data, size = tf.concat([data, [0]], axis=0), tf.size(data)

    def byte(at: tf.Tensor) -> tf.Tensor:
        """The byte there, 0 behind the end."""
        return data[tf.minimum(at, size)]

    def after_table(flags: tf.Tensor) -> tf.Tensor:
        """Bytes of the colour table that these flags announce."""
        return tf.where(flags >= 128, 3 * 2 ** (flags % 8 + 1), 0)

    def after_blocks(place: tf.Tensor) -> tf.Tensor:
        """Where a chain of sub-blocks ends: each begins with its length, the last has none."""
        end = tf.while_loop(lambda at: byte(at) > 0, lambda at: at + byte(at) + 1, [place])[0]
        return end + 1

    place = 13 + after_table(byte(tf.constant(10)))
    # Extensions (0x21 and a label) come before the frame (0x2C).
    place = tf.while_loop(lambda at: byte(at) == 0x21, lambda at: after_blocks(at + 2), [place])[0]
    width = byte(place + 5) + 256 * byte(place + 6)
    height = byte(place + 7) + 256 * byte(place + 8)
    end = after_blocks(place + 11 + after_table(byte(place + 9)))
    sound = (byte(place) == 0x2C) & (end <= size)
    message = "the GIF is damaged or cut short: no whole frame in it"
    with tf.control_dependencies([tf.debugging.Assert(sound, [message])]):
        frame = tf.strings.join([tf.strings.substr(encoded, 0, end), b"\x3b"])
    return frame, tf.cast(width, tf.int64), tf.cast(height, tf.int64)


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
        generator: a functional model, of whatever precision.
        directory: the version's folder.
        model_name: the server's name for it, for the warm-up requests.
        direction: "AtoB" or "BtoA", for its description.
        precision: "float32" (default) or "bfloat16", of its computation.
        image_size: `(height, width)` in px of the warm-up requests.
        max_pixels: see `Servable`.
    """
    policy = {"float32": "float32", "bfloat16": "mixed_bfloat16"}[precision]
    servable = Servable(with_precision(generator, policy), max_pixels)
    tf.saved_model.save(servable, str(directory), signatures=servable.functions)
    extra = Path(directory, "assets.extra")
    extra.mkdir()
    description = {
        "format": "tfcyclegan/1",
        "direction": direction,
        "precision": precision,
        "channels": generator.input_shape[-1],
        "multiple_of": divisor(generator),
        "at_least": least_size(generator),
        "max_pixels": max_pixels,
    }
    (extra / DESCRIPTION_NAME).write_text(json.dumps(description, indent=2) + "\n")
    _write_warm_up(extra / "tf_serving_warmup_requests", model_name, image_size, generator)


def _write_warm_up(
    path: Path, model_name: str, image_size: tuple[int, int], generator: keras.Model
) -> None:
    """A request for each signature, which the server answers before it announces the model."""
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
    """Moves a finished version to the next free number in a model's folder, in one step."""
    directory.mkdir(parents=True, exist_ok=True)
    number = max((int(path.name) for path in versions(directory)), default=0) + 1
    while True:
        target = directory / str(number)
        try:
            return staged.rename(target)
        except OSError:
            if not target.exists():
                raise
            number += 1  # somebody else was faster


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
    # These two are there to be changed by hand.
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
