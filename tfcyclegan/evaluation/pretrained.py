"""Pretrained networks: feature extractors for FID and KID, and classifiers for the hit rate.

Numbers from different networks, or from one network at different input sizes, cannot be compared.
So a network carries a description of all that decides its numbers, and every result states it.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

import keras
import numpy as np
import tensorflow as tf

from ..errors import InputError, first_line
from ..networks.features import Pixels, find_application, load_keras_file
from ..runtimes.litert import LiteRTModel

#: Input sizes in px of the networks in `keras.applications`, where they are not 224.
_SIZES = {
    "InceptionV3": 299, "InceptionResNetV2": 299, "Xception": 299, "NASNetLarge": 331,
    "EfficientNetB1": 240, "EfficientNetB2": 260, "EfficientNetB3": 300, "EfficientNetB4": 380,
    "EfficientNetB5": 456, "EfficientNetB6": 528, "EfficientNetB7": 600,
    "EfficientNetV2B1": 240, "EfficientNetV2B2": 260, "EfficientNetV2B3": 300,
    "EfficientNetV2S": 384, "EfficientNetV2M": 480, "EfficientNetV2L": 480,
}  # fmt: skip


@dataclass(frozen=True)
class Pretrained:
    """A network and the preparation of its input.

    Attributes:
        name: name of the network or of its file.
        size: side in px that pictures are resized to.
        pixels: how pixels are prepared, from `Pixels`, or "its own" for the preparation that
            belongs to a network in `keras.applications`.
        run: float32 `[N, size, size, 3]` in [0, 255] → `[N, D]`.
    """

    name: str
    size: int
    pixels: str
    run: Callable[[np.ndarray], np.ndarray] = dataclasses.field(repr=False, compare=False)

    def __call__(self, pictures: Sequence[np.ndarray], batch_size: int = 32) -> np.ndarray:
        """Runs the network on uint8 pictures `[H, W, 1 or 3]` of any size; float32 `[N, D]`.

        Raises:
            InputError: the network does not run at its size, or its output is not one vector of
                finite numbers per picture.
        """
        found = []
        for first in range(0, len(pictures), batch_size):
            some = pictures[first : first + batch_size]
            pixels = np.stack([resize(p, self.size) for p in some])
            try:
                vectors = np.asarray(self.run(pixels))
            except Exception as problem:  # networks raise almost anything
                raise InputError(
                    f"{self.name}: does not run on pictures of {self.size} px "
                    f"({first_line(problem)})"
                ) from problem
            if vectors.ndim == 4:
                vectors = vectors.mean(axis=(1, 2))
            if vectors.ndim != 2 or len(vectors) != len(some):
                raise InputError(
                    f"{self.name}: returns {vectors.shape} for {len(some)} pictures, not a vector "
                    "or a map of features for each"
                )
            if not np.isfinite(vectors).all():
                raise InputError(f"{self.name}: its output is not finite: use another network")
            found.append(vectors.astype(np.float32))
        return np.concatenate(found)

    @property
    def width(self) -> int:
        """D, the length of a vector."""
        return self([np.zeros((self.size, self.size, 3), np.uint8)]).shape[1]

    def describe(self) -> dict[str, str | int]:
        """All that decides its numbers."""
        return {"name": self.name, "size": self.size, "pixels": self.pixels}


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Resizes a picture as clean-fid does.

    From 8-bit pixels, as a PNG would hold them, by antialiased bicubic interpolation in floats,
    without rounding the result. This equals Pillow's resizing of 32-bit float pictures. (Parmar
    et al., On Aliased Resizing and Surprising Subtleties in GAN Evaluation, CVPR 2022.)

    Args:
        pixels: uint8 `[H, W, 1 or 3]`; grey becomes RGB.
        size: side in px of the square result.

    Returns:
        float32 `[size, size, 3]` in [0, 255].
    """
    wide = tf.cast(pixels, tf.float32)
    if wide.shape[:2] != (size, size):
        wide = tf.image.resize(wide, (size, size), "bicubic", antialias=True)
    return np.broadcast_to(np.clip(wide, 0, 255), (size, size, 3))


