"""Which pictures a test set has, and which of them are pairs."""

import shutil

import numpy as np
import pytest
from PIL import Image

from tfcyclegan import InputError, load_data
from tfcyclegan.data import shapes
from tfcyclegan.data.preprocessing import Preprocessing, to_uint8
from tfcyclegan.data.reading import Reader
from tfcyclegan.data.sources import find_source
from tfcyclegan.data.store import MemoryBudget
from tfcyclegan.data.test_set import TestSet, load_test_set, read_test_set


def draw(path, seed, size=(20, 20)):
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return pixels


@pytest.fixture
def paired(tmp_path):
    """A data set whose test pictures are pairs, with names that sort differently."""
    for split in ("trainA", "trainB"):
        draw(tmp_path / split / "x.png", 0)
    for place, (a, b) in enumerate((("10_A", "10_B"), ("9_A", "9_B"), ("sub/7", "sub/7"))):
        draw(tmp_path / "testA" / f"{a}.png", place)
        draw(tmp_path / "testB" / f"{b}.png", place + 10)
    return tmp_path


def test_the_truth_of_the_embedded_set_is_known():
    found = load_test_set("shapes", image_size=32, test_count=5)
    assert [len(x) for x in (found.A, found.B, found.truth_A, found.masks_A)] == [5] * 4
    scene = shapes.scenes("testB")[4]
    plain, mask = scene.render(32, striped=False)
    np.testing.assert_array_equal(found.truth_B[4], plain)
    np.testing.assert_array_equal(found.masks_B[4], mask)
    # Outside the coat and the head, a picture equals its truth.
    outside = found.masks_A == 0
    np.testing.assert_array_equal(
        np.stack(list(found.A))[outside], np.stack(found.truth_A)[outside]
    )


