"""The two players of the game: networks, the optimizer that trains them, and how it steps."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import keras
import tensorflow as tf

from .distributed.replicas import all_reduce_overflow, replica_count
from .networks.calls import NetworkCall

#: Terms of a loss by name, float32 scalars, weights included.
Terms = dict[str, tf.Tensor]


class Player:
    """Networks that one optimizer trains: both generators, or both discriminators.

    Losses that the networks' layers add (`add_loss`, activity and weight regularizers) belong to
    what the player minimises, as the terms `G_regularization` and so on.

    Args:
        calls: the networks by name.
        optimizer: built here, because Keras skips an optimizer that is not built when it loads a
            model, and its moments would be lost. Wrapped in a `LossScaleOptimizer` where a network
            computes in float16.

    Example:
        >>> generators = Player({"G": NetworkCall(G), "F": NetworkCall(F)}, Adam(2e-4))
        >>> terms = generators.minimise(lambda: {"cycle": l1(F(G(a)), a)})
    """

    def __init__(self, calls: Mapping[str, NetworkCall], optimizer: keras.optimizers.Optimizer):
        self._calls = calls
        self.variables: list[keras.Variable] = [
            variable for call in calls.values() for variable in call.network.trainable_variables
        ]
        half = any(
            layer.compute_dtype == "float16"
            for call in calls.values()
            for layer in call.network.layers
        )
        if half and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(self.variables)
        self.optimizer = optimizer

    def minimise(self, *losses: Callable[[], Terms]) -> Terms:
        """Takes a step on the sum of some losses.

        Gradients are taken of one loss after the other: each waits for those before it, so that
        only one loss's activations are in memory at a time. With several replicas the step is
        that of the whole batch.

        Args:
            losses: each gives its terms by name. One without terms costs nothing.

        Returns:
            All terms. Terms of the same name are added.
        """
        sources = [variable.value for variable in self.variables]
        gradients: list[tf.Tensor | None] = [None] * len(sources)
        terms: Terms = {}
        for loss in (*losses, self._weight_penalties):
            # Only this player's variables are watched: the other's gradients are not recorded.
            with (
                tf.control_dependencies([g for g in gradients if g is not None]),
                tf.GradientTape(watch_accessed_variables=False) as tape,
            ):
                for source in sources:
                    tape.watch(source)
                found = self._with_added_losses(loss)
                if not found:
                    continue
                # Each replica takes its share of the loss, and the optimizer sums gradients.
                share = tf.add_n(list(found.values())) / replica_count()
                scaled = self.optimizer.scale_loss(share)
            gradients = [
                b if a is None else a if b is None else a + b
                for a, b in zip(gradients, tape.gradient(scaled, sources), strict=True)
            ]
            _merge(terms, found)
        self._apply(gradients)
        return terms

    def terms(self, *losses: Callable[[], Terms]) -> Terms:
        """The terms that `minimise` gives, without a step."""
        terms: Terms = {}
        for loss in (*losses, self._weight_penalties):
            _merge(terms, self._with_added_losses(loss))
        return terms

    def _with_added_losses(self, loss: Callable[[], Terms]) -> Terms:
        """A loss's terms, and those that this player's layers add on the way."""
        for call in self._calls.values():
            call.losses = []
        terms = dict(loss())
        for name, call in self._calls.items():
            if call.losses:
                _merge(terms, {f"{name}_regularization": tf.add_n(call.losses)})
        return terms

    def _weight_penalties(self) -> Terms:
        found = {name: call.weight_penalties() for name, call in self._calls.items()}
        return {f"{name}_regularization": tf.add_n(some) for name, some in found.items() if some}

    def _apply(self, gradients: list[Any]) -> None:
        """Applies gradients. A float16 gradient that overflows on any replica skips the step."""
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if replica_count() > 1 and scaled:
            gradients = all_reduce_overflow(gradients)
        self.optimizer.apply(gradients, self.variables)


def _merge(terms: Terms, more: Terms) -> None:
    """Adds terms to others, by name."""
    for name, value in more.items():
        terms[name] = terms[name] + value if name in terms else value
