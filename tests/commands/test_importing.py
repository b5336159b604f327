"""`tfcyclegan import`: what is printed, and the run's name."""

import shutil
from pathlib import Path

from tfcyclegan.cli import main
from tfcyclegan.commands.importing import import_model


def test_a_model_is_imported_and_used(pytorch_models, capsys):
    """The run is named after the file, or after its folder if the file has a standard name."""
    shutil.copy(pytorch_models / "scratch/genz.pth.tar", "horses.pth.tar")
    assert import_model("horses.pth.tar") == 0
    printed = capsys.readouterr().out
    assert "What was found" in printed
    assert "run: runs/horses" in printed
    assert "translate PICTURES --model runs/horses --to FOLDER" in printed
    assert main(["import", str(pytorch_models / "resnet/latest_net_G_A.pth")]) == 0
    assert {path.name for path in Path("runs").iterdir()} == {"horses", "resnet"}


def test_describe_writes_nothing(pytorch_models, capsys):
    assert main(["import", str(pytorch_models / "resnet"), "--describe"]) == 0
    printed = capsys.readouterr().out
    for name in ("G", "F", "D_A", "D_B"):
        assert name in printed.split()
    assert not list(Path().iterdir())


def test_refusals(refused):
    refused("nowhere", "import", "nowhere")
    Path("taken").mkdir()
    Path("taken/letter.txt").write_text("mine")
    Path("x.pth").write_bytes(b"")
    refused("--to taken: there is something already", "import", "x.pth", "--to", "taken")
