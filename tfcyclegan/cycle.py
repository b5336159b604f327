"""Pictures on their way around the cycle, from one domain to the other and back."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Literal

import tensorflow as tf

Domain = Literal["A", "B"]


class Cycle:
    """Pictures of one domain on their way to the other and back.

    Each attribute is computed when it is first used, so a term that nobody asks for costs nothing.

    Attributes:
        domain: "A" or "B".
        real: float32 `[N, H, W, C]` in [-1, 1]: a, or b.
        fake: G(a), or F(b).
        cycled: F(G(a)), or G(F(b)).
        same: F(a), or G(b): what the generator that draws this domain makes of it.
        logits: D_B(G(a)), or D_A(F(b)).
    """

    def __init__(
        self,
        networks: Mapping[str, Callable],
        domain: Domain,
        real: tf.Tensor,
        training: bool = True,
    ):
        there, back, D = ("G", "F", "D_B") if domain == "A" else ("F", "G", "D_A")
        self._there, self._back, self._D = networks[there], networks[back], networks[D]
        self._training = training
        self.domain = domain
        self.real = real

    @functools.cached_property
    def fake(self) -> tf.Tensor:
        return self._there(self.real, training=self._training)

    @functools.cached_property
    def cycled(self) -> tf.Tensor:
        return self._back(self.fake, training=self._training)

    @functools.cached_property
    def same(self) -> tf.Tensor:
        return self._back(self.real, training=self._training)

    @functools.cached_property
    def logits(self) -> tf.Tensor:
        return self._D(self.fake, training=self._training)
