"""The segmenter behind the FCN score."""

import keras
import numpy as np
import pytest
from PIL import Image

from tfcyclegan import InputError
from tfcyclegan.evaluation import Palette, class_scores
from tfcyclegan.evaluation.segmentation import Segmenter, load_segmenter, train_segmenter

PALETTE = Palette(
    "three", ("left", "right", "void"), np.array([[255, 0, 0], [0, 0, 255], [0, 0, 0]], np.uint8)
)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Pictures of a dark and a light half, and maps that say which is which; one edge is void."""
    folder, random = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    for split, count in (("train", 12), ("test", 3)):
        for number in range(count):
            edge = random.integers(8, 24)
            left = np.arange(32) < edge
            photograph = np.where(left, 60, 190)[None, :, None] + random.normal(0, 20, (32, 32, 3))
            label = PALETTE.colours[np.where(left, 0, 1)][None].repeat(32, 0)
            label[:2] = 0
            for domain, pixels in (("A", photograph.clip(0, 255)), ("B", label)):
                path = folder / f"{split}{domain}" / f"{number}.png"
                path.parent.mkdir(exist_ok=True)
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return folder


@pytest.fixture(scope="module")
def trained(data):
    seen = []
    segmenter, scores = train_segmenter(
        str(data), PALETTE, image_size=32, epochs=12, batch_size=4, filters=4, learning_rate=1e-2,
        on_epoch=lambda epoch, loss: seen.append((epoch, loss)),
    )  # fmt: skip
    return segmenter, scores, seen


def test_it_learns_from_the_training_half(trained):
    segmenter, scores, seen = trained
    assert [epoch for epoch, _ in seen] == list(range(1, 13))
    assert seen[-1][1] < seen[0][1] / 2
    assert scores["pixel_accuracy"] > 0.9
    light = np.full((20, 28, 3), 190, np.uint8)  # any size
    (classes,) = segmenter.labels([light])
    assert classes.shape == (20, 28)
    assert (classes == 1).mean() > 0.9
    assert 2 not in classes  # void is never found


def test_its_file_has_the_palette(trained, tmp_path):
    segmenter, _, _ = trained
    segmenter.save(tmp_path / "s.keras")
    again = load_segmenter(tmp_path / "s.keras")
    assert again.palette.classes == PALETTE.classes
    np.testing.assert_array_equal(again.palette.colours, PALETTE.colours)
    picture = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    np.testing.assert_array_equal(*(list(s.labels([picture])) for s in (segmenter, again)))
    assert again.describe() == {"name": "segmenter", "palette": "three"}


def test_files_that_are_none(tmp_path):
    with pytest.raises(InputError, match=r"segmenter=x\.keras: no such file: make one with"):
        load_segmenter("x.keras")
    inputs = keras.Input((4, 4, 3))
    keras.Model(inputs, keras.layers.Flatten()(inputs)).save(tmp_path / "other.keras")
    with pytest.raises(InputError, match=r"other.keras: not a segmenter"):
        load_segmenter(tmp_path / "other.keras")
    (tmp_path / "broken.keras").write_bytes(b"x")
    with pytest.raises(InputError, match="not a model that Keras can load"):
        load_segmenter(tmp_path / "broken.keras")


def test_large_pictures_go_one_at_a_time(monkeypatch):
    segmenter = Segmenter(PALETTE, filters=2)
    random = np.random.default_rng(0)
    pictures = [random.integers(0, 256, (16, 16, 3), np.uint8) for _ in range(3)]
    together = list(segmenter.labels(pictures))
    monkeypatch.setattr("tfcyclegan.evaluation.segmentation._MOST_VALUES", 100)
    np.testing.assert_array_equal(list(segmenter.labels(pictures)), together)


def test_the_same_seed_gives_the_same_segmenter(data):
    def start():
        settings = {"image_size": 32, "epochs": 1, "batch_size": 4, "filters": 2, "seed": 3}
        return train_segmenter(str(data), PALETTE, **settings)[0]

    for mine, theirs in zip(start().get_weights(), start().get_weights(), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_settings_and_data_that_do_not_work(data, folder):
    for settings, message in (
        ({"epochs": 0}, "epochs=0: must be at least 1"),
        ({"image_size": 0}, "image_size=0: must be at least 16"),
        ({"seed": -1}, "seed=-1: must be at least 0"),
    ):
        with pytest.raises(InputError, match=message):
            train_segmenter(str(data), PALETTE, **settings)
    with pytest.raises(InputError, match="paired=True: 2 pictures have no partner"):
        train_segmenter(str(folder), PALETTE)


def test_scores_of_known_classes():
    right = [np.array([[0, 0], [1, 2]])]
    found = class_scores([np.array([[0, 1], [1, 0]])], right, PALETTE)
    assert found["pixel_accuracy"] == pytest.approx(2 / 3)  # void does not count


def test_a_segmenter_can_be_built_by_hand():
    segmenter = Segmenter(PALETTE, filters=2)
    assert segmenter(np.zeros((1, 20, 36, 3), np.float32)).shape == (1, 20, 36, 3)