def open_pretrained(
    source: str, *, classes: bool = False, size: int | None = None, pixels: Pixels | None = None
) -> Pretrained:
    """Opens a network by name or from a file.

    Args:
        source: the name of a network in `keras.applications`, whose ImageNet weights Keras
            downloads; or a `.keras` file; or, with `classes=True`, a `.tflite` file.
        classes: bool, whether to open a classifier instead of a feature extractor. A Keras
            application then returns its 1000 classes. Default False.
        size: int, side in px that pictures are resized to. Default: the network's own, or 224
            if it takes any size.
        pixels: how the network expects its pixels, from `Pixels`. Default: a Keras application's
            own, "none" for a `.tflite` file with a uint8 input. Other files require it.

    Raises:
        InputError: no network of that name, weights that cannot be downloaded, a file that is not
            a network for pictures, or a file without `pixels`.

    Example:
        ```python
        look = open_pretrained("InceptionV3")
        fid(look(translated), look(real))
        ```
    """
    if pixels not in (None, *get_args(Pixels)):
        known = ", ".join(get_args(Pixels))
        raise InputError(f"pixels={pixels!r} is unknown: take one of {known}")
    if size is not None and size < 8:
        raise InputError(f"{source}: a size of {size} px is too small: take at least 8")
    path = Path(source)
    if not path.exists():
        return _application(source, classes, size, pixels)
    if path.suffix == ".keras" and path.is_file():
        return _keras_file(path, size, pixels)
    if classes and path.suffix == ".tflite" and path.is_file():
        return _litert(path, size, pixels)
    files = "a .keras or .tflite file" if classes else "a .keras file"
    raise InputError(f"{path}: not supported here: give a name in keras.applications or {files}")


def _application(name: str, classes: bool, size: int | None, mode: str | None) -> Pretrained:
    """A network of `keras.applications`, with ImageNet weights."""
    make, own = find_application(name, "InceptionV3")
    side = size or _SIZES.get(name, 224)
    top: dict[str, Any] = {"include_top": False, "input_shape": (side, side, 3), "pooling": "avg"}
    if classes:
        top = {"classifier_activation": None}
    try:
        network = make(weights="imagenet", **top)
    except ValueError as problem:  # a size that it does not take
        raise InputError(f"{name}: {first_line(problem)}") from problem
    except Exception as problem:  # Keras and the connection raise almost anything
        raise InputError(
            f"{name}: Keras could not download its weights ({first_line(problem)}): check the "
            "connection, or give a file"
        ) from problem
    prepare = _prepare(mode) if mode else own
    return Pretrained(
        f"keras.applications {name}",
        _sized(name, size, network.input_shape[1:3]),
        mode or "its own",
        lambda pixels: network.predict(prepare(np.array(pixels)), verbose=0),
    )


def _keras_file(path: Path, size: int | None, mode: str | None) -> Pretrained:
    """A whole Keras model in a `.keras` file."""
    network = load_keras_file(path)
    shape = getattr(network, "input_shape", None)
    if not isinstance(shape, tuple) or len(shape) != 4 or shape[-1] != 3:
        raise InputError(f"{path}: takes {shape}, not pictures [N, H, W, 3]")
    mode = _given(path, mode)
    prepare, side = _prepare(mode), _sized(path, size, shape[1:3])
    return Pretrained(path.name, side, mode, lambda x: network.predict(prepare(x), verbose=0))


