"""Layers that Keras lacks, or that are faster or more exact than Keras's."""

from .activations import LeakyReLU, MeanSquare, ResidualClip, ResidualTanh
from .convolutions import NarrowConv2D, SpectralConv2D
from .frozen import Frozen
from .geometry import Cropping2D, ReflectionPadding2D, ReplicationPadding2D, ResizeLike
from .normalization import (
    BatchNormalization,
    InstanceNormalization,
    PixelNormalization,
    without_xla,
)
from .randomness import Dropout, RandomShift

__all__ = [
    "BatchNormalization",
    "Cropping2D",
    "Dropout",
    "Frozen",
    "InstanceNormalization",
    "LeakyReLU",
    "MeanSquare",
    "NarrowConv2D",
    "PixelNormalization",
    "RandomShift",
    "ReflectionPadding2D",
    "ReplicationPadding2D",
    "ResidualClip",
    "ResidualTanh",
    "ResizeLike",
    "SpectralConv2D",
    "without_xla",
]
