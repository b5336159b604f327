"""From sources of every kind to batches: what arrives, in which order, and what is refused."""

import contextlib
import functools
import http.server
import io
import struct
import threading
import zipfile
import zlib

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image

from tfcyclegan import InputError, load_data
from tfcyclegan.data import shapes, sources
from tfcyclegan.data.decoding import decode
from tfcyclegan.data.preprocessing import Preprocessing, to_float, to_uint8
from tfcyclegan.data.store import MemoryBudget, PictureStore


def epoch(data, batches=None):
    """The next epoch, or its first few batches, as arrays."""
    train = data.train if batches is None else data.train.take(batches)
    return [(a.numpy(), b.numpy()) for a, b in train]


def equal(one, other):
    return len(one) == len(other) and all(
        np.array_equal(a, c) and np.array_equal(b, d)
        for (a, b), (c, d) in zip(one, other, strict=True)
    )


def encoded(image, **settings):
    buffer = io.BytesIO()
    image.save(buffer, **settings)
    return buffer.getvalue()


def zip_of(folder, path, root=""):
    with zipfile.ZipFile(path, "w") as archive:
        for file in sorted(folder.rglob("*.png")):
            archive.write(file, f"{root}{file.relative_to(folder).as_posix()}")
    return path


def refused(message, source, **settings):
    with pytest.raises(InputError, match=message) as caught:
        load_data(source, **{"image_size": 16, **settings})
    assert "\n" not in str(caught.value)


@contextlib.contextmanager
def served(folder):
    """The files of a folder over HTTP from this machine; gives the address."""
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=folder)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


# ---------------------------------------------------------------------------- what arrives


def test_a_folder(folder):
    data = load_data(folder, image_size=16, batch_size=2)
    assert data.counts == {"trainA": 5, "trainB": 3, "testA": 2, "testB": 2}
    assert data.steps_per_epoch == 2
    assert data.train.cardinality() == 2
    for a, b in epoch(data):
        assert a.shape == b.shape == (2, 16, 16, 3)
        assert a.dtype == np.float32
        assert -1 <= a.min() < 0 < a.max() <= 1
    assert [len(a) for a, _ in data.validation] == [2]
    assert sum(len(batch) for batch in data.test_A) == 2
    assert data.truth is None


def test_test_pictures_are_pillows_own(folder):
    """Resized whole by Pillow's antialiasing bicubic, and nothing else."""
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
    for split in ("testA", "testB"):
        for path in (folder / split).iterdir():
            path.unlink()
        (folder / split).rmdir()
    data = load_data(folder, image_size=16)
    assert (data.validation, data.test_A, data.test_B) == (None, None, None)


@pytest.mark.parametrize("root", ["", "horse2zebra/", "a/b/c/"])
def test_a_zip_gives_the_same_as_its_folder(folder, tmp_path, root):
    path = zip_of(folder, tmp_path / "data.zip", root)
    assert equal(epoch(load_data(path, image_size=16)), epoch(load_data(folder, image_size=16)))


def test_one_of_several_in_a_zip(folder, tmp_path):
    path = tmp_path / "data.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for name in ("one", "two"):
            for file in folder.rglob("*.png"):
                archive.write(file, f"{name}/{file.relative_to(folder).as_posix()}")
            archive.writestr(f"__MACOSX/{name}/trainA/._0.png", b"not a picture")
            archive.writestr(f"{name}/trainA/.hidden.png", b"not a picture")
    with pytest.raises(InputError, match=r"several data sets: name one of .*data.zip:one, .*:two"):
        load_data(path)
    assert load_data(f"{path}:two", image_size=16).counts["trainA"] == 5
    with pytest.raises(InputError, match="did you mean two"):
        load_data(f"{path}:tow")


def test_names_in_any_script(folder):
    (folder / "trainA" / "0.png").rename(folder / "trainA" / "馬と縞馬 ñ.PNG")
    assert load_data(folder, image_size=16).counts["trainA"] == 5


