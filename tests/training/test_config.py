"""Settings: recipes, refusals, files, and what a resumed run may change."""

import dataclasses
import json

import pytest

from tfcyclegan import InputError
from tfcyclegan.networks import Architecture
from tfcyclegan.training.config import (
    Config,
    ResolvedConfig,
)
from tfcyclegan.training.measuring import Measuring
from tfcyclegan.training.recipes import RECIPES, default_recipe


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"data": "shapes"}, "shapes"),
        ({"data": "x"}, "paper"),
        ({"recipe": "fast"}, "fast"),
        ({"recipe": "from-scratch"}, "from-scratch"),
    ],
)
def test_recipes(settings, name):
    config = Config(**settings).resolved()
    assert isinstance(config, ResolvedConfig)
    assert config.recipe == name
    assert {key: getattr(config, key) for key in RECIPES[name]} == RECIPES[name]
    assert config.precision != "auto"
    assert Config(**settings, epochs=7).resolved().epochs == 7


def test_an_unknown_recipe():
    with pytest.raises(
        InputError, match="recipe='quick' is unknown: take paper, fast, shapes, pix2pix or"
    ):
        Config(recipe="quick").resolved()


def test_a_file_without_a_recipe():
    """Version 0.1 wrote such files. Their values are those of the recipes of today."""
    for data in ("shapes", "x"):
        values = json.loads(Config(data=data).resolved().to_json())
        for name in ("recipe", "ema_momentum", "discriminator_translation", "beta_2"):
            del values[name]
        again = Config.from_json(json.dumps(values))
        assert again.recipe == default_recipe(data)
        assert not again.resolved().differences(Config(data=data).resolved())


def test_a_file_without_newer_settings():
    """Runs that began before a setting was added continue with its value in their recipe."""
    for settings in ({"data": "shapes"}, {"recipe": "from-scratch"}, {"model": "pix2pix"}):
        config = Config(**settings).resolved()
        values = json.loads(config.to_json())
        for name in ("discriminators_first", "sigmoid", "bare_first"):
            del values[name]
        again = Config.from_json(json.dumps(values)).resolved()
        assert not again.differences(config)


def test_a_recipe_without_its_generator():
    """What only a fast generator has is not taken from the recipe for another one."""
    config = Config(recipe="fast", generator="resnet").resolved()
    assert config.change_penalty is None
    assert config.discriminator == "projected+patch"


def test_from_scratch_resizes_without_cropping():
    sizes = [
        Config(recipe="from-scratch", **settings).resolved().load_size
        for settings in ({}, {"image_size": 128}, {"load_size": 300})
    ]
    assert sizes == [256, 128, 300]


def test_blocks_follow_the_image_size():
    sizes = {size: Config(data="x", image_size=size).resolved().blocks for size in (128, 256)}
    assert sizes == {128: 6, 256: 9}


def test_parts_of_the_settings():
    config = Config(data="x", image_size=64, filters=8, measuring=Measuring(paired=True))
    assert config.architecture.filters == 8
    assert config.architecture.discriminator_filters == 64  # the paper's
    assert {field.name for field in dataclasses.fields(Architecture)} <= set(config.flat())
    assert config.divisor == config.pictures["divisor"] == 4
    assert Config(generator="unet", image_size=64).divisor == 64
    assert config.flat()["paired"] is True
    assert "measuring" not in config.flat()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"batch_size": 0}, "batch_size=0: must be at least 1"),
        ({"beta_1": 2}, "beta_1=2: must be at least 0 and below 1"),
        ({"strategy": "ray"}, "strategy=ray: set `workers` as well"),
        ({"workers": 2}, "workers=2: set strategy=ray as well"),
        ({"best_by": "kid"}, "best_by=kid: set evaluate_every=1 as well"),
        ({"seed": 2**32}, "seed=4294967296: must be below"),
        ({"image_size": 18}, "image_size=18: must be a multiple of 4, for example 16"),
        ({"preprocess": "none", "data": "x"}, "preprocess=none gives pictures of many sizes"),
        ({"filters": 0}, "filters=0: must be at least 1"),
        ({"lambda_gan": -1}, "lambda_gan"),
    ],
)
def test_refusals(settings, message):
    with pytest.raises(InputError, match=message):
        Config(**settings).resolved()


def test_differences():
    config = Config(epochs=4).resolved()
    allowed = {"run_dir": "x", "cache_memory": 1, "strategy": "none", "evaluate_every": 2}
    assert config.differences(dataclasses.replace(config, epochs=5, **allowed)) == []
    longer = dataclasses.replace(config, epochs=5)
    assert config.differences(longer, longer=False) == ["`epochs` was 4, now 5"]
    assert longer.differences(config) == ["`epochs` was 5, now 4"]
    other = dataclasses.replace(config, filters=1, measuring=Measuring(paired=True))
    assert config.differences(other) == ["`paired` was False, now True", "`filters` was 32, now 1"]


def test_files(tmp_path):
    path = tmp_path / "config.json"
    config = Config(data="x", epochs=3, measuring=Measuring(metrics="kid"))
    config.save(path)
    assert Config.load(path) == config == Config.from_json(config.to_json())
    saved = json.loads(path.read_text())
    saved["measuring"]["extractor_scaling"] = "rms"
    for text, problem in (
        ("{", "not a configuration"),
        ('{"epoch": 3}', "not a configuration .*epoch"),
        (json.dumps(saved), "the setting extractor_scaling=rms was removed"),
    ):
        path.write_text(text)
        with pytest.raises(InputError, match=problem):
            Config.load(path)
    with pytest.raises(InputError, match="there is no such file"):
        Config.load(tmp_path / "missing.json")
