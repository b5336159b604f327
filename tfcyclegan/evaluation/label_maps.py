"""Scores of label maps, in which each pixel belongs to the class of the nearest colour.

The paper's photo→labels scores (section 5.1.1, table 5): per-pixel accuracy, per-class accuracy,
and mean class intersection over union.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import ImageColor

from ..errors import InputError


@dataclass(frozen=True)
class Palette:
    """The classes of label maps.

    Attributes:
        name: name of the palette.
        classes: names of the classes. Pixels whose truth is "void" are not scored.
        colours: uint8 `[K, 3]`, the RGB colour of each class.
    """

    name: str
    classes: tuple[str, ...]
    colours: np.ndarray

    def same_as(self, other: Palette) -> bool:
        """Whether another palette has the same classes in the same colours."""
        return self.classes == other.classes and np.array_equal(self.colours, other.colours)

    @property
    def void(self) -> int:
        """The number of the class that is not scored, or -1."""
        return self.classes.index("void") if "void" in self.classes else -1

    def labels(self, pixels: np.ndarray) -> np.ndarray:
        """The class of the nearest colour (Euclidean) for uint8 RGB `[..., 3]`, as `[...]`."""
        found, packed = np.unique(pixels.reshape(-1, 3), axis=0, return_inverse=True)
        apart = found[:, None].astype(np.int32) - self.colours.astype(np.int32)
        nearest = np.argmin(np.sum(apart**2, axis=-1), axis=1)
        return nearest[packed].reshape(pixels.shape[:-1])


#: The 19 classes on which Cityscapes is scored, in its own colours, and black for pixels that are
#: not scored (Cordts et al., CVPR 2016).
_CITYSCAPES = {
    "road": "#804080", "sidewalk": "#f423e8", "building": "#464646", "wall": "#66669c",
    "fence": "#be9999", "pole": "#999999", "traffic light": "#faaa1e", "traffic sign": "#dcdc00",
    "vegetation": "#6b8e23", "terrain": "#98fb98", "sky": "#4682b4", "person": "#dc143c",
    "rider": "#ff0000", "car": "#00008e", "truck": "#000046", "bus": "#003c64",
    "train": "#005064", "motorcycle": "#0000e6", "bicycle": "#770b20", "void": "#000000",
}  # fmt: skip


#: The 12 classes of the CMP facades. The colours are those of the label maps in pix2pix's data set,
#: where we measured them; the classes follow in the order of the data set's own list.
_FACADES = {
    "background": "#0000de", "facade": "#0030ff", "window": "#0080ff", "door": "#00cfff",
    "cornice": "#20ffde", "sill": "#70ff8f", "balcony": "#c0ff40", "blind": "#fff000",
    "deco": "#ffa000", "molding": "#ff5000", "pillar": "#ff0000", "shop": "#af0000",
}  # fmt: skip

_PALETTES = {"cityscapes": _CITYSCAPES, "facades": _FACADES}


def load_palette(text: str) -> Palette:
    """A palette by name or from a file.

    Args:
        text: "cityscapes", "facades", or the path of a text file with one class per line: a
            colour, then a name, such as `#804080 road`. Empty lines are skipped; `void` is not
            scored.

    Raises:
        InputError: no such palette or file, or a file with a line that is not a class.

    Example:
        >>> load_palette("cityscapes").classes[:2]
        ('road', 'sidewalk')
    """
    colours = _PALETTES.get(text) or _read_classes(text)
    rgb = [ImageColor.getrgb(colour)[:3] for colour in colours.values()]
    return Palette(Path(text).name, tuple(colours), np.array(rgb, np.uint8))


def _read_classes(text: str) -> dict[str, str]:
    """Class → colour, from a file."""
    path = Path(text)
    if not path.is_file():
        raise InputError(
            f"palette={text}: no such file: give {', '.join(_PALETTES)} or a file of classes"
        )
    colours: dict[str, str] = {}
    try:
        for number, line in enumerate(path.read_text().splitlines(), 1):
            if line.strip():
                colour, _, name = line.strip().partition(" ")
                ImageColor.getrgb(colour)
                name = name.strip() or f"class {number}"
                if name in colours:
                    raise ValueError(f"two lines for {name}")
                colours[name] = colour
        if len(colours) < 2:
            raise ValueError(f"{len(colours)} of at least 2 classes")
    except (ValueError, OSError) as problem:
        raise InputError(
            f"palette={text}: {problem}: give one class per line, such as #804080 road"
        ) from problem
    return colours


def label_scores(
    images: Iterable[np.ndarray], truth: Iterable[np.ndarray], palette: Palette
) -> dict[str, float]:
    """The paper's three scores, over the pixels of all pictures together.

    Args:
        images: uint8 RGB `[H, W, 3]` each.
        truth: as many pictures of the same sizes.
        palette: the classes.

    Returns:
        Shares in [0, 1]: `pixel_accuracy`; `class_accuracy`, averaged over the classes that occur
        in the truth; `class_iou`, averaged over the classes that occur in either.

    Raises:
        InputError: the truth is void everywhere.

    Example:
        >>> label_scores(maps, maps, load_palette("cityscapes"))["class_iou"]
        1.0
    """
    drawn, right = (map(palette.labels, pictures) for pictures in (images, truth))
    return class_scores(drawn, right, palette)


def class_scores(
    labels: Iterable[np.ndarray], truth: Iterable[np.ndarray], palette: Palette
) -> dict[str, float]:
    """`label_scores` of pixels whose classes are known: int `[H, W]` each."""
    classes, void = len(palette.classes), palette.void
    confusion = np.zeros((classes, classes), np.int64)  # rows: the truth
    for mine, right in zip(labels, truth, strict=True):
        there, drawn = right.ravel(), mine.ravel()
        pairs = (there * classes + drawn)[there != void]
        confusion += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
    if not confusion.any():
        raise InputError(f"palette {palette.name}: the truth is void everywhere: use another one")
    hits, there, drawn = np.diag(confusion), confusion.sum(1), confusion.sum(0)
    if void >= 0:
        drawn[void] = 0  # void is no class of the truth: drawing it counts only as an error
    either = there + drawn - hits
    return {
        "pixel_accuracy": float(hits.sum() / confusion.sum()),
        "class_accuracy": float(np.mean(hits[there > 0] / there[there > 0])),
        "class_iou": float(np.mean(hits[either > 0] / either[either > 0])),
    }
