"""The model: the paper's step, its ablations, and life as a Keras model."""

import json
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import (
    CycleGAN,
    Objective,
    patch_discriminator,
    resnet_generator,
    unet_generator,
)
from tfcyclegan.losses import OBJECTIVES, gradient_penalty, l1
from tfcyclegan.optimizers import Adam


def fit(model, pairs, epochs=2, **settings):
    return model.fit(pairs, epochs=epochs, verbose=0, **settings)


def weights(model):
    networks = ("G", "F", "D_A", "D_B")
    return {name: [w.copy() for w in getattr(model, name).get_weights()] for name in networks}


def same_weights(one, other):
    return all(
        np.array_equal(a, b) for name in one for a, b in zip(one[name], other[name], strict=True)
    )


def plain(network):
    """A network of the same weights in Keras's and TensorFlow's own operations, slow and simple."""

    class Mirror(keras.layers.Layer):
        def __init__(self, padding):
            super().__init__()
            self.amount = [padding, padding]

        def call(self, x):
            return tf.pad(x, [[0, 0], self.amount, self.amount, [0, 0]], mode="REFLECT")

    class Norm(keras.layers.Layer):
        def call(self, x):
            mean, variance = tf.nn.moments(x, axes=[1, 2], keepdims=True)
            return (x - mean) / tf.sqrt(variance + 1e-5)

    makers = {
        "ReflectionPadding2D": lambda layer: Mirror(layer.padding),
        "InstanceNormalization": lambda layer: Norm(),
        "LeakyReLU": lambda layer: keras.layers.LeakyReLU(layer.slope),
        "Cropping2D": lambda layer: keras.layers.Cropping2D(layer.cropping),
        "NarrowConv2D": lambda layer: keras.layers.Conv2D.from_config(layer.get_config()),
    }
    twin = keras.models.clone_model(
        network,
        clone_function=lambda layer: makers.get(
            type(layer).__name__, lambda layer: type(layer).from_config(layer.get_config())
        )(layer),
    )
    assert not any(type(layer).__module__.startswith("tfcyclegan") for layer in twin.layers)
    twin.set_weights(network.get_weights())
    return twin


class PlainPool:
    """Section 7.1 with a list."""

    def __init__(self, size, seed):
        self.size, self.seed, self.kept = size, seed, []

    def query(self, images, step):
        shown = []
        for place, image in enumerate(images):
            swap, which = tf.random.stateless_uniform(
                [2], tf.constant([self.seed * 65_536 + place, step], tf.int64)
            )
            if not self.size:
                shown.append(image)
            elif len(self.kept) < self.size:
                self.kept.append(image)
                shown.append(image)
            elif swap < 0.5:
                shown.append(self.kept[int(which * self.size)])
                self.kept[int(which * self.size)] = image
            else:
                shown.append(image)
        return tf.stack(shown)


def adam(kind=Adam):
    """Adam with an epsilon that keeps it from blowing up gradients that are rounding noise."""
    return kind(2e-4, beta_1=0.5, epsilon=1e-3)


class PlainStep:
    """The paper's step as slowly and plainly as it can be written."""

    def __init__(
        self,
        model,
        objective="lsgan",
        lambda_cycle_A=10.0,
        lambda_cycle_B=10.0,
        lambda_identity=0.5,
        lambda_gan=1.0,
    ):
        self.seed, self.objective = model.seed, OBJECTIVES[objective]
        self.G, self.F, self.D_A, self.D_B = map(plain, (model.G, model.F, model.D_A, model.D_B))
        self.pools = [PlainPool(model.pool_size, 2 * model.seed + i) for i in (0, 1)]
        self.A, self.B = lambda_cycle_A, lambda_cycle_B
        self.identity, self.gan = lambda_identity, lambda_gan
        self.adams = [adam(keras.optimizers.Adam) for _ in range(4)]
        for optimizer, network in zip(self.adams, self.networks, strict=True):
            optimizer.build(network.trainable_variables)

    @property
    def networks(self):
        return (self.G, self.F, self.D_A, self.D_B)

    def __call__(self, a, b, step):
        G, F, D_A, D_B = self.networks
        with tf.GradientTape() as tape:
            fake_b, fake_a = G(a), F(b)
            terms = {
                "G_loss": self.gan * self.objective.generator(D_B(fake_b)),
                "F_loss": self.gan * self.objective.generator(D_A(fake_a)),
                "cycle_A": self.A * l1(F(fake_b), a),
                "cycle_B": self.B * l1(G(fake_a), b),
                "identity_A": self.identity * self.A * l1(F(a), a),
                "identity_B": self.identity * self.B * l1(G(b), b),
            }
            total = sum(terms.values())
        gradients = tape.gradient(total, [G.trainable_variables, F.trainable_variables])
        for i, (D, real, fake) in enumerate(((D_A, a, fake_a), (D_B, b, fake_b))):
            shown = self.pools[i].query(fake, step)
            with tf.GradientTape() as tape:
                loss = self.objective.discriminator(D(real), D(shown))
                if self.objective.gradient_penalty:
                    draw = tf.constant([2 * self.seed + i, step], tf.int64)
                    loss += 5.0 * gradient_penalty(D, real, fake, draw)
            if self.gan:
                gradients.append(tape.gradient(loss, D.trainable_variables))
                terms[f"D_{'AB'[i]}_loss"] = loss
        for optimizer, network, slopes in zip(self.adams, self.networks, gradients, strict=False):
            if any(slope is not None for slope in slopes):
                optimizer.apply(slopes, network.trainable_variables)
        return {"loss": total, **terms}


