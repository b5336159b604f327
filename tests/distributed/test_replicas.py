"""Replicas that train together: two mirrored CPUs against one device.

test_workers.py starts several real processes.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan.cli import main
from tfcyclegan.distributed.replicas import (
    all_reduce_overflow,
    check_batch,
    check_compiling,
    distribute,
    is_distributed,
    local_copies,
    local_copy,
    pad_empty_batch,
    replica_count,
    replica_id,
    strategy_of,
)

SCRIPT = Path(__file__).parents[1] / "tiny_run.py"


def draw_noise(folder):
    """24 and 20 training pictures, 5 and 3 test pictures (batches of four: 4 + 1)."""
    for split, count in (("trainA", 24), ("trainB", 20), ("testA", 5), ("testB", 3)):
        (folder / split).mkdir(parents=True)
        for index in range(count):
            pixels = np.random.default_rng([count, index]).integers(0, 256, (16, 16, 3), np.uint8)
            Image.fromarray(pixels).save(folder / split / f"{index:02}.png")
    return folder


@pytest.fixture(scope="module")
def noise(tmp_path_factory):
    return draw_noise(tmp_path_factory.mktemp("noise") / "data")


class Runs:
    """A process of tiny_run.py.

    Args:
        folder: the pictures.
        environment: environment variables of the process.
    """

    def __init__(self, folder, environment=None):
        self._folder = str(folder)
        self._process = subprocess.Popen(
            [sys.executable, SCRIPT],
            env={**os.environ, **(environment or {}), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip

    def start(self, strategy, out, **options):
        """Starts a run."""
        job = [strategy, str(out), {"folder": self._folder, **options}]
        print(json.dumps(job), file=self._process.stdin, flush=True)

    def outcome(self, out):
        """Waits for the end of a run and returns its outcome."""
        said = ""
        while f"saved {out}\n" not in said:
            line = self._process.stdout.readline()
            assert line, said
            said += line
        with np.load(out) as file:
            return dict(file)

    def close(self):
        """Ends the process."""
        self._process.stdin.close()
        self._process.stdout.close()
        # TensorFlow keeps the graphs of custom gradients to the end: 2 s a run to free them.
        assert self._process.wait(600) == 0


@pytest.fixture(scope="module")
def runs(noise):
    runs = Runs(noise)
    yield runs
    runs.close()


KNOWN = {}


@pytest.fixture
def trained(runs, tmp_path):
    """Trains with strategy "none" or "mirrored" and returns the outcome. Equal runs train once."""

    def train(strategy, **options):
        key = json.dumps([strategy, options], sort_keys=True)
        if key not in KNOWN or "checkpoints" in options:
            out = tmp_path / f"{strategy}-{len(list(tmp_path.iterdir()))}.npz"
            runs.start(strategy, out, **options)
            KNOWN[key] = runs.outcome(out)
        return KNOWN[key]

    return train


def history(outcome):
    return json.loads(str(outcome["history"]))


def assert_close(one, other, tolerance=1e-5):
    """Compares networks and losses, except biases before instance norms (noise)."""
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
    """The largest difference between the weights of two outcomes."""
    return max(
        np.abs(outcome[name][0] - others[name][0]).max() for name in outcome if "ker" in name
    )


def test_mirrored_is_one_device_with_the_whole_batch(trained):
    """Weights, losses, and the data's position (`FollowPosition`) are the same.

    In validation one replica gets no picture of the last batch.
    """
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


@pytest.mark.slow
def test_several_discriminators_and_averages(trained):
    """Spectral norms and averages too are the same on all replicas."""
    options = {"translation": 0.0, "ema_momentum": 0.9, "epochs": 2}
    one, two = trained("none", **options), trained("mirrored", **options)
    assert_close(one, two)
    assert any(name.startswith("G_average/") for name in two)
    assert any(name.endswith("/u") for name in two)
    for name, value in two.items():
        if name[:1] in "GFD":
            np.testing.assert_array_equal(value[0], value[1], err_msg=name)


def test_a_users_own_dataset(trained):
    """TensorFlow shards it, with the same result."""
    options = {"plain_datasets": True, "epochs": 1}
    assert_close(trained("none", **options), trained("mirrored", **options))


def test_each_replica_has_its_pool(trained):
    """Both pools are full of different pictures, and the discriminators learn from both."""
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
        {"pool_size": 3, "translation": 0.25, "ema_momentum": 0.9},
        {"translation": 0.25, "precision": "mixed_float16"},
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


@pytest.mark.slow
def test_an_overflow_only_on_the_second_replica(trained):
    """All replicas skip the step and halve the loss scale."""
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
def test_continues_with_other_numbers_of_replicas(trained, tmp_path):
    """From one device to two and back: weights and as many pools as possible are kept."""
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
    """A whole run: evaluated, validated, exported."""
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


@pytest.mark.slow
def test_pix2pix_on_two_mirrored_devices(run_python):
    """The same weights and losses as on one device with the whole batch."""
    out = run_python(
        """
