"""A training run: from a configuration to a folder with a trained model."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..data.loading import Data
from ..distributed.replicas import check_batch
from ..distributed.workers import Workers, make_strategy
from ..errors import InputError, PeerLost
from ..evaluation import Evaluation
from ..evaluation.result import finite
from ..files import atomic_write, write_text
from ..translation_model import TranslationModel
from .build import build_model, compile_model, load_config_data, set_initial_weights
from .checkpoints import Checkpoints
from .config import Config, ResolvedConfig
from .evaluation import EvaluateEvery, make_evaluator
from .history import HistoryFile
from .progress import ProgressLine
from .report import write_report
from .resume import ResumableState, StopOnSignal
from .run_folder import check_run_folder
from .samples import SampleGrids

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """The result of a run.

    Attributes:
        directory: `pathlib.Path`, the run folder.
        model: the trained `CycleGAN` or `Pix2Pix`.
        evaluation: the `Evaluation` on the test pictures, or None if there are none.
        best: the content of `best.json`, or None if no best model is kept.
        grid: `pathlib.Path` of the last sample grid.
        data: the `Data` of training and evaluation.
    """

    directory: Path
    model: TranslationModel
    evaluation: Evaluation | None
    best: dict[str, Any] | None
    grid: Path
    data: Data


def train(
    config: Config, resume: bool = False, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> Run | None:
    """Trains a model and writes the run folder.

    The folder gets `config.json`, `checkpoints/`, `history.csv`, `curves.png`, `samples/` and
    `tensorboard/`; at the end `model.keras`, `result.json` and `report.html`; and with
    `evaluate_every` also `best.keras` and `best.json`.

    Args:
        config: `Config`, the settings. `run_dir` must be set.
        resume: bool, whether to continue from the newest checkpoint in `run_dir`. Without a
            checkpoint, training starts from the beginning. Default False.
        callbacks: further callbacks of `fit`, for every worker.

    Returns:
        `Run`. With several workers, only the chief returns it; the others return None.

    Raises:
        InputError: invalid data or settings, a run folder that is in use, other settings than
            those of the run to resume, or a full disk.
        NonFiniteLoss: training has diverged.
        Interrupted: SIGTERM or Ctrl-C stopped the training, and its state is saved.
        PeerLost: another worker was lost.

    Example:
        ```python
        run = train(Config(data="shapes", run_dir="runs/shapes"))
        run.model.translate(images)
        ```
    """
    if not config.run_dir:
        raise InputError("`run_dir` is not set: name a folder for the run")
    directory = Path(config.run_dir)
    resolved = config.resolved()
    strategy = make_strategy(resolved.strategy, collective_timeout=resolved.collective_timeout)
    workers = Workers(strategy)
    check_batch(resolved.batch_size, workers.replicas)
    try:
        with workers.watched():
            resolved = _agree_on_settings(resolved, workers)
            resume = bool(workers.broadcast("resume" if resume else ""))
            return _train(resolved, directory, resume, callbacks, strategy, workers)
    except PeerLost as lost:
        again = f"resume=True and run_dir={shlex.quote(str(directory))}"
        newest = next(iter(Checkpoints(directory / "checkpoints").paths()), None)
        raise PeerLost(
            lost.what,
            f"Start all workers again with {again} to go on from "
            f"{newest or 'the start: there is no checkpoint yet'}",
        ) from lost


def _agree_on_settings(config: ResolvedConfig, workers: Workers) -> ResolvedConfig:
    """Returns the chief's settings, with this worker's own places for data and caches."""
    chiefs = Config.from_json(workers.broadcast(config.to_json()))
    if differences := chiefs.differences(config, longer=False):
        raise InputError(
            f"worker {workers.index} has other settings than the chief: {'; '.join(differences)}. "
            "Start all workers with the same settings"
        )
    own = {name: getattr(config, name) for name in ("cache_dir", "cache_memory", "data_dir")}
    return dataclasses.replace(chiefs, **own).resolved()


def _truth(data: Data, config: ResolvedConfig) -> Sequence[np.ndarray] | None:
    """What the first test pictures that a pix2pix translates should become."""
    if config.model != "pix2pix" or data.test_set is None:
        return None
    tests = data.test_set
    truth = tests.truth_A if config.direction == "AtoB" else tests.truth_B
    return None if truth is None else list(truth[: config.sample_count])


def _check_same_data(data: Data, workers: Workers) -> None:
    """Checks that this worker has as many pictures as the chief."""
    mine = json.dumps([data.counts, data.steps_per_epoch])
    if (chiefs := workers.broadcast(mine)) != mine:
        raise InputError(
            f"{data.name}: worker {workers.index} has {mine} (pictures and steps per epoch) but "
            f"the chief has {chiefs}: give all workers the same pictures"
        )


def _train(
    config: ResolvedConfig,
    directory: Path,
    resume: bool,
    callbacks: Sequence[keras.callbacks.Callback],
    strategy: tf.distribute.Strategy,
    workers: Workers,
) -> Run | None:
    workers.run_on_chief(lambda: check_run_folder(directory, config, resume))
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()

    # Everything that may refuse the settings comes before the first file is written.
    data = load_config_data(config)
    _check_same_data(data, workers)
    if config.evaluate_every and not data.test_set:
        raise InputError(
            f"evaluate_every={config.evaluate_every}: {data.name} has no test pictures: leave it "
            "out"
        )
    evaluator = evaluate = None
    if data.test_set and workers.chief:
        evaluator = make_evaluator(config, test_set=data.test_set)
        if config.evaluate_every:
            evaluate = EvaluateEvery(evaluator, directory, config.evaluate_every, config.best_by)
    total_steps = config.epochs * data.steps_per_epoch
    resumes = resume and bool(Checkpoints(directory / "checkpoints").paths())
    # After everything else that makes layers, such as an extractor, because layers draw seeds.
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = build_model(config)
    if config.initial_weights and not resumes:
        set_initial_weights(model, config.initial_weights)
    compile_model(model, config, total_steps)

    def begin() -> None:
        check_run_folder(directory, config, resume)  # another process may have been faster
        config.save(directory / "config.json")

    workers.run_on_chief(begin)
    if workers.replicas > 1 and workers.chief:
        logger.info(
            "%d replicas in %d processes, with %d pictures of each domain per step each",
            workers.replicas, workers.count, config.batch_size // workers.replicas,
        )  # fmt: skip
    if resume and not resumes:
        logger.info("%s has no checkpoint to resume from: starting afresh", directory)

    state = ResumableState(
        directory / "checkpoints", data, config.checkpoint_steps, config.keep_checkpoints
    )
    stop = StopOnSignal(state)
    progress = ProgressLine(total_steps)
    together = [*callbacks, state, stop]
    if workers.chief:
        log_dir = directory / "tensorboard" if config.tensorboard else None
        history = HistoryFile(directory)
        grids = SampleGrids(
            directory / "samples",
            *data.some_pictures(config.sample_count),
            every=config.sample_every,
            log_dir=log_dir,
            truth=_truth(data, config),
        )
        files: list[keras.callbacks.Callback] = [history, grids]
        if evaluate:  # before the callbacks that write its scores
            files.insert(0, evaluate)
        if log_dir:
            files.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
        together = [progress, *callbacks, *files, state, stop]
    try:
        model.fit(
            data.train,
            epochs=config.epochs,
            validation_data=data.validation if config.validation_every else None,
            validation_freq=config.validation_every or 1,
            callbacks=together,
            verbose=0,
        )
    finally:
        stop.restore_handlers()
        progress.close()
    if not workers.chief:
        return None

    with atomic_write(directory / "model.keras") as part:
        model.save(part)
    grid = directory / "samples" / f"epoch_{config.epochs:04d}.png"
    if not grid.exists():
        grids.draw(config.epochs)
    evaluation = evaluate.last if evaluate else None
    if evaluator and not evaluation:
        evaluation = evaluator(model.translators)
    best = evaluate.best if evaluate else None
    last = history.rows[-1] if history.rows else {}
    result = {
        "steps": int(model.step.numpy()),
        "losses": {
            name: float(value)
            for name, value in last.items()
            if value != "" and not name.startswith(("AtoB_", "BtoA_"))
        },
        "evaluation": evaluation.to_dict() if evaluation else None,
        "best": finite(best),
    }
    write_text(directory / "result.json", json.dumps(result, indent=2))
    write_report(directory, evaluation)
    return Run(directory, model, evaluation, best, grid, data)
