"""What is refused before Ray starts; tests/distributed/test_workers.py trains with Ray."""

import pytest

from tfcyclegan import InputError
from tfcyclegan.training.config import Config
from tfcyclegan.training.on_ray import train_on_ray


def test_refusals(tmp_path):
    with pytest.raises(InputError, match="`run_dir` is not set"):
        train_on_ray(Config(strategy="ray", workers=2))
    with pytest.raises(InputError, match="needs strategy=ray and `workers`"):
        train_on_ray(Config(run_dir=str(tmp_path)))
    assert not list(tmp_path.iterdir())
