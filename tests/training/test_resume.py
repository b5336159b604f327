"""Resuming a training and stopping it, with `fit` as a Keras user calls it."""

import os
import signal

import keras
import numpy as np
import pytest
from tiny_run import StopAt

from tfcyclegan import InputError, ResumableState, load_data
from tfcyclegan.errors import Interrupted, NonFiniteLoss
from tfcyclegan.training.checkpoints import Checkpoints
from tfcyclegan.training.resume import StopOnSignal

UNDISTURBED = {}


@pytest.fixture
def straight(start, data, fit, state):
    """The state and the history after an undisturbed training."""
    if not UNDISTURBED:  # every test has the same initial weights and data
        model = start()
        UNDISTURBED.update(history=fit(model, data()), state=state(model))
    return UNDISTURBED["state"], UNDISTURBED["history"]


class Steps(keras.callbacks.Callback):
    """Lists the steps that are trained."""

    def on_train_begin(self, logs=None):
        self.steps = []

    def on_train_batch_end(self, batch, logs=None):
        self.steps.append(int(self.model.step.numpy()))


@pytest.mark.parametrize(("stops", "every"), [([2], None), ([5], 1), ([8], None), ([7, 8, 14], 3)])
def test_resumed_as_if_never_stopped(
    stops, every, straight, start, data, fit, state, assert_equal, tmp_path
):
    """Weights, moments, pools, dropout and the epochs' means are equal bit for bit."""
    expected, history = straight
    for stop in stops:
        with pytest.raises(KeyboardInterrupt):
            fit(start(), d := data(), ResumableState(tmp_path, d, every), StopAt(stop))
    resumed, d, trained = start(), data(), Steps()
    rest = fit(resumed, d, ResumableState(tmp_path, d, every), trained)
    assert_equal(state(resumed), expected)
    first = trained.steps[0]
    assert trained.steps == list(range(first, 16))
    assert stops[-1] - (every or d.steps_per_epoch) < first <= stops[-1] + 1
    for term, values in rest.items():
        np.testing.assert_array_equal(values, history[term][-len(values) :], err_msg=term)


def test_a_new_model_resumes(
    straight, start, new_model, data, fit, state, assert_equal, tmp_path, caplog
):
    """Nothing in the Python objects of the stopped training is needed."""
    with pytest.raises(KeyboardInterrupt):
        fit(start(), d := data(), ResumableState(tmp_path, d, every=1), StopAt(8))
    resumed, d = new_model(), data()
    with caplog.at_level("INFO"):
        fit(resumed, d, ResumableState(tmp_path, d, every=1))
    assert_equal(state(resumed), straight[0])
    assert "step_000000008.npz (0 MB), step 8 of 15" in caplog.text


