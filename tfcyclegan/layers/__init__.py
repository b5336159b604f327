"""Layers that Keras lacks, or that are faster or more exact than Keras's."""

from .activations import LeakyReLU, ResidualTanh
from .convolutions import NarrowConv2D, SpectralConv2D
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
    "InstanceNormalization",
    "LeakyReLU",
    "NarrowConv2D",
    "PixelNormalization",
    "RandomShift",
    "ReflectionPadding2D",
    "ReplicationPadding2D",
    "ResidualTanh",
    "ResizeLike",
    "SpectralConv2D",
    "without_xla",
]
