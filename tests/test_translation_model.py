"""A CycleGAN as a Keras model: prediction, fit, callbacks, saving and loading."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import CycleGAN, InputError
from tfcyclegan.translation_model import TranslationModel

#: The cheapest loss: one generator pass there and one back.
SHORT = {"lambda_gan": 0, "lambda_identity": 0, "lambda_cycle_B": 0}


def fit(model, pairs, epochs=2, **settings):
    return model.fit(pairs, epochs=epochs, verbose=0, **settings)


def assert_equal(mine, theirs):
    for one, other in zip(mine, theirs, strict=True):
        np.testing.assert_array_equal(one, other, err_msg=one.path)


@pytest.fixture(scope="module")
def logged(make_model, pairs, tmp_path_factory):
    """A model that was trained under Keras's callbacks, their folder, and the history."""
    keras.utils.set_random_seed(0)
    folder = tmp_path_factory.mktemp("callbacks")
    model = make_model(blocks=0)
    model.compile()
    start = model.get_weights()
    history = fit(
        model,
        pairs,
        epochs=4,
        validation_data=pairs,
        callbacks=[
            keras.callbacks.TensorBoard(folder / "tb"),
            keras.callbacks.CSVLogger(folder / "log.csv"),
            keras.callbacks.ModelCheckpoint(
                folder / "best.keras", "val_cycle_A", mode="min", save_best_only=True
            ),
            keras.callbacks.ModelCheckpoint(folder / "w.weights.h5", save_weights_only=True),
            keras.callbacks.EarlyStopping("cycle_A", patience=0, min_delta=1e3, mode="min"),
            keras.callbacks.TerminateOnNaN(),
        ],
    ).history
    return model, folder, history, start


def test_rate_falls_and_its_length_is_kept(make_model, pairs, tmp_path):
    short = {"learning_rate": 1e-3, **SHORT}
    model = make_model(blocks=0)
    model.compile(**short)
    first = fit(model, pairs, epochs=4).history["learning_rate"]
    assert int(model.total_steps.numpy()) == 16
    np.testing.assert_allclose(first, [1e-3, 1e-3, 1e-3 * 5 / 8, 1e-3 / 8], rtol=1e-5)
    # A run that is over gets a new length when it is trained further.
    more = fit(model, pairs, epochs=8, initial_epoch=4).history["learning_rate"]
    assert int(model.total_steps.numpy()) == 32
    # Compiling again starts new optimizers, and so a new schedule.
    model.compile(**short)
    again = fit(model, pairs, epochs=2).history["learning_rate"]
    np.testing.assert_allclose(again, [1e-3, 1e-3 / 4], rtol=1e-5)
    assert more[-1] == pytest.approx(1e-3 / 16)
    # fit does not change a length that compile set.
    model = make_model(blocks=0)
    model.compile(**short, total_steps=8)
    fit(model, pairs, epochs=1)
    assert int(model.total_steps.numpy()) == 8
    # A model that was saved midway finishes the schedule after loading.
    model.save(tmp_path / "midway.keras")
    again = keras.saving.load_model(tmp_path / "midway.keras")
    rest = fit(again, pairs, epochs=2, initial_epoch=1).history["learning_rate"]
    assert int(again.total_steps.numpy()) == 8
    assert rest[-1] == pytest.approx(1e-3 / 4)


def test_no_length_no_fall(make_model, pairs):
    model = make_model(blocks=0)
    model.compile(learning_rate=1e-3, **SHORT)
    unknown = tf.data.Dataset.from_generator(
        lambda: iter(pairs), output_signature=pairs.element_spec
    )
    with pytest.warns(UserWarning, match="rate stays constant"):
        logs = fit(model, unknown, epochs=1).history
    assert logs["learning_rate"][-1] == pytest.approx(1e-3)


@pytest.mark.parametrize("direction", ["AtoB", "BtoA"])
def test_translate(make_model, direction):
    model = make_model()
    images = np.random.default_rng(0).uniform(-1, 1, (3, 16, 16, 3)).astype(np.float32)
    network = model.G if direction == "AtoB" else model.F
    assert model.generator(direction) is network
    translated = model.translate(images, direction)
    assert translated.dtype == np.float32
    np.testing.assert_allclose(translated, network(images), atol=1e-5)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(2)
    np.testing.assert_allclose(model.translate(batches, direction), translated, atol=1e-5)


