"""The running means of a step's terms, which Keras logs."""

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
    """A mean for each term of an epoch so far.

    Args:
        names: of all terms. A metric has variables, so it must exist before training starts.
    """

    def __init__(self, names: Iterable[str]):
        names = list(dict.fromkeys(names))
        known = [name for name in _ORDER if name in names]
        others = [name for name in names if name not in _ORDER]
        self._means = {name: keras.metrics.Mean(name) for name in (*known, *others)}

    @property
    def metrics(self) -> list[keras.metrics.Metric]:
        return list(self._means.values())

    def update(self, terms: Mapping[str, tf.Tensor], weight: tf.Tensor | int = 1) -> None:
        """Adds a batch's terms, which count `weight` times."""
        for name, value in terms.items():
            if name not in self._means:
                raise KeyError(
                    f"the term {name!r} is new: generator_terms must return the same names always"
                )
            self._means[name].update_state(value, weight)

    def results(self) -> dict[str, tf.Tensor]:
        """The means so far."""
        return {name: mean.result() for name, mean in self._means.items()}
