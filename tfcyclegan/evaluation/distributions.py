"""How alike two sets of pictures are, by the features a network sees in them: FID and KID.

Both compare a set with a set, never a picture with a picture, so they need no pairs. Which
network, at which size and how prepared decides the numbers as much as the pictures do; see
`pretrained`.
"""

from __future__ import annotations

import warnings
from typing import NamedTuple

import numpy as np
from scipy import linalg
from scipy.spatial.distance import pdist


class Kid(NamedTuple):
    """A Kernel Inception Distance.

    Attributes:
        mean: over the subsets; about 0 for two sets of the same kind, and as often below.
        std: of the subsets' values.
        subset_size: pictures of each set in a subset.
    """

    mean: float
    std: float
    subset_size: int


def fid(features_a: np.ndarray, features_b: np.ndarray) -> float:
    """Fréchet Inception Distance (Heusel et al. 2017): between Gaussians fitted to two sets.

    |μa - μb|² + tr(Σa + Σb - 2 (Σa Σb)^½), with covariances over n - 1. Fewer pictures give a
    larger number, so compare only what was measured with equally many.

    Args:
        features_a: `[N, D]`, a row a picture, N ≥ 2.
        features_b: `[M, D]`, M ≥ 2.

    Returns:
        The distance, 0 for identical sets.

    Raises:
        ValueError: fewer than two pictures, other widths, or features that are not finite.

    Warns:
        UserWarning: a set has no more pictures than features, so that its covariance is singular
            and the number far too large.

    Example:
        >>> fid(features(translated), features(real))
        61.3
    """
    a, b = _checked(features_a, features_b)
    count, width = min(len(a), len(b)), a.shape[1]
    if count <= width:
        warnings.warn(
            f"FID from {count} pictures with {width} features each is far too large: compare it "
            "with others of as many pictures only, or take KID",
            stacklevel=2,
        )
    # Σ = XᵀX, so tr (Σa Σb)^½ is the sum of the singular values of Xa Xbᵀ. That needs no root of
    # a product, which loses its digits where a covariance is singular.
    factor_a, factor_b = _factor(a), _factor(b)
    shared = linalg.svdvals(factor_a @ factor_b.T).sum()
    means = np.sum((a.mean(0) - b.mean(0)) ** 2)
    distance = means + np.sum(factor_a**2) + np.sum(factor_b**2) - 2 * shared
    return max(0.0, float(distance))


def _factor(features: np.ndarray) -> np.ndarray:
    """X with XᵀX the covariance, of at most as many rows as there are features."""
    centred = (features - features.mean(0)) / np.sqrt(len(features) - 1)
    width = centred.shape[1]
    return linalg.qr(centred, mode="r")[0][:width] if len(centred) > width else centred


def kid(
    features_a: np.ndarray,
    features_b: np.ndarray,
    *,
    subsets: int = 100,
    subset_size: int | None = None,
    seed: int = 0,
) -> Kid:
    """Kernel Inception Distance (Bińkowski et al. 2018): squared MMD under (x·y / D + 1)³.

    Unbiased: pictures compared with themselves are left out, so the number of pictures does not
    shift it, and two sets of the same kind give about 0.

    Args:
        features_a: `[N, D]`, a row a picture, N ≥ 2.
        features_b: `[M, D]`, M ≥ 2.
        subsets: int, random subsets, drawn without repetition. Default 100 (as clean-fid).
        subset_size: int, pictures of each set in one. Default: 1000 (as clean-fid), but no more
            than half of the smaller set, as subsets that share all pictures vary too little.
        seed: int, of the subsets.

    Returns:
        `Kid(mean, std, subset_size)`.

    Raises:
        ValueError: fewer than two pictures, other widths, features that are not finite, or
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
        _mmd(
            a[random.choice(len(a), size, replace=False)],
            b[random.choice(len(b), size, replace=False)],
        )
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
    """How different outputs are from each other, relative to their inputs.

    The mean distance between two outputs over that between two inputs: about 1 for a generator
    that keeps its pictures apart, 0 for one that has collapsed to a single picture.

    Args:
        outputs: `[N, D]`, pixels or features, a row a picture.
        inputs: `[N, D]`.

    Returns:
        The ratio, or None where the inputs do not differ or there is only one.

    Raises:
        ValueError: values that are not finite.

    Example:
        >>> diversity(np.zeros((10, 5)), np.random.normal(size=(10, 5)))
        0.0
    """
    if len(outputs) < 2:
        return None
    outputs, inputs = _checked(outputs, inputs)
    apart = float(np.mean(pdist(inputs)))
    return float(np.mean(pdist(outputs))) / apart if apart else None


def _checked(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(a, np.float64), np.asarray(b, np.float64)
    if a.ndim != 2 or b.ndim != 2 or a.shape[1] != b.shape[1]:
        raise ValueError(f"features are [pictures, D] with one D; these are {a.shape}, {b.shape}")
    if min(len(a), len(b)) < 2:
        raise ValueError(f"{min(len(a), len(b))} picture: a set has at least 2")
    if not (np.isfinite(a).all() and np.isfinite(b).all()):
        raise ValueError("features are not finite: the network or its pictures have gone bad")
    return a, b
