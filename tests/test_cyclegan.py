"""The paper's step against a plain one, its ablations, and what extends it."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import (
    CycleGAN,
    InputError,
    Objective,
    patch_discriminator,
    resnet_generator,
    unet_generator,
)
from tfcyclegan.losses import OBJECTIVES, gradient_penalty, l1
from tfcyclegan.optimizers import Adam


def fit(model, pairs, epochs=2, **settings):
    return model.fit(pairs, epochs=epochs, verbose=0, **settings)


def plain(network):
    """A network with the same weights, made of Keras's and TensorFlow's own operations."""

    class Mirror(keras.layers.Layer):
        def __init__(self, padding):
            super().__init__()
            self.amount = [padding, padding]

        def call(self, x):
            return tf.pad(x, [[0, 0], self.amount, self.amount, [0, 0]], mode="REFLECT")

    class Norm(keras.layers.Layer):
        def call(self, x):
            # Not tf.nn.moments, whose second gradient is wrong (it stops the mean's).
            mean = tf.reduce_mean(x, axis=[1, 2], keepdims=True)
            variance = tf.reduce_mean((x - mean) ** 2, axis=[1, 2], keepdims=True)
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
    """The paper's step, written as plainly as possible, however slow."""

    def __init__(
        self,
        model,
        objective="lsgan",
        lambda_cycle_A=10.0,
        lambda_cycle_B=10.0,
        lambda_identity=0.5,
        lambda_gan=1.0,
        discriminators_first=False,
    ):
        self.first = discriminators_first
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
        if self.first:
            judged = self.train_discriminators(a, b, G(a), F(b), step)
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
        self.apply(self.networks[:2], gradients)
        if not self.first:
            judged = self.train_discriminators(a, b, fake_b, fake_a, step)
        return {"loss": total, **terms, **judged}

    def train_discriminators(self, a, b, fake_b, fake_a, step):
        if not self.gan:
            return {}
        terms, gradients = {}, []
        _, _, D_A, D_B = self.networks
        for i, (D, real, fake) in enumerate(((D_A, a, fake_a), (D_B, b, fake_b))):
            shown = self.pools[i].query(fake, step)
            with tf.GradientTape() as tape:
                loss = self.objective.discriminator(D(real), D(shown))
                if self.objective.gradient_penalty:
                    draw = tf.constant([2 * self.seed + i, step], tf.int64)
                    loss += 5.0 * gradient_penalty(D, real, fake, draw)
            gradients.append(tape.gradient(loss, D.trainable_variables))
            terms[f"D_{'AB'[i]}_loss"] = loss
        self.apply(self.networks[2:], gradients)
        return terms

    def apply(self, networks, gradients):
        for network, slopes in zip(networks, gradients, strict=True):
            if any(slope is not None for slope in slopes):
                self.adams[self.networks.index(network)].apply(slopes, network.trainable_variables)


ABLATIONS = {
    "full": {},
    "no identity": {"lambda_identity": 0.0},
    "cycle only": {"lambda_gan": 0.0, "lambda_identity": 0.0},
    "GAN only": {"lambda_cycle_A": 0.0, "lambda_cycle_B": 0.0},
    "GAN + forward": {"lambda_cycle_B": 0.0},
    "GAN + backward": {"lambda_cycle_A": 0.0},
    "weighted": {"lambda_cycle_A": 3.0, "lambda_cycle_B": 7.0, "lambda_gan": 2.0},
    "vanilla": {"objective": "vanilla"},
    "hinge": {"objective": "hinge"},
    "wgan-gp": {"objective": "wgan-gp"},
    "discriminators first": {"discriminators_first": True, "lambda_identity": 0.0},
}


SLOW = pytest.mark.slow
#: The ablations that `make test` checks. `make test-slow` checks the rest.
QUICK = {("full", 1), ("full", 4), ("GAN + backward", 1), ("hinge", 1), ("wgan-gp", 1)}
QUICK |= {("discriminators first", 1)}


