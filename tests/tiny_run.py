"""Trains a tiny model on one device, on two mirrored CPUs or as a worker, and saves the result.

    python tests/tiny_run.py <<< '["mirrored", "out.npz", {"folder": "data", "pool_size": 3}]'

Each line of the standard input is a run with strategy none, mirrored or multiworker. It needs its
own process because a process sets its number of devices only once. The result has every network's
variables, each replica's own state, and the history as JSON.
"""

import contextlib
import json
import os
import random
import socket
import sys
from pathlib import Path
from unittest import mock

import keras
import numpy as np
import tensorflow as tf

import tfcyclegan
from tfcyclegan.distributed.replicas import local_copies, replica_id
from tfcyclegan.distributed.workers import Workers, make_strategy
from tfcyclegan.players import Player


def worker_environments(count=2):
    """The environment variables of each worker of a cluster on this machine."""
    addresses = []
    # Not a port that the system gives to outgoing connections, and not from a seeded generator.
    for port in random.SystemRandom().sample(range(10000, 32000), 1000):
        with contextlib.suppress(OSError), socket.create_server(("127.0.0.1", port)):
            addresses.append(f"127.0.0.1:{port}")
        if len(addresses) == count:
            break
    tasks = [{"type": "worker", "index": index} for index in range(count)]
    cluster = {"worker": addresses}
    return [{"TF_CONFIG": json.dumps({"cluster": cluster, "task": task})} for task in tasks]


def networks(precision, norm="instance", dropout=0.0):
    settings = {"filters": 4, "norm": norm, "dtype": precision}
    return {
        **{
            name: tfcyclegan.resnet_generator(16, blocks=1, dropout=dropout, name=name, **settings)
            for name in ("G", "F")
        },
        **{
            name: tfcyclegan.patch_discriminator(16, layers=1, name=name, **settings)
            for name in ("D_A", "D_B")
        },
    }


def tiny_features():
    """A small network with maps at two strides, which stands for a pretrained one."""
    images = keras.Input((None, None, 3))
    large = keras.layers.Conv2D(4, 3, 4, "same", activation="relu", name="large")(images)
    small = keras.layers.Conv2D(6, 3, 2, "same", activation="relu", name="small")(large)
    return keras.Model(images, [large, small], name="features")


def several_discriminators(name, precision="float32", translation=0.25):
    """A projected discriminator and a PatchGAN as one."""
    patch = tfcyclegan.patch_discriminator(16, filters=4, layers=1, dtype=precision, name="patch")
    projected = tfcyclegan.projected_discriminator(
        filters=4, features=tiny_features(), pixels="torch", dtype=precision, name="projected"
    )
    return tfcyclegan.join_discriminators([projected, patch], translation, name)


class StopAt(keras.callbacks.Callback):
    """Leaves `fit` abruptly after a step, as a killed process would."""

    def __init__(self, step):
        super().__init__()
        self._step = step

    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.step.numpy()) == self._step:
            raise KeyboardInterrupt


def overflow_on_the_second_replica(model, step):
    """Makes a gradient infinite in one step of both optimizers, only on replica 1.

    Returns a context manager.
    """
    apply = Player._apply

    def injected(player, gradients):
        there = tf.logical_and(replica_id() == 1, model.step.value == step)
        gradients = [
            g if g is None else g + tf.where(there, tf.constant(np.inf, g.dtype), 0)
            for g in gradients
        ]
        apply(player, gradients)

    return mock.patch.object(Player, "_apply", injected)


def run(strategy_name, folder, options):
    """Trains; returns the model, the data and the history."""
    strategy = make_strategy(strategy_name)
    data = tfcyclegan.load_data(
        folder, image_size=16, batch_size=options.get("batch_size", 4), preprocess="none"
    )
    train, validation = data.train, data.validation
    if options.get("plain_datasets"):  # like a user's own
        train, validation = train.map(lambda A, B: (A, B)), None

    def start():
        keras.utils.set_random_seed(0)
        with strategy.scope():
            precision = options.get("precision", "float32")
            four = networks(precision, options.get("norm", "instance"), options.get("dropout", 0.0))
            if "translation" in options:
                for name in ("D_A", "D_B"):
                    four[name] = several_discriminators(name, precision, options["translation"])
            model = tfcyclegan.CycleGAN(
                **four,
                image_size=16,
                pool_size=options.get("pool_size", 0),
                ema_momentum=options.get("ema_momentum", 0.0),
            )
            model.compile(**{"learning_rate": 2e-5, **options.get("compile", {})})
        return model

    model = start()
    settings = {"epochs": options.get("epochs", 3), "verbose": 0, "validation_data": validation}

    def state():
        return tfcyclegan.ResumableState(options["checkpoints"], data, every=1)

    if "stop" in options:
        try:
            model.fit(train, callbacks=[state(), StopAt(options["stop"])], **settings)
        except KeyboardInterrupt:
            model = start()
    callbacks = [state()] if "checkpoints" in options else []
    step = options.get("overflow")
    with overflow_on_the_second_replica(model, step) if step else contextlib.nullcontext():
        history = model.fit(train, callbacks=callbacks, **settings).history
    if validation is not None:
        evaluated = model.evaluate(validation, verbose=0, return_dict=True)
        for name, value in evaluated.items():
            assert abs(value - history[f"val_{name}"][-1]) < 1e-6, name
    return model, data, history


def outcome(model, data, history):
    """Everything that can be compared, by name."""
    workers = Workers(model.strategy)
    arrays = {"position": np.array(data.position), "step": np.array(int(model.step.numpy()))}
    nets = dict(model.networks)
    if model.ema_momentum:
        nets |= {"G_average": model.G_average, "F_average": model.F_average}
    for name, net in nets.items():
        for place, variable in enumerate(net.variables):
            # The paths of random generators contain a counter of the process.
            path = variable.name if "seed" in variable.path else variable.path
            arrays[f"{name}/{place}/{path}"] = np.stack(
                [copy.numpy() for copy in local_copies(variable)]
            )
    for name, variable in model.state().items():
        if variable.synchronization == "on_read":
            for place, copy in enumerate(local_copies(variable)):
                arrays[f"replica_{workers.first + place}/{name}"] = copy.numpy()
    for name in ("generator_optimizer", "discriminator_optimizer"):
        optimizer = getattr(model, name)
        arrays[f"{name}/iterations"] = np.array(int(optimizer.iterations.numpy()))
        if hasattr(optimizer, "dynamic_scale"):
            scale = optimizer.dynamic_scale
            arrays[f"{name}/scale"] = np.stack([c.numpy() for c in local_copies(scale)])
    arrays["history"] = np.array(json.dumps({k: list(map(float, v)) for k, v in history.items()}))
    return arrays


if __name__ == "__main__":
    if "TF_CONFIG" not in os.environ:
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
        tf.config.set_logical_device_configuration(cpu, two)
    for line in sys.stdin:
        strategy_name, out, options = json.loads(line)
        keras.backend.clear_session()  # so that equal layers get equal names
        np.savez(out, **outcome(*run(strategy_name, Path(options["folder"]), options)))
        print("saved", out, flush=True)
