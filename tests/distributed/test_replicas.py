"""Replicas that train together: two mirrored CPUs against one, and what is refused early.

Several real processes are in test_workers.py.
"""

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pytest
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.cli import main
from tfcyclegan.distributed.replicas import check_batch
from tfcyclegan.distributed.workers import Workers, callback_list, check_callbacks, make_strategy

TWO = SimpleNamespace(count=2, all_reduce=lambda values: [2 * value for value in values])
SCRIPT = Path(__file__).parents[1] / "tiny_run.py"


def draw_noise(folder):
    """24 and 20 pictures to train on, 5 and 3 to test on: the last batch of four has one alone."""
    for split, count in (("trainA", 24), ("trainB", 20), ("testA", 5), ("testB", 3)):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng([count, index]).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return draw_noise(tmp_path_factory.mktemp("noise") / "data")


def started(strategy, out, folder, options, environment=None):
    """A process of tiny_run.py."""
    return subprocess.Popen(
        [sys.executable, SCRIPT, strategy, out, json.dumps({"folder": str(folder), **options})],
        env={**os.environ, **(environment or {}), "TF_CPP_MIN_LOG_LEVEL": "2"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def ended(process, out):
    """What it came to."""
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said
    with np.load(out) as file:
        return {name: file[name] for name in file.files}


KNOWN = {}


@pytest.fixture
def trained(noise, tmp_path):
    """Trains on "none" or "mirrored", and gives the outcome; the same one is not trained twice."""

    def train(strategy, **options):
        key = json.dumps([strategy, options], sort_keys=True)
        if key not in KNOWN or "checkpoints" in options:
            out = tmp_path / f"{strategy}-{len(list(tmp_path.iterdir()))}.npz"
            KNOWN[key] = ended(started(strategy, out, noise, options), out)
        return KNOWN[key]

    return train


def history(outcome):
    return json.loads(str(outcome["history"]))


def assert_close(one, other, tolerance=1e-5):
    """Networks and losses; biases in front of an instance norm aside, whose gradient is noise."""
    aside = ("c7_in/bias", "d1/bias", "d2/bias", "r1a/bias", "r1b/bias", "u1/bias", "u2/bias")
    compared = 0
    for name, value in one.items():
        discriminator_middle = name.startswith("D_") and name.endswith("c2/bias")
        if name[:1] in "GFD" and not name.endswith(aside) and not discriminator_middle:
            for copy in other[name]:
                np.testing.assert_allclose(copy, value[0], atol=tolerance, rtol=0, err_msg=name)
            compared += 1
    assert compared >= 20
    losses, others = history(one), history(other)
    assert losses.keys() == others.keys()
    for name, values in losses.items():
        np.testing.assert_allclose(others[name], values, rtol=2e-5, err_msg=name)


def moved(outcome, others):
    """How far the weights of two outcomes lie apart, at most."""
    return max(
        np.abs(outcome[name][0] - others[name][0]).max() for name in outcome if "ker" in name
    )


def test_mirrored_is_one_device_with_the_whole_batch(trained):
    """Weights, losses, validation where a replica gets nothing of the last batch, the position."""
    alone = trained("none")
    mirrored = trained("mirrored", pool_size=0)
    assert_close(alone, mirrored)
    assert "val_cycle_A" in history(mirrored)
    assert alone["position"] == mirrored["position"] == mirrored["step"] == 18
    for name, value in mirrored.items():
        if name[:1] in "GFD":
            np.testing.assert_array_equal(value[0], value[1], err_msg=name)
    # Enough has changed for this to mean something.
    losses = history(alone)["cycle_A"]
    assert abs(losses[-1] - losses[0]) > 1e-3


def test_somebodys_own_dataset(trained):
    """It is sharded by TensorFlow, to the same effect."""
    options = {"plain_datasets": True, "epochs": 1}
    assert_close(trained("none", **options), trained("mirrored", **options))


def test_each_replica_has_its_pool(trained):
    """Both are full, of different pictures, and the discriminators learn from both."""
    outcome = trained("mirrored", pool_size=3)
    pools = [outcome[f"replica_{replica}/pool_A/000/images"] for replica in (0, 1)]
    for pool in pools:
        assert np.all(np.abs(pool).max(axis=(1, 2, 3)) > 0)
    assert not np.array_equal(*pools)
    steps = trained("mirrored", pool_size=0)
    assert moved(outcome, steps) > 1e-6


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"pool_size": 3, "dropout": 0.5, "norm": "batch"},
        {"pool_size": 3, "precision": "mixed_float16"},
    ],
)
def test_mirrored_resumes_as_if_never_stopped(options, trained, tmp_path):
    """Midway through an epoch; batch norm's averages are the same on all replicas."""
    straight = trained("mirrored", **options)
    resumed = trained("mirrored", **options, stop=9, checkpoints=str(tmp_path / "checkpoints"))
    assert straight.keys() == resumed.keys()
    for name, value in straight.items():
        if name != "history":
            np.testing.assert_array_equal(value, resumed[name], err_msg=name)
        if name[:1] in "GFD" and "moving" in name:
            np.testing.assert_array_equal(value[0], value[1], err_msg=name)
    before, after = history(straight), history(resumed)
    for name, values in after.items():
        assert values == before[name][-len(values) :], name