def distance(mine, theirs):
    """The distance of two arrays relative to the norm of the second."""
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
    """Five steps of the model and of the plain implementation, each from the same state.

    Losses agree within 1e-4 in every step, and so do gradients, weights and outputs in most steps.
    (If an activation or a difference of pixels is 0 except for rounding, ReLU and |x| have a
    gradient in one implementation and none in the other. This happens in a step now and then. A
    mistake would show in every step.) The gradient of a bias before a norm is only rounding noise,
    so these biases are left out.
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
    for pool, plain_pool in zip((model.pool_A, model.pool_B), slow.pools, strict=True):
        if pool_size and model.lambda_gan:
            assert int(pool.count.numpy()) == pool_size == len(plain_pool.kept)
            assert distance(pool.images, plain_pool.kept) < 1e-3
    assert sorted(apart)[2] < 1e-4, apart
    assert max(apart) < 0.05, apart


def test_missing_terms_cost_nothing(make_model, pairs):
    """The graph has no passes through networks for terms of weight 0."""

    def operations(**settings):
        model = make_model(blocks=0)
        model.compile(**settings)
        step = tf.function(model.train_step).get_concrete_function(next(iter(pairs)))
        nodes = step.graph.as_graph_def().node
        return sum(node.op.endswith("PartitionedCall") for node in nodes)

    full = operations()
    no_identity = operations(lambda_identity=0)
    gan_only = operations(lambda_identity=0, lambda_cycle_A=0, lambda_cycle_B=0)
    cycle_only = operations(lambda_gan=0, lambda_identity=0)
    assert full > no_identity > gan_only
    assert cycle_only < no_identity


def test_default_networks_follow_the_image_size():
    model = CycleGAN(image_size=64)
    assert model.G.count_params() == 7_837_699
    assert model.D_B.count_params() == 2_764_737
    assert model.pool_A.images.shape == (50, 64, 64, 3)
    kernels = [getattr(model, name).trainable_variables[0].numpy() for name in ("G", "F")]
    assert not np.array_equal(*kernels)


def test_grey_to_colour():
    model = CycleGAN(
        resnet_generator(16, 1, 2, 0, output_channels=3, name="G"),
        resnet_generator(16, 3, 2, 0, output_channels=1, name="F"),
        patch_discriminator(16, 1, 2, 1, name="D_A"),
        patch_discriminator(16, 3, 2, 1, name="D_B"),
        image_size=16,
        pool_size=2,
    )
    # |G(b) - b| makes no sense if the channels differ, but cycles do.
    with pytest.raises(InputError, match=r"lambda_identity=0\.5: .* different channels"):
        model.compile()
    model.compile(lambda_identity=0)
    A, B = tf.random.uniform((4, 16, 16, 1)), tf.random.uniform((4, 16, 16, 3))
    fit(model, tf.data.Dataset.from_tensor_slices((A, B)).batch(2), epochs=1)
    assert model.translate(A).shape == (4, 16, 16, 3)
    assert model.translate(B, "BtoA").shape == (4, 16, 16, 1)


def test_oblong_and_many_sizes():
    networks = {
        name: resnet_generator(16, filters=2, blocks=0, name=name)
        if name in "GF"
        else patch_discriminator(16, filters=2, layers=1, name=name)
        for name in ("G", "F", "D_A", "D_B")
    }
    model = CycleGAN(**networks, image_size=(16, 24), pool_size=2)
    model.compile()
    images = tf.random.uniform((4, 16, 24, 3))
    fit(model, tf.data.Dataset.from_tensor_slices((images, images)).batch(2), epochs=1)
    model = CycleGAN(**networks, image_size=None, pool_size=0)
    model.compile(lambda_identity=0, lambda_cycle_A=0)
    for size in (16, 24):
        images = tf.random.uniform((2, size, size + 4, 3))
        fit(model, tf.data.Dataset.from_tensor_slices((images, images)).batch(1), epochs=1)


@pytest.mark.parametrize(
    ("message", "make"),
    [
        ("pool holds pictures of one size", lambda: CycleGAN(image_size=None)),
        (
            "G outputs pictures of 1 channels",
            lambda: CycleGAN(
                resnet_generator(32, 3, 2, 0, output_channels=1),
                image_size=32,
                filters=2,
                discriminator_layers=1,
            ),
        ),
        ("leaves no patch of 16 px", lambda: CycleGAN(image_size=16)),
    ],
)
def test_refuses_networks(message, make):
    with pytest.raises(InputError, match=message):
        make()


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("r1_dropout in G .* does not", {"recompute": True}),
        ("objective='wgan' is unknown", {"objective": "wgan"}),
        ("lambda_identity=-1: a weight must be at least 0", {"lambda_identity": -1}),
        (
            "nothing to learn",
            {"lambda_gan": 0, "lambda_cycle_A": 0, "lambda_cycle_B": 0},
        ),
    ],
)
def test_refuses_settings(message, settings, make_model):
    with pytest.raises(InputError, match=message):
        make_model(dropout=0.5).compile(**settings)


def test_probabilities_go_only_with_lsgan(make_model, pairs):
    model = make_model(blocks=0, discriminator={"sigmoid": True})
    with pytest.raises(InputError, match="ends in a sigmoid"):
        model.compile(objective="hinge")
    model.compile()
    assert np.isfinite(model.train_step(next(iter(pairs)))["loss"])


def test_unet_generators():
    unets = {name: unet_generator(32, filters=1, name=name) for name in ("G", "F")}
    model = CycleGAN(**unets, image_size=32, discriminator_filters=2, discriminator_layers=1)
    model.compile(lambda_identity=0)
    images = tf.random.uniform((2, 32, 32, 3), -1, 1)
    assert np.isfinite(tf.function(model.train_step)((images, images))["loss"])


@pytest.fixture(scope="module")
def wide(make_model, pairs):
    """Weights, and histories from them in float32 with each objective."""
    keras.utils.set_random_seed(0)
    model = make_model(blocks=0)
    start, histories = model.get_weights(), {}
    for objective in ("lsgan", "wgan-gp"):
        model = make_model(blocks=0)
        model.set_weights(start)
        model.compile(objective=objective)
        histories[objective] = fit(model, pairs, 2).history
    return start, histories


@pytest.mark.parametrize("precision", ["mixed_float16", "mixed_bfloat16"])
@pytest.mark.parametrize("objective", ["lsgan", "wgan-gp"])
def test_mixed_precision_follows_float32(precision, objective, make_model, pairs, wide):
    start, histories = wide
    model = make_model(precision, blocks=0)
    model.set_weights(start)
    model.compile(objective=objective)
    got = fit(model, pairs, 2).history
    for term, expected in histories[objective].items():
        np.testing.assert_allclose(got[term], expected, rtol=0.1, atol=0.03, err_msg=term)
    assert model.pool_A.images.dtype == "float32"
    assert all(v.dtype == "float32" for v in model.trainable_variables)


def test_an_overflow_of_the_generators_skips_only_their_step(make_model, pairs):
    model = make_model("mixed_float16", blocks=0)
    model.compile(total_steps=20, lambda_identity=0)
    # A scale beyond what float32 holds makes every gradient infinite.
    model.generator_optimizer.dynamic_scale.assign(3e38)
    before = {name: network.get_weights() for name, network in model.networks.items()}
    model.train_step(next(iter(pairs)))
    after = {name: network.get_weights() for name, network in model.networks.items()}
    for name in ("G", "F"):
        np.testing.assert_equal(after[name], before[name])
    assert float(model.generator_optimizer.dynamic_scale) == pytest.approx(1.5e38)
    assert float(model.discriminator_optimizer.dynamic_scale) < 1e38
    for name in ("D_A", "D_B"):
        assert not np.array_equal(after[name][0], before[name][0])
    assert model.discriminator_optimizer.iterations.numpy() == 1
    assert int(model.step.numpy()) == 1


def test_test_step_uses_fresh_fakes(make_model, pairs):
    model = make_model(blocks=0)
    model.compile()
    a, b = next(iter(pairs))
    loss = OBJECTIVES["lsgan"].discriminator(model.D_B(b), model.D_B(model.G(a)))
    assert float(model.test_step((a, b))["D_B_loss"]) == pytest.approx(float(loss), rel=1e-4)
    assert int(model.pool_B.count.numpy()) == 0


class SmoothCycleGAN(CycleGAN):
    """The class docstring's example: one more term of the generators' loss."""

    def generator_terms(self, cycle):
        variation = tf.reduce_mean(tf.image.total_variation(cycle.fake))
        return super().generator_terms(cycle) | {f"tv_{cycle.domain}": 1e-3 * variation}


def test_a_subclass_adds_a_term_in_four_lines(make_model, pairs):
    """It is minimised and logged like the others, also if nothing else needs the fakes."""
    plain = make_model(blocks=0)
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


def test_a_term_may_use_all_of_the_cycle(make_model, pairs):
    """The identity loss keeps its gradient if a term of a subclass computes `same` first."""

    class Watching(CycleGAN):
        def generator_terms(self, cycle):
            used = sum(tf.reduce_mean(x) for x in (cycle.same, cycle.logits, cycle.cycled))
            return super().generator_terms(cycle) | {f"no_{cycle.domain}": 0.0 * used}

    after = []
    for kind in (CycleGAN, Watching):
        keras.utils.set_random_seed(0)
        model = kind(**make_model(blocks=0).networks, image_size=16, pool_size=0)
        model.compile(keras.optimizers.SGD(1.0), lambda_gan=0, lambda_identity=2)
        model.train_step(next(iter(pairs)))
        after.append(model.F.get_weights())
    for plain, watched in zip(*after, strict=True):
        np.testing.assert_allclose(watched, plain, atol=1e-5)


def test_the_names_of_terms_must_stay(make_model, pairs):
    class Fickle(CycleGAN):
        calls = 0

        def generator_terms(self, cycle):
            Fickle.calls += 1
            return super().generator_terms(cycle) | {f"t{Fickle.calls}": tf.constant(0.0)}

    model = Fickle(**make_model(blocks=0).networks, image_size=16, pool_size=0)
    model.compile(lambda_identity=0)
    with pytest.raises(KeyError, match="must always return the same names"):
        model.train_step(next(iter(pairs)))


@keras.saving.register_keras_serializable("tests")
def relativistic_D(real, fake):
    return tf.reduce_mean(tf.nn.softplus(fake - real))


@keras.saving.register_keras_serializable("tests")
def relativistic_G(fake):
    return tf.reduce_mean(tf.nn.softplus(-fake))


def test_a_users_objective(make_model, pairs, tmp_path):
    """It is in both losses, and a file brings it back if its functions are registered."""
    model = make_model(blocks=0)
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
    """A user's layer that adds a loss in every call."""

    def call(self, x):
        self.add_loss(0.1 * tf.reduce_mean(tf.square(x)))
        return x


