"""The metrics against answers that were worked out in another way."""

import numpy as np
import pytest
import scipy.linalg

from tfcyclegan import InputError
from tfcyclegan.evaluation import diversity, fid, kid, label_scores, load_palette, similarity
from tfcyclegan.evaluation.distributions import _factor
from tfcyclegan.evaluation.metrics import METRICS, better, choose_metrics
from tfcyclegan.evaluation.pairs import coat_scores


@pytest.fixture
def random():
    return np.random.default_rng(0)


def test_fid_of_known_gaussians(random):
    """Samples made to have exactly the mean and covariance that the formula is given."""

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
    """Once more as written in the paper, a pair at a time."""
    a, b = random.normal(size=(6, 3)), random.normal(1.0, size=(6, 3))

    def k(x, y):
        return (x @ y / 3 + 1) ** 3

    within = sum(k(x[i], x[j]) for x in (a, b) for i in range(6) for j in range(6) if i != j) / 30
    across = sum(k(x, y) for x in a for y in b) / 36
    found = kid(a, b, subsets=1, subset_size=6)
    assert found.mean == pytest.approx(within - 2 * across, rel=1e-9)
    assert found.std == 0


def test_kid_is_unbiased(random):
    """Two sets of one kind: as often below as above zero, however few pictures."""
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


def test_fid_takes_no_more_than_the_features_wide():
    """However many pictures, what is decomposed is as large as there are features."""
    features = np.random.default_rng(0).normal(size=(50, 4))
    assert _factor(features).shape == (4, 4)
    assert _factor(features[:3]).shape == (3, 4)


@pytest.mark.parametrize("metric", [fid, kid])
def test_features_that_cannot_be_compared(metric, random):
    fine = random.normal(size=(10, 4))
    with pytest.raises(ValueError, match="1 picture: a set has at least 2"):
        metric(fine[:1], fine)
    with pytest.raises(ValueError, match="not finite"):
        metric(fine, np.where(fine > 2, fine, np.nan))
    with pytest.raises(ValueError, match=r"these are \(10, 4\), \(10, 3\)"):
        metric(fine, fine[:, :3])


def test_a_warning_where_features_outnumber_pictures(random, recwarn):
    with pytest.warns(UserWarning, match="FID from 8 pictures with 8 features"):
        fid(random.normal(size=(8, 8)), random.normal(size=(80, 8)))
    recwarn.clear()
    fid(random.normal(size=(9, 8)), random.normal(size=(80, 8)))
    assert not recwarn.list


def test_diversity_is_a_ratio_of_distances(random):
    inputs = random.normal(size=(12, 5))
    assert diversity(3 * inputs + 7, inputs) == pytest.approx(3)
    assert diversity(inputs[:1], inputs[:1]) is None


def test_similarity():
    images = np.zeros((2, 16, 16, 3), np.float32)
    truth = images + np.array([0.5, -0.1], np.float32)[:, None, None, None]
    found = similarity(images, truth)
    np.testing.assert_allclose(found["l1"], [0.5, 0.1], rtol=1e-6)
    np.testing.assert_allclose(found["psnr"], 10 * np.log10(4 / np.array([0.25, 0.01])), rtol=1e-5)
    # Constant pictures differ in luminance alone: (2ab + c) / (a² + b² + c), c = (0.01 · 2)².
    np.testing.assert_allclose(
        found["ssim"], [4e-4 / (0.25 + 4e-4), 4e-4 / (0.01 + 4e-4)], rtol=1e-4
    )
    same = similarity(truth, truth)
    assert np.isinf(same["psnr"]).all()
    np.testing.assert_allclose(same["ssim"], 1, rtol=1e-6)
    assert "ssim" not in similarity(images[:, :10, :10], truth[:, :10, :10])
    np.testing.assert_allclose(similarity(images + 9, images)["l1"], 1)  # clipped to 1


