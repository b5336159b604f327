"""The embedded data set: drawn animals with a plain coat (A) and with a striped one (B).

It resembles horse↔zebra, but it is drawn from a seed. So it needs no files, and the truth is known:
every scene can be drawn in either domain. The stripes lie across the animal's long axis, anchored
at its middle, so they follow from its pose. Coats and backgrounds share their colours and the
stripes' dark tone, so mapping colours is not enough to solve it.

`shapes-dusk` is the same at two times of day: some scenes are at dusk, which makes them darker and
redder. Each domain has both, but more of B is at dusk. So a generator can change the time of day
although nothing asks for it. The paper has its identity loss against that (section 5.2).
"""

from __future__ import annotations

import numpy as np

#: Samples along each side of a pixel; their mean is the pixel (antialiasing).
_SAMPLES = 3


class Scene:
    """One animal on one background, independent of its coat and the picture's size.

    Lengths are shares of the picture's side, with (0, 0) at the centre and y downwards. Colours are
    RGB in [0, 1].

    Args:
        random: the generator that the scene is drawn from.
    """

    def __init__(self, random: np.random.Generator):
        #: Half of the body's long axis, without the head.
        self.half_length = random.uniform(0.25, 0.33)
        frequencies = random.normal(size=(6, 2)) * random.uniform(1.0, 4.0)
        phases = random.uniform(0, 2 * np.pi, (6, 1))
        weights = random.uniform(0.3, 1.0, (6, 1))
        #: `[6, 4]`, the background's texture: frequency x, frequency y, phase, weight.
        self.waves = np.concatenate([frequencies, phases, weights], axis=1)
        tone = random.uniform(0.55, 0.95)
        self.coat = tone * np.array([1.0, random.uniform(0.75, 0.95), random.uniform(0.5, 0.85)])
        #: The background's two colours.
        self.ground = random.uniform(0.1, 0.9, (2, 1)) * random.uniform(0.55, 1.0, (2, 3))
        #: Centre of the body, `(x, y)`.
        self.position = tuple(random.uniform(-0.13, 0.13, 2))
        #: From the x axis to the body's long axis, in radians.
        self.angle = random.uniform(-np.pi / 4, np.pi / 4) + np.pi * random.integers(2)
        self.half_width = self.half_length * random.uniform(0.5, 0.75)
        #: Exponent of the body's superellipse, 2 for an ellipse.
        self.squareness = random.uniform(2.0, 4.0)
        #: How much darker the coat's lower edge is, in [0, 1].
        self.shade = random.uniform(0.0, 0.3)
        #: What the light does to red, green and blue.
        self.light = np.ones(3, np.float32)

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
            w * np.sin(2 * np.pi * (fx * x + fy * y) + phase) for fx, fy, phase, w in waves
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
        picture = np.where(body[..., None], coat, picture) * self.light

        def shrink(values: np.ndarray) -> np.ndarray:
            cells = values.reshape(size, _SAMPLES, size, _SAMPLES, -1)
            return cells.mean(axis=(1, 3), dtype=np.float32)

        pixels = np.clip(np.rint(255 * shrink(picture)), 0, 255).astype(np.uint8)
        return pixels, shrink(body)[..., 0].astype(np.float32)


#: The number of scenes in each split. No two splits share a scene.
COUNTS = {"trainA": 500, "trainB": 500, "testA": 64, "testB": 64}


#: The light at dusk, and the share of scenes at dusk in each domain of `shapes-dusk`.
_DUSK = np.array([0.8, 0.5, 0.4], np.float32)
_AT_DUSK = {"A": 0.3, "B": 0.7}


def scenes(split: str, name: str = "shapes") -> list[Scene]:
    """The scenes of "trainA", "trainB", "testA" or "testB", always the same.

    Args:
        split: which of them.
        name: "shapes", or "shapes-dusk" for the same scenes, some of them at dusk.
    """
    stream = list(COUNTS).index(split)
    found = [Scene(np.random.default_rng([stream, index])) for index in range(COUNTS[split])]
    if name == "shapes-dusk":
        draws = np.random.default_rng([stream, COUNTS[split]]).random(len(found))
        for scene, draw in zip(found, draws, strict=True):
            if draw < _AT_DUSK[split[-1]]:
                scene.light = _DUSK
    return found