def test_the_real_tfds_builder(folder, tmp_path, monkeypatch):
    """TFDS's cycle_gan downloads, unpacks and reads an archive of ours from this machine."""
    import tensorflow_datasets as tfds
    from tensorflow_datasets.image_classification import cycle_gan

    configs = {config.name for config in tfds.image_classification.CycleGAN.BUILDER_CONFIGS}
    assert set(sources.TFDS_CONFIGS) == configs
    assert str(tfds.builder("cycle_gan", data_dir=tmp_path).version) == "3.0.0"

    (tmp_path / "www").mkdir()
    jpegs = tmp_path / "jpegs"
    for path in folder.rglob("*.png"):
        target = jpegs / path.relative_to(folder).with_suffix(".jpg")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.open(path).save(target, quality=90)
    with zipfile.ZipFile(tmp_path / "www" / "horse2zebra.zip", "w") as archive:
        for path in jpegs.rglob("*.jpg"):
            archive.write(path, f"horse2zebra/{path.relative_to(jpegs).as_posix()}")
    settings = {"image_size": 16, "data_dir": str(tmp_path / "tfds")}
    with served(tmp_path / "www") as address:
        monkeypatch.setitem(cycle_gan._DL_URLS, "horse2zebra", f"{address}/horse2zebra.zip")
        data = load_data("horse2zebra", **settings)
    assert data.name == "cycle_gan/horse2zebra"
    assert data.counts == {"trainA": 5, "trainB": 3, "testA": 2, "testB": 2}
    again = load_data("cycle_gan/horse2zebra", **settings)  # now from where TFDS put it
    assert equal(epoch(again), epoch(data))
    # The same pixels as from a folder of the same files, whatever order TFDS keeps them in.
    plain = load_data(jpegs, image_size=16)

    def pictures(test):
        return sorted(picture.tobytes() for picture in test.unbatch().as_numpy_iterator())

    assert pictures(data.test_A) == pictures(plain.test_A)
    assert pictures(data.test_B) == pictures(plain.test_B)


def test_tfds_cannot_fetch(tmp_path, monkeypatch):
    from tensorflow_datasets.image_classification import cycle_gan

    with served(tmp_path) as address:
        monkeypatch.setitem(cycle_gan._DL_URLS, "facades", f"{address}/facades.zip")
        refused("--data facades: TFDS could not fetch it", "facades", data_dir=str(tmp_path))


# ---------------------------------------------------------------------------- pictures


def test_formats_become_the_same_rgb():
    pixels = np.random.default_rng(0).integers(0, 256, (8, 12, 3), dtype=np.uint8)
    image = Image.fromarray(pixels)
    for form in ("PNG", "BMP"):
        assert np.array_equal(decode(encoded(image, format=form), "x"), pixels)
    lossless = encoded(image, format="WEBP", lossless=True)
    assert np.array_equal(decode(lossless, "x"), pixels)
    jpeg = encoded(image, format="JPEG", quality=95)
    assert np.array_equal(decode(jpeg, "x"), np.asarray(Image.open(io.BytesIO(jpeg))))


def test_first_frame_of_a_gif():
    frames = [Image.new("RGB", (8, 8), colour) for colour in ("red", "blue")]
    data = encoded(frames[0], format="GIF", save_all=True, append_images=frames[1:])
    assert np.asarray(decode(data, "x"))[0, 0].tolist() == [255, 0, 0]


def test_greyscale_palette_and_sixteen_bits():
    ramp = np.linspace(0, 255, 16, dtype=np.uint8).reshape(4, 4)
    for image in (
        Image.fromarray(ramp),
        Image.fromarray(ramp).convert("RGB").convert("P", palette=Image.Palette.ADAPTIVE),
        Image.fromarray(ramp.astype(np.uint16) * 257),
    ):
        got = np.asarray(decode(encoded(image, format="PNG"), "x"))
        assert got.shape == (4, 4, 3)
        assert np.array_equal(got, np.repeat(ramp[..., None], 3, axis=2))


def test_sixteen_bits_are_scaled_not_clipped():
    wide = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    got = np.asarray(decode(encoded(Image.fromarray(wide), format="PNG"), "x"))[0, :, 0]
    assert got.tolist() == [0, 1, 1, 128, 255]


@pytest.mark.parametrize("mode", ["RGBA", "LA"])
def test_transparency_is_laid_on_white(mode):
    image = Image.new("RGBA", (3, 1), (0, 0, 0, 255))
    image.putpixel((1, 0), (0, 0, 0, 0))
    image.putpixel((2, 0), (0, 0, 0, 128))
    got = np.asarray(decode(encoded(image.convert(mode), format="PNG"), "x"))[0]
    assert got.tolist() == [[0, 0, 0], [255, 255, 255], [127, 127, 127]]


