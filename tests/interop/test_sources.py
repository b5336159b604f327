"""Files and folders that are checkpoints, and the names of their networks."""

import shutil

import pytest

from tfcyclegan import InputError
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.sources import FROM_SCRATCH_NAMES, REFERENCE_NAMES, find_networks


def test_names_of_the_networks(pytorch_models):
    """The reference's D_A judges the output of its G_A, which is domain B."""
    assert {*find_networks(pytorch_models / "resnet"), "D"} == {*REFERENCE_NAMES.values()}
    assert {*find_networks(pytorch_models / "scratch")} == {*FROM_SCRATCH_NAMES.values()}


@pytest.mark.parametrize(
    ("file", "name"),
    [("G_A2B_epoch3.pth", "G"), ("netG_B2A.pth", "F"), ("best.pth", "G"), ("9_net_G_B.pth", "F"),
     ("genh.pth.tar", "F")],
)  # fmt: skip
def test_the_file_name_gives_the_direction(file, name, pytorch_models, tmp_path):
    shutil.copy(pytorch_models / "renamed" / "G_A2B_epoch3.pth", tmp_path / file)
    assert list(describe(tmp_path / file).networks) == [name]
    assert list(describe(tmp_path / file, "BtoA").networks) == ["F"]
    assert list(describe(tmp_path / file, "AtoB").networks) == ["G"]


def test_epochs_of_a_folder(pytorch_models, tmp_path):
    folder = tmp_path / "checkpoints"
    shutil.copytree(pytorch_models / "resnet", folder)
    for source in sorted(folder.glob("latest_*")):
        shutil.copy(source, source.with_name(source.name.replace("latest", "10")))
    shutil.copy(pytorch_models / "affine" / "latest_net_G.pth", folder / "9_net_G_A.pth")

    def blocks(**settings):
        return describe(folder, **settings).architecture.blocks

    assert (blocks(), blocks(epoch="9"), blocks(epoch="10")) == (2, 1, 2)
    for latest in folder.glob("latest_*"):
        latest.unlink()
    assert blocks() == 2  # 10 is later than 9
    with pytest.raises(InputError, match=r"epoch=11: .* has 10, 9"):
        blocks(epoch="11")
    with pytest.raises(InputError, match=r"epoch=9: goes with a folder, and .* is a file"):
        find_networks(folder / "9_net_G_A.pth", epoch="9")
    with pytest.raises(InputError, match=r"epoch=9: .* has no files named EPOCH_net_G_A.pth"):
        find_networks(pytorch_models / "scratch", epoch="9")


@pytest.mark.parametrize(
    ("name", "bad", "found"),
    [("resnet", "latest_net_D_A.pth", "G F D_A"), ("scratch", "criticz.pth.tar", "G F D_A"),
     ("resnet", "latest_net_G_B.pth", "G D_A D_B")],
)  # fmt: skip
def test_a_folder_with_an_unknown_file(name, bad, found, pytorch_models, tmp_path):
    """The others are read, and a note names it. Without a generator there is only its error."""
    folder = tmp_path / "folder"
    shutil.copytree(pytorch_models / name, folder)
    (folder / bad).write_bytes(b"something else")
    description = describe(folder)
    assert {*description.networks} == {*found.split()}
    (note,) = [note for note in description.notes if note.startswith("left out: ")]
    assert bad in note
    for file in folder.iterdir():
        if "net_G" in file.name or "gen" in file.name:
            file.write_bytes(b"something else")
    with pytest.raises(InputError, match=r"(genh.pth.tar|latest_net_G_A.pth): "):
        describe(folder)


def test_block_padding_goes_with_a_resnet(pytorch_models):
    with pytest.raises(InputError, match=r"block_padding=replicate: .* no resnet: leave it out"):
        describe(pytorch_models / "unet" / "5_net_G_A.pth", block_padding="replicate")


def test_a_saved_model_is_refused(tmp_path):
    (tmp_path / "saved_model.pb").write_bytes(b"")
    with pytest.raises(InputError, match=r'a SavedModel.*model.save_weights\("G.h5"\)') as caught:
        describe(tmp_path)
    assert "\n" not in str(caught.value)


def test_things_that_are_no_checkpoints(pytorch_models, folder, tmp_path):
    (tmp_path / "empty.pth").touch()
    for path, message in (
        (tmp_path / "nowhere.pth", "nowhere.pth: there is no such file or folder"),
        (folder, "no known checkpoint in that folder"),
        (tmp_path / "empty.pth", "empty.pth: an empty file"),
        (folder / "trainA" / "0.png", "not a PyTorch file"),
    ):
        with pytest.raises(InputError, match=message):
            find_networks(path)


@pytest.mark.parametrize(("name", "count"), [("resnet", 2), ("pixel/latest_net_D_A.pth", 0)])
def test_a_direction_goes_with_one_generator(name, count, pytorch_models):
    message = f"direction=AtoB: goes with one generator, but .* has {count}"
    with pytest.raises(InputError, match=message):
        find_networks(pytorch_models / name, "AtoB")
