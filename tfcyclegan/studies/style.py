"""Neural style transfer, which the paper contrasts with CycleGAN (its figures 15 and 16).

Gatys, Ecker, Bethge: Image Style Transfer Using Convolutional Neural Networks, CVPR 2016. It
changes the pixels of a picture until its features resemble those that it had (content) and their
correlations those of other pictures (style).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf

from ..data.preprocessing import Preprocessing, to_float, to_uint8
from ..data.reading import Reader
from ..data.sources import find_source
from ..data.store import MemoryBudget
from ..data.test_set import TestSet
from ..directions import GENERATORS, Direction
from ..errors import InputError
from ..evaluation.evaluator import Evaluator
from ..networks.features import LITE0, Pixels, load_features
from ..networks.vgg import VGG16_HED
from ..training.config import ResolvedConfig

#: The layers of VGG whose correlations are the style, and the one whose features are the content.
STYLE = ("block1_conv1", "block2_conv1", "block3_conv1", "block4_conv1", "block5_conv1")
CONTENT = "block4_conv2"
_TAPS = (*STYLE[:4], CONTENT, STYLE[4])

#: Gram matrices `[C, C]` of the layers of `STYLE`.
Grams = list[tf.Tensor]


class StyleTransfer:
    """Gives pictures the style of other pictures, by optimising their pixels.

    The losses and their weights are those of Gatys et al.: content 1, style 1000, on a network
    whose filters have a mean activation of 1. It takes Adam instead of L-BFGS, and starts from the
    picture.

    Args:
        network: "VGG19" (theirs), another VGG of `keras.applications`, "vgg16-hed"
            (from the extra `style`), or a `.keras` file whose layers have the names of VGG's.
        pictures: uint8 RGB `[H, W, 3]`, at least 32 px, over which mean activations are taken.
        pixels: how a file expects pixels; see `load_features`.
        steps: int, steps of Adam. Default 300.
        learning_rate: float, of pixels in [-1, 1]. Default 0.02.
        style_weight: float. Default 1000.

    Raises:
        InputError: see `load_features`.

    Example:
        ```python
        transfer = StyleTransfer("VGG19", photographs)
        painted = transfer(photographs, transfer.style(paintings))
        ```
    """

    def __init__(
        self,
        network: str | Path | keras.Model,
        pictures: Sequence[np.ndarray],
        *,
        pixels: Pixels | None = None,
        steps: int = 300,
        learning_rate: float = 0.02,
        style_weight: float = 1000.0,
    ):
        if steps < 1:
            raise InputError(f"style_steps={steps}: must be at least 1")
        self.steps = steps
        self._rate, self._style_weight = learning_rate, style_weight
        try:
            self._network = load_features(network, _TAPS, pixels)
        except InputError as problem:
            said = str(problem).replace("`pixels`", "`style_pixels`")
            raise InputError(said.replace(f"take {LITE0}", f"take {VGG16_HED}")) from problem
        self.name = self._network.name
        # Only the means are kept: the maps of a thousand pictures would take gigabytes.
        found = [
            [np.mean(layer, axis=(0, 1, 2)) for layer in self._network(to_float(picture[None]))]
            for picture in pictures
        ]
        means = [np.mean(layer, axis=0) for layer in zip(*found, strict=True)]
        self._scales = [tf.constant(1 / np.where(mean > 1e-6, mean, 1.0)) for mean in means]

    def style(self, pictures: Sequence[np.ndarray]) -> Grams:
        """The mean Gram matrices of pictures: of one, or of a whole collection."""
        total: Grams = []
        for picture in pictures:
            _, found = self._look(to_float(picture[None]))
            grams = [gram[0] / len(pictures) for gram in found]
            total = [a + b for a, b in zip(total, grams, strict=True)] if total else grams
        return total

    def __call__(
        self, pictures: Sequence[np.ndarray], style: Grams, batch_size: int = 8
    ) -> list[np.ndarray]:
        """Pictures, uint8 RGB `[H, W, 3]` of one size, in a style."""
        drawn: list[np.ndarray] = []
        for first in range(0, len(pictures), batch_size):
            start = to_float(np.stack(pictures[first : first + batch_size]))
            drawn += list(to_uint8(self._optimised(start, style).numpy()))
        return drawn

    def _look(self, images: tf.Tensor) -> tuple[tf.Tensor, Grams]:
        """The content of images, and their Gram matrices `[N, C, C]`, divided by the places."""
        maps = zip(self._network(images), self._scales, strict=True)
        scaled = dict(zip(_TAPS, (layer * scale for layer, scale in maps), strict=True))
        grams = []
        for name in STYLE:
            x = tf.reshape(scaled[name], (tf.shape(images)[0], -1, scaled[name].shape[-1]))
            places = tf.cast(tf.shape(x)[1], tf.float32)
            grams.append(tf.matmul(x, x, transpose_a=True) / places)
        return scaled[CONTENT], grams

    @tf.function(autograph=False)
    def _optimised(self, start: tf.Tensor, style: Grams) -> tf.Tensor:
        """Adam, as one graph: it is traced once for each size of a batch."""
        content, _ = self._look(start)

        def step(n: tf.Tensor, images: tf.Tensor, m: tf.Tensor, v: tf.Tensor) -> tuple:
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(images)
                loss = self._loss(images, content, style)
            slope = tape.gradient(loss, images)
            m, v = 0.9 * m + 0.1 * slope, 0.999 * v + 0.001 * slope**2
            n += 1.0
            mean, deviation = m / (1.0 - 0.9**n), tf.sqrt(v / (1.0 - 0.999**n)) + 1e-7
            images = tf.clip_by_value(images - self._rate * mean / deviation, -1.0, 1.0)
            return n, images, m, v

        zeros = tf.zeros_like(start)
        state = (tf.constant(0.0), start, zeros, zeros)
        return tf.while_loop(lambda *_: True, step, state, maximum_iterations=self.steps)[1]

    def _loss(self, images: tf.Tensor, content: tf.Tensor, style: Grams) -> tf.Tensor:
        """Summed over images, each of which is optimised by itself."""
        seen, grams = self._look(images)
        loss = 0.5 * tf.reduce_sum(tf.square(seen - content))
        for gram, wanted in zip(grams, style, strict=True):
            norm = 4.0 * wanted.shape[0] ** 2 * len(STYLE)
            loss += self._style_weight * tf.reduce_sum(tf.square(gram - wanted)) / norm
        return loss


@dataclass(frozen=True)
class Styled:
    """Translations by style transfer.

    Attributes:
        pictures: variant → direction → translations of the test pictures, uint8 `[H, W, 3]`.
        scores: variant → direction → metric → value.
        seconds: that one picture took.
        network: the network that it looked through.
        steps: steps for each picture.
    """

    pictures: dict[str, dict[Direction, list[np.ndarray]]]
    scores: dict[str, dict[Direction, dict[str, float]]]
    seconds: float
    network: str
    steps: int

    def facts(self) -> list[str]:
        """What it came to, in one line."""
        return [
            f"style transfer: {self.steps} steps with {self.network}, {self.seconds:.1f} s for a "
            "picture"
        ]


def transfer_styles(
    test_set: TestSet,
    collections: Mapping[str, Sequence[np.ndarray]],
    evaluator: Evaluator,
    transfer: StyleTransfer,
    seed: int = 0,
) -> Styled:
    """Gives the test pictures of each domain the style of one picture, and of all, of the other.

    Args:
        test_set: test pictures of one size.
        collections: the pictures whose style is taken, of "A" and "B".
        evaluator: measures them.
        transfer: how.
        seed: draws the one picture.
    """
    pictures: dict[str, dict[Direction, list[np.ndarray]]] = {}
    scores: dict[str, dict[Direction, dict[str, float]]] = {}
    seconds, count = 0.0, 0
    for way in GENERATORS:
        source, models = getattr(test_set, way[0]), collections[way[-1]]
        one = models[int(np.random.default_rng(seed).integers(len(models)))]
        for variant, some in {"style of one picture": [one], "style of all": models}.items():
            style = transfer.style(some)
            began = time.perf_counter()
            drawn = transfer(source, style)
            seconds += time.perf_counter() - began
            count += len(drawn)
            pictures.setdefault(variant, {})[way] = drawn
            scores.setdefault(variant, {})[way] = evaluator.scores_of(way, drawn)
    return Styled(pictures, scores, seconds / count, transfer.name, transfer.steps)


def read_collections(config: ResolvedConfig, test_set: TestSet) -> dict[str, Sequence[np.ndarray]]:
    """The training pictures of each domain, as test pictures are read.

    Raises:
        InputError: they are grey or cannot be read, or the test pictures have many sizes.
    """
    if (config.channels_A, config.channels_B) != (3, 3):
        raise InputError("style transfer needs RGB: set channels_A=3 and channels_B=3")
    source = find_source(config.data, config.image_size, config.data_dir)
    kind = config.preprocess or source.preprocess
    how = Preprocessing(kind, config.image_size, divisor=config.divisor)
    budget = MemoryBudget(config.cache_memory * 2**20, config.cache_dir)
    reader = Reader(source, {"A": how, "B": how}, budget, config.skip_bad_images)
    for domain, pictures in (("A", test_set.A), ("B", test_set.B)):
        if len({picture.shape for picture in pictures}) > 1:
            raise InputError(
                f"preprocess={kind}: style transfer needs the test pictures of {domain} in one "
                "size: take a `preprocess` that crops"
            )
    return {domain: reader.read(f"train{domain}") for domain in "AB"}
