"""Training on a Ray cluster: Ray Train brings the workers up, and back; `training.train` trains.

Needs the `ray` extra: `pip install "tfcyclegan[ray]"`.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras

from ..errors import InputError
from .config import Config
from .run import train


def train_on_ray(
    config: Config, workers: int = 2, restarts: int = 3, use_gpu: bool = False, **scaling: Any
) -> Path:
    """Trains one model on several workers of a Ray cluster.

    It is the run that `train.py --strategy multiworker` makes, in the same folder. Lost workers
    are replaced, and all go on from the last checkpoint. Losses are reported to Ray each epoch.

    Args:
        config: the settings. `run_dir` must be a folder that every machine of the cluster
            writes to by that name, and `data` one that every machine reads.
        workers: int, processes; `batch_size` must be a multiple of their replicas. Default 2.
        restarts: int, times that lost workers are replaced. Default 3.
        use_gpu: whether each worker has a GPU. Default False.
        scaling: more of `ray.train.ScalingConfig`, such as `resources_per_worker={"GPU": 8}`.

    Returns:
        The run folder.

    Raises:
        InputError: Ray is not installed, no `run_dir`, or what `training.train` refuses.

    Example:
        ```python
        config = Config(data="/shared/pictures", batch_size=8, run_dir="/shared/runs/pictures")
        train_on_ray(config, workers=8, use_gpu=True)
        ```
    """
    try:
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
    except ImportError as problem:
        raise InputError(
            f'train_on_ray needs Ray ({problem}): pip install "tfcyclegan[ray]"'
        ) from problem
    if not config.run_dir:
        raise InputError("run_dir: name a folder that all workers share")
    directory = Path(config.run_dir).absolute()
    trainer = TensorflowTrainer(
        _train_loop,
        train_loop_config={
            "config": dataclasses.replace(
                config, run_dir=str(directory), strategy="multiworker"
            ).to_json()
        },
        scaling_config=ScalingConfig(num_workers=workers, use_gpu=use_gpu, **scaling),
        run_config=RunConfig(
            name="ray",
            storage_path=str(directory.parent / f".{directory.name}.ray"),
            failure_config=FailureConfig(max_failures=restarts),
        ),
    )
    try:
        trainer.fit()
    except Exception as failure:
        if refused := _refusal(failure):
            raise InputError(refused) from failure
        raise
    return directory


def _train_loop(settings: dict[str, str]) -> None:
    """What each worker does, whenever the workers are brought up."""
    config = Config.from_json(settings["config"])
    train(config, resume=True, callbacks=[_ReportToRay()])


class _ReportToRay(keras.callbacks.Callback):
    """Every worker has to report, as often as the others; the losses are those of all."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        from ray.train import report

        report({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})


def _refusal(failure: BaseException) -> str | None:
    """What a worker refused to do, behind all that Ray says about it."""
    failures = getattr(failure, "worker_failures", None) or {}
    for problem in (failure, failure.__cause__, *failures.values()):
        cause = getattr(problem, "cause", None) or problem
        if isinstance(cause, InputError):
            return str(cause)
    return None
