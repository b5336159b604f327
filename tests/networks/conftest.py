"""The outputs of PyTorch's networks, which golden/make_pytorch_networks.py made."""

from pathlib import Path

import numpy as np
import pytest


def from_pytorch(array):
    """A PyTorch weight in Keras's order of axes."""
    # [out, in, h, w] of a convolution becomes [h, w, in, out], and [in, out, h, w] of a transposed
    # one becomes [h, w, out, in], which Keras has there.
    return array.transpose(2, 3, 1, 0) if array.ndim == 4 else array


@pytest.fixture
def check_pixels():
    """Checks that a network with PyTorch's weights gives PyTorch's outputs."""

    def check(name, network):
        with np.load(Path(__file__).parents[1] / "golden" / "pytorch_networks.npz") as golden:
            images, expected = golden["images"], golden[f"{name}/output"]
            weights = [golden[key] for key in golden.files if key.startswith(f"{name}/0")]
        network.set_weights([from_pytorch(weight) for weight in weights])
        np.testing.assert_allclose(network(images), expected, atol=2e-5)
        # One picture at a time goes through the fused kernel.
        np.testing.assert_allclose(network(images[:1]), expected[:1], atol=2e-5)

    return check
