"""CycleGAN for Keras: learn to translate pictures between two domains without pairs.

Zhu, Park, Isola, Efros: Unpaired Image-to-Image Translation using Cycle-Consistent Adversarial
Networks, ICCV 2017, arXiv 1703.10593.
"""

from .environment import backend_problem, warn_if_untested
from .errors import InputError

__version__ = "0.2.0"
__all__ = [
    "CycleGAN",
    "Data",
    "ImagePool",
    "InputError",
    "InstanceNormalization",
    "LinearDecay",
    "Objective",
    "Pix2Pix",
    "ReflectionPadding2D",
    "ResumableState",
    "fast_generator",
    "join_discriminators",
    "load_data",
    "make_strategy",
    "patch_discriminator",
    "pixel_discriminator",
    "projected_discriminator",
    "resnet_generator",
    "unet_generator",
]

if (_problem := backend_problem()) is None:
    warn_if_untested()
    # All at once, not when first used: Keras must know the classes to load a saved model.
    from .cyclegan import CycleGAN
    from .data.loading import Data, load_data
    from .distributed.workers import make_strategy
    from .image_pool import ImagePool
    from .layers import InstanceNormalization, ReflectionPadding2D
    from .losses import Objective
    from .networks.discriminators import patch_discriminator, pixel_discriminator
    from .networks.fast import fast_generator
    from .networks.projected import join_discriminators, projected_discriminator
    from .networks.resnet import resnet_generator
    from .networks.unet import unet_generator
    from .pix2pix import Pix2Pix
    from .schedules import LinearDecay
    from .training.resume import ResumableState
else:

    def __getattr__(name: str) -> None:
        raise ImportError(_problem)
