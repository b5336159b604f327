"""How close pictures are to the pictures they should be."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def similarity(images: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR, SSIM and L1 of each picture to its truth.

    Args:
        images: float32 `[N, H, W, C]` in [-1, 1]; values outside are clipped.
        truth: float32 of the same shape, in [-1, 1].

    Returns:
        Arrays `[N]`: `psnr` in dB (infinite for equal pictures), `ssim` in [-1, 1] (11×11
        Gaussian window with σ 1.5, Wang et al. 2004; left out if a side is below 11 px), and
        `l1`, the mean absolute difference, where values span 2.

    Example:
        >>> truth = to_float(np.stack(data.test_set.truth_A))
        >>> similarity(model.translate(data.test_A), truth)["psnr"].mean()
        24.1
    """
    images = tf.clip_by_value(tf.cast(images, tf.float32), -1.0, 1.0)
    truth = tf.cast(truth, tf.float32)
    found = {
        "psnr": tf.image.psnr(images, truth, max_val=2.0),
        "l1": tf.reduce_mean(tf.abs(images - truth), axis=[1, 2, 3]),
    }
    if min(images.shape[1:3]) >= 11:
        found["ssim"] = tf.image.ssim(images, truth, max_val=2.0)
    return {name: values.numpy() for name, values in found.items()}


def coat_scores(
    images: np.ndarray, inputs: np.ndarray, truth: np.ndarray, masks: np.ndarray
) -> dict[str, np.ndarray]:
    """For pictures of the embedded set: was the coat changed, and was the rest kept?

    Args:
        images: float32 `[N, H, W, 3]` in [-1, 1], the translations.
        inputs: the same shape, the pictures that were translated.
        truth: the same shape, what the translations should be.
        masks: float32 `[N, H, W]` in [0, 1], how much of a pixel is coat.

    Returns:
        Arrays `[N]` of shares in [0, 1]. `coat_changed`: of the coat's pixels that must change
        (truth and input differ by more than 0.2 in the mean of the channels), those that are
        nearer to the truth than to the input. `rest_kept`: of the pixels outside the coat, those
        that changed by less than 0.2. Doing nothing scores 0 and 1.
    """

    def apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.mean(np.abs(x - y), axis=-1)

    to_change = (masks >= 0.5) & (apart(truth, inputs) > 0.2)
    changed = apart(images, truth) < apart(images, inputs)
    kept = apart(images, inputs) < 0.2
    return {"coat_changed": _share(changed, to_change), "rest_kept": _share(kept, masks == 0)}


def _share(holds: np.ndarray, among: np.ndarray) -> np.ndarray:
    """For each picture, the share of the pixels `among` where it `holds`; 1 if there are none."""
    count = among.sum((1, 2))
    return np.where(count > 0, (holds & among).sum((1, 2)) / np.maximum(count, 1), 1.0)
