"""The scripts of examples/ and the README, with smaller networks and fewer steps."""

import re
import runpy
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
#: What makes a script quick, and changes nothing else in it.
SMALLER = {
    "filters=16, blocks=3": "filters=2, blocks=0, discriminator_filters=2",
    "discriminator_filters=16": "discriminator_filters=2",
    "layers.Conv2D(16, 3,": "layers.Conv2D(2, 3,",
}


@pytest.fixture
def run(tmp_path, monkeypatch, capfd):
    """Runs the text of a script in an empty folder and gives what it prints."""

    def run(script, *arguments):
        for large, small in SMALLER.items():
            script = script.replace(large, small)
        path = tmp_path / "script.py"
        path.write_text(script)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["script.py", *arguments])
        runpy.run_path(str(path), run_name="__main__")
        return capfd.readouterr().out

    return run


@pytest.mark.parametrize(
    ("name", "arguments", "says"),
    [
        ("train_in_keras.py", ["2"], "translated 64 + 64 pictures"),
        ("own_loss.py", ["2"], "tv_A"),
        ("own_generator.py", ["2"], "G_regularization"),
        ("fine_tune.py", ["start.keras", "2"], "saved fine_tuned.keras"),
        ("export_and_use.py", ["2"], "largest difference"),
    ],
)
def test_an_example(name, arguments, says, run):
    assert says in run((ROOT / "examples" / name).read_text(), *arguments)


def test_every_example_is_short_tested_and_made_smaller():
    examples = {path.name: path.read_text() for path in (ROOT / "examples").glob("*.py")}
    tested = test_an_example.pytestmark[0].args[1]
    assert sorted(examples) == sorted(name for name, *_ in tested)
    for text in examples.values():
        assert len(text.splitlines()) <= 40
        assert any(large in text for large in SMALLER)


def test_the_script_of_the_readme(run, tmp_path):
    """With two steps an epoch instead of 125."""
    (script,) = re.findall(r"```python\n(import .*?)```", (ROOT / "README.md").read_text(), re.S)
    few = script.replace("batch_size=4", "batch_size=4, steps_per_epoch=2")
    assert few != script
    run(few)
    assert (tmp_path / "shapes.keras").exists()
