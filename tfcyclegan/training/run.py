"""A training run: from a configuration to a folder with a trained model in it."""

from __future__ import annotations

import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from ..cyclegan import CycleGAN
from ..data.loading import Data
from ..distributed.replicas import check_batch
from ..distributed.workers import Workers, make_strategy
from ..errors import InputError, PeerLost
from ..evaluation import Evaluation, Evaluator
from ..evaluation.result import finite
from ..files import atomic_write
from .agreement import agree_on_settings, check_same_data
from .build import build_model, compile_model, load_config_data, set_initial_weights
from .checkpoints import Checkpoints
from .config import Config, ResolvedConfig
from .evaluation import EvaluateEvery
from .evaluators import make_evaluator
from .history import HistoryFile
from .progress import ProgressLine
from .report import write_report
from .resume import ResumableState, StopOnSignal
from .run_folder import check_run_folder
from .samples import SampleGrids, same_size

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
        data: what was trained and measured on.
    """

    directory: Path
    model: CycleGAN
    steps: int
    evaluation: Evaluation | None
    best: dict[str, Any] | None
    losses: dict[str, float]
    grid: Path
    data: Data


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
    if not config.run_dir:
        raise InputError("run_dir=None: name a folder for the run")
    directory = Path(config.run_dir)
    resolved = config.resolved()
    strategy = make_strategy(resolved.strategy, collective_timeout=resolved.collective_timeout)
    workers = Workers(strategy)
    try:
        check_batch(resolved.batch_size, workers.replicas)
    except ValueError as problem:
        raise InputError(f"batch_size={resolved.batch_size}: {problem}") from problem
    try:
        with workers.watched():
            resolved = agree_on_settings(resolved, workers)
            resume = bool(workers.broadcast("resume" if resume else ""))
            return _train(resolved, directory, resume, list(callbacks), strategy, workers)
    except PeerLost as lost:
        again = f"resume=True and run_dir={shlex.quote(str(directory))}"
        newest = next(iter(Checkpoints(directory / "checkpoints").paths()), None)
        raise PeerLost(
            lost.what,
            f"Start all workers again with {again} to go on from "
            f"{newest or 'the start: there is no checkpoint yet'}",
        ) from lost


def _train(
    config: ResolvedConfig,
    directory: Path,
    resume: bool,
    callbacks: list[keras.callbacks.Callback],
    strategy: tf.distribute.Strategy,
    workers: Workers,
) -> Run | None:
    workers.run_on_chief(lambda: check_run_folder(directory, config, resume))
    if config.deterministic:
        tf.config.experimental.enable_op_determinism()

    # Any of these may refuse the settings, so nothing is written before them.
    data = load_config_data(config)
    check_same_data(data, workers)
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
    resumes = resume and Checkpoints(directory / "checkpoints").paths()
    # Behind everything else that makes layers, such as an extractor: layers draw seeds, too.
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
            "%d replicas in %d processes, %d pictures of each domain a step for each",
            workers.replicas, workers.count, config.batch_size // workers.replicas,
        )  # fmt: skip
    state = ResumableState(
        directory / "checkpoints", data, config.checkpoint_steps, config.keep_checkpoints
    )
    if resume and not resumes:
        logger.info("%s has no checkpoint to resume from: starting afresh", directory)
    files = None
    if workers.chief:
        files = _RunFiles(config, directory, data, total_steps, evaluator, evaluate)
    stop = StopOnSignal(state)
    try:
        model.fit(
            data.train,
            epochs=config.epochs,
            validation_data=data.validation if config.validation_every else None,
            validation_freq=config.validation_every or 1,
            callbacks=[
                *([_Announcement(state, total_steps), files.progress] if files else []),
                *callbacks,
                *(files.callbacks if files else []),
                state,
                stop,
            ],
            verbose=0,
        )
    finally:
        stop.restore_handlers()
        if files:
            files.progress.close()
    return files.finish(model) if files else None


class _RunFiles:
    """What the chief writes into the run folder besides checkpoints.

    Attributes:
        progress: callback that shows how far the run is.
        callbacks: those that measure, and then those that write down what is measured.
    """

    def __init__(
        self,
        config: ResolvedConfig,
        directory: Path,
        data: Data,
        total_steps: int,
        evaluator: Evaluator | None,
        evaluate: EvaluateEvery | None,
    ):
        self._config, self._directory, self._data = config, directory, data
        self._evaluator, self._evaluate = evaluator, evaluate
        log_dir = directory / "tensorboard" if config.tensorboard else None
        self.progress = ProgressLine(total_steps)
        self._history = HistoryFile(directory)
        self._grids = SampleGrids(
            directory / "samples",
            *same_size(*data.some_pictures(config.sample_count)),
            every=config.sample_every,
            log_dir=log_dir,
        )
        self.callbacks: list[keras.callbacks.Callback] = []
        if evaluate:
            self.callbacks.append(evaluate)
        self.callbacks += [self._history, self._grids]
        if log_dir:
            self.callbacks.append(keras.callbacks.TensorBoard(log_dir, write_graph=False))

    def finish(self, model: CycleGAN) -> Run:
        """Writes the model, the last grid, the result and the report."""
        directory, evaluate = self._directory, self._evaluate
        with atomic_write(directory / "model.keras") as part:
            model.save(part)
        epochs = self._config.epochs
        grid = directory / "samples" / f"epoch_{epochs:04d}.png"
        if not grid.exists():
            self._grids.draw(epochs)
        last = self._history.rows[-1] if self._history.rows else {}
        losses = {
            name: float(value)
            for name, value in last.items()
            if value != "" and not name.startswith(("AtoB_", "BtoA_"))
        }
        evaluation = evaluate.last if evaluate else None
        if self._evaluator and not evaluation:
            evaluation = self._evaluator({"AtoB": model.G, "BtoA": model.F})
        run = Run(
            directory=directory,
            model=model,
            steps=int(model.step.numpy()),
            evaluation=evaluation,
            best=evaluate.best if evaluate else None,
            losses=losses,
            grid=grid,
            data=self._data,
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
