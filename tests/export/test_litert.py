"""LiteRT files give what the Keras generator gives, and say what an app must know."""

import json

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from tiny_exports import CASES, random_pictures, run_file

from tfcyclegan.export import litert
from tfcyclegan.export.proof import LIMITS
from tfcyclegan.networks.inspection import divisor, least_size
from tfcyclegan.runtimes.litert import read_metadata


@pytest.mark.parametrize("case", CASES)
def test_litert_is_the_same_generator(case):
    generator = CASES[case]()
    images = random_pictures(1, (32, 64), generator.input_shape[-1])[0][np.newaxis]
    truth = np.asarray(generator(images))
    files = list(litert.convert(generator, image_size=(32, 64)).values())
    files += litert.convert(generator, ("float32",), image_size=None).values()
    for content, metadata in files:
        interpreter = Interpreter(model_content=content)
        assert interpreter.get_signature_list() == {
            "serving_default": {"inputs": ["images"], "outputs": ["images"]}
        }
        assert interpreter.get_input_details()[0]["dtype"] == np.float32
        got = run_file(content, images)
        psnr = 10 * np.log10(4 / max(np.mean((got - truth) ** 2), 1e-30))
        limit = LIMITS[f"LiteRT {metadata['precision']}"]
        assert limit.shortfall(np.abs(got - truth).max(), psnr) is None, metadata
        assert read_metadata(content) == metadata
    content, metadata = files[-1]
    least = metadata["size"]["at_least"]
    assert least == least_size(generator)
    assert metadata["size"]["multiple_of"] == divisor(generator)
    images = images[:, :least, : least + divisor(generator)]
    assert run_file(content, images).shape[:3] == images.shape[:3]


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


def test_a_second_description_and_a_file_without_any(exported, tmp_path):
    directory, _ = exported
    content = (directory / "litert/AtoB-float32.tflite").read_bytes()
    about = {"direction": "BtoA", "words": "grün"}
    other = litert.with_metadata(content, about)
    assert read_metadata(other) in (read_metadata(content), about)
    Interpreter(model_content=other).allocate_tensors()
    litert.write_beside(tmp_path / "x.tflite", other, about)
    assert (tmp_path / "x.tflite").read_bytes() == other
    assert json.loads((tmp_path / "x.json").read_text())["words"] == "grün"
