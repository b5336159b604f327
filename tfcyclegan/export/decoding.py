"""JPEG and PNG files to pixels, in TensorFlow operations inside a SavedModel."""

from __future__ import annotations

from collections.abc import Callable

import tensorflow as tf


def decode(
    encoded: tf.Tensor,
    channels: int,
    padded: Callable[[tf.Tensor], tf.Tensor],
    max_pixels: int,
) -> tf.Tensor:
    """Decodes a JPEG or PNG file to uint8 `[H, W, channels]`. Files are not trusted.

    JPEGs come out with the pixels that Pillow gives. The size is read from the file's header and
    compared with the limit before anything is decoded: a small file can claim any size.

    Args:
        encoded: scalar string, the file.
        channels: int, 3 (RGB) or 1 (grey).
        padded: gives the sides of a picture after padding, which the limit is for.
        max_pixels: int, the limit.

    Raises (when it runs):
        tf.errors.InvalidArgumentError: another format, a damaged file, or one above the limit.
    """

    def checked(width: tf.Tensor, height: tf.Tensor) -> tf.Operation:
        # By division: a product of claimed sizes may overflow.
        wide, high = padded(width), padded(height)
        small = (width > 0) & (height > 0) & (wide <= max_pixels // tf.maximum(high, 1))
        message = f"the picture has more than {max_pixels} pixels, or none; width, height:"
        return tf.debugging.Assert(small, [message, width, height])

    def jpeg() -> tf.Tensor:
        shape = tf.cast(tf.image.extract_jpeg_shape(encoded), tf.int64)
        with tf.control_dependencies([checked(shape[1], shape[0])]):
            return tf.image.decode_jpeg(encoded, channels, dct_method="INTEGER_ACCURATE")

    def png() -> tf.Tensor:
        with tf.control_dependencies([checked(_number(encoded, 16), _number(encoded, 20))]):
            return tf.image.decode_png(encoded, channels)

    def unknown() -> tf.Tensor:
        # Without the file's bytes: clients cannot read an error that holds bytes.
        message = "not a picture: image_bytes takes JPEG and PNG files"
        with tf.control_dependencies([tf.debugging.Assert(False, [message])]):
            return tf.zeros((1, 1, channels), tf.uint8)

    def begins(head: bytes) -> tf.Tensor:
        return tf.strings.substr(encoded, 0, len(head)) == head

    cases = [(begins(b"\xff\xd8\xff"), jpeg), (begins(b"\x89PNG\r\n\x1a\n"), png)]
    return tf.case(cases, default=unknown)


def _number(encoded: tf.Tensor, start: int) -> tf.Tensor:
    """The big-endian 32-bit number at a place of a file, int64."""
    # An error of substr itself would show the file's bytes.
    whole = tf.debugging.Assert(
        tf.strings.length(encoded) >= start + 4, ["the picture is damaged or truncated"]
    )
    with tf.control_dependencies([whole]):
        digits = tf.io.decode_raw(tf.strings.substr(encoded, start, 4), tf.uint8)
    return tf.reduce_sum(tf.cast(digits, tf.int64) * [256**place for place in (3, 2, 1, 0)])
