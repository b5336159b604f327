"""The means of a step's terms over the epoch so far, which Keras logs."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import keras
import tensorflow as tf

#: The paper's terms, in the order in which checkpoints hold their means.
_ORDER = (
    "loss", "G_loss", "F_loss", "D_A_loss", "D_B_loss", "cycle_A", "cycle_B", "identity_A",
    "identity_B",
)  # fmt: skip


class TermMeans:
    """The mean of each term over the epoch so far.

    Args:
        names: the names of all terms. A mean has variables, which must exist before training.
    """

    def __init__(self, names: Iterable[str]):
        names = list(names)
        known = [name for name in _ORDER if name in names]
        self._means = {name: keras.metrics.Mean(name) for name in dict.fromkeys([*known, *names])}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def update(self, terms: Mapping[str, tf.Tensor], weight: tf.Tensor | int = 1) -> None:
        """Takes in the terms of a batch, with a weight.

        Raises:
            KeyError: a term that is not among the names.
        """
        for name, value in terms.items():
            if name not in self._means:
                raise KeyError(
                    f"the term {name!r} is new: generator_terms must always return the same names"
                )
            self._means[name].update_state(value, weight)

    def results(self) -> dict[str, tf.Tensor]:
        """The means by name."""
        return {name: mean.result() for name, mean in self._means.items()}
