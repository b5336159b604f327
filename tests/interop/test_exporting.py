"""Networks as files of the paper's PyTorch implementation."""

import dataclasses

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.exporting import export_to_pytorch, reference_state_dict
from tfcyclegan.interop.layouts import Network, complete_settings
from tfcyclegan.interop.pytorch import state_dict
from tfcyclegan.networks.architecture import Architecture
from tfcyclegan.torch_files import read_torch_file


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("G_A", "ReferenceResnet"),
        ("D_B", "ReferencePatch"),
    ],
)
@pytest.mark.pytorch
def test_pytorch_loads_exported_networks(name, make, tmp_path, pytorch_outputs):
    """The reference loads our networks with strict=True and gives the same outputs."""
    import torch
    from golden import pytorch_models as golden

    architecture = Architecture(filters=2, blocks=2, discriminator_filters=1)
    G, D_A = architecture.build_generator("AtoB", 64), architecture.build_discriminator("A", 64)
    export_to_pytorch({"G": G, "D_A": D_A}, architecture, tmp_path, 64)
    network = getattr(golden, make)()
    file = tmp_path / f"latest_net_{name}.pth"
    network.load_state_dict(torch.load(file, weights_only=True), strict=True)
    ours = G if name == "G_A" else D_A
    drawn = golden.draw(network, pytorch_outputs["images"])
    assert drawn.std() > 1e-4
    np.testing.assert_allclose(ours(pytorch_outputs["images"]), drawn, atol=1e-6)


SCRATCH = Architecture(
    filters=2, blocks=2, bare_first=True, downsampling_padding="reflect",
    discriminator_padding="reflect", sigmoid=True, discriminator_filters=1,
)  # fmt: skip


@pytest.mark.pytorch
@pytest.mark.parametrize("bare", [True, False])
def test_pytorch_loads_networks_from_scratch(bare, tmp_path, pytorch_outputs):
    """The version of the recipe, and the one with a norm after the first convolution."""
    import torch
    from golden import pytorch_models as golden

    settings = dataclasses.replace(SCRATCH, bare_first=bare)
    networks = {
        "G": settings.build_generator("AtoB", 64), "D_B": settings.build_discriminator("B", 64)
    }  # fmt: skip
    export_to_pytorch(networks, settings, tmp_path, 64)
    for name, file, theirs in (
        ("G", "genz.pth.tar", golden.ScratchGenerator("bare" if bare else "sequence")),
        ("D_B", "criticz.pth.tar", golden.ScratchDiscriminator(final=bare)),
    ):
        content = torch.load(tmp_path / file, weights_only=True)
        theirs.load_state_dict(content["state_dict"], strict=True)
        drawn = golden.draw(theirs, pytorch_outputs["images"])
        assert drawn.std() > 1e-4
        np.testing.assert_allclose(networks[name](pytorch_outputs["images"]), drawn, atol=1e-5)


def test_networks_from_scratch_come_back(tmp_path):
    makers = {"G": SCRATCH.build_generator, "F": SCRATCH.build_generator,
              "D_A": SCRATCH.build_discriminator, "D_B": SCRATCH.build_discriminator}  # fmt: skip
    ways = {"G": "AtoB", "F": "BtoA", "D_A": "A", "D_B": "B"}
    networks = {name: make(ways[name], 64) for name, make in makers.items()}
    files = export_to_pytorch(networks, SCRATCH, tmp_path, 64)
    assert sorted(path.name for path in files) == [
        "critich.pth.tar", "criticz.pth.tar", "genh.pth.tar", "genz.pth.tar"
    ]  # fmt: skip
    found = describe(tmp_path)
    for name, network in networks.items():
        again = found.networks[name].fill(makers[name](ways[name], 64))
        for mine, theirs in zip(network.get_weights(), again.get_weights(), strict=True):
            np.testing.assert_array_equal(mine, theirs)
    assert found.architecture.sigmoid
    assert found.architecture.bare_first
    with pytest.raises(InputError, match="PyTorch has no pix2pix whose strided convolutions pad"):
        export_to_pytorch({"G": networks["G"], "D": networks["D_A"]}, SCRATCH, tmp_path / "p", 64)
    batch = dataclasses.replace(SCRATCH, norm="batch")
    with pytest.raises(InputError, match="norm is batch, but the implementation from scratch has"):
        export_to_pytorch({"G": batch.build_generator("AtoB", 64)}, batch, tmp_path / "other", 64)


