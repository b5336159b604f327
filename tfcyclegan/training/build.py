"""The data and the compiled model of a configuration."""

from __future__ import annotations

import logging
from pathlib import Path

from ..cyclegan import CycleGAN
from ..data.loading import Data, load_data
from ..directions import GENERATORS
from ..errors import InputError
from ..networks.inspection import difference
from ..pix2pix import Pix2Pix
from ..runtimes.keras_model import direction_of, load_model, networks_of
from ..translation_model import TranslationModel
from .config import ResolvedConfig

logger = logging.getLogger(__name__)


def build_model(config: ResolvedConfig) -> TranslationModel:
    """Builds the model of a resolved configuration, without compiling it.

    Args:
        config: from `Config.resolved()`.

    Returns:
        A `CycleGAN` or `Pix2Pix` with fresh weights.

    Raises:
        InputError: settings that do not go together.
    """
    settings = config.architecture
    size, dtype = config.image_size, config.precision
    if config.model == "pix2pix":
        direction = config.direction or "AtoB"
        return Pix2Pix(
            settings.build_generator(direction, size, dtype),
            settings.build_discriminator("AB", size, dtype),
            image_size=size,
            direction=direction,
            ema_momentum=config.ema_momentum,
        )
    return CycleGAN(
        settings.build_generator("AtoB", size, dtype),
        settings.build_generator("BtoA", size, dtype),
        settings.build_discriminator("A", size, dtype),
        settings.build_discriminator("B", size, dtype),
        image_size=size if config.pool_size else None,
        pool_size=config.pool_size or 0,
        seed=config.seed,
        ema_momentum=config.ema_momentum,
    )


def set_initial_weights(model: TranslationModel, path: str | Path) -> None:
    """Copies the networks of another run, of the same architecture, into a model.

    Optimizers, pools and the step do not change. Where only generators are given, only they are
    copied. The log names the networks that keep their fresh weights.

    Args:
        model: the model to be trained.
        path: a run folder, a `.keras` file, or a folder of the generators' files (`G.keras` and
            `F.keras`, as in `tfcyclegan/presets`).

    Raises:
        InputError: a file cannot be loaded, or its networks have another architecture.
    """
    networks, folder, there = model.networks, Path(path), list(model.translators)
    files = {
        name: folder / f"{GENERATORS[way]}.keras" for way, name in model.generator_names.items()
    }
    if any(file.is_file() for file in files.values()):
        given = {name: load_model(file) for name, file in files.items() if file.is_file()}
        if whole := [files[name] for name, found in given.items() if hasattr(found, "networks")]:
            raise InputError(f"initial_weights={path}: {whole[0]} is no generator: name that file")
    else:
        start = load_model(folder)
        ways = getattr(start, "translators", None)
        if ways is None:  # a generator, which may not say what it translates
            ways = [direction_of(start) or there[0]]
            given = {model.generator_names.get(ways[0], ""): start}
        else:
            given = networks_of(start)
        same_ways = {*ways} == {*there}
        part_of_model = {*ways} <= {*there} and len(given) == 1
        if not (same_ways or part_of_model):
            raise InputError(
                f"initial_weights={path}: translates {' and '.join(ways)}, but this run "
                f"{' and '.join(there)}: set `model` and `direction` as in that run"
            )
    for name, network in given.items():
        if odd := difference(network, networks[name]):
            raise InputError(
                f"initial_weights={path}: its {name} is another network than this run's ({odd}): "
                "set the networks as they are in that file, or, for a run folder, leave their "
                "settings out"
            )
    for name, network in given.items():
        networks[name].set_weights(network.get_weights())
    for direction, average in model.translators.items():
        average.set_weights(networks[model.generator_names[direction]].get_weights())
    logger.info("%s from %s", ", ".join(given), path)
    if fresh := [name for name in networks if name not in given]:
        logger.info("fresh weights for %s", ", ".join(fresh))


def compile_model(model: TranslationModel, config: ResolvedConfig, total_steps: int) -> None:
    """Compiles a model with the settings of a resolved configuration.

    Args:
        model: from `build_model`.
        config: from `Config.resolved()`.
        total_steps: int, steps of the whole run, for the learning rate.

    Raises:
        InputError: settings that do not go together.
    """
    own: tuple[str, ...] = (
        "lambda_cycle_A", "lambda_cycle_B", "lambda_identity", "discriminators_first"
    )  # fmt: skip
    if config.model == "pix2pix":
        own = ("lambda_L1",)
    names = (
        "objective", "lambda_gan", "learning_rate", "discriminator_learning_rate", "beta_1",
        "beta_2", "constant_fraction", "recompute",
    )  # fmt: skip
    model.compile(
        **{name: getattr(config, name) for name in (*names, *own)},
        total_steps=total_steps,
        jit_compile={"on": True, "off": False}.get(config.xla, "auto"),
    )


def load_config_data(config: ResolvedConfig) -> Data:
    """Loads the data of a resolved configuration; see `load_data`."""
    how = config.measuring
    return load_data(
        config.data,
        batch_size=config.batch_size,
        load_size=config.load_size,
        flip=config.flip,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        cache_memory=config.cache_memory * 2**20,
        cache_dir=config.cache_dir,
        paired=config.model == "pix2pix" or ("test" if how.paired else False),
        label_maps=how.label_maps,
        floor=how.extractor not in (None, "none"),
        test_count=how.test_count,
        **config.pictures,
    )