ABLATIONS = {
    "full": {},
    "no identity": {"lambda_identity": 0.0},
    "cycle alone": {"lambda_gan": 0.0, "lambda_identity": 0.0},
    "GAN alone": {"lambda_cycle_A": 0.0, "lambda_cycle_B": 0.0},
    "GAN + forward": {"lambda_cycle_B": 0.0},
    "GAN + backward": {"lambda_cycle_A": 0.0},
    "weighted": {"lambda_cycle_A": 3.0, "lambda_cycle_B": 7.0, "lambda_gan": 2.0},
    "vanilla": {"objective": "vanilla"},
    "hinge": {"objective": "hinge"},
    "wgan-gp": {"objective": "wgan-gp"},
}


SLOW = pytest.mark.slow
#: What `make test` checks of them; `make test-slow` checks the rest.
QUICK = {("full", 1), ("full", 4), ("GAN + backward", 1), ("hinge", 1), ("wgan-gp", 1)}


def distance(mine, theirs):
    """How far two arrays are apart, to the length of the second."""
    mine, theirs = np.asarray(mine, np.float64), np.asarray(theirs, np.float64)
    return np.linalg.norm(mine - theirs) / max(np.linalg.norm(theirs), 1e-12)


@pytest.mark.parametrize(
    ("name", "batch", "pool_size", "recompute"),
    [
        *(
            pytest.param(name, batch, 3, False, marks=[] if (name, batch) in QUICK else SLOW)
            for name in ABLATIONS
            for batch in (1, 4)
        ),
        pytest.param("full", 1, 0, False, marks=SLOW),
        pytest.param("full", 4, 0, False, marks=SLOW),
        ("full", 1, 3, True),
    ],
)
def test_step_is_the_papers(name, batch, pool_size, recompute, make_model, pairs):
    """Five steps of the fast kind and of the plain one, each pair from the same state.

    Losses agree within 1e-4 in every step; gradients, weights and outputs in most. (Where an
    activation or a difference of pixels is 0 but for rounding, ReLU and |x| turn that into a
    gradient that is there or not. This hits a step now and then, a mistake would hit all.) Biases
    in front of a norm have no gradient but rounding noise, and are left out.
    """
    settings = ABLATIONS[name]
    model = make_model(pool_size=pool_size)
    slow = PlainStep(model, **settings)
    model.compile(adam(), adam(), **settings, recompute=recompute)
    fast = tf.function(model.train_step)
    optimizers = [model.generator_optimizer] * 2 + [model.discriminator_optimizer] * 2
    places = [
        (mine, theirs, optimizer._get_variable_index(mine), optimizer, index, other)
        for network, twin, optimizer, other in zip(
            (model.G, model.F, model.D_A, model.D_B),
            slow.networks,
            optimizers,
            slow.adams,
            strict=True,
        )
        for index, (mine, theirs) in enumerate(
            zip(network.trainable_variables, twin.trainable_variables, strict=True)
        )
    ]
    apart = []
    for number, (a, b) in enumerate(pairs.unbatch().repeat().batch(batch).take(5)):
        for mine, theirs, place, optimizer, index, other in places:
            theirs.assign(mine)
            other._momentums[index].assign(optimizer._momentums[place])
            other._velocities[index].assign(optimizer._velocities[place])
        model.reset_metrics()
        logs, expected = fast((a, b)), slow(a, b, number)
        expected = {term: value for term, value in expected.items() if float(value)}
        assert set(expected) == set(logs) - {"learning_rate"}
        for term, value in expected.items():
            np.testing.assert_allclose(logs[term], value, rtol=1e-4, atol=1e-6, err_msg=term)
        distances = [distance(model.G(a), slow.G(a)), distance(model.F(b), slow.F(b))]
        for mine, theirs, place, optimizer, index, other in places:
            if mine.name != "bias" or "c7_out" in mine.path or "score" in mine.path:
                distances.append(distance(mine, theirs))
                # The mean of the gradients so far.
                distances.append(distance(optimizer._momentums[place], other._momentums[index]))
        apart.append(max(distances))
    assert sorted(apart)[2] < 1e-4, apart
    assert max(apart) < 0.05, apart


