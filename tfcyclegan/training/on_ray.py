"""Training on Ray: Ray Train starts the workers and restarts them after a failure.

Needs the `ray` extra: `pip install ".[ray]"` in a clone.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import keras

from ..errors import InputError
from .config import Config
from .run import train
from .run_folder import check_run_folder


def train_on_ray(
    config: Config,
    resume: bool = False,
    restarts: int = 3,
    use_gpu: bool | None = None,
    **scaling: Any,
) -> Path:
    """Trains one model on several workers that Ray starts, here or on a cluster.

    The workers train with `strategy="multiworker"`. If a worker is lost, Ray restarts all of them
    and they continue from the last checkpoint. Each epoch's losses are reported to Ray. Ray runs
    on this machine, or on the cluster that `RAY_ADDRESS` names.

    Args:
        config: `Config`. `strategy` must be "ray" and `workers` set; `batch_size` must be a
            multiple of the number of all replicas. Every machine must be able to write to
            `run_dir` and to read `data`, under the same paths.
        resume: bool, whether to continue a run that is in `run_dir`. Default False.
        restarts: int, how often lost workers are restarted. Default 3.
        use_gpu: bool, whether each worker gets a GPU. Default: whether the Ray cluster has one
            for each worker.
        scaling: further arguments of `ray.train.ScalingConfig`, such as
            `resources_per_worker={"GPU": 8}`.

    Returns:
        `pathlib.Path` of the run folder.

    Raises:
        InputError: Ray is not installed, `run_dir` is not set, or `training.train` refuses the
            settings.

    Example:
        ```python
        config = Config(
            data="/shared/pictures", batch_size=8, run_dir="/shared/runs/pictures",
            strategy="ray", workers=8,
        )
        train_on_ray(config)
        ```
    """
    resolved = config.resolved()
    if not config.run_dir:
        raise InputError("`run_dir` is not set: name a folder that all workers share")
    if config.strategy != "ray" or config.workers is None:
        raise InputError("train_on_ray needs strategy=ray and `workers`: set both")
    try:
        import ray
        from ray.train import FailureConfig, RunConfig, ScalingConfig
        from ray.train.tensorflow import TensorflowTrainer
    except ImportError as problem:
        raise InputError(
            f'strategy=ray needs Ray ({problem}): pip install ".[ray]" in a clone of tfcyclegan'
        ) from problem
    directory = Path(config.run_dir).absolute()
    check_run_folder(directory, resolved, resume)
    if not ray.is_initialized():
        ray.init(log_to_driver=True)
    if use_gpu is None:
        use_gpu = ray.cluster_resources().get("GPU", 0) >= config.workers
    trainer = TensorflowTrainer(
        _train_loop,
        train_loop_config={
            "config": dataclasses.replace(
                config, run_dir=str(directory), strategy="multiworker", workers=None
            ).to_json()
        },
        scaling_config=ScalingConfig(num_workers=config.workers, use_gpu=use_gpu, **scaling),
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
    """Runs in each worker, at the start and after each restart."""
    config = Config.from_json(settings["config"])
    train(config, resume=True, callbacks=[_ReportToRay()])


class _ReportToRay(keras.callbacks.Callback):
    """Reports the losses to Ray. Every worker must report equally often."""

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        from ray.train import report

        report({"epoch": epoch + 1, **{name: float(value) for name, value in (logs or {}).items()}})


def _refusal(failure: BaseException) -> str | None:
    """Finds the message of a worker's `InputError` in Ray's error."""
    failures = getattr(failure, "worker_failures", None) or {}
    for problem in (failure, failure.__cause__, *failures.values()):
        cause = getattr(problem, "cause", None) or problem
        if isinstance(cause, InputError):
            return str(cause)
    return None