def test_model_and_predict_are_G(make_model):
    model = make_model(blocks=0)
    assert isinstance(model, TranslationModel)
    images = tf.random.uniform((2, 16, 16, 3), -1, 1)
    np.testing.assert_allclose(model(images), model.G(images), atol=1e-6)
    np.testing.assert_allclose(model.predict(images, verbose=0), model.G(images), atol=1e-5)


@pytest.fixture(scope="module")
def usual(make_model, pairs):
    """Weights, and the history of an epoch from them in the usual way of running."""
    keras.utils.set_random_seed(0)
    model = make_model(blocks=0)
    weights = model.get_weights()
    model.compile()
    return weights, fit(model, pairs, 1).history


@pytest.mark.parametrize(
    "settings", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}]
)
def test_ways_of_running_agree(settings, make_model, pairs, usual):
    weights, expected = usual
    model = make_model(blocks=0)
    model.set_weights(weights)
    model.compile(**settings)
    got = fit(model, pairs, 1).history
    for term, values in expected.items():
        np.testing.assert_allclose(got[term], values, rtol=1e-3, err_msg=term)
    assert int(model.step.numpy()) == 4
    assert int(model.pool_A.count.numpy()) == 3


def test_evaluate_changes_nothing(logged, pairs):
    model, _, history, _ = logged
    before = {name: v.numpy() for name, v in model.state().items() if "means" not in name}
    logs = model.evaluate(pairs, verbose=0, return_dict=True)
    after = {name: v.numpy() for name, v in model.state().items() if "means" not in name}
    assert all(np.array_equal(before[name], after[name]) for name in before)
    assert {f"val_{term}" for term in logs} <= set(history)


def test_state_names_every_variable_once(logged):
    model, *_ = logged
    state = model.state()
    variables = [*model.variables, *model.metrics_variables]
    variables += [*model.generator_optimizer.variables, *model.discriminator_optimizer.variables]
    assert {id(v) for v in state.values()} == {id(v) for v in variables}
    assert {"G/000/kernel", "run/000/step", "means/000/total"} <= set(state)


def test_summary_names_the_networks(make_model, capsys):
    make_model(blocks=0).summary()
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("G (Functional)", "D_B (Functional)", "pool_A"))


def test_stock_callbacks(logged, make_model, pairs):
    model, folder, history, start = logged
    assert len(history["loss"]) == 2  # EarlyStopping stopped it
    header, *rows = (folder / "log.csv").read_text().splitlines()
    assert len(rows) == 2
    assert "cycle_A" in header.split(",")
    assert list((folder / "tb" / "train").iterdir())
    loaded = keras.saving.load_model(folder / "best.keras")
    images = next(iter(pairs))[0]
    assert loaded.translate(images).shape == images.shape
    other = make_model(blocks=0)
    other.compile()
    other.load_weights(folder / "w.weights.h5")
    assert_equal(other.weights, model.weights)
    assert not np.array_equal(model.get_weights()[0], start[0])


def test_terminate_on_nan(make_model, pairs):
    model = make_model(blocks=0)
    model.compile(keras.optimizers.SGD(float("nan")), **SHORT)
    history = fit(model, pairs, 5, callbacks=[keras.callbacks.TerminateOnNaN()]).history
    assert len(history["loss"]) == 1


