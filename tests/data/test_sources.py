"""What is found in folders, zips and TFDS data sets, and what is refused."""

import struct
import time
import zipfile

import pytest
from datasets import epoch, equal, refused, served, zip_of
from PIL import Image

from tfcyclegan import InputError, load_data
from tfcyclegan.data import sources


@pytest.mark.parametrize("root", ["", "horse2zebra/", "a/b/c/"])
def test_a_zip_gives_the_same_as_its_folder(folder, tmp_path, root):
    path = zip_of(folder, tmp_path / "data.zip", root)
    zipped, plain = sources.find_source(path, 16), sources.find_source(folder, 16)
    assert isinstance(zipped, sources.Source)
    assert zipped.splits == plain.splits == sources.SPLITS
    assert zipped.kind == plain.kind == "files"
    for split in sources.SPLITS:
        given = list(zipped.pictures(split)), list(plain.pictures(split))
        assert all(isinstance(picture, sources.Picture) for picture in given[0])
        one, other = ([picture.open().tobytes() for picture in pictures] for pictures in given)
        assert one == other


def test_split_folders_may_be_links_and_may_lie_deeper(folder, tmp_path):
    (tmp_path / "x/y").mkdir(parents=True)
    for split in sources.SPLITS:
        (tmp_path / "x/y" / split).symlink_to(folder / split)
    found = sources.find_source(tmp_path / "x", 16)
    assert [picture.name for picture in found.pictures("testB")] == [
        str(tmp_path / "x/y/testB" / name) for name in ("0.png", "1.png")
    ]


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
    """TFDS's cycle_gan downloads, unpacks and reads an archive that this test serves."""
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
    again = load_data("cycle_gan/horse2zebra", **settings)  # from TFDS's own copy
    assert equal(epoch(again), epoch(data))
    # The same pixels as from a folder of the same files, in any order.
    plain = load_data(jpegs, image_size=16)

    def pictures(test):
        return sorted(picture.tobytes() for picture in test.unbatch().as_numpy_iterator())

    assert pictures(data.test_A) == pictures(plain.test_A)
    assert pictures(data.test_B) == pictures(plain.test_B)


def test_a_failed_download_is_one_line(tmp_path, monkeypatch):
    from tensorflow_datasets.image_classification import cycle_gan

    with served(tmp_path) as address:
        monkeypatch.setitem(cycle_gan._DL_URLS, "facades", f"{address}/facades.zip")
        refused("facades: TFDS could not fetch it", "facades", data_dir=str(tmp_path))


def test_a_host_that_is_not_there(tmp_path, monkeypatch, caplog):
    """It says at once what it fetches from where, gives the whole reason, and leaves nothing."""
    from tensorflow_datasets.image_classification import cycle_gan

    address = "http://nowhere.invalid/maps.zip"
    monkeypatch.setitem(cycle_gan._DL_URLS, "maps", address)
    start = time.monotonic()
    refused(
        r"maps: TFDS could not fetch it \(URLError: .*\): check", "maps", data_dir=str(tmp_path)
    )
    assert time.monotonic() - start < 30
    assert address in caplog.text
    assert not list(tmp_path.iterdir())


def test_unknown_names_are_refused_with_a_hint():
    refused("did you mean horse2zebra", "horse2zebar")
    refused("did you mean shapes", "shape")
    refused("known data sets: shapes, shapes-dusk, apple2orange", "qqqqqq")
    refused("no such file", "/nowhere/x.zip")


def test_splits_without_pictures_are_refused(folder, tmp_path):
    (tmp_path / "bare").mkdir()
    refused("no trainA and trainB in it", tmp_path / "bare")
    for path in (folder / "trainB").iterdir():
        path.rename(path.with_suffix(".txt"))
    refused("trainB has no pictures in it", folder)
    for path in (folder / "trainB").iterdir():
        path.unlink()
    refused("trainB has no pictures in it", folder)
    (folder / "testA/0.png").rename(folder / "trainB/0.png")
    (folder / "testA/1.png").rename(folder / "testA/1.tif")
    refused("testA has no pictures in it .looked for .jpg", folder)


@pytest.mark.parametrize(
    "name",
    [
        "../trainA/0.png",
        "/trainA/0.png",
        "x/../../trainA/0.png",
        "..\\trainA\\0.png",
        "C:/trainA/0.png",
    ],
)
def test_a_zip_that_climbs_out_is_refused(folder, tmp_path, name):
    path = zip_of(folder, tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(name, b"x")
    refused("climbs out of the archive", path)


def test_damaged_zips_are_refused(folder, tmp_path):
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


def test_a_zip_bomb_is_refused(folder, tmp_path, monkeypatch):
    """A member that unpacks to more than any picture needs is not unpacked."""
    monkeypatch.setattr(sources, "_MAX_MEMBER_BYTES", 2**24)
    path = zip_of(folder, tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trainA/bomb.png", bytes(2**24 + 1))
    assert path.stat().st_size < 2**18
    refused("trainA/bomb.png: claims 16,777,217 bytes", path)


def test_a_zip_that_lies_about_its_size_is_refused(folder, tmp_path):
    """No more of a member is read than it claims."""
    path = zip_of(folder, tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("trainA/liar.png", bytes(10_000_000))
    data = path.read_bytes()
    path.write_bytes(data.replace(struct.pack("<I", 10_000_000), struct.pack("<I", 100)))
    refused("trainA/liar.png: cannot be read from the zip", path)


def test_an_unusual_compression_method_is_refused(folder, tmp_path):
    path = zip_of(folder, tmp_path / "data.zip")
    with zipfile.ZipFile(path, "a", zipfile.ZIP_LZMA) as archive:
        archive.writestr("trainA/odd.png", bytes(100))
    refused("trainA/odd.png: uses an unusual compression method", path)


def test_pairs_side_by_side(folder, tmp_path):
    """The layout of pix2pix's data sets; val/ stands in for test/."""
    for split, count in (("train", 3), ("val", 1)):
        (tmp_path / "facades" / split).mkdir(parents=True)
        for index in range(count):
            whole = Image.new("RGB", (32, 16), (index, 0, 0))
            whole.paste((index, 255, 0), (16, 0, 32, 16))
            whole.save(tmp_path / "facades" / split / f"{index}.png")
    for source in (tmp_path / "facades", zip_of(tmp_path / "facades", tmp_path / "x.zip", "f/")):
        data = load_data(source, image_size=16, preprocess="none")
        assert data.counts == {"trainA": 3, "trainB": 3, "testA": 1, "testB": 1}
        assert data.test_set.A[0][0, 0].tolist() == [0, 0, 0]
        assert data.test_set.B[0][0, 0].tolist() == [0, 255, 0]
        assert data.test_set.names_B[0].endswith("val/0.png (right half)")
    Image.new("RGB", (30, 16)).save(tmp_path / "facades/train/9.png")
    refused(r"train/9\.png: has 30×16 px, .* twice as wide as high", tmp_path / "facades")


@pytest.mark.parametrize("half", ["train", "test"])
def test_partners(folder, half):
    """Every picture that is trained on needs its partner."""
    refused("3 pictures have no partner|2 pictures have no partner", folder, paired=True)
    for path in (folder / "trainA").iterdir():
        (folder / "trainB" / path.name).write_bytes(path.read_bytes())
    load_data(folder, image_size=16, paired=True)
    (folder / f"{half}A" / "0.png").unlink()
    refused(rf"1 picture has no partner .*{half}B/0\.png", folder, paired=True)
