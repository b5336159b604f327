"""A training run: from a configuration to a folder with a trained model in it."""

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

from ..cyclegan import CycleGAN
from ..data.loading import Data
from ..distributed.replicas import check_batch
from ..distributed.workers import Workers, make_strategy
from ..errors import InputError, PeerLost
from ..evaluation import Evaluation
from ..evaluation.evaluator import finite
from ..files import atomic_write
from .build import build_model, compile_model, load_config_data, set_initial_weights
from .checkpoints import Checkpoints
from .config import Config
from .evaluation import EvaluateEvery
from .evaluators import make_evaluator
from .history import HistoryFile
from .progress import ProgressLine
from .report import write_report
from .resume import ResumableState, StopOnSignal
from .samples import SampleGrids

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Run:
    """What a run came to.

    Attributes:
        directory: the run folder.
        model: the trained model.
        steps: training steps in all.
        evaluation: what was measured on the test pictures; None where there are none.
        best: what `best.json` says of the best model, where one was kept.
        losses: the last epoch's means.
        grid: the last sample grid.
    """

    directory: Path
    model: CycleGAN
    steps: int
    evaluation: Evaluation | None
    best: dict[str, Any] | None
    losses: dict[str, float]
    grid: Path


def train(
    config: Config, resume: bool = False, callbacks: Sequence[keras.callbacks.Callback] = ()
) -> Run | None:
    """Trains as a configuration says and fills the run folder.

    The folder gets `config.json`, `checkpoints/`, `history.csv`, `curves.png`, `samples/`,
    `tensorboard/`, and at the end `model.keras`, `result.json` and `report.html`; with
    `evaluate_every` also `best.keras`.

    Args:
        config: the settings; `run_dir` must be set.
        resume: go on from the newest checkpoint in `run_dir`, or start afresh where there is none.
        callbacks: more callbacks for `fit`, on every worker.

    Returns:
        `Run`. Of several workers the chief gets it, who writes all but the others' parts of the
        checkpoints; those get None.

    Raises:
        InputError: bad data or settings, a run folder that is taken, a resume with other
            settings, or a full disk.
        NonFiniteLoss: training came apart.
        Interrupted: SIGTERM or Ctrl-C; the state was saved.
        PeerLost: another worker is gone.
    """
    config = config.resolved()
    strategy = make_strategy(config.strategy, collective_timeout=config.collective_timeout)
    workers = Workers(strategy)
    try:
        check_batch(config.batch_size, workers.replicas)
    except ValueError as problem:
        raise InputError(f"--batch-size: {problem}") from problem
    try:
        with workers.watched():
            config = _agreed(config, workers)
            resume = bool(workers.broadcast("resume" if resume else ""))
            return _train(config, resume, list(callbacks), strategy, workers)
    except PeerLost as lost:
        again = f"--resume --run-dir {shlex.quote(config.run_dir)}"
        newest = next(iter(Checkpoints(Path(config.run_dir) / "checkpoints").paths()), None)
        raise PeerLost(
            lost.what,
            f"Start all workers again with {again} to go on from "
            f"{newest or 'the start: there is no checkpoint yet'}",
        ) from lost


