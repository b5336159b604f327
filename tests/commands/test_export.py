"""`tfcyclegan export`: what is printed, and the exit codes."""

import json
from pathlib import Path

from tfcyclegan.cli import main
from tfcyclegan.commands.export import export
from tfcyclegan.runtimes.keras_model import load_model


def test_the_command(run, capsys):
    """`export_and_print` prints the report's table, of the generator that was asked for."""
    options = ["--direction", "BtoA", "--count", "1", "--image-size", "8x16", "--dynamic-size"]
    assert main(["export", str(run), *options]) == 0
    printed = capsys.readouterr().out
    assert "BtoA SavedModel float32" in printed
    assert "AtoB" not in printed
    assert "report: exports/shapes/report.md" in printed
    assert json.loads(Path("exports/shapes/report.json").read_text())["image_size"] == [8, 16]
    assert Path("exports/shapes/litert/BtoA-int8.tflite").exists()


def test_pytorch_files(pytorch_models, capsys):
    assert main(["import", str(pytorch_models / "resnet")]) == 0
    capsys.readouterr()
    assert export("runs/resnet", to_pytorch="networks") == 0
    printed = capsys.readouterr().out.split()
    assert "networks/latest_net_G_A.pth" in printed
    assert sorted(printed) == sorted(map(str, Path("networks").iterdir()))


def test_refusals(run, refused):
    refused("--count 0: must be at least 1", "export", run, "--count", 0)
    refused("--image-size x: give one number", "export", run, "--image-size", "x")
    refused("not a run folder: it has no config.json", "export", "runs")
    refused("cannot be combined", "export", run, "--to-pytorch", "x", "--direction", "AtoB")
    load_model(run).G.save("G.keras")
    refused(
        "G.keras only translates AtoB",
        "export",
        "G.keras",
        "--data",
        "shapes",
        "--direction",
        "BtoA",
    )
    assert not Path("exports").exists()