def test_a_paired_set_can_be_read_from_a_reader(paired):
    prepared = dict.fromkeys("AB", Preprocessing("none", 20))
    reader = Reader(find_source(paired, 20), prepared, MemoryBudget(), skip_bad_images=True)
    found = read_test_set(reader, paired=True, floor=False, test_count=1)
    assert isinstance(found, TestSet)
    assert (len(found.A), len(found.truth_A)) == (1, 1)
    (paired / "testA/9_A.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"9_A.png: cannot be decoded"):  # its partner would stay
        read_test_set(reader, paired=True, floor=False, test_count=None)


def test_pictures_are_those_of_validation(folder):
    found = load_test_set(str(folder), image_size=16)
    data = load_data(folder, image_size=16)
    for pictures, batches in ((found.A, data.test_A), (found.B, data.test_B)):
        expected = [to_uint8(image) for batch in batches for image in batch.numpy()]
        np.testing.assert_array_equal(list(pictures), expected)
    again = data.test_set
    np.testing.assert_array_equal(list(again.A), list(found.A))
    assert found.truth_A is None
    assert again.truth_A is None
    assert [name.rsplit("/", 1)[1] for name in found.names_A] == ["0.png", "1.png"]


def test_training_pictures_for_the_floor(folder):
    (folder / "testA" / "1.png").unlink()
    found = load_test_set(str(folder), image_size=16, floor=True)
    # As many as the translations that they are compared with.
    assert (len(found.train_A), len(found.train_B)) == (2, 1)
    assert load_test_set(str(folder), image_size=16).train_A == ()


def test_partners_have_the_same_name(paired):
    found = load_test_set(str(paired), image_size=20, preprocess="none", paired=True)
    names = [
        [name.rsplit(f"test{domain}/")[-1] for name in names]
        for domain, names in (("A", found.names_A), ("B", found.names_B))
    ]
    assert names == [["10_A.png", "9_A.png", "sub/7.png"], ["10_B.png", "9_B.png", "sub/7.png"]]
    for place, seed in enumerate((10, 11, 12)):
        expected = np.random.default_rng(seed).integers(0, 256, (20, 20, 3), dtype=np.uint8)
        np.testing.assert_array_equal(found.truth_A[place], expected)
    assert found.truth_B is found.A
    some = load_test_set(str(paired), image_size=20, preprocess="none", paired=True, test_count=2)
    assert len(some.A) == len(some.truth_A) == 2


def test_label_maps_keep_their_colours(paired):
    """Only as truth: as input they are resized like all pictures of their domain."""
    colours = np.uint8([[250, 0, 0], [0, 0, 250], [0, 128, 0]])
    for path in (paired / "testB").rglob("*.png"):
        stripes = colours[np.arange(20) % 3][None].repeat(20, 0)
        Image.fromarray(stripes).save(path)
    found = load_test_set(str(paired), image_size=12, paired=True, label_maps=True)
    for truth, given in zip(found.truth_A, found.B, strict=True):
        assert {*map(tuple, truth.reshape(-1, 3))} <= {*map(tuple, colours)}
        assert not {*map(tuple, given.reshape(-1, 3))} <= {*map(tuple, colours)}
    data = load_data(paired, image_size=12, paired=True, label_maps=True)
    np.testing.assert_array_equal(list(data.test_set.truth_A), list(found.truth_A))


def test_a_picture_without_a_partner(paired):
    draw(paired / "testA" / "11_A.png", 5)
    with pytest.raises(InputError, match=r"1 picture has no partner .* such as .*11_A.png"):
        load_test_set(str(paired), image_size=20, paired=True)
    (paired / "testA" / "11_A.png").rename(paired / "testB" / "12.png")
    with pytest.raises(InputError, match=r"such as .*12.png: give partners the same name"):
        load_test_set(str(paired), image_size=20, paired=True)


def test_ambiguous_and_unequal_pairs_are_refused(paired):
    draw(paired / "testA" / "9.png", 5)
    with pytest.raises(InputError, match=r"9.png and .*9_A.png have the same name"):
        load_test_set(str(paired), image_size=20, paired=True)
    draw(paired / "testA" / "9.png", 5, size=(20, 24))
    (paired / "testA" / "9.png").rename(paired / "testA" / "9_A.png")
    with pytest.raises(InputError, match=r"its partner have different sizes, 24×20 and"):
        load_test_set(str(paired), image_size=20, preprocess="none", paired=True)


def test_the_truth_has_the_channels_of_its_domain(monkeypatch):
    monkeypatch.setattr(shapes, "COUNTS", dict.fromkeys(shapes.COUNTS, 3))
    found = load_test_set("shapes", image_size=16, test_count=2, channels_A=1)
    assert found.A[0].shape == found.truth_B[0].shape == (16, 16, 1)
    assert found.B[0].shape == found.truth_A[0].shape == (16, 16, 3)
    data = load_data("shapes", image_size=16, channels_A=1).test_set
    np.testing.assert_array_equal(data.truth_B[:2], found.truth_B)


def test_unusable_test_sets_are_refused(folder, caplog):
    with pytest.raises(InputError, match="test_count=0"):
        load_test_set("shapes", test_count=0)
    (folder / "testA" / "0.png").write_bytes(b"no picture")
    with pytest.raises(InputError, match=r"0.png: cannot be decoded"):
        load_test_set(str(folder), image_size=16)
    assert len(load_test_set(str(folder), image_size=16, skip_bad_images=True).A) == 1
    assert "testA: left out 1 pictures" in caplog.text
    for split in ("testA", "testB"):
        shutil.rmtree(folder / split)
    with pytest.raises(InputError, match="has no testA and no testB to measure on"):
        load_test_set(str(folder), image_size=16)


def test_training_pictures_if_there_are_no_test_pictures(folder):
    shutil.rmtree(folder / "testB")
    found = load_test_set(str(folder), image_size=16, or_training=True, test_count=2)
    splits = [name.split("/")[-2] for name in (*found.names_A, *found.names_B)]
    assert splits == ["testA", "testA", "trainB", "trainB"]
