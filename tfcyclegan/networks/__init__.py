"""The generators and discriminators (sections 4 and 7.2 of the paper; pix2pix for the U-Net)."""

from .architecture import Architecture, DiscriminatorName
from .discriminators import patch_discriminator, pixel_discriminator
from .factory import Alignment, Norm
from .fast import fast_generator
from .features import load_features
from .inspection import difference, divisor, least_size
from .projected import join_discriminators, projected_discriminator
from .resnet import default_blocks, resnet_generator
from .twins import with_precision
from .unet import default_depth, unet_generator

__all__ = [
    "Alignment",
    "Architecture",
    "DiscriminatorName",
    "Norm",
    "default_blocks",
    "default_depth",
    "difference",
    "divisor",
    "fast_generator",
    "join_discriminators",
    "least_size",
    "load_features",
    "patch_discriminator",
    "pixel_discriminator",
    "projected_discriminator",
    "resnet_generator",
    "unet_generator",
    "with_precision",
]
