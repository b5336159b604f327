"""The result of an evaluation: as numbers, tables and JSON."""

import json
import math

import numpy as np
import pytest

from tfcyclegan.evaluation import Evaluation
from tfcyclegan.evaluation.result import COLUMNS, Example, finite


@pytest.fixture
def found():
    picture = np.zeros((8, 8, 3), np.uint8)
    return Evaluation(
        data="pictures",
        pictures={"test_A": 3, "train_B": 2},
        scores={
            "AtoB": {
                "psnr": {"translated": math.inf, "untouched": 20.0},
                "kid": {"translated": 0.5, "real": -0.001},
                "kid_std": {"translated": 0.25, "real": 0.002},
            },
            "BtoA": {"kid": {"translated": 0.1}, "kid_std": {"translated": 0.0}},
        },
        extractor={"name": "look", "size": 16, "pixels": "unit"},
        classifier={"name": "tell", "size": 8, "pixels": "tf", "classes": {"A": [0], "B": [1, 2]}},
        palette="cityscapes",
        notes=["few pictures"],
        examples={"AtoB": [Example("a.png", picture, picture, picture, 0.1)]},
    )


def test_flat(found):
    """A metric without its direction is the mean of the directions that have it."""
    flat = found.flat()
    assert flat["AtoB_psnr"] == flat["psnr"] == math.inf
    assert (flat["AtoB_kid"], flat["BtoA_kid"]) == (0.5, 0.1)
    assert flat["kid"] == pytest.approx(0.3)
    assert "kid_std" not in flat


def test_rows(found):
    assert list(COLUMNS) == ["translated", "untouched", "real"]
    assert found.rows("AtoB") == [
        ("", "translated", "doing nothing", "real pictures"),
        ("PSNR to the truth", "equal", "20.00 dB", ""),
        ("KID", "0.500 ± 0.250", "", "-0.001 ± 0.002"),
    ]
    assert found.rows("BtoA") == [("", "translated"), ("KID", "0.100 ± 0.000")]


def test_facts(found):
    assert found.facts() == [
        "pictures: 3 testA, 2 trainB",
        "FID, KID and diversity of features: look at 16 px, pixels unit",
        "hit rate: tell at 8 px, pixels tf, classes [0] for A, [1, 2] for B",
        "label maps: nearest pixel, nearest colour of cityscapes",
        "few pictures",
    ]


def test_json(found):
    """JSON has no infinity, so the PSNR of equal pictures is null there."""
    saved = json.loads(found.to_json())
    assert saved == found.to_dict()
    assert saved["scores"]["AtoB"]["psnr"]["translated"] is None
    assert "examples" not in saved
    again = Evaluation.from_dict(saved)
    assert again.scores == found.scores
    assert again.facts() == found.facts()
    for damaged in ({}, {"scores": {}}, {**saved, "more": 1}, {**saved, "scores": {"AtoB": 1}}):
        with pytest.raises((TypeError, AttributeError, KeyError)):
            Evaluation.from_dict(damaged)


def test_finite():
    assert finite({"a": [1.5, math.nan, -math.inf, {"b": math.inf}], "c": "x"}) == {
        "a": [1.5, None, None, {"b": None}], "c": "x"
    }  # fmt: skip