def test_coat_scores():
    """4 pixels of coat, 2 of them to change; 4 beside it."""
    inputs = np.zeros((1, 2, 4, 3), np.float32)
    masks = np.array([[[1, 1, 0, 0], [1, 1, 0, 0]]], np.float32)
    truth = inputs.copy()
    truth[0, 0, :2] = -0.9

    def scores(images):
        return {name: float(v[0]) for name, v in coat_scores(images, inputs, truth, masks).items()}

    assert scores(inputs) == {"coat_changed": 0, "rest_kept": 1}
    assert scores(truth) == {"coat_changed": 1, "rest_kept": 1}
    half = truth.copy()
    half[0, 0, 1] = -0.4  # nearer to what it was
    half[0, :, 3] = 0.3
    assert scores(half) == {"coat_changed": 0.5, "rest_kept": 0.5}
    nothing_to_do = coat_scores(truth, inputs, inputs, masks)
    assert nothing_to_do["coat_changed"] == 1


def test_label_scores(tmp_path):
    palette = tmp_path / "classes.txt"
    palette.write_text("#ff0000 roof\n\n#00ff00 wall\n#0000ff door\n#ffffff sky\n")
    classes = load_palette(str(palette))
    assert classes.classes == ("roof", "wall", "door", "sky")
    truth = np.array([[[255, 0, 0]] * 3 + [[0, 255, 0]]], np.uint8)
    # Near colours count; one of three roofs is called a door, the wall is right.
    drawn = np.array([[[250, 9, 30], [200, 0, 0], [0, 0, 140], [60, 200, 60]]], np.uint8)
    assert classes.labels(drawn).tolist() == [[0, 0, 2, 1]]
    found = label_scores([drawn], [truth], classes)
    assert found["pixel_accuracy"] == pytest.approx(3 / 4)
    assert found["class_accuracy"] == pytest.approx((2 / 3 + 1) / 2)
    assert found["class_iou"] == pytest.approx((2 / 3 + 1 + 0) / 3)
    assert set(label_scores([truth], [truth], classes).values()) == {1.0}
    # The classes of all pictures together, not a mean over pictures.
    pair = label_scores([drawn, truth], [truth, truth], classes)
    assert pair["pixel_accuracy"] == pytest.approx(7 / 8)


def test_void_is_not_scored():
    classes = load_palette("cityscapes")
    assert len(classes.classes) == 20
    road, sky, void = (classes.colours[classes.classes.index(n)] for n in ("road", "sky", "void"))
    truth = np.array([[road, road, sky, void]])
    assert set(label_scores([np.array([[road, road, sky, sky]])], [truth], classes).values()) == {1}
    found = label_scores([np.array([[road, void, sky, void]])], [truth], classes)
    assert found["pixel_accuracy"] == pytest.approx(2 / 3)
    assert found["class_iou"] == pytest.approx((1 / 2 + 1) / 2)
    with pytest.raises(InputError, match="the truth is void everywhere"):
        label_scores([truth], [np.array([[void] * 4])], classes)


def test_palettes_that_are_none(tmp_path):
    with pytest.raises(InputError, match="did you mean cityscapes"):
        load_palette("cityscape")
    broken = tmp_path / "broken.txt"
    broken.write_text("#ff0000 roof\nreddish door\n")
    with pytest.raises(InputError, match=r"broken.txt: .*reddish.*: give a class a line"):
        load_palette(str(broken))
    broken.write_text("#ff0000 roof\n#00ff00 roof\n")
    with pytest.raises(InputError, match="two lines for roof"):
        load_palette(str(broken))
    broken.write_text("#ff0000 roof\n")
    with pytest.raises(InputError, match="1 class: give at least two"):
        load_palette(str(broken))


def test_metrics_are_chosen_by_what_is_there():
    nothing = dict.fromkeys(("truth", "masks", "palette", "extractor", "classifier"), False)
    assert choose_metrics(None, nothing) == (
        "diversity", "cycle_l1", "cycle_psnr", "cycle_ssim", "identity_l1"
    )  # fmt: skip
    assert choose_metrics("kid, psnr", {**nothing, "truth": True, "extractor": True}) == (
        "psnr", "kid"
    )  # fmt: skip
    with pytest.raises(InputError, match="metric kid: needs --extractor"):
        choose_metrics("kid", nothing)
    with pytest.raises(InputError, match="'fidd' is unknown: take some of psnr"):
        choose_metrics("fidd", nothing)


def test_which_way_is_better():
    assert better("AtoB_kid", 0.1, 0.2)
    assert better("psnr", 20.0, 10.0)
    assert not better("psnr", 10.0, 10.0)
    assert METRICS["psnr"].show(float("inf")) == "equal"
