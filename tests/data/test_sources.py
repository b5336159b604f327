"""Folders, zips and TFDS data sets: what is found in them, and what is refused."""

import struct
import zipfile

import pytest
from datasets import epoch, equal, refused, served, zip_of
from PIL import Image

from tfcyclegan import InputError, load_data
from tfcyclegan.data import sources


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
        refused("facades: TFDS could not fetch it", "facades", data_dir=str(tmp_path))


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
    refused("trainA/odd.png: uses an unusual compression method", path)
