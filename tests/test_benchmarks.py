"""The benchmarks' own arithmetic, and that this package's side of them runs."""

import json
import runpy
import sys

import pytest

from benchmarks import train_step
from benchmarks.contest import Entry, Figure, report
from tfcyclegan import patch_discriminator, resnet_generator


def test_ratios_are_taken_within_a_round(tmp_path, capsys):
    """A machine that slows down between rounds changes no ratio."""
    figure = Figure("step", "s", ours=[1.0, 4.0, 3.0], theirs=[2.0, 8.0, 4.0])
    assert figure.ratios == [0.5, 0.5, 0.75]
    report("Training", [figure], tmp_path / "out.json")
    found = json.loads((tmp_path / "out.json").read_text())
    assert found == [{"name": "step", "ours": 3.0, "theirs": 4.0, "ratio": 0.5, "unit": "s"}]
    printed = capsys.readouterr().out
    assert "0.50–0.75" in printed
    assert "threads" in printed


@pytest.mark.parametrize(("size", "blocks"), [(256, 9), (128, 6)])
def test_operations_are_those_of_the_convolutions(size, blocks):
    """Counted again from the layers: places × weights, for output or, transposed, input places."""

    def forward(network):
        total, side = 0, size
        for layer in network.layers:
            kind = type(layer).__name__
            if "Pad" in kind:
                side = layer.compute_output_shape((1, side, side, 3))[1]
            elif "Transpose" in kind:
                total += side**2 * layer.kernel.shape.num_elements()
                side = layer.compute_output_shape((1, side, side, layer.kernel.shape[3]))[1]
            elif "Conv2D" in kind:
                side = layer.compute_output_shape((1, side, side, layer.kernel.shape[2]))[1]
                total += side**2 * layer.kernel.shape.num_elements()
            elif "Cropping" in kind:
                side -= 1
        return total

    G = forward(resnet_generator(size, blocks=blocks))
    D = forward(patch_discriminator(size))
    assert train_step.operations(size, blocks, 1) == pytest.approx(
        2 * (18 * G + 16 * D) / 1e9, rel=1e-6
    )
    assert train_step.operations(size, blocks, 4) == 4 * train_step.operations(size, blocks, 1)


def test_our_side_runs_in_a_process_of_its_own():
    settings = {"size": 32, "blocks": 1, "batch": 1, "precision": "float32", "steps": 2}
    found = Entry("ours", "train_step", settings).run()
    assert len(found["steps"]) == 2
    assert 0 < max(found["steps"]) < found["first"]
    assert found["peak_memory"] > 100


@pytest.mark.slow
def test_replicas_on_two_workers():
    settings = {"way": "workers", "size": 32, "blocks": 1, "batch": 2, "precision": "float32"}
    found = Entry("ours", "replicas", {**settings, "steps": 2}).run()
    assert len(found["steps"]) == 2
    assert min(found["steps"]) > 0


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning")
@pytest.mark.parametrize("module", ["contest", "ours"])
def test_parts_name_the_benchmarks(module, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [f"benchmarks.{module}", "--help"])
    runpy.run_module(f"benchmarks.{module}", run_name="__main__")
    assert "python -m benchmarks.train_step" in capsys.readouterr().out


def test_a_side_that_fails_says_why():
    with pytest.raises(SystemExit, match=r"(?s)benchmarks.ours train_step failed:.*blocks"):
        Entry("ours", "train_step", {"size": 32}).run()
