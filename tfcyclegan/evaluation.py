"""How close translated pictures are to the truth, where it is known."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def paired_scores(images: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    """Mean PSNR and SSIM of pictures to the pictures they should be.

    Args:
        images: float32 `[N, H, W, C]` in [-1, 1], at least 11 px a side.
        truth: the same shape.

    Returns:
        `psnr` in dB and `ssim` in [-1, 1] (11×11 Gaussian window of σ 1.5, Wang et al. 2004),
        each the mean over pictures; values span 2, from -1 to 1.

    Example:
        >>> paired_scores(model.translate(data.test_A), data.truth.AtoB)
        {'psnr': 24.1, 'ssim': 0.87}
    """
    images, truth = tf.clip_by_value(images, -1.0, 1.0), tf.convert_to_tensor(truth)
    return {
        "psnr": float(tf.reduce_mean(tf.image.psnr(images, truth, max_val=2.0))),
        "ssim": float(tf.reduce_mean(tf.image.ssim(images, truth, max_val=2.0))),
    }
