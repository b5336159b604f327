"""An empty current folder and an empty store in memory for every test."""

import fsspec
import pytest
import translating

from tfcyclegan import resnet_generator


@pytest.fixture(autouse=True)
def elsewhere(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    fsspec.filesystem("memory").store.clear()
    yield
    translating.stop_all()


@pytest.fixture(scope="session")
def model(tmp_path_factory):
    """The smallest generator, in a file."""
    path = tmp_path_factory.mktemp("model") / "G.keras"
    resnet_generator(16, filters=2, blocks=1).save(path)
    return path