def test_an_overflow_on_the_second_replica_alone(trained):
    """The step is left out everywhere, and the loss scale halved."""
    undisturbed = trained("mirrored", precision="mixed_float16", pool_size=3)
    outcome = trained("mirrored", precision="mixed_float16", pool_size=3, overflow=9)
    for name in ("generator_optimizer", "discriminator_optimizer"):
        assert outcome[f"{name}/iterations"] == undisturbed[f"{name}/iterations"] - 1
        scales = undisturbed[f"{name}/scale"]
        assert outcome[f"{name}/scale"].tolist() == (scales / 2).tolist()
        assert scales[0] == scales[1]
    assert outcome["step"] == 18
    for name, value in outcome.items():
        if name[:1] in "GFD":
            assert np.isfinite(value).all(), name
            np.testing.assert_array_equal(value[0], value[1], err_msg=name)


@pytest.mark.slow
def test_goes_on_with_other_numbers_of_replicas(trained, tmp_path):
    """From one device to two and back: the weights are handed over, pools as far as they go."""
    checkpoints = {"checkpoints": str(tmp_path / "checkpoints"), "pool_size": 3}
    one = trained("none", **checkpoints, epochs=1)
    two = trained("mirrored", **checkpoints, epochs=2)
    again = trained("none", **checkpoints, epochs=3)
    assert (one["step"], two["step"], again["step"]) == (6, 12, 18)
    assert len(history(two)["loss"]) == len(history(again)["loss"]) == 1
    straight = trained("none", pool_size=3)
    assert moved(again, straight) < 2e-4  # not the same pools, but the same run


@pytest.mark.slow
def test_the_command_line_on_two_mirrored_devices(run_python, tmp_path):
    """A whole run: measured on the way, validated, exported."""
    out = run_python(
        """
import os, sys
import tensorflow as tf
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfcyclegan.cli import main
os.chdir(sys.argv[1])
sys.exit(main(["train", "--strategy", "mirrored", *sys.argv[2:]]))
""",
        tmp_path,
        *("--image-size", 16, "--batch-size", 4, "--filters", 4, "--blocks", 1, "--epochs", 2),
        *("--discriminator-filters", 4, "--discriminator-layers", 1, "--steps-per-epoch", 5),
        *("--evaluate-every", 1, "--validation-every", 1, "--no-tensorboard"),
    )
    assert "Exported to exports/shapes" in out
    result = json.loads((tmp_path / "runs/shapes/result.json").read_text())
    assert result["steps"] == 10
    assert result["losses"]["val_loss"] > 0
    assert (tmp_path / "runs/shapes/samples/epoch_0002.png").exists()
    assert (tmp_path / "exports/shapes/serving/AtoB/1/saved_model.pb").exists()


# ------------------------------------------------------------------------- what is refused


def test_batch_that_cannot_be_shared(make_model):
    check_batch(8, 4)
    with pytest.raises(ValueError, match="3 pictures cannot be shared evenly by 2 replicas: take "):
        check_batch(3, 2)


def test_mirrored_needs_several_devices(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["train", "--strategy", "mirrored"]) == 2
    error = capsys.readouterr().err
    assert "is the only device" in error
    assert error.count("\n") == 1
    assert not (tmp_path / "runs").exists()


