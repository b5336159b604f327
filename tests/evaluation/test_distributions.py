"""FID, KID and diversity against answers that were computed in another way."""

import numpy as np
import pytest
import scipy.linalg

from tfcyclegan.evaluation import Kid, diversity, fid, kid
from tfcyclegan.evaluation.distributions import _factor


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_fid_of_known_gaussians(random):
    """Samples with exactly the given mean and covariance."""

    def exactly(count, mean, covariance):
        x = random.normal(size=(count, len(mean)))
        x -= x.mean(0)
        x = x @ np.linalg.inv(np.linalg.cholesky(np.cov(x.T))).T
        return x @ np.linalg.cholesky(covariance).T + mean

    a = exactly(50, np.zeros(2), np.diag([4.0, 9.0]))
    b = exactly(70, np.array([3.0, 4.0]), np.diag([1.0, 1.0]))
    # 25 from the means; (2 - 1)² and (3 - 1)² from the deviations.
    assert fid(a, b) == pytest.approx(25 + 1 + 4, rel=1e-9)


@pytest.mark.parametrize("counts", [(40, 60), (200, 30)])
def test_fid_is_the_formula_with_scipys_square_root(random, counts):
    a, b = (random.normal(size=(n, 8)) @ random.normal(size=(8, 8)) for n in counts)
    covariances = np.cov(a.T), np.cov(b.T)
    root = scipy.linalg.sqrtm(covariances[0] @ covariances[1]).real
    expected = np.sum((a.mean(0) - b.mean(0)) ** 2) + np.trace(sum(covariances) - 2 * root)
    assert fid(a, b) == pytest.approx(expected, rel=1e-8)


def test_kid_is_the_sum_over_pairs(random):
    """Computed as in the paper, one pair at a time."""
    a, b = random.normal(size=(6, 3)), random.normal(1.0, size=(6, 3))

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    within = sum(k(x[i], x[j]) for x in (a, b) for i in range(6) for j in range(6) if i != j) / 30
    across = sum(k(x, y) for x in a for y in b) / 36
    found = kid(a, b, subsets=1, subset_size=6)
    assert found.mean == pytest.approx(within - 2 * across, rel=1e-9)
    assert found.std == 0


def test_kid_is_unbiased(random):
    """Two sets of one kind give values around zero, however few pictures they have."""
    values = [
        kid(random.normal(size=(4, 5)), random.normal(size=(4, 5)), subsets=1, subset_size=4).mean
        for _ in range(2000)
    ]
    error = np.std(values) / np.sqrt(len(values))
    assert abs(np.mean(values)) < 4 * error
    assert 0.3 < np.mean(np.array(values) < 0) < 0.9


def test_kid_subsets(random):
    a, b = random.normal(size=(30, 4)), random.normal(0.5, size=(20, 4))
    found = kid(a, b)
    assert isinstance(found, Kid)
    assert found.subset_size == 10  # half of the smaller set
    assert found == kid(a, b)
    assert found != kid(a, b, seed=1)
    assert found.std > 0
    assert kid(np.ones((2500, 1)), np.ones((2500, 1)), subsets=1).subset_size == 1000
    with pytest.raises(ValueError, match="subset_size=21: must lie between 2 and the 20"):
        kid(a, b, subset_size=21)


def test_identical_sets(random):
    a = random.normal(size=(40, 6))
    assert fid(a, a) == pytest.approx(0, abs=1e-9)
    assert kid(a, a, subsets=5, subset_size=40).mean < 0  # unbiased: a shared picture counts less
    assert diversity(a, a) == 1


def test_constant_sets():
    zeros, twos = np.zeros((5, 3)), np.full((5, 3), 2.0)
    with pytest.warns(UserWarning, match="FID from 5 pictures with 7"):
        assert fid(np.zeros((5, 7)), np.full((5, 7), 2.0)) == pytest.approx(28)
    assert fid(zeros, twos) == pytest.approx(12)
    # (4 + 1)³ among the twos, 1 among the zeros and across.
    assert kid(zeros, twos).mean == pytest.approx(125 + 1 - 2)
    assert diversity(zeros, twos) is None
    assert diversity(zeros, np.arange(15).reshape(5, 3)) == 0


def test_fid_decomposes_at_most_as_many_rows_as_features():
    features = np.random.default_rng(0).normal(size=(50, 4))
    assert _factor(features).shape == (4, 4)
    assert _factor(features[:3]).shape == (3, 4)


@pytest.mark.parametrize("metric", [fid, kid])
def test_invalid_features(metric, random):
    fine = random.normal(size=(10, 4))
    with pytest.raises(ValueError, match="1 picture: a set needs at least 2"):
        metric(fine[:1], fine)
    with pytest.raises(ValueError, match="not finite"):
        metric(fine, np.where(fine > 2, fine, np.nan))
    with pytest.raises(ValueError, match=r"these are \(10, 4\), \(10, 3\)"):
        metric(fine, fine[:, :3])


def test_fid_warns_of_too_few_pictures(random, recwarn):
    with pytest.warns(UserWarning, match="FID from 8 pictures with 8 features"):
        fid(random.normal(size=(8, 8)), random.normal(size=(80, 8)))
    recwarn.clear()
    fid(random.normal(size=(9, 8)), random.normal(size=(80, 8)))
    assert not recwarn.list


def test_diversity_is_a_ratio_of_distances(random):
    inputs = random.normal(size=(12, 5))
    assert diversity(3 * inputs + 7, inputs) == pytest.approx(3)
    assert diversity(inputs[:1], inputs[:1]) is None