@pytest.mark.parametrize("settings", [{}, {"run_eagerly": True}, {"recompute": True}])
def test_losses_of_a_generators_layers_count(settings, pairs):
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


def test_losses_of_a_discriminators_layers_count(make_model, pairs):
    D = keras.Sequential(
        [
            keras.Input((None, None, 3)),
            keras.layers.Conv2D(1, 4, 2, kernel_regularizer=keras.regularizers.L2(1.0)),
        ],
        name="D_B",
    )
    networks = {**make_model(blocks=0).networks, "D_B": D}
    model = CycleGAN(**networks, image_size=16, pool_size=0)
    model.compile(discriminator_optimizer=keras.optimizers.SGD(0.1))
    history = fit(model, pairs, 3).history
    assert history["D_B_regularization"][-1] < 0.5 * history["D_B_regularization"][0]
    assert "G_regularization" not in history


def test_architecture_settings_are_arguments():
    """They describe the networks that are not given, under the names of the command line."""
    model = CycleGAN(image_size=64, filters=4, blocks=2, discriminator_layers=1, channels_B=1)
    assert model.G.output_shape[-1] == model.D_B.input_shape[-1] == 1
    assert sum("_add" in layer.name for layer in model.G.layers) == 2
    mine = resnet_generator(64, filters=2, blocks=1, name="G")
    mixed = CycleGAN(mine, image_size=64, generator="unet", filters=2, discriminator="pixel")
    assert mixed.G is mine
    assert any("down1" in layer.name for layer in mixed.F.layers)
    with pytest.raises(TypeError, match="filtres"):
        CycleGAN(image_size=64, filtres=4)
    with pytest.raises(ValueError, match="`filters` describes networks, but all four are given"):
        CycleGAN(**mixed.networks, filters=4)
    with pytest.raises(ValueError, match="generator='wavenet' is unknown"):
        CycleGAN(image_size=64, generator="wavenet")


