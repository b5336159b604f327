"""From a configuration to its data and its compiled model."""

from __future__ import annotations

import logging
from pathlib import Path

from ..cyclegan import CycleGAN
from ..data.loading import Data, load_data
from ..directions import GENERATORS
from ..errors import InputError
from ..networks.inspection import difference
from ..runtimes.keras_model import direction_of, load_model
from .config import ResolvedConfig

logger = logging.getLogger(__name__)


def build_model(config: ResolvedConfig) -> CycleGAN:
    """The model of a resolved configuration, not compiled yet.

    Args:
        config: from `Config.resolved()`.

    Returns:
        A `CycleGAN` with fresh weights, drawn by Keras.
    """

    settings = config.architecture
    size, dtype = config.image_size, config.precision
    try:
        return CycleGAN(
            settings.build_generator("AtoB", size, dtype),
            settings.build_generator("BtoA", size, dtype),
            settings.build_discriminator("A", size, dtype),
            settings.build_discriminator("B", size, dtype),
            image_size=size if config.pool_size else None,
            pool_size=config.pool_size,
            seed=config.seed,
        )
    except ValueError as problem:
        raise InputError(str(problem)) from problem


def set_initial_weights(model: CycleGAN, path: str | Path) -> None:
    """Copies the networks of another run, of the same architecture, into a model.

    Optimizers, pools and steps stay as they are. A file that holds one generator gives that one;
    what it does not give is named in the log.

    Args:
        model: the model to be trained.
        path: a run folder or a `.keras` file.

    Raises:
        InputError: nothing there that can be loaded, or other layers or shapes in it.
    """
    source = load_model(Path(path))
    networks = {name: getattr(model, name) for name in ("G", "F", "D_A", "D_B")}
    if isinstance(source, CycleGAN):
        given = {name: getattr(source, name) for name in networks}
    else:
        given = {GENERATORS[direction_of(source) or "AtoB"]: source}
    for name, network in given.items():
        if odd := difference(network, networks[name]):
            raise InputError(
                f"initial_weights={path}: its {name} is another network than this run's ({odd}): "
                "leave out the settings that describe the networks"
            )
    for name, network in given.items():
        networks[name].set_weights(network.get_weights())
    fresh = [name for name in networks if name not in given]
    logger.info(
        "%s from %s%s", ", ".join(given), path, f"; {', '.join(fresh)} afresh" if fresh else ""
    )


def compile_model(model: CycleGAN, config: ResolvedConfig, total_steps: int) -> None:
    """Compiles a model as a resolved configuration says."""
    try:
        model.compile(
            objective=config.objective,
            lambda_cycle_A=config.lambda_cycle_A,
            lambda_cycle_B=config.lambda_cycle_B,
            lambda_identity=config.lambda_identity,
            lambda_gan=config.lambda_gan,
            learning_rate=config.learning_rate,
            beta_1=config.beta_1,
            constant_fraction=config.constant_fraction,
            total_steps=total_steps,
            recompute=config.recompute,
            jit_compile={"on": True, "off": False}.get(config.xla, "auto"),
        )
    except ValueError as problem:
        raise InputError(str(problem)) from problem


def load_config_data(config: ResolvedConfig) -> Data:
    """Loads the data of a resolved configuration."""
    return load_data(
        config.data,
        batch_size=config.batch_size,
        load_size=config.load_size,
        flip=config.flip,
        steps_per_epoch=config.steps_per_epoch,
        seed=config.seed,
        cache_memory=config.cache_memory * 2**20,
        cache_dir=config.cache_dir,
        paired=config.measuring.paired,
        floor=config.measuring.extractor not in (None, "none"),
        test_count=config.measuring.test_count,
        **config.pictures,
    )