def test_transparent_colour_of_a_palette():
    image = Image.new("P", (2, 1))
    image.putpalette([10, 20, 30, 200, 100, 0])
    image.putpixel((1, 0), 1)
    got = np.asarray(decode(encoded(image, format="PNG", transparency=0), "x"))[0]
    assert got.tolist() == [[255, 255, 255], [200, 100, 0]]


def test_cmyk():
    image = Image.new("CMYK", (8, 8), (0, 255, 255, 0))
    got = np.asarray(decode(encoded(image, format="JPEG", quality=100), "x"))[0, 0]
    assert got[0] > 240
    assert got[1:].max() < 15


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(orientation):
    """Eight ways to hold a camera, one upright picture."""
    upright = Image.fromarray(np.arange(6, dtype=np.uint8).reshape(2, 3) * 40).convert("RGB")
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    got = decode(encoded(stored, format="PNG", exif=exif), "x")
    assert np.array_equal(got, upright)


def test_one_channel(folder):
    data = load_data(folder, image_size=16, channels_A=1)
    (a, b), *_ = epoch(data)
    assert a.shape == (1, 16, 16, 1)
    assert b.shape == (1, 16, 16, 3)


# ---------------------------------------------------------------------------- preprocessing


@pytest.mark.parametrize(
    ("kind", "training", "testing"),
    [
        ("resize_and_crop", (18, 18), (16, 16)),
        ("crop", (20, 40), (16, 16)),
        ("scale_width", (8, 16), (8, 16)),
        ("none", (20, 40), (20, 40)),
    ],
)
def test_kinds(kind, training, testing):
    image = Image.new("RGB", (40, 20))
    settings = Preprocessing(kind, image_size=16)
    assert settings.fixed(image, "x", training=True).shape == (*training, 3)
    assert settings.fixed(image, "x", training=False).shape == (*testing, 3)


def test_scale_width_and_crop():
    settings = Preprocessing("scale_width_and_crop", image_size=16)
    assert settings.fixed(Image.new("RGB", (20, 40)), "x", training=True).shape == (36, 18, 3)
    assert settings.fixed(Image.new("RGB", (20, 40)), "x", training=False).shape == (16, 16, 3)


def test_sides_are_rounded_where_nothing_is_cropped():
    settings = Preprocessing("none", image_size=16, divisor=8)
    assert settings.fixed(Image.new("RGB", (21, 3)), "x", training=True).shape == (8, 24, 3)


def test_crop_and_flip_are_drawn_by_the_seed():
    settings = Preprocessing("crop", image_size=4)
    pixels = tf.reshape(tf.cast(tf.range(6 * 8), tf.uint8), (6, 8, 1))
    drawn = {
        settings.random(pixels, tf.constant([1, seed])).numpy().tobytes() for seed in range(400)
    }
    assert len(drawn) == 3 * 5 * 2  # every corner and both ways round, and nothing else
    for seed in ([3, 4], [5, 6]):
        one, two = (settings.random(pixels, tf.constant(seed)) for _ in range(2))
        assert np.array_equal(one, two)
    still = Preprocessing("none", image_size=4, flip=False)
    assert np.array_equal(still.random(pixels, tf.constant([1, 2])), pixels)


def test_286_of_256():
    assert Preprocessing(image_size=256).loaded == 286
    assert Preprocessing(image_size=128).loaded == 143
    assert Preprocessing(image_size=128, load_size=200).loaded == 200


def test_float_and_back():
    levels = np.arange(256, dtype=np.uint8)
    assert np.array_equal(to_uint8(to_float(tf.constant(levels))), levels)
    assert to_uint8(np.array([-3.0, 3.0])).tolist() == [0, 255]


# ---------------------------------------------------------------------------- order


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


def test_pictures_that_do_not_fit_memory_are_on_disk(folder, tmp_path):
    cache = tmp_path / "cache"
    cache.mkdir()
    roomy = load_data(folder, image_size=16)
    tight = load_data(folder, image_size=16, cache_memory=3000, cache_dir=str(cache))
    assert any(cache.iterdir())
    assert equal(epoch(tight), epoch(roomy))
    del tight
    import gc

    gc.collect()
    assert not any(cache.iterdir())