@pytest.mark.parametrize(("objective", "recompute"), [("lsgan", True), ("wgan-gp", False)])
def test_several_discriminators_of_a_domain(objective, recompute, make_model, pairs, tmp_path):
    """Their losses are summed, and each is trained."""

    def parts():
        return [patch_discriminator(16, filters=4, layers=1, name=name) for name in ("one", "two")]

    G, F = (make_model(blocks=0).networks[name] for name in ("G", "F"))
    for_A, for_B = parts(), parts()
    model = CycleGAN(G, F, for_A, for_B, image_size=16, pool_size=0)
    model.compile(objective=objective, recompute=recompute)
    before = [np.array(D.trainable_variables[0]) for D in (*for_A, *for_B)]
    a, b = next(iter(pairs))
    loss = OBJECTIVES[objective]
    fake_a, fake_b = F(b), G(a)
    expected = {
        "G_loss": sum(loss.generator(D(fake_b)) for D in for_B),
        "F_loss": sum(loss.generator(D(fake_a)) for D in for_A),
    }
    if not loss.gradient_penalty:
        expected["D_A_loss"] = sum(loss.discriminator(D(a), D(fake_a)) for D in for_A)
        expected["D_B_loss"] = sum(loss.discriminator(D(b), D(fake_b)) for D in for_B)
    logs = tf.function(model.train_step)((a, b))
    for term, value in expected.items():
        np.testing.assert_allclose(logs[term], value, rtol=1e-5, err_msg=term)
    for D, start in zip((*for_A, *for_B), before, strict=True):
        assert np.abs(D.trainable_variables[0] - start).max() > 1e-5
    assert set(model.term_names()) == set(logs) - {"learning_rate"}
    if objective == "wgan-gp":
        return
    fit(model, pairs, epochs=1, validation_data=pairs)
    model.save(tmp_path / "m.keras")
    again = keras.saving.load_model(tmp_path / "m.keras")
    for one, other in zip(again.D_A(a), model.D_A(a), strict=True):
        np.testing.assert_array_equal(one, other)


