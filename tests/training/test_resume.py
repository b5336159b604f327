"""Resuming, stopping and the files a run leaves, with `fit` as a Keras user calls it."""

import csv
import errno
import os
import signal

import keras
import numpy as np
import pytest
from tiny_run import StopAt

from tfcyclegan import InputError, ResumableState, load_data
from tfcyclegan.errors import Interrupted, NonFiniteLoss
from tfcyclegan.training import checkpoints
from tfcyclegan.training.checkpoints import Checkpoints
from tfcyclegan.training.history import HistoryFile
from tfcyclegan.training.progress import ProgressLine
from tfcyclegan.training.resume import StopOnSignal
from tfcyclegan.training.samples import SampleGrids

EPOCHS = 3


@pytest.fixture
def data(folder):
    """A function that loads the same five steps an epoch anew."""
    return lambda: load_data(folder, image_size=16, seed=5)


@pytest.fixture
def start(make_model):
    """A function that makes the same untrained model anew."""
    first = make_model(dropout=0.5)

    def make():
        model = make_model(dropout=0.5)
        model.set_weights(first.get_weights())
        for mine, theirs in zip(model.variables, first.variables, strict=True):
            mine.assign(theirs)
        model.compile(learning_rate=1e-3)
        return model

    return make


def run(model, data, *callbacks):
    return model.fit(data.train, epochs=EPOCHS, verbose=0, callbacks=[*callbacks])


def state(model):
    return {name: variable.numpy() for name, variable in model.state().items()}


def assert_equal(one, other):
    for name, value in state(one).items():
        np.testing.assert_array_equal(value, other.state()[name], err_msg=name)


UNDISTURBED = {}


@pytest.fixture
def straight(start, data):
    """What a run that nobody disturbs comes to: its model and its history."""
    if not UNDISTURBED:  # every test has the same first weights and data, so once will do
        model = start()
        UNDISTURBED.update(history=run(model, data()).history, model=model)
    return UNDISTURBED["model"], UNDISTURBED["history"]


@pytest.mark.parametrize(("stops", "every"), [([2], None), ([5], 1), ([8], None), ([7, 8, 14], 3)])
def test_resumed_as_if_never_stopped(stops, every, straight, start, data, tmp_path):
    """Weights, moments, pools, dropout and the epochs' means, bit for bit."""
    straight, history = straight
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            run(start(), d := data(), ResumableState(tmp_path, d, every), StopAt(stop))
    resumed = start()
    d = data()
    resume = ResumableState(tmp_path, d, every)
    steps = []

    class Count(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            steps.append(int(self.model.step.numpy()))

    rest = run(resumed, d, resume, Count()).history
    assert_equal(resumed, straight)
    interval = every or d.steps_per_epoch
    assert steps == list(range(steps[0], 16))
    assert stops[-1] - interval < steps[0] <= stops[-1] + 1
    for term, values in rest.items():
        np.testing.assert_array_equal(values, history[term][-len(values) :], err_msg=term)


def test_a_checkpoint_is_not_written_over(start, data, tmp_path):
    """The state of a step is saved once, however often that is asked for."""
    d = data()
    state = ResumableState(tmp_path, d)
    run(start(), d, state)
    newest = state.checkpoints.paths()[0]
    before = newest.stat()
    assert state.save() == newest
    assert (newest.stat().st_ino, newest.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_what_cannot_be_read_is_not_set_aside(start, data, tmp_path, monkeypatch):
    """A disk that fails is not a damaged checkpoint: nothing is renamed, nothing starts afresh."""
    d = data()
    run(start(), d, ResumableState(tmp_path, d))
    names = sorted(path.name for path in tmp_path.iterdir())

    def fails(path):
        raise OSError(errno.EIO, "Input/output error", str(path))

    monkeypatch.setattr(checkpoints, "_read", fails)
    with pytest.raises(InputError, match=r"cannot be read .*see that every worker reaches"):
        run(start(), d, ResumableState(tmp_path, d))
    assert sorted(path.name for path in tmp_path.iterdir()) == names


def test_a_finished_run_stays_as_it_is(start, data, tmp_path):
    d = data()
    model = start()
    run(model, d, ResumableState(tmp_path, d))
    again, d = start(), data()
    run(again, d, ResumableState(tmp_path, d))
    assert_equal(again, model)


def test_early_stopping_is_heard(start, data, tmp_path):
    d = data()
    stop = keras.callbacks.EarlyStopping("cycle_A", patience=0, min_delta=1e3, mode="min")
    history = run(start(), d, ResumableState(tmp_path, d), stop).history
    assert len(history["loss"]) == 2


def test_the_newest_few_are_kept(start, data, tmp_path):
    d = data()
    run(start(), d, ResumableState(tmp_path, d, every=2, keep=2))
    kept = [path.name for path in Checkpoints(tmp_path).paths()]
    assert kept == ["step_000000015.npz", "step_000000014.npz"]


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    damage, straight, start, data, tmp_path, caplog
):
    straight, _ = straight
    with pytest.raises(KeyboardInterrupt):
        run(start(), d := data(), ResumableState(tmp_path, d, every=2), StopAt(9))
    newest, before, *_ = Checkpoints(tmp_path).paths()
    whole = newest.read_bytes()
    middle = len(whole) // 2
    newest.write_bytes(
        {
            "cut": whole[:middle],
            "flip": whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :],
            "empty": b"",
            "text": b"not a checkpoint",
        }[damage]
    )
    d, resumed = data(), start()
    resume = ResumableState(tmp_path, d, every=2)
    run(resumed, d, resume)
    assert resume.restored == before
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert f"{newest} is damaged" in caplog.text
    assert_equal(resumed, straight)


