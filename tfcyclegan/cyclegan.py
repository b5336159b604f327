"""CycleGAN: sections 3 and 4 of the paper.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks, ICCV 2017, arXiv 1703.10593. "The reference" is its authors' PyTorch implementation,
https://github.com/junyanz/pytorch-CycleGAN-and-pix2pix. Start reading at `CycleGAN.train_step`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import tensorflow as tf

from .cycle import Cycle, Domain
from .directions import GENERATORS
from .distributed.replicas import is_distributed, pad_empty_batch, replica_id
from .errors import InputError
from .image_pool import ImagePool
from .losses import Objective, check_losses, gradient_penalty, l1
from .means import TermMeans
from .networks.architecture import Architecture
from .networks.inspection import check_channels, ends_in_sigmoid
from .networks.projected import joined
from .networks.twins import twice_differentiable
from .players import Terms
from .translation_model import TranslationModel


@keras.saving.register_keras_serializable("tfcyclegan")
class CycleGAN(TranslationModel):
    """Learns to translate pictures between two domains from unpaired examples.

    `G` maps A→B and `F` maps B→A; `D_A` and `D_B` judge pictures of the domain in their name.
    Pictures are float32 `[N, H, W, C]` in [-1, 1]. Train it on a `tf.data.Dataset` of
    `(batch of A, batch of B)` with `compile()` and `fit()`. `model(images)` and `predict(images)`
    are G; `translate(images, direction)` runs either generator.

    To add a term to the loss, override `generator_terms` and return it with the others.

    Args:
        G: `keras.Model`, A→B. Default: the paper's, see `architecture`.
        F: `keras.Model`, B→A. Default: as G, with weights of its own.
        D_A: `keras.Model`, pictures of A → logits `[N, h, w, 1]`, or a list of them. Default: the
            paper's. Several models make up one discriminator: the losses of all are summed.
        D_B: the same for B. Default: as D_A, with weights of its own.
        image_size: int or `(height, width)` of the training pictures, multiples of 4 (for a U-Net
            of 2**depth). Sets the default networks and the shape of the pools. Default 256. None
            allows pictures of many sizes, and needs all four networks and `pool_size=0`.
        pool_size: int, generated pictures in the pool of each discriminator. Default 50 (section
            4). With 0, discriminators only see fresh pictures.
        seed: int, of the random numbers in training (pools, gradient penalty). Default 0. The
            initial weights depend on Keras's seed: `keras.utils.set_random_seed`.
        ema_momentum: float in [0, 1), of an exponential moving average of the weights of G and F,
            0.998 for example: each step moves it by 1 - `ema_momentum` towards the weights (by
            more in the first steps).
            Everything but training then uses the averages. Default 0: no averages.
        architecture: settings of the networks that are not given, such as `filters=16, blocks=3`;
            see `tfcyclegan.networks.Architecture`.

    Raises:
        InputError: a size that the pools or the default networks do not take, networks whose
            channels do not fit together, or network settings although all four are given.

    Example:
        ```python
        model = tfcyclegan.CycleGAN(image_size=256)
        model.compile()
        model.fit(data.train, epochs=200)
        zebras = model.translate(horses)


        class SmoothCycleGAN(tfcyclegan.CycleGAN):
            def generator_terms(self, cycle):
                variation = tf.reduce_mean(tf.image.total_variation(cycle.fake))
                return super().generator_terms(cycle) | {f"tv_{cycle.domain}": 1e-4 * variation}
        ```
    """

    network_names = ("G", "F", "D_A", "D_B")
    pool_names = ("pool_A", "pool_B")
    setting_names = ("image_size", "pool_size", "seed", "ema_momentum")
    generator_names = GENERATORS

    def __init__(
        self,
        G: keras.Model | None = None,
        F: keras.Model | None = None,
        D_A: keras.Model | Sequence[keras.Model] | None = None,
        D_B: keras.Model | Sequence[keras.Model] | None = None,
        *,
        image_size: int | tuple[int, int] | None = 256,
        pool_size: int = 50,
        seed: int = 0,
        ema_momentum: float = 0.0,
        name: str = "cyclegan",
        dtype: Any = None,
        trainable: bool = True,
        **architecture: Any,
    ):
        super().__init__(name=name, dtype=dtype, trainable=trainable)
        sides = (image_size, image_size) if isinstance(image_size, int) else image_size
        all_given = None not in (G, F, D_A, D_B)
        if sides is None and (pool_size or not all_given):
            raise InputError(
                "image_size=None (pictures of many sizes) needs all four networks and "
                "pool_size=0: a pool holds pictures of one size"
            )
        if all_given and architecture:
            raise InputError(
                f"`{next(iter(architecture))}` describes networks, but all four are given: "
                "leave it out, or leave out a network"
            )
        defaults = Architecture(**architecture)
        for size in () if all_given else sides or ():
            defaults.check_size(size)
        side = min(sides) if sides else 0
        self.G = G or defaults.build_generator("AtoB", side)
        self.F = F or defaults.build_generator("BtoA", side)
        self.D_A = joined(D_A, "D_A") or defaults.build_discriminator("A", side)
        self.D_B = joined(D_B, "D_B") or defaults.build_discriminator("B", side)
        self.image_size = image_size
        self._sides = sides
        self.pool_size = pool_size
        self.seed = seed
        self.use_strategy_of(list(self.networks.values()))
        channels_A, channels_B = check_channels(**self.networks)
        shape_A, shape_B = ((*(sides or (0, 0)), channels) for channels in (channels_A, channels_B))
        with self.strategy.scope():
            # The pools' seeds must differ, or both would get the same random numbers.
            self.pool_A = ImagePool(shape_A, pool_size, 2 * seed, name="pool_A")
            self.pool_B = ImagePool(shape_B, pool_size, 2 * seed + 1, name="pool_B")
            # Saved with the model: the pools depend on `step`, the learning rate on `total_steps`.
            self.step = self.add_counter("step")
            self.total_steps = self.add_counter("total_steps")
            self.average_generators(ema_momentum)
        self.built = True

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer | None = None,
        discriminator_optimizer: keras.optimizers.Optimizer | None = None,
        *,
        objective: str | Objective = "lsgan",
        lambda_cycle_A: float = 10.0,
        lambda_cycle_B: float = 10.0,
        lambda_identity: float = 0.5,
        lambda_gan: float = 1.0,
        discriminators_first: bool = False,
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
        """Sets what is minimised and how. The defaults are the reference's.

        A term of weight 0 is not computed. The paper's ablations (section 5.1.4) are: cycle only
        `lambda_gan=0, lambda_identity=0`; GAN only
        `lambda_cycle_A=lambda_cycle_B=lambda_identity=0`; GAN + forward cycle `lambda_cycle_B=0`;
        GAN + backward cycle `lambda_cycle_A=0`.

        Args:
            generator_optimizer: trains G and F together. Default: Adam with `learning_rate`
                under `LinearDecay`, and epsilon 1e-8 as in the reference (Keras's own is 1e-7).
            discriminator_optimizer: trains D_A and D_B together. Default: the same.
            objective: "lsgan" (the paper's; default), "vanilla", "hinge", "wgan-gp", or an
                `Objective`.
            lambda_cycle_A: weight of |F(G(a)) - a|. Default 10 (section 4).
            lambda_cycle_B: weight of |G(F(b)) - b|. Default 10.
            lambda_identity: weight of the identity loss, relative to the cycle weights: |G(b) - b|
                has weight `lambda_identity * lambda_cycle_B`, and |F(a) - a| has
                `lambda_identity * lambda_cycle_A`. Default 0.5 as in the reference. The paper uses
                it only for painting→photo (section 5.2). It keeps colours and reduces change.
            lambda_gan: weight of the adversarial terms. Default 1.
            discriminators_first: bool, whether a step trains the discriminators before the
                generators. Default False (the reference).
            learning_rate: of both default optimizers (your own bring their own). Default 2e-4
                (section 4).
            discriminator_learning_rate: of the discriminators' default optimizer. Default:
                `learning_rate`.
            beta_1, beta_2: of both default optimizers. Default 0.5 and 0.999 (the reference).
            constant_fraction: fraction of the run before the rate starts to fall. Default 0.5.
            total_steps: length of the run in steps; the rate reaches 0 after the last. Default:
                `fit` sets it to epochs × steps at the start, and keeps it when training resumes.
            recompute: bool, gradient checkpointing: whether to compute activations a second time
                for the gradients instead of keeping them. Less memory, a third more arithmetic.
                Default False.
            run_eagerly: as in Keras. `recompute` then has no effect.
            steps_per_execution: as in Keras.
            jit_compile: as in Keras. "auto" leaves XLA off on a CPU, where it is slower here.

        Raises:
            InputError: an unknown objective, a negative weight, an identity loss between domains
                of different channels, a discriminator that ends in a sigmoid with an objective
                that needs logits, or `recompute` with dropout, noise, batch or spectral norm.
                With several replicas: `steps_per_execution` above 1, `jit_compile=True`, or an
                optimizer made outside their strategy's scope.
        """
        # Saved with the model, to compile it again when it is loaded. (total_steps is a variable.)
        arguments = dict(locals())
        del arguments["self"], arguments["total_steps"]
        self._compile_arguments = arguments
        check_losses(
            objective,
            sigmoid=any(ends_in_sigmoid(D) for D in (self.D_A, self.D_B)),
            same_channels=self.G.input_shape[-1] == self.F.input_shape[-1],
            lambda_identity=lambda_identity,
            lambda_cycle_A=lambda_cycle_A,
            lambda_cycle_B=lambda_cycle_B,
            lambda_gan=lambda_gan,
        )
        self.lambda_cycle_A = lambda_cycle_A
        self.lambda_cycle_B = lambda_cycle_B
        self.lambda_identity = lambda_identity
        self.lambda_gan = lambda_gan
        self.discriminators_first = discriminators_first
        self.compile_players(
            generator_optimizer, discriminator_optimizer, objective=objective,
            learning_rate=learning_rate, discriminator_learning_rate=discriminator_learning_rate,
            beta_1=beta_1, beta_2=beta_2, constant_fraction=constant_fraction,
            total_steps=total_steps, recompute=recompute, run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution, jit_compile=jit_compile,
        )  # fmt: skip
        with self.strategy.scope():
            if self.objective.gradient_penalty:
                # By domain, as the gradient penalty needs them.
                self._penalised = {
                    "A": twice_differentiable(self.D_A),
                    "B": twice_differentiable(self.D_B),
                }
            self._means = TermMeans(self.term_names())

    # ------------------------------------------------------------------ the paper

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One training step.

        The generators take a step against fixed discriminators. Then the discriminators take one
        on the pictures that the generators made before their step. (With `discriminators_first`,
        the other way round.)

        Args:
            data: `(real_A, real_B)`, float32 `[N, H, W, C]` in [-1, 1]. With several replicas, this
                replica's share of the batch.

        Returns:
            The means over this epoch so far: `loss`, the generators' total; its terms, weights
            included (`G_loss`, `F_loss`, `cycle_A`, `cycle_B`, `identity_A`, `identity_B`, and
            those of a subclass); `D_A_loss` and `D_B_loss`. Networks with regularizers or
            `add_loss` also have `G_regularization`, `F_regularization`, `D_A_regularization` and
            `D_B_regularization`. A term of weight 0 is missing. And the `learning_rate` of this
            step.
        """
        real_A, real_B = data
        A = Cycle(self._calls, "A", real_A)  # A.fake is G(a), A.cycled is F(G(a))
        B = Cycle(self._calls, "B", real_B)  # B.fake is F(b), B.cycled is G(F(b))
        rate = self.generator_optimizer.learning_rate

        if self.discriminators_first:
            self._train_discriminators(A.fresh(), B.fresh())

        terms = self.generators.minimise(*self._generator_losses(A, B))
        self._means.update({"loss": tf.add_n(list(terms.values())), **terms})
        self.update_averages()

        if not self.discriminators_first:
            self._train_discriminators(A, B)

        self.step.assign_add(1)
        return self.gathered(self._means.results() | {"learning_rate": rate})

    def _train_discriminators(self, A: Cycle, B: Cycle) -> None:
        if not self.lambda_gan:
            return
        # D_A sees F's pictures, D_B sees G's, half of them from earlier steps (section 4).
        shown_A = self.pool_A.query(B.fake, self.step)
        shown_B = self.pool_B.query(A.fake, self.step)
        terms = self.discriminators.minimise(
            lambda: {
                "D_A_loss": self.discriminator_loss("A", A.real, shown_A, B.fake),
                "D_B_loss": self.discriminator_loss("B", B.real, shown_B, A.fake),
            }
        )
        self._means.update(terms)

    def _generator_losses(self, A: Cycle, B: Cycle) -> tuple[Callable[[], Terms], ...]:
        """The generators' objective as three losses to be summed.

        No pass through a network serves two of them, so the activations of each can be freed before
        the next is computed.
        """
        return (
            lambda: self.generator_terms(A),
            lambda: self.generator_terms(B),
            lambda: self.identity_terms(A.fresh()) | self.identity_terms(B.fresh()),
        )

    def trial_terms(
        self, networks: Mapping[str, Callable], images: Callable[[str], tf.Tensor]
    ) -> list[str]:
        A, B = Cycle(networks, "A", images("G")), Cycle(networks, "B", images("F"))
        names = list(self.generators.terms(*self._generator_losses(A, B)))
        if self.lambda_gan:
            # Logits in place of losses: what counts is the terms that the layers add.
            names += self.discriminators.terms(lambda: {"D_A_loss": B.logits, "D_B_loss": A.logits})
        return names

    def generator_terms(self, cycle: Cycle) -> Terms:
        """The terms of equation 3 that the generators minimise, for the pictures of one domain.

        Override it to add terms: their sum is minimised, and each is logged. It is called for A and
        for B, and must return the same names in every step. A name in both is summed.

        Args:
            cycle: the pictures of one domain (`cycle.domain`, "A" or "B"), their translations
                `cycle.fake`, and these translated back, `cycle.cycled`; see `tfcyclegan.cycle`.

        Returns:
            Float32 scalars by name, weights included.
        """
        terms = {}
        if self.lambda_gan:
            name = "G_loss" if cycle.domain == "A" else "F_loss"
            terms[name] = self.lambda_gan * self.objective.generator_loss(cycle.logits)
        if lambda_cycle := getattr(self, f"lambda_cycle_{cycle.domain}"):
            terms[f"cycle_{cycle.domain}"] = lambda_cycle * l1(cycle.cycled, cycle.real)
        return terms

    def identity_terms(self, cycle: Cycle) -> Terms:
        """Section 5.2: a generator should not change pictures of its own target domain."""
        weight = self.lambda_identity * getattr(self, f"lambda_cycle_{cycle.domain}")
        if not weight:
            return {}
        return {f"identity_{cycle.domain}": weight * l1(cycle.same, cycle.real)}

    def discriminator_loss(
        self, domain: Domain, real: tf.Tensor, shown: tf.Tensor, fake: tf.Tensor
    ) -> tf.Tensor:
        """The loss that the discriminator of a domain minimises.

        Args:
            domain: "A" for D_A, "B" for D_B.
            real: a batch of the domain.
            shown: as many generated pictures of the domain, from its pool.
            fake: the pictures that were generated in this step, for the gradient penalty.
        """
        D = self._calls[f"D_{domain}"]
        loss = self.objective.discriminator_loss(D(real, training=True), D(shown, training=True))
        if self.objective.gradient_penalty:
            # Each discriminator, replica and step has other points.
            counter = tf.cast(replica_id(), tf.int64) * 2**40 + self.step.value
            seed = tf.stack([tf.cast(2 * self.seed + (domain == "B"), tf.int64), counter])
            penalty = gradient_penalty(self._penalised[domain], real, fake, seed)
            loss += 0.5 * self.objective.gradient_penalty * penalty
        return loss

    @tf.autograph.experimental.do_not_convert
    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The losses of `train_step` without a step.

        Discriminators only see fresh pictures, and the gradient penalty is left out.

        Returns:
            The means over all pictures so far, whatever batch and replica they are in.
        """
        real_A, real_B = data
        pictures = tf.shape(real_A)[0]
        if is_distributed(self.strategy):
            # A short last batch may leave a replica without pictures; convolutions refuse those.
            real_A, real_B = pad_empty_batch(real_A), pad_empty_batch(real_B)
        A = Cycle(self._calls, "A", real_A, training=False)
        B = Cycle(self._calls, "B", real_B, training=False)
        terms = self.generators.terms(*self._generator_losses(A, B))
        self._means.update({"loss": tf.add_n(list(terms.values())), **terms}, pictures)
        if self.lambda_gan:
            D_A, D_B, loss = (
                self._calls["D_A"],
                self._calls["D_B"],
                self.objective.discriminator_loss,
            )
            terms = self.discriminators.terms(
                lambda: {
                    "D_A_loss": loss(D_A(real_A), D_A(B.fake)),
                    "D_B_loss": loss(D_B(real_B), D_B(A.fake)),
                }
            )
            self._means.update(terms, pictures)
        return self.gathered(self._means.results())
