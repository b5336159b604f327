"""docs/paper.md names the code of each formula of the paper: it must be there."""

import importlib
import re
from pathlib import Path

import pytest

PAGE = (Path(__file__).parents[1] / "docs" / "paper.md").read_text()
TABLE = PAGE.split("## Section by section")[1]
NAMES = re.findall(r"`([a-z_]\w*(?:\.\w+)+)`", TABLE)


def test_the_table_is_read():
    assert "cyclegan.CycleGAN.generator_terms" in NAMES
    assert len(NAMES) > 20


@pytest.mark.parametrize("name", sorted(set(NAMES)))
def test_the_code_is_there(name):
    parts = name.split(".")
    modules = [part for part in parts if part[0].islower()]
    for count in range(len(modules), 0, -1):
        try:
            found = importlib.import_module(".".join(["tfcyclegan", *parts[:count]]))
        except ModuleNotFoundError:
            continue
        for part in parts[count:]:
            found = getattr(found, part)
        return
    pytest.fail(f"there is no tfcyclegan.{name}")
