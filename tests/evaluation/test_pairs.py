"""Closeness to the truth, against answers that were computed by hand."""

import numpy as np

from tfcyclegan.evaluation import similarity
from tfcyclegan.evaluation.pairs import coat_scores


def test_similarity():
    images = np.zeros((2, 16, 16, 3), np.float32)
    truth = images + np.array([0.5, -0.1], np.float32)[:, None, None, None]
    found = similarity(images, truth)
    np.testing.assert_allclose(found["l1"], [0.5, 0.1], rtol=1e-6)
    np.testing.assert_allclose(found["psnr"], 10 * np.log10(4 / np.array([0.25, 0.01])), rtol=1e-5)
    # Constant pictures differ only in luminance: (2ab + c) / (a² + b² + c), c = (0.01 · 2)².
    np.testing.assert_allclose(
        found["ssim"], [4e-4 / (0.25 + 4e-4), 4e-4 / (0.01 + 4e-4)], rtol=1e-4
    )
    same = similarity(truth, truth)
    assert np.isinf(same["psnr"]).all()
    np.testing.assert_allclose(same["ssim"], 1, rtol=1e-6)
    assert "ssim" not in similarity(images[:, :10, :10], truth[:, :10, :10])
    np.testing.assert_allclose(similarity(images + 9, images)["l1"], 1)  # clipped to 1


def test_coat_scores():
    """Four pixels of coat, two of which must change, and four outside it."""
    inputs = np.zeros((1, 2, 4, 3), np.float32)
    masks = np.array([[[1, 1, 0, 0], [1, 1, 0, 0]]], np.float32)
    truth = inputs.copy()
    truth[0, 0, :2] = -0.9

    def scores(images):
        return {name: float(v[0]) for name, v in coat_scores(images, inputs, truth, masks).items()}

    assert scores(inputs) == {"coat_changed": 0, "rest_kept": 1}
    assert scores(truth) == {"coat_changed": 1, "rest_kept": 1}
    half = truth.copy()
    half[0, 0, 1] = -0.4  # nearer to the input
    half[0, :, 3] = 0.3
    assert scores(half) == {"coat_changed": 0.5, "rest_kept": 0.5}
    nothing_to_do = coat_scores(truth, inputs, inputs, masks)
    assert nothing_to_do["coat_changed"] == 1
