"""What the settings of a run must be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..data.sources import EMBEDDED
from ..errors import InputError
from ..losses import check_losses
from .recipes import ONLY

if TYPE_CHECKING:
    from .config import ResolvedConfig


def check(config: ResolvedConfig) -> None:
    """Refuses settings that are not valid for any data.

    Raises:
        InputError: naming the setting and what it takes.
    """
    at_least = {
        "image_size": config.divisor, "batch_size": 1, "pool_size": 0, "epochs": 1,
        "steps_per_epoch": 1, "checkpoint_steps": 1, "keep_checkpoints": 1,
        "sample_every": 0, "sample_count": 1, "validation_every": 0, "cache_memory": 0,
        "evaluate_every": 0, "learning_rate": 0, "seed": 0, "collective_timeout": 1,
        "workers": 1, "discriminator_learning_rate": 0,
    }  # fmt: skip
    for name, least in at_least.items():
        value = getattr(config, name)
        if value is not None and value < least:
            raise InputError(f"{name}={value}: must be at least {least}")
    if not 0 <= config.constant_fraction <= 1:
        raise InputError(f"constant_fraction={config.constant_fraction}: must lie between 0 and 1")
    for name in ("beta_1", "beta_2", "ema_momentum"):
        if not 0 <= getattr(config, name) < 1:
            raise InputError(f"{name}={getattr(config, name)}: must be at least 0 and below 1")
    if config.strategy == "ray" and config.workers is None:
        raise InputError("strategy=ray: set `workers` as well, for example workers=2")
    if config.strategy != "ray" and config.workers is not None:
        raise InputError(f"workers={config.workers}: set strategy=ray as well, or leave it out")
    if config.best_by and not config.evaluate_every:
        raise InputError(f"best_by={config.best_by}: set evaluate_every=1 as well")
    if config.seed >= 2**32:
        raise InputError(f"seed={config.seed}: must be below 2**32")
    if config.image_size is not None:
        config.architecture.check_size(config.image_size)
    weights = {
        "cyclegan": ("lambda_identity", "lambda_cycle_A", "lambda_cycle_B", "lambda_gan"),
        "pix2pix": ("lambda_L1", "lambda_gan"),
    }
    _check_model(config)
    check_losses(
        config.objective,
        sigmoid=config.sigmoid,
        same_channels=config.channels_A == config.channels_B,
        **{"lambda_identity": None}
        | {name: getattr(config, name) for name in weights[config.model]},
    )
    config.architecture.check()
    whole = config.preprocess in ("scale_width", "none") and config.data not in EMBEDDED
    if whole and config.pool_size:
        raise InputError(
            f"preprocess={config.preprocess} gives pictures of many sizes, but a pool holds "
            "pictures of one size: take pool_size=0 or a `preprocess` that crops"
        )


def _check_model(config: ResolvedConfig) -> None:
    """Refuses settings that only the other model has."""
    for model, names in ONLY.items():
        for name in names if model != config.model else ():
            if (value := getattr(config, name)) is not None:
                raise InputError(f"{name}={value}: goes with model={model}")
    if config.model == "pix2pix" and config.discriminator not in ("patch", "pixel"):
        raise InputError(
            f"discriminator={config.discriminator}: model=pix2pix takes patch or pixel, which "
            "see the picture beside its translation"
        )