def test_one_of_several_ends_in_a_sigmoid(make_model):
    G, F, _, D_B = make_model(blocks=0).networks.values()
    D_A = [patch_discriminator(16, filters=4, layers=1, sigmoid=s, name=f"s{s}") for s in (0, 1)]
    model = CycleGAN(G, F, D_A, D_B, image_size=16, pool_size=0)
    model.compile()
    with pytest.raises(InputError, match="needs logits, but a discriminator ends in a sigmoid"):
        model.compile(objective="hinge")


def test_projected_by_name(tmp_path):
    """With averages, as the fast recipe has them."""
    images = keras.Input((None, None, 3))
    maps = keras.layers.Conv2D(4, 3, 4, "same", name="map")(images)
    keras.Model(images, maps, name="features").save(tmp_path / "features.keras")
    model = CycleGAN(
        image_size=16, pool_size=2, ema_momentum=0.9, generator="fast", filters=4, blocks=1,
        discriminator="projected+patch", discriminator_layers=1, discriminator_filters=4,
        discriminator_translation=0.125, features=str(tmp_path / "features.keras"),
        feature_pixels="tf", feature_taps="map",
    )  # fmt: skip
    assert [D.name for D in (model.D_A, model.D_B)] == ["D_A", "D_B"]
    model.compile(objective="hinge", lambda_identity=0, beta_1=0, beta_2=0.99,
                  discriminator_learning_rate=1e-3)  # fmt: skip
    optimizer = model.discriminator_optimizer
    assert (optimizer.beta_1, optimizer.beta_2) == (0, 0.99)
    pictures = tf.random.uniform((2, 16, 16, 3), -1, 1)
    history = fit(model, tf.data.Dataset.from_tensors((pictures, pictures)), epochs=2).history
    assert history["learning_rate"][0] == pytest.approx(2e-4)
    assert optimizer._learning_rate.learning_rate == 1e-3
    features = model.D_A.get_layer("projected").get_layer("features")
    assert not features.trainable_variables
