"""Descriptions of checkpoints, and networks that do not fit together."""

import shutil

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.interop.description import Description, describe
from tfcyclegan.networks.architecture import Architecture
from tfcyclegan.torch_files import read_torch_file, write_torch_file


def test_a_generator(pytorch_models):
    found = describe(pytorch_models / "grey" / "latest_net_G_B.pth")
    assert isinstance(found, Description)
    assert found.generators == ["F"]
    assert found.notes == []
    ((name, what, count),) = found.rows()
    assert name == "F"
    assert what.endswith("resnet of 1 blocks, 2 filters, 1 to 3 channels, norm instance")
    assert count == f"{found.networks['F'].count():,}"
    assert found.architecture == Architecture(channels_B=1, filters=2, blocks=1, use_bias=True)


def test_settings_that_are_not_the_papers_are_named(pytorch_models):
    found = describe(pytorch_models / "scratch")
    rows = {name: what for name, what, _ in found.rows()}
    assert rows["G"].endswith("downsampling_padding reflect")
    assert rows["D_A"].endswith("discriminator_padding reflect, sigmoid True")


def test_a_discriminator_has_no_architecture(pytorch_models):
    found = describe(pytorch_models / "pixel" / "latest_net_D_A.pth")
    assert (found.architecture, found.generators) == (None, [])
    assert "discriminator of single pixels" in found.rows()[0][1]


def test_networks_that_do_not_fit_together(pytorch_models, tmp_path):
    shutil.copy(pytorch_models / "resnet" / "latest_net_G_A.pth", tmp_path)
    shutil.copy(pytorch_models / "grey" / "latest_net_G_B.pth", tmp_path)
    with pytest.raises(InputError, match="F has blocks 1, another of its networks has 2"):
        describe(tmp_path)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("model.1.weight", np.nan, "G has NaN or infinite weights in c7_in"),
        ("model.18.bias", np.inf, "G has NaN or infinite weights in c7_out"),
    ],
)
def test_weights_of_a_diverged_training(name, value, message, pytorch_models, tmp_path):
    tensors = dict(read_torch_file(pytorch_models / "affine" / "latest_net_G.pth"))
    tensors[name] = tensors[name] * np.float32(0) + np.float32(value)
    write_torch_file(tmp_path / "x.pth", tensors)
    with pytest.raises(InputError, match=message):
        describe(tmp_path / "x.pth")
