"""The descriptions inside exported models."""

import json

import pytest
from ai_edge_litert.interpreter import Interpreter
from serving import make_networks

from tfcyclegan.export import litert
from tfcyclegan.runtimes.descriptions import (
    DESCRIPTION_NAME,
    describe_saved_model,
    read_metadata,
    read_saved_model_description,
    with_metadata,
)


def test_a_saved_model_is_described_in_a_file(tmp_path):
    assert read_saved_model_description(tmp_path) is None
    describe_saved_model(tmp_path, {"direction": "AtoB"})
    assert read_saved_model_description(tmp_path) == {"direction": "AtoB"}
    file = tmp_path / "assets.extra" / DESCRIPTION_NAME
    assert json.loads(file.read_text()) == {"direction": "AtoB"}
    file.write_text("{")
    with pytest.raises(ValueError, match="Expecting"):
        read_saved_model_description(tmp_path)


def test_a_litert_file_is_described_inside():
    network = make_networks()["tiny_AtoB"]
    content, metadata = litert.convert(network, ("float32",), image_size=(8, 8))["float32"]
    assert read_metadata(content) == metadata
    about = {"direction": "BtoA", "words": "grün"}
    other = with_metadata(content, about)
    assert read_metadata(other) in (metadata, about)
    Interpreter(model_content=other).allocate_tensors()