@pytest.mark.parametrize("settings", [{"dropout": 0.5}, {"norm": "batch"}])
def test_recompute_refuses_what_differs_the_second_time(settings, make_model):
    model = make_model(**settings)
    with pytest.raises(ValueError, match=r"in G .* does not"):
        model.compile(recompute=True)


def test_loss_is_the_sum_of_its_terms(make_model, pairs):
    model = make_model()
    model.compile()
    logs = fit(model, pairs).history
    terms = ("G_loss", "F_loss", "cycle_A", "cycle_B", "identity_A", "identity_B")
    np.testing.assert_allclose(logs["loss"], sum(np.array(logs[term]) for term in terms), rtol=1e-5)
    assert set(logs) == {"loss", "D_A_loss", "D_B_loss", "learning_rate", *terms}


def test_frozen_when_it_is_the_others_turn(make_model, pairs):
    """The generators' losses move no discriminator, and the other way round."""
    still = keras.optimizers.SGD(0.0)
    model = make_model()
    model.compile(keras.optimizers.SGD(0.1), still)
    before = weights(model)
    fit(model, pairs)
    after = weights(model)
    assert same_weights({"D_A": before["D_A"]}, {"D_A": after["D_A"]})
    assert same_weights({"D_B": before["D_B"]}, {"D_B": after["D_B"]})
    assert not np.array_equal(before["G"][0], after["G"][0])
    generator = keras.optimizers.SGD(0.0)
    model = make_model()
    model.compile(generator, keras.optimizers.SGD(0.1))
    before = weights(model)
    fit(model, pairs)
    after = weights(model)
    assert same_weights({"G": before["G"], "F": before["F"]}, {"G": after["G"], "F": after["F"]})
    assert not np.array_equal(before["D_A"][0], after["D_A"][0])


def test_missing_terms_cost_nothing(make_model, pairs):
    """Every term left out takes its passes through the networks out of the graph."""

    def operations(**settings):
        model = make_model()
        model.compile(**settings)
        step = tf.function(model.train_step).get_concrete_function(next(iter(pairs)))
        nodes = step.graph.as_graph_def().node
        return sum(node.op.endswith("PartitionedCall") for node in nodes)

    full = operations()
    no_identity = operations(lambda_identity=0)
    alone = operations(lambda_identity=0, lambda_cycle_A=0, lambda_cycle_B=0)
    cycle = operations(lambda_gan=0, lambda_identity=0)
    assert full > no_identity > alone
    assert cycle < no_identity


def test_discriminators_learn_from_the_pool(make_model, pairs):
    """With a pool of old pictures the discriminators' losses differ from those without."""
    losses = []
    for pool_size in (0, 2):
        keras.utils.set_random_seed(3)
        model = make_model(pool_size=pool_size)
        model.compile(learning_rate=0.01)
        losses.append(fit(model, pairs, epochs=3).history["D_A_loss"])
    assert losses[0][0] != losses[1][0]
    assert int(model.pool_A.count.numpy()) == 2
    assert not np.array_equal(model.pool_A.images, model.pool_B.images)


