"""The model: two generators, two discriminators and the objective of the paper.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks, ICCV 2017, arXiv 1703.10593. `train_step` reads as sections 3 and 4 do.
"""

from __future__ import annotations

import contextlib
import functools
import os
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import keras
import tensorflow as tf

from .directions import Direction
from .distributed.replicas import (
    FollowPosition,
    all_reduce_overflow,
    check_compiling,
    common_strategy,
    distribute,
    is_distributed,
    pad_empty_batch,
    replica_count,
    replica_id,
)
from .distributed.workers import CollectiveTimeout, Workers, callback_list, check_callbacks
from .image_pool import ImagePool
from .losses import OBJECTIVES, gradient_penalty, l1
from .networks.discriminators import patch_discriminator
from .networks.resnet import resnet_generator
from .networks.twins import with_precision
from .optimizers import Adam
from .schedules import LinearDecay

if TYPE_CHECKING:
    import numpy as np

    from .data.loading import Data
    from .export.proof import Report


@keras.saving.register_keras_serializable("tfcyclegan")
class CycleGAN(keras.Model):
    """Learns to translate pictures between two domains from unpaired examples.

    `G` maps A→B and `F` maps B→A; `D_A` and `D_B` judge pictures of the domain in their name.
    Pictures are float32 `[N, H, W, C]` in [-1, 1]. Train it on a `tf.data.Dataset` of
    `(batch of A, batch of B)` with `compile()` and `fit()`; `model(images)` and
    `predict(images)` are G, `translate(images, direction)` is either.

    Args:
        G: `keras.Model`, A→B. Default `resnet_generator(image_size)`.
        F: `keras.Model`, B→A. Default the same, with weights of its own.
        D_A: `keras.Model`, pictures of A → scores `[N, h, w, 1]`. Default
            `patch_discriminator(image_size)`.
        D_B: `keras.Model`, pictures of B → scores. Default the same.
        image_size: int or `(height, width)` of the training pictures; decides the networks left
            out and the shape of the pools. Default 256. None is for pictures of many sizes and
            needs networks that are given and `pool_size=0`.
        pool_size: int, generated pictures each discriminator remembers. Default 50 (section 7.1);
            0 shows it fresh ones alone.
        seed: int, of the draws in training (pools, gradient penalty). Default 0. First weights
            are drawn by Keras: `keras.utils.set_random_seed` fixes those.

    Raises:
        ValueError: `image_size=None` with a pool or a missing network, or networks whose channels
            do not fit together.

    Example:
        ```python
        model = tfcyclegan.CycleGAN(image_size=256)
        model.compile()
        model.fit(data.train, epochs=200)
        zebras = model.translate(horses)
        ```
    """

    def __init__(
        self,
        G: keras.Model | None = None,
        F: keras.Model | None = None,
        D_A: keras.Model | None = None,
        D_B: keras.Model | None = None,
        *,
        image_size: int | tuple[int, int] | None = 256,
        pool_size: int = 50,
        seed: int = 0,
        name: str = "cyclegan",
        **kwargs: Any,
    ):
        super().__init__(name=name, **kwargs)
        # What has variables belongs to the strategy in whose scope it is made. This object does
        # not: Keras would build it from a batch of data, which fails with several workers.
        self._distribute_strategy = None
        sides = (image_size, image_size) if isinstance(image_size, int) else image_size
        if sides is None and (pool_size or None in (G, F, D_A, D_B)):
            raise ValueError(
                "image_size=None (pictures of many sizes) needs all four networks given and "
                "pool_size=0: a pool holds pictures of one size"
            )
        side = min(sides) if sides else 0
        self.G = G or resnet_generator(side, name="G")
        self.F = F or resnet_generator(side, name="F")
        self.D_A = D_A or patch_discriminator(side, name="D_A")
        self.D_B = D_B or patch_discriminator(side, name="D_B")
        self.image_size = image_size
        self.pool_size = pool_size
        self.seed = seed
        self.strategy = common_strategy(self._networks)
        self.workers = Workers(self.strategy)
        for net in self._networks:
            net._distribute_strategy = None  # so that one worker alone may call predict()

        channels_A, channels_B = self.G.input_shape[-1], self.F.input_shape[-1]
        for reader, found, wanted in (
            ("G draws", self.G.output_shape[-1], channels_B),
            ("F draws", self.F.output_shape[-1], channels_A),
            ("D_A judges", self.D_A.input_shape[-1], channels_A),
            ("D_B judges", self.D_B.input_shape[-1], channels_B),
        ):
            if found != wanted:
                raise ValueError(
                    f"{reader} pictures of {found} channels where the domain has {wanted} "
                    f"(G reads {channels_A}, F reads {channels_B})"
                )
        shape_A, shape_B = ((*(sides or (0, 0)), some) for some in (channels_A, channels_B))
        with self.strategy.scope():
            self.pool_A = ImagePool(shape_A, pool_size, 2 * seed, name="pool_A")
            self.pool_B = ImagePool(shape_B, pool_size, 2 * seed + 1, name="pool_B")
            # Saved with the model: what it draws and how fast it learns depend on them.
            self.step = self._counter("step")
            self.total_steps = self._counter("total_steps")
        self.built = True

    def _counter(self, name: str) -> keras.Variable:
        return self.add_weight(
            name=name, shape=(), dtype="int64", initializer="zeros", trainable=False
        )

    def compile(
        self,
        generator_optimizer: keras.optimizers.Optimizer | None = None,
        discriminator_optimizer: keras.optimizers.Optimizer | None = None,
        *,
        objective: str = "lsgan",
        lambda_cycle_A: float = 10.0,
        lambda_cycle_B: float = 10.0,
        lambda_identity: float = 0.5,
        lambda_gan: float = 1.0,
        learning_rate: float = 2e-4,
        beta_1: float = 0.5,
        constant_fraction: float = 0.5,
        total_steps: int | None = None,
        recompute: bool = False,
        run_eagerly: bool = False,
        steps_per_execution: int = 1,
        jit_compile: bool | str = "auto",
    ) -> None:
        """Sets what is minimised and how. Without arguments: the reference's defaults.

        A weight of 0 leaves its term out altogether, computation included; so the paper's
        ablations (section 5.1.4) are: cycle alone `lambda_gan=0, lambda_identity=0`; GAN alone
        `lambda_cycle_A=lambda_cycle_B=lambda_identity=0`; GAN + forward cycle
        `lambda_cycle_B=0`; GAN + backward cycle `lambda_cycle_A=0`.

        Args:
            generator_optimizer: one for G and F together. Default Adam with `learning_rate`
                under `LinearDecay`, `beta_1`, β2 0.999 and epsilon 1e-8 (PyTorch's, as in the
                reference; Keras's own is 1e-7).
            discriminator_optimizer: one for D_A and D_B together. Default the same.
            objective: "lsgan" (the paper's; default), "vanilla", "hinge" or "wgan-gp".
            lambda_cycle_A: weight of |F(G(a)) - a|. Default 10 (section 4).
            lambda_cycle_B: weight of |G(F(b)) - b|. Default 10.
            lambda_identity: weight of the identity loss as a share of the cycle weight:
                times `lambda_cycle_B` for |G(b) - b|, times `lambda_cycle_A` for |F(a) - a|.
                Default 0.5 as in the reference. The paper has it for painting→photo alone
                (section 5.2); it holds colours and costs change.
            lambda_gan: weight of the adversarial terms. Default 1.
            learning_rate: of both default optimizers. Default 2e-4 (section 4).
            beta_1: of both default optimizers. Default 0.5 (the reference).
            constant_fraction: share of the run before the rate starts to fall. Default 0.5.
            total_steps: length of the run in steps, for the falling rate. Default: taken by
                `fit` from epochs × steps when training starts, and kept when it goes on.
            recompute: whether to compute each network's activations a second time for its
                gradients instead of keeping them: less memory for a third more arithmetic, for
                pictures that would not fit. Default False.
            run_eagerly: as in Keras; leaves `recompute` without effect.
            steps_per_execution: as in Keras.
            jit_compile: as in Keras; "auto" leaves XLA off on a CPU, where it is slower here.

        Raises:
            ValueError: an unknown objective, a negative weight, an identity loss between domains
                of other channels, a discriminator that gives probabilities with an objective
                other than lsgan, `recompute` with layers that give other results the second
                time (dropout, batch norm), or, with several replicas, `steps_per_execution` above
                1, `jit_compile=True` or an optimizer from outside of their strategy's scope.
        """
        if objective not in OBJECTIVES:
            raise ValueError(
                f"objective={objective!r} is unknown: take one of {', '.join(OBJECTIVES)}"
            )
        weights = {
            "lambda_cycle_A": lambda_cycle_A,
            "lambda_cycle_B": lambda_cycle_B,
            "lambda_identity": lambda_identity,
            "lambda_gan": lambda_gan,
        }
        for name, weight in weights.items():
            if weight < 0:
                raise ValueError(f"{name}={weight}: a weight cannot be negative")
        if not any((lambda_cycle_A, lambda_cycle_B, lambda_gan)):
            raise ValueError("every weight is 0: there is nothing to learn")
        if lambda_identity and self.G.input_shape[-1] != self.F.input_shape[-1]:
            raise ValueError(
                "the identity loss compares pictures of A with pictures of B, which have other "
                "channels here: pass lambda_identity=0"
            )
        for D in (self.D_A, self.D_B):
            if objective != "lsgan" and D.layers[-1].get_config().get("activation") == "sigmoid":
                raise ValueError(
                    f"objective={objective!r} needs logits, but {D.name} ends in a sigmoid: "
                    "take lsgan, or a discriminator with sigmoid=False"
                )
        check_compiling(
            self.strategy,
            (generator_optimizer, discriminator_optimizer),
            steps_per_execution,
            jit_compile,
        )
        if is_distributed(self.strategy):
            jit_compile = False  # Keras, too, takes "auto" for that under a strategy
        for net in self._networks if recompute else ():
            for layer in net.layers:
                if isinstance(layer, (keras.layers.BatchNormalization, keras.layers.Dropout)):
                    raise ValueError(
                        f"recompute=True needs layers that do the same twice, which {layer.name} "
                        f"in {net.name} ({type(layer).__name__}) does not"
                    )
        # optimizer=None: Keras would otherwise keep a stray RMSprop in every checkpoint.
        super().compile(
            optimizer=None,
            run_eagerly=run_eagerly,
            steps_per_execution=steps_per_execution,
            jit_compile=jit_compile,
        )
        self._compile_arguments = {
            "generator_optimizer": generator_optimizer,
            "discriminator_optimizer": discriminator_optimizer,
            "objective": objective,
            **weights,
            "learning_rate": learning_rate,
            "beta_1": beta_1,
            "constant_fraction": constant_fraction,
            "recompute": recompute,
            "run_eagerly": run_eagerly,
            "steps_per_execution": steps_per_execution,
            "jit_compile": jit_compile,
        }
        with self.strategy.scope():
            self.total_steps.assign(total_steps or 0)
        self.objective = OBJECTIVES[objective]
        self.lambda_cycle_A, self.lambda_cycle_B = lambda_cycle_A, lambda_cycle_B
        self.lambda_identity, self.lambda_gan = lambda_identity, lambda_gan

        def adam() -> keras.optimizers.Optimizer:
            rate = LinearDecay(learning_rate, self.total_steps, constant_fraction)
            return Adam(rate, beta_1=beta_1, epsilon=1e-8)

        terms = ["loss"]
        terms += ["G_loss", "F_loss", "D_A_loss", "D_B_loss"] if lambda_gan else []
        terms += ["cycle_A"] if lambda_cycle_A else []
        terms += ["cycle_B"] if lambda_cycle_B else []
        terms += ["identity_A"] if lambda_identity * lambda_cycle_A else []
        terms += ["identity_B"] if lambda_identity * lambda_cycle_B else []
        with self.strategy.scope():
            self.generator_optimizer = self._own(
                generator_optimizer or adam(), self._generator_variables
            )
            self.discriminator_optimizer = self._own(
                discriminator_optimizer or adam(), self._discriminator_variables
            )
            self._trackers = {term: keras.metrics.Mean(term) for term in terms}
        self._calls = tuple(
            net if run_eagerly else _traced(net, recompute) for net in self._networks
        )
        if is_distributed(self.strategy):
            # Replicas cannot agree, as batch norm's averages have to, in a function of its own.
            self._calls = tuple(
                net if _has_averages(net) else call
                for net, call in zip(self._networks, self._calls, strict=True)
            )
        if self.objective.gradient_penalty:
            self._judges = {"A": _float32_judge(self.D_A), "B": _float32_judge(self.D_B)}

    def _own(
        self, optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
    ) -> keras.optimizers.Optimizer:
        """Wraps an optimizer where float16 needs it, and builds it.

        One that is not built when a model is loaded is passed over: its moments would be lost.
        """
        half = any(
            layer.compute_dtype == "float16" for net in self._networks for layer in net.layers
        )
        if half and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(variables)
        return optimizer

    @property
    def _networks(self) -> tuple[keras.Model, ...]:
        return (self.G, self.F, self.D_A, self.D_B)

    @property
    def _generator_variables(self) -> list[keras.Variable]:
        return self.G.trainable_variables + self.F.trainable_variables

    @property
    def _discriminator_variables(self) -> list[keras.Variable]:
        return self.D_A.trainable_variables + self.D_B.trainable_variables

    # ------------------------------------------------------------------ the paper

    @tf.autograph.experimental.do_not_convert
    def train_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """One step of both players: generators against frozen discriminators, then these.

        Args:
            data: `(real_A, real_B)`, float32 `[N, H, W, C]` in [-1, 1]; with several replicas
                this one's share of a batch. Gradients are those of the whole batch: each replica
                takes its part of the loss, and the optimizers add up.

        Returns:
            The means so far this epoch of `loss` (the generators' total) and its terms as they
            enter it, weights included: `G_loss`, `F_loss`, `cycle_A`, `cycle_B`, `identity_A`,
            `identity_B`; of `D_A_loss` and `D_B_loss`; and the `learning_rate` of this step.
            Terms of weight 0 are neither computed nor named.
        """
        real_A, real_B = data
        rate = self.generator_optimizer.learning_rate

        # The objective is a sum of three that share no pass through a network.
        gradients = _GradientSum(self.generator_optimizer, self._generator_variables)
        terms_A, fake_B = gradients.add(self._translation_terms, "A", real_A)
        terms_B, fake_A = gradients.add(self._translation_terms, "B", real_B)
        identity_terms, _ = gradients.add(self._identity_terms, real_A, real_B)
        _apply(self.generator_optimizer, gradients.total, self._generator_variables)
        terms = {**terms_A, **terms_B, **identity_terms}
        self._track({"loss": tf.add_n(list(terms.values())), **terms})

        if self.lambda_gan:
            shown_A = self.pool_A.query(fake_A, self.step)
            shown_B = self.pool_B.query(fake_B, self.step)
            with _watching(self._discriminator_variables) as tape:
                loss_A = self._discriminator_loss("A", real_A, shown_A, fake_A)
                loss_B = self._discriminator_loss("B", real_B, shown_B, fake_B)
                share = (loss_A + loss_B) / replica_count()
                scaled = self.discriminator_optimizer.scale_loss(share)
            gradients = tape.gradient(scaled, [v.value for v in self._discriminator_variables])
            _apply(self.discriminator_optimizer, gradients, self._discriminator_variables)
            self._track({"D_A_loss": loss_A, "D_B_loss": loss_B})

        self.step.assign_add(1)
        return self._results(learning_rate=rate)

    @tf.autograph.experimental.do_not_convert
    def test_step(self, data: tuple[tf.Tensor, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The same losses without learning from them, on fresh fakes: the pools stay untouched.

        Means are over pictures, whatever batch and whichever replica they are in.
        """
        real_A, real_B = data
        pictures = tf.shape(real_A)[0]
        if is_distributed(self.strategy):
            # Of a short batch a replica may get nothing, which convolutions do not take.
            real_A, real_B = pad_empty_batch(real_A), pad_empty_batch(real_B)
        terms_A, fake_B = self._translation_terms("A", real_A, training=False)
        terms_B, fake_A = self._translation_terms("B", real_B, training=False)
        identity_terms, _ = self._identity_terms(real_A, real_B, training=False)
        terms = {**terms_A, **terms_B, **identity_terms}
        self._track({"loss": tf.add_n(list(terms.values())), **terms}, pictures)
        if self.lambda_gan:
            judge = self.objective.discriminator
            self._track(
                {
                    "D_A_loss": judge(self.D_A(real_A), self.D_A(fake_A)),
                    "D_B_loss": judge(self.D_B(real_B), self.D_B(fake_B)),
                },
                pictures,
            )
        return self._results()

    def _translation_terms(
        self, domain: str, real: tf.Tensor, training: bool
    ) -> tuple[dict[str, tf.Tensor], tf.Tensor | None]:
        """What equation 3 asks of pictures of one domain: terms by name, and their translations."""
        G, F, D_A, D_B = self._calls
        if domain == "A":
            there, back, judge, gan_loss, lambda_cycle = G, F, D_B, "G_loss", self.lambda_cycle_A
        else:
            there, back, judge, gan_loss, lambda_cycle = F, G, D_A, "F_loss", self.lambda_cycle_B
        terms = {}
        fake = None
        if self.lambda_gan or lambda_cycle:
            fake = there(real, training=training)
        if self.lambda_gan:
            fooled = self.objective.generator(judge(fake, training=training))
            terms[gan_loss] = self.lambda_gan * fooled
        if lambda_cycle:
            cycled = back(fake, training=training)
            terms[f"cycle_{domain}"] = lambda_cycle * l1(cycled, real)
        return terms, fake

    def _identity_terms(
        self, real_A: tf.Tensor, real_B: tf.Tensor, training: bool
    ) -> tuple[dict[str, tf.Tensor], None]:
        """Section 5.2: what draws pictures of a domain leaves such pictures as they are."""
        G, F, _, _ = self._calls
        terms = {}
        if weight := self.lambda_identity * self.lambda_cycle_A:
            terms["identity_A"] = weight * l1(F(real_A, training=training), real_A)
        if weight := self.lambda_identity * self.lambda_cycle_B:
            terms["identity_B"] = weight * l1(G(real_B, training=training), real_B)
        return terms, None

    def _discriminator_loss(
        self, domain: str, real: tf.Tensor, shown: tf.Tensor, fake: tf.Tensor
    ) -> tf.Tensor:
        """What the domain's D minimises on a real batch and on one from its pool."""
        D = self._calls[2 if domain == "A" else 3]
        loss = self.objective.discriminator(D(real, training=True), D(shown, training=True))
        if self.objective.gradient_penalty:
            place = tf.cast(replica_id(), tf.int64) * 2**40 + self.step.value
            draw = tf.stack([tf.cast(2 * self.seed + (domain == "B"), tf.int64), place])
            penalty = gradient_penalty(self._judges[domain], real, fake, draw)
            loss += 0.5 * self.objective.gradient_penalty * penalty
        return loss

    # ------------------------------------------------------------------ as a Keras model

    def call(self, images: tf.Tensor, training: bool = False) -> tf.Tensor:
        """G: pictures of A, `[N, H, W, C]` in [-1, 1], to pictures of B."""
        return self.G(images, training=training)

    def translate(
        self, images: Any, direction: Direction = "AtoB", batch_size: int | None = None
    ) -> Any:
        """Translates pictures, in either direction.

        Args:
            images: float32 `[N, H, W, C]` in [-1, 1] (an array or tensor), or a
                `tf.data.Dataset` of such batches.
            direction: "AtoB" (G, default) or "BtoA" (F).
            batch_size: int, pictures at a time for arrays. Default 32, as in Keras.

        Returns:
            A float32 numpy array `[N, H, W, C]` in [-1, 1].

        Raises:
            ValueError: an unknown direction.
        """
        return self.generator(direction).predict(images, batch_size=batch_size, verbose=0)

    def generator(self, direction: Direction = "AtoB") -> keras.Model:
        """G for "AtoB", F for "BtoA".

        Raises:
            ValueError: an unknown direction.
        """
        if direction not in ("AtoB", "BtoA"):
            raise ValueError(f"direction={direction!r} is unknown: take AtoB or BtoA")
        return self.G if direction == "AtoB" else self.F

    def export_generators(
        self,
        directory: str | os.PathLike,
        data: Data | tuple[np.ndarray, np.ndarray],
        *,
        directions: tuple[Direction, ...] = ("AtoB", "BtoA"),
        count: int = 8,
        **settings: Any,
    ) -> Report:
        """Exports G and F for TF Serving and LiteRT, measured against themselves as they are here.

        Args:
            directory: where to; its name is the models' name on a server.
            data: from `load_data`, with test pictures to measure on; or `(pictures of A, pictures
                of B)`, float32 `[N, H, W, C]` in [-1, 1].
            directions: default both.
            count: int, pictures of each domain to measure on. Default 8.
            settings: `dynamic_size`, `precision`, `max_pixels`, `enforce`, and `image_size` where
                it is not that of training; see `tfcyclegan.export.export_generators`.

        Returns:
            `Report`: `print(report.to_markdown())`; `report.missed` names what missed its bar and
            was therefore not published.

        Raises:
            InputError: the folder cannot be written to, or there are no test pictures.

        Example:
            ```python
            report = model.export_generators("exports/horse2zebra", data)
            ```
        """
        from .data.loading import some_pictures
        from .export.exporting import export_generators

        size = settings.pop("image_size", self.image_size) or 256
        sides = (size, size) if isinstance(size, int) else size
        if isinstance(data, tuple):
            sources = dict(zip(("AtoB", "BtoA"), data, strict=True))
        else:
            sources = {"AtoB": data.test_A, "BtoA": data.test_B}
        return export_generators(
            {direction: self.generator(direction) for direction in directions},
            directory,
            {way: some_pictures(sources[way], count, sides) for way in directions},
            image_size=sides,
            **settings,
        )

    def fit(
        self,
        x: Any = None,
        *,
        epochs: int = 1,
        initial_epoch: int = 0,
        steps_per_epoch: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """`keras.Model.fit` on a dataset of `(A, B)` batches; all but `x` by keyword.

        When a run begins, its length in steps (epochs × steps an epoch) is kept in
        `total_steps`, which the falling learning rate goes by. It stays what it is while the run
        goes on, so `fit` on a model that was saved midway finishes the old schedule; a run that
        is over gets a new length when it is trained further.
        """
        held = _cardinality(x)
        if steps_per_epoch == held:
            # Keras would keep one iterator for all epochs, which a resumed epoch leaves short.
            steps_per_epoch = None
        done = int(self.generator_optimizer.iterations.numpy())
        if done >= int(self.total_steps.numpy()):
            if steps_per_epoch or held:
                left = epochs - initial_epoch
                self.total_steps.assign(done + left * (steps_per_epoch or held))
            else:
                warnings.warn(
                    "the data does not say how many steps an epoch has, so the learning rate "
                    "stays constant: pass steps_per_epoch, or compile(total_steps=...)",
                    stacklevel=2,
                )
        if isinstance(x, tf.data.Dataset):
            kwargs.setdefault("shuffle", False)  # a dataset has its order; Keras warns otherwise
        workers = self.workers
        callbacks = callback_list(kwargs.pop("callbacks", None))
        check_callbacks(callbacks, workers)
        if workers.count > 1:
            callbacks = [CollectiveTimeout(workers), *callbacks]
        validation = kwargs.pop("validation_data", None)
        if workers.replicas > 1:
            if shards := getattr(x, "shards", None):
                # One iterator for all epochs, then: it goes on for ever.
                steps_per_epoch = steps_per_epoch or shards.steps
                callbacks = [FollowPosition(shards.position), *callbacks]
            if shards := getattr(validation, "shards", None):
                kwargs["validation_steps"] = kwargs.get("validation_steps") or shards.steps
        with workers.watched():
            return super().fit(
                distribute(x, self.strategy, training=True),
                epochs=epochs,
                initial_epoch=initial_epoch,
                steps_per_epoch=steps_per_epoch,
                validation_data=distribute(validation, self.strategy),
                callbacks=callbacks,
                **kwargs,
            )

    def evaluate(self, x: Any = None, y: Any = None, **kwargs: Any) -> Any:
        """`keras.Model.evaluate` on a dataset of `(A, B)` batches, on all replicas."""
        workers = self.workers
        if workers.replicas > 1 and (shards := getattr(x, "shards", None)):
            kwargs["steps"] = kwargs.get("steps") or shards.steps
        if workers.count > 1 and "_use_cached_eval_dataset" not in kwargs:  # fit's has them
            kwargs["callbacks"] = [
                CollectiveTimeout(workers),
                *callback_list(kwargs.get("callbacks")),
            ]
        with workers.watched():
            return super().evaluate(distribute(x, self.strategy), y, **kwargs)

    @property
    def distribute_strategy(self) -> tf.distribute.Strategy:
        """The strategy that steps run under, whatever scope `fit` is called in.

        Outside of any, best of all: callbacks of one worker alone must not make variables there.
        """
        return self.strategy

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(getattr(self, "_trackers", {}).values())

    def _track(self, values: dict[str, tf.Tensor], weight: tf.Tensor | int = 1) -> None:
        for name, value in values.items():
            self._trackers[name].update_state(value, weight)

    def _results(self, **others: tf.Tensor) -> dict[str, tf.Tensor]:
        results = {name: tracker.result() for name, tracker in self._trackers.items()}
        results.update(others)
        if self.workers.count > 1:
            # Keras averages over workers along an axis, so there has to be one.
            return {name: tf.reshape(result, [1]) for name, result in results.items()}
        return results

    def state(self) -> dict[str, keras.Variable]:
        """Every variable that training goes on from, by a name of its own.

        Those with `synchronization="on_read"` are each replica's own: pools and means. Beyond
        what `.keras` files hold these are the running means of the epoch, so that it can be taken
        up midway.
        """
        parts = {
            name: getattr(self, name).variables
            for name in (
                *("G", "F", "D_A", "D_B", "pool_A", "pool_B"),
                *("generator_optimizer", "discriminator_optimizer"),
            )
        }
        parts["run"] = [self.step, self.total_steps]
        parts["means"] = self.metrics_variables
        return {
            f"{part}/{place:03d}/{variable.name}": variable
            for part, variables in parts.items()
            for place, variable in enumerate(variables)
        }

    def get_config(self) -> dict:
        networks = {
            name: keras.saving.serialize_keras_object(network)
            for name, network in zip(("G", "F", "D_A", "D_B"), self._networks, strict=True)
        }
        return {
            "name": self.name,
            **networks,
            "image_size": self.image_size,
            "pool_size": self.pool_size,
            "seed": self.seed,
        }

    @classmethod
    def from_config(cls, config: dict, custom_objects: dict | None = None) -> CycleGAN:
        config = dict(config)
        for name in ("G", "F", "D_A", "D_B"):
            config[name] = keras.saving.deserialize_keras_object(config[name], custom_objects)
        return cls(**config)

    def get_compile_config(self) -> dict | None:
        if not self.compiled:
            return None
        return {
            name: keras.saving.serialize_keras_object(value)
            for name, value in self._compile_arguments.items()
        }

    def compile_from_config(self, config: dict) -> None:
        self.compile(
            **{name: keras.saving.deserialize_keras_object(value) for name, value in config.items()}
        )


@contextlib.contextmanager
def _watching(variables: list[keras.Variable]) -> Iterator[tf.GradientTape]:
    """A tape for these variables alone: the other player's gradients are not even recorded."""
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        for variable in variables:
            tape.watch(variable.value)
        yield tape


def _has_averages(network: keras.Model) -> bool:
    return any(isinstance(layer, keras.layers.BatchNormalization) for layer in network.layers)


def _traced(network: keras.Model, recompute: bool) -> Callable[..., tf.Tensor]:
    """A network as a function of its own, traced once and called up to four times a step.

    Half the time to the first step. With `recompute` its activations are not kept. (TensorFlow
    must be free to inline it: without, its optimizer let D's update overtake G's look at D.)
    """

    def call(images: tf.Tensor, training: bool) -> tf.Tensor:
        run = functools.partial(network, training=training)
        return (tf.recompute_grad(run) if recompute else run)(images)

    return tf.function(call, autograph=False)


def _apply(
    optimizer: keras.optimizers.Optimizer,
    gradients: list[tf.Tensor | None],
    variables: list[keras.Variable],
) -> None:
    """A step of an optimizer, left out where a float16 gradient of any replica overflows."""
    if replica_count() > 1 and isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        gradients = all_reduce_overflow(gradients)
    optimizer.apply(gradients, variables)


class _GradientSum:
    """The gradients of a sum of losses, taken of one after the other.

    The next begins when the gradients so far are there, so that no more than one's activations
    are held at a time; a single tape over the sum would hold them all.

    Args:
        optimizer: scales the losses, where float16 needs it.
        variables: what the gradients are for.
    """

    def __init__(
        self, optimizer: keras.optimizers.Optimizer, variables: list[keras.Variable]
    ) -> None:
        self._optimizer = optimizer
        self._variables = variables
        #: One a variable, None where nothing depends on it.
        self.total: list[tf.Tensor | None] = [None] * len(variables)

    def add(self, losses: Callable, *arguments: Any) -> tuple:
        """Adds the gradients of the terms that `losses(*arguments, training=True)` gives.

        Returns:
            What `losses` gave: the terms by name, and pictures.
        """
        so_far = [gradient for gradient in self.total if gradient is not None]
        with _watching(self._variables) as tape, tf.control_dependencies(so_far):
            terms, pictures = losses(*arguments, training=True)
            if not terms:
                return terms, pictures
            share = tf.add_n(list(terms.values())) / replica_count()
            scaled = self._optimizer.scale_loss(share)
        more = tape.gradient(scaled, [variable.value for variable in self._variables])
        self.total = [
            b if a is None else a if b is None else a + b
            for a, b in zip(self.total, more, strict=True)
        ]
        return terms, pictures


def _float32_judge(D: keras.Model) -> Callable[[tf.Tensor], tf.Tensor]:
    """D with its own weights, fit to have the gradient of its gradient taken.

    It computes in float32 whatever D's dtype policy. And it does not know how many pictures a
    batch has: the fused kernel, which normalises a single one, has an inexact second gradient.
    """
    mixed = any(layer.compute_dtype != "float32" for layer in D.layers)
    twin = with_precision(D, "float32") if mixed else None

    @tf.function(input_signature=[tf.TensorSpec((None, None, None, D.input_shape[-1]))])
    def judge(images: tf.Tensor) -> tf.Tensor:
        if twin is None:
            return D(images, training=True)
        trainable = [v.value for v in D.trainable_variables]
        fixed = [v.value for v in D.non_trainable_variables]
        return twin.stateless_call(trainable, fixed, images, training=True)[0]

    return judge


def _cardinality(x: Any) -> int | None:
    """Batches in one pass over a dataset, None where it does not say or never ends."""
    if not isinstance(x, tf.data.Dataset):
        return None
    cardinality = int(x.cardinality())
    return cardinality if cardinality > 0 else None
