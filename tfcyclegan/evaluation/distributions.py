"""FID, KID and diversity: comparisons of whole sets of pictures by their features.

They compare a set with a set, never a picture with a picture, so they need no pairs. The network
that makes the features, its input size and its preprocessing decide the numbers as much as the
pictures do; see `pretrained`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np


class Kid(NamedTuple):
    """A Kernel Inception Distance.

    Attributes:
        mean: mean over the subsets; about 0 for two sets of the same kind, and as often below it.
        std: standard deviation over the subsets.
        subset_size: pictures of each set in a subset.
    """

    mean: float
    std: float
    subset_size: int


def fid(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Fréchet Inception Distance (Heusel et al. 2017) between Gaussians fitted to two sets.

    |μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^½), with covariances over n - 1. The value grows as the
    number of pictures falls, so compare only values measured with equally many pictures.

    Args:
        features_a: `[N, D]`, one row per picture, N ≥ 2.
        features_b: `[M, D]`, M ≥ 2.

    Returns:
        The distance, 0 for identical sets.

    Raises:
        ValueError: fewer than two pictures, different widths, or features that are not finite.

    Warns:
        UserWarning: a set has no more pictures than features, so its covariance is singular and
            the value is far too large.

    Example:
        >>> fid(features(translated), features(real))
        61.3
    """
    a, b = _checked(features_a, features_b)
    count, width = min(len(a), len(b)), a.shape[1]
    if count <= width:
        warnings.warn(
            f"FID from {count} pictures with {width} features each is far too large: compare it "
            "only with values from equally many pictures, or use KID",
            stacklevel=2,
        )
    # With Σ = XᵀX, tr (Σa Σb)^½ is the sum of the singular values of Xa Xbᵀ. This avoids the root
    # of the product, which is inaccurate where a covariance is singular.
    factor_a, factor_b = _factor(a), _factor(b)
    shared = np.linalg.svd(factor_a @ factor_b.T, compute_uv=False).sum()
    means = np.sum((a.mean(0) - b.mean(0)) ** 2)
    distance = means + np.sum(factor_a**2) + np.sum(factor_b**2) - 2 * shared
    return max(0.0, float(distance))


def _factor(features: np.ndarray) -> np.ndarray:
    """X with XᵀX the covariance; it has at most as many rows as there are features."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    return np.asarray(np.linalg.qr(centred, mode="r"))


def kid(
    features_a: np.ndarray,
    features_b: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int | None = None,
    seed: int = 0,
) -> Kid:
    """Kernel Inception Distance (Bińkowski et al. 2018): squared MMD under (x·y / D + 1)³.

    The estimate is unbiased: no picture is compared with itself. So the number of pictures does
    not shift it, and two sets of the same kind give about 0.

    Args:
        features_a: `[N, D]`, one row per picture, N ≥ 2.
        features_b: `[M, D]`, M ≥ 2.
        subsets: int, number of random subsets, drawn without replacement. Default 100, as in
            clean-fid.
        subset_size: int, pictures of each set in a subset. Default: 1000, as in clean-fid, but at
            most half of the smaller set, because subsets that share all pictures vary too little.
        seed: int, seed of the subsets. Default 0.

    Returns:
        `Kid(mean, std, subset_size)`.

    Raises:
        ValueError: fewer than two pictures, different widths, features that are not finite, or
            subsets larger than a set.

    Example:
        >>> kid(features(translated), features(real)).mean
        0.042
    """
    a, b = _checked(features_a, features_b)
    smaller = min(len(a), len(b))
    size = subset_size or min(1000, max(2, smaller // 2))
    if not 2 <= size <= smaller:
        raise ValueError(f"subset_size={size}: must lie between 2 and the {smaller} pictures")
    random = np.random.default_rng(seed)
    values = [
        _mmd(*(x[random.choice(len(x), size, replace=False)] for x in (a, b)))
        for _ in range(subsets)
    ]
    return Kid(float(np.mean(values)), float(np.std(values)), size)


def _mmd(a: np.ndarray, b: np.ndarray) -> float:
    """The unbiased estimate for two sets of the same size."""
    count, width = a.shape

    def kernel(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return (x @ y.T / width + 1) ** 3

    within = sum(
        (np.sum(k) - np.trace(k)) / (count * (count - 1)) for k in (kernel(a, a), kernel(b, b))
    )
    return within - 2 * np.mean(kernel(a, b))


def diversity(outputs: np.ndarray, inputs: np.ndarray) -> float | None:
    """How much outputs differ from each other, relative to their inputs.

    The mean distance between two outputs divided by that between two inputs: about 1 for a
    generator that keeps its pictures apart, 0 for one that has collapsed to a single picture.

    Args:
        outputs: `[N, D]`, pixels or features, one row per picture.
        inputs: `[N, D]`.

    Returns:
        The ratio, or None for inputs that do not differ and for a single picture.

    Raises:
        ValueError: values that are not finite, or different widths.

    Example:
        >>> diversity(np.zeros((10, 5)), np.random.normal(size=(10, 5)))
        0.0
    """
    if len(outputs) < 2:
        return None
    outputs, inputs = _checked(outputs, inputs)
    apart = _mean_distance(inputs)
    return _mean_distance(outputs) / apart if apart else None


def _mean_distance(rows: np.ndarray) -> float:
    """The mean distance between two different rows."""
    rows = rows - rows[0]  # equal rows become zeros, without rounding
    squares = np.sum(rows**2, axis=1)
    apart = np.sqrt(np.maximum(squares[:, None] + squares - 2 * rows @ rows.T, 0))
    return float(np.sum(apart) / (len(rows) * (len(rows) - 1)))


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Both as float64, if they can be compared."""
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features must be [pictures, D] of one D; these are {a.shape}, {b.shape}")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{min(len(a), len(b))} picture: a set needs at least 2")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features are not finite: check the network and its pictures")
    return a, b
