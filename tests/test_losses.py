"""Objectives and the gradient penalty against numbers worked out by hand."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError, Objective
from tfcyclegan.losses import OBJECTIVES, check_losses, get_objective, gradient_penalty, l1

REAL = tf.constant([2.0, 0.0])
FAKE = tf.constant([0.5, -1.5])


def log_sigmoid(x):
    return -np.log1p(np.exp(-np.asarray(x, float)))


@pytest.mark.parametrize(
    ("name", "discriminator", "generator"),
    [
        # ((1 + 1) / 2 + (0.25 + 2.25) / 2) / 2 and (0.25 + 6.25) / 2
        ("lsgan", 1.125, 3.25),
        # (mean max(0, 1 - real) + mean max(0, 1 + fake)) / 2 and -mean fake
        ("hinge", (0.5 + 0.75) / 2, 0.5),
        ("wgan-gp", (-0.5 - 1.0) / 2, 0.5),
        (
            "vanilla",
            -(log_sigmoid([2, 0]).mean() + log_sigmoid([-0.5, 1.5]).mean()) / 2,
            -log_sigmoid([0.5, -1.5]).mean(),
        ),
    ],
)
def test_objectives(name, discriminator, generator):
    objective = OBJECTIVES[name]
    assert float(objective.discriminator(REAL, FAKE)) == pytest.approx(discriminator, rel=1e-6)
    assert float(objective.generator(FAKE)) == pytest.approx(generator, rel=1e-6)


def test_an_objective_by_name():
    assert all(get_objective(name) is objective for name, objective in OBJECTIVES.items())
    mine = Objective(lambda real, fake: real, lambda fake: fake)
    assert get_objective(mine) is mine
    with pytest.raises(InputError, match="objective='gan' is unknown: take one of lsgan, vanilla"):
        get_objective("gan")


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        (None, {}),
        (None, {"lambda_identity": None, "lambda_gan": 0.0}),
        (None, {"sigmoid": True}),
        (None, {"same_channels": False, "lambda_identity": 0.0}),
        ("objective='hinge' needs logits", {"objective": "hinge", "sigmoid": True}),
        ("lambda_identity=-0.5: a weight must", {"lambda_identity": -0.5}),
        ("lambda_gan=nan: a weight must", {"lambda_gan": float("nan")}),
        ("`lambda_cycle_A`, `lambda_gan` are all 0", {"lambda_cycle_A": 0, "lambda_gan": 0}),
        ("take lambda_identity=0", {"same_channels": False}),
    ],
)
def test_losses_that_go_together(message, settings):
    good = {"objective": "lsgan", "sigmoid": False, "same_channels": True}
    good |= {"lambda_identity": 0.5, "lambda_cycle_A": 10.0, "lambda_gan": 1.0}
    if message is None:
        check_losses(**good | settings)
    else:
        with pytest.raises(InputError, match=message):
            check_losses(**good | settings)


def test_log_loss_does_not_overflow():
    far = tf.constant([1000.0, -1000.0])
    assert float(OBJECTIVES["vanilla"].discriminator(far, far)) == pytest.approx(500.0)


def test_l1():
    assert float(l1(tf.constant([[1.0, -1.0]]), tf.constant([[0.0, 1.0]]))) == 1.5


def test_gradient_penalty_of_a_known_slope():
    """A discriminator of slope s has the penalty (s - 1)^2, whatever the pictures are."""
    real, fake = tf.random.normal((3, 4, 4, 1)), tf.random.normal((3, 4, 4, 1))
    for slope in (0.0, 1.0, 3.0):
        # The mean over 16 pixels has a gradient of 1/16 each: norm 1/4.
        penalty = gradient_penalty(lambda x, s=slope: 4 * s * x, real, fake, tf.constant([0, 1]))
        assert float(penalty) == pytest.approx((slope - 1) ** 2, abs=1e-5)


def test_gradient_penalty_looks_between_real_and_fake():
    real, fake = tf.zeros((64, 2, 2, 1)), tf.ones((64, 2, 2, 1))
    seen = []

    def discriminator(x):
        seen.append(x)
        return x

    gradient_penalty(discriminator, real, fake, tf.constant([5, 6]))
    points = seen[0].numpy()
    assert (points == points[:, :1, :1]).all()  # one place for each picture
    assert points.min() >= 0
    assert points.max() <= 1
    assert points.std() > 0.2
    gradient_penalty(discriminator, real, fake, tf.constant([5, 6]))
    assert np.array_equal(seen[1], points)
    gradient_penalty(discriminator, real, fake, tf.constant([5, 7]))
    assert not np.array_equal(seen[2], points)
