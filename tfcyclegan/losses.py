"""The adversarial objectives, the distance between pictures, and the gradient penalty.

Losses take float32 logits `[N, h, w, 1]` (an unbounded score for each patch) or pictures
`[N, H, W, C]` in [-1, 1]. They return a float32 scalar, the mean over all elements. The losses of
discriminators with several outputs are summed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from .errors import InputError


@keras.saving.register_keras_serializable("tfcyclegan")
@dataclass(frozen=True)
class Objective:
    """What a discriminator and its generator each minimise.

    It is saved with the model if its functions are registered with
    `keras.saving.register_keras_serializable`.

    Attributes:
        discriminator: `(real_logits, fake_logits) -> scalar`. The ones in `OBJECTIVES` are halved:
            "we divide the objective by 2 while optimizing D" (section 7.1).
        generator: `(fake_logits) -> scalar`.
        gradient_penalty: float, weight of the gradient penalty on the discriminator. Half of it is
            applied, like half of the loss. Default 0.
        probabilities: bool, whether it also works with probabilities in place of logits: only then
            may a discriminator end in a sigmoid. Default False.

    Example:
        ```python
        @keras.saving.register_keras_serializable()
        def judge(real, fake):
            return 0.5 * (tf.reduce_mean((real - 0.9) ** 2) + tf.reduce_mean(fake**2))


        @keras.saving.register_keras_serializable()
        def fool(fake):
            return tf.reduce_mean((fake - 0.9) ** 2)


        smoothed = tfcyclegan.Objective(judge, fool)  # least squares, labels smoothed to 0.9
        model.compile(objective=smoothed)
        ```
    """

    discriminator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor], tf.Tensor]
    gradient_penalty: float = 0.0
    probabilities: bool = False

    def discriminator_loss(self, real: Any, fake: Any) -> tf.Tensor:
        """`discriminator` of logits, or its sum over the pairs of two lists of logits."""
        pairs = zip(tf.nest.flatten(real), tf.nest.flatten(fake), strict=True)
        return tf.add_n([self.discriminator(*pair) for pair in pairs])

    def generator_loss(self, fake: Any) -> tf.Tensor:
        """`generator` of logits, or its sum over a list of logits."""
        return tf.add_n([self.generator(logits) for logits in tf.nest.flatten(fake)])

    def get_config(self) -> dict[str, Any]:
        return {
            "discriminator": keras.saving.serialize_keras_object(self.discriminator),
            "generator": keras.saving.serialize_keras_object(self.generator),
            "gradient_penalty": self.gradient_penalty,
            "probabilities": self.probabilities,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Objective:
        functions = {
            name: keras.saving.deserialize_keras_object(config[name])
            for name in ("discriminator", "generator")
        }
        return cls(**{**config, **functions})


def _log_loss(logits: tf.Tensor, real: bool) -> tf.Tensor:
    """The mean of -log(sigmoid(x)) for real, -log(1 - sigmoid(x)) for fake, without overflow."""
    return tf.reduce_mean(tf.nn.softplus(-logits if real else logits))


#: Objectives by name: `lsgan` is the paper's choice (section 4), `vanilla` the log loss of
#: equation 1. `hinge` (Lim, Ye 2017) and `wgan-gp` (Gulrajani et al. 2017) are not in the paper.
#: With `wgan-gp`, D takes one step for each of the generators, not five as in its paper.
OBJECTIVES: dict[str, Objective] = {
    "lsgan": Objective(
        discriminator=lambda real, fake: (
            0.5 * (tf.reduce_mean(tf.square(real - 1.0)) + tf.reduce_mean(tf.square(fake)))
        ),
        generator=lambda fake: tf.reduce_mean(tf.square(fake - 1.0)),
        probabilities=True,
    ),
    "vanilla": Objective(
        discriminator=lambda real, fake: 0.5 * (_log_loss(real, True) + _log_loss(fake, False)),
        generator=lambda fake: _log_loss(fake, True),
    ),
    "hinge": Objective(
        discriminator=lambda real, fake: (
            0.5 * (tf.reduce_mean(tf.nn.relu(1.0 - real)) + tf.reduce_mean(tf.nn.relu(1.0 + fake)))
        ),
        generator=lambda fake: -tf.reduce_mean(fake),
    ),
    "wgan-gp": Objective(
        discriminator=lambda real, fake: 0.5 * (tf.reduce_mean(fake) - tf.reduce_mean(real)),
        generator=lambda fake: -tf.reduce_mean(fake),
        gradient_penalty=10.0,
    ),
}


def get_objective(objective: str | Objective) -> Objective:
    """The objective of that name in `OBJECTIVES`. An `Objective` is returned as it is.

    Raises:
        InputError: an unknown name.
    """
    if isinstance(objective, Objective):
        return objective
    if objective not in OBJECTIVES:
        raise InputError(
            f"objective={objective!r} is unknown: take one of {', '.join(OBJECTIVES)}, or an "
            "Objective"
        )
    return OBJECTIVES[objective]


def check_losses(
    objective: str | Objective, *, sigmoid: bool, same_channels: bool,
    lambda_identity: float | None, **weights: float,
) -> None:  # fmt: skip
    """Refuses an objective, networks and weights that do not go together.

    Args:
        objective: a name, or an `Objective`.
        sigmoid: whether a discriminator ends in a sigmoid.
        same_channels: whether domains A and B have the same number of channels.
        lambda_identity: weight of the identity loss, None if it is not known yet.
        weights: the other weights by name.

    Raises:
        InputError: naming the setting and a value that works.
    """
    if sigmoid and not get_objective(objective).probabilities:
        named = f"objective={objective!r}" if isinstance(objective, str) else "this `objective`"
        raise InputError(
            f"{named} needs logits, but a discriminator ends in a sigmoid: "
            "take objective=lsgan, or sigmoid=False"
        )
    for name, weight in {"lambda_identity": lambda_identity, **weights}.items():
        if weight is not None and not weight >= 0:
            raise InputError(f"{name}={weight}: a weight must be at least 0")
    if not any(weights.values()):
        named = ", ".join(f"`{name}`" for name in weights)
        raise InputError(f"{named} are all 0: there is nothing to learn")
    if lambda_identity and not same_channels:
        raise InputError(
            f"lambda_identity={lambda_identity}: the identity loss compares pictures of A and B, "
            "which have different channels: take lambda_identity=0"
        )


def l1(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """The mean absolute difference of two batches of pictures (the cycle loss, equation 2)."""
    return tf.reduce_mean(tf.abs(a - b))


def gradient_penalty(
    discriminator: Callable[[tf.Tensor], Any],
    real: tf.Tensor,
    fake: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """The gradient penalty of WGAN-GP, without its weight (Gulrajani et al. 2017).

    (|grad D(x)| - 1)^2 at a random point x on the line from each real picture to a fake one.

    Args:
        discriminator: pictures to logits, or to a list of logits, in float32: the square of a
            float16 gradient overflows.
        real: float32 `[N, H, W, C]`.
        fake: float32, the same shape: the generator's fresh pictures, not the pool's.
        seed: int tensor `[2]`. The same seed draws the same points.

    Returns:
        A float32 scalar, the mean over the batch.
    """
    mix = tf.random.stateless_uniform([tf.shape(real)[0], 1, 1, 1], seed)
    between = mix * real + (1.0 - mix) * fake
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(between)
        logits = tf.nest.flatten(discriminator(between))
        score = tf.add_n([tf.reduce_sum(tf.reduce_mean(x, axis=[1, 2, 3])) for x in logits])
    slope = tape.gradient(score, between)
    # 1e-12 keeps the gradient of the square root finite where the slope is 0.
    norm = tf.sqrt(tf.reduce_sum(tf.square(slope), axis=[1, 2, 3]) + 1e-12)
    return tf.reduce_mean(tf.square(norm - 1.0))