def _agreed(config: Config, workers: Workers) -> Config:
    """The chief's settings, but for where this worker finds and keeps its data.

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
    return dataclasses.replace(chiefs, **own)


def _check_data(data: Data, workers: Workers) -> None:
    """Refuses pictures of which this worker has others than the chief.

    Raises:
        InputError: naming how many there are.
    """
    mine = json.dumps([data.counts, data.steps_per_epoch])
    if (chiefs := workers.broadcast(mine)) != mine:
        raise InputError(
            f"--data {data.name}: worker {workers.index} has other pictures than the chief, "
            f"{mine} and {chiefs} (of each kind, and steps an epoch): give all workers the same"
        )


def _train(
    config: Config,
    resume: bool,
    callbacks: list[keras.callbacks.Callback],
    strategy: tf.distribute.Strategy,
    workers: Workers,
) -> Run | None:
    directory = Path(config.run_dir)
    workers.run_on_chief(lambda: _check_directory(directory, config, resume))
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()

    # All of them may refuse the settings, so they come before anything is written.
    data = load_config_data(config)
    _check_data(data, workers)
    measured = data.test_A is not None and data.test_B is not None
    evaluator = make_evaluator(config) if measured and workers.chief else None
    evaluate = None
    if config.evaluate_every:
        if not measured:
            raise InputError(f"--evaluate-every: {data.name} has no test pictures: leave it out")
        if workers.chief:
            evaluate = EvaluateEvery(evaluator, directory, config.evaluate_every, config.best_by)
    # Behind everything else that makes layers, such as an extractor: they draw seeds, too.
    keras.utils.set_random_seed(config.seed)
    with strategy.scope():
        model = build_model(config)
    goes_on = resume and Checkpoints(directory / "checkpoints").paths()
    if config.initial_weights and not goes_on:
        set_initial_weights(model, config.initial_weights)
    total_steps = config.epochs * data.steps_per_epoch
    compile_model(model, config, total_steps)

    def begin() -> None:
        _check_directory(directory, config, resume)  # somebody may have been faster
        config.save(directory / "config.json")

    workers.run_on_chief(begin)
    if workers.replicas > 1 and workers.chief:
        logger.info(
            "%d replicas in %d processes, %d pictures of each domain a step for each",
            workers.replicas, workers.count, config.batch_size // workers.replicas,
        )  # fmt: skip
    state = ResumableState(
        directory / "checkpoints", data, config.checkpoint_steps, config.keep_checkpoints
    )
    if resume and not state.checkpoints.paths():
        logger.info("%s has no checkpoint to resume from: starting afresh", directory)
    stop = StopOnSignal(state)
    if workers.chief:
        log_dir = directory / "tensorboard" if config.tensorboard else None
        grids = SampleGrids(
            directory / "samples",
            *_few_pictures(data, config.sample_count),
            every=config.sample_every,
            log_dir=log_dir,
        )
        progress, history = ProgressLine(total_steps), HistoryFile(directory)
        callbacks = [_Announcement(state, total_steps), progress, *callbacks]
        if evaluate:
            callbacks.append(evaluate)  # before those that write down what it finds
        callbacks += [history, grids]
        if log_dir:
            callbacks.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))
    try:
        model.fit(
            data.train,
            epochs=config.epochs,
            validation_data=data.validation if config.validation_every else None,
            validation_freq=config.validation_every or 1,
            callbacks=[*callbacks, state, stop],
            verbose=0,
        )
    finally:
        stop.restore_handlers()
        if workers.chief:
            progress.close()
    if not workers.chief:
        return None

    with atomic_write(directory / "model.keras") as part:
        model.save(part)
    grid = directory / "samples" / f"epoch_{config.epochs:04d}.png"
    if not grid.exists():
        grids.draw(config.epochs)
    last = history.rows[-1] if history.rows else {}
    losses = {
        name: float(value)
        for name, value in last.items()
        if value != "" and not name.startswith(("AtoB_", "BtoA_"))
    }
    evaluation = evaluate.last if evaluate else None
    if evaluator and evaluation is None:
        evaluation = evaluator({"AtoB": model.G, "BtoA": model.F})
    run = Run(
        directory=directory,
        model=model,
        steps=int(model.step.numpy()),
        evaluation=evaluation,
        best=evaluate.best if evaluate else None,
        losses=losses,
        grid=grid,
    )
    result = {
        "steps": run.steps,
        "losses": losses,
        "evaluation": evaluation.to_dict() if evaluation else None,
        "best": finite(run.best),
    }
    with atomic_write(directory / "result.json") as part:
        part.write_text(json.dumps(result, indent=2))
    write_report(directory, evaluation)
    return run


class _Announcement(keras.callbacks.Callback):
    """Says where a run starts from, once that is known."""

    def __init__(self, state: ResumableState, total_steps: int):
        super().__init__()
        self._state = state
        self._total_steps = total_steps

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        if self._state.restored:
            size = self._state.restored.stat().st_size / 1e6
            logger.info(
                "resuming from %s (%.0f MB), step %d of %d",
                self._state.restored, size, int(self.model.step.numpy()), self._total_steps,
            )  # fmt: skip
            self._state.restored = None


def _check_directory(directory: Path, config: Config, resume: bool) -> None:
    """Refuses to overwrite a run, or to go on with one of other settings."""
    if directory.exists() and not directory.is_dir():
        raise InputError(f"--run-dir {directory}: that is a file: give another --run-dir")
    # What a killed process left half-written does not count, and goes.
    for part in directory.glob(".*.part-*"):
        part.unlink(missing_ok=True)
    if not directory.exists() or not any(directory.iterdir()):
        return
    if not resume:
        raise InputError(
            f"--run-dir {directory}: there is a run already: pass --resume to go on with it, or "
            "another --run-dir"
        )
    if not (directory / "config.json").exists():
        raise InputError(
            f"--run-dir {directory}: no config.json in it, so it is no run: give another --run-dir"
        )
    if (directory / "model.keras").exists() and not Checkpoints(directory / "checkpoints").paths():
        raise InputError(
            f"--resume: {directory} holds a model and no checkpoint to go on from: train it "
            f"further in a run of its own with --initial-weights {directory}"
        )
    differences = Config.load(directory / "config.json").differences(config)
    if differences:
        raise InputError(
            f"--resume: {directory} was started with other settings: {'; '.join(differences)}. "
            "Leave them out to go on, or start a new run with another --run-dir"
        )


def _few_pictures(data: Data, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The first few test pictures of each domain, or training pictures where there are none."""

    def first(pictures: tf.data.Dataset) -> np.ndarray:
        some = list(pictures.unbatch().take(count).as_numpy_iterator())
        height, width = np.min([picture.shape[:2] for picture in some], axis=0)
        return np.stack([picture[:height, :width] for picture in some])

    A, B = data.test_A, data.test_B
    if A is None or B is None:
        A = data.train.map(lambda A, B: A) if A is None else A
        B = data.train.map(lambda A, B: B) if B is None else B
    images_A, images_B = first(A), first(B)
    both = min(len(images_A), len(images_B))
    return images_A[:both], images_B[:both]
