"""The pool of earlier generated pictures that a discriminator learns from (section 4)."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf

from .distributed.replicas import local_copy, replica_id


@keras.saving.register_keras_serializable("tfcyclegan")
class ImagePool(keras.layers.Layer):
    """Keeps generated pictures and returns old ones half of the time.

    Training oscillates less if a discriminator also sees earlier pictures (section 4, after
    Shrivastava et al. 2017). The pictures of a batch pass the pool one after another. Until the
    pool is full, each is stored and returned. After that, with probability 1/2 as in the reference
    implementation, the new picture is returned and not stored; otherwise it replaces a stored
    picture at random, which is returned.

    The stored pictures are a variable, so they are saved with the model. The random numbers
    depend only on `seed`, the step and the position in the batch, so a loaded model continues as
    the saved one would have. Each replica has its own pool and random numbers.

    Args:
        image_shape: `(height, width, channels)` of the pictures, all known.
        size: int, pictures to keep. Default 50, as in the paper. 0 returns every picture as it is.
        seed: int. Default 0. The two pools of a model need different seeds.

    Example:
        >>> pool = ImagePool((64, 64, 3), size=50)
        >>> shown = pool.query(fakes, step=model.step)  # [N, 64, 64, 3], as many as came in
    """

    def __init__(
        self, image_shape: tuple[int, int, int], size: int = 50, seed: int = 0, **kwargs: Any
    ):
        super().__init__(**{"dtype": "float32", "trainable": False, **kwargs})
        self.image_shape = tuple(image_shape)
        self.size = size
        self.seed = seed
        if size:
            self.images = self._variable("images", (size, *self.image_shape), self.variable_dtype)
            self.count = self._variable("count", (), "int64")
        self.built = True

    def _variable(self, name: str, shape: tuple[int, ...], dtype: str) -> keras.Variable:
        # "on_read": replicas have different values. By default TensorFlow would take them as equal.
        several = {"aggregation": "only_first_replica", "synchronization": "on_read"}
        with keras.name_scope(self.name, caller=self):
            return keras.Variable("zeros", shape, dtype, trainable=False, name=name, **several)

    def query(self, images: tf.Tensor, step: Any) -> tf.Tensor:
        """Stores some of the pictures, and returns as many, new or old.

        Args:
            images: float32 `[N, H, W, C]`.
            step: int scalar, the training step.

        Returns:
            float32 `[N, H, W, C]`.
        """
        if not self.size:
            return images
        step = tf.cast(keras.ops.convert_to_tensor(step), tf.int64)
        first = replica_id() * tf.shape(images)[0]
        if images.shape[0] is not None:
            given = enumerate(tf.unstack(images))
            return tf.stack([self._pass(image, first + place, step) for place, image in given])
        places = first + tf.range(tf.shape(images)[0])
        return tf.map_fn(
            lambda item: self._pass(item[0], item[1], step),
            (images, places),
            parallel_iterations=1,
            fn_output_signature=tf.float32,
        )

    def _pass(self, image: tf.Tensor, place: tf.Tensor, step: tf.Tensor) -> tf.Tensor:
        """One picture in, one out."""
        images, counter = local_copy(self.images), local_copy(self.count)
        seed = tf.stack([self.seed * 65_536 + tf.cast(place, tf.int64), step])
        swap, which = tf.unstack(tf.random.stateless_uniform([2], seed))
        count = tf.identity(counter)
        full = count >= self.size
        slot = tf.where(full, tf.cast(which * self.size, tf.int64), count)
        store = tf.logical_or(tf.logical_not(full), swap < 0.5)
        stored = tf.gather(images, slot)
        with tf.control_dependencies([stored]):
            # A picture that is not stored writes a slot's old value back, so that both cases are
            # one update in place.
            images.scatter_update(
                tf.IndexedSlices(tf.where(store, image, stored)[None], slot[None])
            )
            counter.assign(tf.minimum(count + 1, self.size))
        return tf.where(tf.logical_and(full, store), stored, image)

    def get_config(self) -> dict:
        own = {"image_shape": self.image_shape, "size": self.size, "seed": self.seed}
        return {**super().get_config(), **own}
