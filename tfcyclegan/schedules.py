"""The paper's learning-rate schedule."""

from __future__ import annotations

from typing import Any

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfcyclegan")
class LinearDecay(keras.optimizers.schedules.LearningRateSchedule):
    """Constant for the first part of a run, then falling linearly to zero.

    The paper trains 100 epochs at 2e-4, and 100 more while the rate falls to zero (section 7.1).
    Here the rate falls at every step, not every epoch, and is 0 only after the last step. In the
    reference it is 0 for the whole last epoch.

    Args:
        learning_rate: float, the rate of the first part. Default 2e-4 (section 4).
        total_steps: int or an int variable, steps of the whole run. Default 0: the length is
            unknown, and the rate stays constant.
        constant_fraction: float in [0, 1], the first part as a fraction of the run. Default 0.5.

    Example:
        >>> rate = LinearDecay(1.0, total_steps=8)
        >>> [float(rate(step)) for step in range(8)]
        [1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]
    """

    def __init__(
        self,
        learning_rate: float = 2e-4,
        total_steps: int | keras.Variable = 0,
        constant_fraction: float = 0.5,
    ):
        self.learning_rate = learning_rate
        self.total_steps = total_steps
        self.constant_fraction = constant_fraction

    def __call__(self, step: Any) -> tf.Tensor:
        step = tf.cast(keras.ops.convert_to_tensor(step), tf.float32)
        total = tf.cast(keras.ops.convert_to_tensor(self.total_steps), tf.float32)
        decaying = tf.maximum((1.0 - self.constant_fraction) * total, 1.0)
        left = tf.clip_by_value((total - step) / decaying, 0.0, 1.0)
        return self.learning_rate * tf.where(total > 0, left, 1.0)

    def get_config(self) -> dict:
        return {
            "learning_rate": self.learning_rate,
            "total_steps": int(keras.ops.convert_to_numpy(self.total_steps)),
            "constant_fraction": self.constant_fraction,
        }