def test_rate_falls_and_its_length_is_kept(make_model, pairs, tmp_path):
    short = {"learning_rate": 1e-3, "lambda_gan": 0, "lambda_identity": 0, "lambda_cycle_B": 0}
    model = make_model()
    model.compile(**short)
    first = fit(model, pairs, epochs=4).history["learning_rate"]
    assert int(model.total_steps.numpy()) == 16
    np.testing.assert_allclose(first, [1e-3, 1e-3, 1e-3 * 5 / 8, 1e-3 / 8], rtol=1e-5)
    # Trained further, a run that is over gets a new length.
    more = fit(model, pairs, epochs=8, initial_epoch=4).history["learning_rate"]
    assert int(model.total_steps.numpy()) == 32
    # Compiled again, its optimizers and so its schedule start over.
    model.compile(**short)
    again = fit(model, pairs, epochs=2).history["learning_rate"]
    np.testing.assert_allclose(again, [1e-3, 1e-3 / 4], rtol=1e-5)
    assert more[-1] == pytest.approx(1e-3 / 16)
    # Told at compile time, it is not taken from fit.
    model = make_model()
    model.compile(**short, total_steps=8)
    fit(model, pairs, epochs=1)
    assert int(model.total_steps.numpy()) == 8
    # Saved midway, the schedule is finished by whoever loads it.
    model.save(tmp_path / "midway.keras")
    again = keras.saving.load_model(tmp_path / "midway.keras")
    rest = fit(again, pairs, epochs=2, initial_epoch=1).history["learning_rate"]
    assert int(again.total_steps.numpy()) == 8
    assert rest[-1] == pytest.approx(1e-3 / 4)


def test_no_length_no_fall(make_model, pairs):
    model = make_model()
    model.compile(learning_rate=1e-3)
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
    translated = model.translate(images, direction)
    assert translated.dtype == np.float32
    np.testing.assert_allclose(translated, network(images), atol=1e-5)
    batches = tf.data.Dataset.from_tensor_slices(images).batch(2)
    np.testing.assert_allclose(model.translate(batches, direction), translated, atol=1e-5)


def test_model_and_predict_are_G(make_model):
    model = make_model()
    images = tf.random.uniform((2, 16, 16, 3), -1, 1)
    np.testing.assert_allclose(model(images), model.G(images), atol=1e-6)
    np.testing.assert_allclose(model.predict(images, verbose=0), model.G(images), atol=1e-5)


def test_default_networks_follow_the_image_size():
    model = CycleGAN(image_size=64)
    assert model.G.count_params() == 7_837_699
    assert model.D_B.count_params() == 2_764_737
    assert model.pool_A.images.shape == (50, 64, 64, 3)
    kernels = [getattr(model, name).trainable_variables[0].numpy() for name in ("G", "F")]
    assert not np.array_equal(*kernels)


def test_grey_to_colour(tmp_path):
    model = CycleGAN(
        resnet_generator(16, 1, 4, 1, output_channels=3, name="G"),
        resnet_generator(16, 3, 4, 1, output_channels=1, name="F"),
        patch_discriminator(16, 1, 4, 1, name="D_A"),
        patch_discriminator(16, 3, 4, 1, name="D_B"),
        image_size=16,
        pool_size=2,
    )
    # |G(b) - b| makes no sense where the channels differ, but cycles do.
    model.compile(lambda_identity=0)
    A, B = tf.random.uniform((4, 16, 16, 1)), tf.random.uniform((4, 16, 16, 3))
    fit(model, tf.data.Dataset.from_tensor_slices((A, B)).batch(2), epochs=1)
    assert model.translate(A).shape == (4, 16, 16, 3)
    assert model.translate(B, "BtoA").shape == (4, 16, 16, 1)


def test_oblong_and_many_sizes(pairs):
    networks = {
        name: resnet_generator(16, filters=2, blocks=1, name=name)
        if name in "GF"
        else patch_discriminator(16, filters=2, layers=1, name=name)
        for name in ("G", "F", "D_A", "D_B")
    }
    model = CycleGAN(**networks, image_size=(16, 24), pool_size=2)
    model.compile()
    images = tf.random.uniform((4, 16, 24, 3))
    fit(model, tf.data.Dataset.from_tensor_slices((images, images)).batch(2), epochs=1)
    model = CycleGAN(**networks, image_size=None, pool_size=0)
    model.compile()
    for size in (16, 24):
        images = tf.random.uniform((2, size, size + 4, 3))
        fit(model, tf.data.Dataset.from_tensor_slices((images, images)).batch(1), epochs=1)


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("pool holds pictures of one size", lambda: CycleGAN(image_size=None)),
        (
            "G draws pictures of 1 channels",
            lambda: CycleGAN(resnet_generator(32, 3, 2, 1, output_channels=1), image_size=32),
        ),
        ("leaves no patch of 16 px", lambda: CycleGAN(image_size=16)),
    ],
)
def test_refuses_networks(message, make):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("objective='wgan' is unknown", {"objective": "wgan"}),
        ("lambda_identity=-1: a weight must be at least 0", {"lambda_identity": -1}),
        (
            "nothing to learn",
            {"lambda_gan": 0, "lambda_cycle_A": 0, "lambda_cycle_B": 0},
        ),
    ],
)
def test_refuses_settings(message, settings, make_model):
    with pytest.raises(ValueError, match=message):
        make_model().compile(**settings)


