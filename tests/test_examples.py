"""The scripts of examples/ and the README, run as they stand, with fewer steps."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT)}


def run(script, *arguments, cwd):
    """What a script prints."""
    done = subprocess.run(
        [sys.executable, script, *arguments],
        env=ENVIRONMENT, cwd=cwd, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


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
def test_an_example(name, arguments, says, tmp_path):
    assert says in run(ROOT / "examples" / name, *arguments, cwd=tmp_path)


def test_every_example_is_short_and_tested():
    examples = sorted(path.name for path in (ROOT / "examples").glob("*.py"))
    tested = test_an_example.pytestmark[0].args[1]
    assert examples == sorted(name for name, *_ in tested)
    assert all(len((ROOT / "examples" / n).read_text().splitlines()) <= 40 for n in examples)


def test_the_script_of_the_readme(tmp_path):
    """With two steps an epoch instead of 125; nothing else is changed."""
    (script,) = re.findall(r"```python\n(import .*?)```", (ROOT / "README.md").read_text(), re.S)
    few = script.replace("batch_size=4", "batch_size=4, steps_per_epoch=2")
    assert few != script
    path = tmp_path / "script.py"
    path.write_text(few)
    run(path, cwd=tmp_path)
    assert (tmp_path / "shapes.keras").exists()