@pytest.mark.pytorch
def test_pytorch_loads_a_pix2pix(tmp_path, pytorch_outputs):
    """The reference's default networks of pix2pix: batch norm, and a D of six channels."""
    import torch
    from golden import pytorch_models as golden

    from tfcyclegan import Pix2Pix

    settings = Architecture(
        generator="unet", depth=5, filters=1, norm="batch", dropout=0.5, discriminator_filters=1
    )
    model = Pix2Pix(
        settings.build_generator("AtoB", 32), settings.build_discriminator("AB", 32), image_size=32
    )
    random = np.random.default_rng(0)
    for network in model.networks.values():
        network.set_weights([w + 0.1 * random.random(w.shape) for w in network.get_weights()])
    export_to_pytorch(model.networks, settings, tmp_path, 32)
    A = pytorch_outputs["images"][:, :32, :32]
    pair = np.concatenate([A, -A], axis=-1)
    for name, network, theirs, images in (
        ("G", model.G, golden.ReferenceUnet("batch"), A),
        ("D", model.D, golden.ReferencePatch("batch", channels=6), pair),
    ):
        file = tmp_path / f"latest_net_{name}.pth"
        theirs.load_state_dict(torch.load(file, weights_only=True), strict=True)
        drawn = golden.draw(theirs, images)
        assert drawn.std() > 1e-4
        np.testing.assert_allclose(network(images), drawn, atol=1e-5)


def test_missing_biases_become_zeros(pytorch_models, pytorch_outputs, tmp_path):
    """An instance norm removes a bias, so zeros replace the biases that the reference has."""
    settings = Architecture(filters=2, blocks=1, norm="instance-affine", use_bias=False)
    generator = settings.build_generator("AtoB", 256)
    export_to_pytorch({"G": generator}, settings, tmp_path)
    found = describe(tmp_path / "latest_net_G_A.pth")
    assert found.architecture.use_bias is True
    again = found.networks["G"].fill(found.architecture.build_generator("AtoB", 256))
    np.testing.assert_allclose(
        again(pytorch_outputs["images"]), generator(pytorch_outputs["images"]), atol=1e-6
    )


@pytest.mark.parametrize(
    ("role", "settings", "message"),
    [
        ("generator", {"residual_output": True}, "residual_output is True, but the reference has"),
        ("generator", {"generator": "fast"}, "^generator is fast, but the reference has only"),
        ("generator", {"upsampling": "resize"}, "upsampling is resize, but .* only transposed"),
        ("generator", {"bare_first": True}, "bare_first is True, but the reference has only False"),
        ("generator", {"downsampling_padding": "reflect"}, "^downsampling_padding .* only zero"),
        ("generator", {"alignment": "tensorflow"}, "alignment is tensorflow, but .* only torch"),
        ("generator", {"epsilon": 1e-3}, "epsilon is 0.001, but the reference has only 1e-05"),
        ("generator", {"norm": "batch"}, "^norm=batch with biases.*use_bias=False"),
        ("discriminator", {"norm": "none"}, "^norm=none with biases.*use_bias=False"),
        ("discriminator", {"sigmoid": True}, "sigmoid is True, but the reference has only False"),
        ("discriminator", {"discriminator_padding": "reflect"}, "^discriminator_padding is reflec"),
        (
            "discriminator",
            {"discriminator": "pixel", "use_bias": False},
            "no pixel discriminator without biases",
        ),
    ],
)
def test_networks_that_the_reference_does_not_have(role, settings, message):
    settings = complete_settings(role, {"use_bias": True, **settings})
    with pytest.raises(InputError, match=message):
        reference_state_dict(Network("", settings, 3, 3, weights={}))


def test_all_files_are_written_or_none(tmp_path):
    architecture = Architecture(filters=1, blocks=0, discriminator_filters=1, sigmoid=True)
    networks = {
        "G": architecture.build_generator("AtoB", 256),
        "D_A": architecture.build_discriminator("A", 256),
    }
    message = "D_A cannot be exported to PyTorch: sigmoid is True, but the reference has only False"
    with pytest.raises(InputError, match=message):
        export_to_pytorch(networks, architecture, tmp_path)
    assert not list(tmp_path.iterdir())


def test_settings_of_another_network(tmp_path):
    generator = Architecture(filters=1, blocks=1).build_generator("AtoB", 256)
    with pytest.raises(InputError, match=r"not the network that its settings describe"):
        export_to_pytorch({"G": generator}, Architecture(filters=1, blocks=2), tmp_path)


@pytest.mark.parametrize("name", ["resnet", "unet", "batch", "none", "dropout", "layers", "pixel"])
def test_exported_tensors_equal_the_imported_ones(name, pytorch_models):
    path = next((pytorch_models / name).glob("latest_net_*.pth"))
    (network,) = describe(path).networks.values()
    imported = state_dict(read_torch_file(path), path, 10**9)
    exported = reference_state_dict(network)
    assert exported.keys() == imported.keys()
    for key, array in exported.items():
        np.testing.assert_array_equal(array, imported[key], err_msg=key)
