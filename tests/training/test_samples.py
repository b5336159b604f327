"""The grids that `SampleGrids` draws."""

from types import SimpleNamespace

import numpy as np
from PIL import Image

from tfcyclegan.training.samples import SampleGrids


def test_grids_every_few_epochs_and_at_the_end(start, data, fit, tmp_path):
    d = data()
    images = d.some_pictures(2)
    log_dir = tmp_path / "tb"
    fit(start(), d, SampleGrids(tmp_path / "samples", *images, every=2, log_dir=log_dir))
    paths = sorted((tmp_path / "samples").iterdir())
    assert [path.name for path in paths] == ["epoch_0002.png", "epoch_0003.png"]
    with Image.open(paths[-1]) as grid:
        assert grid.size == (6 * 128 + 5 * 4, 22 + 2 * (128 + 4) - 4)
        first = np.asarray(grid)[22 : 22 + 128 : 8, :128:8]
    np.testing.assert_array_equal(first, d.test_set.A[0])
    assert list(log_dir.iterdir())


def test_pictures_of_other_sizes_are_cropped(tmp_path):
    A = [np.zeros((8, 6, 3), np.uint8), np.full((4, 12, 3), 255, np.uint8)]
    B = [np.zeros((5, 5, 1), np.uint8)] * 3
    shapes = []

    def network(images):
        shapes.append(tuple(images.shape))
        return images

    grids = SampleGrids(tmp_path, A, B)
    both = {"AtoB": network, "BtoA": network}
    grids.set_model(SimpleNamespace(translators=both, generator_names={"AtoB": "G", "BtoA": "F"}))
    with Image.open(grids.draw(1)) as grid:
        assert grid.height == 22 + 2 * (4 * 21 + 4) - 4
    assert set(shapes) == {(2, 4, 6, 3), (2, 5, 5, 1)}
