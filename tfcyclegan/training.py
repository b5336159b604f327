"""A training run: from a configuration to a folder with a trained model in it."""

from __future__ import annotations

import dataclasses
import json
import logging
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import keras
import numpy as np
import tensorflow as tf

from .backends import direction_of, load_model
from .callbacks import (
    HistoryFile,
    ProgressLine,
    ResumableState,
    SampleGrids,
    StopOnSignal,
)
from .checkpoints import Checkpoints
from .config import Config
from .cyclegan import CycleGAN
from .data import Data, load_data
from .errors import InputError, PeerLost
from .evaluation import Evaluation
from .evaluation.during_training import EvaluateEvery
from .evaluation.evaluator import finite
from .evaluation.report import write_report
from .evaluation.setup import make_evaluator
from .files import written_whole
from .networks import (
    GENERATORS,
    Direction,
    difference,
    patch_discriminator,
    pixel_discriminator,
    resnet_generator,
    unet_generator,
)
from .replicas import check_batch
from .workers import Workers, make_strategy

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


def build_model(config: Config) -> CycleGAN:
    """The model of a resolved configuration, not compiled yet.

    Args:
        config: from `Config.resolved()`.

    Returns:
        A `CycleGAN` with fresh weights, drawn by Keras.
    """

    try:
        return CycleGAN(
            build_generator(config, "AtoB"),
            build_generator(config, "BtoA"),
            build_discriminator(config, "A"),
            build_discriminator(config, "B"),
            image_size=config.image_size if config.pool_size else None,
            pool_size=config.pool_size,
            seed=config.seed,
        )
    except ValueError as problem:
        raise InputError(str(problem)) from problem


def build_generator(config: Config, direction: Direction) -> keras.Model:
    """G ("AtoB") or F ("BtoA") of a resolved configuration, with fresh weights.

    Raises:
        ValueError: settings that do not go together.
    """
    A, B = config.channels_A, config.channels_B
    channels, output_channels = (A, B) if direction == "AtoB" else (B, A)
    settings = {
        "channels": channels,
        "output_channels": output_channels,
        "filters": config.filters,
        "norm": config.norm,
        "use_bias": config.use_bias,
        "epsilon": config.epsilon,
        "dropout": config.dropout,
        "residual_output": config.residual_output,
        "dtype": config.precision,
        "name": GENERATORS[direction],
    }
    if config.generator == "unet":
        return unet_generator(config.image_size, depth=config.depth, **settings)
    return resnet_generator(
        config.image_size,
        blocks=config.blocks,
        upsampling=config.upsampling,
        bare_first=config.bare_first,
        downsampling_padding=config.downsampling_padding,
        alignment=config.alignment,
        **settings,
    )


def build_discriminator(config: Config, domain: Literal["A", "B"]) -> keras.Model:
    """D_A or D_B of a resolved configuration, with fresh weights.

    Raises:
        ValueError: settings that do not go together.
    """
    settings = {
        "channels": config.channels_A if domain == "A" else config.channels_B,
        "filters": config.discriminator_filters,
        "norm": config.norm,
        "use_bias": config.use_bias,
        "epsilon": config.epsilon,
        "dtype": config.precision,
        "name": f"D_{domain}",
    }
    if config.discriminator == "pixel":
        return pixel_discriminator(**settings)
    return patch_discriminator(
        config.image_size,
        layers=config.discriminator_layers,
        padding=config.discriminator_padding,
        sigmoid=config.sigmoid,
        alignment=config.alignment,
        **settings,
    )


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
                f"--initial-weights {path}: its {name} is another network than this run's ({odd}): "
                "leave out the settings that describe the networks"
            )
    for name, network in given.items():
        networks[name].set_weights(network.get_weights())
    fresh = [name for name in networks if name not in given]
    logger.info(
        "%s from %s%s", ", ".join(given), path, f"; {', '.join(fresh)} afresh" if fresh else ""
    )


def compile_model(model: CycleGAN, config: Config, total_steps: int) -> None:
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


def load_config_data(config: Config) -> Data:
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
        **config.pictures,
    )


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
            resume = bool(workers.from_chief("resume" if resume else ""))
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
    chiefs = Config.from_json(workers.from_chief(config.to_json()))
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
    if (chiefs := workers.from_chief(mine)) != mine:
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
    workers.on_chief(lambda: _check_directory(directory, config, resume))
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

    workers.on_chief(begin)
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

    with written_whole(directory / "model.keras") as part:
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
    with written_whole(directory / "result.json") as part:
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
