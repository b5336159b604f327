"""The order of pictures, and going to any step of it."""

import numpy as np
from datasets import epoch, equal
from PIL import Image

from tfcyclegan import load_data
from tfcyclegan.data.preprocessing import to_uint8


def numbered(tmp_path, A, B):
    """Flat pictures whose grey level is their number."""
    for split, count in (("trainA", A), ("trainB", B)):
        (tmp_path / split).mkdir()
        for index in range(count):
            Image.new("RGB", (4, 4), (index, index, index)).save(
                tmp_path / split / f"{index:03d}.png"
            )
    return load_data(tmp_path, image_size=4, preprocess="none", batch_size=2)


def numbers(batches):
    return [to_uint8(np.concatenate(x))[:, 0, 0, 0].tolist() for x in zip(*batches, strict=True)]


def test_an_epoch_is_as_long_as_the_longer_domain(tmp_path):
    data = numbered(tmp_path, 11, 4)
    orders = []
    for _ in range(3):
        A, B = numbers(epoch(data))
        assert len(A) == len(B) == 10  # the remainder is dropped
        assert len(set(A)) == 10  # nothing twice
        assert sorted(B[:4]) == sorted(B[4:8]) == [0, 1, 2, 3]  # all of them, again and again
        assert B[:4] != B[4:8]
        orders.append((A, B))
    assert orders[0] != orders[1] != orders[2]
    firsts = {tuple(A[:3]) for A, _ in orders}
    assert len(firsts) == 3
    assert orders[0][0][:4] != orders[0][1][:4]  # each domain on its own


def test_every_picture_comes_as_often(tmp_path):
    data = numbered(tmp_path, 7, 5)
    counts = np.zeros(7)
    for _ in range(140):
        np.add.at(counts, numbers(epoch(data))[0], 1)
    assert counts.sum() == 840
    assert counts.min() > 100


def test_the_seed_decides(folder):
    one, two, other = (load_data(folder, image_size=16, seed=seed) for seed in (3, 3, 4))
    first = epoch(one)
    assert equal(first, epoch(two))
    assert not equal(first, epoch(other))
    assert not equal(first, epoch(one))  # the next epoch: other order, other crops


def test_seek_goes_on_at_the_very_picture(folder):
    straight, data = (load_data(folder, image_size=16, seed=9) for _ in range(2))
    run = [batch for _ in range(3) for batch in epoch(straight)]
    for step in (0, 1, 4, 5, 7, 12):
        data.seek(step)
        assert data.position == step
        left = -step % 5 or 5
        assert equal(epoch(data, left), run[step : step + left])
        assert data.position == step + left
        assert equal(epoch(data, 2), run[step + left :][:2]) or step + left >= 14


def test_giving_up_midway_starts_over(folder):
    data = load_data(folder, image_size=16)
    assert equal(epoch(data, 3), epoch(data, 3))
    assert data.position == 0


def test_steps_per_epoch_can_be_set(folder):
    data = load_data(folder, image_size=16, steps_per_epoch=12)
    assert len(epoch(data)) == data.steps_per_epoch == 12