import json
import keras, numpy as np, tensorflow as tf, tfcyclegan
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
from tfcyclegan.distributed.workers import make_strategy
def train(name):
    keras.utils.set_random_seed(0)
    with make_strategy(name).scope():
        model = tfcyclegan.Pix2Pix(
            image_size=32, filters=2, norm="instance", dropout=0.0, discriminator_filters=2,
            discriminator_layers=1,
        )
        model.compile(learning_rate=2e-5)
    data = tfcyclegan.load_data(
        "shapes", image_size=32, batch_size=4, steps_per_epoch=4, paired=True, test_count=5
    )
    history = model.fit(data.train, epochs=2, validation_data=data.validation, verbose=0).history
    return {w.path: w.numpy() for w in model.G.weights + model.D.weights}, history
(one, losses), (two, others) = train("none"), train("mirrored")
scores = [name for name in one if "bias" not in name]
print(json.dumps({
    "weights": float(max(np.abs(one[name] - two[name]).max() for name in scores)),
    "losses": max(abs(a / b - 1) for name in losses for a, b in zip(losses[name], others[name])),
    "names": sorted(losses), "moved": abs(losses["L1"][1] / losses["L1"][0] - 1),
}))
"""
    )
    found = json.loads(out.splitlines()[-1])
    assert found["weights"] < 1e-5
    assert found["losses"] < 2e-5
    assert found["moved"] > 1e-3
    assert {"D_loss", "G_loss", "L1", "loss", "val_L1"} <= set(found["names"])


def test_a_batch_that_cannot_be_shared():
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
    """XLA, several steps per execution, an optimizer or networks of another scope."""
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
    """Everything may be made in their scope, data included. Nothing is divided or refused."""
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


def test_one_device(make_model, pairs):
    """Every function works without a strategy, and nothing is copied or padded."""
    model = make_model()
    strategy = strategy_of(model.G)
    assert strategy is model.strategy is tf.distribute.get_strategy()
    assert not is_distributed(strategy)
    check_compiling(strategy, [keras.optimizers.Adam()], 3, True)
    variable = model.G.variables[0]
    assert local_copies(variable) == (variable.value,)
    assert local_copy(variable) is variable.value
    assert (int(replica_id()), replica_count()) == (0, 1)
    assert distribute(pairs, strategy) is pairs
    assert pad_empty_batch(tf.ones([2, 1, 1, 1])).shape == (2, 1, 1, 1)
    good, bad = (
        all_reduce_overflow([tf.ones(2), None])[0],
        all_reduce_overflow([tf.ones(2), tf.constant(np.inf)])[0],
    )
    assert np.isfinite(good).all()
    assert np.isnan(bad).all()


def test_an_empty_batch_is_padded():
    @tf.function(input_signature=[tf.TensorSpec([None, 1, 1, 1])])
    def pad(images):
        return pad_empty_batch(images)

    assert pad(tf.ones([0, 1, 1, 1])).numpy().tolist() == [[[[0.0]]]]
    assert pad(tf.ones([2, 1, 1, 1])).shape[0] == 2
