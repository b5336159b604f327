"""Pix2pix: what pairs of pictures make possible, the upper bound of the paper's tables.

Isola, Zhu, Zhou, Efros: Image-to-Image Translation with Conditional Adversarial Networks, CVPR
2017, arXiv 1611.07004. Start reading at `Pix2Pix.train_step`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from .cycle import computed_once
from .directions import Direction, check_direction
from .distributed.replicas import is_distributed, pad_empty_batch
from .errors import InputError
from .losses import Objective, check_losses, get_objective, l1
from .means import TermMeans
from .networks.architecture import Architecture
from .networks.inspection import ends_in_sigmoid
from .networks.twins import copy_of
from .players import Terms
from .translation_model import TranslationModel

#: The paper's networks: a U-Net with batch norm, and dropout on the way up.
PIX2PIX_NETWORKS: dict[str, Any] = {"generator": "unet", "norm": "batch", "dropout": 0.5}


class Pair:
    """Pictures, what they should become, and the networks' outputs for them.

    Each output is computed when it is first used.

    Args:
        networks: G and D by name, as functions `(images, training=...)`.
        source: float32 `[N, H, W, C]` in [-1, 1].
        target: what each of them should become, float32 `[N, H, W, C']`.
        training: bool, whether networks run as in training. Default True.

    Attributes:
        source, target: as given.
        fake: G(source).
        fake_logits: D's of the source with the fake.
    """

    def __init__(
        self,
        networks: Mapping[str, Callable],
        source: tf.Tensor,
        target: tf.Tensor,
        training: bool = True,
    ):
        self.source, self.target = source, target
        self._networks, self._training = networks, training
        self._computed: dict[str, tf.Tensor] = {}

    def logits(self, shown: tf.Tensor) -> tf.Tensor:
        """D's of the source with a picture beside it, which may be the target."""
        both = tf.concat([self.source, shown], axis=-1)
        return self._networks["D"](both, training=self._training)

    @computed_once
    def fake(self) -> tf.Tensor:
        return self._networks["G"](self.source, training=self._training)

    @computed_once
    def fake_logits(self) -> tf.Tensor:
        return self.logits(self.fake)