def test_probabilities_go_with_lsgan_alone(make_model, pairs):
    model = make_model(discriminator={"sigmoid": True})
    with pytest.raises(ValueError, match="ends in a sigmoid"):
        model.compile(objective="hinge")
    model.compile()
    assert np.isfinite(fit(model, pairs).history["loss"]).all()


def test_unet_generators(pairs):
    model = CycleGAN(
        unet_generator(32, filters=2, name="G"),
        unet_generator(32, filters=2, name="F"),
        patch_discriminator(32, filters=2, layers=1, name="D_A"),
        patch_discriminator(32, filters=2, layers=1, name="D_B"),
        image_size=32,
        pool_size=1,
    )
    model.compile()
    images = tf.random.uniform((2, 32, 32, 3), -1, 1)
    logs = fit(model, tf.data.Dataset.from_tensors((images, images)), epochs=2).history
    assert np.isfinite(logs["loss"]).all()


# ---------------------------------------------------------------------------- Keras


@pytest.mark.parametrize(
    "settings", [{"run_eagerly": True}, {"jit_compile": True}, {"steps_per_execution": 2}]
)
def test_ways_of_running_agree(settings, make_model, pairs):
    model, other = make_model(), make_model()
    other.set_weights(model.get_weights())
    model.compile()
    other.compile(**settings)
    expected, got = fit(model, pairs, 1).history, fit(other, pairs, 1).history
    for term, values in expected.items():
        np.testing.assert_allclose(got[term], values, rtol=1e-3, err_msg=term)
    assert int(other.step.numpy()) == 4
    assert int(other.pool_A.count.numpy()) == 3


def test_evaluate_changes_nothing(make_model, pairs):
    model = make_model()
    model.compile()
    before = {name: v.numpy() for name, v in model.state().items() if "means" not in name}
    logs = model.evaluate(pairs, verbose=0, return_dict=True)
    after = {name: v.numpy() for name, v in model.state().items() if "means" not in name}
    assert all(np.array_equal(before[name], after[name]) for name in before)
    history = fit(model, pairs, epochs=1, validation_data=pairs).history
    assert {f"val_{term}" for term in logs} <= set(history)
    fake = model.G(next(iter(pairs))[0])
    assert fake.shape == (2, 16, 16, 3)
    a, b = next(iter(pairs))
    model.reset_metrics()
    one = model.test_step((a, b))
    judged = OBJECTIVES["lsgan"].discriminator(model.D_B(b), model.D_B(model.G(a)))
    assert float(one["D_B_loss"]) == pytest.approx(float(judged), rel=1e-4)


def test_summary_names_the_networks(make_model, capsys):
    make_model().summary()
    printed = capsys.readouterr().out
    assert all(name in printed for name in ("G (Functional)", "D_B (Functional)", "pool_A"))


def test_stock_callbacks(make_model, pairs, tmp_path):
    model = make_model()
    model.compile()
    best = tmp_path / "best.keras"
    history = fit(
        model,
        pairs,
        epochs=4,
        validation_data=pairs,
        callbacks=[
            keras.callbacks.TensorBoard(tmp_path / "tb"),
            keras.callbacks.CSVLogger(tmp_path / "log.csv"),
            keras.callbacks.ModelCheckpoint(best, "val_cycle_A", mode="min", save_best_only=True),
            keras.callbacks.ModelCheckpoint(tmp_path / "w.weights.h5", save_weights_only=True),
            keras.callbacks.EarlyStopping("cycle_A", patience=0, min_delta=1e3, mode="min"),
            keras.callbacks.TerminateOnNaN(),
        ],
    ).history
    assert len(history["loss"]) == 2  # EarlyStopping was heard
    header, *rows = (tmp_path / "log.csv").read_text().splitlines()
    assert len(rows) == 2
    assert "cycle_A" in header.split(",")
    assert list((tmp_path / "tb" / "train").iterdir())
    loaded = keras.saving.load_model(best)
    images = next(iter(pairs))[0]
    assert loaded.translate(images).shape == images.shape
    other = make_model()
    other.compile()
    other.load_weights(tmp_path / "w.weights.h5")
    assert same_weights(weights(other), weights(model))


