"""State dictionaries of PyTorch's CycleGANs: equal outputs, or one line that names the problem."""

import numpy as np
import pytest

from tfcyclegan import InputError
from tfcyclegan.interop.description import describe
from tfcyclegan.interop.pytorch import read_network, state_dict
from tfcyclegan.networks.architecture import Architecture
from tfcyclegan.torch_files import read_torch_file, write_torch_file

#: How far outputs may be from those of the source framework.
CLOSE = 1e-4

#: The settings of each golden discriminator.
DISCRIMINATORS = {
    "resnet/latest_net_D_A.pth": {"discriminator_layers": 3, "norm": "instance"},
    "layers/latest_net_D_A.pth": {"discriminator_layers": 2, "norm": "batch", "use_bias": False},
    "layers/latest_net_D_B.pth": {"discriminator_layers": 4, "discriminator_filters": 1},
    "pixel/latest_net_D_A.pth": {"discriminator": "pixel", "norm": "instance", "use_bias": True},
    "pixel/latest_net_D_B.pth": {"discriminator": "pixel", "norm": "batch", "use_bias": False},
    "scratch/critich.pth.tar": {"sigmoid": True, "discriminator_padding": "reflect"},
    "scratch/criticz.pth.tar": {"sigmoid": True, "discriminator_layers": 3},
}


@pytest.mark.parametrize("name", DISCRIMINATORS)
def test_discriminators_give_the_scores_of_pytorch(name, pytorch_models, pytorch_outputs):
    found = describe(pytorch_models / name)
    ((key, network),) = found.networks.items()
    assert key == ("D_B" if "D_A" in name or "criticz" in name else "D_A")
    settings = DISCRIMINATORS[name]
    assert {key: network.settings[key] for key in settings} == settings
    architecture = Architecture(channels_A=network.channels, **network.settings)
    scores = network.fill(architecture.build_discriminator("A", 256))(pytorch_outputs["images"])
    np.testing.assert_allclose(scores, pytorch_outputs[name], atol=CLOSE)


@pytest.fixture
def changed(pytorch_models, tmp_path):
    """Writes a generator of which some tensors are changed."""

    def change_and_write(change):
        tensors = dict(read_torch_file(pytorch_models / "affine" / "latest_net_G.pth"))
        change(tensors)
        copies = {name: np.array(value) for name, value in tensors.items()}
        write_torch_file(tmp_path / "x.pth", copies)
        return tmp_path / "x.pth"

    return change_and_write


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop("model.5.bias"), r"x.pth: .* missing: model.5.bias\."),
        (lambda t: t.pop("model.18.weight"), "missing: model.18.weight"),
        (
            lambda t: t.update({"model.10.gate.weight": np.zeros(3, np.float32)}),
            r"not known: model.10.gate.weight\.",
        ),
        (
            lambda t: t.update({"model.4.weight": np.zeros((4, 3, 3, 3), np.float32)}),
            r"model.4.weight is \(4, 3, 3, 3\) where \(4, 2, 3, 3\) fits",
        ),
        (
            lambda t: t.update({"model.1.weight": np.zeros(4, np.float32)}),
            r"model.1.weight is \(4,\); a kernel has four dimensions",
        ),
        (
            lambda t: t.update({"model.2.bias": np.zeros(2, np.int64)}),
            "model.2.bias is int64, but weights are floats",
        ),
        (
            lambda t: [t.pop(name) for name in list(t) if name.endswith("bias")],
            "missing: model.2.bias, model.5.bias, model.8.bias, .*model.18.bias",
        ),
        (
            lambda t: [t.update({f"other.{name}": t.pop(name)}) for name in list(t)],
            "not a known network. It has other.model.1.weight",
        ),
        (
            # The first layer claims a network of terabytes.
            lambda t: t.update({"model.1.weight": np.zeros((10**5, 3, 1, 1), np.float32)}),
            r"model.1.weight is \(100000, 3, 1, 1\) where \(100000, 3, 7, 7\) fits",
        ),
        (
            lambda t: t.update({"model.18.weight": np.zeros((5, 2, 7, 7), np.float32),
                                "model.18.bias": np.zeros(5, np.float32)}),
            "G goes from 3 to 5 channels",
        ),
    ],
)  # fmt: skip
def test_state_dicts_that_do_not_fit(change, message, changed):
    with pytest.raises(InputError, match=message):
        describe(changed(change))


def test_which_norm_has_statistics(changed):
    """Only batch norms count batches. Norms with uncounted statistics are old instance norms."""

    def track(tensors, counter):
        for name in [n for n in tensors if n.endswith(".weight") and tensors[n].ndim == 1]:
            norm = name.removesuffix(".weight")
            tensors[f"{norm}.running_mean"] = 0 * tensors[name]
            tensors[f"{norm}.running_var"] = 0 * tensors[name] + 1
            if counter:
                tensors[f"{norm}.num_batches_tracked"] = np.int64(3)

    old = changed(lambda tensors: track(tensors, counter=False))
    assert describe(old).networks["G"].settings["norm"] == "instance-affine"
    new = changed(lambda tensors: track(tensors, counter=True))
    found = describe(new).networks["G"].settings
    assert (found["norm"], found["use_bias"]) == ("batch", True)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1], "x: no state dictionary in it"),
        ({}, "x: no state dictionary in it"),
        ({"epoch": 3}, "x: not a state dictionary: epoch in it are not tensors"),
        (
            {"a": np.zeros(3), "b": np.zeros(3)},
            "its arrays would fill 48 bytes, but the file has 11",
        ),
    ],
)
def test_things_that_are_no_state_dictionaries(content, message):
    with pytest.raises(InputError, match=message):
        state_dict(content, "x", file_size=11)


def test_the_prefix_of_data_parallel_is_removed():
    content = {"state_dict": {"module.a": np.zeros(3)}}
    assert list(state_dict(content, "x", file_size=100)) == ["a"]


def test_an_unknown_network():
    with pytest.raises(InputError, match=r"x: not a known network. It has a; known are"):
        read_network({"a": np.zeros(3)}, "x")
