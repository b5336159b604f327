"""Adam in one operation for each variable."""

from __future__ import annotations

import keras
import tensorflow as tf


@keras.saving.register_keras_serializable("tfcyclegan")
class Adam(keras.optimizers.Adam):
    """Keras's Adam in TensorFlow's fused kernel.

    The same arithmetic on the same variables, in one pass over memory instead of ten, and with one
    operation for each variable instead of twenty, which shortens the time to the first step. With
    `amsgrad` it is Keras's Adam.

    Args:
        learning_rate, beta_1, beta_2, epsilon: as in `keras.optimizers.Adam`.

    Example:
        >>> model.compile(Adam(2e-4, beta_1=0.5, epsilon=1e-8))
    """

    _powers: tuple[tf.Tensor, tf.Tensor] | None = None

    def apply(self, grads: list, trainable_variables: list | None = None) -> None:
        # The same for all variables, so computed once.
        step = tf.cast(self.iterations.value + 1, tf.float32)
        self._powers = tf.pow(self.beta_1, step), tf.pow(self.beta_2, step)
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
        kind = variable.dtype
        tf.raw_ops.ResourceApplyAdam(
            var=variable.handle,
            m=self._momentums[place].value.handle,
            v=self._velocities[place].value.handle,
            beta1_power=tf.cast(self._powers[0], kind),
            beta2_power=tf.cast(self._powers[1], kind),
            lr=tf.cast(learning_rate, kind),
            beta1=tf.constant(self.beta_1, kind),
            beta2=tf.constant(self.beta_2, kind),
            epsilon=tf.constant(self.epsilon, kind),
            grad=tf.cast(gradient, kind),
        )
