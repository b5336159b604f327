"""The order of pictures, resuming at any step, and sharing batches among replicas."""

import numpy as np
import tensorflow as tf
from datasets import epoch, equal
from PIL import Image

from tfcyclegan import load_data
from tfcyclegan.data.preprocessing import to_uint8


def numbered(tmp_path, A, B):
    """A data set of plain pictures whose grey level is their number."""
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
        assert len(set(A)) == 10  # no picture twice
        assert sorted(B[:4]) == sorted(B[4:8]) == [0, 1, 2, 3]  # all pictures, then all again
        assert B[:4] != B[4:8]
        orders.append((A, B))
    assert orders[0] != orders[1] != orders[2]
    firsts = {tuple(A[:3]) for A, _ in orders}
    assert len(firsts) == 3
    assert orders[0][0][:4] != orders[0][1][:4]  # each domain in its own order


def test_every_picture_comes_equally_often(tmp_path):
    """Although each epoch drops the remainder."""
    data = numbered(tmp_path, 7, 5)
    A, _ = numbers(data.train.repeat(140).as_numpy_iterator())
    counts = np.bincount(A, minlength=7)
    assert counts.sum() == 840
    assert counts.min() > 100


def test_the_seed_decides(folder):
    one, two, other = (load_data(folder, image_size=16, seed=seed) for seed in (3, 3, 4))
    first = epoch(one)
    assert equal(first, epoch(two))
    assert not equal(first, epoch(other))
    assert not equal(first, epoch(one))  # the next epoch: other order, other crops


def test_seek_continues_at_the_exact_picture(folder):
    straight, data = (load_data(folder, image_size=16, seed=9) for _ in range(2))
    run = [batch for _ in range(3) for batch in epoch(straight)]
    for step in (0, 4, 5, 7):
        data.seek(step)
        assert data.position == step
        left = -step % 5 or 5
        assert equal(epoch(data, left), run[step : step + left])
        assert data.position == step + left
        assert equal(epoch(data, 2), run[step + left :][:2]) or step + left >= 14


def test_an_abandoned_epoch_starts_over(folder):
    data = load_data(folder, image_size=16)
    assert equal(epoch(data, 3), epoch(data, 3))
    assert data.position == 0


def test_steps_per_epoch_can_be_set(folder):
    data = load_data(folder, image_size=16, steps_per_epoch=12)
    assert len(epoch(data)) == data.steps_per_epoch == 12


def test_replicas_share_every_batch(folder):
    replicas, workers = 4, 2
    data = load_data(folder, image_size=16, batch_size=4, steps_per_epoch=2)
    contexts = [tf.distribute.InputContext(workers, i, replicas) for i in range(workers)]
    local, expected = replicas // workers, list(data.train.as_numpy_iterator())
    data.seek(0)
    taken = [
        list(data.train.shards(context).take(local * len(expected)).as_numpy_iterator())
        for context in contexts
    ]
    for step, batch in enumerate(expected):
        parts = [part for of in taken for part in of[step * local : (step + 1) * local]]
        for domain in (0, 1):
            joined = np.concatenate([part[domain] for part in parts])
            np.testing.assert_array_equal(joined, batch[domain])


def test_batches_of_one_split_are_in_file_order(folder):
    data = load_data(folder, image_size=16, batch_size=2)
    for dataset, pictures in ((data.test_A, data.test_set.A), (data.test_B, data.test_set.B)):
        (images,) = dataset.as_numpy_iterator()
        np.testing.assert_array_equal(to_uint8(images), list(pictures))


def test_pairs_stay_together(tmp_path):
    """The same order, crops and flips on both sides, however the files are laid out."""
    random = np.random.default_rng(0)
    for index in range(4):
        pixels = random.integers(0, 256, (24, 24, 3), np.uint8)
        both = {"A": pixels, "B": 255 - pixels}
        for half, domain in (("train", "A"), ("train", "B"), ("test", "A"), ("test", "B")):
            folder = tmp_path / "two" / f"{half}{domain}"
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(both[domain]).save(folder / f"{index}_{domain}.png")
            folder = tmp_path / "one" / half
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.hstack([pixels, 255 - pixels])).save(folder / f"{index}.png")
    epochs = []
    for name in ("two", "one"):
        data = load_data(tmp_path / name, image_size=16, load_size=20, batch_size=2, paired=True)
        epochs.append([*epoch(data), *epoch(data)])
        for A, B in epochs[-1]:
            np.testing.assert_allclose(A, -B, atol=0.01)
        np.testing.assert_array_equal(data.test_set.truth_A[1], data.test_set.B[1])
    assert equal(*epochs)
    flipped = {tuple(to_uint8(A)[0, 0, :, 0]) for A, _ in epochs[0]}
    assert len(flipped) == 4  # crops and flips differ from batch to batch
    apart = load_data(tmp_path / "two", image_size=16, load_size=20, paired="test")
    assert any(np.abs(A + B).max() > 0.1 for A, B in epoch(apart))
    assert apart.test_set.truth_A is not None


def test_pairs_of_the_embedded_data():
    """B is the scene of A with stripes: what lies outside the coat is equal."""
    data = load_data("shapes", image_size=32, batch_size=4, paired=True)
    A, B = epoch(data, 1)[0]
    same = np.abs(A - B).max(axis=-1) < 0.02
    assert 0.3 < same.mean() < 0.98
    for A, B in data.validation.take(2).as_numpy_iterator():
        assert 0.3 < (np.abs(A - B).max(axis=-1) < 0.02).mean() < 0.98
    unpaired = epoch(load_data("shapes", image_size=32, batch_size=4), 1)[0]
    assert (np.abs(unpaired[0] - unpaired[1]).max(axis=-1) < 0.02).mean() < 0.3