def test_store_of_many_sizes():
    budget = MemoryBudget(10_000)
    store = PictureStore(budget, 3)
    random = np.random.default_rng(0)
    kept = [random.integers(0, 256, (h, 5, 3), dtype=np.uint8) for h in (4, 7, 1)]
    for pixels in kept:
        store.add(pixels)
    store.close()
    assert not store.on_disk
    assert store.size is None
    for index, pixels in enumerate(kept):
        assert np.array_equal(store.lookup(tf.constant(index, tf.int64)), pixels)


# ---------------------------------------------------------------------------- shapes


def test_shapes_are_always_the_same():
    one, two = (load_data("shapes", image_size=16, batch_size=4) for _ in range(2))
    assert equal(epoch(one), epoch(two))
    assert one.counts == shapes.COUNTS
    assert np.array_equal(one.truth.AtoB, two.truth.AtoB)


def test_truth_of_shapes():
    """Outside of the coat the truth is the picture itself; inside, stripes come or go."""
    data = load_data("shapes", image_size=32)
    for test, truth, mask in (
        (data.test_A, data.truth.AtoB, data.truth.mask_A),
        (data.test_B, data.truth.BtoA, data.truth.mask_B),
    ):
        images = np.concatenate(list(test.as_numpy_iterator()))
        change = np.abs(images - truth).max(axis=-1)
        assert change[mask == 0].max() == 0
        share = (change[mask == 1] > 0.1).mean()
        assert 0.3 < share < 0.7
        assert 0.1 < mask.mean() < 0.3


