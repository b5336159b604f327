"""Tiny generators and their exports for the tests of export."""

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from tfcyclegan import resnet_generator, unet_generator
from tfcyclegan.export.exporting import export_generators


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


def export(directory, directions=("AtoB", "BtoA"), **settings):
    settings = {"image_size": 16, **settings}
    return export_generators(
        {way: GENERATORS[way]() for way in directions},
        directory,
        dict.fromkeys(directions, random_pictures()),
        **settings,
    )


CASES = {
    "paper": lambda: tiny(),
    "affine": lambda: tiny(norm="instance-affine", downsampling_padding="reflect", bare_first=True),
    "resize": lambda: tiny(upsampling="resize", residual_output=True),
    "batch norm": lambda: tiny(norm="batch", dropout=0.5),
    "grey to colour": lambda: tiny(channels=1, output_channels=3),
    "mixed_float16": lambda: tiny(dtype="mixed_float16"),
    "mixed_bfloat16": lambda: tiny(dtype="mixed_bfloat16"),
    "unet": lambda: trained(unet_generator(32, filters=4)),
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
