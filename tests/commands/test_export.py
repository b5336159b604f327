"""`tfcyclegan export`: what is printed, and the exit codes."""

import json
from pathlib import Path

import pytest

from tfcyclegan.cli import main
from tfcyclegan.commands.export import export, export_and_print
from tfcyclegan.data.test_set import load_test_set
from tfcyclegan.runtimes.keras_model import load_model


@pytest.fixture(scope="module")
def one_export(run_once, tmp_path_factory):
    """The report and folder of an export of the tiny run's G, from Python."""
    to = tmp_path_factory.mktemp("exports") / "shapes"
    data = load_test_set("shapes", image_size=16, test_count=2)
    model = load_model(run_once[0] / "runs/shapes")
    return export_and_print(model, data, to, directions=("AtoB",), count=2), to


def test_the_report_is_printed(one_export):
    report, to = one_export
    assert report.missed == []
    assert (to / "report.md").exists()
    assert (to / "litert/AtoB-int8.tflite").exists()
    assert not (to / "litert/BtoA-int8.tflite").exists()


def test_the_command(run, capsys):
    """`--no-enforce` and `--enforce` differ in the exit code if an export misses its limit."""
    options = ["--direction", "BtoA", "--count", "1", "--image-size", "8x16", "--dynamic-size"]
    assert main(["export", str(run), *options]) == 0
    printed = capsys.readouterr().out
    assert "BtoA SavedModel float32" in printed
    assert "report: exports/shapes/report.md" in printed
    assert json.loads(Path("exports/shapes/report.json").read_text())["image_size"] == [8, 16]


def test_pytorch_files(run, capsys):
    assert export(str(run), to_pytorch="networks") == 0
    printed = capsys.readouterr().out.split()
    assert "networks/latest_net_G_A.pth" in printed
    assert sorted(printed) == sorted(map(str, Path("networks").iterdir()))


def test_refusals(run, refused):
    refused("--count 0: must be at least 1", "export", run, "--count", 0)
    refused("--image-size x: give one number", "export", run, "--image-size", "x")
    refused("no config.json in it, so it is no run", "export", "runs")
    refused("cannot be combined", "export", run, "--to-pytorch", "x", "--direction", "AtoB")
    load_model(run).G.save("G.keras")
    refused("G.keras goes AtoB", "export", "G.keras", "--data", "shapes", "--direction", "BtoA")
    assert not Path("exports").exists()
