"""The rules of the house that CONTRIBUTING.md names: who imports whom, and how long a module is."""

import ast
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "tfcyclegan"

#: What each room may import besides itself. Arrows go one way; `training` and above know all below.
_VOCABULARY = {"errors", "files", "directions", "parallel", "precision", "environment"}
_PARTS = {"distributed", "layers", "losses", "image_pool", "schedules", "optimizers"}
_MODEL = {"networks", "cycle", "players", "means", "translation_model", "cyclegan", "pix2pix"}
_OUTSIDE = {"data", "runtimes", "evaluation", "export", "translation", "interop"}
ALLOWED = {
    **{key: {"errors"} for key in _VOCABULARY},
    "distributed": {"errors"},
    **{key: {"errors", "distributed"} for key in _PARTS - {"distributed"}},
    "torch_files": {"errors", "files"},
    "networks": {"errors", "directions", "distributed", "layers", "torch_files"},
    **dict.fromkeys(_MODEL - {"networks"}, {"errors", "directions"} | _PARTS | _MODEL),
    "data": {"errors", "parallel"},
    "runtimes": {"errors", "directions", "data", "networks"},
    "evaluation": {"errors", "directions", "layers", "data", "networks", "runtimes"},
    "export": _VOCABULARY | {"layers", "networks", "data", "runtimes", "evaluation"},
    "translation": _VOCABULARY | {"layers", "networks", "data", "runtimes"},
    "interop": _VOCABULARY | {"layers", "networks", "torch_files"},
}
ALLOWED["training"] = _VOCABULARY | _PARTS | _MODEL | _OUTSIDE
ALLOWED["studies"] = ALLOWED["training"] | {"training"}
ALLOWED["commands"] = ALLOWED["studies"] | {"studies"}

MODULES = sorted(PACKAGE.rglob("*.py"))


def name_of(path):
    """`tfcyclegan.data.store` of its file, and `tfcyclegan.data` of a face."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(path):
    """Names of the package's modules that a module imports, not only for types."""
    tree = ast.parse(path.read_text())
    types = {
        node
        for branch in ast.walk(tree)
        if isinstance(branch, ast.If) and "TYPE_CHECKING" in ast.unparse(branch.test)
        for node in ast.walk(branch)
    }
    package = name_of(path.parent / "__init__.py").split(".")
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in types and node.level:
            base = ".".join(package[: len(package) - node.level + 1])
            for name in node.names:
                yield f"{base}.{node.module or name.name}"


def room(module):
    """The package or module right below `tfcyclegan`."""
    return ([*module.split("."), ""])[1]


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_module(path):
    text = path.read_text()
    assert len(text.splitlines()) <= 400
    here = room(name_of(path))
    if path.name == "__init__.py" and here:
        kinds = (ast.Expr, ast.ImportFrom, ast.Assign)
        assert all(isinstance(node, kinds) for node in ast.parse(text).body), "a face re-exports"
    if here in ALLOWED:
        odd = {room(module) for module in imported(path)} - ALLOWED[here] - {here}
        assert not odd, f"{here} may not import {', '.join(sorted(odd))}"


def test_the_paper_knows_no_files():
    """cyclegan.py, and all that it imports, know no data, evaluation, export or training.

    The weights of a feature network are the only file that is read there.
    """
    seen, todo = set(), ["tfcyclegan.cyclegan"]
    files = {name_of(path): path for path in MODULES}
    while todo:
        if (module := todo.pop()) not in seen and module in files:
            seen.add(module)
            todo += imported(files[module])
    assert {room(module) for module in seen} <= _VOCABULARY | _PARTS | _MODEL | {"torch_files"}
