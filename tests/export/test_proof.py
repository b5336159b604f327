"""Accuracy limits, and the report of what was measured."""

import json
from pathlib import Path

import numpy as np
import pytest
from tiny_exports import GENERATORS, random_pictures, tiny

from tfcyclegan.export.proof import LIMITS, Limit, Proof, Report, Result
from tfcyclegan.runtimes.litert import LiteRTRuntime
from tfcyclegan.runtimes.saved_model import SavedModelRuntime


def test_the_report_says_what_was_measured(exported):
    directory, report = exported
    read = json.loads((directory / "report.json").read_text())
    assert read["name"] == "my_horses"
    assert [r["kind"] for r in read["results"]] == 2 * [
        "SavedModel float32", "LiteRT float32", "LiteRT float16", "LiteRT int8"
    ]  # fmt: skip
    for result in read["results"]:
        path = directory / result["path"]
        files = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        assert result["bytes"] == sum(p.stat().st_size for p in files)
        assert result["milliseconds"] > 0
        assert result["load_seconds"] > 0
        assert result["shortfall"] is None
    text = (directory / "report.md").read_text()
    for word in ("AtoB SavedModel float32", "BtoA LiteRT int8", "3 for AtoB", "threads", "16×16"):
        assert word in text
    assert text == report.to_markdown()


def test_a_figure_in_the_report_can_be_measured_again(exported):
    """The largest difference, computed here in plain numpy from the published file."""
    directory, report = exported
    G, pictures = GENERATORS["AtoB"](), random_pictures()
    for result in report.results[:4]:
        opened = SavedModelRuntime if "Saved" in result.kind else LiteRTRuntime
        artefact = opened(directory / result.path)
        differences = [artefact.run(p[None]) - np.asarray(G(p[None])) for p in pictures]
        assert np.max(np.abs(differences)) == pytest.approx(
            result.max_difference, rel=0.2, abs=1e-6
        )
        worst = min(10 * np.log10(4 / np.mean(d**2)) for d in differences)
        # Above 120 dB only rounding is left.
        assert min(worst, 120) == pytest.approx(min(result.psnr, 120), abs=1.0)


def test_nan_misses_every_limit():
    for limit in LIMITS.values():
        assert limit.shortfall(float("nan"), float("nan"))
        assert limit.shortfall(0.0, float("inf")) is None


def test_a_limit_says_by_how_much_it_is_missed():
    assert str(Limit(max_difference=1e-4)) == "difference ≤ 0.0001"
    assert str(Limit(psnr=35.0)) == "PSNR ≥ 35 dB"
    assert Limit(max_difference=1e-4).shortfall(1e-3, 99.0).startswith("difference 0.001 where")
    assert Limit(psnr=35.0).shortfall(1.0, 33.5) == "33.5 dB, 1.5 dB short of 35"


def test_other_weights_miss_the_limit(exported):
    file = exported[0] / "litert/AtoB-float32.tflite"
    for seed, passes in ((1, True), (2, False)):
        proof = Proof(tiny("G", seed), "AtoB", random_pictures(2))
        result = proof.measure("LiteRT float32", file)
        assert (result.passed, result.path) == (passes, None)
        assert result.bytes == file.stat().st_size
    report = Report(name="x", image_size=(16, 16), results=[result])
    report.keras_milliseconds["AtoB"] = proof.milliseconds
    (line,) = report.missed
    assert line.startswith("AtoB LiteRT float32: difference")
    assert line.endswith("; discarded")
    assert "DISCARDED" in report.to_markdown()


def test_equal_pictures_have_no_finite_psnr():
    result = Result(
        kind="LiteRT int8", direction="AtoB", staged=Path("x"), path="litert/x", bytes=2_000_000,
        load_seconds=0.1, milliseconds=5.0, max_difference=0.0, psnr=float("inf"), ssim=None,
        limit="PSNR ≥ 35 dB", shortfall=None,
    )  # fmt: skip
    report = Report(name="x", image_size=(8, 8), results=[result])
    report.keras_milliseconds["AtoB"] = 7.0
    assert report.missed == []
    assert report.rows()[2] == (
        "AtoB LiteRT int8", "2.00 MB", "0.100 s", "5.0 ms", "0.0e+00", "equal", "",
        "PSNR ≥ 35 dB", "",
    )  # fmt: skip
    (read,) = json.loads(report.to_json())["results"]
    assert (read["psnr"], read["bytes"], "staged" in read) == (None, 2_000_000, False)
