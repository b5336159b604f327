"""Tiny generators and their exports for the tests of export."""

import functools

import keras
import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfcyclegan import (
    CycleGAN,
    fast_generator,
    patch_discriminator,
    resnet_generator,
    unet_generator,
)
from tfcyclegan.export import export_model


def trained(network, seed=0):
    """Reproducible weights without zeros and ones, which could hide a mistake."""
    random = np.random.default_rng(seed)
    network.set_weights(
        [
            random.normal(0, 0.05, w.shape) if w.ndim == 4 else w + 0.05 * random.random(w.shape)
            for w in network.get_weights()
        ]
    )
    return network


def tiny(name="G", seed=0, **settings):
    return trained(resnet_generator(16, filters=4, blocks=1, name=name, **settings), seed)


def random_pictures(count=3, size=(16, 16), channels=3):
    values = np.random.default_rng(1).uniform(-1, 1, (count, *size, channels))
    return [picture.astype(np.float32) for picture in values]


GENERATORS = {"AtoB": lambda: tiny("G", 1), "BtoA": lambda: tiny("F", 2)}


@functools.cache
def model():
    """A `CycleGAN` of these generators, for tests that do not change it."""
    keras.utils.set_random_seed(0)
    judges = [patch_discriminator(16, filters=2, layers=1, name=name) for name in ("D_A", "D_B")]
    generators = [make() for make in GENERATORS.values()]
    return CycleGAN(*generators, *judges, image_size=16, pool_size=0)


def export(directory, directions=("AtoB", "BtoA"), **settings):
    data = (random_pictures(), random_pictures())
    return export_model(model(), data, directory, directions=directions, **settings)


#: Together they have every layer that a generator can have.
CASES = {
    "paper": lambda: tiny(),
    "resize": lambda: tiny(
        norm="instance-affine",
        downsampling_padding="reflect",
        block_padding="replicate",
        bare_first=True,
        upsampling="resize",
        residual_output=True,
    ),
    "batch norm": lambda: tiny(norm="batch", dropout=0.5, channels=1, output_channels=3),
    "unet": lambda: trained(unet_generator(32, filters=4)),
    "fast": lambda: trained(fast_generator(filters=4, blocks=1)),
}


def run_file(content, images):
    """Runs a file in the three calls that an app makes."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.resize_tensor_input(0, images.shape, strict=False)
    interpreter.allocate_tensors()
    index = interpreter.get_input_details()[0]["index"]
    interpreter.set_tensor(index, images)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])
