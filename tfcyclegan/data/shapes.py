"""The embedded data set: drawn animals with a plain coat (A) and with a striped one (B).

In the spirit of horse↔zebra, but drawn from a seed, so that it needs no files and the right
answer is known: the stripes lie across the animal's long axis, anchored at its middle, so
they follow from its pose, and every scene can be drawn in either domain. Coats and
backgrounds share their colours and the stripes' dark tone, so no map of colours alone solves it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

#: Points a pixel's side is sampled at; their mean is the pixel (antialiasing).
_SAMPLES = 3


@dataclass(frozen=True)
class Scene:
    """One animal on one background, the same whatever its coat and the picture's size.

    Lengths are shares of the picture's side, with (0, 0) at the centre and y downwards.

    Attributes:
        position: centre of the body, `(x, y)`.
        angle: of the body's long axis, in radians from the x axis.
        half_length: half of the body's long axis, without the head.
        half_width: half of its short axis.
        squareness: exponent of the body's superellipse, 2 for an ellipse.
        coat: RGB of the coat in [0, 1].
        shade: how much darker the coat's lower edge is, in [0, 1].
        ground: `[2, 3]`, the background's two RGB colours in [0, 1].
        waves: `[K, 4]`, the background's texture: frequency x, frequency y, phase, weight.
    """

    position: tuple[float, float]
    angle: float
    half_length: float
    half_width: float
    squareness: float
    coat: np.ndarray
    shade: float
    ground: np.ndarray
    waves: np.ndarray

    @staticmethod
    def draw(random: np.random.Generator) -> Scene:
        """A scene at random."""
        half_length = random.uniform(0.25, 0.33)
        frequencies = random.normal(size=(6, 2)) * random.uniform(1.0, 4.0)
        phases = random.uniform(0, 2 * np.pi, (6, 1))
        weights = random.uniform(0.3, 1.0, (6, 1))
        tone = random.uniform(0.55, 0.95)
        coat = tone * np.array([1.0, random.uniform(0.75, 0.95), random.uniform(0.5, 0.85)])
        ground = random.uniform(0.1, 0.9, (2, 1)) * random.uniform(0.55, 1.0, (2, 3))
        return Scene(
            position=tuple(random.uniform(-0.13, 0.13, 2)),
            angle=random.uniform(-np.pi / 4, np.pi / 4) + np.pi * random.integers(2),
            half_length=half_length,
            half_width=half_length * random.uniform(0.5, 0.75),
            squareness=random.uniform(2.0, 4.0),
            coat=coat,
            shade=random.uniform(0.0, 0.3),
            ground=ground,
            waves=np.concatenate([frequencies, phases, weights], axis=1),
        )

    def render(self, size: int, striped: bool) -> tuple[np.ndarray, np.ndarray]:
        """The picture of the scene.

        Args:
            size: side of the picture in pixels.
            striped: whether the animal is of domain B.

        Returns:
            The picture, uint8 `[size, size, 3]`, and the share of each pixel that the coat
            covers, float32 `[size, size]` in [0, 1].
        """
        fine = size * _SAMPLES
        ticks = (np.arange(fine, dtype=np.float32) + 0.5) / fine - 0.5
        y, x = np.meshgrid(ticks, ticks, indexing="ij")

        waves = self.waves.astype(np.float32)
        texture = sum(
            weight * np.sin(2 * np.pi * (fx * x + fy * y) + phase)
            for fx, fy, phase, weight in waves
        )
        share = 1 / (1 + np.exp(-4 * texture / waves[:, 3].sum() ** 0.5))
        low, high = self.ground.astype(np.float32)
        picture = low + (high - low) * share[..., None]

        # The animal's own coordinates: `along` runs from tail (-1) to chest (1).
        cos, sin = np.cos(self.angle), np.sin(self.angle)
        dx, dy = x - self.position[0], y - self.position[1]
        along = (cos * dx + sin * dy) / self.half_length
        across = (-sin * dx + cos * dy) / self.half_width
        body = np.abs(along) ** self.squareness + np.abs(across) ** self.squareness < 1
        head = ((along - 1.15) / 0.38) ** 2 + (across / 0.55) ** 2 < 1
        coat = np.broadcast_to(self.coat.astype(np.float32), picture.shape)
        if striped:
            # Two dark bands across the body, at the same places of every animal.
            dark = np.cos(2 * np.pi * along) < 0
            coat = np.where(dark[..., None], np.float32(0.08), coat)
        coat = coat * (1 - self.shade * np.clip((across + 1) / 2, 0, 1))[..., None]
        picture = np.where(head[..., None], 0.5 * self.coat.astype(np.float32), picture)
        picture = np.where(body[..., None], coat, picture)

        def shrink(values: np.ndarray) -> np.ndarray:
            cells = values.reshape(size, _SAMPLES, size, _SAMPLES, -1)
            return cells.mean(axis=(1, 3), dtype=np.float32)

        pixels = np.clip(np.rint(255 * shrink(picture)), 0, 255).astype(np.uint8)
        return pixels, shrink(body)[..., 0].astype(np.float32)


#: Scenes of each split. A and B have as many, but show other scenes.
COUNTS = {"trainA": 500, "trainB": 500, "testA": 64, "testB": 64}


def scenes(split: str) -> list[Scene]:
    """The scenes of "trainA", "trainB", "testA" or "testB", always the same ones."""
    stream = list(COUNTS).index(split)
    return [Scene.draw(np.random.default_rng([stream, index])) for index in range(COUNTS[split])]