def test_terminate_on_nan(make_model, pairs):
    model = make_model()
    model.compile(keras.optimizers.SGD(float("nan")))
    history = fit(model, pairs, 5, callbacks=[keras.callbacks.TerminateOnNaN()]).history
    assert len(history["loss"]) == 1


def test_backup_and_restore_at_epochs(make_model, pairs, tmp_path):
    """Keras's own callback, stopped at the end of an epoch, leads to the same weights."""

    class Stop(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise KeyboardInterrupt

    straight, stopped, resumed = make_model(), make_model(), make_model()
    for model in (stopped, resumed):
        model.set_weights(straight.get_weights())
    for model in (straight, stopped, resumed):
        model.compile()
    fit(straight, pairs, 4)
    backup = [keras.callbacks.BackupAndRestore(tmp_path / "backup")]
    with pytest.raises(KeyboardInterrupt):
        fit(stopped, pairs, 4, callbacks=[*backup, Stop()])
    fit(resumed, pairs, 4, callbacks=backup)
    for mine, theirs in zip(resumed.variables, straight.variables, strict=True):
        np.testing.assert_array_equal(mine, theirs, err_msg=mine.path)


@pytest.mark.parametrize("precision", ["float32", "mixed_float16", "mixed_bfloat16"])
def test_loaded_in_a_fresh_process_goes_on_as_if_never_stopped(
    precision, make_model, pairs, tmp_path, run_python
):
    """Networks, settings, optimizers, pools, step, and dropout's state come back."""
    model = make_model(precision, dropout=0.5)
    model.compile(objective="hinge", lambda_cycle_B=5.0, total_steps=20)
    fit(model, pairs, 1)
    model.save(tmp_path / "model.keras")
    with zipfile.ZipFile(tmp_path / "model.keras") as file:
        assert "rmsprop" not in json.dumps(json.loads(file.read("config.json"))).lower()
    a, b = (np.concatenate(list(x)) for x in zip(*pairs.as_numpy_iterator(), strict=True))
    np.savez(tmp_path / "pairs.npz", a=a, b=b)
    run_python(
        """
import sys, keras, numpy as np, tensorflow as tf, tfcyclegan
model = keras.saving.load_model(sys.argv[1] + "/model.keras")
assert model.lambda_cycle_B == 5.0
data = np.load(sys.argv[1] + "/pairs.npz")
pairs = tf.data.Dataset.from_tensor_slices((data["a"], data["b"])).batch(2, drop_remainder=True)
model.fit(pairs, epochs=2, initial_epoch=1, verbose=0)
np.savez(sys.argv[1] + "/after.npz", **{n.replace("/", ":"): v.numpy() for n, v in
         model.state().items()})
""",
        tmp_path,
    )
    fit(model, pairs, 2, initial_epoch=1)
    with np.load(tmp_path / "after.npz") as after:
        for name, variable in model.state().items():
            np.testing.assert_array_equal(after[name.replace("/", ":")], variable, err_msg=name)


def test_configuration_comes_back(make_model):
    model = make_model()
    again = CycleGAN.from_config(model.get_config())
    assert again.get_config() == model.get_config()
    assert again.pool_size == 3
    assert again.seed == 7


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("objective", ["lsgan", "wgan-gp"])
def test_mixed_precision_follows_float32(precision, objective, make_model, pairs):
    wide, mixed = make_model(), make_model(precision)
    mixed.set_weights(wide.get_weights())
    for model in (wide, mixed):
        model.compile(objective=objective)
    expected, got = fit(wide, pairs, 2).history, fit(mixed, pairs, 2).history
    for term in expected:
        np.testing.assert_allclose(got[term], expected[term], rtol=0.1, atol=0.03, err_msg=term)
    assert mixed.pool_A.images.dtype == "float32"
    assert all(v.dtype == "float32" for v in mixed.trainable_variables)


def test_float16_has_a_loss_scale_for_each_optimizer(make_model):
    model = make_model("mixed_float16")
    model.compile()
    optimizers = (model.generator_optimizer, model.discriminator_optimizer)
    assert all(isinstance(o, keras.optimizers.LossScaleOptimizer) for o in optimizers)
    assert optimizers[0].dynamic_scale is not optimizers[1].dynamic_scale
    model = make_model("mixed_bfloat16")
    model.compile()
    assert not isinstance(model.generator_optimizer, keras.optimizers.LossScaleOptimizer)


def test_a_gradient_that_is_not_finite_skips_the_step_and_nothing_else(make_model, pairs):
    model = make_model("mixed_float16")
    model.compile(total_steps=20)
    fit(model, pairs, 1)
    # A scale beyond what float32 holds makes every gradient infinite.
    model.generator_optimizer.dynamic_scale.assign(3e38)
    before, D_before = weights(model), model.discriminator_optimizer.iterations.numpy()
    moments = [v.numpy() for v in model.generator_optimizer.inner_optimizer.variables]
    model.train_step(next(iter(pairs)))
    after = weights(model)
    assert same_weights({"G": before["G"], "F": before["F"]}, {"G": after["G"], "F": after["F"]})
    for old, new in zip(moments, model.generator_optimizer.inner_optimizer.variables, strict=True):
        np.testing.assert_array_equal(old, new)
    assert float(model.generator_optimizer.dynamic_scale) == pytest.approx(1.5e38)
    assert not np.array_equal(before["D_A"][0], after["D_A"][0])
    assert model.discriminator_optimizer.iterations.numpy() == D_before + 1
    assert int(model.step.numpy()) == 5


# ---------------------------------------------------------------------------- extending it


class SmoothCycleGAN(CycleGAN):
    """The class docstring's example: one more term of the generators' loss."""

    def generator_terms(self, images):
        variation = tf.reduce_mean(tf.image.total_variation(images.fake))
        return super().generator_terms(images) | {f"tv_{images.domain}": 1e-3 * variation}


def test_a_subclass_adds_a_term_in_four_lines(make_model, pairs):
    """It is minimised and logged like the others, also where nothing else needs the fakes."""
    plain = make_model()
    model = SmoothCycleGAN(**plain.networks, image_size=16, pool_size=3, seed=7)
    a, b = next(iter(pairs))
    expected = [
        1e-3 * tf.reduce_mean(tf.image.total_variation(net(real)))
        for net, real in ((model.G, a), (model.F, b))
    ]
    model.compile()
    logs = model.test_step((a, b))
    np.testing.assert_allclose([logs["tv_A"], logs["tv_B"]], expected, rtol=1e-4)
    history = fit(model, pairs, validation_data=pairs).history
    terms = ("G_loss", "F_loss", "cycle_A", "cycle_B", "identity_A", "identity_B", "tv_A", "tv_B")
    total = sum(np.array(history[term]) for term in terms)
    np.testing.assert_allclose(history["loss"], total, rtol=1e-5)
    assert "val_tv_B" in history
    model.compile(keras.optimizers.SGD(1.0), lambda_gan=0, lambda_identity=0, lambda_cycle_B=0)
    before = [model.F(b).numpy(), float(model.test_step((a, b))["tv_B"])]
    fit(model, pairs, 1)
    assert not np.array_equal(model.F(b), before[0])


def test_a_term_must_be_there_always(make_model, pairs):
    class Fickle(CycleGAN):
        calls = 0

        def generator_terms(self, images):
            Fickle.calls += 1
            return super().generator_terms(images) | {f"t{Fickle.calls}": tf.constant(0.0)}

    model = Fickle(**make_model().networks, image_size=16, pool_size=0)
    model.compile()
    with pytest.raises(KeyError, match="the same names always"):
        model.train_step(next(iter(pairs)))


@keras.saving.register_keras_serializable("tests")
def relativistic_D(real, fake):
    return tf.reduce_mean(tf.nn.softplus(fake - real))


@keras.saving.register_keras_serializable("tests")
def relativistic_G(fake):
    return tf.reduce_mean(tf.nn.softplus(-fake))


def test_an_objective_of_ones_own(make_model, pairs, tmp_path):
    """It enters both losses, and comes back from a file with the functions that are registered."""
    model = make_model()
    objective = Objective(relativistic_D, relativistic_G)
    model.compile(objective=objective, lambda_gan=2.0)
    a, b = next(iter(pairs))
    logs = model.test_step((a, b))
    fake = model.G(a)
    assert float(logs["G_loss"]) == pytest.approx(2 * float(relativistic_G(model.D_B(fake))), 1e-4)
    judged = relativistic_D(model.D_B(b), model.D_B(fake))
    assert float(logs["D_B_loss"]) == pytest.approx(float(judged), rel=1e-4)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.objective == objective
    fit(again, pairs, 1)
    sigmoid = make_model(discriminator={"sigmoid": True})
    with pytest.raises(ValueError, match="ends in a sigmoid"):
        sigmoid.compile(objective=objective)


class Penalised(keras.layers.Layer):
    """A layer of a user's own that adds a loss in every call."""

    def call(self, x):
        self.add_loss(0.1 * tf.reduce_mean(tf.square(x)))
        return x


@pytest.mark.parametrize("settings", [{}, {"run_eagerly": True}, {"recompute": True}])
def test_losses_that_a_generator_carries_count(settings, pairs):
    """add_loss, weight and activity regularizers enter the generators' loss and are logged."""

    def generator(name, penalised):
        inputs = keras.Input((None, None, 3))
        conv = keras.layers.Conv2D(
            3,
            3,
            padding="same",
            kernel_regularizer=keras.regularizers.L2(0.5),
            activity_regularizer=keras.regularizers.L1(0.01) if penalised else None,
        )
        x = conv(inputs)
        x = Penalised()(x) if penalised else x
        return keras.Model(inputs, keras.layers.Activation("tanh")(x), name=name)

    D = {name: patch_discriminator(16, filters=4, layers=1, name=name) for name in ("D_A", "D_B")}
    G, F = generator("G", True), generator("F", False)
    model = CycleGAN(G, F, **D, image_size=16, pool_size=0)
    model.compile(lambda_identity=0, lambda_cycle_B=0, **settings)
    a, b = next(iter(pairs))
    logs = {name: float(value) for name, value in model.test_step((a, b)).items()}
    before = {name: net.get_weights() for name, net in (("G", G), ("F", F))}
    kernel, bias = (tf.constant(w) for w in before["G"])
    drawn = tf.nn.conv2d(a, kernel, 1, "SAME") + bias
    expected = 0.5 * float(tf.reduce_sum(tf.square(kernel)))
    expected += 0.01 * float(tf.reduce_sum(tf.abs(drawn))) / len(a)
    expected += 0.1 * float(tf.reduce_mean(tf.square(drawn)))
    assert logs["G_regularization"] == pytest.approx(expected, rel=1e-3)
    square = 0.5 * float(np.square(before["F"][0]).sum())
    assert logs["F_regularization"] == pytest.approx(square, rel=1e-3)
    total = sum(logs[n] for n in logs if n not in ("loss", "D_A_loss", "D_B_loss"))
    assert logs["loss"] == pytest.approx(total, rel=1e-4)
    history = fit(model, pairs, 3).history
    assert history["F_regularization"][-1] < history["F_regularization"][0]


def test_losses_that_a_discriminator_carries_count(make_model, pairs):
    D = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(1, 4, 2, kernel_regularizer=keras.regularizers.L2(1.0)),
        ],
        name="D_B",
    )
    networks = {**make_model().networks, "D_B": D}
    model = CycleGAN(**networks, image_size=16, pool_size=0)
    model.compile(discriminator_optimizer=keras.optimizers.SGD(0.1))
    history = fit(model, pairs, 3).history
    assert history["D_B_regularization"][-1] < 0.5 * history["D_B_regularization"][0]
    assert "G_regularization" not in history


def test_architecture_settings_are_arguments():
    """Those of the command line, under the same names, for the networks that are not given."""
    model = CycleGAN(image_size=64, filters=4, blocks=2, discriminator_layers=1, channels_B=1)
    assert model.G.output_shape[-1] == model.D_B.input_shape[-1] == 1
    assert sum("_add" in layer.name for layer in model.G.layers) == 2
    mine = resnet_generator(64, filters=2, blocks=1, name="G")
    mixed = CycleGAN(mine, image_size=64, generator="unet", filters=2, discriminator="pixel")
    assert mixed.G is mine
    assert any("down1" in layer.name for layer in mixed.F.layers)
    with pytest.raises(TypeError, match="filtres"):
        CycleGAN(image_size=64, filtres=4)
    with pytest.raises(ValueError, match="`filters` describes networks, but all are given"):
        CycleGAN(**mixed.networks, filters=4)
    with pytest.raises(ValueError, match="generator='wavenet' is unknown"):
        CycleGAN(image_size=64, generator="wavenet")
