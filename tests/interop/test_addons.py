"""Models of tensorflow-addons: every kind of file gives their outputs, and our norm is theirs."""

import numpy as np
import pytest
import tensorflow as tf

from tfcyclegan import InputError, InstanceNormalization, patch_discriminator
from tfcyclegan.interop.addons import EXAMPLE_NAMES, LYNNHO_NAMES, Array, read_network
from tfcyclegan.interop.description import DIRECTIONS, describe
from tfcyclegan.runtimes.keras_model import load_model
from tfcyclegan.training.config import Config
from tfcyclegan.training.imported import import_checkpoint

CLOSE = 1e-4


def settings_of(folder):
    config = Config.load(folder / "config.json")
    return (config.norm, config.use_bias, config.alignment, config.epsilon)


@pytest.mark.parametrize("name", ["default", "small"])
def test_the_norm_is_theirs(name, addons_outputs):
    epsilon = {"default": 1e-3, "small": 1e-5}[name]
    layer = InstanceNormalization(epsilon, affine=True)
    images = addons_outputs["norm/images"]
    layer.build(images.shape)
    layer.set_weights([addons_outputs[f"norm/{name}/{part}"] for part in ("gamma", "beta")])
    general = tf.function(layer, input_signature=[tf.TensorSpec((None,) * 4)])
    for call in (layer, general):
        np.testing.assert_allclose(call(images), addons_outputs[f"norm/{name}"], atol=2e-5)


@pytest.mark.parametrize("file", ["checkpoint", "cyclegan.h5"])
def test_the_whole_example(file, addons_models, addons_outputs, tmp_path):
    """gen_G, gen_F, disc_X, disc_Y are G, F, D_A, D_B. Its optimizers are ignored."""
    found = import_checkpoint(addons_models / file, tmp_path / "run")
    assert list(found.networks) == list(EXAMPLE_NAMES.values()) == ["G", "F", "D_A", "D_B"]
    assert "those of the Keras example are assumed" in found.notes[0]
    assert settings_of(tmp_path / "run") == ("instance-affine", False, "tensorflow", 1e-3)
    model = load_model(tmp_path / "run")
    for theirs, ours in EXAMPLE_NAMES.items():
        network = getattr(model, ours)
        np.testing.assert_allclose(
            network(addons_outputs["images"]), addons_outputs[theirs], atol=CLOSE, err_msg=ours
        )
        if ours.startswith("D"):
            # The padding "same" depends on the size, so also test an odd size.
            np.testing.assert_allclose(
                network(addons_outputs["odd"]), addons_outputs[f"{theirs}/odd"], atol=CLOSE
            )


@pytest.mark.parametrize("file", ["lynnho", "lynnho_weights.h5"])
def test_lynnhos_models(file, addons_models, addons_outputs, tmp_path):
    """G_A2B, G_B2A, D_A, D_B are G, F, D_A, D_B; TensorFlow's functions have no weights."""
    found = describe(addons_models / file)
    assert list(found.networks) == (["G"] if file.endswith("h5") else ["G", "F", "D_A", "D_B"])
    for theirs, ours in LYNNHO_NAMES.items():
        if ours in found.networks:
            if ours in "GF":
                network = found.architecture.build_generator(DIRECTIONS[ours], 32)
            else:
                network = found.architecture.build_discriminator(ours[-1], 32)
            output = found.networks[ours].fill(network)(addons_outputs["images"])
            np.testing.assert_allclose(output, addons_outputs[f"lynnho/{theirs}"], atol=CLOSE)


@pytest.mark.parametrize(("file", "direction"), [("gen_G.h5", "BtoA"), ("whole.h5", "AtoB")])
def test_one_generator(file, direction, addons_models, addons_outputs, tmp_path):
    found = import_checkpoint(addons_models / file, tmp_path / "run", direction)
    epsilon = 1e-4 if file == "whole.h5" else 1e-3
    assert settings_of(tmp_path / "run") == ("instance-affine", False, "tensorflow", epsilon)
    # The file of a whole model has the layers' settings, so nothing is assumed.
    assert bool(found.notes) == (file == "gen_G.h5")
    generator = load_model(tmp_path / "run")
    assert generator.name == {"AtoB": "G", "BtoA": "F"}[direction]
    images = addons_outputs["images"]
    expected = addons_outputs["whole" if file == "whole.h5" else "gen_G"]
    np.testing.assert_allclose(generator(images), expected, atol=CLOSE)
    np.testing.assert_allclose(generator(images[:1]), expected[:1], atol=CLOSE)


def test_real_pictures(real_data, addons_models, addons_outputs, tmp_path):
    """Runs only in `make test-addons`, which makes outputs for photographs."""
    if "real" not in addons_outputs:
        pytest.skip("the golden file has no photographs; make test-addons makes outputs for them")
    import_checkpoint(addons_models / "whole.h5", tmp_path / "run")
    got = load_model(tmp_path / "run")(addons_outputs["real/images"])
    np.testing.assert_allclose(got, addons_outputs["real"], atol=CLOSE)


def test_the_alignment_matters(addons_outputs, addons_models):
    """Without TensorFlow's alignment, the same weights give other scores."""
    network = describe(addons_models / "cyclegan.h5").networks["D_A"]
    ours = patch_discriminator(
        64, filters=network.settings["discriminator_filters"], norm="instance-affine",
        use_bias=False, epsilon=1e-3,
    )  # fmt: skip
    scores = network.fill(ours)(addons_outputs["images"])
    assert scores.shape != addons_outputs["disc_X"].shape


def test_models_of_another_form(addons_models):
    with pytest.raises(InputError, match=r"other.h5: batch_normalization\w* is not an instance no"):
        describe(addons_models / "other.h5")


def layers_of(shapes):
    """Layers whose values cannot be read."""

    def fail():
        raise AssertionError("a value was read")

    return {
        name: {key: Array(shape, fail) for key, shape in by_key.items()}
        for name, by_key in shapes.items()
    }


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ({}, "x: not a network of 2D convolutions: it has no weights"),
        ({"a": {"kernel": (3, 3)}}, "x: not a network of 2D convolutions: it has a/kernel"),
        ({"a": {"kernel": (7, 7, 3, 2)}}, "x: no norm with weights in it"),
        (
            {"a": {"kernel": (5, 5, 3, 2)}, "b": {"gamma": (2,)}},
            "neither the generator nor the discriminator of the Keras example",
        ),
        (
            {"a": {"kernel": (7, 7, 3, 10**9)}, "b": {"gamma": (2,), "beta": (2,)}},
            r"missing: d1/kernel, .* of another shape: b/gamma is \(2,\) where \(1000000000,\)",
        ),
        (
            {
                "a": {"kernel": (4, 4, 3, 2)},
                "c1": {"gamma": (2,), "beta": (2,)},
                "score": {"x": ()},
            },
            "two of its layers have the same name",
        ),
    ],
)
def test_shapes_are_compared_before_values_are_read(layers, message):
    with pytest.raises(InputError, match=message):
        read_network(layers_of(layers), "x", file_size=10**12)


def test_arrays_larger_than_their_file():
    layers = layers_of({"a": {"kernel": (7, 7, 3, 2)}})
    with pytest.raises(InputError, match="x: its arrays would fill 1176 bytes, but the file has 9"):
        read_network(layers, "x", file_size=9)
