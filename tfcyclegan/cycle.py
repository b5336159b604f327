"""The pictures of one domain and the networks' outputs for them: the cycle of section 3.2."""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Mapping
from typing import Any, Literal

import tensorflow as tf

Domain = Literal["A", "B"]


def computed_once(compute: Callable[[Any], tf.Tensor]) -> property:
    """A cached property.

    Python 3.11's `functools.cached_property` holds a lock while it computes. Replicas are threads
    that wait for each other inside the computation (batch norm's averages), so it would deadlock.
    """

    def get(self: Any) -> tf.Tensor:
        if compute.__name__ not in self._computed:
            self._computed[compute.__name__] = compute(self)
        return self._computed[compute.__name__]

    return property(get)


class Cycle:
    """Pictures of one domain, their translations, and the translations back.

    Each attribute is computed when it is first used. So a term of weight 0 costs nothing.

    Args:
        networks: G, F, D_A and D_B by name, as functions `(images, training=...)`.
        domain: "A" or "B".
        real: float32 `[N, H, W, C]` in [-1, 1].
        training: bool, whether networks run as in training. Default True.

    Attributes:
        domain: "A" or "B".
        real: the pictures: a for domain A, b for B.
        fake: their translations: G(a), or F(b).
        cycled: translated back: F(G(a)), or G(F(b)).
        same: F(a), or G(b), for the identity loss: the other generator on the real pictures.
        logits: D_B(G(a)), or D_A(F(b)): a list of a discriminator with several outputs.
    """

    def __init__(
        self,
        networks: Mapping[str, Callable],
        domain: Domain,
        real: tf.Tensor,
        training: bool = True,
    ):
        names = ("G", "F", "D_B") if domain == "A" else ("F", "G", "D_A")
        self._forward, self._backward, self._D = (
            functools.partial(networks[name], training=training) for name in names
        )
        self.domain = domain
        self.real = real
        self._computed: dict[str, tf.Tensor] = {}

    def fresh(self) -> Cycle:
        """The same pictures, with nothing computed yet.

        Each loss is computed on its own tape. It gets no gradient through what another computed.
        """
        cycle = copy.copy(self)
        cycle._computed = {}
        return cycle

    @computed_once
    def fake(self) -> tf.Tensor:
        return self._forward(self.real)

    @computed_once
    def cycled(self) -> tf.Tensor:
        return self._backward(self.fake)

    @computed_once
    def same(self) -> tf.Tensor:
        return self._backward(self.real)

    @computed_once
    def logits(self) -> tf.Tensor:
        return self._D(self.fake)
