"""What several workers must have in common before they train together."""

from __future__ import annotations

import dataclasses
import json

from ..data.loading import Data
from ..distributed.workers import Workers
from ..errors import InputError
from .config import Config, ResolvedConfig


def agree_on_settings(config: ResolvedConfig, workers: Workers) -> ResolvedConfig:
    """The chief's settings, except where this worker finds and keeps its data.

    Raises:
        InputError: this worker was started with other settings than the chief.
    """
    chiefs = Config.from_json(workers.broadcast(config.to_json()))
    if differences := chiefs.differences(config, longer=False):
        raise InputError(
            f"worker {workers.index} was started with other settings than the chief: "
            f"{'; '.join(differences)}. Start all workers with the same"
        )
    own = {name: getattr(config, name) for name in ("cache_dir", "cache_memory", "data_dir")}
    return dataclasses.replace(chiefs, **own).resolved()


def check_same_data(data: Data, workers: Workers) -> None:
    """Refuses pictures of which this worker has others than the chief.

    Raises:
        InputError: naming how many there are.
    """
    mine = json.dumps([data.counts, data.steps_per_epoch])
    if (chiefs := workers.broadcast(mine)) != mine:
        raise InputError(
            f"{data.name}: worker {workers.index} has other pictures than the chief, "
            f"{mine} and {chiefs} (of each kind, and steps an epoch): give all workers the same"
        )
