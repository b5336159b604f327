"""How close pictures are to the pictures they should be."""

from __future__ import annotations

import numpy as np
import tensorflow as tf


def similarity(images: np.ndarray, truth: np.ndarray) -> dict[str, np.ndarray]:
    """PSNR, SSIM and L1 of each picture to its truth.

    Args:
        images: float32 `[N, H, W, C]` in [-1, 1]; what lies outside is clipped.
        truth: the same shape.

    Returns:
        Arrays `[N]`: `psnr` in dB (infinite for equal pictures), `ssim` in [-1, 1] (11×11
        Gaussian window of σ 1.5, Wang et al. 2004; left out below 11 px a side), and `l1`, the
        mean absolute difference. Values span 2, from -1 to 1.

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
    """Of each picture of the embedded set: was the coat changed, and the rest left alone?

    Args:
        images: float32 `[N, H, W, 3]` in [-1, 1], the translations.
        inputs: the same shape, what was translated.
        truth: the same shape, what should have come out.
        masks: float32 `[N, H, W]` in [0, 1], how much of a pixel is coat.

    Returns:
        Arrays `[N]` of shares in [0, 1]. `coat_changed`: of the coat's pixels that are to change
        (truth and input differ by more than 0.2 in the mean of the channels), those that came out
        nearer to the truth than to the input. `rest_kept`: of the pixels outside of the coat,
        those that moved by less than 0.2. Doing nothing scores 0 and 1.
    """

    def apart(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return np.mean(np.abs(x - y), axis=-1)

    to_change = (masks >= 0.5) & (apart(truth, inputs) > 0.2)
    changed = apart(images, truth) < apart(images, inputs)
    kept = apart(images, inputs) < 0.2
    return {"coat_changed": _share(changed, to_change), "rest_kept": _share(kept, masks == 0)}


def _share(holds: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Of the places of each picture, the share where it holds; 1 where there are no places."""
    count = among.sum((1, 2))
    return np.where(count > 0, (holds & among).sum((1, 2)) / np.maximum(count, 1), 1.0)
