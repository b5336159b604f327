"""Keras's `fit` under a strategy, and what workers do in it, in one process.

test_replicas.py and test_workers.py train on several devices and processes.
"""

import gc
import multiprocessing.pool
import weakref
from types import SimpleNamespace

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError
from tfcyclegan.distributed.fit import DistributedModel
from tfcyclegan.distributed.workers import (
    CollectiveTimeout,
    Workers,
    callback_list,
    check_callbacks,
    make_strategy,
)
from tfcyclegan.errors import PeerLost

#: Two workers that behave alike, as far as callbacks can tell.
TWO = SimpleNamespace(count=2, all_reduce=lambda values: [2 * value for value in values])


def test_callbacks_that_do_not_work_with_several_workers(tmp_path):
    stock = [
        keras.callbacks.ModelCheckpoint(tmp_path / "{epoch}.keras"),
        keras.callbacks.BackupAndRestore(tmp_path / "backup"),
    ]
    for callback in stock:
        check_callbacks([callback], SimpleNamespace(count=1))
        with pytest.raises(ValueError, match=f"{type(callback).__name__} does not work with sev"):
            check_callbacks([keras.callbacks.CSVLogger("x"), callback], TWO)
        with pytest.raises(ValueError, match=r"Use tfcyclegan\.ResumableState"):
            check_callbacks(callback_list(callback), TWO)


def test_one_worker(make_model):
    """Collective operations return at once."""
    model = make_model()
    workers = Workers(model.strategy)
    assert (workers.count, workers.replicas, workers.first, workers.chief) == (1, 1, 0, True)
    assert workers.all_reduce([3, 4]) == [3, 4]
    assert workers.broadcast("über") == "über"
    with pytest.raises(InputError, match="full"):
        workers.run_on_chief(lambda: (_ for _ in ()).throw(InputError("full")))
    assert make_strategy("none") is model.strategy


def test_a_model_on_one_device(make_model, pairs):
    model = make_model()
    assert isinstance(model, DistributedModel)
    assert model.distribute_strategy is model.strategy is tf.distribute.get_strategy()
    logs = {"loss": tf.constant(1.0)}
    assert model.gathered(logs) is logs
    model.compile()
    losses = model.fit(pairs, verbose=0).history
    assert model.evaluate(pairs, verbose=0, return_dict=True).keys() <= losses.keys()


def test_every_step_has_a_timer():
    """It is stopped after the step. Without a known number of steps one more step begins."""
    said = []
    workers = SimpleNamespace(
        start_timer=lambda: said.append("start"), cancel_timer=lambda: said.append("cancel")
    )
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(loss="mse")
    data = tf.data.Dataset.from_tensor_slices((np.ones((2, 1)), np.ones((2, 1)))).batch(1)
    data = data.filter(lambda x, y: True)
    model.fit(data, callbacks=[CollectiveTimeout(workers)], shuffle=False, verbose=0)
    assert said[:4] == ["start", "cancel"] * 2
    assert said[-1] == "cancel"


def test_a_lost_worker_leaves_no_pool_of_threads():
    """TensorFlow leaves its pool open when a collective fails. Python may print that at exit."""
    pools = []

    def reduce():
        pool = multiprocessing.pool.ThreadPool(1)
        pools.append(weakref.ref(pool))
        pool.map(fail, [None])

    def fail(_):
        raise tf.errors.UnavailableError(None, None, "Collective ops is aborted")

    workers = Workers(tf.distribute.get_strategy())
    workers.count = 2
    gc.disable()
    try:
        with pytest.raises(PeerLost, match="another worker was lost"), workers.watched():
            reduce()
        assert pools[0]() is None
    finally:
        gc.enable()
