"""Pix2pix: its step against a plain one, its ablations, directions, saving and resuming."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import (
    InputError,
    Pix2Pix,
    ResumableState,
    load_data,
    patch_discriminator,
    unet_generator,
)
from tfcyclegan.optimizers import Adam

SIZE = 32


def make(**settings):
    tiny = {"image_size": SIZE, "filters": 2, "discriminator_filters": 2, "discriminator_layers": 1}
    return Pix2Pix(**{**tiny, **settings})


@pytest.fixture(scope="module")
def truths():
    """Three batches of two pairs: B is A upside down."""
    A = np.random.default_rng(3).uniform(-1, 1, (6, SIZE, SIZE, 3)).astype(np.float32)
    return tf.data.Dataset.from_tensor_slices((A, -A)).batch(2, drop_remainder=True)


def fit(model, data, epochs=1, **settings):
    return model.fit(data, epochs=epochs, verbose=0, **settings).history


def adam(kind=Adam):
    return kind(2e-4, beta_1=0.5, epsilon=1e-3)


class PlainStep:
    """Sections 3.1 and 3.3 of the paper, written as plainly as possible."""

    def __init__(self, model, squares=False, lambda_L1=100.0, lambda_gan=1.0):
        self.G, self.D = map(keras.models.clone_model, (model.G, model.D))
        self.G.set_weights(model.G.get_weights())
        self.D.set_weights(model.D.get_weights())
        self.adams = [adam(keras.optimizers.Adam) for _ in range(2)]
        self.squares, self.L1, self.gan = squares, lambda_L1, lambda_gan

    def distance(self, logits, wanted):
        """The log loss, or least squares."""
        if self.squares:
            return tf.reduce_mean((logits - wanted) ** 2)
        cross_entropy = tf.nn.sigmoid_cross_entropy_with_logits(wanted + 0 * logits, logits)
        return tf.reduce_mean(cross_entropy)

    def __call__(self, x, y):
        terms = {}
        with tf.GradientTape() as tape:
            fake = self.G(x, training=True)
            if self.gan:
                with tf.GradientTape() as D_tape:
                    D_fake = self.D(tf.concat([x, tf.stop_gradient(fake)], 3), training=True)
                    D_real = self.D(tf.concat([x, y], 3), training=True)
                    loss = 0.5 * (self.distance(D_fake, 0.0) + self.distance(D_real, 1.0))
                variables = self.D.trainable_variables
                self.adams[1].apply(D_tape.gradient(loss, variables), variables)
                logits = self.D(tf.concat([x, fake], 3), training=True)
                terms["G_loss"] = self.gan * self.distance(logits, 1.0)
            if self.L1:
                terms["L1"] = self.L1 * tf.reduce_mean(tf.abs(fake - y))
            total = sum(terms.values())
        variables = self.G.trainable_variables
        self.adams[0].apply(tape.gradient(total, variables), variables)
        return {"loss": total, **terms} | ({"D_loss": loss} if self.gan else {})


@pytest.mark.parametrize(
    ("settings", "plain"),
    [
        ({}, {}),
        ({"lambda_gan": 0.0}, {"lambda_gan": 0.0}),
        ({"lambda_L1": 0.0}, {"lambda_L1": 0.0}),
        ({"objective": "lsgan", "lambda_L1": 10.0}, {"squares": True, "lambda_L1": 10.0}),
    ],
    ids=["paper", "L1 only", "GAN only", "least squares"],
)
def test_step_is_the_papers(settings, plain, truths):
    """Every step from the same state: D first, then G against the new D."""
    model = make(dropout=0.0)
    slow = PlainStep(model, **plain)
    model.compile(adam(), adam(), **settings)
    step = tf.function(model.train_step)
    for x, y in truths:
        for mine, theirs in ((model.G, slow.G), (model.D, slow.D)):
            theirs.set_weights(mine.get_weights())
        for optimizer, other in zip(
            (model.generator_optimizer, model.discriminator_optimizer), slow.adams, strict=True
        ):
            for one, two in zip(optimizer.variables, other.variables, strict=False):
                two.assign(one)
        model.reset_metrics()
        logs, expected = step((x, y)), slow(x, y)
        assert set(logs) == {*expected, "learning_rate"}
        for name, value in expected.items():
            np.testing.assert_allclose(logs[name], value, rtol=1e-4, err_msg=name)
        for mine, theirs in ((model.G, slow.G), (model.D, slow.D)):
            for one, other in zip(mine.weights, theirs.weights, strict=True):
                np.testing.assert_allclose(one, other, atol=2e-6, rtol=1e-4, err_msg=one.path)
    assert int(model.step.numpy()) == 3


def test_networks_are_the_papers():
    model = Pix2Pix(image_size=256)
    # With batch norm, no convolution before a norm has a bias. The reference prints 54.414 M.
    assert round(model.G.count_params() / 1e6, 1) == 54.4
    assert model.D.input_shape == (None, None, None, 6)
    assert model.D(tf.zeros((1, 256, 256, 6))).shape == (1, 30, 30, 1)
    rates = [layer.rate for layer in model.G.layers if type(layer).__name__ == "Dropout"]
    assert rates == [0.5] * 3


def test_directions(truths):
    """BtoA on (A, B) learns what AtoB does on (B, A)."""
    forward, backward = make(dropout=0.0), make(dropout=0.0, direction="BtoA")
    backward.set_weights(forward.get_weights())
    for model in (forward, backward):
        model.compile()
    swapped = truths.map(lambda A, B: (B, A))
    assert fit(forward, swapped) == fit(backward, truths)
    images = next(iter(truths))[0]
    np.testing.assert_array_equal(backward.translate(images), forward.translate(images))
    np.testing.assert_array_equal(backward.predict(images, verbose=0), backward.translate(images))
    assert list(backward.translators) == ["BtoA"]
    with pytest.raises(InputError, match="pix2pix only translates BtoA"):
        backward.translate(images, "AtoB")


def test_learns(truths):
    model = make(filters=8)
    model.compile(learning_rate=2e-3)
    losses = fit(model, truths, epochs=30, validation_data=truths)
    assert losses["val_L1"][-1] < 0.75 * losses["val_L1"][0]
    assert losses["learning_rate"][-1] < 2e-4
    evaluated = model.evaluate(truths, verbose=0, return_dict=True)
    assert evaluated["D_loss"] == pytest.approx(losses["val_D_loss"][-1], rel=1e-5)


def test_samples_differ_and_change_nothing():
    model = make(image_size=64)  # smaller U-Nets have no layer with dropout
    images = np.random.default_rng(0).uniform(-1, 1, (2, 64, 64, 3)).astype(np.float32)
    before = [variable.numpy() for variable in model.G.variables]
    first, second = model.sample(images), model.sample(images)
    assert first.shape == images.shape
    assert np.abs(first - second).max() > 1e-3
    keras.utils.set_random_seed(0)
    again = model.sample(images)
    keras.utils.set_random_seed(0)
    np.testing.assert_array_equal(model.sample(images), again)
    # Batch norm takes the statistics of the batch: one of two pictures gives other pictures.
    assert np.abs(model.sample(images, batch_size=2) - first).max() > 1e-3
    for variable, value in zip(model.G.variables, before, strict=True):
        np.testing.assert_array_equal(variable, value, err_msg=variable.path)


@pytest.mark.parametrize("precision", ["mixed_bfloat16", "mixed_float16"])
def test_saved_midway(precision, truths, tmp_path):
    """A loaded model has the weights, the moments, the average and the place in the schedule."""
    keras.config.set_dtype_policy(precision)
    model = make(ema_momentum=0.5)
    model.compile(lambda_L1=7.0)
    fit(model, truths)
    model.save(tmp_path / "model.keras")
    again = keras.saving.load_model(tmp_path / "model.keras")
    assert again.lambda_L1 == 7.0
    for name, variable in model.state().items():
        if not name.startswith("means"):
            np.testing.assert_array_equal(variable, again.state()[name], err_msg=name)
    images = next(iter(truths))[0]
    np.testing.assert_array_equal(model.translate(images), again.translate(images))
    assert not np.array_equal(model.G_average.get_weights()[0], model.G.get_weights()[0])


def test_resumes_exactly(tmp_path):
    data = load_data("shapes", image_size=SIZE, batch_size=2, steps_per_epoch=3, paired=True)

    def start():
        keras.utils.set_random_seed(0)
        model = make()
        model.compile()
        return model

    def state():
        return ResumableState(tmp_path / "checkpoints", data, every=1)

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if int(self.model.step.numpy()) == 4:
                raise KeyboardInterrupt

    straight = start()
    fit(straight, data.train, epochs=2)
    data.seek(0)
    with pytest.raises(KeyboardInterrupt):
        fit(start(), data.train, epochs=2, callbacks=[state(), Stop()])
    resumed = start()
    fit(resumed, data.train, epochs=2, callbacks=[state()])
    for one, other in zip(straight.get_weights(), resumed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_a_term_of_ones_own(truths):
    class Smooth(Pix2Pix):
        def generator_terms(self, pair):
            variation = tf.reduce_mean(tf.image.total_variation(pair.fake))
            return super().generator_terms(pair) | {"tv": 1e-4 * variation}

    model = Smooth(image_size=SIZE, filters=2, discriminator_filters=2, discriminator_layers=1)
    model.compile()
    logs = fit(model, truths)
    assert logs["loss"][0] == pytest.approx(
        logs["G_loss"][0] + logs["L1"][0] + logs["tv"][0], rel=1e-5
    )


@pytest.mark.parametrize(
    ("message", "build"),
    [
        ("image_size=40: must be a multiple of 32", lambda: make(image_size=40)),
        (
            r"D reads 3 channels, but a picture and its translation have 3 \+ 3",
            lambda: make(D=patch_discriminator(SIZE, layers=1)),
        ),
        (
            "`filters` describes networks, but both are given",
            lambda: Pix2Pix(
                unet_generator(SIZE), patch_discriminator(SIZE, 6, layers=1), filters=2
            ),
        ),
        ("no gradient penalty", lambda: make().compile(objective="wgan-gp")),
        ("`lambda_L1`, `lambda_gan` are all 0", lambda: make().compile(lambda_L1=0, lambda_gan=0)),
        ("direction='up' is unknown", lambda: make(direction="up")),
        ("image_size=None: Pix2Pix needs", lambda: make(image_size=None)),
    ],
)
def test_refuses(message, build):
    with pytest.raises(InputError, match=message):
        build()
