"""The objectives that the networks play for, and the distance between pictures.

Every loss takes float32 logits `[N, h, w, 1]` (one score for each patch, unbounded) or pictures
`[N, H, W, C]` in [-1, 1] and gives a float32 scalar, the mean over all its elements.
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
    """What a discriminator and the generator against it each minimise.

    Functions that `keras.saving.register_keras_serializable` registered are saved with the model.

    Attributes:
        discriminator: `(real_logits, fake_logits) -> scalar`, halved, as in the reference: "we
            divide the objective by 2 while optimizing D" (section 7.1).
        generator: `(fake_logits) -> scalar`.
        gradient_penalty: float, weight of the penalty on the discriminator's slope. Default 0.
        probabilities: bool, whether it also works on probabilities, so that a discriminator may
            end in a sigmoid. Default False.

    Example:
        ```python
        relativistic = tfcyclegan.Objective(
            discriminator=lambda real, fake: tf.reduce_mean(tf.nn.softplus(fake - real)),
            generator=lambda fake: tf.reduce_mean(tf.nn.softplus(-fake)),
        )
        model.compile(objective=relativistic)
        ```
    """

    discriminator: Callable[[tf.Tensor, tf.Tensor], tf.Tensor]
    generator: Callable[[tf.Tensor], tf.Tensor]
    gradient_penalty: float = 0.0
    probabilities: bool = False

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
    """-log(sigmoid(x)) for real, -log(1 - sigmoid(x)) otherwise, without overflow."""
    return tf.reduce_mean(tf.nn.softplus(-logits if real else logits))


#: Objectives by name. `lsgan` is the paper's choice (section 3.3, equation in section 4),
#: `vanilla` the log loss of equation 1, `hinge` and `wgan-gp` later ones.
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
    """An objective by its name in `OBJECTIVES`, or the one that is given.

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
    objective: str | Objective,
    *,
    sigmoid: bool,
    same_channels: bool,
    lambda_identity: float | None,
    **weights: float,
) -> None:
    """Refuses an objective and weights that do not go together.

    Args:
        objective: a name, or an `Objective`.
        sigmoid: whether a discriminator ends in a sigmoid.
        same_channels: whether domains A and B have as many channels.
        lambda_identity: weight of the identity loss; None where it is not known yet.
        weights: the other weights by name.

    Raises:
        InputError: naming the setting and a value that works.
    """
    if sigmoid and not get_objective(objective).probabilities:
        raise InputError(
            f"objective={objective!r} needs logits, but a discriminator ends in a sigmoid: "
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
            "the identity loss compares pictures of A with pictures of B, which have different "
            "channels here: take lambda_identity=0"
        )


def l1(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
    """Mean absolute difference of two batches of pictures (the paper's cycle loss, equation 2)."""
    return tf.reduce_mean(tf.abs(a - b))


def gradient_penalty(
    discriminator: Callable[[tf.Tensor], tf.Tensor],
    real: tf.Tensor,
    fake: tf.Tensor,
    seed: tf.Tensor,
) -> tf.Tensor:
    """The gradient penalty of WGAN-GP, without its weight.

    (|grad D(x)| - 1)^2 at a random point x on the line from each real picture to a fake one
    (Gulrajani et al. 2017, arXiv 1704.00028).

    Args:
        discriminator: pictures to logits, in float32: the square of a float16 gradient overflows.
        real: float32 `[N, H, W, C]`.
        fake: float32, the same shape: the generator's fresh pictures, not the pool's.
        seed: int tensor `[2]`; the same seed picks the same points.

    Returns:
        A float32 scalar, the mean over the batch.
    """
    mix = tf.random.stateless_uniform([tf.shape(real)[0], 1, 1, 1], seed)
    between = mix * real + (1.0 - mix) * fake
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(between)
        score = tf.reduce_sum(tf.reduce_mean(discriminator(between), axis=[1, 2, 3]))
    slope = tape.gradient(score, between)
    # 1e-12 keeps the gradient of the square root finite where the slope is 0.
    norm = tf.sqrt(tf.reduce_sum(tf.square(slope), axis=[1, 2, 3]) + 1e-12)
    return tf.reduce_mean(tf.square(norm - 1.0))
