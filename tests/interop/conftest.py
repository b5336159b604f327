"""Models of tensorflow-addons, and copies of them to damage.

The addons models are those of golden/addons_models.zip, or those that `make test-addons` has just
made in the folder TFCYCLEGAN_ADDONS.
"""

import os
import shutil
from pathlib import Path

import numpy as np
import pytest


@pytest.fixture(scope="session")
def addons_models(unpacked):
    live = os.environ.get("TFCYCLEGAN_ADDONS")
    return Path(live) if live else unpacked("addons_models.zip")


@pytest.fixture(scope="session")
def addons_outputs(addons_models):
    with np.load(addons_models / "outputs.npz") as file:
        return dict(file)


@pytest.fixture
def copy_of(addons_models, tmp_path):
    """Copies a file or folder of the addons models, under a new name if one is given."""

    def copy(name, to=None):
        source, target = addons_models / name, tmp_path / (to or name)
        (shutil.copytree if source.is_dir() else shutil.copy)(source, target)
        return target

    return copy


@pytest.fixture
def edited(copy_of):
    """Copies an HDF5 file of the addons models and changes the copy."""
    import h5py

    def edit(name, change, to=None):
        path = copy_of(name, to)
        with h5py.File(path, "r+") as file:
            change(file)
        return path

    return edit