def test_no_map_of_colours_solves_shapes():
    """The best map of colours, told the truth, turns coats grey: half of the error, no stripes."""
    data = load_data("shapes", image_size=32)
    images = to_uint8(np.concatenate(list(data.test_A.as_numpy_iterator())))
    truth = to_uint8(data.truth.AtoB).astype(float)
    cells = (images // 16).astype(int)
    keys = (cells[..., 0] * 16 + cells[..., 1]) * 16 + cells[..., 2]
    best = np.zeros((4096, 3))
    for channel in range(3):
        total = np.bincount(keys.ravel(), truth[..., channel].ravel(), 4096)
        best[:, channel] = total / np.maximum(np.bincount(keys.ravel(), minlength=4096), 1)
    untouched = ((images - truth) ** 2).mean()
    assert ((best[keys] - truth) ** 2).mean() > 0.4 * untouched


def test_scenes_of_the_splits_differ():
    positions = {split: [s.position for s in shapes.scenes(split)[:20]] for split in shapes.COUNTS}
    drawn = [position for scenes in positions.values() for position in scenes]
    assert len(set(drawn)) == len(drawn)


# ---------------------------------------------------------------------------- refusals


def test_unknown_names():
    refused("did you mean horse2zebra", "horse2zebar")
    refused("did you mean shapes", "shape")
    refused("known data sets: shapes, apple2orange", "qqqqqq")
    refused("no such file", "/nowhere/x.zip")


def test_missing_and_empty_domains(folder, tmp_path):
    (tmp_path / "bare").mkdir()
    refused("no trainA and trainB in it", tmp_path / "bare")
    for path in (folder / "trainB").iterdir():
        path.rename(path.with_suffix(".txt"))
    refused("trainB has no pictures in it", folder)
    for path in (folder / "trainB").iterdir():
        path.unlink()
    refused("trainB has no pictures in it", folder)
    (folder / "trainB").rmdir()
    refused("has no trainB in it", folder)


def test_bad_pictures(folder, caplog):
    good = (folder / "trainA" / "0.png").read_bytes()
    (folder / "trainA" / "1.png").write_bytes(good[: len(good) // 2])
    (folder / "trainA" / "2.png").write_bytes(b"plain text")
    (folder / "trainA" / "3.png").write_bytes(b"")
    refused(r"trainA/1.png: cannot be decoded as a picture .*--skip-bad-images", folder)
    with caplog.at_level("WARNING"):
        data = load_data(folder, image_size=16, skip_bad_images=True)
    assert data.counts["trainA"] == 2
    assert len(data.skipped) == 3
    assert "left out 3 pictures" in caplog.text
    for index in (0, 4):
        (folder / "trainA" / f"{index}.png").write_bytes(b"bad")
    refused("none of the pictures of trainA can be used", folder, skip_bad_images=True)


def test_too_small_for_the_crop(folder):
    refused(r"trainA/0.png: 24×20 px is smaller than the crop of 64×64", folder, image_size=64,
            preprocess="crop")  # fmt: skip
    data = load_data(folder, image_size=64, preprocess="scale_width_and_crop")  # is scaled up
    assert next(iter(data.train))[0].shape == (1, 64, 64, 3)


def test_many_sizes_in_a_batch(folder):
    Image.new("RGB", (40, 24)).save(folder / "trainA" / "wide.png")
    refused("several sizes", folder, preprocess="none", batch_size=2)
    data = load_data(folder, image_size=16, preprocess="none")
    assert {a.shape for a, _ in epoch(data)} == {(1, 20, 24, 3), (1, 24, 40, 3)}


@pytest.mark.parametrize(
    ("message", "settings"),
    [
        ("image_size=18 is no multiple of 4.*take 1[26]|take 20", {"image_size": 18}),
        ("batch_size=0", {"batch_size": 0}),
        ("more than the 5 pictures", {"batch_size": 6}),
        ("steps_per_epoch=0", {"steps_per_epoch": 0}),
        ("load_size=8 is smaller than image_size=16", {"load_size": 8}),
        ("preprocess='shrink' is unknown", {"preprocess": "shrink"}),
        ("channels=4", {"channels_B": 4}),
        (
            "--cache-dir /proc/nowhere: cannot be used",
            {"cache_memory": 0, "cache_dir": "/proc/nowhere"},
        ),
    ],
)
def test_settings(message, settings, folder):
    refused(message, folder, **settings)


@pytest.mark.parametrize(
    "name", ["../trainA/0.png", "/trainA/0.png", "x/../../trainA/0.png", "..\\trainA\\0.png"]
)
def test_zip_that_climbs_out(folder, tmp_path, name):
    path = zip_of(folder, tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    refused("climbs out of the archive", path)


def test_damaged_zips(folder, tmp_path):
    path = zip_of(folder, tmp_path / "data.zip")
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    refused("not a readable zip", path)
    path.write_bytes(b"PK\x03\x04" + bytes(100))
    refused("not a readable zip", path)
    other = tmp_path / "other.zip"
    with zipfile.ZipFile(other, "w") as archive:
        archive.writestr("pictures/1.png", b"x")
    refused("no trainA and trainB in it", other)
    # A flipped bit within a member is found by its checksum.
    place = whole.index(b"IDAT") + 40
    path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
    refused("cannot be read from the zip", path)


def test_zip_bomb(folder, tmp_path):
    """A member that unpacks to more than any picture needs is not unpacked."""
    path = zip_of(folder, tmp_path / "data.zip")
    with (
        zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive,
        archive.open("trainA/bomb.png", "w", force_zip64=True) as member,
    ):
        for _ in range(300):
            member.write(bytes(2**20))
    assert path.stat().st_size < 2**20
    refused("trainA/bomb.png: claims 314,572,800 bytes", path)


def test_zip_that_lies_about_its_size(folder, tmp_path):
    """A member that unpacks to more than it claims is read no further than its claim."""
    path = zip_of(folder, tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trainA/liar.png", bytes(10_000_000))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 100)))
    refused("trainA/liar.png: cannot be read from the zip", path)


def test_unusual_packing(folder, tmp_path):
    path = zip_of(folder, tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("trainA/odd.png", bytes(100))
    refused("trainA/odd.png: is packed in an unusual way", path)


def test_picture_bomb():
    """A few bytes that claim a picture of 50,000 × 50,000 px."""

    def chunk(kind, data):
        checksum = zlib.crc32(kind + data)
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", checksum)

    header = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    data = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(99)))
    with pytest.raises(
        InputError, match=r"bomb.png: .*Image size \(2500000000 pixels\) exceeds limit"
    ):
        decode(data, "bomb.png")


def test_a_script_is_no_picture():
    """Formats that run code or call programs (EPS and the like) are not opened."""
    with pytest.raises(InputError, match="not a JPEG, PNG, BMP, GIF or WebP"):
        decode(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n", "x.png")


def test_real_photographs(real_data):
    """All of horse2zebra: seven of its files are greyscale, and none is left out."""
    data = load_data(real_data / "horse2zebra", image_size=32)
    assert data.counts == {"trainA": 1067, "trainB": 1334, "testA": 120, "testB": 140}
    assert data.steps_per_epoch == 1334
    batches = epoch(data, 50)
    assert all(a.shape == b.shape == (1, 32, 32, 3) for a, b in batches)