def _litert(path: Path, size: int | None, mode: str | None) -> Pretrained:
    """A LiteRT classifier. One with a uint8 input takes 8-bit pixels without preparation."""
    model = LiteRTModel(path)
    if len(model.shape) != 4 or model.shape[3] != 3 or model.dtype not in (np.float32, np.uint8):
        raise InputError(
            f"{path}: takes {model.shape} {np.dtype(model.dtype).name}, not pictures "
            "[1, H, W, 3] in float32 or uint8"
        )
    quantised = model.dtype is np.uint8
    if quantised and mode not in (None, "none"):
        raise InputError(f"{path}: takes 8-bit pixels without preparation: leave {mode} out")
    mode = "none" if quantised else _given(path, mode)
    prepare = _prepare(mode)

    def run(pixels: np.ndarray) -> np.ndarray:
        pictures = np.rint(pixels) if quantised else prepare(pixels)
        return np.concatenate([model.run(picture[None]) for picture in pictures])

    side = _sized(path, size, [max(0, length) for length in model.shape[1:3]])
    return Pretrained(path.name, side, mode, run)


def _given(path: Path, mode: str | None) -> str:
    if mode is None:
        known = ", ".join(get_args(Pixels))
        raise InputError(
            f"{path}: a file does not say how it expects its pixels: set `extractor_pixels` or "
            f"`classifier_pixels` to one of {known}"
        )
    return mode


def _prepare(mode: str) -> Callable[[np.ndarray], np.ndarray]:
    """The preparation of pixels in [0, 255] that a value of `Pixels` stands for."""
    if mode == "none":
        return lambda pixels: pixels
    if mode == "unit":
        return lambda pixels: pixels / 255
    prepare = keras.applications.imagenet_utils.preprocess_input
    return lambda pixels: prepare(np.array(pixels), data_format="channels_last", mode=mode)


def _sized(name: object, size: int | None, own: Sequence[int | None]) -> int:
    """The side to resize to, for a network of a height and width; None or 0 stand for any."""
    height, width = own
    if height != width:
        raise InputError(f"{name}: takes {width}×{height} px: give a network for square pictures")
    if size and height and size != height:
        raise InputError(f"{name}: takes {height} px only, not {size}: leave the size out")
    return size or height or 224


def load_class_names(path: str | Path) -> list[str]:
    """The names of a classifier's classes, from a text file with one per line or a JSON list.

    Raises:
        InputError: no such file, or a file of something else.
    """
    try:
        text = Path(path).read_text()
        names = json.loads(text) if text.lstrip().startswith("[") else text.splitlines()
        if not names or not all(isinstance(name, str) for name in names):
            raise ValueError("no list of names")
    except (OSError, ValueError) as problem:
        raise InputError(
            f"{path}: not a list of classes ({problem}): give one name per line"
        ) from problem
    return names


def class_indices(wanted: str, names: Sequence[str] | None, count: int) -> list[int]:
    """The indices of classes that are given by name or number.

    Args:
        wanted: names or numbers separated by commas: "zebra" or "340, 341". A name stands for
            every class whose name it is or contains it as a word.
        names: the names of all classes, or None if only numbers can be given.
        count: number of classes of the classifier.

    Raises:
        InputError: an unknown name or number, or names of another classifier.
    """
    if names is not None and len(names) != count:
        raise InputError(
            f"`classes`: {len(names)} names for a classifier of {count} classes: give the "
            "classifier's own list (many begin with a background class)"
        )
    places: list[int] = []
    for part in filter(None, map(str.strip, wanted.lower().split(","))):
        if part.isdecimal():
            fitting = [int(part)] if int(part) < count else []
        else:
            own = [name.strip().lower() for name in names or ()]
            fitting = [place for place, name in enumerate(own) if part in (name, *name.split())]
        if not fitting:
            near = difflib.get_close_matches(part, names or (), n=1)
            hint = f"did you mean {near[0]!r}?" if near else "give numbers, or names in `classes`"
            raise InputError(f"class {part!r} is not among the {count} classes; {hint}")
        places += fitting
    if not places:
        raise InputError("no class given: give names or numbers")
    return places