@keras.saving.register_keras_serializable("tfcyclegan")
class Pix2Pix(TranslationModel):
    """Learns to translate pictures from examples in pairs.

    `G` translates; `D` judges a picture together with its translation. Pictures are float32
    `[N, H, W, C]` in [-1, 1]. Train it on a `tf.data.Dataset` of `(batch of A, batch of B)` in
    which equal places are pairs, such as `load_data(source, paired=True).train`.

    To add a term to the loss, override `generator_terms` and return it with the others.

    Args:
        G: `keras.Model`. Default: the paper's U-Net; see `architecture`.
        D: `keras.Model`, a picture and its translation, concatenated along the channels → logits
            `[N, h, w, 1]`. Default: the paper's 70×70 PatchGAN.
        image_size: int or `(height, width)` of the training pictures, multiples of 2**depth of the
            U-Net. Sets the default networks. Default 256.
        direction: "AtoB" (default) or "BtoA", what G translates.
        ema_momentum: float in [0, 1); see `CycleGAN`. Default 0: no average.
        architecture: settings of the networks that are not given, such as `filters=32`; see
            `tfcyclegan.networks.Architecture`. Here `generator` is "unet", `norm` "batch" and
            `dropout` 0.5 unless you set them.

    Raises:
        InputError: a size that the default networks do not take, networks whose channels do not
            fit together, or network settings although both are given.

    Example:
        ```python
        data = tfcyclegan.load_data("path/to/facades", paired=True)
        model = tfcyclegan.Pix2Pix(image_size=256, direction="BtoA")
        model.compile()
        model.fit(data.train, epochs=200)
        facades = model.translate(labels)
        ```
    """

    network_names = ("G", "D")
    setting_names = ("image_size", "direction", "ema_momentum")

    def __init__(
        self,
        G: keras.Model | None = None,
        D: keras.Model | None = None,
        *,
        image_size: int | tuple[int, int] = 256,
        direction: Direction = "AtoB",
        ema_momentum: float = 0.0,
        name: str = "pix2pix",
        dtype: Any = None,
        trainable: bool = True,
        **architecture: Any,
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        self.direction = check_direction(direction)
        self.image_size = image_size
        if image_size is None:
            raise InputError("image_size=None: Pix2Pix needs the size of the training pictures")
        sides = (image_size, image_size) if isinstance(image_size, int) else image_size
        if G and D and architecture:
            raise InputError(
                f"`{next(iter(architecture))}` describes networks, but both are given: "
                "leave it out, or leave out a network"
            )
        defaults = Architecture(**PIX2PIX_NETWORKS | architecture)
        for size in () if G and D else sides:
            defaults.check_size(size)
        self.G = G or defaults.build_generator(direction, min(sides))
        self.D = D or defaults.build_discriminator("AB", min(sides))
        taken, drawn = self.G.input_shape[-1], self.G.output_shape[-1]
        if (read := self.D.input_shape[-1]) != taken + drawn:
            raise InputError(
                f"D reads {read} channels, but a picture and its translation have {taken} + {drawn}"
            )
        self._sides = sides
        self.use_strategy_of(list(self.networks.values()))
        with self.strategy.scope():
            self.step = self.add_counter("step")
            self.total_steps = self.add_counter("total_steps")
            self.average_generators(ema_momentum)
        self.built = True

    @property
    def generator_names(self) -> dict[Direction, str]:  # type: ignore[override]
        return {self.direction: "G"}

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer | None = None,
        discriminator_optimizer: keras.optimizers.Optimizer | None = None,
        *,
        objective: str | Objective = "vanilla",
        lambda_L1: float = 100.0,
        lambda_gan: float = 1.0,
        learning_rate: float = 2e-4,
        discriminator_learning_rate: float | None = None,
        beta_1: float = 0.5,
        beta_2: float = 0.999,
        constant_fraction: float = 0.5,
        total_steps: int | None = None,
        recompute: bool = False,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Sets what is minimised and how. The defaults are the paper's and the reference's.

        The paper's ablations (its table 1) are: L1 only `lambda_gan=0`; conditional GAN only
        `lambda_L1=0`. The arguments that are not listed here are those of `CycleGAN.compile`.

        Args:
            objective: "vanilla" (the log loss; default), "lsgan", "hinge" or an `Objective` without
                a gradient penalty. The discriminator's is halved (section 3.3 of the paper).
            lambda_L1: weight of |G(x) - y|. Default 100.
            lambda_gan: weight of the adversarial term. Default 1.

        Raises:
            InputError: as `CycleGAN.compile`.
        """
        arguments = dict(locals())
        del arguments["self"], arguments["total_steps"]
        self._compile_arguments = arguments
        check_losses(
            objective, sigmoid=ends_in_sigmoid(self.D), same_channels=True, lambda_identity=None,
            lambda_L1=lambda_L1, lambda_gan=lambda_gan,
        )  # fmt: skip
        if get_objective(objective).gradient_penalty:
            raise InputError("Pix2Pix has no gradient penalty: take objective=vanilla or lsgan")
        self.lambda_L1 = lambda_L1
        self.lambda_gan = lambda_gan
        self.compile_players(
            generator_optimizer, discriminator_optimizer, objective=objective,
            learning_rate=learning_rate, discriminator_learning_rate=discriminator_learning_rate,
            beta_1=beta_1, beta_2=beta_2, constant_fraction=constant_fraction,
            total_steps=total_steps, recompute=recompute, run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution, jit_compile=jit_compile,
        )  # fmt: skip
        with self.strategy.scope():
            self._means = TermMeans(self.term_names())

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One training step: the discriminator's, then the generator's, on the same translation.

        Args:
            data: `(A, B)`, float32 `[N, H, W, C]` in [-1, 1], whose equal places are pairs.

        Returns:
            The means over this epoch so far: `loss`, the generator's total; its terms, weights
            included (`G_loss`, `L1`, and those of a subclass); `D_loss`; `G_regularization` and
            `D_regularization` of networks with regularizers. A term of weight 0 is missing. And
            the `learning_rate` of this step.
        """
        rate = self.generator_optimizer.learning_rate
        pair = Pair(self._calls, *self._oriented(data))

        def losses() -> Terms:
            if self.lambda_gan:
                self._means.update(self.discriminators.minimise(lambda: self._D_terms(pair)))
            return self.generator_terms(pair)

        terms = self.generators.minimise(losses)
        self._means.update({"loss": tf.add_n(list(terms.values())), **terms})
        self.update_averages()
        self.step.assign_add(1)
        return self.gathered(self._means.results() | {"learning_rate": rate})

    def generator_terms(self, pair: Pair) -> Terms:
        """The terms that the generator minimises (equation 4 of the paper).

        Override it to add terms: their sum is minimised, and each is logged.

        Args:
            pair: pictures, `pair.source`, what they should become, `pair.target`, and the
                translations, `pair.fake`.

        Returns:
            Float32 scalars by name, weights included.
        """
        terms = {}
        if self.lambda_gan:
            terms["G_loss"] = self.lambda_gan * self.objective.generator_loss(pair.fake_logits)
        if self.lambda_L1:
            terms["L1"] = self.lambda_L1 * l1(pair.fake, pair.target)
        return terms

    def _D_terms(self, pair: Pair) -> Terms:
        # The fake first, as in the reference: batch norm's averages depend on the order.
        fake = pair.logits(tf.stop_gradient(pair.fake))
        return {"D_loss": self.objective.discriminator_loss(pair.logits(pair.target), fake)}

    def _oriented(self, data: tuple[tf.Tensor, tf.Tensor]) -> tuple[tf.Tensor, tf.Tensor]:
        A, B = data
        return (A, B) if self.direction == "AtoB" else (B, A)

    def trial_terms(
        self, networks: Mapping[str, Callable], images: Callable[[str], tf.Tensor]
    ) -> list[str]:
        source, width = images("G"), self.G.output_shape[-1]
        pair = Pair(networks, source, tf.zeros((*source.shape[:-1], width)))
        names = list(self.generators.terms(lambda: self.generator_terms(pair)))
        if self.lambda_gan:
            names += self.discriminators.terms(lambda: self._D_terms(pair))
        return names

    def sample(self, images: np.ndarray, batch_size: int = 1) -> np.ndarray:
        """Translates with the paper's randomness: each call draws other pictures.

        As in the paper (section 3.2), dropout stays on and batch norm takes its statistics from the
        batch. `translate` and exports have neither, so that a picture always gives the same one.

        Args:
            images: float32 `[N, H, W, C]` in [-1, 1].
            batch_size: int, pictures at a time. Default 1 (the paper).

        Returns:
            A float32 array `[N, H, W, C']` in [-1, 1].
        """
        network = copy_of(self.generator())  # its draws and statistics leave the model as it is
        batches = (images[i : i + batch_size] for i in range(0, len(images), batch_size))
        return np.concatenate([network(batch, training=True).numpy() for batch in batches])

    @tf.autograph.experimental.do_not_convert
    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The losses of `train_step` without a step.

        Returns:
            The means over all pictures so far, whatever batch and replica they are in.
        """
        pictures = tf.shape(data[0])[0]
        source, target = self._oriented(data)
        if is_distributed(self.strategy):
            source, target = pad_empty_batch(source), pad_empty_batch(target)
        pair = Pair(self._calls, source, target, training=False)
        terms = self.generators.terms(lambda: self.generator_terms(pair))
        self._means.update({"loss": tf.add_n(list(terms.values())), **terms}, pictures)
        if self.lambda_gan:
            self._means.update(self.discriminators.terms(lambda: self._D_terms(pair)), pictures)
        return self.gathered(self._means.results())