def test_a_checkpoint_is_not_written_again(start, data, fit, tmp_path):
    """The state of a step is saved once, however often `save` is called."""
    d = data()
    callback = ResumableState(tmp_path, d)
    fit(start(), d, callback)
    newest = callback.checkpoints.paths()[0]
    before = newest.stat()
    assert callback.save() == newest
    assert (newest.stat().st_ino, newest.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_finished_training_does_not_change(
    straight, start, data, fit, state, assert_equal, tmp_path
):
    fit(start(), d := data(), ResumableState(tmp_path, d))
    again = start()
    fit(again, d := data(), ResumableState(tmp_path, d))
    assert_equal(state(again), straight[0])
    # The first epoch that the callback sets in Keras does not stay in the model.
    assert len(fit(again, data())["loss"]) == 3


def test_early_stopping(start, data, fit, tmp_path):
    stop = keras.callbacks.EarlyStopping("cycle_A", patience=0, min_delta=1e3, mode="min")
    history = fit(start(), d := data(), ResumableState(tmp_path, d), stop)
    assert len(history["loss"]) == 2


@pytest.mark.parametrize("damage", ["cut", "flip", "empty", "text"])
def test_a_damaged_checkpoint_is_named_and_the_one_before_used(
    damage, straight, start, data, fit, state, assert_equal, tmp_path, caplog
):
    with pytest.raises(KeyboardInterrupt):
        fit(start(), d := data(), ResumableState(tmp_path, d, every=2), StopAt(9))
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
    callback = ResumableState(tmp_path, d, every=2)
    fit(resumed, d, callback)
    assert callback.restored == before
    assert newest.with_name(f"{newest.name}.damaged").exists()
    assert f"{newest} is damaged" in caplog.text
    assert_equal(state(resumed), straight[0])


def test_other_data(start, fit, folder, tmp_path):
    def load():
        return load_data(folder, image_size=16, seed=5)

    fit(start(), d := load(), ResumableState(tmp_path, d))
    (folder / "trainB" / "0.png").unlink()
    with pytest.raises(InputError, match=r"pictures was .*'trainB': 3.*, now .*'trainB': 2"):
        fit(start(), d := load(), ResumableState(tmp_path, d))


def test_with_more_epochs_the_rate_falls_over_all_of_them(start, data, fit, tmp_path):
    model = start()
    fit(model, d := data(), ResumableState(tmp_path, d))
    assert int(model.total_steps.numpy()) == 15
    d, model = data(), start()
    rates = model.fit(
        d.train, epochs=6, verbose=0, callbacks=[ResumableState(tmp_path, d)]
    ).history["learning_rate"]
    assert int(model.total_steps.numpy()) == 30
    assert rates[-1] == pytest.approx(1e-3 / 15)
    assert len(model.fit(d.train, epochs=1, verbose=0).history["loss"]) == 1


def test_weights_that_are_not_finite_are_not_saved(start, data, fit, tmp_path):
    """The losses of a step do not yet show the weights after it."""

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                weight = self.model.F.trainable_variables[0]
                weight.assign_add(np.full(weight.shape, np.inf))

    with pytest.raises(NonFiniteLoss, match=r"F/\S+ is not finite at step 3.*step_000000002\.npz"):
        fit(start(), d := data(), Spoil(), ResumableState(tmp_path, d, every=1))
    assert Checkpoints(tmp_path).paths()[0].name == "step_000000002.npz"


def test_a_loss_that_is_not_finite_stops_before_it_is_saved(
    start, data, fit, state, assert_equal, tmp_path
):
    good = {}

    class Spoil(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 3:
                good.update(state(self.model))
                # The last bias, because a ReLU after it would turn NaN into 0.
                self.model.G.trainable_variables[-1].assign([np.nan] * 3)

    with pytest.raises(NonFiniteLoss, match=r"loss is nan at step 4: .*step_000000003\.npz"):
        fit(start(), d := data(), Spoil(), ResumableState(tmp_path, d, every=1))
    again = start()
    Checkpoints(tmp_path).restore(again)
    assert_equal(state(again), good)


def test_epochs_of_another_length(start, data, tmp_path):
    d = data()
    with pytest.raises(ValueError, match="give steps_per_epoch to load_data, not to fit"):
        start().fit(d.train, steps_per_epoch=2, verbose=0, callbacks=[ResumableState(tmp_path, d)])


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_finishes_the_step_and_saves(
    number, straight, start, data, fit, state, assert_equal, tmp_path
):
    class Send(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if batch == 2:
                os.kill(os.getpid(), number)

    d = data()
    callback = ResumableState(tmp_path, d)
    stop = StopOnSignal(callback)
    before = signal.getsignal(number)
    with pytest.raises(Interrupted) as caught:
        fit(start(), d, Send(), callback, stop)
    stop.restore_handlers()
    assert signal.getsignal(number) is before
    assert caught.value.signal == number
    assert caught.value.checkpoint.name == "step_000000003.npz"
    resumed = start()
    fit(resumed, d := data(), ResumableState(tmp_path, d))
    assert_equal(state(resumed), straight[0])
