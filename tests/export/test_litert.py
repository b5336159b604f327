"""LiteRT files give what the Keras generator gives, and say what an app must know."""

import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tiny_exports import CASES, random_pictures, run_file, tiny

from tfcyclegan.export import litert
from tfcyclegan.export.proof import LIMITS, Proof
from tfcyclegan.networks.inspection import divisor, least_size
from tfcyclegan.runtimes.descriptions import read_metadata


@pytest.mark.parametrize("case", CASES)
def test_litert_is_the_same_generator(case):
    generator = CASES[case]()
    channels, size = generator.input_shape[-1], (32, 64)
    proof = Proof(generator, "AtoB", random_pictures(2, size, channels))
    for fixed in (size, None):
        files = litert.convert(generator, image_size=fixed)
        for precision, (content, _) in files.items():
            interpreter = Interpreter(model_content=content)
            assert interpreter.get_signature_list() == {
                "serving_default": {"inputs": ["images"], "outputs": ["images"]}
            }
            assert interpreter.get_input_details()[0]["dtype"] == np.float32
            limit = LIMITS[f"LiteRT {precision}"]
            for images, truth in zip(proof.pictures, proof._truth, strict=True):
                got = run_file(content, images)
                difference = np.abs(got - truth).max()
                psnr = 10 * np.log10(4 / max(np.mean((got - truth) ** 2), 1e-30))
                assert limit.shortfall(difference, psnr) is None, (precision, fixed)


def test_the_metadata_is_inside_and_beside_the_file(exported):
    directory, _ = exported
    for path in (directory / "litert").glob("*.tflite"):
        inside = read_metadata(path.read_bytes())
        beside = json.loads(path.with_suffix(".json").read_text())
        assert beside == {"file": path.name, "bytes": path.stat().st_size, **inside}
        assert inside["input"]["shape"] == inside["output"]["shape"] == [1, 16, 16, 3]
        assert inside["input"]["name"] == inside["output"]["name"] == "images"
        assert inside["input"]["range"] == [-1, 1]
        assert (inside["input"]["mean"], inside["input"]["std"]) == (127.5, 127.5)
        assert path.stem == f"{inside['direction']}-{inside['precision']}"


def test_dynamic_size_says_what_it_needs():
    for generator in (tiny(), CASES["unet"]()):
        content, metadata = litert.convert(generator, ("float32",), image_size=None)["float32"]
        assert metadata["size"]["multiple_of"] == divisor(generator)
        assert metadata["size"]["at_least"] == least_size(generator)
        side = least_size(generator)
        images = random_pictures(1, (side, side + divisor(generator)))[0][None]
        assert run_file(content, images).shape == images.shape
