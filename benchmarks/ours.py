"""This package's side of every contest: tasks that a fresh process does and reports."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from .contest import resident_memory, serve, steps_from, timed


def _model(size: int, blocks: int, precision: str) -> Any:
    import keras

    import tfcyclegan
    from tfcyclegan.precision import resolve_precision

    keras.config.set_dtype_policy(resolve_precision(precision)[0])
    generators = (
        tfcyclegan.resnet_generator(size, blocks=blocks, name=name) for name in ("G", "F")
    )
    model = tfcyclegan.CycleGAN(*generators, image_size=size)
    model.compile()
    assert model.D_A.count_params() == 2_764_737
    assert blocks != 9 or model.G.count_params() == 11_378_179
    return model


def replicas(way: str, size: int, blocks: int, batch: int, precision: str, steps: int) -> dict:
    """Seconds a step on one device, on two mirrored CPUs, or on two workers ("workers")."""
    settings = dict(locals())
    import tensorflow as tf

    from tfcyclegan.distributed.workers import make_strategy

    if way == "workers" and "TF_CONFIG" not in os.environ:
        return _in_two_workers(settings)
    if way == "mirrored":
        (cpu,) = tf.config.list_physical_devices("CPU")
        two = [tf.config.LogicalDeviceConfiguration() for _ in range(2)]
        tf.config.set_logical_device_configuration(cpu, two)
    strategy = make_strategy({"one": "none", "workers": "multiworker"}.get(way, way))
    with strategy.scope():
        model = _model(size, blocks, precision)
    return steps_from(_steps(model, size, batch, steps + 1))


def _in_two_workers(settings: dict) -> dict:
    """Starts both, and gives what the first one found."""
    addresses = []
    for _ in range(2):
        with socket.create_server(("127.0.0.1", 0)) as free:
            addresses.append(f"127.0.0.1:{free.getsockname()[1]}")
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    workers = [
        subprocess.Popen(
            [sys.executable, "-m", "benchmarks.ours", "replicas", json.dumps(settings)],
            env={
                **os.environ,
                "TF_CONFIG": json.dumps({"cluster": {"worker": addresses}, "task": task}),
            },
            stdout=subprocess.PIPE,
            text=True,
        )
        for task in tasks
    ]
    found = [worker.communicate()[0] for worker in workers]
    return json.loads(found[0].splitlines()[-1])


def _steps(model: Any, size: int, batch: int, steps: int) -> list[float]:
    """Times, in seconds since 1970, at which the steps of `fit` ended, the start first."""
    import keras
    import tensorflow as tf

    random = np.random.default_rng(0)
    images = random.uniform(-1, 1, (2, batch, size, size, 3)).astype(np.float32)
    data = tf.data.Dataset.from_tensors((images[0], images[1])).repeat(steps)
    ends = []

    class Clock(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch: int, logs: dict | None = None) -> None:
            if not ends:
                ends.append(time.time())

        def on_train_batch_end(self, batch: int, logs: dict | None = None) -> None:
            ends.append(time.time())

    model.fit(data, verbose=0, callbacks=[Clock()])
    return ends


def train_step(size: int, blocks: int, batch: int, precision: str, steps: int) -> dict:
    """Seconds of each step but the first, and when the first had ended."""
    return steps_from(_steps(_model(size, blocks, precision), size, batch, steps + 1))


def scaling(cases: Sequence[tuple[int, int, int]], precision: str, steps: int) -> dict:
    """Seconds a step for each `(size, blocks, batch)`, the quickest of a few."""
    return {"seconds": [min(train_step(*case, precision, steps)["steps"]) for case in cases]}


def matmul(precision: str, side: int = 4096) -> dict:
    """GFLOP/s of a large matrix product."""
    import tensorflow as tf

    dtype = {"float32": tf.float32, "mixed_bfloat16": tf.bfloat16}[precision]
    a = tf.cast(tf.random.normal((side, side)), dtype)
    return {"rate": 2 * side**3 / 1e9 / min(timed(lambda: tf.matmul(a, a), 8))}


def export(folder: str, size: int) -> dict:
    """Writes what `inference` measures: a generator of the paper in every form."""
    import keras

    import tfcyclegan
    from tfcyclegan.export import export_model

    keras.utils.set_random_seed(0)
    model = tfcyclegan.CycleGAN(image_size=size)
    model.save(Path(folder) / "model.keras")
    images = np.random.default_rng(0).uniform(-1, 1, (1, size, size, 3)).astype(np.float32)
    for precision in ("float32", "bfloat16"):
        export_model(
            model,
            (images, images),
            Path(folder) / precision,
            directions=("AtoB",),
            count=1,
            precision=precision,
            enforce=False,  # weights that have not learned are no measure of fidelity
        )
    return {}


def inference(folder: str, form: str, size: int, batch: int, repeats: int) -> dict:
    """Seconds a call of `batch` pictures, and of the first one from the process's start."""

    images = np.random.default_rng(0).uniform(-1, 1, (batch, size, size, 3)).astype(np.float32)
    call = _LOADERS[form.split()[0]](Path(folder), form, images)
    call()
    first = time.time()
    return {"first": first, "seconds": timed(call, repeats)}


def _keras(folder: Path, form: str, images: Any) -> Callable[[], Any]:
    import keras

    import tfcyclegan  # noqa: F401 (its layers)

    model = keras.saving.load_model(folder / "model.keras")
    return lambda: model.G.predict_on_batch(images)


def _saved_model(folder: Path, form: str, images: Any) -> Callable[[], Any]:
    import tensorflow as tf

    precision = form.split()[1]
    loaded = tf.saved_model.load(str(folder / precision / "serving" / "AtoB" / "1"))
    signature = loaded.signatures["serving_default"]
    given = tf.constant(images)
    return lambda: {name: value.numpy() for name, value in signature(images=given).items()}


def _litert(folder: Path, form: str, images: Any) -> Callable[[], Any]:
    import os

    from ai_edge_litert.interpreter import Interpreter

    path = folder / "float32" / "litert" / f"AtoB-{form.split()[1]}.tflite"
    interpreter = Interpreter(str(path), num_threads=os.cpu_count())
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    drawn = interpreter.get_output_details()[0]["index"]

    def call() -> None:  # a file takes one picture at a time
        for image in images:
            interpreter.set_tensor(given, image[None])
            interpreter.invoke()
            interpreter.get_tensor(drawn)

    return call


_LOADERS = {"Keras": _keras, "SavedModel": _saved_model, "LiteRT": _litert}


def data(source: str, data_dir: str, epochs: int, steps: int) -> dict:
    """Seconds a picture in the first epoch, from opening on, and in the others; memory by epoch."""
    from tfcyclegan import load_data

    seconds, memory = [], []
    start = time.perf_counter()
    data = load_data(source, data_dir=data_dir or None, image_size=256)
    assert data.steps_per_epoch == steps
    for _ in range(epochs):
        count = 0
        for _, _ in data.train:
            count += 2
        assert count == 2 * steps
        seconds.append((time.perf_counter() - start) / count)
        memory.append(resident_memory())
        start = time.perf_counter()
    return {"seconds": seconds, "memory": memory}


if __name__ == "__main__":
    tasks = (train_step, scaling, replicas, matmul, export, inference, data)
    serve({task.__name__: task for task in tasks})