def test_refuses_at_compile_time(run_python):
    """With two replicas: XLA, several steps a call, an optimizer or networks from outside."""
    said = run_python(
        """
import keras, tensorflow as tf, tfcyclegan
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfcyclegan.distributed.workers import make_strategy
strategy = make_strategy("mirrored")
def small():
    return {n: tfcyclegan.resnet_generator(16, filters=2, blocks=0, name=n) if n in "GF" else
            tfcyclegan.patch_discriminator(16, filters=2, layers=1, name=n)
            for n in ("G", "F", "D_A", "D_B")}
outside = small()
with strategy.scope():
    inside = small()
    model = tfcyclegan.CycleGAN(**inside, image_size=16, pool_size=0)
def refused(act):
    try:
        act()
    except ValueError as problem:
        print(problem)
    else:
        print("NOT REFUSED")
refused(lambda: model.compile(steps_per_execution=2))
refused(lambda: model.compile(jit_compile=True))
refused(lambda: model.compile(keras.optimizers.Adam()))
refused(lambda: tfcyclegan.CycleGAN(**{**inside, "F": outside["F"]}, image_size=16, pool_size=0))
def in_scope():
    with strategy.scope():
        tfcyclegan.CycleGAN(**outside, image_size=16, pool_size=0)
refused(in_scope)
model.compile()
data = tfcyclegan.load_data("shapes", image_size=16, batch_size=3, steps_per_epoch=2)
refused(lambda: model.fit(data.train, verbose=0))
refused(lambda: model.fit(data.train.map(lambda A, B: (A, B)), verbose=0))
refused(lambda: model.fit(data.train.unbatch().batch(2), verbose=0))
pictures = keras.random.uniform((4, 16, 16, 3))
refused(lambda: model.fit(pictures, y=pictures, verbose=0))
"""
    ).splitlines()
    wanted = (
        "steps_per_execution=2: with several replicas it must be 1",
        "XLA does not work with several replicas",
        "adam was made in the scope of another strategy",
        "F was made in the scope of another strategy",
        "G was made in the scope of another strategy",
        "3 pictures cannot be shared evenly by 2 replicas",
        "3 pictures cannot be shared evenly by 2 replicas",
        "give a tf.data.Dataset made with .batch(size, drop_remainder=True)",
        "give a tf.data.Dataset made with .batch(size, drop_remainder=True)",
    )
    assert len(said) == len(wanted)
    for line, words in zip(said, wanted, strict=True):
        assert words in line, line


def test_strategies_of_one_replica(run_python):
    """Any scope will do, with everything in it, data included; nothing is divided or refused."""
    said = run_python(
        """
import keras, tensorflow as tf, tfcyclegan
for make in (
    lambda: tf.distribute.OneDeviceStrategy("CPU"),
    lambda: tf.distribute.MirroredStrategy(["CPU:0"]),
    tf.distribute.MultiWorkerMirroredStrategy,
):
    strategy = make()
    keras.utils.set_random_seed(0)
    with strategy.scope():
        data = tfcyclegan.load_data("shapes", image_size=16, batch_size=2, steps_per_epoch=2)
        networks = {n: tfcyclegan.resnet_generator(16, filters=2, blocks=0, name=n) if n in "GF"
                    else tfcyclegan.patch_discriminator(16, filters=2, layers=1, name=n)
                    for n in ("G", "F", "D_A", "D_B")}
        model = tfcyclegan.CycleGAN(**networks, image_size=16, pool_size=2)
        model.compile()
        history = model.fit(data.train, epochs=2, verbose=0).history
        pictures = model.translate(next(iter(data.test_A)))
    print(data.position, pictures.shape, f"{history['loss'][-1]:.4f}")
"""
    ).splitlines()
    assert len(said) == 3
    assert said[0].startswith("4 (2, 16, 16, 3)")
    assert said[0] == said[1] == said[2]


def test_callbacks_that_know_nothing_of_other_workers(tmp_path):
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


def test_alone_agreeing_costs_nothing(make_model):
    model = make_model()
    workers = Workers(model.strategy)
    assert (workers.count, workers.replicas, workers.first, workers.chief) == (1, 1, 0, True)
    assert workers.all_reduce([3, 4]) == [3, 4]
    assert workers.broadcast("über") == "über"
    with pytest.raises(InputError, match="full"):
        workers.run_on_chief(lambda: (_ for _ in ()).throw(InputError("full")))
    assert make_strategy("none") is model.strategy