def test_backup_and_restore_at_epochs(make_model, pairs, tmp_path):
    """With Keras's own callback, a run that stops between epochs ends with the same weights."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    straight, stopped, resumed = (make_model(blocks=0) for _ in range(3))
    for model in (stopped, resumed):
        model.set_weights(straight.get_weights())
    for model in (straight, stopped, resumed):
        model.compile()
    fit(straight, pairs, 4)
    backup = [keras.callbacks.BackupAndRestore(tmp_path / "backup")]
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, pairs, 4, callbacks=[*backup, Stop()])
    fit(resumed, pairs, 4, callbacks=backup)
    assert_equal(resumed.variables, straight.variables)


def test_a_fresh_process_continues_as_if_never_stopped(make_model, pairs, tmp_path, run_python):
    """Networks, settings, optimizers, pools, step, and dropout's state come back."""
    a, b = (np.concatenate(list(x)) for x in zip(*pairs.as_numpy_iterator(), strict=True))
    np.savez(tmp_path / "pairs.npz", a=a, b=b)
    models = {}
    for precision in ("float32", "mixed_float16"):
        models[precision] = model = make_model(precision, dropout=0.5)
        model.compile(
            objective="hinge",
            lambda_cycle_A=0,
            lambda_cycle_B=5.0,
            lambda_identity=0,
            total_steps=20,
        )
        fit(model, pairs, 1)
        model.save(tmp_path / f"{precision}.keras")
        with zipfile.ZipFile(tmp_path / f"{precision}.keras") as file:
            assert "rmsprop" not in json.dumps(json.loads(file.read("config.json"))).lower()
    run_python(
        """
import sys, keras, numpy as np, tensorflow as tf, tfcyclegan
folder, *precisions = sys.argv[1:]
data = np.load(folder + "/pairs.npz")
pairs = tf.data.Dataset.from_tensor_slices((data["a"], data["b"])).batch(2, drop_remainder=True)
for precision in precisions:
    model = keras.saving.load_model(f"{folder}/{precision}.keras")
    assert model.lambda_cycle_B == 5.0
    model.fit(pairs, epochs=2, initial_epoch=1, verbose=0)
    np.savez(f"{folder}/{precision}.npz", **{n.replace("/", ":"): v.numpy() for n, v in
             model.state().items()})
""",
        tmp_path,
        *models,
    )
    for precision, model in models.items():
        fit(model, pairs, 2, initial_epoch=1)
        with np.load(tmp_path / f"{precision}.npz") as after:
            for name, variable in model.state().items():
                saved = after[name.replace("/", ":")]
                np.testing.assert_array_equal(saved, variable, err_msg=f"{precision} {name}")


def test_configuration_comes_back(make_model):
    model = make_model()
    again = CycleGAN.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.pool_size == 3
    assert again.seed == 7


@pytest.fixture
def averaged(make_model, pairs):
    """A model with moving averages after four steps, and the averages by definition."""
    networks = make_model(blocks=0, norm="batch", dropout=0.3).networks
    model = CycleGAN(**networks, image_size=16, pool_size=3, ema_momentum=0.9)
    model.compile(**SHORT, learning_rate=1e-2)
    expected = [np.array(v) for v in model.G.weights]

    class Average(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            momentum = min(0.9, (1 + batch) / (10 + batch))
            for number, variable in enumerate(model.G.weights):
                value = np.array(variable)
                expected[number] = momentum * expected[number] + (1 - momentum) * value

    fit(model, pairs, epochs=1, callbacks=[Average()])
    return model, expected


def test_averages_of_the_generators(averaged):
    model, expected = averaged
    for variable, value in zip(model.G_average.weights, expected, strict=True):
        np.testing.assert_allclose(variable, value, rtol=1e-5, atol=1e-6, err_msg=variable.path)
    assert np.abs(model.G.weights[0] - model.G_average.weights[0]).max() > 1e-3
    assert [v.path for v in model.G_average.weights] == [v.path for v in model.G.weights]


def test_averages_translate(averaged, pairs, tmp_path):
    """After saving and loading too, compiled or not. The trained weights come back as well."""
    model, _ = averaged
    images = next(iter(pairs))[0]
    expected = model.G_average(images)
    assert np.abs(expected - model.G(images)).max() > 1e-3
    model.save(tmp_path / "m.keras")
    for again in (
        model,
        keras.saving.load_model(tmp_path / "m.keras"),
        keras.saving.load_model(tmp_path / "m.keras", compile=False),
    ):
        np.testing.assert_allclose(again.translate(images), expected, atol=1e-5)
        np.testing.assert_allclose(again(images), expected, atol=1e-5)
        np.testing.assert_allclose(again.predict(images, verbose=0), expected, atol=1e-5)
        assert again.generator("BtoA") is again.translators["BtoA"] is again.F_average
        assert_equal(again.G.weights, model.G.weights)
    assert {name.split("/")[0] for name in model.state()} >= {"G", "G_average", "F_average"}


def test_a_model_without_averages_has_no_more_state(make_model):
    model = make_model(blocks=0)
    model.compile()
    assert not any("average" in name for name in model.state())
    assert model.generator() is model.G


@pytest.mark.parametrize("momentum", [-0.1, 1.0])
def test_a_momentum_that_is_none(make_model, momentum):
    with pytest.raises(InputError, match=f"ema_momentum={momentum}: must be at least 0 and below"):
        CycleGAN(**make_model(blocks=0).networks, image_size=16, ema_momentum=momentum)
