"""Checks of the environment: the Keras backend, and tested versions."""

import re
import warnings
from pathlib import Path

import pytest
import tensorflow as tf

from tfcyclegan.environment import TESTED, backend_problem, warn_if_untested

ROOT = Path(__file__).parents[1]


def test_another_backend(monkeypatch, tmp_path):
    """The environment variable is read first, then Keras's settings file."""
    monkeypatch.setenv("KERAS_HOME", str(tmp_path))
    (tmp_path / "keras.json").write_text('{"backend": "torch"}')
    monkeypatch.setenv("KERAS_BACKEND", "jax")
    assert "'jax' by the environment variable KERAS_BACKEND" in backend_problem()
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    assert backend_problem() is None
    monkeypatch.delenv("KERAS_BACKEND")
    assert f"'torch' by {tmp_path / 'keras.json'}" in backend_problem()
    (tmp_path / "keras.json").write_text("{")
    assert backend_problem() is None


def test_untested_versions_are_named(monkeypatch):
    monkeypatch.setattr(tf, "__version__", "2.99.1")
    with pytest.warns(UserWarning, match=r"tensorflow 2.99.1 .* 2.20 up to but not including 2.22"):
        warn_if_untested()
    monkeypatch.undo()
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warn_if_untested()


def test_ranges_are_those_of_the_requirements():
    requirements = (ROOT / "requirements.txt").read_text()
    for package, (first, beyond) in TESTED.items():
        assert f"{package}>={first},<{beyond}\n" in requirements
    pins = dict(
        line.split("==")
        for line in (ROOT / "constraints.txt").read_text().splitlines()
        if "==" in line
    )
    for line in requirements.splitlines():
        if name := re.match(r"[\w-]+", line):
            assert name[0] in pins
