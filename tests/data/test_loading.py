"""What `load_data` returns and what it refuses."""

import shutil

import numpy as np
import pytest
from datasets import epoch, refused
from PIL import Image

from tfcyclegan import Data, load_data
from tfcyclegan.data import sources
from tfcyclegan.data.preprocessing import to_uint8


def without(folder, *splits):
    for split in splits:
        shutil.rmtree(folder / split)
    return folder


def test_a_folder(folder):
    data = load_data(folder, image_size=16, batch_size=2)
    assert isinstance(data, Data)
    assert data.counts == {"trainA": 5, "trainB": 3, "testA": 2, "testB": 2}
    assert data.steps_per_epoch == 2
    assert data.train.cardinality() == 2
    for a, b in epoch(data):
        assert a.shape == b.shape == (2, 16, 16, 3)
        assert a.dtype == np.float32
        assert -1 <= a.min() < 0 < a.max() <= 1
    assert [len(a) for a, _ in data.validation] == [2]
    assert sum(len(batch) for batch in data.test_A) == 2
    assert data.test_set.truth_A is None


def test_test_pictures_are_only_resized(folder):
    """The whole picture, by Pillow's antialiased bicubic."""
    data = load_data(folder, image_size=16)
    expected = np.stack(
        [
            np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BICUBIC))
            for path in sorted((folder / "testA").iterdir())
        ]
    )
    got = np.concatenate(list(data.test_A.as_numpy_iterator()))
    np.testing.assert_array_equal(to_uint8(got), expected)
    np.testing.assert_allclose(got, expected / 127.5 - 1, atol=1e-6)


def test_without_test_pictures(folder):
    data = load_data(without(folder, "testA", "testB"), image_size=16)
    assert (data.validation, data.test_A, data.test_B) == (None, None, None)


def test_each_domain_has_its_own_number_of_channels(folder):
    data = load_data(folder, image_size=16, channels_A=1)
    (a, b), *_ = epoch(data)
    assert a.shape == (1, 16, 16, 1)
    assert b.shape == (1, 16, 16, 3)


def test_bad_pictures_are_errors_or_left_out(folder, caplog):
    good = (folder / "trainA" / "0.png").read_bytes()
    (folder / "trainA" / "1.png").write_bytes(good[: len(good) // 2])
    (folder / "trainA" / "2.png").write_bytes(b"plain text")
    (folder / "trainA" / "3.png").write_bytes(b"")
    refused(r"trainA/1.png: cannot be decoded as a picture .*pass skip_bad_images=True", folder)
    with caplog.at_level("WARNING"):
        data = load_data(folder, image_size=16, skip_bad_images=True)
    assert data.counts["trainA"] == 2
    assert len(data.skipped) == 3
    assert "trainA: left out 3 pictures that cannot be used" in caplog.text
    for index in (0, 4):
        (folder / "trainA" / f"{index}.png").write_bytes(b"bad")
    refused("trainA: none of the pictures can be used", folder, skip_bad_images=True)


def test_a_picture_smaller_than_the_crop_is_refused(folder):
    message = r"trainA/0.png: 24×20 px is smaller than the crop of 64×64"
    refused(message, folder, image_size=64, preprocess="crop")
    data = load_data(folder, image_size=64, preprocess="scale_width_and_crop")  # scales it up
    assert next(iter(data.train))[0].shape == (1, 64, 64, 3)


def test_pictures_of_many_sizes_make_a_batch_only_if_they_are_cropped(folder):
    Image.new("RGB", (40, 24)).save(folder / "trainA" / "wide.png")
    refused("batch_size=2: .* different sizes", folder, preprocess="none", batch_size=2)
    data = load_data(folder, image_size=16, preprocess="none")
    assert {a.shape for a, _ in epoch(data)} == {(1, 20, 24, 3), (1, 24, 40, 3)}
    data = load_data(folder, image_size=16, preprocess="crop", batch_size=2)
    assert {a.shape for a, _ in epoch(data)} == {(2, 16, 16, 3)}


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("image_size=18 is no multiple of 4.*take 1[26]|take 20", {"image_size": 18}),
        ("batch_size=0", {"batch_size": 0}),
        ("more than the 5 pictures", {"batch_size": 6}),
        ("steps_per_epoch=0", {"steps_per_epoch": 0}),
        ("load_size=8 is smaller than image_size=16", {"load_size": 8}),
        ("preprocess='shrink' is unknown", {"preprocess": "shrink"}),
        ("`channels_B` must be 1 .grey. or 3 .RGB., not 4", {"channels_B": 4}),
        ("cache_dir=/proc/x: cannot be used", {"cache_memory": 0, "cache_dir": "/proc/x"}),
    ],
)
def test_settings_that_make_no_sense_are_refused(message, settings, folder):
    refused(message, folder, **settings)


def test_real_photographs(real_data):
    """All of horse2zebra; seven of its files are greyscale."""
    data = load_data(real_data / "horse2zebra", image_size=32)
    assert data.counts == {"trainA": 1067, "trainB": 1334, "testA": 120, "testB": 140}
    assert data.steps_per_epoch == 1334
    batches = epoch(data, 50)
    assert all(a.shape == b.shape == (1, 32, 32, 3) for a, b in batches)


def test_some_pictures(folder):
    """Test pictures, or training pictures if there are none."""
    data = load_data(folder, image_size=16)
    A, B = data.some_pictures(5)
    assert np.array_equal(A, list(data.test_set.A))
    assert len(B) == 2
    data = load_data(without(folder, "testA", "testB"), image_size=16, seed=3)
    A, B = data.some_pictures(4)
    first = epoch(data, 4)
    assert np.array_equal(A, to_uint8(np.concatenate([a for a, _ in first])))
    assert np.array_equal(B, to_uint8(np.concatenate([b for _, b in first])))


def test_a_warning_names_a_test_split_without_the_other(folder, caplog):
    with caplog.at_level("WARNING"):
        assert load_data(without(folder, "testB"), image_size=16).test_set is None
    assert "testA is not read, because the other is missing" in caplog.text


def test_each_picture_is_decoded_once(folder, monkeypatch):
    """Test pictures too, whatever is done with them."""
    opened = []
    monkeypatch.setattr(
        sources, "_open_file", lambda path: opened.append(path) or Image.new("RGB", (20, 20))
    )
    data = load_data(folder, image_size=16)
    list(data.validation), list(data.test_A), list(data.test_set.B), data.some_pictures(2)
    assert len(opened) == len(set(opened)) == 12
