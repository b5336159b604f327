"""The evaluator of a configuration; tests/evaluation/test_evaluator.py has the callback."""

import keras
import pytest

from tfcyclegan import InputError
from tfcyclegan.training.config import Config
from tfcyclegan.training.evaluation import load_config_test_set, make_evaluator, read_best
from tfcyclegan.training.measuring import Measuring


def test_make_evaluator(tmp_path):
    network = keras.Sequential([keras.Input((16, 16, 3)), keras.layers.GlobalAveragePooling2D()])
    network.save(tmp_path / "look.keras")
    look = str(tmp_path / "look.keras")
    measuring = Measuring(
        test_count=2, extractor=look, extractor_pixels="unit", classifier=look,
        classifier_pixels="unit", class_A="0", class_B="1, 2",
    )  # fmt: skip
    evaluator = make_evaluator(Config(image_size=16, measuring=measuring).resolved())
    assert {"psnr", "kid", "hit_rate"} <= set(evaluator.metrics)
    assert len(evaluator.test_set.train_A) == 2  # real pictures to compare with
    plain = Config(image_size=16, measuring=Measuring(test_count=2)).resolved()
    given = load_config_test_set(plain)
    assert not given.train_A
    evaluator = make_evaluator(plain, test_set=given)
    assert evaluator.test_set is given
    assert "kid" not in evaluator.metrics


@pytest.mark.parametrize(
    ("measuring", "settings", "message"),
    [
        ({"palette": "cityscapes"}, {}, "palette=cityscapes: .* pass paired=True too"),
        ({"palette": "cityscapes", "paired": True}, {"channels_B": 1}, "set channels_B=3"),
        ({"classifier": "x.keras", "class_A": "1"}, {}, "classifier=x.keras: say which classes"),
        ({"metrics": "kid"}, {}, "metric kid: needs"),
    ],
)
def test_refusals(measuring, settings, message):
    config = Config(image_size=16, measuring=Measuring(test_count=2, **measuring), **settings)
    with pytest.raises(InputError, match=message):
        make_evaluator(config)


def test_read_best(trained, tmp_path):
    assert read_best(tmp_path) is None
    assert read_best(trained.directory) == trained.best
    text = (trained.directory / "best.json").read_text()
    (tmp_path / "best.json").write_text(text.replace('"psnr"', '"beauty"', 1))
    with pytest.raises(InputError, match=r"best.json: damaged"):
        read_best(tmp_path)
