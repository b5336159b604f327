"""The two players of the game, the generators and the discriminators, and how one takes a step."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import keras
import tensorflow as tf

from .distributed.replicas import all_reduce_overflow, replica_count
from .networks.calls import NetworkCall
from .networks.inspection import all_layers

#: The terms of a loss by name: float32 scalars, weights included.
Terms = dict[str, tf.Tensor]


class Player:
    """Networks that one optimizer trains: both generators, or both discriminators.

    A player also minimises the losses that its networks' layers add (`add_loss`, activity and
    weight regularizers), as the terms `G_regularization` and so on.

    Args:
        calls: the networks by name.
        optimizer: wrapped in a `LossScaleOptimizer` if a network computes in float16. It is built
            here: Keras would skip an optimizer that is not built when it loads a model, and lose
            the moments.

    Example:
        >>> G, F = NetworkCall(generator_G), NetworkCall(generator_F)
        >>> generators = Player({"G": G, "F": F}, Adam(2e-4))
        >>> terms = generators.minimise(lambda: {"cycle_A": 10.0 * l1(F(G(a)), a)})
    """

    def __init__(self, calls: Mapping[str, NetworkCall], optimizer: keras.optimizers.Optimizer):
        self._calls = calls
        networks = [call.network for call in calls.values()]
        self.variables: list[keras.Variable] = [
            variable for network in networks for variable in network.trainable_variables
        ]
        half = any(
            layer.compute_dtype == "float16" for net in networks for layer in all_layers(net)
        )
        if half and not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            optimizer = keras.optimizers.LossScaleOptimizer(optimizer)
        optimizer.build(self.variables)
        self.optimizer = optimizer

    def minimise(self, *losses: Callable[[], Terms]) -> Terms:
        """Takes one step on the sum of some losses.

        Losses are computed and differentiated one after the other, so that the activations of only
        one are in memory at a time. With several replicas the step is that of the whole batch.

        Args:
            losses: functions that return their terms by name. One that returns none costs nothing.

        Returns:
            All terms. Terms of the same name are added.
        """
        sources = [variable.value for variable in self.variables]
        gradients: list[tf.Tensor | None] = [None] * len(sources)
        terms: Terms = {}
        for loss in (*losses, self._weight_regularization):
            with (
                # Waits for the gradients of the earlier losses.
                tf.control_dependencies([g for g in gradients if g is not None]),
                # Watches this player's variables only: the other player is fixed.
                tf.GradientTape(watch_accessed_variables=False) as tape,
            ):
                for source in sources:
                    tape.watch(source)
                found = self._with_added_losses(loss)
                if not found:
                    continue
                # The optimizer sums the gradients of the replicas, so each divides its loss.
                share = tf.add_n(list(found.values())) / replica_count()
                scaled = self.optimizer.scale_loss(share)
            gradients = [
                b if a is None else a if b is None else a + b
                for a, b in zip(gradients, tape.gradient(scaled, sources), strict=True)
            ]
            _add(terms, found)
        self._apply(gradients)
        return terms

    def terms(self, *losses: Callable[[], Terms]) -> Terms:
        """The terms that `minimise` returns, without a step."""
        terms: Terms = {}
        for loss in (*losses, self._weight_regularization):
            _add(terms, self._with_added_losses(loss))
        return terms

    def _with_added_losses(self, loss: Callable[[], Terms]) -> Terms:
        """The terms of a loss, and of the losses that layers add while it is computed."""
        for call in self._calls.values():
            call.losses = []
        terms = dict(loss())
        for name, call in self._calls.items():
            if call.losses:
                _add(terms, {f"{name}_regularization": tf.add_n(call.losses)})
        return terms

    def _weight_regularization(self) -> Terms:
        found = {name: call.weight_regularization() for name, call in self._calls.items()}
        return {f"{name}_regularization": tf.add_n(some) for name, some in found.items() if some}

    def _apply(self, gradients: list[tf.Tensor | None]) -> None:
        """Applies gradients. A float16 gradient that overflows on any replica skips the step."""
        scaled = isinstance(self.optimizer, keras.optimizers.LossScaleOptimizer)
        if scaled and replica_count() > 1:
            gradients = all_reduce_overflow(gradients)
        self.optimizer.apply(gradients, self.variables)


def _add(terms: Terms, more: Terms) -> None:
    """Adds terms to others of the same name."""
    for name, value in more.items():
        terms[name] = terms[name] + value if name in terms else value
