"""The graph inside an exported SavedModel: pictures or picture files in, the same out."""

from __future__ import annotations

import functools

import keras
import tensorflow as tf

from ..networks.inspection import divisor, least_size
from ..runtimes.protocol import MAX_PIXELS


class Servable(tf.Module):
    """A generator with the two signatures of an exported SavedModel.

    Args:
        generator: `keras.Model`, `[N, H, W, C]` in [-1, 1] → the same size in [-1, 1].
        max_pixels: int, limit on the pixels that go through the generator at once, with padding.

    `serving_default`: `images` float32 `[N, H, W, C]` in [-1, 1] → `images`, the same. H and W
    must be multiples of the generator's divisor.

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
        images = tf.TensorSpec((None, None, None, channels), tf.float32, "images")
        image_bytes = tf.TensorSpec((None,), tf.string, "image_bytes")
        self.functions = {
            "serving_default": tf.function(self._images, input_signature=[images]),
            "serving_bytes": tf.function(self._bytes, input_signature=[image_bytes]),
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
        # In turn, so that only one picture's activations are in memory.
        translated = tf.map_fn(
            self._one, image_bytes, fn_output_signature=tf.string, parallel_iterations=1
        )
        return {"image_bytes": translated}

    def _one(self, encoded: tf.Tensor) -> tf.Tensor:
        pixels = self._decode(encoded)
        size = tf.shape(pixels)[:2]
        padded = self._padded(size)
        for axis in (0, 1):
            pixels = tf.gather(pixels, _mirrored(size[axis], padded[axis]), axis=axis)
        pixels = tf.ensure_shape(pixels, (None, None, self._channels))
        images = tf.cast(pixels, tf.float32)[tf.newaxis] / 127.5 - 1.0
        drawn = self._generator(images)[0, : size[0], : size[1]]
        drawn = tf.clip_by_value(tf.round((drawn + 1.0) * 127.5), 0.0, 255.0)
        return tf.io.encode_png(tf.cast(drawn, tf.uint8))

    def _decode(self, encoded: tf.Tensor) -> tf.Tensor:
        """Decodes a JPEG or PNG file to uint8 `[H, W, C]`. Files are not trusted.

        JPEGs come out with the pixels that Pillow gives. The size is read from the file's header
        and checked before anything is decoded: a small file can claim any size.
        """

        def checked(width: tf.Tensor, height: tf.Tensor) -> tf.Operation:
            # By division: a product of claimed sizes may overflow.
            wide, high = self._padded(width), self._padded(height)
            small = (width > 0) & (height > 0) & (wide <= self._max_pixels // tf.maximum(high, 1))
            limit = f"the picture has more than {self._max_pixels} pixels, or none; width, height:"
            return tf.debugging.Assert(small, [limit, width, height])

        def jpeg() -> tf.Tensor:
            shape = tf.cast(tf.image.extract_jpeg_shape(encoded), tf.int64)
            with tf.control_dependencies([checked(shape[1], shape[0])]):
                return tf.image.decode_jpeg(encoded, self._channels, dct_method="INTEGER_ACCURATE")

        def png() -> tf.Tensor:
            with tf.control_dependencies([checked(_number(encoded, 16), _number(encoded, 20))]):
                return tf.image.decode_png(encoded, self._channels)

        def unknown() -> tf.Tensor:
            # Without the file's bytes: clients cannot read an error that holds bytes.
            message = "not a picture: image_bytes takes JPEG and PNG files"
            with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
                return tf.zeros((1, 1, self._channels), tf.uint8)

        def begins(head: bytes) -> tf.Tensor:
            return tf.strings.substr(encoded, 0, len(head)) == head

        cases = [(begins(b"\xff\xd8\xff"), jpeg), (begins(b"\x89PNG\r\n\x1a\n"), png)]
        return tf.case(cases, default=unknown)

    def _padded(self, size: tf.Tensor) -> tf.Tensor:
        """A picture's sides after padding."""
        return tf.maximum(-(-size // self._divisor) * self._divisor, self._least)


def _mirrored(size: tf.Tensor, padded: tf.Tensor) -> tf.Tensor:
    """Indices 0, 1, …, size-1, size-2, …, 1, 0, 1, …: repeated reflection."""
    last = tf.maximum(size - 1, 1)
    index = last - tf.abs(last - tf.range(padded) % (2 * last))
    return tf.minimum(index, size - 1)


def _number(encoded: tf.Tensor, start: int) -> tf.Tensor:
    """The big-endian 32-bit number at a place of a file, int64."""
    # An error of substr itself would show the file's bytes.
    whole = tf.debugging.Assert(
        tf.strings.length(encoded) >= start + 4, ["the picture is damaged or truncated"]
    )
    with tf.control_dependencies([whole]):
        digits = tf.io.decode_raw(tf.strings.substr(encoded, start, 4), tf.uint8)
    return tf.reduce_sum(tf.cast(digits, tf.int64) * [256**place for place in (3, 2, 1, 0)])
