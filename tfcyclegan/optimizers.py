"""Keras's Adam, faster."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfcyclegan")
class Adam(keras.optimizers.Adam):
    """Keras's Adam with TensorFlow's fused kernel.

    Arithmetic and variables are the same. But a variable takes one pass over memory instead of ten,
    and one operation instead of twenty, which shortens the time to the first step. With `amsgrad`
    it computes as Keras's Adam does.

    Args:
        learning_rate, beta_1, beta_2, epsilon: as in `keras.optimizers.Adam`.

    Example:
        >>> model.compile(Adam(2e-4, beta_1=0.5, epsilon=1e-8))
    """

    _powers: tuple[tf.Tensor, tf.Tensor] | None = None

    def apply(self, grads: list, trainable_variables: list | None = None) -> None:
        # Computed once, because they are the same for all variables.
        step = tf.cast(self.iterations.value + 1, tf.float32)
        self._powers = tf.pow(float(self.beta_1), step), tf.pow(float(self.beta_2), step)
        try:
            super().apply(grads, trainable_variables)
        finally:
            self._powers = None

    def update_step(
        self, gradient: tf.Tensor, variable: tf.Variable, learning_rate: tf.Tensor
    ) -> None:
        if self.amsgrad or self._powers is None:
            super().update_step(gradient, variable, learning_rate)
            return
        place = self._get_variable_index(variable)
        numbers = {
            "beta1_power": self._powers[0],
            "beta2_power": self._powers[1],
            "lr": learning_rate,
            "beta1": self.beta_1,
            "beta2": self.beta_2,
            "epsilon": self.epsilon,
            "grad": gradient,
        }
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            **{name: tf.cast(number, variable.dtype) for name, number in numbers.items()},
        )