def test_a_checkpoint_that_would_run_code_does_not(start, tmp_path, caplog):
    """A pickle where an array should be is refused, not executed."""

    class Attack:
        def __reduce__(self):
            return (os.system, (f"touch {tmp_path}/attacked",))

    path = tmp_path / "step_000000001.npz"
    np.savez(path, meta=np.array([Attack()], dtype=object))
    assert Checkpoints(tmp_path).restore(start()) is None
    assert "no sound checkpoint left: starting afresh" in caplog.text
    assert not (tmp_path / "attacked").exists()


def test_a_checkpoint_of_another_model(start, make_model, tmp_path):
    model = start()
    Checkpoints(tmp_path).save(model)
    other = make_model(blocks=2)
    other.compile()
    with pytest.raises(ValueError, match="is of another model"):
        Checkpoints(tmp_path).restore(other)


def test_other_data(start, data, folder, tmp_path):
    d = data()
    run(start(), d, ResumableState(tmp_path, d))
    (folder / "trainB" / "0.png").unlink()
    d = data()
    with pytest.raises(InputError, match=r"pictures was .*'trainB': 3.* and is .*'trainB': 2"):
        run(start(), d, ResumableState(tmp_path, d))


def test_given_more_epochs_the_rate_falls_over_all_of_them(start, data, tmp_path):
    d, model = data(), start()
    run(model, d, ResumableState(tmp_path, d))
    assert int(model.total_steps.numpy()) == 15
    d, model = data(), start()
    rates = model.fit(
        d.train, epochs=6, verbose=0, callbacks=[ResumableState(tmp_path, d)]
    ).history["learning_rate"]
    assert int(model.total_steps.numpy()) == 30
    assert rates[-1] == pytest.approx(1e-3 / 15)
    # What a callback told Keras about the first epoch does not stick to the model.
    assert len(model.fit(d.train, epochs=1, verbose=0).history["loss"]) == 1


def test_weights_that_are_not_finite_are_not_saved(start, data, tmp_path):
    """The losses of a step do not show yet what its update did to the weights."""
    d, model = data(), start()

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                self.model.F.trainable_variables[0].assign_add(
                    np.full(self.model.F.trainable_variables[0].shape, np.inf)
                )

    with pytest.raises(NonFiniteLoss, match=r"F/\S+ is not finite at step 3.*step_000000002\.npz"):
        run(model, d, Spoil(), ResumableState(tmp_path, d, every=1))
    assert Checkpoints(tmp_path).paths()[0].name == "step_000000002.npz"


def test_epochs_of_another_length(start, data, tmp_path):
    d = data()
    with pytest.raises(ValueError, match="give steps_per_epoch to load_data, not to fit"):
        start().fit(d.train, steps_per_epoch=2, verbose=0, callbacks=[ResumableState(tmp_path, d)])


def test_a_loss_that_is_not_finite_stops_before_it_is_saved(start, data, tmp_path):
    d = data()
    model = start()
    good = {}

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                good.update(state(self.model))
                # The last bias: a ReLU behind it would turn what is no number into 0.
                self.model.G.trainable_variables[-1].assign([np.nan] * 3)

    with pytest.raises(NonFiniteLoss, match=r"loss is nan at step 4: .*step_000000003\.npz"):
        run(model, d, Spoil(), ResumableState(tmp_path, d, every=1))
    again = start()
    Checkpoints(tmp_path).restore(again)
    for name, value in good.items():
        np.testing.assert_array_equal(again.state()[name], value, err_msg=name)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(number, straight, start, data, tmp_path):
    straight, _ = straight

    class Send(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                os.kill(os.getpid(), number)

    d = data()
    resume = ResumableState(tmp_path, d)
    stop = StopOnSignal(resume)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        run(start(), d, Send(), resume, stop)
    stop.restore_handlers()
    assert signal.getsignal(number) is before
    assert caught.value.signal == number
    assert caught.value.checkpoint.name == "step_000000003.npz"
    d, resumed = data(), start()
    run(resumed, d, ResumableState(tmp_path, d))
    assert_equal(resumed, straight)


def test_history_and_grids(start, data, tmp_path):
    d = data()
    images = [np.concatenate(list(test.as_numpy_iterator())) for test in (d.test_A, d.test_B)]
    log_dir = tmp_path / "tb"
    run(
        start(),
        d,
        HistoryFile(tmp_path),
        SampleGrids(tmp_path / "samples", *images, every=2, log_dir=log_dir),
    )
    with (tmp_path / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["epoch"] for row in rows] == ["1", "2", "3"]
    assert [row["step"] for row in rows] == ["5", "10", "15"]
    assert all(float(row["cycle_A"]) > 0 for row in rows)
    names = sorted(path.name for path in (tmp_path / "samples").iterdir())
    assert names == ["epoch_0002.png", "epoch_0003.png"]
    from PIL import Image

    grid = Image.open(tmp_path / "samples" / "epoch_0003.png")
    assert grid.size == (6 * 128 + 5 * 4, 22 + 2 * (128 + 4) - 4)
    curves = np.asarray(Image.open(tmp_path / "curves.png").convert("L"))
    assert curves.std() > 10
    assert list(log_dir.iterdir())


def test_a_resumed_history_has_every_epoch_once(start, data, tmp_path):
    d = data()
    run(start(), d, HistoryFile(tmp_path / "straight"))
    with pytest.raises(KeyboardInterrupt):
        run(start(), d := data(), HistoryFile(tmp_path), ResumableState(tmp_path, d, 1), StopAt(8))
    d = data()
    run(start(), d, HistoryFile(tmp_path), ResumableState(tmp_path, d, 1))

    def rows(path):
        with path.open() as file:
            return [
                {name: value for name, value in row.items() if name != "seconds_per_step"}
                for row in csv.DictReader(file)
            ]

    assert rows(tmp_path / "history.csv") == rows(tmp_path / "straight" / "history.csv")


def test_progress_says_when_it_will_be_over(start, data, capsys):
    run(start(), data(), ProgressLine(15, interval=0.0))
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1].startswith("epoch 3/3, step 15/15, ")
    assert "ETA 0:00:00" in lines[-1]
    assert "loss " in lines[-1]
